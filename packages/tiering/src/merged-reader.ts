import {
  BLOCK_BYTES,
  StreamError,
  boundaryAtOrAfter,
  boundaryAtOrBefore,
  chunkTarget,
  position,
  type Crc32,
  type ExtentIndex,
  type HotExtent,
  type HotReader,
  type ObjectStore,
  type Position,
  type Random,
} from "@coldbrook/core";
import type { ChunkCache } from "./chunk-cache.ts";
import { ColdRanges, type BlockRange, type ColdRangesStats, type ReadNow } from "./cold-ranges.ts";
import { blockAt, blocksOver, coldAt, hotAt, hotRun, nextHotStart } from "./extent-lookup.ts";
import { runSteps, wait, type Steps } from "./steps.ts";

/** A piece, when the reader names no size: what one read holds in memory at most, but for a message larger than that. */
const PIECE_BYTES = 1024 * 1024;

export interface MergedReaderOptions {
  readonly store: ObjectStore;
  readonly crc: Crc32;
  readonly hot: HotReader;
  /** Null: nothing is kept on disk. */
  readonly cache: ChunkCache | null;
  /** Where the WAL and the store are in memory: then every read but `read` ends in the turn in which it is asked for. */
  readonly immediate?: ImmediateReads;
  /** Bytes of verified cold ranges kept in memory. */
  readonly chunkMemoryBytesMax: number;
  /** What chunks are multiples of, for readers that follow a cold stream; without it nothing is fetched ahead of them. */
  readonly readAheadChunkBytes?: number;
  /** Jitter of the retries; uniform in [0, 1). */
  readonly random?: Random;
  readonly sleep?: (ms: number) => Promise<void>;
}

/** Messages that lie one after another from position `start` on, in bytes. */
export interface Lengths {
  readonly start: number;
  readonly lengths: readonly number[];
}

/** Where the messages that were passed end, and how many they are. */
export interface Skipped {
  readonly at: Position;
  readonly messages: number;
}

/** What `HotReader` and `ObjectStore` resolve with, in the same turn. They throw the same. */
export interface ImmediateReads {
  readonly lengths: (extent: HotExtent) => readonly number[];
  readonly hot: (extents: readonly HotExtent[], from: number, to: number) => Uint8Array;
  readonly cold: ReadNow;
}

/**
 * Reads a stream's bytes without showing where they lie. Hot extents win over cold ones; a hot extent that was released
 * since the index was taken is looked up among the cold ones. What is yielded has passed its checksum.
 */
export class MergedReader {
  readonly #hot: HotReader;
  readonly #cold: ColdRanges;
  readonly #immediate: ImmediateReads | undefined;

