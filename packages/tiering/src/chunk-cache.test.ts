import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ChunkCache } from "./chunk-cache.ts";

interface Fixture extends AsyncDisposable {
  readonly directory: string;
  readonly warnings: string[];
  open(bytesMax: number, filesMax?: number): Promise<ChunkCache>;
}

async function fixture(): Promise<Fixture> {
  const directory = await mkdtemp(join(tmpdir(), "chunk-cache-"));
  const warnings: string[] = [];
  const log = { warn: (_facts: object, message: string): void => void warnings.push(message) };
  return {
    directory,
    warnings,
    open: (bytesMax, filesMax = 100) => ChunkCache.open({ directory, bytesMax, filesMax, log }),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}

const bytes = (length: number, value = 1): Uint8Array => new Uint8Array(length).fill(value);

describe("ChunkCache", () => {
  it("gives back what was put, also after it is opened again", async () => {
    await using disk = await fixture();
    const cache = await disk.open(1000);
    await cache.put("a:0-10", bytes(10, 7));
    expect(new Uint8Array((await cache.get("a:0-10"))!)).toEqual(bytes(10, 7));
    const again = await disk.open(1000);
    expect(again.bytes).toBe(10);
    expect(new Uint8Array((await again.get("a:0-10"))!)).toEqual(bytes(10, 7));
    expect(await again.get("a:0-11")).toBeUndefined();
  });

  it("keeps to its bytes and its files, least recently used out first", async () => {
    await using disk = await fixture();
    const cache = await disk.open(100, 3);
    for (const key of ["a", "b", "c"]) await cache.put(key, bytes(20));
    await cache.get("a");
    await cache.put("d", bytes(20));
    expect(await cache.get("b")).toBeUndefined();
    expect(await cache.get("a")).toBeDefined();
    await cache.put("e", bytes(90));
    expect(cache.bytes).toBe(90);
    await cache.put("f", bytes(101));
    expect(await cache.get("f")).toBeUndefined();
  });

  it("forgets a dropped range", async () => {
    await using disk = await fixture();
    const cache = await disk.open(100);
    await cache.put("a", bytes(20));
    cache.drop("a");
    expect(await cache.get("a")).toBeUndefined();
    expect(cache.files).toBe(0);
  });

  it("at 0 bytes it keeps nothing and touches no disk", async () => {
    await using disk = await fixture();
    const cache = await disk.open(0);
    await cache.put("a", bytes(1));
    expect(await cache.get("a")).toBeUndefined();
    expect(await readdir(disk.directory)).toEqual([]);
  });

  it("a file that was taken away is a miss", async () => {
    await using disk = await fixture();
    const cache = await disk.open(100);
    await cache.put("a", bytes(20));
    for (const name of await readdir(disk.directory)) await rm(join(disk.directory, name));
    expect(await cache.get("a")).toBeUndefined();
    expect(disk.warnings).toEqual([]);
  });

  it("a failing disk is one warning and misses, never an error", async () => {
    await using disk = await fixture();
    const cache = await disk.open(100);
    await rm(disk.directory, { recursive: true });
    await writeFile(disk.directory, "not a directory");
    await cache.put("a", bytes(20));
    await cache.put("b", bytes(20));
    expect(await cache.get("a")).toBeUndefined();
    expect(disk.warnings).toHaveLength(1);
  });

  it("open removes what a crash left half-written, and no file of anyone else", async () => {
    await using disk = await fixture();
    await writeFile(join(disk.directory, `${"a".repeat(40)}.3.tmp`), "half");
    await writeFile(join(disk.directory, "notes.txt"), "mine");
    const cache = await disk.open(100);
    expect(cache.files).toBe(0);
    expect(await readdir(disk.directory)).toEqual(["notes.txt"]);
  });
});
