import {
  DecodeError,
  ObjectStoreError,
  StreamError,
  decodeBlock,
  type ColdExtent,
  type Crc32,
  type ObjectStore,
  type Random,
} from "@coldbrook/core";
import { LRUCache } from "lru-cache";
import type { ChunkCache } from "./chunk-cache.ts";
import { ReadAhead, type NextExtent } from "./read-ahead.ts";
import { SingleFlight } from "./single-flight.ts";

/** GETs of a range whose bytes came back wrong, after the first. */
const RETRIES_MAX = 3;
/** Longest wait before such a GET, in milliseconds; doubled each time, with full jitter. */
const RETRY_BASE_MS = 50;

/** The bytes [from, to) of an object. @throws ObjectStoreError */
export type ReadNow = (key: string, from: number, to: number) => Uint8Array;

export interface ColdRangesOptions {
  readonly store: ObjectStore;
  readonly crc: Crc32;
  /** Null: nothing is kept on disk. */
  readonly cache: ChunkCache | null;
  /** What the store's `read` resolves with, for one in memory: then everything ends in the turn in which it is asked for. */
  readonly readNow?: ReadNow | undefined;
  /** Bytes of verified ranges kept in memory; 0 keeps none. */
  readonly chunkMemoryBytesMax: number;
  /** Readers that follow a stream ask up to multiples of this many bytes; undefined: nothing is fetched before it is asked for. */
  readonly readAheadChunkBytes?: number | undefined;
  readonly random: Random;
  readonly sleep: (ms: number) => Promise<void>;
}

/** Neighbouring blocks [first, last) of one extent, and where they lie: stream position `start`, object bytes [from, to). */
export interface BlockRange {
  readonly extent: ColdExtent;
  readonly first: number;
  readonly last: number;
  readonly start: number;
  readonly from: number;
  readonly to: number;
}

/** What the ranges have cost so far, for the metrics. */
export interface ColdRangesStats {
  readonly gets: number;
  readonly bytesFetched: number;
  readonly memoryHits: number;
  readonly diskHits: number;
  /** Bytes fetched for readers that follow, those that were taken, and what is held of them now. */
  readonly aheadFetchedBytes: number;
  readonly aheadTakenBytes: number;
  readonly aheadHeldBytes: number;
}

/**
 * Whole blocks of sealed objects, from memory, the disk cache or one ranged GET however many readers ask. Nothing leaves
 * it that has not passed its checksum, wherever it came from.
 */
export class ColdRanges {
  readonly #options: ColdRangesOptions;
  readonly #flights = new SingleFlight<Uint8Array>();
  readonly #memory: LRUCache<string, Uint8Array> | undefined;
  readonly #ahead: ReadAhead | undefined;
  #gets = 0;
  #bytesFetched = 0;
  #memoryHits = 0;
  #diskHits = 0;

