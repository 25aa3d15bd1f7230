/**
 * The WAL batch (one group commit: a header, then its frames) and the header of a WAL segment file. A batch counts
 * only as a whole: it is the unit in which recovery judges a torn tail. This file owns both headers' bytes, version 1.
 */

import { lsn as toLsn } from "./brand.ts";
import type { Lsn } from "./brand.ts";
import { ByteReader, ByteWriter, DecodeError } from "./bytes.ts";
import { FRAME_HEADER_BYTES_MIN, decodeFrameHeader, encodeFrameHeaderInto, verifyPayload } from "./frame.ts";
import type { Frame, FrameHeader } from "./frame.ts";
import { BLOCK_BYTES } from "./limits.ts";
import type { Crc32 } from "./ports.ts";

export const BATCH_HEADER_BYTES = 44;
export const SEGMENT_HEADER_BYTES = 40;
export const WAL_VERSION = 1;

const SHARD_BYTES = 16;
/** "CBWB" and "CBWL", read as little-endian numbers. */
const BATCH_MAGIC = 0x42574243;
const SEGMENT_MAGIC = 0x4c574243;
/** A typical small frame's header and payload. */
const FRAME_BYTES_GUESS = 256;

export interface BatchHeader {
  /** Size of the whole batch, this header included. */
  readonly batchBytes: number;
  readonly frameCount: number;
  /** LSN of the batch's first byte. */
  readonly lsn: Lsn;
  /** When the batch was closed for its write, in milliseconds since 1970. */
  readonly atMs: number;
  /** CRC over all frame headers, one after the other. */
  readonly framesCrc: number;
}

/** Where a frame lies; `headerAt` is counted from the batch's first byte, and the payload follows its header. */
export interface Placement {
  readonly headerAt: number;
  readonly headerBytes: number;
  readonly payloadBytes: number;
}

export interface EncodedBatch {
  /** To be written one after the other. Payload pieces of 64 KiB and more are the caller's own, not copies. */
  readonly buffers: Uint8Array[];
  readonly bytes: number;
  /** One for each frame, in order. */
  readonly placements: Placement[];
}

/** Writes the header with what is known before the frames; `finishBatchHeader` fills in the rest. */
function startBatchHeader(writer: ByteWriter, frameCount: number, lsn: Lsn, atMs: number): void {
  writer.u32(BATCH_MAGIC);
  writer.u16(WAL_VERSION);
  writer.u16(0);
  writer.u32(0);
  writer.u32(frameCount);
  writer.u64(lsn);
  writer.u64(atMs);
  writer.u32(0);
  writer.u32(0);
  writer.u32(0);
}

function finishBatchHeader(writer: ByteWriter, batchBytes: number, framesCrc: number, crc: Crc32): void {
  writer.patchU32(8, batchBytes);
  writer.patchU32(32, framesCrc);
  writer.patchU32(40, crc(writer.written(0, 40)));
}

function capacityFor(frames: readonly Frame[]): number {
  let bytes = BATCH_HEADER_BYTES + frames.length * FRAME_BYTES_GUESS;
  for (const frame of frames) {
    if (frame.kind !== "append" && frame.kind !== "create") continue;
    for (const piece of frame.payload) if (piece.length < BLOCK_BYTES) bytes += piece.length;
  }
  return bytes;
}

/** One batch of at least one frame. @throws RangeError when it does not fit 32 bits or a frame is impossible. */
export function encodeBatch(batch: { lsn: Lsn; atMs: number; frames: readonly Frame[]; crc: Crc32 }): EncodedBatch {
  const { frames, crc } = batch;
  if (frames.length === 0) throw new RangeError("a batch without frames");
  const writer = new ByteWriter(capacityFor(frames));
  startBatchHeader(writer, frames.length, batch.lsn, batch.atMs);
  const placements: Placement[] = [];
  /** Large payload pieces, and how many bytes of `writer` come before each. */
  const large: Uint8Array[] = [];
  const cuts: number[] = [];
  let largeBytes = 0;
  let framesCrc = 0;
  for (const frame of frames) {
    const at = writer.length;
    const headerBytes = encodeFrameHeaderInto(writer, frame, crc);
    framesCrc = crc(writer.written(at), framesCrc);
    let payloadBytes = 0;
    if (frame.kind === "append" || frame.kind === "create") {
      const headerAt = at + largeBytes;
      for (const piece of frame.payload) {
        payloadBytes += piece.length;
        if (piece.length < BLOCK_BYTES) {
          writer.bytes(piece);
        } else {
          large.push(piece);
          cuts.push(writer.length);
          largeBytes += piece.length;
        }
      }
      placements.push({ headerAt, headerBytes, payloadBytes });
    } else {
      placements.push({ headerAt: at + largeBytes, headerBytes, payloadBytes });
    }
  }
  const bytes = writer.length + largeBytes;
  finishBatchHeader(writer, bytes, framesCrc, crc);
  return { buffers: interleave(writer.take(), cuts, large), bytes, placements };
}

function interleave(small: Uint8Array, cuts: readonly number[], large: readonly Uint8Array[]): Uint8Array[] {
  const buffers: Uint8Array[] = [];
  let from = 0;
  for (const [index, piece] of large.entries()) {
    const cut = cuts[index] as number;
    if (cut > from) buffers.push(small.subarray(from, cut));
    buffers.push(piece);
    from = cut;
  }
  if (from < small.length) buffers.push(small.subarray(from));
  return buffers;
}

/**
 * The batch header at byte `at`, or null when there is none that can be believed. @throws DecodeError when its checksum
 * holds and its version is unknown: a later version wrote it.
 */
