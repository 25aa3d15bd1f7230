import { BLOCK_BYTES, isExpired, position, type CreateRequest, type ProducerTuple } from "@coldbrook/core";
import { describe, expect, test } from "vitest";
import { ask, START_MS } from "../test-support/shard.ts";
import type { AppendInput, AppendResult } from "./engine/write-path.ts";
import { openMemoryEngine, type MemoryEngine, type MemoryEngineOptions } from "./memory-engine.ts";
import { startColdbrook } from "./compose.ts";
import { readSettings } from "./settings.ts";

const MIB = 1024 * 1024;

function input(body: string | Uint8Array, more: Partial<AppendInput> = {}): AppendInput {
  const bytes = typeof body === "string" ? Buffer.from(body) : body;
  return { contentType: "text/plain", body: bytes, close: false, producer: null, streamSeq: null, ...more };
}

function create(memory: MemoryEngine, path: string, request: Partial<CreateRequest> = {}, body = ""): void {
  const result = memory.engine.createNow(path, ask(request), Buffer.from(body));
  expect(result.kind).toBe("created");
}

function outcome(result: AppendResult): string {
  return result.kind === "decided" ? result.outcome.kind : result.kind;
}

function text(memory: MemoryEngine, path: string, from = 0, to = Infinity): string {
  const { stream, state } = memory.engine.find(path)!;
  return Buffer.from(memory.reader.readNow(stream, position(from), position(Math.min(to, state.tail)))).toString(
    "latin1",
  );
}

/** An engine, without a turn of the event loop before it is closed. */
async function withEngine(
  options: MemoryEngineOptions,
  run: (memory: MemoryEngine) => void | Promise<void>,
): Promise<void> {
  const memory = openMemoryEngine(options);
  try {
    await run(memory);
  } finally {
    await memory.close();
  }
}

function patterned(bytes: number, seed: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: bytes }, (_, at) => 33 + ((at * 7 + seed + (at >>> 8)) % 90)));
}

describe("an engine in memory, in one turn", () => {
  test("creates, appends, reads, closes and deletes", () =>
    withEngine({}, (memory) => {
      const { engine } = memory;
      create(memory, "a", {}, "first ");
      expect(engine.createNow("a", ask(), Buffer.alloc(0)).kind).toBe("exists");
      expect(engine.createNow("a", ask({ contentType: "text/css" }), Buffer.alloc(0)).kind).toBe("conflict");
      expect(outcome(engine.appendNow("a", input("second")))).toBe("append");
      expect([text(memory, "a"), text(memory, "a", 6), text(memory, "a", 2, 8)]).toEqual([
        "first second",
        "second",
        "rst se",
      ]);
      expect(outcome(engine.appendNow("a", input(" last", { close: true })))).toBe("append");
      expect(engine.find("a")!.state).toMatchObject({ tail: 17, closed: true });
      expect(outcome(engine.appendNow("a", input("more")))).toBe("closed");
      expect([engine.removeNow("a"), engine.removeNow("a")]).toEqual(["deleted", "missing"]);
      expect([engine.find("a"), outcome(engine.appendNow("a", input("x")))]).toEqual([undefined, "not-found"]);
    }));

  test("gives the generation of a deleted stream to no other", () =>
    withEngine({}, (memory) => {
      create(memory, "a", {}, "old");
      const before = memory.engine.find("a")!.state.identity.id;
      memory.engine.removeNow("a");
      create(memory, "a", {}, "new");
      expect(memory.engine.find("a")!.state.identity.id).toBeGreaterThan(before);
      expect(text(memory, "a")).toBe("new");
    }));

  test("knows producers and their duplicates", () =>
    withEngine({}, (memory) => {
      create(memory, "a");
      const by = (seq: number): { producer: ProducerTuple } => ({ producer: { id: "p", epoch: 0, seq } });
      const results = [0, 0, 1, 5].map((seq) => outcome(memory.engine.appendNow("a", input(`${seq}`, by(seq)))));
      expect(results).toEqual(["append", "duplicate", "append", "gap"]);
      expect(text(memory, "a")).toBe("01");
    }));

  test("lets a stream expire by its own clock", () => {
    let nowMs = START_MS;
    return withEngine({ clock: () => nowMs }, (memory) => {
      create(memory, "a", { ttlSeconds: 10 }, "x");
      nowMs += 10_000;
      const { engine } = memory;
      expect(engine.find("a")).toBeUndefined();
      expect(outcome(engine.appendNow("a", input("x")))).toBe("not-found");
      create(memory, "a", { ttlSeconds: 10 }, "again");
      expect(isExpired(engine.find("a")!.state, nowMs)).toBe(false);
    });
  });

  test("forks, at its tail and inside of its bytes", () =>
    withEngine({}, (memory) => {
      create(memory, "a", {}, "one");
      memory.engine.appendNow("a", input("two"));
      const forked = memory.engine.forkNow(
        "b",
        { create: ask(), fork: { source: "a", offset: "tail", subOffset: 0 } },
        Buffer.alloc(0),
      );
      expect(forked.kind).toBe("created");
      memory.engine.appendNow("b", input("three"));
      expect([text(memory, "a"), text(memory, "b"), text(memory, "b", 2, 8)]).toEqual([
        "onetwo",
        "onetwothree",
        "etwoth",
      ]);
    }));

  test("settles what others are awaiting, before what comes after it", () =>
    withEngine({}, async (memory) => {
      const { engine } = memory;
      const created = engine.create("a", ask(), Buffer.from("1"));
      expect(engine.find("a")).toBeUndefined();
      const appended = engine.append("b", input("x"));
      expect(outcome(engine.appendNow("a", input("2")))).toBe("append");
      expect(text(memory, "a")).toBe("12");
      const removed = engine.remove("a");
      create(memory, "a", {}, "3");
      expect([(await created).kind, outcome(await appended), await removed]).toEqual([
        "created",
        "not-found",
        "deleted",
      ]);
      expect(text(memory, "a")).toBe("3");
    }));

  test("wakes those who watch a stream", () =>
    withEngine({}, async (memory) => {
      create(memory, "a");
      const woken = new Promise<void>((resolve) => {
        memory.engine.watch(memory.engine.find("a")!.stream, resolve);
      });
      memory.engine.appendNow("a", input("x"));
      await woken;
      expect(text(memory, "a")).toBe("x");
    }));
});

