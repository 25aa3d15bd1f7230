import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Position } from "./brand.ts";
import { cursorSchedule, responseCursor, sharedCursor, type SharedCursor } from "./cursor.ts";

const EPOCH_MS = Date.UTC(2024, 9, 9);
const NOW_MS = EPOCH_MS + 1000 * 20_000 + 19_999;
const lowest = () => 0;
const highest = () => 1 - 2 ** -53;

describe("cursors", () => {
  test.each<[string | null, string, string]>([
    [null, "1000", "1000"],
    ["999", "1000", "1000"],
    ["0", "1000", "1000"],
    ["1000", "1001", "1180"],
    ["0001000", "1001", "1180"],
    ["5000", "5001", "5180"],
    ["999999999999999", "1000000000000000", "1000000000000179"],
    ["1000000000000000", "1000", "1000"],
    ["100000000000000000000000000", "1000", "1000"],
    ["-5000", "1000", "1000"],
    ["+5000", "1000", "1000"],
    ["5000.5", "1000", "1000"],
    ["5e3", "1000", "1000"],
    ["0x5000", "1000", "1000"],
    [" 5000", "1000", "1000"],
    ["5000\n", "1000", "1000"],
    ["٥٠٠٠", "1000", "1000"],
    ["abc", "1000", "1000"],
    ["", "1000", "1000"],
  ])("after %j comes %s to %s", (requested, first, last) => {
    expect(responseCursor(requested, NOW_MS, lowest)).toBe(first);
    expect(responseCursor(requested, NOW_MS, highest)).toBe(last);
  });

  test("the interval changes every 20 s", () => {
    expect(responseCursor(null, EPOCH_MS + 19_999, lowest)).toBe("0");
    expect(responseCursor(null, EPOCH_MS + 20_000, lowest)).toBe("1");
  });

  test("a clock before the epoch gives cursor 0", () => {
    expect(responseCursor(null, 0, lowest)).toBe("0");
  });

  test("a cursor is decimal and greater than an echoed one that has reached it", () => {
    const fraction = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
    fc.assert(
      fc.property(
        fc.nat({ max: 999_999_999_999_999 }),
        fc.integer({ min: 0, max: 8.64e15 }),
        fraction,
        (echoed, now, f) => {
          const cursor = responseCursor(String(echoed), now, () => f);
          expect(cursor).toMatch(/^\d{1,16}$/);
          const current = Number(responseCursor(null, now, () => f));
          expect(Number(cursor) > echoed && Number(cursor) >= current).toBe(true);
          expect(Number(cursor) - Math.max(echoed, current)).toBeLessThanOrEqual(180);
        },
      ),
    );
  });
});

describe("another schedule", () => {
  test("counts its own intervals from its own epoch", () => {
    const schedule = cursorSchedule(1000, NOW_MS - 2_500_000);
    expect(responseCursor(null, NOW_MS, lowest, schedule)).toBe("2");
    expect(responseCursor("2", NOW_MS, highest, schedule)).toBe("5");
    expect(responseCursor(null, 0, lowest, schedule)).toBe("0");
  });

  test("of intervals longer than an hour lets a cursor jump by one", () => {
    const schedule = cursorSchedule(7200, NOW_MS);
    expect(responseCursor("0", NOW_MS, highest, schedule)).toBe("1");
  });

  test.each([0, -1, 0.0001, Number.NaN, Infinity])("an interval of %s seconds is refused", (seconds) => {
    expect(() => cursorSchedule(seconds, 0)).toThrow(RangeError);
  });
});

describe("cursors of readers at one tail", () => {
  const at = (position: number): Position => position as Position;

  /** What each of the requests at the tail is given, in this order. */
  function answers(last: SharedCursor | null, end: number, requested: readonly (string | null)[], nowMs = NOW_MS) {
    const cursors = requested.map((cursor) => {
      const answer = sharedCursor(last, at(end), cursor, nowMs, Math.random);
      last = answer.last;
      return answer.cursor;
    });
    return { cursors, last };
  }

  test("are the same for readers who came with none, the current and an older one", () => {
    const { cursors } = answers(null, 10, [null, "3", "999", null]);
    expect(cursors).toEqual(["1000", "1000", "1000", "1000"]);
  });

  test("of different ages are the same from the second append on, in whichever order they ask", () => {
    let last: SharedCursor | null = null;
    let cursors: readonly (string | null)[] = ["1000", "1777", null, "1300", "1777"];
    for (const end of [10, 20]) ({ cursors, last } = answers(last, end, cursors));
    expect(new Set(cursors).size).toBe(1);
    // One who joins now is given theirs with the next append.
    ({ cursors } = answers(last, 30, [null, ...cursors]));
    expect(new Set(cursors).size).toBe(1);
  });

  test("are the same for all whose wait at a tail ends without data, and new", () => {
    const first = answers(null, 10, [null]);
    const { cursors } = answers(first.last, 10, ["1000", "1000", null, "1000"]);
    expect(new Set(cursors).size).toBe(1);
    expect(Number(cursors[0])).toBeGreaterThan(1000);
  });

  test("begin with the interval again when it has overtaken them", () => {
    const first = answers(null, 10, ["1000"]);
    expect(answers(first.last, 10, [null, "1005"], NOW_MS + 1_000 * 20_000).cursors).toEqual(["2000", "2000"]);
  });

  test("do not follow a client's number out of all bounds", () => {
    const { cursors } = answers(null, 10, ["999999999999999", null]);
    expect(Number(cursors[0])).toBeGreaterThan(999_999_999_999_999);
    expect(cursors[1]).toBe("1000");
  });

  test("are always greater than the echoed one, and never behind the interval or what was given before", () => {
    const step = fc.record({
      end: fc.nat({ max: 3 }),
      requested: fc.option(fc.nat({ max: 3000 }).map(String)),
      waitedMs: fc.nat({ max: 30_000 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        let last: SharedCursor | null = null;
        let nowMs = NOW_MS;
        for (const { end, requested, waitedMs } of steps) {
          nowMs += waitedMs;
          const given: number = last?.value ?? 0;
          const answer = sharedCursor(last, at(end), requested, nowMs, Math.random);
          last = answer.last;
          const value = Number(answer.cursor);
          expect(value).toBeGreaterThan(Number(requested ?? -1));
          expect(value).toBeGreaterThanOrEqual(Math.max(given, Number(responseCursor(null, nowMs, lowest))));
        }
      }),
    );
  });
});
