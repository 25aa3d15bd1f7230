import * as fc from "fast-check";
import { expect, test } from "vitest";
import {
  anyBlocks,
  anyCount,
  anyName,
  anyState,
  bitFlips,
  crc,
  cuts,
  fixture,
  sampleState,
} from "../test-support/codec.ts";
import { generation, lsn, position } from "./brand.ts";
import { ByteWriter, DecodeError } from "./bytes.ts";
import {
  decodeCounted,
  decodeExtent,
  decodeMeta,
  decodeProducer,
  decodeStreamRecord,
  encodeCounted,
  encodeExtent,
  encodeMeta,
  encodeProducer,
  encodeStreamRecord,
} from "./catalog-value.ts";
import type { ColdExtent } from "./extent.ts";

const stream = generation(7);
const object = "objects/0000000005000000-0000.cbo";
const extent: ColdExtent = {
  stream,
  start: position(100),
  end: position(70_100),
  object,
  offset: 16,
  blocks: [
    { payloadBytes: 65_000, tableBytes: 4, crc: 0xdeadbeef },
    { payloadBytes: 5_000, tableBytes: 3, crc: 1 },
  ],
};
const producer = { epoch: 2, seq: 300, lsn: lsn(5_000_000_099) };
const count = { bytes: 70_123, liveExtents: 0, deadAtMs: 1_760_000_000_000 };

/** Each kind of value: its sample, and how it is written and read under its key. */
const kinds: [name: string, value: unknown, encoded: Uint8Array, decode: (bytes: Uint8Array) => unknown][] = [
  ["stream", sampleState, encodeStreamRecord(sampleState, crc), (bytes) => decodeStreamRecord(bytes, crc)],
  [
    "producer",
    producer,
    encodeProducer(stream, "w", producer, crc),
    (bytes) => decodeProducer(stream, "w", bytes, crc),
  ],
  ["extent", extent, encodeExtent(extent, crc), (bytes) => decodeExtent(stream, extent.start, bytes, crc)],
  ["counted", count, encodeCounted(object, count, crc), (bytes) => decodeCounted(object, bytes, crc)],
  ["meta", 4096, encodeMeta("applied-lsn", 4096, crc), (bytes) => decodeMeta("applied-lsn", bytes, crc)],
];

test.each(kinds)("every bit flip and every cut of a %s value is detected", (_, value, encoded, decode) => {
  expect(decode(encoded)).toEqual(value);
  for (const damaged of bitFlips(encoded)) expect(() => decode(damaged)).toThrow(DecodeError);
  for (const short of cuts(encoded)) expect(() => decode(short)).toThrow(DecodeError);
});

/** `value` with another version byte and the checksum that goes with it. */
function ofVersion(value: Uint8Array, version: number, kind: "stream" | "counted", name: string): Uint8Array {
  const key = new ByteWriter();
  key.u8(kind === "stream" ? 1 : 4);
  key.varint(0);
  key.string(name);
  const bytes = value.slice();
  bytes[0] = version;
  new DataView(bytes.buffer).setUint32(bytes.length - 4, crc(bytes.subarray(0, -4), crc(key.take())), true);
  return bytes;
}

test("a stream value of version 1 still reads: it knew no soft deletes", () => {
  const bytes = fixture("catalog-stream-1");
  expect(decodeStreamRecord(bytes, crc)).toEqual({ ...sampleState, softDeleted: false });
});

test("a stream value of a later version, and another value of a stream's version, are refused", () => {
  const [stream2, count1] = [encodeStreamRecord(sampleState, crc), encodeCounted(object, count, crc)];
  expect(() => decodeStreamRecord(ofVersion(stream2, 3, "stream", ""), crc)).toThrow("unknown version 3");
  expect(() => decodeStreamRecord(ofVersion(stream2, 0, "stream", ""), crc)).toThrow("unknown version 0");
  expect(() => decodeCounted(object, ofVersion(count1, 2, "counted", object), crc)).toThrow("unknown version 2");
});

test.each(kinds)("a %s value still reads, and is still written so", (name, value, encoded, decode) => {
  const bytes = fixture(`catalog-${name}-${name === "stream" ? 2 : 1}`);
  expect(decode(bytes)).toEqual(value);
  expect(encoded).toEqual(bytes);
});

test("a value under another key is as bad as a damaged one", () => {
  const bytes = encodeProducer(stream, "w", producer, crc);
  expect(() => decodeProducer(stream, "x", bytes, crc)).toThrow(DecodeError);
  expect(() => decodeProducer(generation(8), "w", bytes, crc)).toThrow(DecodeError);
  expect(() => decodeExtent(stream, position(101), encodeExtent(extent, crc), crc)).toThrow(DecodeError);
  expect(() => decodeCounted("objects/other.cbo", encodeCounted(object, count, crc), crc)).toThrow(DecodeError);
  expect(() => decodeMeta("next-generation", encodeMeta("applied-lsn", 1, crc), crc)).toThrow(DecodeError);
  expect(() => decodeMeta("", encodeStreamRecord(sampleState, crc), crc)).toThrow(DecodeError);
});

test("every stream state reads back", () => {
  fc.assert(
    fc.property(anyState, (state) => {
      expect(decodeStreamRecord(encodeStreamRecord(state, crc), crc)).toEqual(state);
    }),
  );
});

test("every producer, object count and number reads back", () => {
  fc.assert(
    fc.property(anyCount, anyCount, fc.option(anyCount), anyName, (one, two, three, name) => {
      const record = { epoch: one, seq: two, lsn: lsn(two) };
      expect(decodeProducer(stream, name, encodeProducer(stream, name, record, crc), crc)).toEqual(record);
      const counted = { bytes: one, liveExtents: two, deadAtMs: three };
      expect(decodeCounted(name, encodeCounted(name, counted, crc), crc)).toEqual(counted);
      expect(decodeMeta(name, encodeMeta(name, one, crc), crc)).toBe(one);
    }),
  );
});

test("every extent reads back, and its blocks must add up to it", () => {
  fc.assert(
    fc.property(anyBlocks, fc.nat(2 ** 50), anyName, anyCount, (blocks, start, key, offset) => {
      const bytes = blocks.reduce((sum, block) => sum + block.payloadBytes, 0);
      const cold = { stream, start: position(start), end: position(start + bytes), object: key, offset, blocks };
      expect(decodeExtent(stream, cold.start, encodeExtent(cold, crc), crc)).toEqual(cold);
      const longer = { ...cold, end: position(start + bytes + 1) };
      expect(() => decodeExtent(stream, cold.start, encodeExtent(longer, crc), crc)).toThrow(DecodeError);
    }),
  );
});
