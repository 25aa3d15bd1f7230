/** Catch-up chunks and what caches may do with them, over real HTTP: DESIGN "Chunks" and "Cache policy". */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startServer, type ServerProcess } from "../process/coldbrook.ts";
import { expectStatus, header, nextOffset, StreamClient, type CreateOptions, type Reply } from "../process/http.ts";
import { offsetOf, parseOffset } from "../process/stored-bytes.ts";
import { until } from "../process/until.ts";
import { DataDirectory } from "../faults/data-directory.ts";
import { patternBytes, untilAllRolled } from "../scale/served.ts";
import { IMMUTABLE, maxAge, storedHeaders, storedResponse, walk, type StoredResponse } from "./stored-response.ts";

const CHUNK_BYTES = 1024;
const HOT_ARGS = [
  "--segment-age-ms",
  "3600000",
  "--chunk-bytes",
  `${CHUNK_BYTES}`,
  "--long-poll-ms",
  "300",
  "--sse-ms",
  "500",
];
const octets = "application/octet-stream";
/** Of bytes and of more than two chunks, on the boundaries and beside them. */
const LENGTHS = [1, 1023, 1024, 1025, 5, 2500, 300, 300, 300, 300, 47, 1, 1, 4096, 700, 1348];

class Rig implements AsyncDisposable {
  readonly data: DataDirectory;
  readonly server: ServerProcess;
  readonly client: StreamClient;

  private constructor(data: DataDirectory, server: ServerProcess) {
    this.data = data;
    this.server = server;
    this.client = new StreamClient(server.url);
  }

  static async open(data: DataDirectory, args: readonly string[] = HOT_ARGS): Promise<Rig> {
    return new Rig(data, await startServer({ args: ["--data-dir", data.path, ...args] }));
  }

  async create(path: string, options: CreateOptions = {}): Promise<void> {
    expectStatus(await this.client.create(path, { contentType: octets, ...options }), `create ${path}`, 201);
  }

  async append(path: string, bytes: Uint8Array | string, contentType = octets): Promise<void> {
    expectStatus(await this.client.append(path, bytes, { contentType }), `append ${path}`, 204);
  }

  /** A stream with one message for each length, the same bytes each time. */
  async fill(path: string, lengths: readonly number[], options: CreateOptions = {}): Promise<string> {
    await this.create(path, options);
    for (const [index, length] of lengths.entries()) await this.append(path, patternBytes(length, index));
    return nextOffset(await this.client.head(path));
  }