export function decodeBatchHeader(bytes: Uint8Array, at: number, crc: Crc32): BatchHeader | null {
  if (at < 0 || at + BATCH_HEADER_BYTES > bytes.length) return null;
  const reader = new ByteReader(bytes, at, at + BATCH_HEADER_BYTES);
  if (reader.u32() !== BATCH_MAGIC) return null;
  if (crc(bytes.subarray(at, at + 40)) !== new ByteReader(bytes, at + 40).u32()) return null;
  const version = reader.u16();
  if (version !== WAL_VERSION || reader.u16() !== 0) {
    throw new DecodeError(`WAL batch of unknown version ${version} or flags`, at);
  }
  const batchBytes = reader.u32();
  const frameCount = reader.u32();
  if (frameCount === 0 || batchBytes < BATCH_HEADER_BYTES + frameCount * FRAME_HEADER_BYTES_MIN) return null;
  const lsn = toLsn(reader.u64());
  return { batchBytes, frameCount, lsn, atMs: reader.u64(), framesCrc: reader.u32() };
}

export interface BatchFrame {
  readonly header: FrameHeader;
  /** Positions in the bytes that were read. */
  readonly headerAt: number;
  readonly payloadAt: number;
}

export type BatchReading =
  | { readonly kind: "batch"; readonly header: BatchHeader; readonly frames: BatchFrame[]; readonly end: number }
  /** Not a whole, undamaged batch: a torn tail or rot, which the caller tells apart. */
  | { readonly kind: "invalid"; readonly reason: string }
  | { readonly kind: "end" };

/** Finds the frames by their sizes alone; null when they do not fill the batch exactly or fail the batch's checksum. */
function frameHeads(bytes: Uint8Array, at: number, header: BatchHeader, crc: Crc32): number[] | null {
  const end = at + header.batchBytes;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const heads: number[] = [];
  let next = at + BATCH_HEADER_BYTES;
  let framesCrc = 0;
  while (next < end) {
    if (end - next < FRAME_HEADER_BYTES_MIN) return null;
    const headerBytes = view.getUint32(next, true);
    const frameEnd = next + headerBytes + view.getUint32(next + 4, true);
    if (headerBytes < FRAME_HEADER_BYTES_MIN || frameEnd > end) return null;
    framesCrc = crc(bytes.subarray(next, next + headerBytes), framesCrc);
    heads.push(next);
    next = frameEnd;
  }
  return framesCrc === header.framesCrc && heads.length === header.frameCount ? heads : null;
}

/**
 * The batch at byte `at`, every checksum verified. @throws DecodeError when all header checksums hold and yet a field
 * or kind is unknown: a later version wrote it, and it must not be taken for a torn tail.
 */
export function readBatch(bytes: Uint8Array, at: number, crc: Crc32): BatchReading {
  if (at === bytes.length) return { kind: "end" };
  const header = decodeBatchHeader(bytes, at, crc);
  if (header === null) return { kind: "invalid", reason: "no valid batch header" };
  const end = at + header.batchBytes;
  if (end > bytes.length) {
    return { kind: "invalid", reason: `batch of ${header.batchBytes} bytes, ${bytes.length - at} are there` };
  }
  const heads = frameHeads(bytes, at, header, crc);
  if (heads === null) return { kind: "invalid", reason: "frame headers fail the batch's checksum" };
  const frames: BatchFrame[] = [];
  for (const headerAt of heads) {
    const frame = decodeFrameHeader(bytes, headerAt, crc);
    const payloadAt = headerAt + frame.headerBytes;
    if (!verifyPayload(frame, bytes.subarray(payloadAt, payloadAt + frame.payloadBytes), 0, crc)) {
      return { kind: "invalid", reason: `payload of the frame at byte ${headerAt} fails its checksum` };
    }
    frames.push({ header: frame, headerAt, payloadAt });
  }
  return { kind: "batch", header, frames, end };
}

export interface SegmentHeader {
  /** Not WAL_VERSION when a later version wrote the file; the caller refuses it by name. */
  readonly version: number;
  readonly base: Lsn;
  readonly shard: string;
}

/** `shard` is an id of at most 16 ASCII characters. @throws RangeError */
export function encodeSegmentHeader(header: { base: Lsn; shard: string }, crc: Crc32): Uint8Array {
  if (!/^[\x21-\x7e]{0,16}$/.test(header.shard)) throw new RangeError(`shard id does not fit: ${header.shard}`);
  const writer = new ByteWriter(SEGMENT_HEADER_BYTES);
  writer.u32(SEGMENT_MAGIC);
  writer.u16(WAL_VERSION);
  writer.u16(0);
  writer.u64(header.base);
  for (let index = 0; index < SHARD_BYTES; index++) {
    writer.u8(index < header.shard.length ? header.shard.charCodeAt(index) : 0);
  }
  writer.u32(0);
  writer.u32(crc(writer.written()));
  return writer.take();
}

/** The header in the first 40 bytes of a segment file, or null when it is not one or fails its checksum. */
export function decodeSegmentHeader(bytes: Uint8Array, crc: Crc32): SegmentHeader | null {
  if (bytes.length < SEGMENT_HEADER_BYTES) return null;
  const reader = new ByteReader(bytes, 0, SEGMENT_HEADER_BYTES);
  const crcAt = SEGMENT_HEADER_BYTES - 4;
  if (reader.u32() !== SEGMENT_MAGIC) return null;
  if (crc(bytes.subarray(0, crcAt)) !== new ByteReader(bytes, crcAt).u32()) return null;
  const version = reader.u16();
  reader.u16();
  const base = toLsn(reader.u64());
  let shard = "";
  for (let index = 0; index < SHARD_BYTES; index++) {
    const code = reader.u8();
    if (code !== 0) shard += String.fromCharCode(code);
  }
  return { version, base, shard };
}
