import { expect, test, vi } from "vitest";
import { lsn } from "@coldbrook/core";
import { MemoryObjectStore } from "@coldbrook/tiering";
import { Catalog } from "./catalog/catalog.ts";
import { SILENT } from "./log.ts";
import { Shard } from "./shard.ts";
import { MemoryWalStorage } from "./wal/storage-memory.ts";

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
  const shard = new Shard(
    {
      segmentBytes: 1024,
      segmentAgeMs: 60_000,
      walBytesMax: 1 << 20,
      diskReserveBytes: 0,
      chunkBytes: 1024,
      objectGraceMs: 0,
      restingStreamsMax: 1,
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
    {
      id: "0123456789abcdef",
      catalog,
      wal,
      store: new MemoryObjectStore(),
      readNow: null,
      cache: null,
      recovered: {
        streams: [],
        subscriptions: [],
        wal: { segments: [], next: lsn(100), reuseNext: false },
        generation: 0,
        released: [lsn(0)],
        torn: null,
      },
    },
  );
  await shard.start();
  expect(steps).toEqual(["commit", "flushed", "remove 0"]);
  expect(catalog.meta("rolledLsn")).toBe(100);
  await shard.close();
});