describe("bytes that have left the log of an engine in memory", () => {
  test("are read in one turn like all others, and their message boundaries are found so", () =>
    withEngine({ segmentBytes: 64 * 1024, chunkBytes: 100_000 }, async (memory) => {
      const whole: Buffer[] = [];
      create(memory, "a");
      create(memory, "small", { contentType: "application/json" });
      for (let i = 0; i < 40; i++) {
        const part = patterned(i % 7 === 0 ? 3 * BLOCK_BYTES : 1_000 + i, i);
        whole.push(part);
        memory.engine.appendNow("a", input(part));
        memory.engine.appendNow("small", input(`[${i},"x"]`, { contentType: "application/json" }));
      }
      await memory.shard.compact();
      memory.engine.appendNow("a", input("hot"));
      memory.engine.appendNow("small", input("[99]", { contentType: "application/json" }));
      const expected = `${Buffer.concat(whole).toString("latin1")}hot`;
      expect(memory.engine.find("a")!.stream.hot.length).toBe(1);
      const edges = [0, 1, 70_000, BLOCK_BYTES, 3 * BLOCK_BYTES, 700_000, expected.length - 4, expected.length - 1];
      for (const from of edges) {
        for (const to of [from + 1, from + 70_000, expected.length]) {
          expect(text(memory, "a", from, to) === expected.slice(from, to)).toBe(true);
        }
      }
      const { stream, state } = memory.engine.find("small")!;
      const { reader } = memory;
      const at = (n: number): number => n as number;
      expect(text(memory, "small").startsWith('0,"x",1,"x",')).toBe(true);
      expect([1, 2, 5, 6].map((from) => at(reader.resolveStart(stream, position(from), state.tail) as number))).toEqual(
        [0, 2, 2, 6],
      );
      const ends = reader.messageEnds(stream, position(0), state.tail);
      expect(Array.isArray(ends) && ends.length).toBe(81);
      const fork = { source: "small", offset: "tail", subOffset: 0 } as const;
      expect(
        memory.engine.forkNow("fork", { create: ask({ contentType: "application/json" }), fork }, Buffer.alloc(0)).kind,
      ).toBe("created");
      expect(text(memory, "fork")).toBe(text(memory, "small"));
    }));

  test("are given back when their stream is deleted: 200 MiB, and what is left", () =>
    withEngine({}, async (memory) => {
      const body = patterned(256 * 1024, 1);
      create(memory, "kept", {}, "kept");
      for (let stream = 0; stream < 8; stream++) {
        create(memory, `s${stream}`);
        for (let i = 0; i < 100; i++) memory.engine.appendNow(`s${stream}`, input(body));
      }
      expect(memory.storedBytes().wal).toBeGreaterThan(200 * MIB);
      await memory.shard.compact();
      expect(memory.storedBytes().wal).toBeLessThan(1024);
      expect(memory.storedBytes().objects).toBeGreaterThan(200 * MIB);
      for (let stream = 0; stream < 8; stream++) memory.engine.removeNow(`s${stream}`);
      await memory.shard.compact();
      await memory.shard.compact();
      const { wal, objects } = memory.storedBytes();
      expect(wal).toBeLessThan(1024);
      // The first segment's object holds the stream that is kept; roll records are small.
      expect(objects).toBeLessThan(9 * MIB);
      expect(text(memory, "kept")).toBe("kept");
    }));

  test("of deleted streams never reach the objects when they are deleted before the roll", () =>
    withEngine({}, async (memory) => {
      for (let i = 0; i < 50; i++) {
        create(memory, `s${i}`);
        memory.engine.appendNow(`s${i}`, input(patterned(100_000, i)));
        memory.engine.removeNow(`s${i}`);
      }
      await memory.shard.compact();
      await memory.shard.compact();
      expect(memory.storedBytes().objects).toBeLessThan(20_000);
    }));
});

