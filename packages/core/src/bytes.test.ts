import * as fc from "fast-check";
import { expect, test } from "vitest";
import { anyCount, anyName, crc, same } from "../test-support/codec.ts";
import {
  ByteReader,
  ByteWriter,
  DecodeError,
  crcSteps,
  decodeLengths,
  encodeLengths,
  lengthsBytes,
  runAtOnce,
} from "./bytes.ts";

test("every number and string reads back as it was written", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(anyCount, anyName)), (items) => {
      const writer = new ByteWriter();
      for (const [count, name] of items) {
        writer.u8(count % 256);
        writer.u16(count % 65_536);
        writer.u32(count % 4_294_967_296);
        writer.u64(count);
        writer.varint(count);
        writer.string(name);
      }
      const reader = new ByteReader(writer.take());
      for (const [count, name] of items) {
        expect(reader.u8()).toBe(count % 256);
        expect(reader.u16()).toBe(count % 65_536);
        expect(reader.u32()).toBe(count % 4_294_967_296);
        expect(reader.u64()).toBe(count);
        expect(reader.varint()).toBe(count);
        expect(reader.string()).toBe(name);
      }
      reader.finish();
    }),
  );
});

test("a buffer that grows keeps what was written before", () => {
  const writer = new ByteWriter(1);
  const piece = new Uint8Array(1000).map((_, index) => index & 0xff);
  for (let count = 0; count < 100; count++) writer.bytes(piece);
  const reader = new ByteReader(writer.take());
  for (let count = 0; count < 100; count++) expect(same(reader.bytes(1000), piece)).toBe(true);
  expect(writer.length).toBe(0);
});

test.each([-1, 0.5, Number.NaN, 2 ** 53])("a writer refuses %d in every field", (value) => {
  const writer = new ByteWriter();
  expect(() => writer.u8(value)).toThrow(RangeError);
  expect(() => writer.u16(value)).toThrow(RangeError);
  expect(() => writer.u32(value)).toThrow(RangeError);
  expect(() => writer.u64(value)).toThrow(RangeError);
  expect(() => writer.varint(value)).toThrow(RangeError);
});

test("a lone surrogate is refused instead of being stored as U+FFFD", () => {
  expect(() => new ByteWriter().string("a\ud800")).toThrow(RangeError);
});

test.each([
  ["an integer above 2^53-1 in eight bytes", [0, 0, 0, 0, 0, 0, 32, 0], (reader: ByteReader) => reader.u64()],
  ["a varint above 2^53-1", [255, 255, 255, 255, 255, 255, 255, 31], (reader: ByteReader) => reader.varint()],
  ["a varint without end", Array.from({ length: 20 }, () => 128), (reader: ByteReader) => reader.varint()],
  ["a varint in more bytes than it needs", [129, 0], (reader: ByteReader) => reader.varint()],
  ["a string that is not UTF-8", [1, 255], (reader: ByteReader) => reader.string()],
  ["a string that is cut short", [3, 97, 98], (reader: ByteReader) => reader.string()],
  [
    "a long string that is not UTF-8",
    [60, ...Array.from({ length: 60 }, () => 0xc3)],
    (reader: ByteReader) => reader.string(),
  ],
])("%s is a DecodeError", (_, bytes, read) => {
  expect(() => read(new ByteReader(Uint8Array.from(bytes)))).toThrow(DecodeError);
});

test("message lengths read back, and their size is known beforehand", () => {
  const anyLengths = fc.array(fc.tuple(fc.integer({ min: 1, max: 100_000 }), fc.integer({ min: 1, max: 5 })));
  fc.assert(
    fc.property(anyLengths, (runs) => {
      const lengths = runs.flatMap(([length, count]) => Array.from({ length: count }, () => length));
      const writer = new ByteWriter();
      encodeLengths(writer, lengths);
      const bytes = writer.take();
      expect(bytes.length).toBe(lengthsBytes(lengths));
      const sum = lengths.reduce((total, length) => total + length, 0);
      expect(decodeLengths(new ByteReader(bytes), sum)).toEqual(lengths);
      expect(() => decodeLengths(new ByteReader(bytes), sum + 1)).toThrow(DecodeError);
      if (sum > 0) expect(() => decodeLengths(new ByteReader(bytes), sum - 1)).toThrow(DecodeError);
    }),
  );
});

test("a length table that claims 2^53 messages is refused before they are built", () => {
  const writer = new ByteWriter();
  writer.varint(1);
  writer.varint(Number.MAX_SAFE_INTEGER);
  writer.varint(1);
  expect(() => decodeLengths(new ByteReader(writer.take()), 1_000_000)).toThrow(DecodeError);
});

test.each([0, 1, 262_143, 262_144, 262_145, 1_000_000])(
  "the checksum of %i bytes in steps is their checksum",
  (count) => {
    const bytes = Uint8Array.from({ length: count }, (_, index) => (index * 31) & 0xff);
    expect(runAtOnce(crcSteps(bytes, crc))).toBe(crc(bytes));
  },
);
