import * as fc from "fast-check";
import { expect, test } from "vitest";
import { generation, lsn, position } from "./brand.ts";
import { newStreamState } from "./create.ts";
import { expiresAtMs, isExpired, parseExpiresAt, parseTtl, recoveredExpiresAtMs, touchDue } from "./expiry.ts";
import { TTL_SECONDS_MAX } from "./limits.ts";
import type { StreamState } from "./stream-state.ts";

function state(ttlSeconds: number | null, absoluteMs: number | null, touchedAtMs = 10_000): StreamState {
  const id = generation(1);
  return newStreamState({
    identity: {
      id,
      path: "s",
      config: { contentType: "text/plain", ttlSeconds, expiresAtMs: absoluteMs },
      createdAtMs: 0,
      lineage: [{ generation: id, first: position(0), source: null }],
    },
    tail: position(0),
    closed: false,
    touchedAtMs,
    lsn: lsn(1),
  });
}

test.each([
  ["0", 0],
  ["1", 1],
  ["3600", 3600],
  [String(TTL_SECONDS_MAX), TTL_SECONDS_MAX],
])("Stream-TTL %j is %i seconds", (text, seconds) => {
  expect(parseTtl(text)).toBe(seconds);
});

test.each(["", "-1", "+60", "00060", "60.5", "1e3", "abc", " 1", "1 ", "3155760001", "9".repeat(400)])(
  "Stream-TTL %j is an error",
  (text) => {
    expect(parseTtl(text)).toHaveProperty("error");
  },
);

test.each([
  ["2026-01-02T03:04:05Z", Date.UTC(2026, 0, 2, 3, 4, 5)],
  ["2026-01-02t03:04:05.6z", Date.UTC(2026, 0, 2, 3, 4, 5, 600)],
  ["2026-01-02T03:04:05.678999Z", Date.UTC(2026, 0, 2, 3, 4, 5, 678)],
  ["2026-01-02T03:04:05.000+00:00", Date.UTC(2026, 0, 2, 3, 4, 5)],
  ["2026-01-02T03:04:05-05:30", Date.UTC(2026, 0, 2, 8, 34, 5)],
  ["2026-01-02T03:04:05+05:30", Date.UTC(2026, 0, 1, 21, 34, 5)],
  ["2028-02-29T00:00:00Z", Date.UTC(2028, 1, 29)],
  ["2016-12-31T23:59:60Z", Date.UTC(2017, 0, 1)],
  ["1969-12-31T23:59:59Z", 0],
  ["0070-01-01T00:00:00Z", 0],
])("Stream-Expires-At %j is %i", (text, ms) => {
  expect(parseExpiresAt(text)).toBe(ms);
});

test.each([
  "",
  "not-a-timestamp",
  "2026-01-02",
  "2026-01-02T03:04:05",
  "2026-01-02 03:04:05Z",
  "2026-01-02T03:04Z",
  "2026-1-02T03:04:05Z",
  "2026-02-29T00:00:00Z",
  "2100-02-29T00:00:00Z",
  "2026-04-31T00:00:00Z",
  "2026-13-01T00:00:00Z",
  "2026-00-01T00:00:00Z",
  "2026-01-00T00:00:00Z",
  "2026-01-02T24:00:00Z",
  "2026-01-02T03:60:05Z",
  "2026-01-02T03:04:61Z",
  "2026-01-02T03:04:05.Z",
  "2026-01-02T03:04:05+24:00",
  "2026-01-02T03:04:05+0100",
  "1767323045",
  "2026-01-02T03:04:05Z, 2026-01-02T03:04:05Z",
])("Stream-Expires-At %j is an error", (text) => {
  expect(parseExpiresAt(text)).toHaveProperty("error");
});

test("every printed time reads back exactly", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: Date.UTC(9999, 11, 31) }), (ms) => {
      expect(parseExpiresAt(new Date(ms).toISOString())).toBe(ms);
    }),
  );
});

test("a stream expires at its absolute time, a window after its last use, or never", () => {
  expect(expiresAtMs(state(null, null))).toBe(Infinity);
  expect(isExpired(state(null, null), Number.MAX_SAFE_INTEGER)).toBe(false);
  expect(expiresAtMs(state(null, 50_000))).toBe(50_000);
  expect(expiresAtMs(state(5, null))).toBe(15_000);
  expect(isExpired(state(5, null), 14_999)).toBe(false);
  expect(isExpired(state(5, null), 15_000)).toBe(true);
  expect(isExpired(state(0, null), 10_000)).toBe(true);
});

test.each([
  [null, 1_000_000, false],
  [1, 10_099, false],
  [1, 10_100, true],
  [5, 10_499, false],
  [5, 10_500, true],
  [3600, 10_999, false],
  [3600, 11_000, true],
])("with a window of %j s a read at %i is recorded: %s", (ttl, nowMs, due) => {
  expect(touchDue(state(ttl, null), nowMs)).toBe(due);
});

test("an unrecorded use never makes a recovered stream expire early", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: TTL_SECONDS_MAX }), fc.nat(5000), (ttl, laterMs) => {
      const recorded = state(ttl, null);
      fc.pre(!touchDue(recorded, recorded.touchedAtMs + laterMs));
      const used = state(ttl, null, recorded.touchedAtMs + laterMs);
      expect(recoveredExpiresAtMs(recorded)).toBeGreaterThanOrEqual(expiresAtMs(used));
    }),
  );
  expect(recoveredExpiresAtMs(state(null, 50_000))).toBe(50_000);
  expect(recoveredExpiresAtMs(state(null, null))).toBe(Infinity);
});

test("a soft-deleted stream stays for its forks: it neither expires nor is touched", () => {
  for (const kept of [state(5, null), state(0, null), state(null, 50_000)].map((one) => ({
    ...one,
    softDeleted: true,
  }))) {
    expect(expiresAtMs(kept)).toBe(Infinity);
    expect(recoveredExpiresAtMs(kept)).toBe(Infinity);
    expect(isExpired(kept, Number.MAX_SAFE_INTEGER)).toBe(false);
    expect(touchDue(kept, Number.MAX_SAFE_INTEGER)).toBe(false);
  }
});
