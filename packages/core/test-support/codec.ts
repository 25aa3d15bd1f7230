/** Arbitrary and fixed values for the tests of the persisted formats. */

import { readFileSync } from "node:fs";
import { crc32 } from "node:zlib";
import * as fc from "fast-check";
import { generation, lsn, position } from "../src/brand.ts";
import type { Frame } from "../src/frame.ts";
import type { Block } from "../src/extent.ts";
import type { Crc32 } from "../src/ports.ts";
import type { StreamDigest } from "../src/replay.ts";
import type { LineageEntry, ProducerTuple, StreamIdentity, StreamState } from "../src/stream-state.ts";

export const crc: Crc32 = (bytes, seed) => crc32(bytes, seed);

export function concat(pieces: Iterable<Uint8Array>): Uint8Array {
  return new Uint8Array(Buffer.concat([...pieces]));
}

/** Quick equality; a matcher takes seconds on large arrays. */
export function same(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0;
}

/** The bytes of a checked-in fixture: hex digits, white space ignored. */
export function fixture(name: string): Uint8Array {
  const text = readFileSync(new URL(`../src/fixtures/${name}.hex`, import.meta.url), "utf8");
  return new Uint8Array(Buffer.from(text.replaceAll(/\s/g, ""), "hex"));
}

/** Copies of `bytes` with one bit turned over, for each bit of [from, to). */
export function* bitFlips(bytes: Uint8Array, from = 0, to = bytes.length): Generator<Uint8Array> {
  for (let at = from; at < to; at++) {
    for (let bit = 0; bit < 8; bit++) {
      const copy = bytes.slice();
      copy[at] = (copy[at] as number) ^ (1 << bit);
      yield copy;
    }
  }
}

/** `bytes` cut at every byte but its end. */
export function* cuts(bytes: Uint8Array): Generator<Uint8Array> {
  for (let to = 0; to < bytes.length; to++) yield bytes.slice(0, to);
}

export const anyCount: fc.Arbitrary<number> = fc.oneof(fc.nat(300), fc.maxSafeNat());
export const anyName: fc.Arbitrary<string> = fc.oneof(
  fc.string({ maxLength: 60 }),
  fc.string({ unit: "binary", maxLength: 60 }),
);
const anyId = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }).map(generation);
const anyPosition = anyCount.map(position);
export const anyProducer: fc.Arbitrary<ProducerTuple> = fc.record({ id: anyName, epoch: anyCount, seq: anyCount });
const anyLineage: fc.Arbitrary<LineageEntry[]> = fc.array(
  fc.record({ generation: anyId, first: anyPosition, source: fc.option(anyId) }),
  { minLength: 1, maxLength: 4 },
);
const anyConfig = fc.record({
  contentType: anyName,
  ttlSeconds: fc.option(anyCount),
  expiresAtMs: fc.option(anyCount),
});
export const anyIdentity: fc.Arbitrary<StreamIdentity> = fc.record({
  id: anyId,
  path: anyName,
  config: anyConfig,
  createdAtMs: anyCount,
  lineage: anyLineage,
});
export const anyState: fc.Arbitrary<StreamState> = fc.record({
  identity: anyIdentity,
  tail: anyPosition,
  horizon: anyPosition,
  closed: fc.boolean(),
  closedBy: fc.option(anyProducer),
  streamSeq: fc.option(anyName),
  touchedAtMs: anyCount,
  softDeleted: fc.boolean(),
  deleted: fc.boolean(),
  lsn: anyCount.map(lsn),
});
export const anyDigest: fc.Arbitrary<StreamDigest> = fc.record({
  stream: anyId,
  created: fc.option(anyIdentity),
  start: fc.option(anyPosition),
  tail: fc.option(anyPosition),
  closed: fc.boolean(),
  closedBy: fc.option(anyProducer),
  streamSeq: fc.option(anyName),
  producers: fc.array(anyProducer, { maxLength: 3 }),
  touchedAtMs: fc.option(anyCount),
  softDeleted: fc.boolean(),
  deleted: fc.boolean(),
  lsn: anyCount.map(lsn),
});
export const anyBlocks: fc.Arbitrary<Block[]> = fc.array(
  fc.record({ payloadBytes: fc.integer({ min: 1, max: 70_000 }), tableBytes: fc.nat(300), crc: fc.nat(0xffff_ffff) }),
  { maxLength: 5 },
);

