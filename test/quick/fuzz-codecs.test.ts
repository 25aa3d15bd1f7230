/**
 * Every persisted format against damaged bytes: what a decoder takes means what its encoder would write; what it does not
 * take is a DecodeError, however the bytes came about, also with checksums that fit them.
 */
import {
  catalogKey,
  DecodeError,
  decodeCounted,
  decodeExtent,
  decodeFooter,
  decodeFrameHeader,
  decodeLink,
  decodeMeta,
  decodeProducer,
  decodeRollRecord,
  decodeSegmentHeader,
  decodeStreamRecord,
  decodeSubscription,
  decodeTrailer,
  encodeBatch,
  encodeCounted,
  encodeExtent,
  encodeFooter,
  encodeFrameHeader,
  encodeLink,
  encodeMeta,
  encodeProducer,
  encodeRollRecord,
  encodeSegmentHeader,
  encodeStreamRecord,
  encodeSubscription,
  encodeTrailer,
  generation,
  lsn,
  position,
  readBatch,
} from "@coldbrook/core";
import type { Frame, FrameHeader } from "@coldbrook/core";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  anyBlocks,
  anyCount,
  anyDigest,
  anyFrame,
  anyIdentity,
  anyName,
  anyState,
  concat,
  crc,
} from "../../packages/core/test-support/codec.ts";
import {
  anyLink,
  anySubscription,
  anySubscriptionDigest,
  anySubscriptionFrame,
} from "../../packages/core/test-support/subscription.ts";
import { budget, PROPERTY_MS } from "./fuzz-budget.ts";

const stream = generation(7);
const start = position(100);

/** One format whose bytes end with a checksum over all before it. */
interface Format {
  readonly name: string;
  readonly encoded: fc.Arbitrary<Uint8Array>;
  readonly decode: (bytes: Uint8Array) => unknown;
  /** Null when a decoded value does not hold all that was encoded. */
  readonly encode: ((value: never) => Uint8Array) | null;
  /** The checksum that fits `bytes` without their last four. */
  readonly seal: (bytes: Uint8Array) => number;
}

const overAll = (bytes: Uint8Array): number => crc(bytes);
const underKey =
  (kind: Parameters<typeof catalogKey>[0], id: number, name: string) =>
  (bytes: Uint8Array): number =>
    crc(bytes, crc(catalogKey(kind, id, name)));

/** A frame's header as a frame without payload. */
function bareFrame(header: FrameHeader): Uint8Array {
  const frame = header.kind === "append" || header.kind === "create" ? { ...header, payload: [] } : header;
  return encodeFrameHeader(frame, crc);
}

const anyExtent = fc.tuple(anyBlocks, anyName, anyCount).map(([blocks, object, offset]) => {
  const bytes = blocks.reduce((sum, block) => sum + block.payloadBytes, 0);
  return { stream, start, end: position(start + bytes), object, offset, blocks };
});
const anyRollRecord = fc
  .tuple(
    anyName,
    fc.array(anyExtent, { maxLength: 3 }),
    fc.array(anyDigest, { maxLength: 3 }),
    fc.array(anySubscriptionDigest, { maxLength: 2 }),
  )
  .map(([writerId, extents, digests, subscriptions]) => ({
    writerId,
    base: lsn(40),
    end: lsn(90),
    objects: [{ key: "objects/0000000000000040-0000.cbo", bytes: 70_123, footerCrc: 0xdeadbeef }],
    extents: extents.map((extent) => ({ ...extent, object: 0 })),
    digests,
    subscriptions,
  }));
const anyFooter = fc
  .array(fc.tuple(anyIdentity, fc.boolean(), anyExtent), { maxLength: 4 })
  .map((extents) =>
    extents.map(([identity, closed, { end, offset, blocks }]) => ({ identity, closed, start, end, offset, blocks })),
  )
  .map((extents) => encodeFooter({ writerId: "0123456789abcdef", base: lsn(40), end: lsn(90), extents }));

