import type { AppendOutcome, ProducerTuple } from "@coldbrook/core";
import fs from "node:fs";
import { describe, expect, test, vi } from "vitest";
import { ask, microtasks, Shard, until } from "../../test-support/shard.ts";
import type { AppendInput, AppendResult } from "./write-path.ts";

const NOTHING = new Uint8Array(0);

function by(seq: number, id = "p", epoch = 1): { producer: ProducerTuple } {
  return { producer: { id, epoch, seq } };
}

function outcomeOf(result: AppendResult): AppendOutcome["kind"] | "not-found" | "gone" | "bad-body" {
  return result.kind === "decided" ? result.outcome.kind : result.kind;
}

/** Remembers in which order operations were answered. */
class Answers {
  readonly order: string[] = [];

  of<T>(name: string, operation: Promise<T>): Promise<T> {
    void operation.then(() => this.order.push(name));
    return operation;
  }
}

const close: Partial<AppendInput> = { close: true };

describe("create", () => {
  test("a second one finds the stream as it is, and one that asks for something else conflicts", async () => {
    await using shard = await Shard.create();
    const { engine } = shard;
    expect(await engine.create("a", ask(), Buffer.from("one"))).toMatchObject({ kind: "created", state: { tail: 3 } });
    await shard.append("a", "two");
    expect(await engine.create("a", ask(), NOTHING)).toMatchObject({ kind: "exists", state: { tail: 6 } });
    for (const other of [ask({ contentType: "text/html" }), ask({ closed: true }), ask({ ttlSeconds: 5 })]) {
      expect((await engine.create("a", other, NOTHING)).kind).toBe("conflict");
    }
    expect(engine.find("a")!.state.tail).toBe(6);
  });

  test("of two at once one creates, and the other is answered when that is durable", async () => {
    await using shard = await Shard.create();
    const answers = new Answers();
    const both = [
      answers.of("first", shard.engine.create("a", ask(), NOTHING)),
      answers.of("second", shard.engine.create("a", ask(), NOTHING)),
    ];
    await microtasks();
    expect(answers.order).toEqual([]);
    expect((await Promise.all(both)).map(({ kind }) => kind)).toEqual(["created", "exists"]);
    expect(answers.order).toEqual(["first", "second"]);
  });

  test("with a body that is not JSON makes no stream", async () => {
    await using shard = await Shard.create();
    for (const body of [Buffer.from("{"), Buffer.from([0x22, 0xff, 0x22])]) {
      const made = await shard.engine.create("a", ask({ contentType: "application/json" }), body);
      expect(made.kind).toBe("bad-body");
    }
    expect(shard.engine.find("a")).toBeUndefined();
    expect(shard.engine.wal.open.frames).toEqual([]);
  });

  test("gives each stream a larger generation, over restarts too", async () => {
    await using shard = await Shard.create();
    const ids: number[] = [];
    for (let round = 0; round < 3; round++) {
      ids.push((await shard.create("a")).identity.id, (await shard.create("b")).identity.id);
      await shard.engine.remove("a");
      await shard.engine.remove("b");
      await shard.restart();
    }
    expect(ids).toEqual([...new Set(ids)].sort((a, b) => a - b));
  });
});

