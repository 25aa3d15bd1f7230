/**
 * The sealed object, immutable once created: `header | blocks | footer | trailer`. Sizes are known before the first
 * payload byte is read (layoutObject), so an upload states its length; block CRCs are filled in on the way. The
 * trailer is the last 32 bytes and finds the footer; the footer describes every extent. This file owns version 1.
 */

import { lsn, position } from "./brand.ts";
import type { Generation, Lsn, Position } from "./brand.ts";
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
import type { CodecSteps } from "./bytes.ts";
import { cutBlocks } from "./chunk.ts";
import type { Block } from "./extent.ts";
import { BLOCK_BYTES } from "./limits.ts";
import type { Crc32 } from "./ports.ts";
import { readBlocks, readFlag, readIdentity, writeBlocks, writeFlag, writeIdentity } from "./stream-codec.ts";
import type { StreamIdentity } from "./stream-state.ts";

export const OBJECT_HEADER_BYTES = 16;
export const OBJECT_TRAILER_BYTES = 32;

const VERSION = 1;
/** "CBSO", and "CBSO" "END1": little-endian numbers. */
const MAGIC = 0x4f534243;
const END_MAGIC = 0x31444e45;

/** A block before its checksum is known. */
export interface BlockLayout {
  readonly payloadBytes: number;
  readonly tableBytes: number;
  readonly lengths: readonly number[];
}

export interface ExtentLayout {
  readonly stream: Generation;
  readonly start: Position;
  readonly end: Position;
  /** Where its first block starts in the object. */
  readonly offset: number;
  readonly blocks: readonly BlockLayout[];
}

export interface ObjectLayout {
  readonly extents: readonly ExtentLayout[];
  /** Where the footer starts: bytes of the header and all blocks. */
  readonly footerAt: number;
}

/** Places extents one after the other. `lengths` are the message lengths of each, which sum up to its bytes. */
export function layoutObject(
  extents: Iterable<{
    readonly stream: Generation;
    readonly start: Position;
    readonly end: Position;
    readonly lengths: readonly number[];
  }>,
): ObjectLayout {
  const placed: ExtentLayout[] = [];
  let at = OBJECT_HEADER_BYTES;
  for (const { stream, start, end, lengths } of extents) {
    const offset = at;
    const blocks: BlockLayout[] = [];
    let bytes = 0;
    for (const block of cutBlocks(start, lengths, BLOCK_BYTES)) {
      const tableBytes = lengthsBytes(block.lengths);
      blocks.push({ payloadBytes: block.payloadBytes, tableBytes, lengths: block.lengths });
      bytes += block.payloadBytes;
      at += block.payloadBytes + tableBytes;
    }
    if (bytes !== end - start) {
      throw new RangeError(`stream ${stream}: messages of ${bytes} bytes in an extent of ${end - start}`);
    }
    placed.push({ stream, start, end, offset, blocks });
  }
  return { extents: placed, footerAt: at };
}

export function encodeObjectHeader(): Uint8Array {
  const writer = new ByteWriter(OBJECT_HEADER_BYTES);
  writer.u32(MAGIC);
  writer.u16(VERSION);
  writer.u16(0);
  writer.u64(0);
  return writer.take();
}

/** @throws DecodeError when the first bytes are not those of a sealed object of this version. */
export function checkObjectHeader(bytes: Uint8Array): void {
  const reader = new ByteReader(bytes, 0, Math.min(bytes.length, OBJECT_HEADER_BYTES));
  if (reader.u32() !== MAGIC) throw new DecodeError("not a sealed object", 0);
  const version = reader.u16();
  if (version !== VERSION) throw new DecodeError(`sealed object of unknown version ${version}`, 4);
  if (reader.u16() !== 0 || reader.u64() !== 0) throw new DecodeError("sealed object with unknown flags", 6);
}

/** A block's table, which follows its payload, and the block's facts. `payload` are the payload's pieces in order. */
export function encodeBlock(
  payload: Iterable<Uint8Array>,
  lengths: readonly number[],
  crc: Crc32,
): { table: Uint8Array; block: Block } {
  const writer = new ByteWriter();
  const block = writeTable(writer, payload, lengths, crc);
  return { table: writer.take(), block };
}

/** Writes a block's table and gives the block's facts: for an object of many blocks, whose tables lie in one buffer. */
export function writeTable(
  tables: ByteWriter,
  payload: Iterable<Uint8Array>,
  lengths: readonly number[],
  crc: Crc32,
): Block {
  let payloadBytes = 0;
  let value = 0;
  for (const piece of payload) {
    payloadBytes += piece.length;
    value = crc(piece, value);
  }
  const from = tables.length;
  encodeLengths(tables, lengths);
  const table = tables.written(from);
  return { payloadBytes, tableBytes: table.length, crc: crc(table, value) };
}

/** A block's payload (not a copy) and its message lengths. `bytes` are exactly the block's. @throws DecodeError */
export function decodeBlock(bytes: Uint8Array, block: Block, crc: Crc32): { payload: Uint8Array; lengths: number[] } {
  if (bytes.length !== block.payloadBytes + block.tableBytes) {
    throw new DecodeError(`block of ${bytes.length} bytes, not ${block.payloadBytes + block.tableBytes}`, 0);
  }
  if (crc(bytes) !== block.crc) throw new DecodeError("block fails its checksum", 0);
  const reader = new ByteReader(bytes, block.payloadBytes);
  const lengths = decodeLengths(reader, block.payloadBytes);
  reader.finish();
  return { payload: bytes.subarray(0, block.payloadBytes), lengths };
}

