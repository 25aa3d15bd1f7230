import { generation, lsn, position, type RollRecord } from "@coldbrook/core";
import { Collector } from "@coldbrook/tiering";
import { describe, expect, test } from "vitest";
import { ask, Shard, SHARD } from "../../test-support/shard.ts";
import { CatalogWork } from "./catalog-work.ts";
import { publishRoll } from "./publisher.ts";
import { Reaper } from "./reaper.ts";

const GRACE_MS = 1_000;

function reaperOf(shard: Shard): Reaper {
  const { catalog, engine, store, clock } = shard;
  const work = new CatalogWork();
  const log = { warn: (): void => undefined };
  const collector = new Collector({
    store,
    due: (nowMs, limit) => catalog.objects.due(nowMs - GRACE_MS, limit),
    forget: (keys) =>
      work.add(() => {
        const counts = keys.map((key) => catalog.objects.load(key)!);
        return catalog.batch(() => keys.forEach((key, i) => catalog.objects.forget(key, counts[i]!)));
      }),
    log,
  });
  const fatal = (error: Error): void => void shard.fatal.push(error);
  return new Reaper({ engine, catalog, collector, work, clock, log, fatal });
}

async function objectKeys(shard: Shard): Promise<string[]> {
  const keys: string[] = [];
  for await (const key of shard.store.list("objects/")) keys.push(key);
  return keys;
}

/** Objects by key, with the live extents that the catalog counts. */
function counts(shard: Shard): Record<string, number> {
  return Object.fromEntries(
    [...shard.catalog.objects.keys()].map((key) => [key, shard.catalog.objects.load(key)!.liveExtents]),
  );
}

function extentsOf(shard: Shard): number[] {
  return [...shard.catalog.extents.keys()].map(({ stream }) => stream);
}

describe("the reaper", () => {
  test("gives back a deleted stream: its extents, its producers, its state, its share of each object", async () => {
    await using shard = await Shard.create();
    const a = await shard.create("a", "one");
    const b = await shard.create("b", "other");
    await shard.append("a", "two", { producer: { id: "p", epoch: 0, seq: 0 } });
    await shard.roll();
    await shard.append("a", "three");
    await shard.roll();
    const [first, second] = await objectKeys(shard);
    expect(counts(shard)).toEqual({ [first!]: 2, [second!]: 1 });
    await shard.engine.remove("a");
    await shard.engine.sync.save();
    await reaperOf(shard).reap();
    expect(extentsOf(shard)).toEqual([b.identity.id]);
    expect(counts(shard)).toEqual({ [first!]: 1, [second!]: 0 });
    expect([...shard.catalog.producers.all()]).toEqual([]);
    expect([...shard.catalog.streams.ids()]).toEqual([b.identity.id]);
    expect(shard.catalog.deleted.some(9)).toEqual([]);
    expect(shard.engine.isLive(a.identity.id)).toBe(false);
    expect(await objectKeys(shard)).toEqual([first, second]);
  });

  test("keeps a soft-deleted stream's bytes for its fork, and gives them back with the last one", async () => {
    await using shard = await Shard.create();
    const source = await shard.create("s", "inherited");
    const fork = { source: "s", offset: "tail", subOffset: 0 } as const;
    await shard.engine.fork("f", { create: ask({ contentType: null }), fork }, Buffer.from("own"));
    await shard.engine.fork(
      "g",
      { create: ask({ contentType: null }), fork: { ...fork, source: "f" } },
      new Uint8Array(0),
    );
    await shard.engine.remove("s");
    await shard.engine.remove("f");
    await shard.roll();
    const reaper = reaperOf(shard);
    await reaper.reap();
    expect(extentsOf(shard)).toContain(source.identity.id);
    await shard.restart();
    await shard.engine.remove("g");
    await shard.roll();
    await shard.engine.sync.save();
    const after = reaperOf(shard);
    await after.reap();
    shard.nowMs += 10 * GRACE_MS;
    await after.reap();
    expect(extentsOf(shard)).toEqual([]);
    expect([...shard.catalog.streams.ids()]).toEqual([]);
    expect([...shard.catalog.forks.all()]).toEqual([]);
    expect(await objectKeys(shard)).toEqual([]);
  });

  test("deletes an object without live extents when its grace is over, not before", async () => {
    await using shard = await Shard.create();
    await shard.create("a", "one");
    await shard.roll();
    await shard.engine.remove("a");
    await shard.engine.sync.save();
    const reaper = reaperOf(shard);
    await reaper.reap();
    const [key] = await objectKeys(shard);
    shard.nowMs += GRACE_MS - 1;
    await reaper.reap();
    expect(await objectKeys(shard)).toEqual([key]);
    shard.nowMs += 1;
    await reaper.reap();
    expect(await objectKeys(shard)).toEqual([]);
    expect(shard.catalog.objects.load(key!)).toBeUndefined();
  });

  test("waits with a stream until the catalog has applied its deletion", async () => {
    await using shard = await Shard.create();
    const { identity } = await shard.create("a", "one");
    await shard.engine.remove("a");
    await shard.engine.sync.save();
    await shard.catalog.batch(() => shard.catalog.setMeta("appliedLsn", 1));
    const reaper = reaperOf(shard);
    await reaper.reap();
    expect(shard.catalog.streams.load(identity.id)?.deleted).toBe(true);
    await shard.engine.sync.save();
    await reaper.reap();
    expect(shard.catalog.streams.load(identity.id)).toBeUndefined();
  });

  test("of thousands of extents and producers leaves none", async () => {
    await using shard = await Shard.create();
    const { identity } = await shard.create("a", "one", { ttlSeconds: 1 });
    const { id } = identity;
    await shard.engine.sync.save();
    const blocks = [{ payloadBytes: 1, tableBytes: 1, crc: 1 }];
    await shard.catalog.batch(() => {
      for (let at = 0; at < 2_500; at++) {
        const [start, end] = [position(at), position(at + 1)];
        shard.catalog.extents.put({ stream: id, start, end, object: "o", offset: 0, blocks });
        shard.catalog.producers.put(id, `p${at}`, { epoch: 0, seq: 0 }, lsn(0));
      }
      shard.catalog.objects.put("o", undefined, 5, 2_501, shard.nowMs);
    });
    await shard.engine.remove("a");
    await shard.engine.sync.save();
    await reaperOf(shard).reap();
    expect(extentsOf(shard)).toEqual([]);
    expect([...shard.catalog.producers.all()]).toEqual([]);
    expect(counts(shard)).toEqual({ o: 1 });
  });

  test("deletes what has expired, and looks again later at what was renewed", async () => {
    await using shard = await Shard.create();
    const gone = await shard.create("gone", "", { ttlSeconds: 10 });
    const renewed = await shard.create("renewed", "", { ttlSeconds: 10 });
    await shard.create("stays");
    await shard.engine.sync.save();
    shard.nowMs += 6_000;
    await shard.append("renewed", "x");
    shard.nowMs += 4_000;
    const reaper = reaperOf(shard);
    await reaper.reap();
    expect(shard.engine.isLive(gone.identity.id)).toBe(false);
    expect(shard.engine.find("renewed")).toBeDefined();
    expect(shard.catalog.expiry.due(shard.nowMs, 9)).toEqual([]);
    const dueAt = shard.nowMs + 6_000;
    expect(shard.catalog.expiry.due(dueAt, 9)).toEqual([{ atMs: dueAt, stream: renewed.identity.id }]);
    shard.nowMs = dueAt;
    await reaper.reap();
    await shard.restart();
    expect(["gone", "renewed", "stays"].map((name) => shard.engine.find(name) !== undefined)).toEqual([
      false,
      false,
      true,
    ]);
    expect(shard.catalog.expiry.due(dueAt, 9)).toEqual([]);
  });
});

