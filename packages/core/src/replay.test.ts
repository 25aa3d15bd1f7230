import * as fc from "fast-check";
import { expect, test } from "vitest";
import { crc, sampleFrames } from "../test-support/codec.ts";
import { anySteps, historyOf } from "../test-support/history.ts";
import { generation, lsn, position } from "./brand.ts";
import { StreamError } from "./errors.ts";
import { decodeFrameHeader, encodeFrameHeader } from "./frame.ts";
import type { AppendFrame, CreateFrame, Frame, FrameHeader } from "./frame.ts";
import { applyDigest, applyFrame } from "./replay.ts";
import type { StreamDigest } from "./replay.ts";
import type { StreamState } from "./stream-state.ts";

const headerOf = (frame: Frame): FrameHeader => decodeFrameHeader(encodeFrameHeader(frame, crc), 0, crc);
type Six<Value> = [Value, Value, Value, Value, Value, Value];
const [create, append, touch, remove, fork, softDelete] = sampleFrames.map(headerOf) as Six<FrameHeader>;

function fold(...headers: FrameHeader[]): StreamState {
  let state: StreamState | undefined;
  for (const [index, header] of headers.entries()) state = applyFrame(state, header, lsn(100 + index));
  return state as StreamState;
}

test("a create, an append that closes, a touch and a delete fold into one state", () => {
  expect(fold(create)).toMatchObject({ tail: 5, closed: false, touchedAtMs: 1_760_000_000_000, lsn: 100 });
  const closedBy = { id: "writer-é", epoch: 2, seq: 300 };
  expect(fold(create, append)).toMatchObject({ tail: 12, closed: true, closedBy, streamSeq: "0042", lsn: 101 });
  expect(fold(create, append, touch)).toMatchObject({ touchedAtMs: 1_760_000_000_002, closed: true });
  expect(fold(create, append, touch, remove)).toMatchObject({ deleted: true, tail: 12, lsn: 103 });
});

test("a fork begins at its fork point, and a soft delete leaves everything as it was", () => {
  expect(fold(fork)).toMatchObject({ tail: 9, closed: false, touchedAtMs: 1_760_000_000_004, lsn: 100 });
  expect(fold(create, append, softDelete)).toEqual({ ...fold(create, append), softDeleted: true, lsn: 102 });
  expect(fold(create, softDelete, remove)).toMatchObject({ softDeleted: true, deleted: true, tail: 5 });
});

test("frames that a state already includes change nothing, however often they are replayed", () => {
  fc.assert(
    fc.property(anySteps, (steps) => {
      const { segments, states } = historyOf(steps);
      const replayed = new Map(states);
      for (const { frames } of segments) {
        for (const { header, lsnEnd } of frames) {
          const state = applyFrame(replayed.get(header.stream), header, lsnEnd);
          if (state !== undefined) replayed.set(header.stream, state);
        }
      }
      expect(replayed).toEqual(states);
    }),
  );
});

const plain: AppendFrame = { ...(sampleFrames[1] as AppendFrame), closed: false, closedBy: null };
const forkFrame = sampleFrames[4] as CreateFrame;

test.each<[string, FrameHeader[]]>([
  ["an append before the create", [append]],
  ["a delete before the create", [remove]],
  ["a second create", [create, create]],
  ["an append past the tail", [create, headerOf({ ...plain, start: position(6) })]],
  ["an append below the tail", [create, headerOf({ ...plain, start: position(4) })]],
  ["an append to a closed stream", [create, append, headerOf({ ...plain, start: position(12) })]],
  ["an append to a deleted stream", [create, remove, headerOf(plain)]],
  ["a second delete", [create, remove, remove]],
  ["a soft delete before the create", [softDelete]],
  ["a soft delete after a delete", [create, remove, softDelete]],
  ["a second soft delete", [create, softDelete, softDelete]],
  ["an append to a soft-deleted stream", [create, softDelete, headerOf(plain)]],
  ["a touch of a soft-deleted stream", [create, softDelete, touch]],
  ["a fork below its fork point", [headerOf({ ...forkFrame, start: position(6) })]],
  ["a fork past its fork point", [headerOf({ ...forkFrame, start: position(8) })]],
  ["a create past the start", [headerOf({ ...(sampleFrames[0] as CreateFrame), start: position(1) })]],
  ["a create without a lineage", [headerOf({ ...(sampleFrames[0] as CreateFrame), lineage: [] })]],
])("%s is corrupt", (_, headers) => {
  expect(() => fold(...headers)).toThrow(expect.objectContaining({ code: "corrupt-wal" }));
});

const nothing: StreamDigest = {
  stream: generation(7),
  created: null,
  start: null,
  tail: null,
  closed: false,
  closedBy: null,
  streamSeq: null,
  producers: [],
  touchedAtMs: null,
  softDeleted: false,
  deleted: false,
  lsn: lsn(500),
};

test.each<[string, StreamState | undefined, StreamDigest]>([
  ["continues an unknown stream", undefined, nothing],
  ["creates a known stream", fold(create), { ...nothing, created: fold(create).identity }],
  ["starts past the tail", fold(create), { ...nothing, start: position(6), tail: position(9) }],
  ["continues a closed stream", fold(create, append), { ...nothing, start: position(12), tail: position(13) }],
  ["continues a deleted stream", fold(create, remove), nothing],
  ["continues a soft-deleted stream", fold(create, softDelete), nothing],
  ["touches a soft-deleted stream", fold(create, softDelete), { ...nothing, touchedAtMs: 9, deleted: true }],
  ["soft-deletes a stream again", fold(create, softDelete), { ...nothing, softDeleted: true, deleted: true }],
  ["appends to a fork below its tail", fold(fork), { ...nothing, start: position(7), tail: position(8) }],
  [
    "creates a fork that starts elsewhere",
    undefined,
    { ...nothing, created: fold(fork).identity, start: position(0), tail: position(2) },
  ],
])("a digest that %s is corrupt", (_, state, digest) => {
  expect(() => applyDigest(state, new Map(), digest)).toThrow(StreamError);
});

test("a digest that a state already includes changes neither it nor its producers", () => {
  const producers = new Map();
  const state = { ...fold(create), lsn: lsn(500) };
  const digest = { ...nothing, producers: [{ id: "a", epoch: 1, seq: 1 }] };
  expect(applyDigest(state, producers, digest)).toBe(state);
  expect(producers.size).toBe(0);
});
