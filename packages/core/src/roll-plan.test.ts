import * as fc from "fast-check";
import { expect, test } from "vitest";
import { concat, same } from "../test-support/codec.ts";
import { anySteps, historyOf } from "../test-support/history.ts";
import { generation, lsn, position } from "./brand.ts";
import type { AppendHeader } from "./frame.ts";
import { OBJECT_BYTES_TARGET, SEGMENT_OBJECT_BYTES_MIN } from "./limits.ts";
import { ownStart } from "./lineage.ts";
import { applyDigest } from "./replay.ts";
import { planRoll } from "./roll-plan.ts";
import type { PlannedExtent } from "./roll-plan.ts";
import type { ProducerState, StreamState } from "./stream-state.ts";

/** An append of one message; its payload is never looked at. */
function append(stream: number, start: number, payloadBytes: number): AppendHeader {
  return {
    kind: "append",
    stream: generation(stream),
    atMs: 1,
    start: position(start),
    lengths: [payloadBytes],
    producers: [],
    streamSeq: null,
    closed: false,
    closedBy: null,
    headerBytes: 64,
    payloadBytes,
    blockCrcs: [],
  };
}

/** A segment of appends, one after the other. */
function plan(...headers: AppendHeader[]): ReturnType<typeof planRoll> {
  let at = 40;
  const frames = headers.map((header) => {
    const payloadAt = at + header.headerBytes;
    at = payloadAt + header.payloadBytes;
    return { header, payloadAt };
  });
  return planRoll(frames, { base: lsn(0), end: lsn(at) });
}

function bytesOf(extent: PlannedExtent, segment: Uint8Array): Uint8Array {
  const pieces: Uint8Array[] = [];
  for (let index = 0; index < extent.sources.length; index += 2) {
    const at = extent.sources[index] as number;
    pieces.push(segment.subarray(at, at + (extent.sources[index + 1] as number)));
  }
  return concat(pieces);
}

function startOf(states: ReadonlyMap<number, StreamState>, stream: number): number {
  return ownStart(states.get(stream)!.identity);
}

test("the digests of all segments fold into the states that the frames fold into", () => {
  fc.assert(
    fc.property(anySteps, (steps) => {
      const { segments, states, producers } = historyOf(steps);
      const folded = new Map<number, StreamState>();
      const remembered = new Map<number, Map<string, ProducerState>>();
      for (const segment of segments) {
        for (const digest of planRoll(segment.frames, segment).digests) {
          const known = remembered.get(digest.stream) ?? new Map<string, ProducerState>();
          remembered.set(digest.stream, known);
          folded.set(digest.stream, applyDigest(folded.get(digest.stream), known, digest));
        }
      }
      expect(folded).toEqual(states);
      expect(remembered).toEqual(producers);
    }),
  );
});

test("the extents of all segments are every stream's bytes, but for segments in which it was deleted", () => {
  fc.assert(
    fc.property(anySteps, (steps) => {
      const { segments, states, contents } = historyOf(steps);
      const ends = new Map<number, number>();
      for (const segment of segments) {
        const { objects } = planRoll(segment.frames, segment);
        for (const extent of objects.flatMap((object) => object.extents)) {
          expect(extent.start).toBe(ends.get(extent.stream) ?? startOf(states, extent.stream));
          expect(extent.lengths.reduce((sum, length) => sum + length, 0)).toBe(extent.end - extent.start);
          const content = contents.get(extent.stream) as Uint8Array;
          expect(same(bytesOf(extent, segment.bytes), content.subarray(extent.start, extent.end))).toBe(true);
          ends.set(extent.stream, extent.end);
        }
      }
      for (const [stream, state] of states) {
        if (!state.deleted) expect(ends.get(stream) ?? startOf(states, stream)).toBe(state.tail);
      }
    }),
  );
});

test("a large stream gets an object of its own, the others share a pack, by stream id", () => {
  const { objects } = plan(
    append(9, 0, 10),
    append(5, 0, SEGMENT_OBJECT_BYTES_MIN),
    append(3, 7, 10),
    append(9, 10, 1),
  );
  const streams = objects.map((object) => object.extents.map((extent) => extent.stream));
  expect(streams).toEqual([[5], [3, 9]]);
  expect(objects[1]?.extents[1]).toMatchObject({ start: 0, end: 11, lengths: [10, 1] });
});

test("packs are cut before they pass the target size", () => {
  const bytes = SEGMENT_OBJECT_BYTES_MIN - 1;
  const fit = Math.floor(OBJECT_BYTES_TARGET / bytes);
  const { objects } = plan(...Array.from({ length: fit + 1 }, (_, index) => append(index + 1, 0, bytes)));
  expect(objects.map((object) => object.extents.length)).toEqual([fit, 1]);
});

test("a segment without payloads has no objects, and still a digest for each stream it names", () => {
  const touch = {
    kind: "touch" as const,
    stream: generation(4),
    atMs: 9,
    headerBytes: 41,
    payloadBytes: 0,
    blockCrcs: [],
  };
  const rolled = planRoll([{ header: touch, payloadAt: 125 }], { base: lsn(1000), end: lsn(1125) });
  expect(rolled.objects).toEqual([]);
  expect(rolled.digests).toMatchObject([
    { stream: 4, created: null, start: null, tail: null, touchedAtMs: 9, lsn: 1125 },
  ]);
});

test("a gap between two frames of a stream is corrupt", () => {
  expect(() => plan(append(1, 0, 10), append(1, 11, 10))).toThrow(expect.objectContaining({ code: "corrupt-wal" }));
});

test("a frame past the segment's end is corrupt", () => {
  const frames = [{ header: append(1, 0, 10), payloadAt: 104 }];
  expect(() => planRoll(frames, { base: lsn(0), end: lsn(113) })).toThrow(
    expect.objectContaining({ code: "corrupt-wal" }),
  );
});

test.each([1, 8_191, 8_192, 8_193, 16_384, 16_385, 30_001])(
  "%i streams in any order are planned by their id",
  (count) => {
    // A multiplier without a common factor with the count visits every stream once, far from the one before.
    const step = 40_009;
    const headers = Array.from({ length: count }, (_, index) => append(((index * step) % count) + 1, 0, 1));
    const { digests, objects } = plan(...headers);
    expect(digests.map(({ stream }) => Number(stream))).toEqual(Array.from({ length: count }, (_, index) => index + 1));
    expect(objects[0]!.extents.map(({ stream }) => stream)).toEqual(digests.map(({ stream }) => stream));
  },
);
