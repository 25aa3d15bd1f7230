/**
 * The roll record: the last object of a roll to be created, and its proof. `magic "CBRR" | version u16 | flags u16 |
 * fields | crc u32`, the CRC over all before it. All records in order plus the WAL that is not yet rolled make the
 * whole catalog. This file owns version 2, reads version 1, and owns the keys of a roll.
 */

import { generation, lsn, position } from "./brand.ts";
import type { Generation, Lsn, Position } from "./brand.ts";
import { ByteReader, ByteWriter, DecodeError, crcSteps, runAtOnce } from "./bytes.ts";
import type { CodecSteps } from "./bytes.ts";
import type { Block, ColdExtent } from "./extent.ts";
import type { Crc32 } from "./ports.ts";
import type { StreamDigest } from "./replay.ts";
import {
  readBlocks,
  readFlag,
  readIdentity,
  readNullableNumber,
  readNullableProducer,
  readNullableString,
  readProducers,
  writeBlocks,
  writeFlag,
  writeIdentity,
  writeNullableNumber,
  writeNullableProducer,
  writeNullableString,
  writeProducers,
} from "./stream-codec.ts";
import { readSubscriptionDigest, writeSubscriptionDigest } from "./subscription-codec.ts";
import type { SubscriptionDigest } from "./subscription-replay.ts";

/** Version 1 knew no soft-deleted streams and no subscriptions. */
const VERSION = 2;
/** "CBRR", read as a little-endian number. */
const MAGIC = 0x52524243;

export interface RolledObject {
  /** Key below the shard's prefix. */
  readonly key: string;
  readonly bytes: number;
  readonly footerCrc: number;
}

export interface RolledExtent {
  readonly stream: Generation;
  readonly start: Position;
  readonly end: Position;
  /** Index in the record's `objects`. */
  readonly object: number;
  readonly offset: number;
  readonly blocks: readonly Block[];
}

export interface RollRecord {
  readonly writerId: string;
  /** The WAL segment [base, end). */
  readonly base: Lsn;
  readonly end: Lsn;
  readonly objects: readonly RolledObject[];
  readonly extents: readonly RolledExtent[];
  readonly digests: readonly StreamDigest[];
  readonly subscriptions: readonly SubscriptionDigest[];
}

function digits(value: number, count: number): string {
  return String(value).padStart(count, "0");
}

/** Key of a roll's object number `index`, which starts at 0. */
export function objectKey(base: Lsn, index: number): string {
  return `objects/${digits(base, 16)}-${digits(index, 4)}.cbo`;
}

/** Key of the roll record of the segment that starts at `base`. */
export function rollKey(base: Lsn): string {
  return `rolls/${digits(base, 16)}.cbr`;
}

/** The record's extents as the catalog keeps them. */
export function coldExtents(record: RollRecord): ColdExtent[] {
  return record.extents.map(({ stream, start, end, object, offset, blocks }) => {
    const { key } = record.objects[object] as RolledObject;
    return { stream, start, end, object: key, offset, blocks };
  });
}

function writeDigest(writer: ByteWriter, digest: StreamDigest): void {
  writer.varint(digest.stream);
  writeFlag(writer, digest.created !== null);
  if (digest.created !== null) writeIdentity(writer, digest.created);
  writeNullableNumber(writer, digest.start);
  writeNullableNumber(writer, digest.tail);
  writeFlag(writer, digest.closed);
  writeNullableProducer(writer, digest.closedBy);
  writeNullableString(writer, digest.streamSeq);
  writeProducers(writer, digest.producers);
  writeNullableNumber(writer, digest.touchedAtMs);
  writeFlag(writer, digest.softDeleted);
  writeFlag(writer, digest.deleted);
  writer.varint(digest.lsn);
}

function readNullablePosition(reader: ByteReader): Position | null {
  const value = readNullableNumber(reader);
  return value === null ? null : position(value);
}

