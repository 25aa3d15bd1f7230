import { once } from "node:events";
import { ServerResponse } from "node:http";
import { COMPRESSED_RESPONSES_MAX } from "@coldbrook/core";
import { afterEach, describe, expect, test, vi } from "vitest";
import {
  decoded,
  MIB,
  parseAnswer,
  random,
  RawReads,
  repetitive,
  requestText,
  shown,
  turn,
  type Answer,
} from "../../test-support/raw-reads.ts";
import { Compressor } from "./compression.ts";

afterEach(() => vi.restoreAllMocks());

const TEXT = "text/plain";
const LARGE_CHUNKS = { chunkBytes: 64 * MIB, bodyBytesMax: 64 * MIB };

describe("a read of 1 KiB or more", () => {
  test.each([
    ["gzip", "gzip"],
    ["deflate", "deflate"],
    ["gzip, deflate, br", "gzip"],
    ["gzip;q=0, deflate;q=0.1", "deflate"],
    ["*", "gzip"],
  ])("comes compressed to a client that takes %s: as %s", async (encoding, coding) => {
    await using served = await RawReads.start();
    await served.write("PUT", "a", repetitive(5000));
    const plain = await served.get("a?offset=-1", "identity");
    const answer = await served.get("a?offset=-1", encoding);
    expect([answer.status, answer.isWhole, ...shown(answer)]).toEqual([
      200,
      true,
      coding,
      "Accept-Encoding",
      undefined,
    ]);
    expect(decoded(answer).equals(repetitive(5000))).toBe(true);
    expect(answer.body.length).toBeLessThan(500);
    expect(answer.headers.get("etag")).toBe(plain.headers.get("etag")!.replace(/"$/, `:${coding}"`));
    for (const name of ["stream-next-offset", "stream-up-to-date", "cache-control", "cache-tag", "content-type"]) {
      expect(answer.headers.get(name)).toBe(plain.headers.get(name));
    }
  });

  test.each(["gzip;q=0, deflate;q=0", "br", "identity", "identity, gzip;q=0.5", ""])(
    "comes as it is to one that sends Accept-Encoding: %s, and says that it varies",
    async (encoding) => {
      await using served = await RawReads.start();
      await served.write("PUT", "a", repetitive(5000));
      const answer = await served.get("a?offset=-1", encoding);
      expect(shown(answer)).toEqual([undefined, "Accept-Encoding", "5000"]);
      expect(answer.body.equals(repetitive(5000))).toBe(true);
      expect(answer.headers.get("etag")).not.toContain("gzip");
    },
  );

  test("may end at 1 KiB sharp", async () => {
    await using served = await RawReads.start();
    await served.write("PUT", "less", repetitive(1023));
    await served.write("PUT", "same", repetitive(1024));
    expect(shown(await served.get("less?offset=-1"))).toEqual([undefined, "Accept-Encoding", "1023"]);
    expect(shown(await served.get("same?offset=-1"))).toEqual(["gzip", "Accept-Encoding", undefined]);
  });

  test.each(["image/png", "application/zip", "video/mp4"])(
    "of %s, compressed already, goes out as it is and never varies",
    async (type) => {
      await using served = await RawReads.start();
      await served.write("PUT", "a", repetitive(5000), { "content-type": type });
      expect(shown(await served.get("a?offset=-1"))).toEqual([undefined, undefined, "5000"]);
    },
  );

  test("of JSON is the same array", async () => {
    await using served = await RawReads.start();
    // The last comma is the first byte of a part of its own.
    const messages = [...Array.from({ length: 127 }, () => "x".repeat(509)), "x".repeat(512 - 2)].map(
      (text) => `"${text}"`,
    );
    expect(messages.join(",").length + 1).toBe(65_537);
    for (const [name, type] of Object.entries({ json: "application/json" })) {
      await served.write("PUT", name, `[${messages.join(", ")}]`, { "content-type": type });
    }
    const plain = await served.get("json?offset=-1", "identity");
    const answer = await served.get("json?offset=-1");
    expect(answer.headers.get("content-encoding")).toBe("gzip");
    expect(decoded(answer).toString()).toBe(`[${messages.join(",")}]`);
    expect(decoded(answer).equals(plain.body)).toBe(true);
  });

  test.each([
    ["text", repetitive(3 * MIB), TEXT],
    ["random bytes", random(3 * MIB), TEXT],
    [
      "JSON",
      Buffer.from(JSON.stringify(Array.from({ length: 60_000 }, (_, i) => ({ i, text: "abc".repeat(12) })))),
      "application/json",
    ],
  ])(
    "of 3 MiB, of %s, comes in the same ranges as without, and its parts are cached the same",
    async (_, body, type) => {
      await using served = await RawReads.start();
      if (type === TEXT) await served.fill("a", body);
      else await served.write("PUT", "a", body, { "content-type": type });
      const parts: Buffer[] = [];
      for (let offset = "-1", done = false; !done;) {
        const target = `a?offset=${offset}`;
        const [plain, answer] = [await served.get(target, "identity"), await served.get(target)];
        expect([answer.headers.get("content-encoding"), answer.isWhole]).toEqual(["gzip", true]);
        expect(decoded(answer).equals(plain.body)).toBe(true);
        for (const name of ["stream-next-offset", "stream-up-to-date", "cache-control", "content-location"]) {
          expect(answer.headers.get(name)).toBe(plain.headers.get(name));
        }
        if (offset !== "-1" && !answer.headers.has("stream-up-to-date")) {
          expect(answer.headers.get("cache-control")).toBe("public, max-age=31536000, immutable");
        }
        parts.push(decoded(answer));
        offset = answer.headers.get("stream-next-offset")!;
        done = answer.headers.has("stream-up-to-date");
      }
      expect(parts.length).toBeGreaterThan(2);
      const whole =
        type === "application/json"
          ? Buffer.from(JSON.stringify(parts.flatMap((part) => JSON.parse(part.toString()) as unknown[])))
          : Buffer.concat(parts);
      expect(whole.equals(body)).toBe(true);
    },
  );

  test("larger than what is taken whole is compressed piece by piece", async () => {
    await using served = await RawReads.start(LARGE_CHUNKS);
    const body = Buffer.concat([random(3 * MIB), repetitive(6 * MIB)]);
    await served.write("PUT", "a", body);
    const answer = await served.get("a?offset=-1");
    expect([answer.headers.get("content-encoding"), answer.isWhole]).toEqual(["gzip", true]);
    expect(decoded(answer).equals(body)).toBe(true);
  });

  test("over HTTP/1.0 ends with the connection, and what was sent behind it has no effect", async () => {
    await using served = await RawReads.start();
    await served.write("PUT", "a", repetitive(5000));
    const socket = await served.connect();
    const parts: Buffer[] = [];
    socket.on("data", (part: Buffer) => parts.push(part));
    socket.write(
      requestText("GET a?offset=-1 HTTP/1.0", ["Accept-Encoding: gzip", "Connection: keep-alive"]) +
        requestText("DELETE a HTTP/1.0", []),
    );
    await once(socket, "close");
    const answer = parseAnswer(Buffer.concat(parts));
    expect(shown(answer)).toEqual(["gzip", "Accept-Encoding", undefined]);
    expect(answer.headers.has("transfer-encoding")).toBe(false);
    expect(decoded(answer).equals(repetitive(5000))).toBe(true);
    expect((await served.get("a?offset=-1")).status).toBe(200);
  });

  test("leaves the connection open for the next request", async () => {
    await using served = await RawReads.start();
    await served.write("PUT", "a", repetitive(5000));
    const socket = await served.connect();
    let received = "";
    socket.setEncoding("latin1").on("data", (text: string) => (received += text));
    for (let i = 1; i <= 3; i++) {
      socket.write(requestText("GET a?offset=-1 HTTP/1.1", ["Accept-Encoding: gzip"]));
      while (received.split("\r\n0\r\n\r\n").length <= i) await turn();
    }
    expect(received.match(/HTTP\/1\.1 200/g)).toHaveLength(3);
  });

  test("is compressed over long-poll too", async () => {
    await using served = await RawReads.start();
    await served.write("PUT", "a", repetitive(10));
    const from = (await served.get("a?offset=-1")).headers.get("stream-next-offset")!;
    const waiting = served.get(`a?offset=${from}&live=long-poll`);
    await served.untilHealth(({ waiters }) => waiters === 1);
    await served.write("POST", "a", repetitive(5000));
    const answer = await waiting;
    expect([answer.status, ...shown(answer)]).toEqual([200, "gzip", "Accept-Encoding", undefined]);
    expect(decoded(answer).equals(repetitive(5000))).toBe(true);
    const known = `If-None-Match: ${answer.headers.get("etag")}`;
    expect((await served.get(`a?offset=${from}&live=long-poll`, "gzip", known)).status).toBe(304);
    expect((await served.get(`a?offset=${from}&live=long-poll`, "identity", known)).status).toBe(200);
  });
});

describe("a URL varies", () => {
  test("as long as its body may yet grow to 1 KiB, and not once it is settled below", async () => {
    await using served = await RawReads.start({ chunkBytes: 64 });
    await served.write("PUT", "a", repetitive(20));
    const grown = (await served.get("a?offset=-1")).headers.get("stream-next-offset")!;
    expect((await served.get(`a?offset=${grown}`)).headers.get("vary")).toBe("Accept-Encoding");
    for (let i = 0; i < 5; i++) await served.write("POST", "a", repetitive(20));
    const settled = await served.get(`a?offset=${grown}`);
    expect([settled.headers.get("vary"), settled.headers.get("stream-up-to-date")]).toEqual([undefined, undefined]);
    // From the start, the name may one day be another stream's.
    expect((await served.get("a?offset=-1")).headers.get("vary")).toBe("Accept-Encoding");
    expect((await served.get("a?offset=now")).headers.get("vary")).toBeUndefined();
  });
});

describe("If-None-Match", () => {
  test("matches the tag of the variant that would be sent, and no other", async () => {
    await using served = await RawReads.start();
    await served.write("PUT", "a", repetitive(5000));
    const tags = new Map<string, string>();
    for (const encoding of ["gzip", "deflate", "identity"]) {
      tags.set(encoding, (await served.get("a?offset=-1", encoding)).headers.get("etag")!);
    }
    expect(new Set(tags.values()).size).toBe(3);
    for (const [encoding, own] of tags) {
      for (const [held, tag] of tags) {
        const answer = await served.get("a?offset=-1", encoding, `If-None-Match: ${tag}`);
        expect([encoding, held, answer.status]).toEqual([encoding, held, tag === own ? 304 : 200]);
        expect([answer.headers.get("etag"), answer.headers.get("vary")]).toEqual([own, "Accept-Encoding"]);
        if (answer.status !== 304) continue;
        expect(answer.body.length).toBe(0);
        expect(answer.headers.has("content-encoding")).toBe(false);
      }
      const all = [...tags.values()].map((tag) => `W/${tag}`).join(", ");
      expect((await served.get("a?offset=-1", encoding, `If-None-Match: ${all}`)).headers.get("etag")).toBe(own);
    }
    expect((await served.health())["compressedResponses"]).toBe(0);
  });
});

describe("nothing is compressed", () => {
  test("over SSE", async () => {
    await using served = await RawReads.start();
    await served.write("PUT", "a", repetitive(5000), { "stream-closed": "true" });
    const answer = await served.get("a?offset=-1&live=sse");
    expect(shown(answer)).toEqual([undefined, undefined, undefined]);
    expect(answer.headers.get("content-type")).toBe("text/event-stream");
    expect(answer.body.toString()).toContain("one more line");
  });

  test("of HEAD, which has no body and does not vary", async () => {
    await using served = await RawReads.start();
    await served.write("PUT", "a", repetitive(5000));
    const answer = await served.ask("HEAD a HTTP/1.1", "Accept-Encoding: gzip");
    expect([answer.status, answer.body.length, ...shown(answer)]).toEqual([200, 0, undefined, undefined, undefined]);
  });

  test("of an error or an empty body", async () => {
    await using served = await RawReads.start();
    await served.write("PUT", "a", "", { "content-type": "application/json" });
    const empty = await served.get("a?offset=-1");
    expect([empty.body.toString(), ...shown(empty)]).toEqual(["[]", undefined, "Accept-Encoding", "2"]);
    const missing = await served.get("missing?offset=-1");
    expect([missing.status, missing.headers.get("content-encoding")]).toEqual([404, undefined]);
  });

  test("when the setting is off: one variant, one tag, and no Vary", async () => {
    await using served = await RawReads.start({ compression: false });
    await served.write("PUT", "a", repetitive(5000));
    const [plain, answer] = [await served.ask("GET a?offset=-1 HTTP/1.1"), await served.get("a?offset=-1")];
    expect(shown(answer)).toEqual([undefined, undefined, "5000"]);
    const without = ({ headers }: Answer): [string, string][] => [...headers].filter(([name]) => name !== "date");
    expect(without(answer)).toEqual(without(plain));
    expect(Object.keys(await served.health())).not.toContain("compressedResponses");
  });
});

describe("more responses than may be compressed at once", () => {
  const response = (): ServerResponse => new ServerResponse({ method: "GET" } as never);

  test("go out as they are, until one ends", () => {
    const compressor = new Compressor();
    const admitted = Array.from({ length: COMPRESSED_RESPONSES_MAX }, response);
    expect(admitted.map((one) => compressor.admit(one))).toEqual(admitted.map(() => true));
    expect(compressor.admit(response())).toBe(false);
    admitted[0]!.emit("close");
    expect(compressor.responses).toBe(COMPRESSED_RESPONSES_MAX - 1);
    expect(compressor.admit(response())).toBe(true);
  });

  test("are other variants: uncoded, with its tag, which then also matches; the coded one is still known", async () => {
    await using served = await RawReads.start();
    await served.write("PUT", "a", repetitive(5000));
    const coded = (await served.get("a?offset=-1")).headers.get("etag");
    vi.spyOn(Compressor.prototype, "admit").mockReturnValue(false);
    const answer = await served.get("a?offset=-1");
    expect(shown(answer)).toEqual([undefined, "Accept-Encoding", "5000"]);
    const etag = answer.headers.get("etag");
    expect((await served.get("a?offset=-1", "gzip", `If-None-Match: ${etag}`)).status).toBe(304);
    const known = await served.get("a?offset=-1", "gzip", `If-None-Match: ${coded}`);
    expect([known.status, known.headers.get("etag")]).toEqual([304, coded]);
  });
});
