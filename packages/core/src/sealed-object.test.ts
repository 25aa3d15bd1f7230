import * as fc from "fast-check";
import { expect, test } from "vitest";
import { anyPayload, bitFlips, concat, crc, cuts, fixture, same, sampleIdentity } from "../test-support/codec.ts";
import { generation, lsn, position } from "./brand.ts";
import { DecodeError } from "./bytes.ts";
import type { Block } from "./extent.ts";
import { BLOCK_BYTES } from "./limits.ts";
import {
  OBJECT_TRAILER_BYTES,
  checkObjectHeader,
  decodeBlock,
  decodeFooter,
  decodeTrailer,
  encodeBlock,
  encodeFooter,
  encodeObjectHeader,
  encodeTrailer,
  layoutObject,
  sameContent,
  trailerFor,
} from "./sealed-object.ts";
import type { ObjectFooter } from "./sealed-object.ts";

interface Content {
  readonly stream: number;
  readonly start: number;
  readonly payload: Uint8Array;
  readonly lengths: readonly number[];
}

/** A whole object, written as a roller does: sizes first, then blocks with their checksums, then the footer. */
function seal(contents: readonly Content[]): Uint8Array {
  const layout = layoutObject(
    contents.map(({ stream, start, payload, lengths }) => ({
      stream: generation(stream),
      start: position(start),
      end: position(start + payload.length),
      lengths,
    })),
  );
  const pieces = [encodeObjectHeader()];
  const extents = layout.extents.map(({ stream, start, end, offset, blocks: planned }, index) => {
    expect(concat(pieces).length).toBe(offset);
    const { payload } = contents[index] as Content;
    let at = 0;
    const blocks: Block[] = [];
    for (const { payloadBytes, tableBytes, lengths } of planned) {
      const part = payload.subarray(at, at + payloadBytes);
      const { table, block } = encodeBlock([part.subarray(0, 3), part.subarray(3)], lengths, crc);
      expect(block).toMatchObject({ payloadBytes, tableBytes });
      pieces.push(part, table);
      blocks.push(block);
      at += payloadBytes;
    }
    return { identity: { ...sampleIdentity, id: stream }, closed: index === 0, start, end, offset, blocks };
  });
  const footer = encodeFooter({ writerId: "0123456789abcdef", base: lsn(40), end: lsn(90_000), extents });
  const trailer = trailerFor(layout.footerAt, footer, crc);
  const bytes = concat([...pieces, footer, encodeTrailer(trailer)]);
  expect(bytes.length).toBe(trailer.objectBytes);
  return bytes;
}

function footerOf(bytes: Uint8Array): ObjectFooter {
  checkObjectHeader(bytes);
  const trailer = decodeTrailer(bytes.subarray(Math.max(0, bytes.length - OBJECT_TRAILER_BYTES)));
  return decodeFooter(bytes.subarray(trailer.footerAt, trailer.footerAt + trailer.footerBytes), trailer, crc);
}

/** Reads all of an object, verified. */
function unseal(bytes: Uint8Array): Content[] {
  return footerOf(bytes).extents.map(({ identity, start, offset, blocks }) => {
    let at = offset;
    const decoded = blocks.map((block) => {
      const from = at;
      at += block.payloadBytes + block.tableBytes;
      return decodeBlock(bytes.subarray(from, at), block, crc);
    });
    const payload = concat(decoded.map((block) => block.payload));
    return { stream: identity.id, start, payload, lengths: decoded.flatMap((block) => block.lengths) };
  });
}

const text = (value: string): Uint8Array => new Uint8Array(Buffer.from(value));
const sample: Content[] = [
  { stream: 7, start: 4, payload: text("hello, world"), lengths: [5, 2, 5] },
  { stream: 9, start: 5_000_000_000, payload: text("[1],[2],"), lengths: [4, 4] },
];

test("every object reads back", () => {
  const anyContent = fc.record({ stream: fc.integer({ min: 1 }), start: fc.nat(2 ** 40), body: anyPayload });
  fc.assert(
    fc.property(fc.array(anyContent, { maxLength: 4 }), (some) => {
      const contents = some.map(({ stream, start, body }) => ({
        stream,
        start,
        payload: concat(body.payload),
        lengths: body.lengths,
      }));
      const read = unseal(seal(contents));
      expect(read.length).toBe(contents.length);
      for (const [index, { payload, ...rest }] of read.entries()) {
        const { payload: expected, ...fields } = contents[index] as Content;
        expect(rest).toEqual(fields);
        expect(same(payload, expected)).toBe(true);
      }
    }),
    { numRuns: 60 },
  );
});

test("every bit flip in an object is detected", () => {
  for (const damaged of bitFlips(seal(sample))) expect(() => unseal(damaged)).toThrow(DecodeError);
});

test("an object cut at any byte is detected", () => {
  for (const short of cuts(seal(sample))) expect(() => unseal(short)).toThrow(DecodeError);
});

test("blocks end at the first message boundary at or after a multiple of the block size, in stream positions", () => {
  const start = BLOCK_BYTES - 10;
  const lengths = [4, 20, BLOCK_BYTES, 3];
  const end = start + 24 + BLOCK_BYTES + 3;
  const layout = layoutObject([{ stream: generation(1), start: position(start), end: position(end), lengths }]);
  expect(layout.extents[0]?.blocks.map((block) => block.lengths)).toEqual([[4, 20], [BLOCK_BYTES], [3]]);
});

test("an extent whose messages do not fill it is never laid out", () => {
  const extent = { stream: generation(1), start: position(0), end: position(10), lengths: [9] };
  expect(() => layoutObject([extent])).toThrow(RangeError);
});

test("a retry's object is the same though it knows more of the streams, another writer's is not", () => {
  const footer = footerOf(seal(sample));
  const known = footer.extents.map((extent) => ({
    ...extent,
    closed: true,
    identity: { ...extent.identity, path: "" },
  }));
  expect(sameContent(footer, { ...footer, extents: known })).toBe(true);
  expect(sameContent(footer, { ...footer, writerId: "fedcba9876543210" })).toBe(false);
  expect(sameContent(footer, { ...footer, end: lsn(90_001) })).toBe(false);
  expect(sameContent(footer, { ...footer, extents: footer.extents.slice(1) })).toBe(false);
  const rotten = footer.extents.map((extent) => ({
    ...extent,
    blocks: extent.blocks.map((block) => ({ ...block, crc: block.crc ^ 1 })),
  }));
  expect(sameContent(footer, { ...footer, extents: rotten })).toBe(false);
});

test("the sealed object of version 1 still reads, and is still written so", () => {
  const bytes = fixture("sealed-object-1");
  expect(unseal(bytes)).toEqual(sample);
  expect(same(seal(sample), bytes)).toBe(true);
});