function readDigest(reader: ByteReader, version: number): StreamDigest {
  return {
    stream: generation(reader.varint()),
    created: readFlag(reader) ? readIdentity(reader) : null,
    start: readNullablePosition(reader),
    tail: readNullablePosition(reader),
    closed: readFlag(reader),
    closedBy: readNullableProducer(reader),
    streamSeq: readNullableString(reader),
    producers: readProducers(reader),
    touchedAtMs: readNullableNumber(reader),
    softDeleted: version === 1 ? false : readFlag(reader),
    deleted: readFlag(reader),
    lsn: lsn(reader.varint()),
  };
}

function readExtent(reader: ByteReader, objects: number): RolledExtent {
  const at = reader.at;
  const stream = generation(reader.varint());
  const start = position(reader.varint());
  const end = position(reader.varint());
  const object = reader.varint();
  if (end < start || object >= objects) throw new DecodeError("roll record with an impossible extent", at);
  return { stream, start, end, object, offset: reader.varint(), blocks: readBlocks(reader, end - start) };
}

export function encodeRollRecord(record: RollRecord, crc: Crc32): Uint8Array {
  return runAtOnce(rollRecordSteps(record, crc));
}

/** The same, an extent or a digest at a time: there may be hundreds of thousands. */
export function* rollRecordSteps(record: RollRecord, crc: Crc32): CodecSteps<Uint8Array> {
  const writer = new ByteWriter(128 + (record.extents.length + record.digests.length) * 64);
  writer.u32(MAGIC);
  writer.u16(VERSION);
  writer.u16(0);
  writer.string(record.writerId);
  writer.u64(record.base);
  writer.u64(record.end);
  writer.varint(record.objects.length);
  for (const object of record.objects) {
    writer.string(object.key);
    writer.varint(object.bytes);
    writer.u32(object.footerCrc);
  }
  writer.varint(record.extents.length);
  for (const extent of record.extents) {
    writer.varint(extent.stream);
    writer.varint(extent.start);
    writer.varint(extent.end);
    writer.varint(extent.object);
    writer.varint(extent.offset);
    writeBlocks(writer, extent.blocks);
    yield;
  }
  writer.varint(record.digests.length);
  for (const digest of record.digests) {
    writeDigest(writer, digest);
    yield;
  }
  writer.varint(record.subscriptions.length);
  for (const digest of record.subscriptions) {
    writeSubscriptionDigest(writer, digest);
    yield;
  }
  writer.u32(yield* crcSteps(writer.written(), crc));
  return writer.take();
}

/** @throws DecodeError */
export function decodeRollRecord(bytes: Uint8Array, crc: Crc32): RollRecord {
  const crcAt = bytes.length - 4;
  if (crcAt < 8) throw new DecodeError(`roll record of ${bytes.length} bytes`, 0);
  const reader = new ByteReader(bytes, 0, crcAt);
  if (reader.u32() !== MAGIC) throw new DecodeError("not a roll record", 0);
  if (crc(bytes.subarray(0, crcAt)) !== new ByteReader(bytes, crcAt).u32()) {
    throw new DecodeError("roll record fails its checksum", crcAt);
  }
  const version = reader.u16();
  if (version < 1 || version > VERSION || reader.u16() !== 0) {
    throw new DecodeError(`roll record of unknown version ${version} or flags`, 4);
  }
  const writerId = reader.string();
  const base = lsn(reader.u64());
  const end = lsn(reader.u64());
  const objects: RolledObject[] = [];
  for (let count = reader.varint(); count > 0; count--) {
    objects.push({ key: reader.string(), bytes: reader.varint(), footerCrc: reader.u32() });
  }
  const extents: RolledExtent[] = [];
  for (let count = reader.varint(); count > 0; count--) extents.push(readExtent(reader, objects.length));
  const digests: StreamDigest[] = [];
  for (let count = reader.varint(); count > 0; count--) digests.push(readDigest(reader, version));
  const subscriptions: SubscriptionDigest[] = [];
  for (let count = version === 1 ? 0 : reader.varint(); count > 0; count--) {
    subscriptions.push(readSubscriptionDigest(reader));
  }
  reader.finish();
  return { writerId, base, end, objects, extents, digests, subscriptions };
}
