import * as fc from "fast-check";
import { expect, test } from "vitest";
import { bitFlips, concat, crc, cuts, fixture } from "../test-support/codec.ts";
import {
  anyLink,
  anySubscription,
  anySubscriptionDigest,
  anySubscriptionFrame,
  sampleLink,
  sampleSubscription,
  sampleSubscriptionFrames,
  subscription,
} from "../test-support/subscription.ts";
import { generation } from "./brand.ts";
import { ByteReader, ByteWriter, DecodeError } from "./bytes.ts";
import { decodeFrameHeader, encodeFrameHeader } from "./frame.ts";
import { applyFrame } from "./replay.ts";
import {
  decodeLink,
  decodeSubscription,
  encodeLink,
  encodeSubscription,
  readSubscriptionDigest,
  writeSubscriptionDigest,
} from "./subscription-codec.ts";

const kinds: [name: string, value: unknown, encoded: Uint8Array, decode: (bytes: Uint8Array) => unknown][] = [
  [
    "subscription",
    sampleSubscription,
    encodeSubscription(sampleSubscription, crc),
    (bytes) => decodeSubscription(subscription, bytes, crc),
  ],
  [
    "link",
    sampleLink,
    encodeLink(subscription, sampleLink, crc),
    (bytes) => decodeLink(subscription, sampleLink.path, bytes, crc),
  ],
];

test.each(kinds)("every bit flip and every cut of a %s value is detected", (_, value, encoded, decode) => {
  expect(decode(encoded)).toEqual(value);
  for (const damaged of bitFlips(encoded)) expect(() => decode(damaged)).toThrow(DecodeError);
  for (const short of cuts(encoded)) expect(() => decode(short)).toThrow(DecodeError);
});

test.each(kinds)("a %s value of version 1 still reads, and is still written so", (name, value, encoded, decode) => {
  const bytes = fixture(`catalog-${name}-1`);
  expect(decode(bytes)).toEqual(value);
  expect(encoded).toEqual(bytes);
});

test("a value under another key is as bad as a damaged one", () => {
  const head = encodeSubscription(sampleSubscription, crc);
  const link = encodeLink(subscription, sampleLink, crc);
  expect(() => decodeSubscription(generation(10), head, crc)).toThrow(DecodeError);
  expect(() => decodeLink(generation(10), sampleLink.path, link, crc)).toThrow(DecodeError);
  expect(() => decodeLink(subscription, "events/b", link, crc)).toThrow(DecodeError);
});

test("every subscription, link, digest and frame reads back", () => {
  fc.assert(
    fc.property(anySubscription, anyLink, anySubscriptionDigest, anySubscriptionFrame, (state, link, digest, frame) => {
      expect(decodeSubscription(state.id, encodeSubscription(state, crc), crc)).toEqual(state);
      expect(decodeLink(state.id, link.path, encodeLink(state.id, link, crc), crc)).toEqual(link);
      const writer = new ByteWriter();
      writeSubscriptionDigest(writer, digest);
      const reader = new ByteReader(writer.take());
      expect(readSubscriptionDigest(reader)).toEqual(digest);
      reader.finish();
      const header = encodeFrameHeader(frame, crc);
      expect(decodeFrameHeader(header, 0, crc)).toEqual({
        ...frame,
        headerBytes: header.length,
        payloadBytes: 0,
        blockCrcs: [],
      });
    }),
  );
});

test("subscription frames as they were first written still read, and are still written so", () => {
  const bytes = fixture("subscription-frames-1");
  let at = 0;
  for (const frame of sampleSubscriptionFrames) {
    const header = decodeFrameHeader(bytes, at, crc);
    expect(header).toMatchObject(frame);
    at += header.headerBytes;
  }
  expect(at).toBe(bytes.length);
  expect(concat(sampleSubscriptionFrames.map((frame) => encodeFrameHeader(frame, crc)))).toEqual(bytes);
});

test("every bit flip and every cut of a subscription frame is detected", () => {
  const bytes = encodeFrameHeader(sampleSubscriptionFrames[1]!, crc);
  for (const damaged of bitFlips(bytes)) expect(() => decodeFrameHeader(damaged, 0, crc)).toThrow(DecodeError);
  for (const short of cuts(bytes)) expect(() => decodeFrameHeader(short, 0, crc)).toThrow(DecodeError);
});

/** A frame whose bytes were changed and whose checksum fits them all the same. */
function forged(change: (bytes: Uint8Array) => void): Uint8Array {
  const bytes = encodeFrameHeader(sampleSubscriptionFrames[1]!, crc).slice();
  change(bytes);
  new DataView(bytes.buffer).setUint32(bytes.length - 4, crc(bytes.subarray(0, -4)), true);
  return bytes;
}

test.each<[string, (bytes: Uint8Array) => void]>([
  ["a flag", (bytes) => (bytes[9] = 1)],
  ["a payload", (bytes) => (bytes[4] = 1)],
  ["a start", (bytes) => (bytes[28] = 1)],
])("a subscription frame with %s is refused", (_, change) => {
  expect(() => decodeFrameHeader(forged(change), 0, crc)).toThrow(DecodeError);
});

test("a link that is of no kind can neither be written nor read", () => {
  const nothing = { ...sampleLink, explicit: false, glob: false };
  expect(() => encodeLink(subscription, nothing, crc)).toThrow(RangeError);
});

test("a subscription's frame is no stream's", () => {
  const frame = sampleSubscriptionFrames[0]!;
  const header = decodeFrameHeader(encodeFrameHeader(frame, crc), 0, crc);
  expect(() => applyFrame(undefined, header, sampleSubscription.lsn)).toThrow(
    expect.objectContaining({ code: "corrupt-wal" }),
  );
});
