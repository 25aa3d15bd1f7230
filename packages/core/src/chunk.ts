/**
 * Where catch-up responses and sealed blocks are cut. Every rule here depends on positions and message lengths alone, never
 * on where the bytes lie, so that all readers of a stream ask for the same ranges, hot or cold.
 */
import type { Position } from "./brand.ts";

/** A run of whole messages of one extent. */
export interface BlockCut {
  readonly payloadBytes: number;
  readonly lengths: readonly number[];
}

/** The multiple of `chunkBytes` after `from`: a read from there ends at the first message boundary at or after it. */
export function chunkTarget(from: Position, chunkBytes: number): number {
  return nextMultiple(from, chunkBytes);
}

/**
 * The first message boundary at or after `target`, or the end of the last message if that comes first. `start` is itself a
 * boundary, and `lengths` are those of the messages that follow it; no more of them is taken than needed.
 */
export function boundaryAtOrAfter(start: number, lengths: Iterable<number>, target: number): number {
  let at = start;
  if (at >= target) return at;
  for (const length of lengths) {
    at += length;
    if (at >= target) break;
  }
  return at;
}

/**
 * The last message boundary at or before `position`, `start` included.
 * @throws RangeError when `position` is before `start`.
 */
export function boundaryAtOrBefore(start: number, lengths: Iterable<number>, position: number): number {
  if (position < start) throw new RangeError(`position ${position} is before ${start}, where its messages start`);
  let at = start;
  for (const length of lengths) {
    if (at + length > position) break;
    at += length;
  }
  return at;
}

/**
 * Cuts an extent that begins at stream position `start` at the first message boundary at or after each multiple of
 * `blockBytes`, and at its end. Chunk boundaries are cuts when the chunk size is a multiple of `blockBytes`.
 */
export function cutBlocks(start: number, lengths: readonly number[], blockBytes: number): BlockCut[] {
  const blocks: BlockCut[] = [];
  let blockAt = start;
  let firstMessage = 0;
  let target = nextMultiple(start, blockBytes);
  let at = start;
  for (let message = 0; message < lengths.length; message += 1) {
    at += lengths[message]!;
    if (at < target && message + 1 < lengths.length) continue;
    blocks.push({ payloadBytes: at - blockAt, lengths: lengths.slice(firstMessage, message + 1) });
    blockAt = at;
    firstMessage = message + 1;
    target = nextMultiple(at, blockBytes);
  }
  return blocks;
}

function nextMultiple(from: number, of: number): number {
  return (Math.floor(from / of) + 1) * of;
}
