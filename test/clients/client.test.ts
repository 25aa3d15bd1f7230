import { DurableStream, stream, StreamClosedError, type LiveMode } from "@durable-streams/client";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { within } from "../process/until.ts";
import { Backend } from "./backend.ts";
import { Gate } from "./gate.ts";

const BOUND_MS = 30_000;
const MODES: readonly LiveMode[] = [true, "long-poll", "sse"];

let backend: Backend;
beforeAll(async () => {
  backend = await Backend.start();
});
afterAll(async () => {
  await backend[Symbol.asyncDispose]();
});

let created = 0;
/** A URL that no other test uses. */
function freshUrl(name: string): string {
  created += 1;
  return backend.streamUrl(`clients/${name}-${created}`);
}

function concat(pieces: readonly Uint8Array[]): Buffer {
  return Buffer.concat(pieces);
}

/** Bytes of every value, so that nothing which text handling changes goes unseen. */
function bytesOf(seed: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (seed * 31 + index * 7) % 256);
}

async function statusOf(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
  } catch (error) {
    if (error instanceof Error && "status" in error) return error.status;
    throw error;
  }
  return "no error";
}

// Readers wait for a batch with `streamClosed`, as their `closed` settles before the last batch is handed out.
describe("reading", () => {
  test.each(MODES)("bytes arrive once, in order and to the end with live: %s", async (live) => {
    const url = freshUrl("bytes");
    const handle = await DurableStream.create({ url, contentType: "application/octet-stream" });
    const early = bytesOf(1, 3_000);
    await handle.append(early);

    const seen: { data: Uint8Array; offset: string }[] = [];
    const reader = await stream({ url, offset: "-1", live });
    const caughtUp = new Gate();
    const ended = new Gate();
    let count = 0;
    reader.subscribeBytes((chunk) => {
      seen.push({ data: chunk.data, offset: chunk.offset });
      count += chunk.data.length;
      if (count >= early.length) caughtUp.open();
      if (chunk.streamClosed) ended.open();
    });
    await within("the bytes before the read", BOUND_MS, caughtUp.opened);

    const late = [bytesOf(2, 1), bytesOf(3, 70_000), bytesOf(4, 256)];
    for (const body of late) await handle.append(body);
    const { finalOffset } = await handle.close();
    await within("the reader's end after the close", BOUND_MS, Promise.all([ended.opened, reader.closed]));

    const whole = concat([early, ...late]);
    expect(concat(seen.map((chunk) => chunk.data)).equals(whole)).toBe(true);
    expect(reader.streamClosed).toBe(true);
    expect(reader.offset).toBe(finalOffset);
    let before = 0;
    for (const chunk of seen) {
      before += chunk.data.length;
      const rest = await (await stream({ url, offset: chunk.offset, live: false })).body();
      expect(Buffer.from(rest).equals(whole.subarray(before)), `the rest after ${chunk.offset}`).toBe(true);
    }
  });

  test.each(MODES)("JSON values arrive once, in order and to the end with live: %s", async (live) => {
    const url = freshUrl("json");
    const handle = await DurableStream.create({ url, contentType: "application/json" });
    const values = [{ n: 0 }, ["nested", [1, 2]], "line\nbreak\r and \u2028 and \u{1F9CA}", null, 0.1, { s: " [,] " }];
    await handle.append(JSON.stringify(values[0]));
    await handle.append(JSON.stringify(values[1]));

    const seen: { item: unknown; offset: string; last: boolean }[] = [];
    const reader = await stream({ url, offset: "-1", live, json: true });
    const caughtUp = new Gate();
    const ended = new Gate();
    reader.subscribeJson((batch) => {
      for (const [index, item] of batch.items.entries())
        seen.push({ item, offset: batch.offset, last: index === batch.items.length - 1 });
      if (seen.length >= 2) caughtUp.open();
      if (batch.streamClosed) ended.open();
    });
    await within("the values before the read", BOUND_MS, caughtUp.opened);

    for (const value of values.slice(2, -1)) await handle.append(JSON.stringify(value));
    await handle.close({ body: JSON.stringify(values.at(-1)) });
    await within("the reader's end after the close", BOUND_MS, Promise.all([ended.opened, reader.closed]));

    expect(seen.map(({ item }) => item)).toEqual(values);
    for (const [index, { offset, last }] of seen.entries()) {
      if (!last) continue;
      const rest = await (await stream({ url, offset, live: false, json: true })).json();
      expect(rest, `the rest after ${offset}`).toEqual(values.slice(index + 1));
    }
  });

  test.each(MODES)("text keeps its lines and leading spaces with live: %s", async (live) => {
    const url = freshUrl("text");
    const handle = await DurableStream.create({ url, contentType: "text/plain" });
    const parts = [" leading", "two\nlines", "\n\n", "data: not an event\n", "\ttab ", "ünïcode 🧊"];
    for (const part of parts.slice(0, 3)) await handle.append(part);
    const reader = await stream({ url, offset: "-1", live });
    let text = "";
    const caughtUp = new Gate();
    const ended = new Gate();
    reader.subscribeText((chunk) => {
      text += chunk.text;
      if (chunk.streamClosed) ended.open();
      if (text.length >= parts.slice(0, 3).join("").length) caughtUp.open();
    });
    await within("the text before the read", BOUND_MS, caughtUp.opened);
    for (const part of parts.slice(3)) await handle.append(part);
    await handle.close();
    await within("the reader's end after the close", BOUND_MS, Promise.all([ended.opened, reader.closed]));
    expect(text).toBe(parts.join(""));
  });

  test("a stream of several chunks comes back whole, in one live read and in catch-up reads that follow the offset", async () => {
    const url = freshUrl("large");
    const handle = await DurableStream.create({ url, contentType: "application/octet-stream" });
    const parts = Array.from({ length: 7 }, (_, index) => bytesOf(index, 500_003));
    for (const part of parts) await handle.append(part);
    const head = await handle.head();
    const live = await stream({ url });
    expect(Buffer.from(await live.body()).equals(concat(parts))).toBe(true);
    expect(head).toMatchObject({ exists: true, streamClosed: false, offset: live.offset });

    // With `live: false` this client takes one response and says by `upToDate` whether that was all.
    const pieces: Uint8Array[] = [];
    let offset = "-1";
    for (let upToDate = false; !upToDate;) {
      const reader = await stream({ url, offset, live: false });
      pieces.push(await reader.body());
      expect(reader.offset).not.toBe(offset);
      ({ offset, upToDate } = reader);
    }
    expect(pieces.length).toBeGreaterThan(1);
    expect(concat(pieces).equals(concat(parts))).toBe(true);
    expect(head).toMatchObject({ offset });
  });

  test.each(MODES)("a reader at `now` sees what comes after it and nothing before, with live: %s", async (live) => {
    const url = freshUrl("now");
    const handle = await DurableStream.create({ url, contentType: "application/json", body: '["old"]' });
    const { offset } = await handle.head().then((head) => (head.exists ? head : { offset: undefined }));
    const reader = await stream({ url, offset: "now", live, json: true });
    const items: unknown[] = [];
    const ended = new Gate();
    reader.subscribeJson((batch) => {
      items.push(...batch.items);
      if (batch.streamClosed) ended.open();
    });
    expect(reader.offset).toBe(offset);
    await handle.append('"new"');
    await handle.close();
    await within("the reader's end after the close", BOUND_MS, Promise.all([ended.opened, reader.closed]));
    expect(items).toEqual(["new"]);
  });

  test.each(MODES)("a reader goes on where it was when the server is killed, with live: %s", async (live) => {
    const url = freshUrl("crash");
    const handle = await DurableStream.create({ url, contentType: "application/json" });
    for (let n = 0; n < 20; n += 1) await handle.append(`${n}`);
    const reader = await stream({ url, offset: "-1", live, json: true, onError: () => ({}) });
    const items: unknown[] = [];
    const caughtUp = new Gate();
    const ended = new Gate();
    reader.subscribeJson((batch) => {
      items.push(...batch.items);
      if (items.length === 20) caughtUp.open();
      if (batch.streamClosed) ended.open();
    });
    await within("the values before the crash", BOUND_MS, caughtUp.opened);
    await backend.crash();
    for (let n = 20; n < 40; n += 1) await handle.append(`${n}`);
    await handle.close();
    await within("the reader's end after the close", BOUND_MS, Promise.all([ended.opened, reader.closed]));
    expect(items).toEqual(Array.from({ length: 40 }, (_, n) => n));
  });
});

