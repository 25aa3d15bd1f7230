import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { CACHE_FILES_MAX } from "@coldbrook/core";
import { LRUCache } from "lru-cache";

/** Files written at the same time; past it a range is simply not cached. */
const WRITES_MAX = 8;
/** A file is a range's bytes, then their CRC-32. */
const CHECKSUM_BYTES = 4;
const FILE_NAME = /^[0-9a-f]{40}$/;
const TEMPORARY_NAME = /^[0-9a-f]{40}\.[0-9]+\.tmp$/;

export interface ChunkCacheOptions {
  /** Made when missing. Only files that the cache itself named are ever touched in it. */
  readonly directory: string;
  /** Bytes of all files together; 0 turns the cache off. */
  readonly bytesMax: number;
  readonly filesMax?: number;
  /** Whether the disk has room for so many bytes more; always when left out. */
  readonly mayGrow?: (bytes: number) => boolean;
  readonly log: { warn(facts: object, message: string): void };
}

/**
 * Bounded disk cache of object ranges, least recently used out first. It promises nothing: files are not synced, so the
 * reader verifies what it gets and calls `drop` when it is wrong, and every failure of the disk is a miss.
 */
export class ChunkCache {
  readonly #directory: string;
  readonly #bytesMax: number;
  readonly #log: ChunkCacheOptions["log"];
  readonly #mayGrow: (bytes: number) => boolean;
  readonly #sizes: LRUCache<string, number>;
  #writes = 0;
  #serial = 0;
  #warned = false;

  private constructor(options: ChunkCacheOptions) {
    this.#directory = options.directory;
    this.#bytesMax = options.bytesMax;
    this.#log = options.log;
    this.#mayGrow = options.mayGrow ?? ((): boolean => true);
    this.#sizes = new LRUCache<string, number>({
      max: options.filesMax ?? CACHE_FILES_MAX,
      maxSize: Math.max(1, options.bytesMax),
      sizeCalculation: (bytes) => Math.max(1, bytes),
      dispose: (_bytes, name, reason) => {
        if (reason !== "set") void this.#unlink(name);
      },
    });
  }

  /** Opens the cache with what an earlier run left in the directory. Never fails: a bad directory is an empty cache. */
  static async open(options: ChunkCacheOptions): Promise<ChunkCache> {
    const cache = new ChunkCache(options);
    if (options.bytesMax > 0) {
      try {
        await mkdir(options.directory, { recursive: true });
        await cache.#load();
      } catch (error) {
        cache.#warn(error);
      }
    }
    return cache;
  }

  get bytes(): number {
    return this.#sizes.calculatedSize;
  }

  get files(): number {
    return this.#sizes.size;
  }

  /** The bytes kept for `key`, or undefined. A file that fails its own checksum is named in the log, dropped, and a miss. */
  async get(key: string): Promise<Uint8Array | undefined> {
    const name = fileName(key);
    if (this.#sizes.get(name) === undefined) return undefined;
    const file = join(this.#directory, name);
    try {
      const bytes = await readFile(file);
      if (isWhole(bytes)) return bytes.subarray(0, -CHECKSUM_BYTES);
      this.#log.warn(
        { file, range: key },
        "a file of the read cache fails its checksum and is dropped; nothing of it was served",
      );
      this.drop(key);
      return undefined;
    } catch (error) {
      this.#sizes.delete(name);
      if (errorCode(error) !== "ENOENT") this.#warn(error);
      return undefined;
    }
  }

  /** Keeps `bytes` for `key` if disk and bounds allow; resolves either way. */
  async put(key: string, bytes: Uint8Array): Promise<void> {
    if (bytes.length > this.#bytesMax || this.#writes >= WRITES_MAX || !this.#mayGrow(bytes.length)) return;
    const name = fileName(key);
    const temporary = join(this.#directory, `${name}.${this.#serial++}.tmp`);
    this.#writes += 1;
    try {
      const checksum = Buffer.alloc(CHECKSUM_BYTES);
      checksum.writeUInt32LE(crc32(bytes));
      await writeFile(temporary, [bytes, checksum]);
      await rename(temporary, join(this.#directory, name));
      this.#sizes.set(name, bytes.length);
    } catch (error) {
      this.#warn(error);
      await rm(temporary, { force: true }).catch(() => undefined);
    } finally {
      this.#writes -= 1;
    }
  }

  /** Gives its room on the disk back. */
  clear(): void {
    this.#sizes.clear();
  }

  /** Removes what is kept for `key`, because it failed its checksum. */
  drop(key: string): void {
    this.#sizes.delete(fileName(key));
  }

  async #load(): Promise<void> {
    const found: { name: string; bytes: number; atMs: number }[] = [];
    for (const name of await readdir(this.#directory)) {
      const path = join(this.#directory, name);
      if (TEMPORARY_NAME.test(name)) await rm(path, { force: true });
      if (!FILE_NAME.test(name)) continue;
      const facts = await stat(path);
      found.push({ name, bytes: facts.size, atMs: facts.mtimeMs });
    }
    // Oldest first, so that the newest are the last to be evicted.
    found.sort((a, b) => a.atMs - b.atMs);
    for (const { name, bytes } of found) {
      const kept = Math.max(1, bytes - CHECKSUM_BYTES);
      if (kept > this.#bytesMax) await this.#unlink(name);
      else this.#sizes.set(name, kept);
    }
  }

  async #unlink(name: string): Promise<void> {
    try {
      await rm(join(this.#directory, name), { force: true });
    } catch (error) {
      this.#warn(error);
    }
  }

  #warn(error: unknown): void {
    if (this.#warned) return;
    this.#warned = true;
    this.#log.warn(
      { directory: this.#directory, cause: error instanceof Error ? error.message : String(error) },
      "the read cache's disk failed; reads that miss it go to the object store",
    );
  }
}

function isWhole(file: Buffer): boolean {
  if (file.length < CHECKSUM_BYTES) return false;
  const at = file.length - CHECKSUM_BYTES;
  return crc32(file.subarray(0, at)) === file.readUInt32LE(at);
}

/** Reads every file of a cache that no server uses, and says which ones fail their checksum. */
export async function verifyCache(directory: string): Promise<{ files: number; problems: string[] }> {
  const problems: string[] = [];
  let files = 0;
  const names = await readdir(directory).catch((error: unknown) => {
    if (errorCode(error) === "ENOENT") return [];
    throw error;
  });
  for (const name of names.filter((each) => FILE_NAME.test(each))) {
    files += 1;
    const file = join(directory, name);
    if (!isWhole(await readFile(file)))
      problems.push(`cache file ${file} fails its checksum; it is dropped when it is read`);
  }
  return { files, problems };
}

function fileName(key: string): string {
  return createHash("sha256").update(key).digest("hex").slice(0, 40);
}

function errorCode(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