export interface FooterExtent {
  /** What was known of the stream when the object was written; its path is "" when nothing was. */
  readonly identity: StreamIdentity;
  readonly closed: boolean;
  readonly start: Position;
  readonly end: Position;
  readonly offset: number;
  readonly blocks: readonly Block[];
}

export interface ObjectFooter {
  /** Who wrote the object: a random id of the server's data directory. */
  readonly writerId: string;
  /** The WAL segment [base, end) that the object was rolled from. */
  readonly base: Lsn;
  readonly end: Lsn;
  readonly extents: readonly FooterExtent[];
}

/** Its size depends on nothing but the sizes and numbers in it, not on the CRCs. */
export function encodeFooter(footer: ObjectFooter): Uint8Array {
  return runAtOnce(footerSteps(footer));
}

/** The same, an extent at a time: there may be hundreds of thousands. */
export function* footerSteps(footer: ObjectFooter): CodecSteps<Uint8Array> {
  const writer = new ByteWriter(64 + footer.extents.length * 128);
  writer.string(footer.writerId);
  writer.u64(footer.base);
  writer.u64(footer.end);
  writer.varint(footer.extents.length);
  for (const extent of footer.extents) {
    writeIdentity(writer, extent.identity);
    writeFlag(writer, extent.closed);
    writer.varint(extent.start);
    writer.varint(extent.end);
    writer.varint(extent.offset);
    writeBlocks(writer, extent.blocks);
    yield;
  }
  return writer.take();
}

/** `bytes` are exactly the footer's. @throws DecodeError */
export function decodeFooter(bytes: Uint8Array, trailer: ObjectTrailer, crc: Crc32): ObjectFooter {
  if (bytes.length !== trailer.footerBytes || crc(bytes) !== trailer.footerCrc) {
    throw new DecodeError("object footer fails its checksum", 0);
  }
  const reader = new ByteReader(bytes);
  const writerId = reader.string();
  const base = lsn(reader.u64());
  const end = lsn(reader.u64());
  const extents: FooterExtent[] = [];
  for (let count = reader.varint(); count > 0; count--) extents.push(readExtent(reader));
  reader.finish();
  return { writerId, base, end, extents };
}

function readExtent(reader: ByteReader): FooterExtent {
  const at = reader.at;
  const identity = readIdentity(reader);
  const closed = readFlag(reader);
  const start = position(reader.varint());
  const end = position(reader.varint());
  if (end < start) throw new DecodeError("extent ends before it starts", at);
  return { identity, closed, start, end, offset: reader.varint(), blocks: readBlocks(reader, end - start) };
}

export interface ObjectTrailer {
  readonly footerAt: number;
  readonly footerBytes: number;
  readonly footerCrc: number;
  /** Size of the whole object. */
  readonly objectBytes: number;
}

/** The trailer's facts for a footer that starts at `footerAt`. */
export function trailerFor(footerAt: number, footer: Uint8Array, crc: Crc32): ObjectTrailer {
  return runAtOnce(trailerSteps(footerAt, footer, crc));
}

/** The same, a part of the checksum at a time. */
export function* trailerSteps(footerAt: number, footer: Uint8Array, crc: Crc32): CodecSteps<ObjectTrailer> {
  const footerBytes = footer.length;
  const footerCrc = yield* crcSteps(footer, crc);
  return { footerAt, footerBytes, footerCrc, objectBytes: footerAt + footerBytes + OBJECT_TRAILER_BYTES };
}

export function encodeTrailer(trailer: ObjectTrailer): Uint8Array {
  const writer = new ByteWriter(OBJECT_TRAILER_BYTES);
  writer.u64(trailer.footerAt);
  writer.u32(trailer.footerBytes);
  writer.u32(trailer.footerCrc);
  writer.u64(trailer.objectBytes);
  writer.u32(MAGIC);
  writer.u32(END_MAGIC);
  return writer.take();
}

/** `bytes` are the object's last 32. The footer's own CRC and the sizes, which must agree, guard it. @throws DecodeError */
export function decodeTrailer(bytes: Uint8Array): ObjectTrailer {
  const reader = new ByteReader(bytes);
  const trailer: ObjectTrailer = {
    footerAt: reader.u64(),
    footerBytes: reader.u32(),
    footerCrc: reader.u32(),
    objectBytes: reader.u64(),
  };
  if (reader.u32() !== MAGIC || reader.u32() !== END_MAGIC) throw new DecodeError("not a sealed object's trailer", 24);
  reader.finish();
  const end = trailer.footerAt + trailer.footerBytes + OBJECT_TRAILER_BYTES;
  if (trailer.footerAt < OBJECT_HEADER_BYTES || end !== trailer.objectBytes) {
    throw new DecodeError("sizes in the object's trailer do not agree", 0);
  }
  return trailer;
}

function sameBlocks(left: readonly Block[], right: readonly Block[]): boolean {
  return (
    left.length === right.length &&
    left.every((block, index) => {
      const other = right[index] as Block;
      return (
        block.payloadBytes === other.payloadBytes && block.tableBytes === other.tableBytes && block.crc === other.crc
      );
    })
  );
}

/**
 * Whether two footers stand for the same roll by the same writer: the same bytes at the same places. What was known of
 * the streams may differ, because a retry may know more or less of them.
 */
export function sameContent(left: ObjectFooter, right: ObjectFooter): boolean {
  return (
    left.writerId === right.writerId &&
    left.base === right.base &&
    left.end === right.end &&
    left.extents.length === right.extents.length &&
    left.extents.every((extent, index) => {
      const other = right.extents[index] as FooterExtent;
      return (
        extent.identity.id === other.identity.id &&
        extent.start === other.start &&
        extent.end === other.end &&
        extent.offset === other.offset &&
        sameBlocks(extent.blocks, other.blocks)
      );
    })
  );
}