/** A payload in pieces, mostly small, now and then past block limits, with one message a piece or several alike. */
export const anyPayload: fc.Arbitrary<{ payload: Uint8Array[]; lengths: number[] }> = fc
  .array(
    fc.record({
      messages: fc.integer({ min: 1, max: 3 }),
      bytes: fc.oneof(
        { weight: 12, arbitrary: fc.integer({ min: 1, max: 40 }) },
        { weight: 1, arbitrary: fc.constantFrom(65_535, 65_536, 65_537, 131_072, 200_000) },
      ),
      fill: fc.nat(255),
    }),
    { maxLength: 5 },
  )
  .map((runs) => ({
    payload: runs.map(({ messages, bytes, fill }) =>
      new Uint8Array(messages * bytes).map((_, index) => (fill + index * 7) & 0xff),
    ),
    lengths: runs.flatMap(({ messages, bytes }) => Array.from({ length: messages }, () => bytes)),
  }));

const half: fc.Arbitrary<number> = fc.nat(2 ** 50);
export const anyFrame: fc.Arbitrary<Frame> = fc.oneof(
  fc
    .record({
      stream: anyId,
      atMs: anyCount,
      start: half.map(position),
      path: anyName,
      config: anyConfig,
      lineage: anyLineage,
      closed: fc.boolean(),
    })
    .chain((fields) => anyPayload.map((body): Frame => ({ kind: "create", ...fields, ...body }))),
  fc
    .record({
      stream: anyId,
      atMs: anyCount,
      start: half.map(position),
      producers: fc.array(anyProducer, { maxLength: 3 }),
      streamSeq: fc.option(anyName),
      closed: fc.boolean(),
      closedBy: fc.option(anyProducer),
    })
    .chain((fields) => anyPayload.map((body): Frame => ({ kind: "append", ...fields, ...body }))),
  fc.record({
    kind: fc.constantFrom("delete" as const, "soft-delete" as const),
    stream: anyId,
    atMs: anyCount,
    reason: fc.constantFrom("request" as const, "expired" as const),
  }),
  fc.record({ kind: fc.constant("touch" as const), stream: anyId, atMs: anyCount }),
);

const stream = generation(7);
export const sampleIdentity: StreamIdentity = {
  id: stream,
  path: "rooms/caf%C3%A9",
  config: { contentType: "text/plain; charset=utf-8", ttlSeconds: 3600, expiresAtMs: null },
  createdAtMs: 1_760_000_000_000,
  lineage: [
    { generation: generation(3), first: position(0), source: generation(3) },
    { generation: stream, first: position(4), source: null },
  ],
};
export const sampleState: StreamState = {
  identity: sampleIdentity,
  tail: position(5_000_000_000),
  horizon: position(4),
  closed: true,
  closedBy: { id: "writer-é", epoch: 2, seq: 300 },
  streamSeq: "0042",
  touchedAtMs: 1_760_000_001_234,
  softDeleted: true,
  deleted: false,
  lsn: lsn(9_007_199_254_740_991),
};

const text = (value: string): Uint8Array => new Uint8Array(Buffer.from(value));
/** One frame of each kind, a fork's create and its source's soft delete last; the append uses every field. */
export const sampleFrames: Frame[] = [
  {
    kind: "create",
    stream,
    atMs: 1_760_000_000_000,
    start: position(0),
    lengths: [5],
    payload: [text("hello")],
    path: sampleIdentity.path,
    config: sampleIdentity.config,
    lineage: [{ generation: stream, first: position(0), source: null }],
    closed: false,
  },
  {
    kind: "append",
    stream,
    atMs: 1_760_000_000_001,
    start: position(5),
    lengths: [2, 2, 3],
    payload: [text("abcd"), text("efg")],
    producers: [{ id: "writer-é", epoch: 2, seq: 300 }],
    streamSeq: "0042",
    closed: true,
    closedBy: { id: "writer-é", epoch: 2, seq: 300 },
  },
  { kind: "touch", stream, atMs: 1_760_000_000_002 },
  { kind: "delete", stream, atMs: 1_760_000_000_003, reason: "expired" },
  {
    kind: "create",
    stream: generation(9),
    atMs: 1_760_000_000_004,
    start: position(7),
    lengths: [2],
    payload: [text("hi")],
    path: "rooms/fork",
    config: { contentType: "text/plain", ttlSeconds: null, expiresAtMs: 1_800_000_000_000 },
    lineage: [
      { generation: generation(3), first: position(0), source: generation(3) },
      { generation: stream, first: position(4), source: stream },
      { generation: generation(9), first: position(7), source: null },
    ],
    closed: false,
  },
  { kind: "soft-delete", stream, atMs: 1_760_000_000_005, reason: "request" },
];
