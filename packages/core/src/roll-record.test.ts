import * as fc from "fast-check";
import { expect, test } from "vitest";
import {
  anyBlocks,
  anyCount,
  anyDigest,
  anyName,
  bitFlips,
  crc,
  cuts,
  fixture,
  sampleIdentity,
} from "../test-support/codec.ts";
import { anySubscriptionDigest, sampleSubscriptionDigest } from "../test-support/subscription.ts";
import { generation, lsn, position } from "./brand.ts";
import { DecodeError } from "./bytes.ts";
import { coldExtents, decodeRollRecord, encodeRollRecord, objectKey, rollKey } from "./roll-record.ts";
import type { RollRecord } from "./roll-record.ts";

const base = lsn(5_000_000_000);
const record: RollRecord = {
  writerId: "0123456789abcdef",
  base,
  end: lsn(5_000_070_000),
  objects: [{ key: objectKey(base, 0), bytes: 70_123, footerCrc: 0xdeadbeef }],
  extents: [
    {
      stream: generation(7),
      start: position(4),
      end: position(300),
      object: 0,
      offset: 16,
      blocks: [{ payloadBytes: 296, tableBytes: 3, crc: 77 }],
    },
  ],
  digests: [
    {
      stream: generation(7),
      created: sampleIdentity,
      start: position(4),
      tail: position(300),
      closed: true,
      closedBy: { id: "writer-é", epoch: 2, seq: 300 },
      streamSeq: "0042",
      producers: [{ id: "writer-é", epoch: 2, seq: 300 }],
      touchedAtMs: 1_760_000_000_000,
      softDeleted: false,
      deleted: false,
      lsn: lsn(5_000_070_000),
    },
    {
      stream: generation(9),
      created: null,
      start: null,
      tail: null,
      closed: false,
      closedBy: null,
      streamSeq: null,
      producers: [],
      touchedAtMs: null,
      softDeleted: false,
      deleted: true,
      lsn: lsn(5_000_060_000),
    },
  ],
  subscriptions: [],
};
const withSubscription: RollRecord = { ...record, subscriptions: [sampleSubscriptionDigest] };

test("a roll's keys order as its numbers do", () => {
  expect(objectKey(base, 12)).toBe("objects/0000005000000000-0012.cbo");
  expect(rollKey(base)).toBe("rolls/0000005000000000.cbr");
});

test("every roll record reads back", () => {
  const anyExtent = fc.record({
    blocks: anyBlocks,
    start: fc.nat(2 ** 50),
    stream: fc.integer({ min: 1 }),
    offset: anyCount,
  });
  fc.assert(
    fc.property(
      anyName,
      fc.array(anyExtent, { maxLength: 5 }),
      fc.array(anyDigest, { maxLength: 5 }),
      fc.array(anySubscriptionDigest, { maxLength: 3 }),
      (writerId, extents, digests, subscriptions) => {
        const some: RollRecord = {
          ...record,
          writerId,
          digests,
          subscriptions,
          extents: extents.map(({ blocks, start, stream, offset }) => {
            const bytes = blocks.reduce((sum, block) => sum + block.payloadBytes, 0);
            const end = position(start + bytes);
            return { stream: generation(stream), start: position(start), end, object: 0, offset, blocks };
          }),
        };
        expect(decodeRollRecord(encodeRollRecord(some, crc), crc)).toEqual(some);
      },
    ),
  );
});

test("every bit flip and every cut of a roll record is detected", () => {
  const bytes = encodeRollRecord(withSubscription, crc);
  for (const damaged of bitFlips(bytes)) expect(() => decodeRollRecord(damaged, crc)).toThrow(DecodeError);
  for (const short of cuts(bytes)) expect(() => decodeRollRecord(short, crc)).toThrow(DecodeError);
});

test("an extent that names an object the record does not have is refused", () => {
  const bytes = encodeRollRecord({ ...record, objects: [] }, crc);
  expect(() => decodeRollRecord(bytes, crc)).toThrow("impossible extent");
});

test("the catalog's extents name their object by key", () => {
  expect(coldExtents(record)).toMatchObject([{ object: objectKey(base, 0), start: 4, end: 300, offset: 16 }]);
});

test("the roll record of version 1 still reads: it knew no soft deletes and no subscriptions", () => {
  const bytes = fixture("roll-record-1");
  expect(decodeRollRecord(bytes, crc)).toEqual(record);
});

test("a roll record of version 2 still reads, and is still written so", () => {
  const bytes = fixture("roll-record-2");
  expect(decodeRollRecord(bytes, crc)).toEqual(withSubscription);
  expect(encodeRollRecord(withSubscription, crc)).toEqual(bytes);
});
