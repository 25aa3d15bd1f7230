/**
 * Cursors of live reads (protocol section 10.1): the number of the current 20 s interval, or something greater than the
 * cursor that the client already has, so that no cache can hand the same answer to the same client again.
 */
import type { Random } from "./ports.ts";

/** 2024-10-09T00:00:00Z. */
const EPOCH_MS = 1_728_432_000_000;
const INTERVAL_MS = 20_000;
/** One hour, the most that the protocol lets a cursor jump. */
const JITTER_INTERVALS_MAX: number = 3_600_000 / INTERVAL_MS;
/** Fifteen digits and the largest jump stay far below 2^53, so the sum is exact and prints without an exponent. */
const CURSOR = /^[0-9]{1,15}$/;

/**
 * The cursor of one live response, decimal. `requested` is the query parameter; one that is no decimal number of at most
 * 15 digits counts as absent. Strictly greater than a requested cursor that has reached the current interval.
 */
export function responseCursor(requested: string | null, nowMs: number, random: Random): string {
  const current = Math.max(0, Math.floor((nowMs - EPOCH_MS) / INTERVAL_MS));
  if (requested === null || !CURSOR.test(requested)) return String(current);
  const echoed = Number(requested);
  if (echoed < current) return String(current);
  return String(echoed + 1 + Math.floor(random() * JITTER_INTERVALS_MAX));
}