  async stop(): Promise<void> {
    expect(await this.server.stop()).toBe(0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client[Symbol.dispose]();
    await this.server[Symbol.asyncDispose]();
  }
}

/** Where responses end, by the rule alone: message boundaries at or after the next multiple of the chunk size. */
function expectedEnds(lengths: readonly number[], from: number): number[] {
  const boundaries = [0];
  for (const length of lengths) boundaries.push((boundaries.at(-1) ?? 0) + length);
  const tail = boundaries.at(-1) ?? 0;
  const ends: number[] = [];
  for (let at = from; at < tail; at = ends.at(-1) ?? tail) {
    const target = (Math.floor(at / CHUNK_BYTES) + 1) * CHUNK_BYTES;
    ends.push(boundaries.find((boundary) => boundary >= target) ?? tail);
  }
  return ends;
}

function starts(lengths: readonly number[]): number[] {
  let at = 0;
  return lengths.map((length) => (at += length) - length);
}

function endsOf(responses: Map<string, StoredResponse>): number[] {
  return [...responses.values()].map(({ headers }) => parseOffset(headers["stream-next-offset"] ?? "").position);
}

describe("chunk boundaries", () => {
  test("are the same hot, rolled and after a restart, from every start, with the same tags and headers", async () => {
    await using data = await DataDirectory.empty();
    const path = "cache/lengths";
    const json = "cache/json";
    const jsonBodies = LENGTHS.map((length, index) => JSON.stringify({ index, text: "x".repeat(length) }));
    const jsonLengths = jsonBodies.map((text) => text.length + 1);
    let hot: Map<string, StoredResponse>;
    let offsets: string[];
    {
      await using rig = await Rig.open(data);
      const { generation } = parseOffset(await rig.fill(path, LENGTHS));
      await rig.create(json, { contentType: "application/json" });
      for (const body of jsonBodies) await rig.append(json, body, "application/json");
      offsets = starts(LENGTHS).map((at) => offsetOf(generation, at));
      for (const [index, from] of starts(LENGTHS).entries()) {
        expect(endsOf(await walk(rig.client, path, offsets[index] ?? "")), `from ${from}`).toEqual(
          expectedEnds(LENGTHS, from),
        );
      }
      expect(endsOf(await walk(rig.client, path, "-1"))).toEqual(expectedEnds(LENGTHS, 0));
      expect(endsOf(await walk(rig.client, json, "-1"))).toEqual(expectedEnds(jsonLengths, 0));
      hot = await everything(rig.client, path, json, offsets);
      await rig.stop();
    }
    {
      // The restart seals what was written, so that it is rolled.
      await using rig = await Rig.open(data);
      await untilAllRolled(rig.server.url);
      expect(await everything(rig.client, path, json, offsets), "rolled").toEqual(hot);
      await rig.stop();
    }
    await using rig = await Rig.open(data, [...HOT_ARGS, "--cache-bytes-max", "0"]);
    expect(await everything(rig.client, path, json, offsets), "rolled, after a restart").toEqual(hot);
    // From a position inside a message, a read begins with that message.
    const inside = parseOffset(offsets[5] ?? "");
    const reply = await rig.client.read(path, { offset: offsetOf(inside.generation, inside.position + 77) });
    expect(storedResponse(reply).digest).toBe(hot.get(`${path} ${offsets[5]}`)?.digest);
  });

  test("below the tail stay where they are, whatever is appended and rolled between", async () => {
    await using data = await DataDirectory.empty();
    const path = "cache/growing";
    await using rig = await Rig.open(data, [...HOT_ARGS, "--segment-bytes", "4096", "--segment-age-ms", "20"]);
    await rig.create(path);
    const lengths: number[] = [];
    const kept = new Map<string, StoredResponse>();
    for (let round = 0; round < 12; round += 1) {
      for (const length of LENGTHS.slice(0, 1 + (round % LENGTHS.length))) {
        await rig.append(path, patternBytes(length, lengths.length));
        lengths.push(length);
      }
      const seen = await walk(rig.client, path, nextOffset(await rig.client.read(path)));
      for (const [offset, response] of seen) {
        const before = kept.get(offset);
        if (before !== undefined) expect(response, `${offset} in round ${round}`).toEqual(before);
        if (response.headers["cache-control"] === IMMUTABLE) kept.set(offset, response);
      }
      for (const [offset, before] of kept) {
        const now = storedResponse(await rig.client.read(path, { offset }));
        expect(now, `${offset} in round ${round}`).toEqual(before);
      }
    }
    expect(kept.size).toBeGreaterThan(10);
    expect(endsOf(await walk(rig.client, path, "-1"))).toEqual(expectedEnds(lengths, 0));
  });
});

/** Whatever a cache could have stored of both streams, by URL. */
async function everything(
  client: StreamClient,
  path: string,
  json: string,
  offsets: readonly string[],
): Promise<Map<string, StoredResponse>> {
  const all = new Map<string, StoredResponse>();
  for (const [stream, from] of [...["-1", ...offsets].map((offset) => [path, offset]), [json, "-1"]] as const) {
    for (const [offset, response] of await walk(client, stream ?? "", from ?? ""))
      all.set(`${stream} ${offset}`, response);
  }
  return all;
}

describe("cache headers", () => {
  let data: DataDirectory;
  let rig: Rig;

  beforeAll(async () => {
    data = await DataDirectory.empty();
    rig = await Rig.open(data);
  });

  afterAll(async () => {
    await rig[Symbol.asyncDispose]();
    await data[Symbol.asyncDispose]();
  });

  function start(offset: string): string {
    return offsetOf(parseOffset(offset).generation, 0);
  }

  test("below the tail from a real offset a chunk is immutable and says nothing of the end", async () => {
    const from = start(await rig.fill("below", [1024, 1024, 10]));
    const reply = await rig.client.read("below", { offset: from });
    expect(header(reply, "cache-control")).toBe(IMMUTABLE);
    expect(header(reply, "stream-up-to-date")).toBe(undefined);
    expect(header(reply, "stream-closed")).toBe(undefined);
    expect(header(reply, "content-location")).toBe(undefined);
    // The close of the stream is no news for it.
    expectStatus(await rig.client.close("below"), "close", 204);
    const after = await rig.client.read("below", { offset: from });
    expect(header(after, "cache-control")).toBe(IMMUTABLE);
    expect(header(after, "stream-closed")).toBe(undefined);
  });

  test("the tail of an open stream is revalidated, that of a closed one is immutable from a real offset", async () => {
    const tail = await rig.fill("tail", [1024, 10]);
    for (const offset of [start(tail), offsetOf(parseOffset(tail).generation, 1024), tail]) {
      const last = [...(await walk(rig.client, "tail", offset)).values()].at(-1);
      expect(last?.headers).toMatchObject({ "cache-control": "public, no-cache", "stream-up-to-date": "true" });
      expect(last?.headers.etag).toMatch(/^"[^"]+"$/);
    }
    expectStatus(await rig.client.close("tail"), "close", 204);
    for (const offset of [offsetOf(parseOffset(tail).generation, 1024), tail]) {
      const reply = await rig.client.read("tail", { offset });
      expect(storedHeaders(reply)).toMatchObject({
        "cache-control": IMMUTABLE,
        "stream-up-to-date": "true",
        "stream-closed": "true",
      });
    }
  });

  test.each([
    ["-1", "offset=-1"],
    ["no offset", undefined],
    ["the zero offset", "offset=0000000000000000_0000000000000000"],
  ])("from %s a response is kept for 60 s at most and names its canonical range", async (name, query) => {
    const path = `start/${name.replaceAll(" ", "-")}`;
    const read = (): Promise<Reply> => rig.client.request("GET", path, query === undefined ? {} : { query });
    const tail = await rig.fill(path, [600]);
    expect(header(await read(), "cache-control"), "at the tail of an open stream").toBe("public, no-cache");
    await rig.append(path, patternBytes(1000, 1));
    await rig.append(path, patternBytes(10, 2));
    const chunk = await read();
    expect(header(chunk, "cache-control")).toBe("public, max-age=60");
    expect(header(chunk, "stream-up-to-date")).toBe(undefined);
    const location = header(chunk, "content-location") ?? "";
    expect(location).toBe(`/v1/stream/${path}?offset=${start(tail)}`);
    const canonical = await follow(rig.client, location);
    expect(canonical.body.equals(chunk.body)).toBe(true);
    expect(header(canonical, "cache-control")).toBe(IMMUTABLE);
    expect(header(canonical, "etag")).toBe(header(chunk, "etag"));

    const short = `${path}/short`;
    await rig.fill(short, [600], {});
    expectStatus(await rig.client.close(short), "close", 204);
    const whole = await rig.client.request("GET", short, query === undefined ? {} : { query });
    expect(storedHeaders(whole)).toMatchObject({ "cache-control": "public, max-age=60", "stream-closed": "true" });
    const same = await follow(rig.client, header(whole, "content-location") ?? "");
    expect(header(same, "cache-control")).toBe(IMMUTABLE);
    expect(same.body.equals(whole.body)).toBe(true);
  });

  test("a matching If-None-Match gets a 304 with the same cache headers as the 200", async () => {
    const tail = await rig.fill("etag", [1024, 2000, 10]);
    expectStatus(
      await rig.client.create("etag/closed", { contentType: octets, body: "all", closed: true }),
      "create",
      201,
    );
    await rig.fill("etag/ttl", [1024, 10], { ttlSeconds: 3600 });
    const from = start(tail);
    const closedTail = nextOffset(await rig.client.head("etag/closed"));
    for (const [path, offset] of [
      ["etag", from],
      ["etag", "-1"],
      ["etag", tail],
      ["etag/closed", start(closedTail)],
      ["etag/closed", "-1"],
      ["etag/closed", closedTail],
      ["etag/ttl", "-1"],
    ] as const) {
      const full = expectStatus(await rig.client.read(path, { offset }), "read", 200);
      const etag = header(full, "etag") ?? "";
      for (const sent of [
        etag,
        `W/${etag}`,
        `"other", ${etag}`,
        `"with, a comma",W/"x" , W/${etag}`,
        `${etag}, "other"`,
        "*",
        " * ",
      ]) {
        const reply = await rig.client.read(path, { offset, headers: { "if-none-match": sent } });
        expect(reply.status, `${path} ${offset} ${sent}`).toBe(304);
        expect(reply.body.length).toBe(0);
        expect(storedHeaders(reply), `${path} ${offset} ${sent}`).toEqual(storedHeaders(full));
      }
      for (const sent of ['"other"', etag.replaceAll('"', ""), `"x${etag.slice(1)}`, `W/"other", "${from}"`]) {
        const reply = await rig.client.read(path, { offset, headers: { "if-none-match": sent } });
        expect(reply.status, `${path} ${offset} ${sent}`).toBe(200);
        expect(storedResponse(reply)).toEqual(storedResponse(full));
      }
    }
  });

  test("a tail on a chunk boundary has another tag as soon as more is appended, and another when it is closed", async () => {
    const tail = await rig.fill("boundary", [1024]);
    const from = start(tail);
    const atTail = await rig.client.read("boundary", { offset: from });
    expect(storedHeaders(atTail)).toMatchObject({ "cache-control": "public, no-cache", "stream-up-to-date": "true" });
    const atTailFromStart = await rig.client.read("boundary");
    await rig.append("boundary", "more");
    for (const [offset, before] of [
      [from, atTail],
      ["-1", atTailFromStart],
    ] as const) {
      const reply = await rig.client.read("boundary", {
        offset,
        headers: { "if-none-match": header(before, "etag") ?? "" },
      });
      expect(reply.status, "a false Up-To-Date would be kept").toBe(200);
      expect(header(reply, "etag")).not.toBe(header(before, "etag"));
      expect(header(reply, "stream-up-to-date")).toBe(undefined);
      expect(reply.body.equals(before.body), "the same bytes").toBe(true);
    }
    const open = await rig.client.read("boundary", { offset: offsetOf(parseOffset(tail).generation, 1024) });
    expectStatus(await rig.client.close("boundary"), "close", 204);
    const closed = await rig.client.read("boundary", {
      offset: offsetOf(parseOffset(tail).generation, 1024),
      headers: { "if-none-match": header(open, "etag") ?? "" },
    });
    expect(closed.status, "the close must not hide behind a 304").toBe(200);
    expect(header(closed, "stream-closed")).toBe("true");
  });

  test("nothing of a deleted stream matches the new one of its name", async () => {
    const tail = await rig.fill("reborn", [600, 600, 10]);
    const replies = [await rig.client.read("reborn"), await rig.client.read("reborn", { offset: start(tail) })];
    const tags = replies.map((reply) => header(reply, "etag") ?? "").join(", ");
    expectStatus(await rig.client.del("reborn"), "delete", 204);
    const newTail = await rig.fill("reborn", [600, 600, 10]);
    expect(newTail > tail).toBe(true);
    const stale = await rig.client.read("reborn", { offset: start(tail) });
    expectStatus(stale, "an offset of the deleted stream", 410);
    expect(header(stale, "cache-control")).toBe("no-store");
    for (const offset of ["-1", start(newTail)]) {
      const reply = await rig.client.read("reborn", { offset, headers: { "if-none-match": tags } });
      expect(reply.status, offset).toBe(200);
    }
    const token = header(await rig.client.read("reborn"), "cache-tag");
    expect(token).not.toBe(header(replies[0] as Reply, "cache-tag"));
  });

  test("every cacheable response carries one tag for its stream", async () => {
    const tail = await rig.fill("tagged", [1024, 10]);
    await rig.fill("tagged/other", [10]);
    const from = start(tail);
    const replies = [
      await rig.client.read("tagged"),
      await rig.client.read("tagged", { offset: from }),
      await rig.client.read("tagged", { offset: tail }),
      await rig.client.longPoll("tagged", from),
    ];
    const tokens = new Set(replies.flatMap((reply) => [header(reply, "cache-tag"), header(reply, "surrogate-key")]));
    expect(tokens.size).toBe(1);
    const [token] = tokens;
    expect(token).toMatch(/^[A-Za-z0-9_.-]+$/);
    expect(header(await rig.client.read("tagged/other"), "cache-tag")).not.toBe(token);
  });

  test("a stream that expires is kept no longer than 60 s nor than it lives, and never immutable", async () => {
    const soon = new Date(Date.now() + 20_000).toISOString();
    for (const [name, options, limit] of [
      ["ttl-long", { ttlSeconds: 3600 }, 60],
      ["ttl-short", { ttlSeconds: 30 }, 30],
      ["expires-at", { expiresAt: soon }, 20],
    ] as const) {
      const tail = await rig.fill(name, [1024, 10], options);
      const from = start(tail);
      const open = await rig.client.read(name, { offset: tail });
      expect(header(open, "cache-control")).toBe("public, no-cache");
      expectStatus(await rig.client.close(name), "close", 204);
      for (const offset of [from, "-1", offsetOf(parseOffset(tail).generation, 1024), tail]) {
        const reply = await rig.client.read(name, { offset });
        expect(header(reply, "cache-control"), `${name} ${offset}`).toMatch(/^public, max-age=\d+$/);
        expect(maxAge(reply), `${name} ${offset}`).toBeLessThanOrEqual(limit);
      }
      const poll = await rig.client.longPoll(name, from);
      expect(maxAge(poll)).toBeLessThanOrEqual(20);
    }
  });

  test("what an authorised request gets is private", async () => {
    const tail = await rig.fill("private", [1024, 10]);
    const from = start(tail);
    const headers = { authorization: "Bearer token" };
    const read = async (offset: string): Promise<string | undefined> =>
      header(await rig.client.read("private", { offset, headers }), "cache-control");
    expect(await read(from)).toBe(IMMUTABLE.replace("public", "private"));
    expect(await read("-1")).toBe("private, max-age=60");
    expect(await read(tail)).toBe("private, no-cache");
    const poll = await rig.client.read("private", { offset: from, live: "long-poll", headers });
    expect(header(poll, "cache-control")).toBe("private, max-age=20");
    const etag = header(poll, "etag") ?? "";
    const unchanged = await rig.client.read("private", {
      offset: from,
      headers: { ...headers, "if-none-match": etag },
    });
    expect(unchanged.status).toBe(304);
    expect(header(unchanged, "cache-control")).toBe(IMMUTABLE.replace("public", "private"));
  });

  test("a long-poll with data is kept for a cursor's interval, and one without is not stored", async () => {
    const tail = await rig.fill("polled", [1024, 10]);
    const reply = await rig.client.longPoll("polled", start(tail));
    expect(reply.status).toBe(200);
    expect(header(reply, "cache-control")).toBe("public, max-age=20");
    expect(header(await rig.client.longPoll("polled", "-1"), "cache-control"), "from no real offset").toBe("no-store");
    const nothing = await rig.client.longPoll("polled", tail);
    expect(nothing.status).toBe(204);
    expect(header(nothing, "cache-control")).toBe("no-store");
    expect(header(nothing, "etag")).toBe(undefined);
  });

  test("HEAD, now, 204 and errors are never stored, and SSE is not either", async () => {
    const path = "unstored";
    const tail = await rig.fill(path, [1024, 10]);
    const { client } = rig;
    const { generation } = parseOffset(tail);
    const poll = (offset: string): Promise<Reply> => client.read(path, { offset, live: "long-poll" });
    const replies: Record<string, [Reply, number]> = {
      HEAD: [await client.head(path), 200],
      "HEAD of nothing": [await client.head("unstored/missing"), 404],
      now: [await client.read(path, { offset: "now" }), 200],
      "now, long-poll": [await poll("now"), 204],
      "long-poll at the tail": [await poll(tail), 204],
      "no stream": [await client.read("unstored/missing"), 404],
      "a malformed offset": [await client.read(path, { offset: "12" }), 400],
      "an offset past the tail": [await client.read(path, { offset: offsetOf(generation, 100_000) }), 400],
      "a foreign generation": [await client.read(path, { offset: offsetOf(generation + 1_000, 5) }), 410],
      "an unknown live mode": [await client.request("GET", path, { query: "offset=-1&live=other" }), 400],
      "a bad path": [await client.read("unstored/%2"), 400],
      "a conflict": [await client.create(path, { contentType: "text/plain" }), 409],
      "a wrong content type": [await client.append(path, "x", { contentType: "text/plain" }), 409],
      "another method": [await client.request("PATCH", path), 405],
    };
    for (const [name, [reply, status]] of Object.entries(replies)) {
      expect([name, reply.status, header(reply, "cache-control")]).toEqual([name, status, "no-store"]);
    }
    const now = await client.read(path, { offset: "now", headers: { "if-none-match": "*" } });
    expect([now.status, header(now, "cache-control")]).toEqual([200, "no-store"]);
    expectStatus(await client.close(path), "close", 204);
    const ended = await poll(tail);
    expect([ended.status, header(ended, "cache-control"), header(ended, "stream-closed")]).toEqual([
      204,
      "no-store",
      "true",
    ]);
    const events = await client.read(path, { offset: tail, live: "sse" });
    expect(header(events, "cache-control")).toBe("no-cache, no-transform");
    expectStatus(await client.del(path), "delete", 204);
    const gone = await client.read(path, { offset: start(tail) });
    expect([gone.status, header(gone, "cache-control")]).toEqual([404, "no-store"]);
  });

  test("a stream that expired is not stored either", async () => {
    await rig.create("expired", { ttlSeconds: 1 });
    // A HEAD renews nothing.
    const gone = await until("the expiry", 20_000, async () => {
      const reply = await rig.client.head("expired");
      return reply.status === 404 ? rig.client.read("expired") : undefined;
    });
    expect([gone.status, header(gone, "cache-control")]).toEqual([404, "no-store"]);
  });
});

/** GET of a path as a header named it. */
async function follow(client: StreamClient, location: string): Promise<Reply> {
  const response = await client.openUrl("GET", location);
  const pieces: Buffer[] = [];
  for await (const piece of response) pieces.push(piece as Buffer);
  return { status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(pieces) };
}