describe("what is pending", () => {
  test("is not found: neither a create, nor an append, nor a close, nor a delete", async () => {
    await using shard = await Shard.create();
    const { engine } = shard;
    const creating = shard.create("a", "one");
    await microtasks();
    expect(engine.wal.open.frames.length).toBe(1);
    expect(engine.find("a")).toBeUndefined();
    await creating;
    const before = engine.find("a")!.state;
    const appending = shard.append("a", "two", { ...close, ...by(0) });
    await microtasks();
    expect(engine.find("a")!.state).toBe(before);
    expect(shard.hotText("a")).toBe("one");
    await appending;
    expect(engine.find("a")!.state).toMatchObject({ tail: 6, closed: true });
    const removing = engine.remove("a");
    await microtasks();
    expect(engine.find("a")!.state).toMatchObject({ tail: 6, deleted: false });
    await removing;
    expect(engine.find("a")).toBeUndefined();
  });

  test("wakes no waiter; what is durable wakes each once", async () => {
    await using shard = await Shard.create();
    await shard.create("a");
    const { stream } = shard.engine.find("a")!;
    const seen: number[] = [];
    const stop = shard.engine.watch(stream, () => seen.push(stream.durable!.tail));
    const appending = shard.append("a", "x");
    await microtasks();
    expect(seen).toEqual([]);
    await appending;
    await until(() => seen.length > 0);
    expect(seen).toEqual([1]);
    stop();
    stop();
    await shard.append("a", "y");
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    expect(seen).toEqual([1]);
    expect(shard.engine.stats.waiters).toBe(0);
  });

  test("close refuses the next append, and that answer waits for the close", async () => {
    await using shard = await Shard.create();
    await shard.create("a");
    const answers = new Answers();
    const closing = answers.of("close", shard.append("a", "last", close));
    const refused = answers.of("refused", shard.append("a", "late"));
    await microtasks();
    expect(answers.order).toEqual([]);
    expect(await refused).toMatchObject({ outcome: { kind: "closed" }, state: { tail: 4, closed: true } });
    expect(outcomeOf(await closing)).toBe("append");
    expect(answers.order).toEqual(["close", "refused"]);
  });

  test("producer append makes its retry wait for it, and the bytes are there once", async () => {
    await using shard = await Shard.create();
    await shard.create("a");
    const answers = new Answers();
    const original = answers.of("original", shard.append("a", "x", by(0)));
    const retry = answers.of("retry", shard.append("a", "x", by(0)));
    await microtasks();
    expect(answers.order).toEqual([]);
    expect([outcomeOf(await original), outcomeOf(await retry)]).toEqual(["append", "duplicate"]);
    expect(answers.order).toEqual(["original", "retry"]);
    expect(shard.hotText("a")).toBe("x");
  });

  test("Stream-Seq counts for the next append", async () => {
    await using shard = await Shard.create();
    await shard.create("a");
    const both = [shard.append("a", "x", { streamSeq: "2" }), shard.append("a", "y", { streamSeq: "1" })];
    expect((await Promise.all(both)).map(outcomeOf)).toEqual(["append", "stream-seq"]);
  });
});

describe("appends of one stream in one commit", () => {
  test("become one frame in the order of their answers, with one state each", async () => {
    await using shard = await Shard.create();
    await shard.create("a");
    const results = await Promise.all([
      shard.append("a", "one,", by(0)),
      shard.append("a", "two,", by(1)),
      shard.append("a", "!", by(9)),
      shard.append("a", "three", by(0, "q")),
    ]);
    expect(results.map((result) => (result.kind === "decided" ? result.state.tail : null))).toEqual([4, 8, 13, 13]);
    expect(results.map(outcomeOf)).toEqual(["append", "append", "gap", "append"]);
    expect(shard.hotText("a")).toBe("one,two,three");
    expect(shard.engine.find("a")!.stream.hot.length).toBe(1);
  });

  test("keep a touch between them from taking the later ones back", async () => {
    await using shard = await Shard.create();
    await shard.create("a", "", { ttlSeconds: 10 });
    const { stream } = shard.engine.find("a")!;
    const first = shard.append("a", "one,");
    shard.nowMs += 2_000;
    shard.engine.touch(stream);
    const second = shard.append("a", "two");
    await Promise.all([first, second]);
    expect(shard.engine.find("a")!.state.tail).toBe(7);
    expect(stream.durable).toEqual(stream.pending);
    await shard.engine.sync.save();
    await shard.restart();
    expect(shard.engine.find("a")!.state.tail).toBe(7);
  });

  test("past 256 KiB go into further frames, whole and in order", async () => {
    await using shard = await Shard.create();
    await shard.create("a");
    const texts = ["a", "b", "c", "d", "e"].map((letter) => letter.repeat(100_000));
    await Promise.all(texts.map((text) => shard.append("a", text)));
    expect(shard.engine.find("a")!.stream.hot.map(({ start, end }) => [start, end])).toEqual([
      [0, 200_000],
      [200_000, 400_000],
      [400_000, 500_000],
    ]);
    expect(shard.hotText("a")).toBe(texts.join(""));
  });
});