describe("a roll that is published", () => {
  const record = (streams: readonly number[]): RollRecord => ({
    writerId: SHARD,
    base: lsn(0),
    end: lsn(100),
    objects: [{ key: "objects/x", bytes: 77, footerCrc: 0 }],
    extents: streams.map((stream) => ({
      stream: generation(stream),
      start: position(0),
      end: position(4),
      object: 0,
      offset: 16,
      blocks: [{ payloadBytes: 4, tableBytes: 2, crc: 1 }],
    })),
    digests: [],
    subscriptions: [],
  });

  test("gives extents to live streams alone, and counts those", async () => {
    await using shard = await Shard.create();
    await publishRoll(shard.catalog, record([1, 2, 3]), (id) => id !== 2, 5);
    expect(extentsOf(shard)).toEqual([1, 3]);
    expect(shard.catalog.objects.load("objects/x")).toEqual({ bytes: 77, liveExtents: 2, deadAtMs: null });
    expect(shard.catalog.meta("rolledLsn")).toBe(100);
  });

  test("without a live stream is garbage from the start", async () => {
    await using shard = await Shard.create();
    await publishRoll(shard.catalog, record([1, 2]), () => false, 5);
    expect(extentsOf(shard)).toEqual([]);
    expect(shard.catalog.objects.due(5, 9)).toEqual(["objects/x"]);
  });

  test("again, after a crash, changes nothing", async () => {
    await using shard = await Shard.create();
    await publishRoll(shard.catalog, record(Array.from({ length: 1_300 }, (_, i) => i + 1)), () => true, 5);
    const before = [extentsOf(shard), counts(shard)];
    await publishRoll(shard.catalog, record(Array.from({ length: 1_300 }, (_, i) => i + 1)), () => true, 9);
    expect([extentsOf(shard), counts(shard)]).toEqual(before);
    expect(counts(shard)).toEqual({ "objects/x": 1_300 });
  });

  test("after an attempt that was cut off keeps the object of a live stream, though another one died in between", async () => {
    await using shard = await Shard.create();
    const { id: kept } = (await shard.create("kept", "live")).identity;
    const { id: dead } = (await shard.create("dead", "gone")).identity;
    const roll = record([dead, kept]);
    // The first attempt got as far as its extents.
    await shard.catalog.batch(() => {
      for (const extent of roll.extents) shard.catalog.extents.put({ ...extent, object: "objects/x" });
    });
    await shard.engine.remove("dead");
    await shard.engine.sync.save();
    await publishRoll(shard.catalog, roll, (id) => shard.engine.isLive(id), 5);
    await reaperOf(shard).reap();
    expect(extentsOf(shard)).toEqual([kept]);
    expect(counts(shard)).toEqual({ "objects/x": 1 });
  });

  test("has no bytes of a stream that was deleted and created anew under its name", async () => {
    await using shard = await Shard.create();
    await shard.create("a", "old");
    await shard.engine.wal.seal();
    await shard.engine.remove("a");
    await shard.engine.create("a", ask(), Buffer.from("new"));
    await shard.roll();
    const { id } = shard.engine.find("a")!.state.identity;
    expect(extentsOf(shard)).toEqual([id]);
    await reaperOf(shard).reap();
    expect(extentsOf(shard)).toEqual([id]);
    expect(Object.values(counts(shard)).sort()).toEqual([0, 1]);
  });
});
