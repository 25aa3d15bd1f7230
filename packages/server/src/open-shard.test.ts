import { MemoryObjectStore } from "@coldbrook/tiering";
import { expect, test, vi } from "vitest";
import { temporaryDirectory } from "../test-support/shard.ts";
import { openDataDir } from "./data-dir.ts";
import { SILENT } from "./log.ts";
import { openShard } from "./open-shard.ts";
import { readSettings } from "./settings.ts";

/** As a write that timed out, was given up and reaches the store all the same. */
async function arriveLate(store: MemoryObjectStore, key: string): Promise<void> {
  const bytes = Buffer.from("of another start");
  await store.create(key, bytes.length, async function* () {
    yield bytes;
  });
}

test("a write of an earlier start's probe that arrives late does not refuse a start with the same pid", async () => {
  await using directory = await temporaryDirectory();
  const store = new MemoryObjectStore();
  const create = vi.spyOn(store, "create");
  const probed = (): Set<string> =>
    new Set(create.mock.calls.map(([key]) => key).filter((key) => key.startsWith("probe/")));
  const settings = readSettings(["--port", "0", "--data-dir", directory.path], {});
  const start = async (): Promise<void> => {
    const dataDir = await openDataDir(directory.path);
    const onFatal = (error: Error): never => {
      throw error;
    };
    const ports = { clock: Date.now, random: Math.random, faultPoint: () => undefined, log: SILENT, onFatal };
    const shard = await openShard(settings, ports, dataDir, store);
    await shard.close();
    dataDir.release();
  };
  await start();
  const [key] = probed();
  await arriveLate(store, key!);
  await start();
  expect(probed().size).toBe(2);
});