describe("delete", () => {
  test("of two at once one deletes, and the other finds nothing, after it", async () => {
    await using shard = await Shard.create();
    await shard.create("a");
    const answers = new Answers();
    const both = [answers.of("1", shard.engine.remove("a")), answers.of("2", shard.engine.remove("a"))];
    expect(await Promise.all(both)).toEqual(["deleted", "missing"]);
    expect(answers.order).toEqual(["1", "2"]);
    expect(outcomeOf(await shard.append("a", "x"))).toBe("not-found");
  });

  test("and a create at once leave the new stream alone, also after a save and a restart", async () => {
    await using shard = await Shard.create();
    const old = await shard.create("a", "old");
    const [removed, created] = await Promise.all([shard.engine.remove("a"), shard.engine.create("a", ask(), NOTHING)]);
    expect([removed, created.kind]).toEqual(["deleted", "created"]);
    const found = (): unknown => shard.engine.find("a")?.state;
    expect(found()).toMatchObject({ tail: 0 });
    expect(shard.engine.find("a")!.state.identity.id).toBeGreaterThan(old.identity.id);
    await shard.append("a", "new");
    await shard.engine.sync.save();
    expect(shard.catalog.streams.find("a")).toBe(shard.engine.find("a")!.state.identity.id);
    await shard.restart();
    expect(found()).toMatchObject({ tail: 3 });
    await shard.roll();
    await shard.restart();
    expect(found()).toMatchObject({ tail: 3 });
  });

  test("during appends: what was acknowledged before it is gone with it, what comes after finds nothing", async () => {
    await using shard = await Shard.create();
    await shard.create("a");
    const answers = new Answers();
    const first = shard.append("a", "x");
    const removed = answers.of("removed", shard.engine.remove("a"));
    await microtasks();
    const second = answers.of("not found", shard.append("a", "y"));
    expect([outcomeOf(await first), await removed, outcomeOf(await second)]).toEqual([
      "append",
      "deleted",
      "not-found",
    ]);
    expect(answers.order).toEqual(["removed", "not found"]);
    await shard.restart();
    expect(shard.engine.find("a")).toBeUndefined();
  });
});

describe("operations that wait for the same commit", () => {
  test("create at most one stream when they are creates", async () => {
    await using shard = await Shard.create();
    await shard.create("a");
    const removing = shard.engine.remove("a");
    await microtasks();
    const creates = [1, 2, 3].map(() => shard.engine.create("a", ask(), NOTHING));
    await removing;
    expect((await Promise.all(creates)).map(({ kind }) => kind)).toEqual(["created", "exists", "exists"]);
    expect(shard.catalog.streams.find("a")).toBeUndefined();
    expect(shard.engine.isLive((await shard.recover(false)).streams.at(-1)!.pending.identity.id)).toBe(true);
    expect((await shard.recover(false)).streams.filter(({ pending }) => !pending.deleted).length).toBe(1);
  });

  test("never put a frame behind the stream's delete frame, which no start would accept", async () => {
    await using shard = await Shard.create();
    for (const reversed of [false, true]) {
      const creating = shard.create("a");
      await microtasks();
      const operations = [
        (): Promise<unknown> => shard.engine.remove("a"),
        (): Promise<unknown> => shard.append("a", "x"),
        (): Promise<unknown> => shard.engine.remove("a"),
        (): Promise<unknown> => shard.append("a", "y", close),
      ];
      const running = (reversed ? operations.toReversed() : operations).map((operation) => operation());
      await creating;
      await Promise.all(running);
      await shard.restart();
      expect(shard.engine.find("a")).toBeUndefined();
    }
  });
});

