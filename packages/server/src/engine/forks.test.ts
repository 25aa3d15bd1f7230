/** Forks (protocol section 4.2) on the engine: no bytes are copied, and nothing of them is lost by crash, roll or delete. */
import { offsetAt, position, StreamError } from "@coldbrook/core";
import type { ForkRequest, StreamState } from "@coldbrook/core";
import { afterEach, describe, expect, test, vi } from "vitest";
import { ask, Shard, until } from "../../test-support/shard.ts";
import type { ForkResult } from "./write-path.ts";

const NOTHING = new Uint8Array(0);

afterEach(() => vi.restoreAllMocks());

function fork(
  shard: Shard,
  source: string,
  name: string,
  how: Partial<ForkRequest> & { body?: string } = {},
): Promise<ForkResult> {
  const { body, ...rest } = how;
  const create = ask({ contentType: null });
  return shard.engine.fork(
    name,
    { create, fork: { source, offset: "tail", subOffset: 0, ...rest } },
    body === undefined ? NOTHING : Buffer.from(body),
  );
}

async function forked(
  shard: Shard,
  source: string,
  name: string,
  how: Partial<ForkRequest> & { body?: string } = {},
): Promise<StreamState> {
  const result = await fork(shard, source, name, how);
  if (result.kind !== "created") throw new Error(`not forked: ${JSON.stringify(result)}`);
  return result.state;
}

function at(state: StreamState, place: number): ForkRequest["offset"] {
  const [generation, offset] = offsetAt(state.identity, position(place)).split("_").map(Number);
  return { kind: "at", generation: generation as never, position: offset as never };
}

async function text(shard: Shard, name: string): Promise<string> {
  const { stream, state } = shard.engine.find(name)!;
  const parts: Uint8Array[] = [];
  for await (const piece of shard.reader.pieces(stream, position(0), state.tail)) parts.push(piece);
  return Buffer.concat(parts).toString();
}

/** The same at every stage of a stream's life: in memory, after a restart, rolled, rolled and restarted, rebuilt. */
async function everywhere(shard: Shard, holds: () => Promise<void>): Promise<void> {
  await holds();
  await shard.restart();
  await holds();
  await shard.roll();
  await holds();
  await shard.restart();
  await holds();
}

describe("reads", () => {
  test("a fork has its source's bytes up to the fork point and its own behind it, wherever they lie", async () => {
    await using shard = await Shard.create();
    const source = await shard.create("s", "hello ");
    await shard.append("s", "world");
    await forked(shard, "s", "whole");
    await forked(shard, "s", "early", { offset: at(source, 6) });
    await forked(shard, "s", "empty", { offset: "start" });
    await forked(shard, "s", "bodied", { offset: at(source, 6), body: "there" });
    await shard.append("s", "!");
    await shard.append("early", "moon");
    await shard.append("empty", "new");
    await everywhere(shard, async () => {
      expect(await text(shard, "s")).toBe("hello world!");
      expect(await text(shard, "whole")).toBe("hello world");
      expect(await text(shard, "early")).toBe("hello moon");
      expect(await text(shard, "empty")).toBe("new");
      expect(await text(shard, "bodied")).toBe("hello there");
    });
    await shard.append("whole", "?");
    expect(await text(shard, "whole")).toBe("hello world?");
  });

  test("a chain of 100 forks reads as if it were copied", async () => {
    await using shard = await Shard.create();
    await shard.create("0", "start;");
    let expected = "start;";
    for (let level = 1; level <= 100; level++) {
      await forked(shard, String(level - 1), String(level));
      await shard.append(String(level), `${level};`);
      expected += `${level};`;
    }
    await everywhere(shard, async () => expect(await text(shard, "100")).toBe(expected));
  });

  test("a chunk that a cut message would pass ends at the fork point", async () => {
    await using shard = await Shard.create({ chunkBytes: 16 });
    await shard.create("s", "0123456789");
    await shard.append("s", "abcdefghij");
    await forked(shard, "s", "f", { offset: "start", subOffset: 0 });
    const cut = await shard.engine.fork(
      "g",
      {
        create: ask({ contentType: null }),
        fork: { source: "s", offset: at(shard.engine.find("s")!.state, 10), subOffset: 7 },
      },
      Buffer.from("0123456789012345"),
    );
    expect(cut.kind).toBe("created");
    await everywhere(shard, async () => {
      const { stream, state } = shard.engine.find("g")!;
      expect(state.tail).toBe(33);
      expect(await shard.reader.chunkEnd(stream, position(0), state.tail)).toBe(17);
      expect(await shard.reader.chunkEnd(stream, position(17), state.tail)).toBe(33);
      expect(await shard.reader.resolveStart(stream, position(13), state.tail)).toBe(10);
      expect(await shard.reader.resolveStart(stream, position(18), state.tail)).toBe(17);
    });
  });
});

