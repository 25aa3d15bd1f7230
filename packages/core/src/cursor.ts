/**
 * Cursors of live reads (protocol section 10.1): the number of the current interval, or something greater than the cursor
 * that the client already has, so that no cache can hand the same answer to the same client again.
 */
import type { Random } from "./ports.ts";

/** When intervals start to be counted, and how long each is. */
export interface CursorSchedule {
  /** Milliseconds since 1970. */
  readonly epochMs: number;
  readonly intervalMs: number;
  /** Most intervals that a cursor may jump: one hour, the most that the protocol allows, and at least one. */
  readonly jitterIntervalsMax: number;
}

const HOUR_MS = 3_600_000;
/** Fifteen digits and the largest jump stay far below 2^53, so the sum is exact and prints without an exponent. */
const CURSOR = /^[0-9]{1,15}$/;

/** @throws RangeError when the interval is shorter than a millisecond, or the epoch is no time */
export function cursorSchedule(intervalSeconds: number, epochMs: number): CursorSchedule {
  if (!(intervalSeconds >= 0.001 && intervalSeconds <= Number.MAX_SAFE_INTEGER / 1000)) {
    throw new RangeError(`the cursor interval must be at least 0.001 seconds, not ${intervalSeconds}`);
  }
  if (!Number.isFinite(epochMs)) throw new RangeError("the cursor epoch is not a valid date");
  const intervalMs = intervalSeconds * 1000;
  return { epochMs, intervalMs, jitterIntervalsMax: Math.max(1, Math.floor(HOUR_MS / intervalMs)) };
}

/** Intervals of 20 s from 2024-10-09T00:00:00Z. */
export const DEFAULT_CURSOR_SCHEDULE: CursorSchedule = cursorSchedule(20, 1_728_432_000_000);

/**
 * The cursor of one live response, decimal. `requested` is the query parameter; one that is no decimal number of at most
 * 15 digits counts as absent. Strictly greater than a requested cursor that has reached the current interval.
 */
export function responseCursor(
  requested: string | null,
  nowMs: number,
  random: Random,
  schedule: CursorSchedule = DEFAULT_CURSOR_SCHEDULE,
): string {
  const current = Math.max(0, Math.floor((nowMs - schedule.epochMs) / schedule.intervalMs));
  if (requested === null || !CURSOR.test(requested)) return String(current);
  const echoed = Number(requested);
  if (echoed < current) return String(current);
  return String(echoed + 1 + Math.floor(random() * schedule.jitterIntervalsMax));
}
