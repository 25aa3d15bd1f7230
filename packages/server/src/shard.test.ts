import { crc32 } from "node:zlib";
import { expect, test, vi } from "vitest";
import { lsn, SEGMENT_HEADER_BYTES } from "@coldbrook/core";
import { MemoryObjectStore, readRolls } from "@coldbrook/tiering";
import { ask, until } from "../test-support/shard.ts";
import { Catalog } from "./catalog/catalog.ts";
import { rebuildCatalog } from "./catalog/rebuild.ts";
import { SILENT } from "./log.ts";
import { Shard } from "./shard.ts";
import { recover } from "./wal/recovery.ts";
import type { Recovery } from "./wal/recovery.ts";
import { MemoryWalStorage } from "./wal/storage-memory.ts";

const ID = "0123456789abcdef";

function shardOf(
  kept: { catalog: Catalog; wal: MemoryWalStorage; store: MemoryObjectStore },
  recovered: Recovery,
): Shard {
  return new Shard(
    {
      segmentBytes: 1 << 16,
      segmentAgeMs: 60_000,
      walBytesMax: 1 << 20,
      diskReserveBytes: 0,
      chunkBytes: 1024,
      objectGraceMs: 0,
      restingStreamsMax: 8,
    },
    {
      clock: Date.now,
      random: Math.random,
      faultPoint: () => undefined,
      log: SILENT,
      onFatal: (error) => {
        throw error;
      },
    },
    { id: ID, ...kept, readNow: null, cache: null, recovered },
  );
}

/** A catalog made anew from the store, and what recovery finds behind it. */
async function recoveredFrom(
  wal: MemoryWalStorage,
  store: MemoryObjectStore,
): Promise<{ catalog: Catalog; recovered: Recovery }> {
  const catalog = Catalog.inMemory();
  const { rolledLsn } = await rebuildCatalog(catalog, store, 5);
  const read = { rolledLsn: lsn(rolledLsn), appliedLsn: lsn(rolledLsn), repair: true };
  return { catalog, recovered: await recover({ storage: wal, shard: ID, catalog, ...read }) };
}

test("a segment that a killed process had published goes only when a commit behind that one is flushed", async () => {
  const steps: string[] = [];
  const catalog = Catalog.inMemory();
  await catalog.batch(() => catalog.setMeta("rolledLsn", 100));
  const commit = catalog.batch.bind(catalog);
  vi.spyOn(catalog, "batch").mockImplementation((change) => {
    steps.push("commit");
    return commit(change);
  });
  vi.spyOn(catalog, "flushed").mockImplementation(async () => void steps.push("flushed"));
  const wal = new MemoryWalStorage();
  vi.spyOn(wal, "remove").mockImplementation(async (base) => void steps.push(`remove ${base}`));
  const shard = shardOf(
    { catalog, wal, store: new MemoryObjectStore() },
    {
      streams: [],
      subscriptions: [],
      wal: { segments: [], next: lsn(100), reuseNext: false },
      generation: 0,
      released: [lsn(0)],
      torn: null,
    },
  );
  await shard.start();
  expect(steps).toEqual(["commit", "flushed", "remove 0"]);
  expect(catalog.meta("rolledLsn")).toBe(100);
  await shard.close();
});

/** Seed 3609 of the simulation: rolled first, it made the next start take the un-rolled ones before it for rolled, and discard them. */
test("a segment that is sealed while a start gives back released ones is rolled after those that were recovered", async () => {
  const [wal, store] = [new MemoryWalStorage(), new MemoryObjectStore()];
  // A process that is killed before it releases what it has rolled, and has a sealed segment behind that one.
  const released = vi.spyOn(wal, "remove").mockResolvedValue();
  const before = await recoveredFrom(wal, store);
  const first = shardOf({ ...before, wal, store }, before.recovered);
  await first.start();
  await first.engine.create("a", ask(), Buffer.from("rolled"));
  await first.compact();
  const unrolled = first.engine.wal.end;
  await first.engine.create("b", ask(), Buffer.from("not rolled"));
  await first.close();
  released.mockRestore();

  const { catalog, recovered } = await recoveredFrom(wal, store);
  expect(recovered).toMatchObject({ released: [0], wal: { segments: [{ frames: 1 }] } });
  let goOn = (): void => undefined;
  vi.spyOn(wal, "remove").mockImplementation(async (base) => {
    if (base === 0) await new Promise<void>((resolve) => (goOn = resolve));
  });
  const second = shardOf({ catalog, wal, store }, recovered);
  const started = second.start();
  const sealedLate = second.engine.wal.end;
  await second.engine.create("c", ask(), Buffer.from("sealed late"));
  await second.engine.wal.seal();
  await until(() => second.facts()["segmentsToRoll"] === 0);
  goOn();
  await started;
  await second.close();
  const bases: number[] = [];
  for await (const { base } of readRolls(store, crc32)) bases.push(base);
  expect(bases).toEqual([0, unrolled - SEGMENT_HEADER_BYTES, sealedLate - SEGMENT_HEADER_BYTES]);
  const { catalog: after } = await recoveredFrom(wal, store);
  expect(["a", "b", "c"].map((name) => after.streams.load(after.streams.find(name)!)?.tail)).toEqual([6, 10, 11]);
});
