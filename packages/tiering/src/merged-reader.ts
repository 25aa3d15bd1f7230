import {
  BLOCK_BYTES,
  StreamError,
  boundaryAtOrAfter,
  boundaryAtOrBefore,
  chunkTarget,
  position,
  type ColdExtent,
  type Crc32,
  type ExtentIndex,
  type HotExtent,
  type HotReader,
  type ObjectStore,
  type Position,
  type Random,
} from "@coldbrook/core";
import type { ChunkCache } from "./chunk-cache.ts";
import { ColdRanges, type BlockRange, type ColdRangesStats } from "./cold-ranges.ts";

/** A piece, when the reader names no size: what one read holds in memory at most, but for a message larger than that. */
const PIECE_BYTES = 1024 * 1024;

export interface MergedReaderOptions {
  readonly store: ObjectStore;
  readonly crc: Crc32;
  readonly hot: HotReader;
  readonly cache: ChunkCache;
  /** Bytes of verified cold ranges kept in memory. */
  readonly chunkMemoryBytesMax: number;
  /** Jitter of the retries; uniform in [0, 1). */
  readonly random?: Random;
  readonly sleep?: (ms: number) => Promise<void>;
}

/**
 * Reads a stream's bytes without showing where they lie. Hot extents win over cold ones; a hot extent that was released
 * since the index was taken is looked up among the cold ones. What is yielded has passed its checksum.
 */
export class MergedReader {
  readonly #hot: HotReader;
  readonly #cold: ColdRanges;

  constructor(options: MergedReaderOptions) {
    this.#hot = options.hot;
    this.#cold = new ColdRanges({
      random: Math.random,
      sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
      ...options,
    });
  }

  get stats(): ColdRangesStats {
    return this.#cold.stats;
  }

  /**
   * Start of the message that holds byte `at`; the tail is its own start. Without I/O when `at` starts a frame or a block.
   * @throws StreamError gone, corrupt-wal, corrupt-object, store-unavailable
   */
  async resolveStart(index: ExtentIndex, at: Position, tail: Position): Promise<Position> {
    if (at >= tail) return tail;
    const hot = hotAt(index.hot, at);
    if (hot !== undefined) {
      if (hot.start === at || hot.messages === 1) return hot.start;
      const lengths = await this.#hotLengths(index, hot, at);
      if (lengths !== undefined) return position(boundaryAtOrBefore(hot.start, lengths, at));
    }
    const extent = coldAt(index, at);
    const block = blockAt(extent, at);
    if (block.start === at) return at;
    return position(boundaryAtOrBefore(block.start, await this.#cold.lengths(block), at));
  }

  /**
   * Where the catch-up response from `from` (a message start) ends: at the first message boundary at or after the next
   * multiple of `chunkBytes`, or at `tail` when that comes first. The same for the same bytes, wherever they lie.
   * @throws StreamError gone, corrupt-wal, corrupt-object, store-unavailable
   */
  async chunkEnd(index: ExtentIndex, from: Position, tail: Position, chunkBytes: number): Promise<Position> {
    const target = chunkTarget(from, chunkBytes);
    if (target >= tail) return tail;
    // The message that holds the last byte before the target ends at the first boundary at or after it.
    const last = target - 1;
    const hot = hotAt(index.hot, last);
    if (hot !== undefined) {
      if (hot.end === target || hot.messages === 1) return hot.end;
      const lengths = await this.#hotLengths(index, hot, last);
      if (lengths !== undefined) return position(boundaryAtOrAfter(hot.start, lengths, target));
    }
    const extent = coldAt(index, last);
    const block = blockAt(extent, last);
    const blockEnd = block.start + extent.blocks[block.first]!.payloadBytes;
    // Blocks are cut at the first boundary at or after each multiple of BLOCK_BYTES.
    if (blockEnd === target || target % BLOCK_BYTES === 0) return position(blockEnd);
    return position(boundaryAtOrAfter(block.start, await this.#cold.lengths(block), target));
  }

  /**
   * The stored bytes of [from, to) in order, in verified pieces. At most about `pieceBytes` are held between two pieces
   * (at least one block). Ends early only by throwing.
   * @throws StreamError gone, corrupt-wal, corrupt-object, store-unavailable
   */
  async *read(
    index: ExtentIndex,
    from: Position,
    to: Position,
    pieceBytes: number = PIECE_BYTES,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    let at: number = from;
    // Below this, hot extents of the index are known to be released.
    let hotFrom = 0;
    while (at < to) {
      const end = Math.min(to, nextMultiple(at, pieceBytes));
      const hot = at < hotFrom ? undefined : await this.#readHot(index, at, end);
      if (hot !== undefined) {
        yield hot;
        at += hot.length;
        continue;
      }
      const extent = coldAt(index, at);
      if (hotAt(index.hot, at) !== undefined) hotFrom = extent.end;
      const until = Math.min(to, extent.end, nextHotStart(index.hot, Math.max(at, hotFrom - 1)));
      const range = blocksOver(extent, at, Math.min(until, end));
      const payloads = await this.#readCold(index, range, at);
      if (payloads === "moved") continue;
      let start = range.start;
      for (const payload of payloads) {
        const stop = Math.min(until, start + payload.length);
        yield payload.subarray(at - start, stop - start);
        at = stop;
        start += payload.length;
      }
    }
  }

  /** Bytes from `at` on, up to `to` or where the hot run ends; undefined when `at` is not hot (any more). */
  async #readHot(index: ExtentIndex, at: number, to: number): Promise<Uint8Array | undefined> {
    const run = hotRun(index.hot, at, to);
    const last = run.at(-1);
    if (last === undefined) return undefined;
    const end = Math.min(to, last.end);
    try {
      const bytes = await this.#hot.read(run, at, end);
      if (bytes.length === end - at) return bytes;
    } catch (error) {
      if (isGone(error) && index.cold(at) !== undefined) return undefined;
      throw error;
    }
    throw new StreamError("corrupt-wal", `the WAL gave other than the ${end - at} bytes from position ${at}`);
  }

  /** Message lengths of a hot extent; undefined when it was released and byte `at` is cold now. */
  async #hotLengths(index: ExtentIndex, extent: HotExtent, at: number): Promise<readonly number[] | undefined> {
    try {
      return await this.#hot.lengths(extent);
    } catch (error) {
      if (isGone(error) && index.cold(at) !== undefined) return undefined;
      throw error;
    }
  }

  /** The payloads of `range`; "moved" when its object is gone and byte `at` lies in another one now. */
  async #readCold(index: ExtentIndex, range: BlockRange, at: number): Promise<readonly Uint8Array[] | "moved"> {
    try {
      return await this.#cold.read(range);
    } catch (error) {
      const now = isGone(error) ? index.cold(at) : undefined;
      if (now !== undefined && now.object !== range.extent.object) return "moved";
      throw error;
    }
  }
}

