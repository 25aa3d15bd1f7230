/**
 * Fetches what a reader that follows a stream will ask for next, several chunks with one GET: a store's cost of a request
 * is paid once for them, and the reader waits for none of it. Only whole blocks, cut where chunks end, so that what the
 * reader then asks for lies in one window. Nothing here is verified; who takes bytes does that.
 *
 * What was fetched and not taken is never more than a twentieth of what readers took, whether they go on or not: a
 * reader that stops costs no more than that.
 */
import {
  READ_AHEAD_BYTES_MAX,
  READ_AHEAD_TRAILS_MAX,
  READ_AHEAD_UNUSED_SHARE_MAX,
  READ_AHEAD_WINDOW_BYTES_MAX,
  READ_AHEAD_WINDOWS_MAX,
  type ColdExtent,
} from "@coldbrook/core";
import { LRUCache } from "lru-cache";
import type { BlockRange } from "./cold-ranges.ts";

/** Consecutive ranges after which a reader is taken to follow. */
const STREAK_MIN = 2;
/** No window takes a larger part of what is free than this, or than one chunk: others are to have something as well. */
const FREE_SHARE = 2;
/** A chunk with the tables of its blocks and the rest of its last message, in chunk sizes. */
const ONE_CHUNK = 1.0625;
/** Windows that one read may begin: the end of an extent may be near. */
const WINDOWS_PER_READ = 2;

export interface ReadAheadOptions {
  /** The bytes [from, to) of an object; a failure is only a window that nobody gets. */
  readonly fetch: (object: string, from: number, to: number) => Promise<Uint8Array>;
  /** Readers ask up to multiples of this many stream bytes. */
  readonly chunkBytes: number;
}

/** The cold extent that holds byte `at`, where that is to be read from; undefined ends the read-ahead. */
export type NextExtent = (at: number) => ColdExtent | undefined;

export interface ReadAheadStats {
  readonly windows: number;
  /** Bytes of all windows, landed or under way. */
  readonly heldBytes: number;
  readonly fetchedBytes: number;
  readonly takenBytes: number;
}

interface Window {
  readonly object: string;
  readonly from: number;
  readonly to: number;
  /** Undefined when the fetch failed. */
  readonly bytes: Promise<Uint8Array | undefined>;
  landed: boolean;
  /** Object byte up to which it was asked for. */
  taken: number;
}

/** Where the next block lies: number `block` of `extent`, object byte `at`, stream position `position`. */
interface Place {
  readonly extent: ColdExtent;
  readonly block: number;
  readonly at: number;
  readonly position: number;
}

export class ReadAhead {
  readonly #options: ReadAheadOptions;
  /** Least recently used first. */
  readonly #windows = new Set<Window>();
  /** How many ranges in a row ended at a stream's position; the key names both. */
  readonly #streaks = new LRUCache<string, number>({ max: READ_AHEAD_TRAILS_MAX });
  #heldBytes = 0;
  #readBytes = 0;
  #fetchedBytes = 0;
  #takenBytes = 0;

  constructor(options: ReadAheadOptions) {
    this.#options = options;
  }

  get stats(): ReadAheadStats {
    return {
      windows: this.#windows.size,
      heldBytes: this.#heldBytes,
      fetchedBytes: this.#fetchedBytes,
      takenBytes: this.#takenBytes,
    };
  }

  /** The bytes of `range` out of a window, or undefined when there is none; resolves with undefined when its fetch failed. */
  take(range: BlockRange): Promise<Uint8Array | undefined> | undefined {
    const { from, to } = range;
    const window = this.#windowAt(range.extent.object, from);
    if (window === undefined || to > window.to) return undefined;
    const fresh = to - Math.max(from, window.taken);
    if (fresh > 0) this.#takenBytes += fresh;
    window.taken = Math.max(window.taken, to);
    this.#windows.delete(window);
    // Taken to its end: its bytes go with the readers that hold them.
    if (window.taken === window.to) this.#heldBytes -= window.to - window.from;
    else this.#windows.add(window);
    return window.bytes.then((bytes) => bytes?.subarray(from - window.from, to - window.from));
  }