describe("a server in memory", () => {
  async function withServer(run: (url: string) => Promise<void>): Promise<void> {
    const settings = readSettings(["--port", "0", "--data-dir", "/nowhere/at/all", "--long-poll-ms", "50"], {});
    const server = await startColdbrook(settings, { storage: "memory" });
    try {
      await run(server.url);
    } finally {
      await server.close();
    }
  }

  const TEXT = { "Content-Type": "text/plain" };

  test("answers writes, reads, HEAD, long-polls and deletes, and says how it is", () =>
    withServer(async (root) => {
      const url = `${root}/v1/stream/a`;
      expect((await fetch(url, { method: "PUT", headers: TEXT })).status).toBe(201);
      const appended = await fetch(url, { method: "POST", headers: TEXT, body: "hello" });
      expect(appended.status).toBe(204);
      const offset = appended.headers.get("Stream-Next-Offset")!;
      const read = await fetch(`${url}?offset=-1`);
      expect([read.status, await read.text(), read.headers.get("Stream-Next-Offset")]).toEqual([200, "hello", offset]);
      const waiting = fetch(`${url}?offset=${offset}&live=long-poll`);
      await fetch(url, { method: "POST", headers: { ...TEXT, "Stream-Closed": "true" }, body: " bye" });
      expect(await (await waiting).text()).toBe(" bye");
      const head = await fetch(url, { method: "HEAD" });
      expect([head.status, head.headers.get("Stream-Closed")]).toEqual([200, "true"]);
      const health = (await (await fetch(`${root}/health`)).json()) as { status: string };
      expect(health.status).toBe("ok");
      expect((await fetch(url, { method: "DELETE" })).status).toBe(204);
      expect((await fetch(url)).status).toBe(404);
    }));

  test("streams events to a subscriber until the stream is closed", () =>
    withServer(async (root) => {
      const url = `${root}/v1/stream/events`;
      await fetch(url, { method: "PUT", headers: TEXT, body: "one" });
      const subscribed = fetch(`${url}?offset=-1&live=sse`);
      await fetch(url, { method: "POST", headers: { ...TEXT, "Stream-Closed": "true" }, body: "two" });
      const events = await (await subscribed).text();
      expect(events).toContain("one");
      expect(events).toContain("two");
      expect(events).toContain('"streamClosed":true');
    }));
});
