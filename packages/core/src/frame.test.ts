import * as fc from "fast-check";
import { expect, test } from "vitest";
import { anyFrame, bitFlips, concat, crc, cuts, sampleFrames } from "../test-support/codec.ts";
import { generation, position } from "./brand.ts";
import { DecodeError } from "./bytes.ts";
import { decodeFrameHeader, encodeFrameHeader, verifyPayload } from "./frame.ts";
import type { AppendFrame, Frame } from "./frame.ts";
import { BLOCK_BYTES } from "./limits.ts";

function payloadOf(frame: Frame): Uint8Array {
  return frame.kind === "append" || frame.kind === "create" ? concat(frame.payload) : new Uint8Array();
}

function append(payload: Uint8Array): AppendFrame {
  const lengths = payload.length === 0 ? [] : [payload.length];
  const rest = { producers: [], streamSeq: null, closed: false, closedBy: null };
  return { kind: "append", stream: generation(1), atMs: 1, start: position(0), lengths, payload: [payload], ...rest };
}

test("every frame header reads back with its payload's size and checksums", () => {
  fc.assert(
    fc.property(anyFrame, fc.nat(9), (frame, before) => {
      const encoded = encodeFrameHeader(frame, crc);
      const bytes = concat([new Uint8Array(before).fill(255), encoded, new Uint8Array(3).fill(255)]);
      const header = decodeFrameHeader(bytes, before, crc);
      const { blockCrcs, headerBytes, payloadBytes, ...fields } = header;
      const { payload: _, ...expected } = { payload: [], ...frame };
      expect(fields).toEqual(expected);
      const payload = payloadOf(frame);
      expect(headerBytes).toBe(encoded.length);
      expect(payloadBytes).toBe(payload.length);
      expect(blockCrcs.length).toBe(Math.ceil(payload.length / BLOCK_BYTES));
      expect(verifyPayload(header, payload, 0, crc)).toBe(true);
    }),
    { numRuns: 200 },
  );
});

test("every bit flip and every cut of a frame header is detected", () => {
  for (const frame of sampleFrames) {
    const bytes = encodeFrameHeader(frame, crc);
    for (const damaged of bitFlips(bytes)) expect(() => decodeFrameHeader(damaged, 0, crc)).toThrow(DecodeError);
    for (const short of cuts(bytes)) expect(() => decodeFrameHeader(short, 0, crc)).toThrow(DecodeError);
  }
});

test("any run of whole blocks of a payload can be verified alone, and a damaged one cannot", () => {
  const payload = new Uint8Array(BLOCK_BYTES * 2 + 100).map((_, index) => index % 251);
  const header = decodeFrameHeader(encodeFrameHeader(append(payload), crc), 0, crc);
  for (const [from, to] of [
    [0, 1],
    [1, 2],
    [0, 2],
    [2, 3],
    [1, 3],
    [0, 3],
  ] as const) {
    const part = payload.slice(from * BLOCK_BYTES, to * BLOCK_BYTES);
    expect(verifyPayload(header, part, from, crc)).toBe(true);
    part[part.length - 1] = 252;
    expect(verifyPayload(header, part, from, crc)).toBe(false);
  }
});

test("a part of a block, or bytes past the payload, do not verify", () => {
  const payload = new Uint8Array(BLOCK_BYTES + 100);
  const header = decodeFrameHeader(encodeFrameHeader(append(payload), crc), 0, crc);
  expect(verifyPayload(header, payload.subarray(0, BLOCK_BYTES - 1), 0, crc)).toBe(false);
  expect(verifyPayload(header, payload.subarray(0, BLOCK_BYTES), 1, crc)).toBe(false);
  expect(verifyPayload(header, new Uint8Array(BLOCK_BYTES * 2), 0, crc)).toBe(false);
});

test("message lengths that do not sum up to the payload are never written", () => {
  expect(() => encodeFrameHeader({ ...append(new Uint8Array(5)), lengths: [4] }, crc)).toThrow(RangeError);
  expect(() => encodeFrameHeader({ ...append(new Uint8Array(5)), lengths: [5, 0] }, crc)).toThrow(RangeError);
});

test.each([0, 7, 15, 64, 255])("a frame of unknown kind %d is an error that names the kind", (kind) => {
  const bytes = encodeFrameHeader({ kind: "touch", stream: generation(1), atMs: 1 }, crc);
  bytes[8] = kind;
  new DataView(bytes.buffer).setUint32(bytes.length - 4, crc(bytes.subarray(0, -4)), true);
  expect(() => decodeFrameHeader(bytes, 0, crc)).toThrow(`unknown kind ${kind}`);
});