describe("expiry", () => {
  test("an expired stream is not found, takes no append, and gives way to a new one in one go", async () => {
    await using shard = await Shard.create();
    const old = await shard.create("a", "old", { ttlSeconds: 10 });
    shard.nowMs += 9_999;
    expect(shard.engine.find("a")).toBeDefined();
    // Beyond what a restart would give it, or it would be deleted at the first look.
    shard.nowMs += 1_001;
    expect(shard.engine.find("a")).toBeUndefined();
    expect(outcomeOf(await shard.append("a", "x"))).toBe("not-found");
    expect(await shard.engine.remove("a")).toBe("missing");
    const creating = shard.engine.create("a", ask(), Buffer.from("new"));
    await microtasks();
    expect(shard.engine.wal.open.frames.map(({ kind }) => kind)).toEqual(["delete", "create"]);
    expect((await creating).kind).toBe("created");
    expect(shard.engine.find("a")!.state.identity.id).toBeGreaterThan(old.identity.id);
    expect(shard.engine.isLive(old.identity.id)).toBe(false);
    await shard.engine.sync.save();
    await shard.restart();
    expect(shard.engine.find("a")!.state.tail).toBe(3);
  });

  test("expire deletes what has expired, and says when to look again at what has not", async () => {
    await using shard = await Shard.create();
    const { identity } = await shard.create("a", "", { ttlSeconds: 10 });
    const later = await shard.create("b", "", { expiresAtMs: shard.nowMs + 60_000 });
    shard.nowMs += 5_000;
    await shard.append("a", "x");
    expect(await shard.engine.expire(identity.id)).toBe(shard.nowMs + 10_000);
    shard.nowMs += 10_000;
    expect(await shard.engine.expire(identity.id)).toBeNull();
    expect(shard.engine.isLive(identity.id)).toBe(false);
    expect(await shard.engine.expire(later.identity.id)).toBe(later.identity.config.expiresAtMs);
    expect(await shard.engine.expire(identity.id)).toBeNull();
  });

  test("a read renews a sliding window each time, and records that no more often than a tenth of it", async () => {
    await using shard = await Shard.create();
    await shard.create("a", "", { ttlSeconds: 5 });
    const { stream, state } = shard.engine.find("a")!;
    let recorded = 0;
    for (let ms = 0; ms < 10_000; ms += 100) {
      shard.nowMs += 100;
      shard.engine.touch(stream);
      recorded += shard.engine.wal.open.frames.length;
      await shard.engine.wal.drain();
      expect(shard.engine.expiresInMs(stream, state)).toBe(5_000);
    }
    expect(recorded).toBe(20);
    expect(shard.engine.find("a")).toBeDefined();
  });

  test("a read of a stream without a sliding window records nothing", async () => {
    await using shard = await Shard.create();
    await shard.create("a");
    await shard.create("b", "", { expiresAtMs: shard.nowMs + 10_000 });
    shard.nowMs += 5_000;
    for (const name of ["a", "b"]) shard.engine.touch(shard.engine.find(name)!.stream);
    expect(shard.engine.wal.open.frames).toEqual([]);
    expect(shard.engine.expiresInMs(shard.engine.find("b")!.stream, shard.engine.find("b")!.state)).toBe(5_000);
  });

  test("no stream expires early because a restart forgot its last read", async () => {
    await using shard = await Shard.create();
    await shard.create("a", "", { ttlSeconds: 10 });
    shard.nowMs += 999;
    shard.engine.touch(shard.engine.find("a")!.stream);
    await shard.restart();
    shard.nowMs += 9_999;
    expect(shard.engine.find("a")).toBeDefined();
    shard.nowMs += 2_000;
    expect(shard.engine.find("a")).toBeUndefined();
  });
});