const formats: readonly Format[] = [
  {
    name: "frame header",
    encoded: fc.oneof(anyFrame, anySubscriptionFrame).map((frame: Frame) => encodeFrameHeader(frame, crc)),
    decode: (bytes) => decodeFrameHeader(bytes, 0, crc),
    encode: null,
    seal: overAll,
  },
  {
    name: "frame header without payload",
    encoded: fc.oneof(anyFrame, anySubscriptionFrame).map((frame: Frame) => {
      const bare = frame.kind === "append" || frame.kind === "create" ? { ...frame, payload: [], lengths: [] } : frame;
      return encodeFrameHeader(bare, crc);
    }),
    decode: (bytes) => decodeFrameHeader(bytes, 0, crc),
    encode: (header: FrameHeader) => (header.payloadBytes === 0 ? bareFrame(header) : new Uint8Array(0)),
    seal: overAll,
  },
  {
    name: "roll record",
    encoded: anyRollRecord.map((record) => encodeRollRecord(record, crc)),
    decode: (bytes) => decodeRollRecord(bytes, crc),
    encode: (record) => encodeRollRecord(record, crc),
    seal: overAll,
  },
  {
    name: "sealed object's footer",
    // Its checksum stands in the trailer; here it follows the footer.
    encoded: anyFooter.map((bytes) => concat([bytes, word(crc(bytes))])),
    decode: (bytes) => {
      if (bytes.length < 4) throw new DecodeError("cut short", 0);
      const footer = bytes.subarray(0, -4);
      const footerCrc = new DataView(bytes.buffer, bytes.byteOffset).getUint32(footer.length, true);
      return decodeFooter(footer, { footerAt: 16, footerBytes: footer.length, footerCrc, objectBytes: 0 }, crc);
    },
    encode: (footer: Parameters<typeof encodeFooter>[0]) => {
      const bytes = encodeFooter(footer);
      return concat([bytes, word(crc(bytes))]);
    },
    seal: overAll,
  },
  {
    name: "stream record",
    encoded: anyState.map((state) => encodeStreamRecord(state, crc)),
    decode: (bytes) => decodeStreamRecord(bytes, crc),
    encode: (state) => encodeStreamRecord(state, crc),
    seal: underKey("stream", 0, ""),
  },
  {
    name: "producer",
    encoded: fc
      .tuple(anyCount, anyCount)
      .map(([epoch, seq]) => encodeProducer(stream, "w", { epoch, seq, lsn: lsn(seq) }, crc)),
    decode: (bytes) => decodeProducer(stream, "w", bytes, crc),
    encode: (record) => encodeProducer(stream, "w", record, crc),
    seal: underKey("producer", stream, "w"),
  },
  {
    name: "extent",
    encoded: anyExtent.map((extent) => encodeExtent(extent, crc)),
    decode: (bytes) => decodeExtent(stream, start, bytes, crc),
    encode: (extent) => encodeExtent(extent, crc),
    seal: underKey("extent", stream, String(start)),
  },
  {
    name: "object count",
    encoded: fc
      .tuple(anyCount, anyCount, fc.option(anyCount))
      .map(([bytes, liveExtents, deadAtMs]) => encodeCounted("o", { bytes, liveExtents, deadAtMs }, crc)),
    decode: (bytes) => decodeCounted("o", bytes, crc),
    encode: (count) => encodeCounted("o", count, crc),
    seal: underKey("counted", 0, "o"),
  },
  {
    name: "number",
    encoded: anyCount.map((value) => encodeMeta("applied-lsn", value, crc)),
    decode: (bytes) => decodeMeta("applied-lsn", bytes, crc),
    encode: (value) => encodeMeta("applied-lsn", value, crc),
    seal: underKey("meta", 0, "applied-lsn"),
  },
  {
    name: "subscription",
    encoded: anySubscription.map((state) => encodeSubscription({ ...state, id: stream }, crc)),
    decode: (bytes) => decodeSubscription(stream, bytes, crc),
    encode: (state) => encodeSubscription(state, crc),
    seal: underKey("subscription", stream, ""),
  },
  {
    name: "link",
    encoded: anyLink.map((link) => encodeLink(stream, { ...link, path: "a" }, crc)),
    decode: (bytes) => decodeLink(stream, "a", bytes, crc),
    encode: (link) => encodeLink(stream, link, crc),
    seal: underKey("link", stream, "a"),
  },
];

