/** Expiry arithmetic (protocol section 5.1). A stream has a sliding window, an absolute time, or neither. */
import type { HeaderError } from "./headers.ts";
import { TTL_SECONDS_MAX } from "./limits.ts";
import type { StreamState } from "./stream-state.ts";

const TTL = /^(?:0|[1-9][0-9]*)$/;
const RFC_3339 =
  /^([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))$/;
const TOUCH_SLACK_MS_MAX = 1000;
const MS_PER_SECOND = 1000;
const LAST_MS: number = Date.UTC(9999, 11, 31, 23, 59, 59, 999);
const MS_PER_MINUTE = 60_000;

/** Stream-TTL in seconds: 0 (expires at once) to TTL_SECONDS_MAX, without sign, point, exponent or leading zero. */
export function parseTtl(text: string): number | HeaderError {
  if (!TTL.test(text)) return { error: "Stream-TTL must be a whole number of seconds without leading zeros" };
  const seconds = Number(text);
  return seconds > TTL_SECONDS_MAX ? { error: `Stream-TTL is longer than ${TTL_SECONDS_MAX} seconds` } : seconds;
}

function daysOf(year: number, month: number): number {
  if (month === 2) return (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0 ? 29 : 28;
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
}

/**
 * Stream-Expires-At, an RFC 3339 time with its zone, in milliseconds since 1970. Finer fractions are cut off, a leap
 * second is the second after it, and a time before 1970 is 0: as long past as any other.
 */
export function parseExpiresAt(text: string): number | HeaderError {
  const match = RFC_3339.exec(text);
  const malformed = { error: "Stream-Expires-At must be an RFC 3339 time with a zone" };
  if (match === null) return malformed;
  const field = (index: number): number => Number(match[index] ?? 0);
  const [year, month, day, hour, minute, second] = [field(1), field(2), field(3), field(4), field(5), field(6)];
  const [zoneHour, zoneMinute] = [field(9), field(10)];
  const inRange = month >= 1 && month <= 12 && day >= 1 && day <= daysOf(year, month);
  if (!inRange || hour > 23 || minute > 59 || second > 60 || zoneHour > 23 || zoneMinute > 59) return malformed;
  // Date.UTC reads years below 100 as 19xx.
  if (year < 100) return 0;
  const ms = Number((match[7] ?? "").slice(0, 3).padEnd(3, "0"));
  const zone = (zoneHour * 60 + zoneMinute) * MS_PER_MINUTE * (match[8] === "-" ? -1 : 1);
  const at = Date.UTC(year, month - 1, day, hour, minute, second, ms) - zone;
  // RFC 3339 has four digits for a year, and the time is printed in UTC.
  return at > LAST_MS ? malformed : Math.max(0, at);
}

/**
 * When the stream expires, in milliseconds since 1970; Infinity for never. A soft-deleted stream stays for its forks,
 * however long they last (protocol section 4.2).
 */
export function expiresAtMs(state: StreamState): number {
  if (state.softDeleted) return Infinity;
  const { ttlSeconds, expiresAtMs } = state.identity.config;
  if (ttlSeconds !== null) return state.touchedAtMs + ttlSeconds * MS_PER_SECOND;
  return expiresAtMs ?? Infinity;
}

export function isExpired(state: StreamState, nowMs: number): boolean {
  return nowMs >= expiresAtMs(state);
}

function touchSlackMs(ttlSeconds: number): number {
  return Math.min(TOUCH_SLACK_MS_MAX, (ttlSeconds * MS_PER_SECOND) / 10);
}

/** Whether a read at `nowMs` is worth a touch frame: `touchedAtMs` is the last *recorded* use, and lies far enough back. */
export function touchDue(state: StreamState, nowMs: number): boolean {
  const { ttlSeconds } = state.identity.config;
  return ttlSeconds !== null && !state.softDeleted && nowMs - state.touchedAtMs >= touchSlackMs(ttlSeconds);
}

/** expiresAtMs for a state read back after a crash, which may lack a use that was too recent to be recorded. */
export function recoveredExpiresAtMs(state: StreamState): number {
  const { ttlSeconds } = state.identity.config;
  return expiresAtMs(state) + (ttlSeconds === null ? 0 : touchSlackMs(ttlSeconds));
}
