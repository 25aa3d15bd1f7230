/**
 * Values of the catalog, one encoding for each key kind. A value is `version u8 | fields | crc u32`; the CRC starts
 * with the kind and the key, so that a value read under another key fails as a damaged one does. The key's own
 * fields are not repeated. Every decoder throws DecodeError.
 */

import { lsn, position } from "./brand.ts";
import type { Generation, Lsn, Position } from "./brand.ts";
import { ByteReader, ByteWriter, DecodeError } from "./bytes.ts";
import type { ColdExtent } from "./extent.ts";
import type { Crc32 } from "./ports.ts";
import {
  readBlocks,
  readFlag,
  readIdentity,
  readNullableNumber,
  readNullableProducer,
  readNullableString,
  writeBlocks,
  writeFlag,
  writeIdentity,
  writeNullableNumber,
  writeNullableProducer,
  writeNullableString,
} from "./stream-codec.ts";
import type { ProducerState, StreamState } from "./stream-state.ts";

const KIND = { stream: 1, producer: 2, extent: 3, counted: 4, meta: 5, subscription: 16, link: 17 } as const;

/** Of every kind but a stream's. */
const VERSION = 1;
/** Version 1 knew no soft-deleted streams. */
const STREAM_VERSION = 2;

/** The bytes that stand for a key in its value's checksum. */
function keyBytes(kind: keyof typeof KIND, id: number, name: string): Uint8Array {
  const writer = new ByteWriter();
  writer.u8(KIND[kind]);
  writer.varint(id);
  writer.string(name);
  return writer.take();
}

function open(version: number = VERSION): ByteWriter {
  const writer = new ByteWriter(128);
  writer.u8(version);
  return writer;
}

function close(writer: ByteWriter, key: Uint8Array, crc: Crc32): Uint8Array {
  writer.u32(crc(writer.written(), crc(key)));
  return writer.take();
}

/** A reader of the fields of a value whose checksum holds; its version, `versionMax` at most, is its first byte. */
function check(bytes: Uint8Array, key: Uint8Array, crc: Crc32, versionMax: number = VERSION): ByteReader {
  const crcAt = bytes.length - 4;
  if (crcAt < 1) throw new DecodeError(`catalog value of ${bytes.length} bytes`, 0);
  if (crc(bytes.subarray(0, crcAt), crc(key)) !== new ByteReader(bytes, crcAt).u32()) {
    throw new DecodeError("catalog value fails its checksum", crcAt);
  }
  const reader = new ByteReader(bytes, 0, crcAt);
  const version = reader.u8();
  if (version < 1 || version > versionMax) throw new DecodeError(`catalog value of unknown version ${version}`, 0);
  return reader;
}

const streamKey: Uint8Array = keyBytes("stream", 0, "");

/** A stream's state; the value carries the stream's id itself, because paths and ids both lead to it. */
export function encodeStreamRecord(state: StreamState, crc: Crc32): Uint8Array {
  const writer = open(STREAM_VERSION);
  writeIdentity(writer, state.identity);
  writer.varint(state.tail);
  writer.varint(state.horizon);
  writeFlag(writer, state.closed);
  writeNullableProducer(writer, state.closedBy);
  writeNullableString(writer, state.streamSeq);
  writer.varint(state.touchedAtMs);
  writeFlag(writer, state.softDeleted);
  writeFlag(writer, state.deleted);
  writer.varint(state.lsn);
  return close(writer, streamKey, crc);
}

export function decodeStreamRecord(bytes: Uint8Array, crc: Crc32): StreamState {
  const reader = check(bytes, streamKey, crc, STREAM_VERSION);
  const state: StreamState = {
    identity: readIdentity(reader),
    tail: position(reader.varint()),
    horizon: position(reader.varint()),
    closed: readFlag(reader),
    closedBy: readNullableProducer(reader),
    streamSeq: readNullableString(reader),
    touchedAtMs: reader.varint(),
    softDeleted: bytes[0] === 1 ? false : readFlag(reader),
    deleted: readFlag(reader),
    lsn: lsn(reader.varint()),
  };
  reader.finish();
  return state;
}

/** A producer's state, and the LSN just past the frame that set it. */
export interface ProducerRecord extends ProducerState {
  readonly lsn: Lsn;
}

export function encodeProducer(stream: Generation, id: string, record: ProducerRecord, crc: Crc32): Uint8Array {
  const writer = open();
  writer.varint(record.epoch);
  writer.varint(record.seq);
  writer.varint(record.lsn);
  return close(writer, keyBytes("producer", stream, id), crc);
}

export function decodeProducer(stream: Generation, id: string, bytes: Uint8Array, crc: Crc32): ProducerRecord {
  const reader = check(bytes, keyBytes("producer", stream, id), crc);
  const record: ProducerRecord = { epoch: reader.varint(), seq: reader.varint(), lsn: lsn(reader.varint()) };
  reader.finish();
  return record;
}

function extentKey(stream: Generation, start: Position): Uint8Array {
  return keyBytes("extent", stream, String(start));
}

/** A cold extent; its key is (stream, start). */
export function encodeExtent(extent: ColdExtent, crc: Crc32): Uint8Array {
  const writer = open();
  writer.varint(extent.end - extent.start);
  writer.string(extent.object);
  writer.varint(extent.offset);
  writeBlocks(writer, extent.blocks);
  return close(writer, extentKey(extent.stream, extent.start), crc);
}

export function decodeExtent(stream: Generation, start: Position, bytes: Uint8Array, crc: Crc32): ColdExtent {
  const reader = check(bytes, extentKey(stream, start), crc);
  const length = reader.varint();
  if (start + length > Number.MAX_SAFE_INTEGER) throw new DecodeError("extent passes the last position", 1);
  const end = position(start + length);
  const extent: ColdExtent = {
    stream,
    start,
    end,
    object: reader.string(),
    offset: reader.varint(),
    blocks: readBlocks(reader, length),
  };
  reader.finish();
  return extent;
}

/** What the collector must know of a sealed object; its key is the object's key. */
export interface ObjectCount {
  readonly bytes: number;
  /** Extents of streams that are not yet given back. */
  readonly liveExtents: number;
  /** When the last of them went, in milliseconds since 1970; null while there are any. */
  readonly deadAtMs: number | null;
}

export function encodeCounted(object: string, count: ObjectCount, crc: Crc32): Uint8Array {
  const writer = open();
  writer.varint(count.bytes);
  writer.varint(count.liveExtents);
  writeNullableNumber(writer, count.deadAtMs);
  return close(writer, keyBytes("counted", 0, object), crc);
}

export function decodeCounted(object: string, bytes: Uint8Array, crc: Crc32): ObjectCount {
  const reader = check(bytes, keyBytes("counted", 0, object), crc);
  const count: ObjectCount = {
    bytes: reader.varint(),
    liveExtents: reader.varint(),
    deadAtMs: readNullableNumber(reader),
  };
  reader.finish();
  return count;
}

/** One named integer of 0 … 2^53-1, such as the applied LSN or the next generation. */
export function encodeMeta(name: string, value: number, crc: Crc32): Uint8Array {
  const writer = open();
  writer.varint(value);
  return close(writer, keyBytes("meta", 0, name), crc);
}

export function decodeMeta(name: string, bytes: Uint8Array, crc: Crc32): number {
  const reader = check(bytes, keyBytes("meta", 0, name), crc);
  const value = reader.varint();
  reader.finish();
  return value;
}

/** What the files need that own other key kinds' values. */
export { check as checkCatalogValue, close as closeCatalogValue, keyBytes as catalogKey, open as openCatalogValue };