  constructor(options: MergedReaderOptions) {
    this.#hot = options.hot;
    this.#immediate = options.immediate;
    this.#cold = new ColdRanges({
      random: Math.random,
      sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
      ...options,
      readNow: options.immediate?.cold,
    });
  }

  get stats(): ColdRangesStats {
    return this.#cold.stats;
  }

  /**
   * Start of the message that holds byte `at`; the tail is its own start. Without I/O when `at` starts a frame or a block.
   * @throws StreamError gone, corrupt-wal, corrupt-object, store-unavailable
   */
  resolveStart(index: ExtentIndex, at: Position, tail: Position): Position | Promise<Position> {
    return runSteps(this.#resolveStart(index, at, tail));
  }

  *#resolveStart(index: ExtentIndex, at: Position, tail: Position): Steps<Position> {
    if (at >= tail) return tail;
    const hot = hotAt(index.hot, at);
    if (hot !== undefined) {
      if (hot.start === at || hot.messages === 1) return hot.start;
      const lengths = yield* this.#hotLengths(index, hot, at);
      if (lengths !== undefined) return position(boundaryAtOrBefore(hot.start, lengths, at));
    }
    const extent = coldAt(index, at);
    const block = blockAt(extent, at);
    if (block.start === at) return at;
    return position(boundaryAtOrBefore(block.start, yield* wait(this.#cold.lengths(block)), at));
  }

  /**
   * Where the catch-up response from `from` (a message start) ends: at the first message boundary at or after the next
   * multiple of `chunkBytes`, or at `tail` when that comes first. The same for the same bytes, wherever they lie.
   * @throws StreamError gone, corrupt-wal, corrupt-object, store-unavailable
   */
  chunkEnd(index: ExtentIndex, from: Position, tail: Position, chunkBytes: number): Position | Promise<Position> {
    return runSteps(this.#chunkEnd(index, from, tail, chunkBytes));
  }

  *#chunkEnd(index: ExtentIndex, from: Position, tail: Position, chunkBytes: number): Steps<Position> {
    const target = chunkTarget(from, chunkBytes);
    if (target >= tail) return tail;
    // The message that holds the last byte before the target ends at the first boundary at or after it.
    const last = target - 1;
    const hot = hotAt(index.hot, last);
    if (hot !== undefined) {
      if (hot.end === target || hot.messages === 1) return hot.end;
      const lengths = yield* this.#hotLengths(index, hot, last);
      if (lengths !== undefined) return position(boundaryAtOrAfter(hot.start, lengths, target));
    }
    const extent = coldAt(index, last);
    const block = blockAt(extent, last);
    const blockEnd = block.start + extent.blocks[block.first]!.payloadBytes;
    // Blocks are cut at the first boundary at or after each multiple of BLOCK_BYTES.
    if (blockEnd === target || target % BLOCK_BYTES === 0) return position(blockEnd);
    return position(boundaryAtOrAfter(block.start, yield* wait(this.#cold.lengths(block)), target));
  }

  /**
   * Where the first `count` messages of [from, to) end, and how many of them there are. `from` is a message start; a
   * message that passes `to` ends there.
   * @throws StreamError gone, corrupt-wal, corrupt-object, store-unavailable
   */
  skipMessages(index: ExtentIndex, from: Position, to: Position, count: number): Skipped | Promise<Skipped> {
    return runSteps(this.#skipMessages(index, from, to, count));
  }

  *#skipMessages(index: ExtentIndex, from: Position, to: Position, count: number): Steps<Skipped> {
    let at: number = from;
    let messages = 0;
    while (at < to && messages < count) {
      const { start, lengths } = yield* this.#lengthsAt(index, at);
      let end = start;
      for (const length of lengths) {
        end += length;
        if (end <= at) continue;
        at = Math.min(end, to);
        messages += 1;
        if (at === to || messages === count) break;
      }
    }
    return { at: position(at), messages };
  }

  /**
   * Message lengths of the frame or block that holds byte `at`, and where its first message starts.
   * @throws StreamError gone, corrupt-wal, corrupt-object, store-unavailable
   */
  lengthsAt(index: ExtentIndex, at: number): Lengths | Promise<Lengths> {
    return runSteps(this.#lengthsAt(index, at));
  }

  *#lengthsAt(index: ExtentIndex, at: number): Steps<Lengths> {
    const hot = hotAt(index.hot, at);
    const lengths = hot === undefined ? undefined : yield* this.#hotLengths(index, hot, at);
    if (hot !== undefined && lengths !== undefined) return { start: hot.start, lengths };
    const block = blockAt(coldAt(index, at), at);
    return { start: block.start, lengths: yield* wait(this.#cold.lengths(block)) };
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
      // What fits one piece is not cut: a block that a cut goes through would be read for either side.
      const end = to - at <= pieceBytes ? to : Math.min(to, nextMultiple(at, pieceBytes));
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

  /** All of [from, to) in this very turn. Throws as `read` does, and an Error where reads can only be awaited. */
  readNow(index: ExtentIndex, from: Position, to: Position): Uint8Array {
    if (this.#immediate === undefined) throw new Error("what is not in memory cannot be read in one turn");
    const whole = new Uint8Array(to - from);
    let at: number = from;
    while (at < to) {
      const run = hotRun(index.hot, at, to);
      const last = run.at(-1);
      if (last !== undefined) {
        const end = Math.min(to, last.end);
        whole.set(this.#immediate.hot(run, at, end), at - from);
        at = end;
        continue;
      }
      const extent = coldAt(index, at);
      const until = Math.min(to, extent.end, nextHotStart(index.hot, at));
      const range = blocksOver(extent, at, until);
      let start = range.start;
      for (const payload of this.#cold.read(range) as Uint8Array[]) {
        const stop = Math.min(until, start + payload.length);
        whole.set(payload.subarray(at - start, stop - start), at - from);
        at = stop;
        start += payload.length;
      }
    }
    return whole;
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
  *#hotLengths(index: ExtentIndex, extent: HotExtent, at: number): Steps<readonly number[] | undefined> {
    try {
      return yield* wait(this.#immediate?.lengths(extent) ?? this.#hot.lengths(extent));
    } catch (error) {
      if (isGone(error) && index.cold(at) !== undefined) return undefined;
      throw error;
    }
  }

  /** The payloads of `range`; "moved" when its object is gone and byte `at` lies in another one now. */
  async #readCold(index: ExtentIndex, range: BlockRange, at: number): Promise<readonly Uint8Array[] | "moved"> {
    try {
      return await this.#cold.read(range, (following) =>
        hotAt(index.hot, following) === undefined ? index.cold(following) : undefined,
      );
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