describe("cost", () => {
  test("a fork of a large stream is one small frame, and rolls to nothing", async () => {
    await using shard = await Shard.create();
    const body = Buffer.alloc(1 << 20, "x").toString();
    await shard.create("s");
    for (let i = 0; i < 16; i++) await shard.append("s", body);
    await shard.roll();
    const before = shard.engine.wal.end;
    await forked(shard, "s", "f");
    expect(shard.engine.wal.end - before).toBeLessThan(400);
    const objects = [...shard.catalog.objects.keys()].length;
    await shard.roll();
    expect([...shard.catalog.objects.keys()].length).toBe(objects);
  });

  test("a read of a fork 100 streams deep fetches the extents that it touches, and no others", async () => {
    await using shard = await Shard.create();
    await shard.create("0", "start;");
    for (let level = 1; level <= 100; level++) {
      await forked(shard, String(level - 1), String(level));
      await shard.append(String(level), `${String(level).padStart(4, "0")};`);
      if (level % 10 === 0) await shard.roll();
    }
    await shard.restart();
    let gets = 0;
    const read = shard.store.read.bind(shard.store);
    shard.store.read = (...range) => {
      gets += 1;
      return read(...range);
    };
    const { stream, state } = shard.engine.find("100")!;
    const parts: Uint8Array[] = [];
    const from = position(state.tail - 10);
    for await (const piece of shard.reader.pieces(stream, from, state.tail)) parts.push(piece);
    expect(Buffer.concat(parts).toString()).toBe("0099;0100;");
    expect(gets).toBe(2);
  });
});

describe("sub-offsets", () => {
  test("count messages in JSON mode, across frames and forks", async () => {
    await using shard = await Shard.create();
    const state = await shard.create("s", "[1,2,3]", { contentType: "application/json" });
    await shard.append("s", "[4,5]");
    await forked(shard, "s", "f");
    await shard.append("f", "[6,7]");
    await everywhere(shard, async () => {
      const far = await fork(shard, "f", `far-${Math.random()}`, { offset: "start", subOffset: 8 });
      expect(far).toMatchObject({ kind: "bad" });
    });
    await forked(shard, "f", "g", { offset: at(state, 4), subOffset: 4 });
    expect(await text(shard, "g")).toBe("1,2,3,4,5,6,");
  });

  test("count bytes of one message otherwise", async () => {
    await using shard = await Shard.create();
    await shard.create("s", "hello");
    await shard.append("s", "world");
    expect(await fork(shard, "s", "f", { offset: "start", subOffset: 6 })).toMatchObject({ kind: "bad" });
    await forked(shard, "s", "f", { offset: "start", subOffset: 5 });
    await forked(shard, "s", "g", { offset: "start", subOffset: 2 });
    await forked(shard, "g", "h", { offset: "start", subOffset: 1 });
    expect(await fork(shard, "g", "i", { offset: "start", subOffset: 3 })).toMatchObject({ kind: "bad" });
    expect([await text(shard, "f"), await text(shard, "g"), await text(shard, "h")]).toEqual(["hello", "he", "h"]);
  });
});