describe("writing", () => {
  test("appends that are not awaited are batched and keep their order", async () => {
    const url = freshUrl("batched");
    const handle = await DurableStream.create({ url, contentType: "application/json" });
    const posts = backend.relay.passed.get("POST") ?? 0;
    await Promise.all(Array.from({ length: 500 }, (_, n) => handle.append(`${n}`)));
    expect((backend.relay.passed.get("POST") ?? 0) - posts).toBeLessThan(500);
    const items = await (await handle.stream({ live: false })).json();
    expect(items).toEqual(Array.from({ length: 500 }, (_, n) => n));
  });

  test("a piped body and a writable arrive whole", async () => {
    const url = freshUrl("piped");
    const handle = await DurableStream.create({ url, contentType: "text/plain" });
    async function* words(): AsyncGenerator<string> {
      for (let n = 0; n < 200; n += 1) yield `word ${n}\n`;
    }
    await handle.appendStream(words());
    const writer = handle.writable().getWriter();
    for (let n = 200; n < 400; n += 1) await writer.write(`word ${n}\n`);
    await writer.close();
    const text = await (await stream({ url, live: false })).text();
    expect(text).toBe(Array.from({ length: 400 }, (_, n) => `word ${n}\n`).join(""));
  });

  test("a stream created closed with its content is read to its end", async () => {
    const url = freshUrl("closed");
    await DurableStream.create({ url, contentType: "application/json", body: "[1,2,3]", closed: true });
    const reader = await stream({ url, live: true, json: true });
    const items: unknown[] = [];
    const ended = new Gate();
    reader.subscribeJson((batch) => {
      items.push(...batch.items);
      if (batch.streamClosed) ended.open();
    });
    await within("the reader's end", BOUND_MS, Promise.all([ended.opened, reader.closed]));
    expect(items).toEqual([1, 2, 3]);
  });

  test("a create whose answer is lost succeeds when it is retried", async () => {
    const url = freshUrl("lost-create");
    let left = 2;
    backend.relay.lose((method) => method === "PUT" && left-- > 0);
    try {
      const lost = backend.relay.lost;
      await DurableStream.create({ url, contentType: "application/json", ttlSeconds: 3600, body: '[{"first":true}]' });
      expect(backend.relay.lost - lost).toBe(2);
    } finally {
      backend.relay.loseNothing();
    }
    expect(await (await stream({ url, live: false })).json()).toEqual([{ first: true }]);
  });
});

