/**
 * Cursors of live reads (protocol section 10.1): the number of the current interval, or something greater than the cursor
 * that the client already has, so that no cache can hand the same answer to the same client again. A cursor is part of the
 * URL of the next long-poll, so readers who wait at the same place must have been given the same one, or no cache can let
 * them wait for one answer.
 */
import type { Position } from "./brand.ts";
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
  const current = interval(nowMs, schedule);
  const echoed = echo(requested);
  return String(echoed < current ? current : past(echoed, random, schedule));
}

/** The newest cursor that the readers at one end of a stream were given. */
export interface SharedCursor {
  /** Where the answers ended that carried it: the tail. */
  readonly end: Position;
  readonly value: number;
}

/** A client may put any number into its URL: one further ahead than this is answered, but is not given to others. */
const SHARED_AHEAD_MAX = 1_000_000_000_000;

/**
 * The cursor of an answer that reaches the tail `end`: the one that others were given there, where it is greater than the
 * requested one, as if a cache had collapsed the requests; else one that is greater than all before. Readers who came at
 * different moments, and so with different cursors, have the same from their next answer on. `last` is what the call before
 * returned for this stream, null at first or when it was forgotten.
 */
export function sharedCursor(
  last: SharedCursor | null,
  end: Position,
  requested: string | null,
  nowMs: number,
  random: Random,
  schedule: CursorSchedule = DEFAULT_CURSOR_SCHEDULE,
): { readonly cursor: string; readonly last: SharedCursor | null } {
  const current = interval(nowMs, schedule);
  const echoed = echo(requested);
  const given = last?.value ?? -1;
  if (last !== null && last.end === end && given > echoed && given >= current) return { cursor: String(given), last };
  if (echoed > given && echoed > current + SHARED_AHEAD_MAX) {
    return { cursor: String(past(echoed, random, schedule)), last };
  }
  const reached = Math.max(echoed, given);
  const value = reached < current ? current : past(reached, random, schedule);
  return { cursor: String(value), last: { end, value } };
}

function interval(nowMs: number, schedule: CursorSchedule): number {
  return Math.max(0, Math.floor((nowMs - schedule.epochMs) / schedule.intervalMs));
}

/** -1 when there is none that counts. */
function echo(requested: string | null): number {
  return requested !== null && CURSOR.test(requested) ? Number(requested) : -1;
}

function past(cursor: number, random: Random, schedule: CursorSchedule): number {
  return cursor + 1 + Math.floor(random() * schedule.jitterIntervalsMax);
}
