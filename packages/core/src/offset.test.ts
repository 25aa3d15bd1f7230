import * as fc from "fast-check";
import { expect, test } from "vitest";
import { generation, position } from "./brand.ts";
import { formatOffset, generationAt, offsetAt, parseOffset, resolveOffset, type OffsetAt } from "./offset.ts";
import type { StreamIdentity } from "./stream-state.ts";

const counts = fc.maxSafeNat();

function identity(...runs: [number, number][]): StreamIdentity {
  return {
    id: generation(runs[0]?.[0] ?? 1),
    path: "s",
    config: { contentType: "text/plain", ttlSeconds: null, expiresAtMs: null },
    createdAtMs: 0,
    lineage: runs.map(([minted, first]) => ({ generation: generation(minted), first: position(first), source: null })),
  };
}

function at(minted: number, place: number): OffsetAt {
  return { kind: "at", generation: generation(minted), position: position(place) };
}

test("an offset reads back as what was written", () => {
  fc.assert(
    fc.property(counts, counts, (minted, place) => {
      fc.pre(minted > 0 || place > 0);
      expect(parseOffset(formatOffset(generation(minted), position(place)))).toEqual(at(minted, place));
    }),
  );
});

test("offsets order as strings as (generation, position) does", () => {
  fc.assert(
    fc.property(counts, counts, counts, counts, (a, b, c, d) => {
      const left = formatOffset(generation(a), position(b));
      const right = formatOffset(generation(c), position(d));
      expect(left < right).toBe(a < c || (a === c && b < d));
    }),
  );
});

test.each([null, "-1", "0000000000000000_0000000000000000"])("%j is the start", (text) => {
  expect(parseOffset(text)).toEqual({ kind: "start", real: false });
});

test("now is the tail", () => {
  expect(parseOffset("now")).toEqual({ kind: "now" });
});

test.each([
  "",
  "0",
  "0,1",
  "0 1",
  "NOW",
  "-2",
  "1_2",
  "0000000000000001_000000000000002",
  "0000000000000001_00000000000000020",
  "0000000000000001-0000000000000002",
  "0000000000000001_0000000000000002\n",
  "+000000000000001_0000000000000002",
  "9999999999999999_0000000000000000",
  "0000000000000001_9007199254740992",
  "9999999999999999_9999999999999999",
])("%j is malformed", (text) => {
  expect(parseOffset(text).kind).toBe("malformed");
});

const forked = identity([3, 0], [7, 100], [9, 250]);

test.each([
  [3, 0, 0],
  [3, 99, 99],
  [3, 100, 100],
  [7, 100, 100],
  [7, 250, 250],
  [9, 251, 251],
  [9, 300, 300],
  [9, 301, 300],
])("generation %i position %i reads from %i", (minted, place, expected) => {
  expect(resolveOffset(forked, position(300), position(0), at(minted, place))).toEqual({
    kind: "position",
    position: expected,
  });
});

test.each([
  [3, 101, "gone"],
  [7, 99, "gone"],
  [7, 251, "gone"],
  [9, 249, "gone"],
  [8, 150, "gone"],
  [0, 5, "gone"],
  [9, 302, "malformed"],
])("generation %i position %i is %s", (minted, place, kind) => {
  expect(resolveOffset(forked, position(300), position(0), at(minted, place)).kind).toBe(kind);
});

test("an offset before the horizon is gone, the horizon itself is not", () => {
  expect(resolveOffset(forked, position(300), position(50), at(3, 49)).kind).toBe("gone");
  expect(resolveOffset(forked, position(300), position(50), at(3, 50)).kind).toBe("position");
});

test("a boundary keeps the offset of the generation before it", () => {
  const minted = [0, 1, 100, 101, 250, 251].map((place) => generationAt(forked, position(place)));
  expect(minted).toEqual([3, 3, 3, 7, 7, 9]);
  expect(generationAt(identity([3, 0], [7, 0]), position(0))).toBe(3);
  expect(generationAt(identity([3, 0], [7, 0]), position(1))).toBe(7);
});

test("every offset given out resolves to its position, and offsets grow with positions", () => {
  const places = fc.integer({ min: 0, max: 300 });
  fc.assert(
    fc.property(places, places, (a, b) => {
      const offset = offsetAt(forked, position(a));
      const parsed = parseOffset(offset);
      if (parsed.kind !== "at") throw new Error(`not an offset: ${offset}`);
      expect(resolveOffset(forked, position(300), position(0), parsed)).toEqual({ kind: "position", position: a });
      expect(offset < offsetAt(forked, position(b))).toBe(a < b);
    }),
  );
});