function word(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

/** A place as a share of the bytes, so that it shrinks with them. */
const place = fc.double({ min: 0, max: 0.999_999, noNaN: true });
const anyBytes = fc.uint8Array({ maxLength: 12 });
/** The largest number that a format can hold, one past it, and one that never ends. */
const hugeNumbers = fc.constantFrom(
  Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f),
  Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x10),
  Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0x0f),
  Uint8Array.of(0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00),
  Uint8Array.of(0xff, 0xff, 0xff, 0xff),
);
const change = fc.oneof(
  fc.record({ at: place, remove: fc.nat(8), insert: anyBytes }),
  fc.record({ at: place, remove: fc.nat(8), insert: hugeNumbers }),
  fc.record({ at: place, remove: fc.constant(1), insert: fc.uint8Array({ minLength: 1, maxLength: 1 }) }),
  fc.record({ at: place, remove: fc.constant(1_000_000), insert: fc.constant(new Uint8Array(0)) }),
);
type Change = typeof change extends fc.Arbitrary<infer Value> ? Value : never;
const changes = fc.array(change, { minLength: 1, maxLength: 3 });

function changed(bytes: Uint8Array, all: readonly Change[]): Uint8Array {
  let now = bytes;
  for (const { at, remove, insert } of all) {
    const from = Math.floor(at * now.length);
    now = concat([now.subarray(0, from), insert, now.subarray(Math.min(now.length, from + remove))]);
  }
  return now;
}

/** The decoded value, or undefined when the bytes were refused as damaged. @throws whatever else the decoder throws */
function attempt<Value>(decode: () => Value): Value | undefined {
  try {
    return decode();
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

/** Whether no list in it is longer than `most`. */
function isBounded(value: unknown, most: number): boolean {
  if (Array.isArray(value)) return value.length <= most && value.every((item) => isBounded(item, most));
  if (typeof value !== "object" || value === null) return true;
  return Object.values(value).every((item) => isBounded(item, most));
}

describe.each(formats)("$name", ({ encoded, decode, encode, seal }) => {
  test("refuses what was changed in any way", { timeout: PROPERTY_MS }, () => {
    fc.assert(
      fc.property(encoded, changes, (bytes, all) => {
        const damaged = changed(bytes, all);
        fc.pre(Buffer.compare(damaged, bytes) !== 0);
        const value = attempt(() => decode(damaged));
        // A frame header says where it ends itself, so that bytes behind it are not its.
        if (value !== undefined) expect(damaged.subarray(0, bytes.length)).toEqual(bytes);
      }),
      budget(120),
    );
  });

  test(
    "takes changed bytes with a checksum that fits for what they say, or refuses them",
    { timeout: PROPERTY_MS },
    () => {
      fc.assert(
        fc.property(encoded, changes, (bytes, all) => {
          const body = changed(bytes.subarray(0, -4), all);
          if (body.length >= 4 && seal === overAll && bytes[0] === (bytes.length & 0xff) && bytes.length < 0x1_0000) {
            // A frame header says how long it is.
            body.set(word(body.length + 4), 0);
          }
          const forged = concat([body, word(seal(body))]);
          const value = attempt(() => decode(forged));
          if (value === undefined) return;
          expect(isBounded(value, Math.max(forged.length, 65_536 * 4))).toBe(true);
          const again = encode?.(value as never);
          if (again !== undefined && again.length > 0) expect(decode(again)).toEqual(value);
        }),
        budget(120),
      );
    },
  );

  test("is never read from bytes of no meaning", { timeout: PROPERTY_MS }, () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        expect(attempt(() => decode(concat([bytes, word(seal(bytes) ^ 1)])))).toBe(undefined);
      }),
      budget(60),
    );
  });
});

