/** Look-ups in an index of hot and cold extents, and in the blocks of a cold one. */
import { StreamError, type ColdExtent, type ExtentIndex, type HotExtent } from "@coldbrook/core";
import type { BlockRange } from "./cold-ranges.ts";

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

export function hotAt(hot: readonly HotExtent[], at: number): HotExtent | undefined {
  const extent = hot[hotIndex(hot, at)];
  return extent !== undefined && extent.start <= at ? extent : undefined;
}

/** The hot extents that hold [at, to), as far as they go on without a gap; empty when byte `at` is not hot. */
export function hotRun(hot: readonly HotExtent[], at: number, to: number): readonly HotExtent[] {
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
export function nextHotStart(hot: readonly HotExtent[], at: number): number {
  for (let index = hotIndex(hot, at); index < hot.length; index++) {
    if (hot[index]!.start > at) return hot[index]!.start;
  }
  return Infinity;
}

export function coldAt(index: ExtentIndex, at: number): ColdExtent {
  const extent = index.cold(at);
  if (extent === undefined) throw new StreamError("gone", `no extent holds position ${at} any more`);
  if (at < extent.start || at >= extent.end) {
    throw new StreamError("corrupt-catalog", `the extent given for position ${at} is [${extent.start}, ${extent.end})`);
  }
  return extent;
}

/** The one block that holds byte `at` of `extent`. */
export function blockAt(extent: ColdExtent, at: number): BlockRange {
  return blocksOver(extent, at, at + 1);
}

/** The blocks of `extent` that hold [at, to), which lies inside it: exactly those, so that one GET fetches no others. */
export function blocksOver(extent: ColdExtent, at: number, to: number): BlockRange {
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