describe("a full WAL", () => {
  test("refuses appends and creates, lets reads and deletes go on, and takes appends again after a roll", async () => {
    await using shard = await Shard.create({ walBytesMax: 64 * 1024 });
    const text = "x".repeat(10_000);
    await shard.create("a", "", { ttlSeconds: 3_600 });
    await shard.create("b");
    let accepted = 0;
    const refused: unknown = await (async () => {
      for (; accepted < 100; accepted++) await shard.append("a", text);
    })().catch((reason: unknown) => reason);
    expect(refused).toMatchObject({ name: "StreamError", code: "wal-full" });
    expect(accepted).toBe(7);
    await expect(shard.engine.create("c", ask(), NOTHING)).rejects.toMatchObject({ code: "wal-full" });
    const { stream, state } = shard.engine.find("a")!;
    expect([state.tail, stream.pending.tail, shard.hotText("a").length]).toEqual([70_000, 70_000, 70_000]);
    expect((await shard.engine.create("b", ask(), NOTHING)).kind).toBe("exists");
    expect(await shard.engine.remove("b")).toBe("deleted");
    await shard.roll();
    expect(outcomeOf(await shard.append("a", text))).toBe("append");
    expect(shard.engine.find("a")!.state.tail).toBe(80_000);
  });

  test("takes renewals of a TTL a little longer, but not for ever", async () => {
    await using shard = await Shard.create({ walBytesMax: 64 * 1024 });
    await shard.create("a", "", { ttlSeconds: 3_600 });
    await shard.append("a", "x".repeat(66_000));
    const { stream } = shard.engine.find("a")!;
    const recorded = async (): Promise<boolean> => {
      shard.nowMs += 1_000;
      shard.engine.touch(stream);
      const touched = shard.engine.wal.open.frames.length > 0;
      await shard.engine.wal.drain();
      return touched;
    };
    let touches = 0;
    for (; touches < 1_000 && (await recorded()); touches++);
    expect(touches).toBeGreaterThan(0);
    expect(shard.engine.wal.unrolledBytes).toBeLessThan(64 * 1024 * 1.13);
    expect(shard.engine.expiresInMs(stream, stream.durable!)).toBe(3_600_000);
  });

  test("refuses nothing but what would grow it: a duplicate is still a duplicate", async () => {
    await using shard = await Shard.create({ walBytesMax: 64 * 1024 });
    await shard.create("a");
    await shard.append("a", "x".repeat(70_000), by(0));
    await expect(shard.append("a", "y", by(1))).rejects.toMatchObject({ code: "wal-full" });
    expect(outcomeOf(await shard.append("a", "x", by(0)))).toBe("duplicate");
  });
});

