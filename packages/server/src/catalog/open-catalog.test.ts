import fs from "node:fs";
import path from "node:path";
import { MemoryObjectStore } from "@coldbrook/tiering";
import { describe, expect, test } from "vitest";
import { Shard, temporaryDirectory } from "../../test-support/shard.ts";
import { Catalog, CATALOG_VERSION } from "./catalog.ts";
import { openCatalog } from "./open-catalog.ts";
import { rebuildCatalog } from "./rebuild.ts";

/** A finished catalog of some pages, closed, with its size on record. */
async function finished(directory: string): Promise<string> {
  const { catalog } = await openCatalog(directory);
  await rebuildCatalog(catalog, new MemoryObjectStore(), 5);
  await catalog.batch(() => {
    for (let i = 0; i < 2_000; i++) catalog.objects.put(`objects/${i}`, undefined, 10, 1, 5);
  });
  await catalog.flushed();
  catalog.recordSize();
  await catalog.close();
  return path.join(directory, "data.mdb");
}

async function openedAt(
  directory: string,
): Promise<{ isEmpty: boolean; damage: string | null; movedTo: string | null }> {
  const { catalog, isEmpty, damage, movedTo } = await openCatalog(directory);
  await catalog.close();
  return { isEmpty, damage, movedTo };
}

describe("a catalog", () => {
  test("that was finished is used as it is", async () => {
    await using root = await temporaryDirectory();
    const directory = path.join(root.path, "catalog");
    await finished(directory);
    expect(await openedAt(directory)).toEqual({ isEmpty: false, damage: null, movedTo: null });
  });

  test("that is not there is made, and is empty", async () => {
    await using root = await temporaryDirectory();
    const directory = path.join(root.path, "catalog");
    expect(await openedAt(directory)).toEqual({ isEmpty: true, damage: null, movedTo: null });
  });

  test("that was never finished is moved aside", async () => {
    await using root = await temporaryDirectory();
    const directory = path.join(root.path, "catalog");
    await openedAt(directory);
    const opened = await openedAt(directory);
    expect(opened).toMatchObject({ isEmpty: true, damage: "it was never finished", movedTo: `${directory}.damaged-1` });
    expect(fs.existsSync(`${directory}.damaged-1/data.mdb`)).toBe(true);
  });

  test.each([
    ["cut to nothing", (file: string): void => fs.truncateSync(file, 0)],
    ["cut to half", (file: string): void => fs.truncateSync(file, fs.statSync(file).size / 2)],
    ["cut by a page", (file: string): void => fs.truncateSync(file, fs.statSync(file).size - 4096)],
    ["removed", (file: string): void => fs.rmSync(file)],
    [
      "overwritten at its head",
      (file: string): void => {
        const fd = fs.openSync(file, "r+");
        fs.writeSync(fd, Buffer.alloc(16_384, 0xa5), 0, 16_384, 0);
        fs.closeSync(fd);
      },
    ],
  ])("whose file was %s is moved aside whole, and named", async (_how, damage) => {
    await using root = await temporaryDirectory();
    const directory = path.join(root.path, "catalog");
    const file = await finished(directory);
    damage(file);
    const before = fs.readdirSync(directory).map((name) => [name, fs.readFileSync(path.join(directory, name))]);
    const opened = await openedAt(directory);
    expect(opened).toMatchObject({ isEmpty: true, movedTo: `${directory}.damaged-1` });
    expect(opened.damage).toContain("data.mdb");
    const aside = `${directory}.damaged-1`;
    expect(fs.readdirSync(aside).map((name) => [name, fs.readFileSync(path.join(aside, name))])).toEqual(before);
  });

  test("moved aside does not overwrite an earlier one", async () => {
    await using root = await temporaryDirectory();
    const directory = path.join(root.path, "catalog");
    const moved: (string | null)[] = [];
    for (let round = 0; round < 3; round++) {
      fs.truncateSync(await finished(directory), 0);
      moved.push((await openedAt(directory)).movedTo);
      fs.rmSync(directory, { recursive: true });
    }
    expect(moved).toEqual([1, 2, 3].map((number) => `${directory}.damaged-${number}`));
  });

  test("with a damaged number is moved aside", async () => {
    await using root = await temporaryDirectory();
    const directory = path.join(root.path, "catalog");
    await finished(directory);
    const { open } = await import("lmdb");
    const raw = open({ path: directory, encoding: "binary", maxDbs: 16 });
    await raw.openDB({ name: "meta", encoding: "binary" }).put("appliedLsn", Buffer.from("nonsense"));
    await raw.close();
    const opened = await openedAt(directory);
    expect(opened.damage).toContain("appliedLsn");
    expect(opened.isEmpty).toBe(true);
  });

  test("of a later version is refused and left alone", async () => {
    await using root = await temporaryDirectory();
    const directory = path.join(root.path, "catalog");
    await finished(directory);
    const catalog = Catalog.open(directory);
    await catalog.batch(() => catalog.setMeta("version", CATALOG_VERSION + 1));
    await catalog.close();
    await expect(openCatalog(directory)).rejects.toThrow("later version");
    expect(fs.readdirSync(root.path)).toEqual(["catalog"]);
  });
});

describe("a rebuilt catalog", () => {
  test("equals the one that was lost, and the WAL is replayed on top", async () => {
    await using shard = await Shard.create();
    await shard.create("a", "one", { ttlSeconds: 600 });
    await shard.append("a", "two", { streamSeq: "1", producer: { id: "p", epoch: 1, seq: 0 } });
    await shard.create("gone", "bytes");
    await shard.roll();
    await shard.append("a", "three", { producer: { id: "p", epoch: 1, seq: 1 }, close: true });
    await shard.engine.remove("gone");
    await shard.create("b", "only in the WAL");
    await shard.engine.sync.save();
    const states = (): unknown => ["a", "b"].map((name) => shard.engine.find(name)!.state);
    const rolled = (): unknown => [
      [...shard.catalog.extents.keys()].map(({ stream, start }) => shard.catalog.extents.load(stream, start)),
      [...shard.catalog.objects.keys()].map((key) => [key, shard.catalog.objects.load(key)]),
      shard.catalog.meta("rolledLsn"),
    ];
    const before = [states(), rolled()];
    await shard.stop();
    fs.rmSync(shard.catalogDirectory, { recursive: true });
    await shard.start();
    expect([states(), rolled()]).toEqual(before);
    expect(shard.engine.find("gone")).toBeUndefined();
    expect(await shard.append("a", "x", { producer: { id: "p", epoch: 1, seq: 1 }, close: true })).toMatchObject({
      outcome: { kind: "duplicate" },
    });
    expect(shard.catalog.expiry.due(shard.nowMs + 600_000, 9).length).toBe(1);
    expect((await shard.create("new")).identity.id).toBe(4);
  });

  test("of an empty store and an empty WAL is finished and starts at 0", async () => {
    await using root = await temporaryDirectory();
    const { catalog } = await openCatalog(path.join(root.path, "catalog"));
    expect(await rebuildCatalog(catalog, new MemoryObjectStore(), 5)).toEqual({ rolls: 0, rolledLsn: 0 });
    expect(catalog.meta("version")).toBe(CATALOG_VERSION);
    await catalog.close();
  });
});
