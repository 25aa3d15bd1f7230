import { describe, expect, test } from "vitest";
import { expectStatus, header, RefusedRead, StreamClient } from "../process/http.ts";
import { offsetOf, parseOffset } from "../process/stored-bytes.ts";
import { DataDirectory } from "./data-directory.ts";
import { COLD_ARGS, messageOf, start, untilRolled, type KnownStream } from "./filled-server.ts";

const path = "faults/re-created";
const contentType = "text/plain";
const MESSAGES = 12;

/** What a cache or a client may still hold of a stream: the URLs it read and the ETags it got. */
interface Memory {
  readonly offsets: readonly string[];
  readonly etags: readonly string[];
}

interface Written {
  readonly bytes: Buffer;
  readonly memory: Memory;
}

/** The same configuration and lengths each time; only the content says which life it is. */
async function writeLife(client: StreamClient, life: string, closed: boolean): Promise<Written> {
  expectStatus(await client.create(path, { contentType }), `create ${life}`, 201);
  const bodies = Array.from({ length: MESSAGES }, (_, index) => messageOf(`${path}-${life}`, index, 1_500));
  for (const body of bodies) expectStatus(await client.append(path, body, { contentType }), `append ${life}`, 204);
  if (closed) expectStatus(await client.close(path), `close ${life}`, 204);
  return { bytes: Buffer.from(bodies.join("")), memory: await remember(client) };
}

async function remember(client: StreamClient): Promise<Memory> {
  const offsets = new Set<string>();
  const etags = new Set<string>();
  const note = (tag: string | undefined): void => void etags.add(tag ?? "");
  const whole = await client.readAll(path);
  for (const chunk of whole.chunks) {
    offsets.add(chunk.next);
    note(header(chunk.reply, "etag"));
  }
  const { generation, position } = parseOffset(whole.next);
  offsets.add(offsetOf(generation, 0)).add(offsetOf(generation, Math.floor(position / 2)));
  for (const offset of offsets) note(header(await client.read(path, { offset }), "etag"));
  note(header(await client.read(path), "etag"));
  expect(etags.has(""), "a read without an ETag").toBe(false);
  expect(whole.chunks.length).toBeGreaterThan(2);
  return { offsets: [...offsets], etags: [...etags] };
}

async function expectForgotten(client: StreamClient, old: Memory, bytes: Buffer): Promise<void> {
  const everyTag = old.etags.join(", ");
  for (const offset of old.offsets) {
    for (const headers of [{}, { "if-none-match": everyTag }]) {
      expectStatus(await client.read(path, { offset, headers }), `old offset ${offset}`, 410);
      expectStatus(
        await client.read(path, { offset, headers, live: "long-poll", cursor: "1" }),
        `long-poll from old offset ${offset}`,
        410,
      );
    }
    await expect(firstEvent(client, offset), `SSE from old offset ${offset}`).rejects.toThrow(new RefusedRead(410));
  }
  for (const etag of [...old.etags, everyTag]) {
    for (const query of [{}, { offset: "-1" }, { offset: offsetOf(0, 0) }, { offset: "now" }]) {
      const reply = await client.read(path, { ...query, headers: { "if-none-match": etag } });
      expectStatus(reply, `${JSON.stringify(query)} with the old ETag ${etag}`, 200);
      if (!("offset" in query) || query.offset !== "now")
        expect(reply.body.equals(bytes.subarray(0, reply.body.length)) && reply.body.length > 0).toBe(true);
    }
  }
  const now = await client.readAll(path);
  expect(now.bytes.equals(bytes)).toBe(true);
  for (const chunk of now.chunks.slice(1)) {
    const reply = await client.read(path, { offset: chunk.from, headers: { "if-none-match": everyTag } });
    expectStatus(reply, `a new offset ${chunk.from} with every old ETag`, 200);
  }
}

async function firstEvent(client: StreamClient, offset: string): Promise<unknown> {
  for await (const event of client.sse(path, offset)) return event;
  return undefined;
}

describe.each([
  ["open", false],
  ["closed", true],
] as const)("a deleted and re-created stream (%s before)", (_, closed) => {
  test(
    "answers no offset, URL or ETag of its earlier life with 200 or 304, also after restarts",
    { timeout: 120_000 },
    async () => {
      await using data = await DataDirectory.empty();
      let old: Written;
      let next: Written;
      {
        await using server = await start(data, COLD_ARGS);
        using client = new StreamClient(server.url);
        old = await writeLife(client, "first", closed);
        const known: KnownStream = {
          path,
          contentType,
          bytes: old.bytes,
          tail: "",
          closed,
          lastProduced: { body: messageOf(`${path}-first`, MESSAGES - 1, 1_500), epoch: 0, seq: 0 },
        };
        await untilRolled(data, [known]);
        // Cold reads of the old life put its chunks into every cache there is.
        expect((await client.readAll(path)).bytes.equals(old.bytes)).toBe(true);
        expectStatus(await client.del(path), "delete", 204);
        for (const offset of [...old.memory.offsets, "-1", "now"]) {
          const headers = { "if-none-match": old.memory.etags.join(", ") };
          expectStatus(await client.read(path, { offset, headers }), `deleted, from ${offset}`, 404);
        }
        next = await writeLife(client, "other", false);
        expect(next.bytes.length).toBe(old.bytes.length);
        await expectForgotten(client, old.memory, next.bytes);
        await server.kill9();
      }
      {
        await using server = await start(data, COLD_ARGS);
        using client = new StreamClient(server.url);
        await expectForgotten(client, old.memory, next.bytes);
        expect(await server.stop()).toBe(0);
      }
      await using server = await start(data, COLD_ARGS);
      using client = new StreamClient(server.url);
      await expectForgotten(client, old.memory, next.bytes);
    },
  );
});

test("a stream re-created with the very same bytes is another stream", { timeout: 60_000 }, async () => {
  await using data = await DataDirectory.empty();
  await using server = await start(data, COLD_ARGS);
  using client = new StreamClient(server.url);
  const old = await writeLife(client, "twin", false);
  expectStatus(await client.del(path), "delete", 204);
  const next = await writeLife(client, "twin", false);
  expect(next.memory.etags.filter((etag) => old.memory.etags.includes(etag))).toEqual([]);
  expect(next.memory.offsets.filter((offset) => old.memory.offsets.includes(offset))).toEqual([]);
  await expectForgotten(client, old.memory, next.bytes);
});
