/**
 * The catalog on disk: one LMDB environment. LMDB does not survive a commit that finds the disk full (the message that it makes of
 * that overruns its buffer), so a commit waits until there is room for all that it may write. Nothing rests on it meanwhile but
 * the release of WAL segments and what the catalog holds back in memory. One that fails all the same stops the process.
 */
import fs from "node:fs";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { open } from "lmdb";
import type { Database, RootDatabase } from "lmdb";
import { isPassing } from "../wal/storage.ts";
import type { CatalogEnvironment, KeyRange, StoreKey, ValueStore } from "./environment.ts";

const DATA_FILE = "data.mdb";
const SIZE_FILE = "size";
/** Waits until there is room for a commit. */
const ROOM_WAIT_MIN_MS = 50;
const ROOM_WAIT_MAX_MS = 1_000;
/** Left to what others write between the look at the disk and the commit. */
const ROOM_BYTES_MIN: number = 1024 * 1024;
const PAGE_BYTES = 4096;

/** @throws when LMDB cannot open the directory's files. */
export function openLmdb(directory: string): CatalogEnvironment {
  const root = open<Uint8Array, string>({
    path: directory,
    encoding: "binary",
    maxDbs: 16,
    // A commit resolves before its flush; readers of the environment see it at once.
    overlappingSync: true,
    useWritemap: false,
    // One batch is under way at a time, and it is ours.
    eventTurnBatching: false,
    noMemInit: true,
    cache: false,
  });
  return new LmdbEnvironment(directory, root);
}

/** Size that the file of the catalog in that directory once had: it never shrinks by itself. */
export function recordedSize(directory: string): number | null {
  try {
    const text = fs.readFileSync(path.join(directory, SIZE_FILE), "utf8");
    return /^\d{1,15}$/.test(text) ? Number(text) : null;
  } catch {
    // Not recorded yet: then nothing is known against the file.
    return null;
  }
}

class LmdbEnvironment implements CatalogEnvironment {
  readonly file: string;
  readonly #root: RootDatabase<Uint8Array, string>;
  #recordedSize = 0;
  /** What the batch that is being made changes; null outside of one. */
  #changes: Change[] | null = null;
  #last: Promise<void> = Promise.resolve();
  #stopped = false;
  waitsForRoom = false;

  constructor(directory: string, root: RootDatabase<Uint8Array, string>) {
    this.file = directory;
    this.#root = root;
  }

  store<K extends StoreKey>(name: string): ValueStore<K> {
    return new LmdbStore<K>(this.#root.openDB<Uint8Array, K>({ name, encoding: "binary" }), (change) => {
      if (this.#changes === null) throw new Error("the catalog was changed outside of a batch");
      this.#changes.push(change);
    });
  }

  batch(change: () => void): Promise<void> {
    const changes: Change[] = [];
    this.#changes = changes;
    try {
      change();
    } catch (error) {
      return Promise.reject(error as Error);
    } finally {
      this.#changes = null;
    }
    const committed = this.#last.then(() => this.#commit(changes));
    this.#last = committed.catch(() => undefined);
    return committed;
  }

  async #commit(changes: readonly Change[]): Promise<void> {
    for (let waitMs = ROOM_WAIT_MIN_MS; !this.#hasRoom(changes); waitMs = Math.min(ROOM_WAIT_MAX_MS, 2 * waitMs)) {
      if (this.#stopped)
        throw new Error(`catalog ${this.file}: its disk is full; the next start applies the log again`);
      this.waitsForRoom = true;
      await sleep(waitMs);
    }
    this.waitsForRoom = false;
    await this.#root.batch(() => {
      for (const { apply } of changes) apply();
    });
  }

  /** A commit writes each page that it touches to another place, which may all be new ones, and the values besides. */
  #hasRoom(changes: readonly Change[]): boolean {
    const { bsize, bavail } = fs.statfsSync(this.file);
    const freeBytes = bsize * bavail;
    let bytes = ROOM_BYTES_MIN;
    for (const change of changes) bytes += PAGE_BYTES + 2 * change.bytes;
    if (freeBytes >= bytes) return true;
    // Of a small catalog there are no more pages to touch than it has.
    const { size } = fs.statSync(path.join(this.file, DATA_FILE));
    return freeBytes >= bytes - Math.max(0, changes.length * PAGE_BYTES - size);
  }

  stopWaiting(): void {
    this.#stopped = true;
  }

  async flushed(): Promise<void> {
    await this.#root.flushed;
  }

  recordSize(): void {
    const { size } = fs.statSync(path.join(this.file, DATA_FILE));
    if (size === this.#recordedSize) return;
    try {
      fs.writeFileSync(path.join(this.file, SIZE_FILE), String(size));
    } catch (error) {
      // Without room, nothing is known against the file until it is recorded again.
      if (isPassing(error)) return;
      throw error;
    }
    this.#recordedSize = size;
  }

  async close(): Promise<void> {
    await this.#root.close();
  }
}

/** One change of a batch, and the bytes of its value. */
interface Change {
  readonly bytes: number;
  readonly apply: () => unknown;
}

/** Changes are kept until their batch is committed. */
class LmdbStore<K extends StoreKey> implements ValueStore<K> {
  readonly #db: Database<Uint8Array, K>;
  readonly #change: (change: Change) => void;

  constructor(db: Database<Uint8Array, K>, change: (change: Change) => void) {
    this.#db = db;
    this.#change = change;
  }

  get(key: K): Uint8Array | undefined {
    return this.#db.get(key);
  }

  put(key: K, value: Uint8Array): void {
    this.#change({ bytes: value.length, apply: () => this.#db.put(key, value) });
  }

  remove(key: K): void {
    this.#change({ bytes: 0, apply: () => this.#db.remove(key) });
  }

  getKeys(range?: KeyRange<K>): Iterable<K> {
    return this.#db.getKeys(range);
  }
}
