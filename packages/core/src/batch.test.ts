import * as fc from "fast-check";
import { expect, test } from "vitest";
import {
  anyFrame,
  bitFlips,
  concat,
  crc,
  cuts,
  fixture,
  same,
  sampleFrames,
  sampleIdentity,
} from "../test-support/codec.ts";
import {
  BATCH_HEADER_BYTES,
  SEGMENT_HEADER_BYTES,
  decodeBatchHeader,
  decodeSegmentHeader,
  encodeBatch,
  encodeSegmentHeader,
  readBatch,
} from "./batch.ts";
import { generation, lsn } from "./brand.ts";
import { DecodeError } from "./bytes.ts";
import type { Frame } from "./frame.ts";

const frames = sampleFrames;

function encoded(some: readonly Frame[]): Uint8Array {
  return concat(encodeBatch({ lsn: lsn(40), atMs: 1_760_000_000_009, frames: some, crc }).buffers);
}

test("a batch reads back, frame by frame, at the places that were announced", () => {
  fc.assert(
    fc.property(fc.array(anyFrame, { minLength: 1, maxLength: 6 }), fc.nat(5), (some, before) => {
      const batch = encodeBatch({ lsn: lsn(77), atMs: 5, frames: some, crc });
      const bytes = concat([new Uint8Array(before), ...batch.buffers]);
      expect(bytes.length).toBe(before + batch.bytes);
      const reading = readBatch(bytes, before, crc);
      if (reading.kind !== "batch") throw new Error(JSON.stringify(reading));
      expect(reading.end).toBe(bytes.length);
      expect(reading.header).toMatchObject({ lsn: 77, atMs: 5, frameCount: some.length, batchBytes: batch.bytes });
      for (const [index, { header, headerAt, payloadAt }] of reading.frames.entries()) {
        const frame = some[index] as Frame;
        expect(header).toMatchObject({ kind: frame.kind, stream: frame.stream, atMs: frame.atMs });
        expect(batch.placements[index]).toEqual({
          headerAt: headerAt - before,
          headerBytes: header.headerBytes,
          payloadBytes: header.payloadBytes,
        });
        const payload = frame.kind === "append" || frame.kind === "create" ? concat(frame.payload) : new Uint8Array();
        expect(same(bytes.subarray(payloadAt, payloadAt + header.payloadBytes), payload)).toBe(true);
      }
      expect(readBatch(bytes, reading.end, crc)).toEqual({ kind: "end" });
    }),
    { numRuns: 80 },
  );
});

test("payload pieces of 64 KiB and more are handed on without a copy, smaller ones in one buffer", () => {
  const large = new Uint8Array(65_536).fill(1);
  const append = frames[1] as Extract<Frame, { kind: "append" }>;
  const some = [frames[0] as Frame, { ...append, lengths: [65_536], payload: [large] }, frames[2] as Frame];
  const { buffers } = encodeBatch({ lsn: lsn(40), atMs: 1, frames: some, crc });
  expect(buffers.length).toBe(3);
  expect(buffers[1]).toBe(large);
});

test("every bit flip in a batch makes it invalid", () => {
  for (const damaged of bitFlips(encoded(frames))) expect(readBatch(damaged, 0, crc).kind).toBe("invalid");
});

test("a batch cut at any byte is invalid, whatever bytes were on the disk before", () => {
  const bytes = encoded(frames);
  for (const short of cuts(bytes)) {
    if (short.length === 0) continue;
    expect(readBatch(short, 0, crc).kind).toBe("invalid");
    const padded = new Uint8Array(bytes.length + 100);
    padded.set(short);
    if (bytes.subarray(short.length).some((byte) => byte !== 0)) {
      expect(readBatch(padded, 0, crc).kind).toBe("invalid");
    }
  }
});

test("a batch whose payload belongs to another batch is invalid", () => {
  const one = encoded([frames[0] as Frame]);
  one.set(Buffer.from("hellO"), one.length - 5);
  expect(readBatch(one, 0, crc)).toMatchObject({ kind: "invalid", reason: expect.stringContaining("payload") });
});