  /** A reader asks for `range`, from a store: fetches what follows when the reader followed up to here. */
  follow(range: BlockRange, next: NextExtent): void {
    const { extent, last } = range;
    this.#readBytes += range.to - range.from;
    const end = positionAfter(range);
    const streak = this.#streak(range, end);
    // A reader that gets small pieces gets them because too much is in memory.
    if (streak < STREAK_MIN || end - range.start < this.#options.chunkBytes / 2) return;
    let place: Place | undefined = this.#beyondWindows({ extent, block: last, at: range.to, position: end }, next);
    for (let count = 0; count < WINDOWS_PER_READ && place !== undefined; count++) {
      const bytes = this.#allowance();
      // Not before half of such a window is taken: it is large windows that are cheap.
      if (place.position - end > bytes / 2) return;
      place = this.#open(place, bytes, next);
    }
  }

  /** How large a window may be now. */
  #allowance(): number {
    const unused = this.#fetchedBytes - this.#takenBytes;
    const credit = this.#readBytes * READ_AHEAD_UNUSED_SHARE_MAX - unused;
    const oneChunk = Math.min(credit, this.#options.chunkBytes * ONE_CHUNK);
    return Math.min(READ_AHEAD_WINDOW_BYTES_MAX, Math.max(credit / FREE_SHARE, oneChunk));
  }

  #streak(range: BlockRange, end: number): number {
    const { stream } = range.extent;
    const before = `${stream}:${range.start}`;
    const streak = (this.#streaks.get(before) ?? 0) + 1;
    this.#streaks.delete(before);
    this.#streaks.set(`${stream}:${end}`, streak);
    return streak;
  }

  #windowAt(object: string, at: number): Window | undefined {
    for (const window of this.#windows) {
      if (window.object === object && window.from <= at && at < window.to) return window;
    }
    return undefined;
  }

  /** The first place at or after `place` that no window holds. */
  #beyondWindows(place: Place, next: NextExtent): Place | undefined {
    let at: Place | undefined = normalize(place, next);
    // Each turn passes a window, and there are few.
    for (let count = 0; count <= READ_AHEAD_WINDOWS_MAX && at !== undefined; count++) {
      const window = this.#windowAt(at.extent.object, at.at);
      if (window === undefined) return at;
      at = normalize(skipTo(at, window.to), next);
    }
    return undefined;
  }

  /** Begins a window of `bytes` at most at `place`; returns where it ends, or undefined when there was no room. */
  #open(place: Place, bytes: number, next: NextExtent): Place | undefined {
    if (this.#windows.size >= READ_AHEAD_WINDOWS_MAX && !this.#evict()) return undefined;
    let free = READ_AHEAD_BYTES_MAX - this.#heldBytes;
    while (free < this.#options.chunkBytes * ONE_CHUNK && this.#evict()) free = READ_AHEAD_BYTES_MAX - this.#heldBytes;
    const end = chunksWithin(place, Math.min(bytes, free), this.#options.chunkBytes);
    if (end === undefined) return undefined;
    this.#fetch(place.extent.object, place.at, end.at);
    return normalize(end, next);
  }

  #fetch(object: string, from: number, to: number): void {
    this.#heldBytes += to - from;
    this.#fetchedBytes += to - from;
    const window: Window = {
      object,
      from,
      to,
      landed: false,
      taken: from,
      bytes: this.#options.fetch(object, from, to).then(
        (bytes) => {
          window.landed = true;
          return bytes;
        },
        () => {
          // Whoever needs these bytes asks for them again, and hears of what is wrong then.
          this.#drop(window);
          this.#fetchedBytes -= to - window.taken;
          return undefined;
        },
      ),
    };
    this.#windows.add(window);
  }

  #drop(window: Window): undefined {
    if (this.#windows.delete(window)) this.#heldBytes -= window.to - window.from;
    return undefined;
  }

  /** Gives up the landed window that nobody took from for the longest time; false when none has landed. */
  #evict(): boolean {
    for (const window of this.#windows) {
      if (!window.landed) continue;
      this.#drop(window);
      return true;
    }
    return false;
  }
}

function positionAfter({ extent, first, last, start }: BlockRange): number {
  let at = start;
  for (let block = first; block < last; block++) at += extent.blocks[block]!.payloadBytes;
  return at;
}

/** `place`, or where the next extent begins when `place` is the end of its own. */
function normalize(place: Place, next: NextExtent): Place | undefined {
  if (place.block < place.extent.blocks.length) return place;
  const extent = next(place.position);
  if (extent === undefined || extent.start !== place.position) return undefined;
  return { extent, block: 0, at: extent.offset, position: extent.start };
}

/** The place of object byte `to`, where a block ends. */
function skipTo(place: Place, to: number): Place {
  let { block, at, position } = place;
  for (; at < to && block < place.extent.blocks.length; block++) {
    const { payloadBytes, tableBytes } = place.extent.blocks[block]!;
    at += payloadBytes + tableBytes;
    position += payloadBytes;
  }
  return { extent: place.extent, block, at, position };
}

/** Where the last chunk ends that is whole within `bytes` from `place` on; a chunk that its extent cuts counts as whole. */
function chunksWithin(place: Place, bytes: number, chunkBytes: number): Place | undefined {
  const { extent } = place;
  let found: Place | undefined;
  let { at, position } = place;
  let target = (Math.floor(position / chunkBytes) + 1) * chunkBytes;
  for (let block = place.block; block < extent.blocks.length; block++) {
    const { payloadBytes, tableBytes } = extent.blocks[block]!;
    at += payloadBytes + tableBytes;
    position += payloadBytes;
    if (at - place.at > bytes) break;
    if (position < target && block + 1 < extent.blocks.length) continue;
    found = { extent, block: block + 1, at, position };
    target = (Math.floor(position / chunkBytes) + 1) * chunkBytes;
  }
  return found;
}