describe("a full disk", () => {
  const MIB = 1024 * 1024;
  const totalBytes = 1024 * MIB;

  test("refuses appends and creates, changes nothing, lets reads, duplicates and deletes go on, and takes appends again", async () => {
    const disk = { freeBytes: totalBytes, totalBytes };
    await using shard = await Shard.create({ diskReserveBytes: 64 * MIB, space: () => disk });
    await shard.create("a");
    await shard.create("b");
    await shard.append("a", "kept", by(0));
    disk.freeBytes = 64 * MIB - 1;
    shard.nowMs += 1_000;
    await expect(shard.append("a", "x", by(1))).rejects.toMatchObject({ name: "StreamError", code: "disk-full" });
    await expect(shard.engine.create("c", ask(), NOTHING)).rejects.toMatchObject({ code: "disk-full" });
    expect(shard.shortages.length).toBe(1);
    const { stream, state } = shard.engine.find("a")!;
    expect([state.tail, stream.pending.tail, shard.hotText("a")]).toEqual([4, 4, "kept"]);
    expect(shard.engine.find("c")).toBeUndefined();
    expect(outcomeOf(await shard.append("a", "kept", by(0)))).toBe("duplicate");
    expect(await shard.engine.remove("b")).toBe("deleted");
    disk.freeBytes = totalBytes;
    shard.nowMs += 1_000;
    expect(outcomeOf(await shard.append("a", "x", by(1)))).toBe("append");
    expect(shard.fatal).toEqual([]);
  });

  test("has room in its reserve for a copy of each segment", async () => {
    const disk = { freeBytes: totalBytes, totalBytes };
    await using shard = await Shard.create({ diskReserveBytes: 64 * 1024, space: () => disk });
    await shard.create("a");
    for (let count = 0; count < 10; count++) await shard.append("a", "x".repeat(10_000));
    expect(shard.sealed.map(({ base, end }) => end - base > 32 * 1024 && end - base < 64 * 1024)).toEqual([true, true]);
  });

  test("without room or a descriptor for the next segment, the one before takes frames until there is", async () => {
    await using shard = await Shard.create({ segmentBytes: 10_000 });
    await shard.create("a");
    const open = vi.spyOn(fs, "openSync").mockImplementation(() => {
      throw Object.assign(new Error("EMFILE: too many open files"), { code: "EMFILE" });
    });
    for (let count = 0; count < 5; count++) await shard.append("a", "x".repeat(10_000));
    expect([shard.sealed.length, shard.fatal]).toEqual([0, []]);
    open.mockRestore();
    await shard.append("a", "y");
    expect(shard.sealed.length).toBe(1);
    await shard.restart();
    expect(shard.engine.find("a")!.state.tail).toBe(50_001);
  });
});

describe("a stream that nothing pins", () => {
  test("reloads from the catalog just as it was", async () => {
    await using shard = await Shard.create();
    await shard.create("a", "one", { ttlSeconds: 60 });
    await shard.append("a", "two", { streamSeq: "07", ...by(0, "p", 3) });
    await shard.append("a", "end", { close: true, ...by(1, "p", 3) });
    await shard.create("b", "other");
    await shard.roll();
    const before = { a: shard.engine.find("a")!, b: shard.engine.find("b")! };
    expect(before.a.stream.hot).toEqual([]);
    await shard.restart();
    const after = { a: shard.engine.find("a")!, b: shard.engine.find("b")! };
    expect(after.a.stream).not.toBe(before.a.stream);
    expect([after.a.state, after.b.state]).toEqual([before.a.state, before.b.state]);
    expect(outcomeOf(await shard.append("a", "end", { close: true, ...by(1, "p", 3) }))).toBe("duplicate");
    expect(outcomeOf(await shard.append("b", "x", by(0)))).toBe("append");
  });
});

test("a body that is no JSON does not hide that the stream is closed", async () => {
  await using shard = await Shard.create();
  await shard.create("j", "", { contentType: "application/json" });
  expect(outcomeOf(await shard.append("j", "{"))).toBe("bad-body");
  expect(outcomeOf(await shard.append("j", "[]"))).toBe("bad-body");
  await shard.append("j", "", { contentType: null, body: NOTHING, close: true });
  expect(outcomeOf(await shard.append("j", "{"))).toBe("closed");
  expect(shard.engine.find("j")!.state.tail).toBe(0);
});

test("hot extents are counted: rolled and deleted ones no more", async () => {
  await using shard = await Shard.create();
  await shard.create("a", "1");
  await shard.append("a", "2");
  await shard.create("b", "3");
  expect(shard.engine.stats.hotExtents).toBe(3);
  await shard.engine.remove("b");
  expect(shard.engine.stats.hotExtents).toBe(2);
  await shard.restart();
  expect(shard.engine.stats.hotExtents).toBe(2);
  await shard.roll();
  expect(shard.engine.stats.hotExtents).toBe(0);
});