function isGone(error: unknown): boolean {
  return error instanceof StreamError && error.code === "gone";
}

function nextMultiple(at: number, bytes: number): number {
  return (Math.floor(at / bytes) + 1) * bytes;
}

/** Index of the first hot extent that ends after `at`. */
function hotIndex(hot: readonly HotExtent[], at: number): number {
  let low = 0;
  let high = hot.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (hot[middle]!.end <= at) low = middle + 1;
    else high = middle;
  }
  return low;
}

function hotAt(hot: readonly HotExtent[], at: number): HotExtent | undefined {
  const extent = hot[hotIndex(hot, at)];
  return extent !== undefined && extent.start <= at ? extent : undefined;
}

/** The hot extents that hold [at, to), as far as they go on without a gap; empty when byte `at` is not hot. */
function hotRun(hot: readonly HotExtent[], at: number, to: number): readonly HotExtent[] {
  const first = hotIndex(hot, at);
  let last = first;
  let reached = at;
  for (; last < hot.length && reached < to; last++) {
    const extent = hot[last]!;
    if (extent.start > reached) break;
    reached = extent.end;
  }
  return hot.slice(first, last);
}

/** Where hot bytes begin again after `at`, which is cold; Infinity when nowhere. */
function nextHotStart(hot: readonly HotExtent[], at: number): number {
  for (let index = hotIndex(hot, at); index < hot.length; index++) {
    if (hot[index]!.start > at) return hot[index]!.start;
  }
  return Infinity;
}

function coldAt(index: ExtentIndex, at: number): ColdExtent {
  const extent = index.cold(at);
  if (extent === undefined) throw new StreamError("gone", `no extent holds position ${at} any more`);
  if (at < extent.start || at >= extent.end) {
    throw new StreamError("corrupt-catalog", `the extent given for position ${at} is [${extent.start}, ${extent.end})`);
  }
  return extent;
}

/** The one block that holds byte `at` of `extent`. */
function blockAt(extent: ColdExtent, at: number): BlockRange {
  return blocksOver(extent, at, at + 1);
}

/** The blocks of `extent` that hold [at, to), which lies inside it: exactly those, so that one GET fetches no others. */
function blocksOver(extent: ColdExtent, at: number, to: number): BlockRange {
  const { blocks } = extent;
  let first = 0;
  let start: number = extent.start;
  let from = extent.offset;
  while (first < blocks.length && start + blocks[first]!.payloadBytes <= at) {
    start += blocks[first]!.payloadBytes;
    from += blocks[first]!.payloadBytes + blocks[first]!.tableBytes;
    first += 1;
  }
  let last = first;
  let end = start;
  let until = from;
  while (last < blocks.length && end < to) {
    end += blocks[last]!.payloadBytes;
    until += blocks[last]!.payloadBytes + blocks[last]!.tableBytes;
    last += 1;
  }
  if (end < to) {
    throw new StreamError("corrupt-catalog", `the blocks of [${extent.start}, ${extent.end}) end at position ${end}`);
  }
  return { extent, first, last, start, from, to: until };
}