describe("life and death", () => {
  test("a source with forks is soft-deleted, keeps its name, and goes with the last of them", async () => {
    await using shard = await Shard.create();
    await shard.create("s", "data");
    await forked(shard, "s", "f");
    await forked(shard, "f", "g");
    expect(await shard.engine.remove("s")).toBe("deleted");
    expect(await shard.engine.remove("s")).toBe("gone");
    expect(await shard.engine.remove("f")).toBe("deleted");
    await everywhere(shard, async () => {
      expect([shard.engine.find("s"), shard.engine.absence("s"), shard.engine.absence("f")]).toEqual([
        undefined,
        "gone",
        "gone",
      ]);
      expect(await shard.append("s", "x")).toEqual({ kind: "gone" });
      expect(await shard.engine.create("s", ask(), NOTHING)).toMatchObject({ kind: "conflict" });
      expect(await fork(shard, "s", "late")).toMatchObject({ kind: "conflict" });
      expect(await text(shard, "g")).toBe("data");
    });
    expect(await shard.engine.remove("g")).toBe("deleted");
    const gone = ["s", "f", "g"].map((name) => shard.engine.absence(name));
    expect(gone).toEqual(["not-found", "not-found", "not-found"]);
    await shard.restart();
    expect(["s", "f", "g"].map((name) => shard.engine.absence(name))).toEqual(gone);
    await shard.create("s", "anew");
    expect(await text(shard, "s")).toBe("anew");
  });

  test("a source whose forks are all deleted lives on, and is deleted for good then", async () => {
    await using shard = await Shard.create();
    await shard.create("s", "data");
    await forked(shard, "s", "f");
    expect(await shard.engine.remove("f")).toBe("deleted");
    await everywhere(shard, async () => expect(await text(shard, "s")).toBe("data"));
    expect(await shard.engine.remove("s")).toBe("deleted");
    expect(shard.engine.absence("s")).toBe("not-found");
  });

  test("a fork and a delete of its source in one turn: the source is soft-deleted", async () => {
    await using shard = await Shard.create();
    await shard.create("s", "data");
    const both = await Promise.all([fork(shard, "s", "f"), shard.engine.remove("s")]);
    expect(both[1]).toBe("deleted");
    const isForked = both[0].kind === "created";
    expect(shard.engine.absence("s")).toBe(isForked ? "gone" : "not-found");
    if (isForked) expect(await text(shard, "f")).toBe("data");
  });

  /** A stream of three JSON messages whose fork points are in the log alone; `meanwhile` runs before the first read of it. */
  async function readsLog(shard: Shard, meanwhile: () => Promise<unknown>): Promise<ForkResult> {
    const source = await shard.create("list", '["one","two","three"]', { contentType: "application/json" });
    await shard.restart();
    const { wal } = shard.engine;
    const read = wal.read.bind(wal);
    vi.spyOn(wal, "read").mockImplementationOnce(async (...range) => {
      await meanwhile();
      return read(...range);
    });
    return fork(shard, "list", "fork", { offset: at(source, 0), subOffset: 2 });
  }

  test("a source that is deleted with its bytes while the fork point is looked for is none", async () => {
    await using shard = await Shard.create();
    const asked = await readsLog(shard, async () => {
      expect(await shard.engine.remove("list")).toBe("deleted");
      await shard.roll();
    });
    expect(asked).toEqual({ kind: "no-source" });
    expect(shard.engine.find("fork")).toBeUndefined();
  });

  test("a source that is another one by then gives no bytes of the first", async () => {
    await using shard = await Shard.create();
    const asked = await readsLog(shard, async () => {
      await shard.engine.remove("list");
      await shard.roll();
      await shard.create("list", '["four","five","six"]', { contentType: "application/json" });
    });
    expect(asked).toMatchObject({ kind: "bad" });
  });

  test("bytes that are missing while the source is there are damage", async () => {
    await using shard = await Shard.create();
    const asked = readsLog(shard, () => Promise.reject(new StreamError("gone", "no such segment")));
    await expect(asked).rejects.toMatchObject({ code: "corrupt-object", message: "no such segment" });
  });

  test("a source that expires is kept for its forks, and its name with it", async () => {
    await using shard = await Shard.create();
    await shard.create("s", "data", { ttlSeconds: 10 });
    const result = await shard.engine.fork(
      "f",
      { create: ask({ contentType: null, ttlSeconds: 1000 }), fork: { source: "s", offset: "tail", subOffset: 0 } },
      NOTHING,
    );
    expect(result.kind).toBe("created");
    shard.nowMs += 60_000;
    expect(shard.engine.absence("s")).toBe("gone");
    expect(await shard.engine.create("s", ask(), NOTHING)).toMatchObject({ kind: "conflict" });
    await everywhere(shard, async () => expect(await text(shard, "f")).toBe("data"));
    expect(await shard.engine.remove("f")).toBe("deleted");
    expect(shard.engine.absence("s")).toBe("not-found");
  });

  test("a fork inherits no producer, no Stream-Seq and no closure", async () => {
    await using shard = await Shard.create();
    await shard.create("s");
    await shard.append("s", "x", { producer: { id: "p", epoch: 3, seq: 0 }, streamSeq: "5", close: true });
    const state = await forked(shard, "s", "f");
    expect(state).toMatchObject({ closed: false, streamSeq: null });
    const again = await shard.append("f", "y", { producer: { id: "p", epoch: 1, seq: 0 }, streamSeq: "1" });
    expect(again).toMatchObject({ kind: "decided", outcome: { kind: "append" } });
  });

  test("the same fork asked for again is the one that is there", async () => {
    await using shard = await Shard.create();
    const source = await shard.create("s", "hello");
    await shard.append("s", "world");
    await forked(shard, "s", "f", { offset: at(source, 5) });
    await shard.append("f", "more");
    expect(await fork(shard, "s", "f", { offset: at(source, 5) })).toMatchObject({ kind: "exists" });
    expect(await fork(shard, "s", "f")).toMatchObject({ kind: "exists" });
    expect(await fork(shard, "s", "f", { offset: "start" })).toMatchObject({ kind: "conflict" });
    await shard.create("t", "hello");
    expect(await fork(shard, "t", "f")).toMatchObject({ kind: "conflict" });
    expect(await shard.engine.remove("s")).toBe("deleted");
    expect(await fork(shard, "s", "f", { offset: at(source, 5) })).toMatchObject({ kind: "exists" });
  });

  test("links between forks survive a crash at any moment of a save", async () => {
    await using shard = await Shard.create();
    await shard.create("s", "data");
    for (let i = 0; i < 20; i++) await forked(shard, "s", `f${i}`);
    const saving = shard.engine.sync.save();
    for (let i = 0; i < 19; i++) await shard.engine.remove(`f${i}`);
    await saving;
    expect(await shard.engine.remove("s")).toBe("deleted");
    await everywhere(shard, async () => expect(shard.engine.absence("s")).toBe("gone"));
    await shard.engine.remove("f19");
    await shard.engine.sync.save();
    await until(() => shard.catalog.forks.some(shard.recovery.generation as never, 1).length === 0);
    expect([...shard.catalog.forks.all()]).toEqual([]);
    expect(shard.engine.absence("s")).toBe("not-found");
  });
});
