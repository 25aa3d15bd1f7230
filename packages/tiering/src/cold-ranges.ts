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
import { SingleFlight } from "./single-flight.ts";

/** GETs of a range whose bytes came back wrong, after the first. */
const RETRIES_MAX = 3;
/** Longest wait before such a GET, in milliseconds; doubled each time, with full jitter. */
const RETRY_BASE_MS = 50;

export interface ColdRangesOptions {
  readonly store: ObjectStore;
  readonly crc: Crc32;
  readonly cache: ChunkCache;
  /** Bytes of verified ranges kept in memory; 0 keeps none. */
  readonly chunkMemoryBytesMax: number;
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
}

/**
 * Whole blocks of sealed objects, from memory, the disk cache or one ranged GET however many readers ask. Nothing leaves
 * it that has not passed its checksum, wherever it came from.
 */
export class ColdRanges {
  readonly #options: ColdRangesOptions;
  readonly #flights = new SingleFlight<Uint8Array>();
  readonly #memory: LRUCache<string, Uint8Array> | undefined;
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
  }

  get stats(): ColdRangesStats {
    return {
      gets: this.#gets,
      bytesFetched: this.#bytesFetched,
      memoryHits: this.#memoryHits,
      diskHits: this.#diskHits,
    };
  }

  /**
   * The payloads of the blocks of `range`, in order. They are shared: nobody may write to them.
   * @throws StreamError corrupt-object, store-unavailable, gone
   */
  async read(range: BlockRange): Promise<Uint8Array[]> {
    const bytes = await this.#verified(range);
    const payloads: Uint8Array[] = [];
    let at = 0;
    for (let index = range.first; index < range.last; index++) {
      const block = range.extent.blocks[index]!;
      payloads.push(bytes.subarray(at, at + block.payloadBytes));
      at += block.payloadBytes + block.tableBytes;
    }
    return payloads;
  }

  /**
   * Message lengths of the first block of `range`.
   * @throws StreamError corrupt-object, store-unavailable, gone
   */
  async lengths(range: BlockRange): Promise<readonly number[]> {
    const bytes = await this.#verified(range);
    const block = range.extent.blocks[range.first]!;
    return decodeBlock(bytes.subarray(0, block.payloadBytes + block.tableBytes), block, this.#options.crc).lengths;
  }

  async #verified(range: BlockRange): Promise<Uint8Array> {
    const key = `${range.extent.object}:${range.from}-${range.to}`;
    const kept = this.#memory?.get(key);
    if (kept === undefined) return this.#flights.run(key, () => this.#load(key, range));
    this.#memoryHits += 1;
    return kept;
  }

  async #load(key: string, range: BlockRange): Promise<Uint8Array> {
    const { cache, crc } = this.#options;
    const cached = await cache.get(key);
    if (cached !== undefined) {
      if (fault(cached, range, crc) === undefined) {
        this.#diskHits += 1;
        this.#memory?.set(key, cached);
        return cached;
      }
      cache.drop(key);
    }
    const bytes = await this.#get(range);
    this.#memory?.set(key, bytes);
    // Nobody waits for the disk: a range that is not kept is fetched again.
    void cache.put(key, bytes);
    return bytes;
  }

  async #get(range: BlockRange): Promise<Uint8Array> {
    const { store, crc, random, sleep } = this.#options;
    const { extent, from, to } = range;
    let wrong = "";
    for (let attempt = 0; attempt <= RETRIES_MAX; attempt++) {
      if (attempt > 0) await sleep(random() * RETRY_BASE_MS * 2 ** attempt);
      try {
        this.#gets += 1;
        const bytes = await store.read(extent.object, from, to);
        this.#bytesFetched += bytes.length;
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