test("a batch with any of its bits turned over is no batch", { timeout: PROPERTY_MS }, () => {
  const frames = fc.array(fc.oneof(anyFrame, anySubscriptionFrame), { minLength: 1, maxLength: 3 });
  fc.assert(
    fc.property(frames, place, fc.nat(7), (some, at, bit) => {
      const bytes = concat(encodeBatch({ lsn: lsn(8), atMs: 9, frames: some, crc }).buffers);
      const whole = readBatch(bytes, 0, crc);
      expect(whole.kind === "batch" && whole.frames.length).toBe(some.length);
      const byte = Math.floor(at * bytes.length);
      bytes[byte] = (bytes[byte] as number) ^ (1 << bit);
      const damaged = attempt(() => readBatch(bytes, 0, crc));
      expect(damaged === undefined || damaged.kind === "invalid").toBe(true);
    }),
    budget(80),
  );
});

test("a changed batch is the batch that it was, or none", { timeout: PROPERTY_MS }, () => {
  fc.assert(
    fc.property(fc.array(anyFrame, { minLength: 1, maxLength: 3 }), changes, (frames, all) => {
      const bytes = concat(encodeBatch({ lsn: lsn(8), atMs: 9, frames, crc }).buffers);
      const damaged = changed(bytes, all);
      const reading = attempt(() => readBatch(damaged, 0, crc));
      if (reading?.kind === "batch") expect(damaged.subarray(0, reading.end)).toEqual(bytes);
    }),
    budget(120),
  );
});

test("a segment header that was changed is none", { timeout: PROPERTY_MS }, () => {
  fc.assert(
    fc.property(anyCount, changes, (base, all) => {
      const bytes = encodeSegmentHeader({ base: lsn(base), shard: "0123456789abcdef" }, crc);
      const damaged = changed(bytes, all);
      if (decodeSegmentHeader(damaged, crc) !== null) expect(damaged.subarray(0, bytes.length)).toEqual(bytes);
    }),
    budget(200),
  );
});

test("an object's trailer is taken for what it says, or refused", { timeout: PROPERTY_MS }, () => {
  fc.assert(
    fc.property(fc.nat(2 ** 40), fc.nat(0xffff_ffff), changes, (footerAt, footerCrc, all) => {
      const at = footerAt + 16;
      const bytes = encodeTrailer({ footerAt: at, footerBytes: 90, footerCrc, objectBytes: at + 90 + 32 });
      const damaged = changed(bytes, all);
      const value = attempt(() => decodeTrailer(damaged));
      if (value !== undefined) expect(encodeTrailer(value)).toEqual(damaged);
    }),
    budget(200),
  );
});

test("a frame that claims more payload than it has checksums for is refused before its messages are listed", () => {
  const append: Frame = {
    kind: "append",
    stream,
    atMs: 1,
    start,
    lengths: [1],
    payload: [Uint8Array.of(1)],
    producers: [],
    streamSeq: null,
    closed: false,
    closedBy: null,
  };
  const bytes = encodeFrameHeader(append, crc);
  // Fixed part, no producers, no Stream-Seq, no closer: then one run of one message of one byte, and its checksum.
  const fields = bytes.slice(0, 39);
  new DataView(fields.buffer).setUint32(4, 0xffff_ffff, true);
  const body = concat([fields, Uint8Array.of(1, 0xff, 0xff, 0xff, 0xff, 0x0f, 1), new Uint8Array(8)]);
  body.set(word(body.length + 4), 0);
  const forged = concat([body, word(crc(body))]);
  expect(() => decodeFrameHeader(forged, 0, crc)).toThrow(DecodeError);
});
