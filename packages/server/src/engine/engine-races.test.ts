import fs from "node:fs";
import fsp from "node:fs/promises";
import path from "node:path";
import { crc32 } from "node:zlib";
import { decodeRollRecord, encodeRollRecord, position, rollKey } from "@coldbrook/core";
import { Collector, MemoryObjectStore } from "@coldbrook/tiering";
import { open } from "lmdb";
import { afterEach, describe, expect, test, vi } from "vitest";
import { ask, microtasks, Shard, temporaryDirectory, until } from "../../test-support/shard.ts";
import { openCatalog } from "../catalog/open-catalog.ts";
import { rebuildCatalog } from "../catalog/rebuild.ts";
import { CatalogWork } from "./catalog-work.ts";
import type { AppendResult, CreateResult, RemoveResult } from "./write-path.ts";
import { Reaper } from "./reaper.ts";

const NOTHING = new Uint8Array(0);

afterEach(() => vi.restoreAllMocks());

function kindOf(result: AppendResult | CreateResult | RemoveResult): string {
  if (typeof result === "string") return result;
  return result.kind === "decided" ? result.outcome.kind : result.kind;
}

/** Keeps syncs of the log back until they are let go; a batch of two frames never syncs on the calling thread. */
class HeldSyncs {
  readonly #real = fs.fdatasync;
  readonly #waiting: (() => void)[] = [];
  #holding = true;