describe("errors surface with their status", () => {
  test("404 for a stream that does not exist", async () => {
    const url = freshUrl("missing");
    expect(await DurableStream.head({ url })).toEqual({ exists: false });
    expect(await statusOf(new DurableStream({ url, contentType: "text/plain" }).append("x"))).toBe(404);
    expect(await statusOf(stream({ url, live: false }))).toBe(404);
    expect(await statusOf(stream({ url, live: "sse" }))).toBe(404);
    expect(await statusOf(stream({ url, live: "long-poll" }))).toBe(404);
    expect(await statusOf(DurableStream.delete({ url }))).toBe(404);
  });

  test("404 after a delete, and a live reader learns of it", async () => {
    const url = freshUrl("deleted");
    const handle = await DurableStream.create({ url, contentType: "text/plain", body: "x" });
    await handle.delete();
    expect(await handle.head()).toEqual({ exists: false });
    expect(await statusOf(stream({ url, live: true }))).toBe(404);
  });

  test("409 for another configuration, another content type and a Stream-Seq that does not grow", async () => {
    const url = freshUrl("conflict");
    const handle = await DurableStream.create({ url, contentType: "text/plain" });
    expect(await statusOf(DurableStream.create({ url, contentType: "application/json" }))).toBe(409);
    expect(await statusOf(handle.append("{}", { contentType: "application/json" }))).toBe(409);
    await handle.append("a", { seq: "0002" });
    expect(await statusOf(handle.append("b", { seq: "0001" }))).toBe(409);
    expect(await (await stream({ url, live: false })).text()).toBe("a");
  });

  test("409 with the final offset for an append to a closed stream", async () => {
    const url = freshUrl("eof");
    const handle = await DurableStream.create({ url, contentType: "text/plain", body: "all" });
    const { finalOffset } = await handle.close();
    expect(await handle.close()).toEqual({ finalOffset });
    expect(await statusOf(handle.append("more"))).toBe(409);
    const refused = await handle.close({ body: "more" }).catch((error: unknown) => error);
    expect(refused).toMatchObject({ status: 409 });
    if (refused instanceof StreamClosedError) expect(refused.finalOffset).toBe(finalOffset);
    const reader = await stream({ url, offset: finalOffset, live: true });
    await within("the end of a read at the end", BOUND_MS, reader.text());
    expect(reader.streamClosed).toBe(true);
  });

  test("410 for an offset of the stream that had the name before, 400 for one that is none", async () => {
    const url = freshUrl("gone");
    const first = await DurableStream.create({ url, contentType: "text/plain", body: "the first one's bytes" });
    const head = await first.head();
    if (!head.exists || head.offset === undefined) throw new Error("the stream has no offset");
    await first.delete();
    await DurableStream.create({ url, contentType: "text/plain", body: "the second one's bytes" });
    for (const live of [false, ...MODES]) {
      expect(await statusOf(stream({ url, offset: head.offset, live })), `live: ${live}`).toBe(410);
      expect(await statusOf(stream({ url, offset: "tomorrow", live })), `live: ${live}`).toBe(400);
    }
  });
});