test("a batch of zeros, and no bytes at all, are told apart", () => {
  expect(readBatch(new Uint8Array(1000), 0, crc).kind).toBe("invalid");
  expect(readBatch(new Uint8Array(0), 0, crc).kind).toBe("end");
});

test("an undamaged batch of a later version is an error and not a torn tail", () => {
  const bytes = encoded(frames);
  const view = new DataView(bytes.buffer);
  bytes[4] = 2;
  view.setUint32(40, crc(bytes.subarray(0, 40)), true);
  expect(() => decodeBatchHeader(bytes, 0, crc)).toThrow(DecodeError);
  expect(() => readBatch(bytes, 0, crc)).toThrow("unknown version 2");
});

test("an undamaged batch with a frame of a later kind is an error that names the kind", () => {
  const touch: Frame = { kind: "touch", stream: generation(1), atMs: 1 };
  const bytes = encoded([touch]);
  const view = new DataView(bytes.buffer);
  bytes[BATCH_HEADER_BYTES + 8] = 255;
  view.setUint32(bytes.length - 4, crc(bytes.subarray(BATCH_HEADER_BYTES, -4)), true);
  view.setUint32(32, crc(bytes.subarray(BATCH_HEADER_BYTES)), true);
  view.setUint32(40, crc(bytes.subarray(0, 40)), true);
  expect(() => readBatch(bytes, 0, crc)).toThrow("unknown kind 255");
});

test("a segment header reads back, and every flip and cut of it is detected", () => {
  const bytes = encodeSegmentHeader({ base: lsn(5_000_000_000), shard: "0123456789abcdef" }, crc);
  expect(bytes.length).toBe(SEGMENT_HEADER_BYTES);
  expect(decodeSegmentHeader(bytes, crc)).toEqual({ version: 1, base: 5_000_000_000, shard: "0123456789abcdef" });
  for (const damaged of bitFlips(bytes)) expect(decodeSegmentHeader(damaged, crc)).toBeNull();
  for (const short of cuts(bytes)) expect(decodeSegmentHeader(short, crc)).toBeNull();
  expect(() => encodeSegmentHeader({ base: lsn(0), shard: "0123456789abcdef0" }, crc)).toThrow(RangeError);
});

test("the first WAL segment still reads", () => {
  const bytes = fixture("wal-segment-1");
  expect(decodeSegmentHeader(bytes, crc)).toEqual({ version: 1, base: 5_000_000_000, shard: "a1b2c3" });
  const reading = readBatch(bytes, SEGMENT_HEADER_BYTES, crc);
  if (reading.kind !== "batch") throw new Error(JSON.stringify(reading));
  expect(reading.end).toBe(bytes.length);
  expect(reading.frames.map(({ header }) => header.kind)).toEqual(["create", "append", "touch", "delete"]);
  expect(reading.frames[1]?.header).toMatchObject({ lengths: [2, 2, 3], streamSeq: "0042", closed: true });
  expect(reading.frames[0]?.header).toMatchObject({ start: 0, payloadBytes: 5, lineage: sampleIdentity.lineage });
});

test("the WAL segment with forks and soft deletes still reads, and is still written so", () => {
  const bytes = fixture("wal-segment-2");
  const reading = readBatch(bytes, SEGMENT_HEADER_BYTES, crc);
  if (reading.kind !== "batch") throw new Error(JSON.stringify(reading));
  expect(reading.end).toBe(bytes.length);
  const kinds = reading.frames.map(({ header }) => header.kind);
  expect(kinds).toEqual(["create", "append", "touch", "delete", "create", "soft-delete"]);
  expect(reading.frames.map(({ headerAt }) => bytes[headerAt + 8])).toEqual([1, 2, 4, 3, 5, 6]);
  const fork = frames[4] as Extract<Frame, { kind: "create" }>;
  expect(reading.frames[4]?.header).toMatchObject({ start: 7, payloadBytes: 2, lineage: fork.lineage });
  const header = encodeSegmentHeader({ base: lsn(5_000_000_000), shard: "a1b2c3" }, crc);
  const batch = encodeBatch({ lsn: lsn(5_000_000_040), atMs: 1_760_000_000_009, frames, crc });
  expect(same(concat([header, ...batch.buffers]), bytes)).toBe(true);
});