  constructor() {
    vi.spyOn(fs, "fdatasync").mockImplementation((fd, done) => {
      const sync = (): void => this.#real(fd, done);
      if (this.#holding) this.#waiting.push(sync);
      else sync();
    });
  }

  get count(): number {
    return this.#waiting.length;
  }

  release(): void {
    this.#holding = false;
    for (const sync of this.#waiting.splice(0)) sync();
  }
}

/** A commit under way that cannot end: what is enqueued from now on waits in the open batch. */
async function busyDisk(shard: Shard): Promise<{ syncs: HeldSyncs; busy: Promise<unknown> }> {
  for (const name of ["busy/1", "busy/2"]) await shard.engine.create(name, ask(), NOTHING);
  const syncs = new HeldSyncs();
  const busy = Promise.all([shard.append("busy/1", "x"), shard.append("busy/2", "x")]);
  await until(() => syncs.count > 0);
  return { syncs, busy };
}

async function expectSurvivesRollAndRestart(shard: Shard, name: string, tail: number | null): Promise<void> {
  const found = (): number | null => shard.engine.find(name)?.state.tail ?? null;
  expect(found(), name).toBe(tail);
  await shard.engine.sync.save();
  await shard.restart();
  expect(found(), `${name} after a restart`).toBe(tail);
}

type Step = "create" | "remove" | "append";
const ORDERS: readonly (readonly Step[])[] = [
  ["create", "remove", "append"],
  ["create", "append", "remove"],
  ["remove", "create", "append"],
  ["append", "create", "remove"],
  ["remove", "append", "create"],
  ["append", "remove", "create"],
];

describe("create, delete and append of a new path at once", () => {
  const doers: Record<Step, (shard: Shard, name: string) => Promise<CreateResult | AppendResult | RemoveResult>> = {
    create: (shard, name) => shard.engine.create(name, ask(), NOTHING),
    remove: (shard, name) => shard.engine.remove(name),
    append: (shard, name) => shard.append(name, "data"),
  };

  test.each(ORDERS)("%s, %s, %s: no append is put behind the delete, however they interleave", async (...order) => {
    await using shard = await Shard.create();
    const expected = new Map<string, number | null>();
    for (let gaps = 0; gaps < 16; gaps++) {
      const name = `s/${gaps}`;
      const answers: string[] = [];
      const running: Promise<unknown>[] = [];
      for (const [i, step] of order.entries()) {
        const doing = doers[step](shard, name).then((result) => answers.push(kindOf(result)));
        running.push(doing);
        // No gap, a few microtasks, or time for a commit to begin.
        const gap = (gaps >> (2 * i)) & 3;
        for (let turn = 0; turn < gap * 3; turn++) await Promise.resolve();
        if (gap === 3) await new Promise((resolve) => setImmediate(resolve));
      }
      await Promise.all(running);
      const appended = answers.indexOf("append");
      const deleted = answers.indexOf("deleted");
      if (deleted >= 0) expect(appended, answers.join(", ")).toBeLessThan(deleted);
      expected.set(name, deleted >= 0 || !answers.includes("created") ? null : appended >= 0 ? 4 : 0);
    }
    const found = (): (number | null)[] =>
      [...expected.keys()].map((name) => shard.engine.find(name)?.state.tail ?? null);
    expect(found()).toEqual([...expected.values()]);
    await shard.restart();
    expect(found()).toEqual([...expected.values()]);
    await shard.roll();
    await shard.restart();
    expect(found()).toEqual([...expected.values()]);
    expect(shard.fatal).toEqual([]);
  });

  test("waiting for the same commit: the append finds nothing, and nothing of it is in the log", async () => {
    await using shard = await Shard.create();
    const { syncs, busy } = await busyDisk(shard);
    const creating = shard.engine.create("a", ask(), NOTHING);
    await microtasks();
    const removing = shard.engine.remove("a");
    const appends = [shard.append("a", "x"), shard.append("a", "y", { close: true })];
    syncs.release();
    await busy;
    expect((await Promise.all([creating, removing, ...appends])).map(kindOf)).toEqual([
      "created",
      "deleted",
      "not-found",
      "not-found",
    ]);
    const { streams } = await shard.recover(false);
    expect(streams.filter(({ pending }) => pending.identity.path === "a").map(({ pending }) => pending)).toMatchObject([
      { deleted: true, tail: 0 },
    ]);
    await shard.roll();
    await expectSurvivesRollAndRestart(shard, "a", null);
    expect(shard.fatal).toEqual([]);
  });
});

describe("two creates at once", () => {
  test.each([0, 2])("of an expired stream, %i microtasks apart, delete it once and create once", async (apart) => {
    await using shard = await Shard.create();
    await shard.create("a", "old", { ttlSeconds: 1 });
    shard.nowMs += 1_003;
    const first = shard.engine.create("a", ask(), Buffer.from("new"));
    for (let turn = 0; turn < apart; turn++) await Promise.resolve();
    const second = shard.engine.create("a", ask(), Buffer.from("other"));
    expect((await Promise.all([first, second])).map(kindOf)).toEqual(["created", "exists"]);
    await shard.restart();
    await shard.roll();
    await expectSurvivesRollAndRestart(shard, "a", 3);
    expect(shard.fatal).toEqual([]);
  });

  test("and a delete give exactly one new stream, with one body", async () => {
    await using shard = await Shard.create();
    await shard.create("a", "old");
    const three = [
      shard.engine.remove("a"),
      shard.engine.create("a", ask(), Buffer.from("AAA")),
      shard.engine.create("a", ask(), Buffer.from("BBBB")),
    ];
    expect((await Promise.all(three)).map(kindOf)).toEqual(["deleted", "created", "exists"]);
    expect(shard.hotText("a")).toBe("AAA");
    expect((await shard.recover(false)).streams.filter(({ pending }) => !pending.deleted).length).toBe(1);
    await shard.roll();
    await expectSurvivesRollAndRestart(shard, "a", 3);
  });
});

test("touches between appends of one batch never take an acknowledged append back, also after a kill", async () => {
  await using shard = await Shard.create();
  await shard.create("a", "", { ttlSeconds: 10 });
  const { stream } = shard.engine.find("a")!;
  const { syncs, busy } = await busyDisk(shard);
  const appends: Promise<AppendResult>[] = [];
  for (const text of ["one,", "two,", "three,", "four"]) {
    shard.nowMs += 2_000;
    shard.engine.touch(stream);
    appends.push(shard.append("a", text));
  }
  syncs.release();
  await busy;
  const tails = (await Promise.all(appends)).map((result) => (result.kind === "decided" ? result.state.tail : null));
  expect(tails).toEqual([4, 8, 14, 18]);
  expect([stream.durable!.tail, stream.pending.tail]).toEqual([18, 18]);
  expect(shard.hotText("a")).toBe("one,two,three,four");
  await shard.restart();
  await expectSurvivesRollAndRestart(shard, "a", 18);
});

describe("recovery", () => {
  test("writes the last segment once more and syncs it before anyone is served from it", async () => {
    await using shard = await Shard.create();
    await shard.create("a", "not known to be on disk");
    await shard.stop();
    const [[name, bytes]] = [...shard.walFiles()].slice(-1) as [[string, Buffer]];
    const written = Buffer.alloc(bytes.length);
    const events: string[] = [];
    let letGo!: () => void;
    const gate = new Promise<void>((resolve) => (letGo = resolve));
    const real = fsp.open;
    vi.spyOn(fsp, "open").mockImplementation(async (file, ...rest) => {
      const handle = await real(file, ...rest);
      if (path.basename(String(file)) !== name) return handle;
      const [write, sync] = [handle.write.bind(handle), handle.sync.bind(handle)];
      vi.spyOn(handle, "write").mockImplementation((async (
        part: Uint8Array,
        from: number,
        length: number,
        at: number,
      ) => {
        events.push("write");
        written.set(part.subarray(from, from + length), at);
        return write(part, from, length, at);
      }) as typeof handle.write);
      vi.spyOn(handle, "sync").mockImplementation(async () => {
        events.push("sync");
        await gate;
        await sync();
      });
      return handle;
    });
    const starting = shard.start().then(() => events.push("serves"));
    await until(() => events.includes("sync") || events.includes("serves"));
    await microtasks();
    expect(events).toEqual(["write", "sync"]);
    expect(written).toEqual(bytes);
    letGo();
    await starting;
    expect(events).toEqual(["write", "sync", "serves"]);
    expect(shard.engine.find("a")!.state.tail).toBe(23);
  });

  test("of a directory that is only checked writes nothing", async () => {
    await using shard = await Shard.create();
    await shard.create("a", "x");
    const opened = vi.spyOn(fsp, "open");
    await shard.recover(false);
    expect(opened.mock.calls.filter(([, flags]) => flags !== undefined && flags !== "r")).toEqual([]);
  });
});

test("a roll keeps the extents of a stream whose delete is not durable, and a kill then finds its bytes", async () => {
  await using shard = await Shard.create();
  const { identity } = await shard.create("a", "precious");
  await shard.create("busy/1");
  await shard.create("busy/2");
  await shard.engine.wal.seal();
  const { syncs, busy } = await busyDisk(shard);
  const removing = shard.engine.remove("a");
  vi.spyOn(shard.engine.wal, "seal").mockResolvedValueOnce();
  await shard.roll();
  const killed = shard.walFiles();
  syncs.release();
  await Promise.all([busy, removing]);
  expect([...shard.catalog.extents.keys()].map(({ stream }) => stream)).toContain(identity.id);
  await shard.stop();
  shard.restoreWal(killed);
  await shard.start();
  const { stream, state } = shard.engine.find("a")!;
  expect(state.tail).toBe(8);
  expect(
    shard.engine.index(stream, { stream: identity.id, from: position(0), to: position(8) }).cold(position(0)),
  ).toMatchObject({ stream: identity.id, start: 0, end: 8 });
});

test("a retry of an acknowledged producer append at any moment of a save is a duplicate, past 1,024 producers too", async () => {
  await using shard = await Shard.create();
  await shard.create("a");
  await shard.engine.sync.save();
  const by = (id: string): { producer: { id: string; epoch: number; seq: number } } => ({
    producer: { id, epoch: 0, seq: 0 },
  });
  await Promise.all(Array.from({ length: 1_100 }, (_, i) => shard.append("a", "x", by(`p${i}`))));
  await shard.append("a", "me", by("me"));
  let saved = false;
  const saving = shard.engine.sync.save().then(() => (saved = true));
  const kinds = new Set<string>();
  // Turn by turn of the microtasks first, then of the event loop, which the commit needs.
  for (let turn = 0; !saved; turn++) {
    kinds.add(kindOf(await shard.append("a", "me", by("me"))));
    if (turn > 50) await new Promise((resolve) => setImmediate(resolve));
  }
  await saving;
  kinds.add(kindOf(await shard.append("a", "me", by("me"))));
  expect([...kinds]).toEqual(["duplicate"]);
  expect(shard.engine.find("a")!.state.tail).toBe(1_102);
});

test("bytes that wait for their commit count against the budget of the log, and are given back when it rolls", async () => {
  const part = "x".repeat(300_000);
  await using shard = await Shard.create({ walBytesMax: 1_000_000 });
  await shard.create("a");
  const { syncs, busy } = await busyDisk(shard);
  const results = Promise.allSettled(Array.from({ length: 6 }, () => shard.append("a", part)));
  const created = shard.engine.create("b", ask(), Buffer.from(part)).catch((error: Error) => error);
  await microtasks();
  syncs.release();
  await busy;
  const answers = (await results).map((result) =>
    result.status === "rejected" ? (result.reason as { code: string }).code : "taken",
  );
  expect(answers).toEqual(["taken", "taken", "taken", "taken", "wal-full", "wal-full"]);
  expect(await created).toMatchObject({ code: "wal-full" });
  expect(shard.engine.find("a")!.state.tail).toBe(1_200_000);
  await shard.roll();
  expect(kindOf(await shard.append("a", part))).toBe("append");
});

describe("damage in the catalog met while a stream is given back", () => {
  const planted: [string, string, (keys: unknown[]) => unknown][] = [
    ["an extent", "extents", (keys) => keys[1]],
    ["an object's count", "objects", (keys) => keys[1]],
  ];

  test.each(planted)("in the value of %s changes nothing half-way", async (_, store, choose) => {
    await using shard = await Shard.create();
    const { identity } = await shard.create("a", "one");
    await shard.create("b", "kept");
    for (const text of ["two", "three"]) {
      await shard.roll();
      await shard.append("a", text, { producer: { id: text, epoch: 0, seq: 0 } });
    }
    await shard.roll();
    await shard.engine.remove("a");
    await shard.engine.sync.save();
    await shard.catalog.flushed();
    await shard.stop();
    await damage(shard.catalogDirectory, store, choose);
    await shard.start();
    const dump = (): unknown => [
      [...shard.catalog.extents.keys()],
      [...shard.catalog.producers.all()],
      shard.catalog.objects.due(Number.MAX_SAFE_INTEGER - 1, 9),
      [...shard.catalog.streams.ids()],
      shard.catalog.deleted.some(9),
    ];
    const before = dump();
    await expect(reap(shard)).rejects.toMatchObject({ code: "corrupt-catalog" });
    // What a batch that failed has put is committed with the next one.
    await shard.catalog.batch(() => shard.catalog.setMeta("generation", 9));
    expect(dump()).toEqual(before);
    expect(shard.catalog.deleted.some(9)).toEqual([identity.id]);
  });
});

/** Flips a bit of one value of a catalog that nobody has open. */
async function damage(directory: string, store: string, choose: (keys: unknown[]) => unknown): Promise<void> {
  const root = open<Uint8Array, string>({ path: directory, encoding: "binary", maxDbs: 16, cache: false });
  const values = root.openDB<Uint8Array, string | number[]>({ name: store, encoding: "binary" });
  const key = choose([...values.getKeys()]) as string | number[];
  const value = Buffer.from(values.get(key)!);
  value[value.length >> 1]! ^= 4;
  await values.put(key, value);
  await root.flushed;
  await root.close();
}

function reap(shard: Shard): Promise<void> {
  const { catalog, engine, store, clock } = shard;
  const log = { warn: (): void => undefined };
  const collector = new Collector({ store, due: () => [], forget: () => Promise.resolve(), log });
  const fatal = (error: Error): void => void shard.fatal.push(error);
  return new Reaper({ engine, catalog, collector, work: new CatalogWork(), clock, log, fatal }).reap();
}

test("a rebuild stops at a roll record that goes on with a stream which no record before it creates", async () => {
  await using shard = await Shard.create();
  const a = await shard.create("a", "one");
  await shard.create("b", "other");
  await shard.roll();
  await shard.append("a", "two");
  await shard.roll();
  const without = new MemoryObjectStore();
  for await (const key of shard.store.list("rolls/")) {
    const whole = await shard.store.read(key, 0, (await shard.store.size(key))!);
    const record = decodeRollRecord(whole, crc32);
    const digests = record.digests.filter((digest) => digest.created?.path !== "a");
    const bytes = encodeRollRecord({ ...record, digests }, crc32);
    await without.create(rollKey(record.base), bytes.length, async function* () {
      yield bytes;
    });
  }
  await using directory = await temporaryDirectory();
  const { catalog } = await openCatalog(path.join(directory.path, "catalog"));
  try {
    await expect(rebuildCatalog(catalog, without, shard.nowMs)).rejects.toMatchObject({ code: "corrupt-object" });
    expect(catalog.streams.load(a.identity.id)).toBeUndefined();
    expect(catalog.meta("version")).toBeUndefined();
  } finally {
    await catalog.close();
  }
});
