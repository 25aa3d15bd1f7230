import {
  DecodeError,
  SEGMENT_HEADER_BYTES,
  StreamError,
  decodeSegmentHeader,
  RollPlanner,
  readBatch,
  type BatchFrame,
  type Crc32,
  type Generation,
  type Lsn,
  type RollPlan,
  type SealedSegment,
} from "@coldbrook/core";
import type { TimeSlice } from "./time-slice.ts";

/** A sealed segment's verified bytes and what its roll makes of them. */
export interface SegmentPlan {
  readonly base: Lsn;
  readonly end: Lsn;
  readonly bytes: Uint8Array;
  readonly roll: RollPlan;
  /** Streams that the segment closes. */
  readonly closed: ReadonlySet<Generation>;
}

/**
 * Verifies every byte of a sealed segment and plans its roll.
 * @throws StreamError corrupt-wal, naming the file and the position in it: a sealed segment has no torn tail
 */
export async function planSegment(
  segment: SealedSegment,
  bytes: Uint8Array,
  crc: Crc32,
  slice: TimeSlice,
): Promise<SegmentPlan> {
  const { base, end } = segment;
  if (bytes.length !== end - base) throw corrupt(base, bytes.length, `${end - base} bytes should be there`);
  const head = decodeSegmentHeader(bytes, crc);
  if (head === null || head.base !== base) throw corrupt(base, 0, "no header of this segment");
  const planner = new RollPlanner({ base, end });
  let at = SEGMENT_HEADER_BYTES;
  for (;;) {
    if (slice.over) await slice.rest();
    const reading = read(bytes, at, base, crc);
    if (reading.kind === "end") break;
    if (reading.kind === "invalid") throw corrupt(base, at, reading.reason);
    if (reading.header.lsn !== base + at) throw corrupt(base, at, `batch of LSN ${reading.header.lsn}`);
    add(planner, reading.frames, base, at);
    at = reading.end;
  }
  const roll = await slice.run(planner.finish());
  const closed = new Set<Generation>();
  for (const digest of roll.digests) {
    if (digest.closed) closed.add(digest.stream);
    if (slice.over) await slice.rest();
  }
  return { base, end, bytes, roll, closed };
}

function add(planner: RollPlanner, frames: readonly BatchFrame[], base: Lsn, at: number): void {
  try {
    for (const { header, payloadAt } of frames) planner.add(header, payloadAt);
  } catch (error) {
    if (error instanceof StreamError) throw corrupt(base, at, error.message);
    throw error;
  }
}

function read(bytes: Uint8Array, at: number, base: Lsn, crc: Crc32): ReturnType<typeof readBatch> {
  try {
    return readBatch(bytes, at, crc);
  } catch (error) {
    if (error instanceof DecodeError) throw corrupt(base, at, error.message);
    throw error;
  }
}

function corrupt(base: Lsn, at: number, reason: string): StreamError {
  const file = `${String(base).padStart(16, "0")}.wal`;
  return new StreamError("corrupt-wal", `sealed WAL segment ${file}, byte ${at}: ${reason}; nothing was removed`);
}