  constructor(options: ColdRangesOptions) {
    this.#options = options;
    if (options.chunkMemoryBytesMax > 0) {
      this.#memory = new LRUCache<string, Uint8Array>({
        maxSize: options.chunkMemoryBytesMax,
        sizeCalculation: (bytes) => Math.max(1, bytes.length),
      });
    }
    const chunkBytes = options.readAheadChunkBytes;
    if (chunkBytes !== undefined && options.readNow === undefined)
      this.#ahead = new ReadAhead({ chunkBytes, fetch: (object, from, to) => this.#fetch(object, from, to) });
  }

  get stats(): ColdRangesStats {
    return {
      gets: this.#gets,
      bytesFetched: this.#bytesFetched,
      memoryHits: this.#memoryHits,
      diskHits: this.#diskHits,
      aheadFetchedBytes: this.#ahead?.stats.fetchedBytes ?? 0,
      aheadTakenBytes: this.#ahead?.stats.takenBytes ?? 0,
      aheadHeldBytes: this.#ahead?.stats.heldBytes ?? 0,
    };
  }

  /**
   * The payloads of the blocks of `range`, in order. They are shared: nobody may write to them. In this very turn where the
   * store is read so. With `next`, what follows may be fetched for a reader that follows.
   * @throws StreamError corrupt-object, store-unavailable, gone
   */
  read(range: BlockRange, next?: NextExtent): Uint8Array[] | Promise<Uint8Array[]> {
    const bytes = this.#verified(range, next);
    return bytes instanceof Promise ? bytes.then((whole) => payloadsOf(range, whole)) : payloadsOf(range, bytes);
  }

  /** Message lengths of the first block of `range`. Returns and throws as `read` does. */
  lengths(range: BlockRange): readonly number[] | Promise<readonly number[]> {
    const bytes = this.#verified(range);
    return bytes instanceof Promise
      ? bytes.then((whole) => this.#firstLengths(range, whole))
      : this.#firstLengths(range, bytes);
  }

  #firstLengths(range: BlockRange, bytes: Uint8Array): readonly number[] {
    const block = range.extent.blocks[range.first]!;
    return decodeBlock(bytes.subarray(0, block.payloadBytes + block.tableBytes), block, this.#options.crc).lengths;
  }

  #verified(range: BlockRange, next?: NextExtent): Uint8Array | Promise<Uint8Array> {
    if (this.#options.readNow !== undefined) return this.#verifiedNow(range, this.#options.readNow);
    const key = `${range.extent.object}:${range.from}-${range.to}`;
    const kept = this.#memory?.get(key);
    if (kept === undefined) return this.#flights.run(key, () => this.#load(key, range, next));
    this.#memoryHits += 1;
    return kept;
  }

  #verifiedNow(range: BlockRange, readNow: ReadNow): Uint8Array {
    const { store, crc } = this.#options;
    const { extent, from, to } = range;
    let bytes: Uint8Array;
    try {
      bytes = readNow(extent.object, from, to);
    } catch (error) {
      throw error instanceof ObjectStoreError ? storeFault(error, store, extent.object) : error;
    }
    const wrong = fault(bytes, range, crc);
    if (wrong === undefined) return bytes;
    throw new StreamError("corrupt-object", `bytes [${from}, ${to}) of ${extent.object} in ${store.name}: ${wrong}`);
  }

  async #load(key: string, range: BlockRange, next: NextExtent | undefined): Promise<Uint8Array> {
    const { cache, crc } = this.#options;
    const ahead = await this.#takeAhead(range, next);
    if (ahead !== undefined) {
      // Not kept in memory: it is a part of more bytes than it counts for.
      void cache?.put(key, ahead);
      return ahead;
    }
    const cached = await cache?.get(key);
    if (cached !== undefined) {
      if (fault(cached, range, crc) === undefined) {
        this.#diskHits += 1;
        this.#memory?.set(key, cached);
        return cached;
      }
      cache?.drop(key);
    }
    const got = this.#get(range);
    if (next !== undefined) this.#ahead?.follow(range, next);
    const bytes = await got;
    this.#memory?.set(key, bytes);
    // Nobody waits for the disk: a range that is not kept is fetched again.
    void cache?.put(key, bytes);
    return bytes;
  }

  /** The range, verified, if it was fetched for a reader that follows; then more is. */
  async #takeAhead(range: BlockRange, next: NextExtent | undefined): Promise<Uint8Array | undefined> {
    const taken = this.#ahead?.take(range);
    if (taken === undefined) return undefined;
    if (next !== undefined) this.#ahead?.follow(range, next);
    const bytes = await taken;
    return bytes !== undefined && fault(bytes, range, this.#options.crc) === undefined ? bytes : undefined;
  }

  async #fetch(object: string, from: number, to: number): Promise<Uint8Array> {
    this.#gets += 1;
    const bytes = await this.#options.store.read(object, from, to);
    this.#bytesFetched += bytes.length;
    return bytes;
  }

  async #get(range: BlockRange): Promise<Uint8Array> {
    const { store, crc, random, sleep } = this.#options;
    const { extent, from, to } = range;
    let wrong = "";
    for (let attempt = 0; attempt <= RETRIES_MAX; attempt++) {
      if (attempt > 0) await sleep(random() * RETRY_BASE_MS * 2 ** attempt);
      try {
        const bytes = await this.#fetch(extent.object, from, to);
        const found = fault(bytes, range, crc);
        if (found === undefined) return bytes;
        wrong = found;
      } catch (error) {
        if (!(error instanceof ObjectStoreError)) throw error;
        if (error.code !== "short") throw storeFault(error, store, extent.object);
        wrong = error.message;
      }
    }
    throw new StreamError(
      "corrupt-object",
      `bytes [${from}, ${to}) of ${extent.object} in ${store.name} (stream ${extent.stream}, from position ` +
        `${range.start}) came back wrong ${RETRIES_MAX + 1} times: ${wrong}; run "coldbrook check"`,
    );
  }
}

/** The StreamError for a store that refused: the object is gone, or the store is not to be had now. */
export function storeFault(error: ObjectStoreError, store: ObjectStore, key: string): StreamError {
  return error.code === "missing"
    ? new StreamError("gone", `${key} is no longer in ${store.name}`, { cause: error })
    : new StreamError("store-unavailable", `${key} in ${store.name} cannot be read: ${error.message}`, {
        cause: error,
      });
}

/** The payloads in `bytes`, which are the blocks of `range`. */
function payloadsOf(range: BlockRange, bytes: Uint8Array): Uint8Array[] {
  const payloads: Uint8Array[] = [];
  let at = 0;
  for (let index = range.first; index < range.last; index++) {
    const block = range.extent.blocks[index]!;
    payloads.push(bytes.subarray(at, at + block.payloadBytes));
    at += block.payloadBytes + block.tableBytes;
  }
  return payloads;
}

/** What is wrong with `bytes` as the blocks of `range`, or undefined. */
function fault(bytes: Uint8Array, range: BlockRange, crc: Crc32): string | undefined {
  const wanted = range.to - range.from;
  if (bytes.length !== wanted) return `${bytes.length} bytes instead of ${wanted}`;
  let at = 0;
  for (let index = range.first; index < range.last; index++) {
    const block = range.extent.blocks[index]!;
    const end = at + block.payloadBytes + block.tableBytes;
    try {
      decodeBlock(bytes.subarray(at, end), block, crc);
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      return `block ${index} of the extent: ${error.message}`;
    }
    at = end;
  }
  return undefined;
}
