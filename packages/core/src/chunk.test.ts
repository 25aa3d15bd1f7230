import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { position } from "./brand.ts";
import { boundaryAtOrAfter, boundaryAtOrBefore, chunkTarget, cutBlocks } from "./chunk.ts";

const messages = fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 60 });
const start = fc.nat({ max: 200 });
const chunkBytes = fc.integer({ min: 1, max: 64 });

function boundariesOf(start: number, lengths: readonly number[]): number[] {
  const boundaries = [start];
  for (const length of lengths) boundaries.push(boundaries.at(-1)! + length);
  return boundaries;
}

/** Where the responses to a reader end that starts at `start` and follows each next offset. */
function chunkEnds(start: number, lengths: readonly number[], chunkBytes: number): number[] {
  const boundaries = boundariesOf(start, lengths);
  const ends: number[] = [];
  for (let at = start; at < boundaries.at(-1)!; at = ends.at(-1)!) {
    const rest = lengths.slice(boundaries.indexOf(at));
    ends.push(boundaryAtOrAfter(at, rest, chunkTarget(position(at), chunkBytes)));
  }
  return ends;
}

describe("chunks", () => {
  test.each([
    [0, 100, 100],
    [1, 100, 100],
    [99, 100, 100],
    [100, 100, 200],
    [2 ** 52, 2 ** 20, 2 ** 52 + 2 ** 20],
  ])("a read from %i with chunks of %i aims at %i", (from, chunk, target) => {
    expect(chunkTarget(position(from), chunk)).toBe(target);
  });

  test.each<[number, number[], number, number]>([
    [0, [10, 10, 10], 15, 20],
    [0, [10, 10, 10], 20, 20],
    [0, [10, 10, 10], 21, 30],
    [0, [10, 10, 10], 99, 30],
    [5, [10], 5, 5],
    [5, [10], 1, 5],
    [5, [], 9, 5],
  ])("from %i, the boundary of %j at or after %i is %i", (start, lengths, target, boundary) => {
    expect(boundaryAtOrAfter(start, lengths, target)).toBe(boundary);
  });

  test.each<[number, number[], number, number]>([
    [0, [10, 10, 10], 15, 10],
    [0, [10, 10, 10], 20, 20],
    [0, [10, 10, 10], 99, 30],
    [5, [10], 5, 5],
    [5, [10], 14, 5],
    [5, [], 9, 5],
  ])("from %i, the boundary of %j at or before %i is %i", (start, lengths, at, boundary) => {
    expect(boundaryAtOrBefore(start, lengths, at)).toBe(boundary);
  });

  test("a position before the messages has no boundary among them", () => {
    expect(() => boundaryAtOrBefore(5, [10], 4)).toThrow(RangeError);
  });

  test("no more message lengths are taken than the boundary needs", () => {
    let taken = 0;
    const endless = function* (): Generator<number> {
      for (;;) {
        taken += 1;
        yield 10;
      }
    };
    expect(boundaryAtOrAfter(0, endless(), 25)).toBe(30);
    expect(taken).toBe(3);
  });

  test("a boundary is the same however the messages lie in extents", () => {
    fc.assert(
      fc.property(start, messages, chunkBytes, fc.array(fc.nat({ max: 60 })), (start, lengths, chunkBytes, cuts) => {
        const target = chunkTarget(position(start), chunkBytes);
        const edges = [0, ...cuts.filter((cut) => cut <= lengths.length).sort((a, b) => a - b), lengths.length];
        let at = start;
        for (let i = 1; i < edges.length && at < target; i += 1) {
          at = boundaryAtOrAfter(at, lengths.slice(edges[i - 1], edges[i]), target);
        }
        expect(at).toBe(boundaryAtOrAfter(start, lengths, target));
      }),
    );
  });

  test("readers from anywhere meet at the same boundaries after their first response", () => {
    fc.assert(
      fc.property(start, messages, chunkBytes, fc.nat(), (start, lengths, chunkBytes, pick) => {
        const all = chunkEnds(start, lengths, chunkBytes);
        const skipped = pick % (lengths.length + 1);
        const from = boundariesOf(start, lengths)[skipped]!;
        const late = chunkEnds(from, lengths.slice(skipped), chunkBytes);
        expect(late).toEqual(all.filter((end) => end > from));
      }),
    );
  });

  test("the boundary before a position is the last one that is not after it", () => {
    fc.assert(
      fc.property(start, messages, fc.nat({ max: 3000 }), (start, lengths, ahead) => {
        const expected = boundariesOf(start, lengths).findLast((boundary) => boundary <= start + ahead);
        expect(boundaryAtOrBefore(start, lengths, start + ahead)).toBe(expected);
      }),
    );
  });
});

describe("blocks", () => {
  test.each<[number, number[], number, number[][]]>([
    [0, [], 10, []],
    [0, [3], 10, [[3]]],
    [0, [5, 5, 5], 10, [[5, 5], [5]]],
    [0, [5, 6, 5, 4, 1], 10, [[5, 6], [5, 4], [1]]],
    [0, [35, 4, 1, 2], 10, [[35], [4, 1], [2]]],
    [7, [2, 2, 9, 1], 10, [[2, 2], [9], [1]]],
    [10, [10, 10], 10, [[10], [10]]],
  ])("from %i, %j in blocks of %i", (start, lengths, blockBytes, blocks) => {
    expect(cutBlocks(start, lengths, blockBytes)).toEqual(
      blocks.map((block) => ({ payloadBytes: block.reduce((sum, length) => sum + length, 0), lengths: block })),
    );
  });

  test("blocks hold every message once, in order", () => {
    fc.assert(
      fc.property(start, messages, chunkBytes, (start, lengths, blockBytes) => {
        const blocks = cutBlocks(start, lengths, blockBytes);
        expect(blocks.flatMap((block) => block.lengths)).toEqual(lengths);
        for (const block of blocks) {
          expect(block.payloadBytes).toBe(block.lengths.reduce((sum, length) => sum + length, 0));
        }
      }),
    );
  });

  test("every chunk boundary is a block boundary", () => {
    fc.assert(
      fc.property(start, messages, chunkBytes, fc.integer({ min: 1, max: 5 }), (start, lengths, blockBytes, factor) => {
        const cuts = cutBlocks(start, lengths, blockBytes).map((block) => block.payloadBytes);
        const ends = chunkEnds(start, lengths, blockBytes * factor);
        expect(boundariesOf(start, cuts)).toEqual(expect.arrayContaining(ends));
      }),
    );
  });
});
