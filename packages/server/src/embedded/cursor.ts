/** Cursors of live reads (protocol section 10.1) as functions of their own, over the rule that the server itself uses. */
import { cursorSchedule, DEFAULT_CURSOR_SCHEDULE, responseCursor } from "@coldbrook/core";
import type { CursorSchedule } from "@coldbrook/core";

export const DEFAULT_CURSOR_EPOCH: Date = new Date(DEFAULT_CURSOR_SCHEDULE.epochMs);

export const DEFAULT_CURSOR_INTERVAL_SECONDS = 20;

export interface CursorOptions {
  /** Default DEFAULT_CURSOR_INTERVAL_SECONDS. */
  intervalSeconds?: number;
  /** Default DEFAULT_CURSOR_EPOCH. */
  epoch?: Date;
}

/** Missing options are the defaults. @throws RangeError that names the option which cannot be used */
export function scheduleOf(options: {
  readonly intervalSeconds?: number | undefined;
  readonly epoch?: Date | undefined;
}): CursorSchedule {
  return cursorSchedule(
    options.intervalSeconds ?? DEFAULT_CURSOR_INTERVAL_SECONDS,
    (options.epoch ?? DEFAULT_CURSOR_EPOCH).getTime(),
  );
}

/** The number of the current interval. */
export function calculateCursor(options: CursorOptions = {}): string {
  return responseCursor(null, Date.now(), Math.random, scheduleOf(options));
}

/** The cursor of a response to a client that sent `clientCursor`: greater than that, and never behind the current interval. */
export function generateResponseCursor(clientCursor: string | undefined, options: CursorOptions = {}): string {
  return responseCursor(clientCursor ?? null, Date.now(), Math.random, scheduleOf(options));
}

/** @deprecated `generateResponseCursor` does the same without the first argument. */
export function handleCursorCollision(
  _currentCursor: string,
  previousCursor: string | undefined,
  options: CursorOptions = {},
): string {
  return generateResponseCursor(previousCursor, options);
}
