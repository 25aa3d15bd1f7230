/**
 * The WAL frame: one stream's part of one group commit, header then payload. All that an operation changes is in one
 * frame, so that a crash keeps all of it or nothing (invariant 3). This file owns the header's bytes (batch version 1).
 */

import { generation, position } from "./brand.ts";
import type { Generation, Position } from "./brand.ts";
import { ByteReader, ByteWriter, DecodeError, decodeLengths, encodeLengths } from "./bytes.ts";
import { BLOCK_BYTES } from "./limits.ts";
import type { Crc32 } from "./ports.ts";
import {
  readConfig,
  readLineage,
  readNullableProducer,
  readNullableString,
  readProducers,
  writeConfig,
  writeLineage,
  writeNullableProducer,
  writeNullableString,
  writeProducers,
} from "./stream-codec.ts";
import type { LineageEntry, ProducerTuple, StreamConfig } from "./stream-state.ts";
import { readSubscriptionFields, writeSubscriptionFields } from "./subscription-codec.ts";
import type { SubscriptionFrame } from "./subscription.ts";

interface FrameBase {
  readonly stream: Generation;
  /** When the operation was decided, in milliseconds since 1970. */
  readonly atMs: number;
}

interface FramePayload {
  /** Stream position of the payload's first byte. */
  readonly start: Position;
  /** Lengths of the payload's messages in bytes; they sum up to the payload's length. */
  readonly lengths: readonly number[];
}

interface CreateFields extends FrameBase, FramePayload {
  readonly kind: "create";
  readonly path: string;
  readonly config: StreamConfig;
  readonly lineage: readonly LineageEntry[];
  readonly closed: boolean;
}

interface AppendFields extends FrameBase, FramePayload {
  readonly kind: "append";
  /** Latest state of every producer that took part. */
  readonly producers: readonly ProducerTuple[];
  /** Highest Stream-Seq accepted, when one was sent. */
  readonly streamSeq: string | null;
  /** This frame closes the stream after its payload. */
  readonly closed: boolean;
  readonly closedBy: ProducerTuple | null;
}

export interface DeleteFrame extends FrameBase {
  readonly kind: "delete";
  readonly reason: "request" | "expired";
}

/** The stream was deleted while forks referred to it: nobody reads it by its name any more, and its bytes stay. */
export interface SoftDeleteFrame extends FrameBase {
  readonly kind: "soft-delete";
  readonly reason: "request" | "expired";
}

/** A sliding TTL was renewed at `atMs`. */
export interface TouchFrame extends FrameBase {
  readonly kind: "touch";
}

interface Payload {
  /** The payload's pieces in order; empty pieces are allowed. */
  readonly payload: readonly Uint8Array[];
}

export interface CreateFrame extends CreateFields, Payload {}
export interface AppendFrame extends AppendFields, Payload {}
export type Frame = CreateFrame | AppendFrame | DeleteFrame | SoftDeleteFrame | TouchFrame | SubscriptionFrame;

interface Encoded {
  /** Bytes of the header, its CRC included; the payload follows at once. */
  readonly headerBytes: number;
  readonly payloadBytes: number;
  /** One CRC for each BLOCK_BYTES of payload, counted from its first byte; the last block may be short. */
  readonly blockCrcs: readonly number[];
}

export interface CreateHeader extends CreateFields, Encoded {}
export interface AppendHeader extends AppendFields, Encoded {}
export interface DeleteHeader extends DeleteFrame, Encoded {}
export interface SoftDeleteHeader extends SoftDeleteFrame, Encoded {}
export interface TouchHeader extends TouchFrame, Encoded {}
export interface SubscriptionHeader extends SubscriptionFrame, Encoded {}
/** A frame without its payload. */
export type FrameHeader =
  | CreateHeader
  | AppendHeader
  | DeleteHeader
  | SoftDeleteHeader
  | TouchHeader
  | SubscriptionHeader;

/** Bytes before the kind-specific fields. */
const FIXED_BYTES = 36;
/** A header's least size: the fixed part, an empty length table and the CRC. */
export const FRAME_HEADER_BYTES_MIN: number = FIXED_BYTES + 5;

const KIND = { create: 1, append: 2, delete: 3, touch: 4, "soft-delete": 6, subscription: 16 } as const;

/** A create whose stream inherits bytes: a version that knows no forks must refuse it. */
const FORK = 5;

/** The one flag: a create or append closes the stream, a delete came from expiry. Others have none. */
const FLAG = 1;

const noPayload: readonly Uint8Array[] = [];
const noLengths: readonly number[] = [];

function frameFlag(frame: Frame): number {
  if (frame.kind === "touch" || frame.kind === "subscription") return 0;
  const isDelete = frame.kind === "delete" || frame.kind === "soft-delete";
  return (isDelete ? frame.reason === "expired" : frame.closed) ? FLAG : 0;
}

function writeFields(writer: ByteWriter, frame: Frame): void {
  if (frame.kind === "append") {
    writeProducers(writer, frame.producers);
    writeNullableString(writer, frame.streamSeq);
    writeNullableProducer(writer, frame.closedBy);
  } else if (frame.kind === "create") {
    writer.string(frame.path);
    writeConfig(writer, frame.config);
    writeLineage(writer, frame.lineage);
  } else if (frame.kind === "subscription") {
    writeSubscriptionFields(writer, frame);
  }
}

function writeBlockCrcs(writer: ByteWriter, payload: readonly Uint8Array[], crc: Crc32): void {
  let value = 0;
  let filled = 0;
  for (const piece of payload) {
    let from = 0;
    while (from < piece.length) {
      const to = Math.min(piece.length, from + BLOCK_BYTES - filled);
      value = crc(from === 0 && to === piece.length ? piece : piece.subarray(from, to), value);
      filled += to - from;
      from = to;
      if (filled === BLOCK_BYTES) {
        writer.u32(value);
        value = 0;
        filled = 0;
      }
    }
  }
  if (filled > 0) writer.u32(value);
}

function bytesOf(pieces: readonly Uint8Array[]): number {
  let bytes = 0;
  for (const piece of pieces) bytes += piece.length;
  return bytes;
}

function checkLengths(lengths: readonly number[], bytes: number): void {
  let sum = 0;
  for (const length of lengths) sum += length;
  if (sum !== bytes) throw new RangeError(`message lengths sum up to ${sum}, the payload has ${bytes} bytes`);
}

/** Writes the header of `frame` at the writer's end and returns its size in bytes. @throws RangeError on impossible fields. */
export function encodeFrameHeaderInto(writer: ByteWriter, frame: Frame, crc: Crc32): number {
  const carries = frame.kind === "append" || frame.kind === "create";
  const payload = carries ? frame.payload : noPayload;
  const lengths = carries ? frame.lengths : noLengths;
  const payloadBytes = bytesOf(payload);
  checkLengths(lengths, payloadBytes);
  const at = writer.length;
  writer.u32(0);
  writer.u32(payloadBytes);
  writer.u8(frame.kind === "create" && frame.lineage.length > 1 ? FORK : KIND[frame.kind]);
  writer.u8(frameFlag(frame));
  writer.u16(0);
  writer.u64(frame.stream);
  writer.u64(frame.atMs);
  writer.u64(carries ? frame.start : 0);
  writeFields(writer, frame);
  encodeLengths(writer, lengths);
  writeBlockCrcs(writer, payload, crc);
  const headerBytes = writer.length - at + 4;
  writer.patchU32(at, headerBytes);
  writer.u32(crc(writer.written(at)));
  return headerBytes;
}

/** The header of `frame` in a buffer of its own. */
export function encodeFrameHeader(frame: Frame, crc: Crc32): Uint8Array {
  const writer = new ByteWriter(128);
  encodeFrameHeaderInto(writer, frame, crc);
  return writer.take();
}

function readKind(reader: ByteReader, at: number): Frame["kind"] {
  const code = reader.u8();
  switch (code) {
    case KIND.create:
    case FORK:
      return "create";
    case KIND.append:
      return "append";
    case KIND.delete:
      return "delete";
    case KIND["soft-delete"]:
      return "soft-delete";
    case KIND.touch:
      return "touch";
    case KIND.subscription:
      return "subscription";
    default:
      throw new DecodeError(`frame of unknown kind ${code}`, at);
  }
}

function readPayloadFields(reader: ByteReader, payloadBytes: number): { lengths: number[]; blockCrcs: number[] } {
  // A few bytes can stand for any number of messages; the checksums, one for each block, cannot be fewer than they say.
  if (Math.ceil(payloadBytes / BLOCK_BYTES) * 4 > reader.remaining) {
    throw new DecodeError(`frame header too short for a payload of ${payloadBytes} bytes`, reader.at);
  }
  const lengths = decodeLengths(reader, payloadBytes);
  const blockCrcs: number[] = [];
  for (let from = 0; from < payloadBytes; from += BLOCK_BYTES) blockCrcs.push(reader.u32());
  return { lengths, blockCrcs };
}

interface Fixed {
  readonly headerBytes: number;
  readonly payloadBytes: number;
  readonly flag: boolean;
  readonly stream: Generation;
  readonly atMs: number;
  readonly start: Position;
}

function readCreate(reader: ByteReader, fixed: Fixed): CreateHeader {
  const { headerBytes, payloadBytes, flag: closed, stream, atMs, start } = fixed;
  const path = reader.string();
  const config = readConfig(reader);
  const lineage = readLineage(reader);
  const { lengths, blockCrcs } = readPayloadFields(reader, payloadBytes);
  const what = { stream, atMs, start, lengths, path, config, lineage, closed };
  return { kind: "create", ...what, headerBytes, payloadBytes, blockCrcs };
}

function readAppend(reader: ByteReader, fixed: Fixed): AppendHeader {
  const { headerBytes, payloadBytes, flag: closed, stream, atMs, start } = fixed;
  const producers = readProducers(reader);
  const streamSeq = readNullableString(reader);
  const closedBy = readNullableProducer(reader);
  const { lengths, blockCrcs } = readPayloadFields(reader, payloadBytes);
  const what = { stream, atMs, start, lengths, producers, streamSeq, closed, closedBy };
  return { kind: "append", ...what, headerBytes, payloadBytes, blockCrcs };
}

function readBare(
  reader: ByteReader,
  kind: "delete" | "soft-delete" | "touch",
  fixed: Fixed,
  at: number,
): DeleteHeader | SoftDeleteHeader | TouchHeader {
  const { headerBytes, payloadBytes, flag, stream, atMs, start } = fixed;
  if (payloadBytes !== 0 || start !== 0) throw new DecodeError(`${kind} frame with a payload`, at);
  const { blockCrcs } = readPayloadFields(reader, 0);
  if (kind === "touch") return { kind, stream, atMs, headerBytes, payloadBytes, blockCrcs };
  const reason = flag ? "expired" : "request";
  return { kind, stream, atMs, reason, headerBytes, payloadBytes, blockCrcs };
}

function readSubscription(reader: ByteReader, fixed: Fixed, at: number): SubscriptionHeader {
  const { headerBytes, payloadBytes, stream, atMs, start } = fixed;
  if (payloadBytes !== 0 || start !== 0) throw new DecodeError("subscription frame with a payload", at);
  const fields = readSubscriptionFields(reader);
  const { blockCrcs } = readPayloadFields(reader, 0);
  return { kind: "subscription", stream, atMs, ...fields, headerBytes, payloadBytes, blockCrcs };
}

function readKindFields(reader: ByteReader, kind: Frame["kind"], fixed: Fixed, at: number): FrameHeader {
  switch (kind) {
    case "create":
      return readCreate(reader, fixed);
    case "append":
      return readAppend(reader, fixed);
    case "subscription":
      return readSubscription(reader, fixed, at);
    default:
      return readBare(reader, kind, fixed, at);
  }
}

/** The header that starts at byte `at`; its CRC is checked before anything in it is believed. @throws DecodeError */
export function decodeFrameHeader(bytes: Uint8Array, at: number, crc: Crc32): FrameHeader {
  const headerBytes = new ByteReader(bytes, at).u32();
  if (headerBytes < FRAME_HEADER_BYTES_MIN) throw new DecodeError(`frame header of ${headerBytes} bytes`, at);
  const crcAt = at + headerBytes - 4;
  if (crcAt + 4 > bytes.length) throw new DecodeError(`frame header of ${headerBytes} bytes is cut short`, at);
  if (crc(bytes.subarray(at, crcAt)) !== new ByteReader(bytes, crcAt).u32()) {
    throw new DecodeError("frame header fails its checksum", at);
  }
  const reader = new ByteReader(bytes, at + 4, crcAt);
  const payloadBytes = reader.u32();
  const kind = readKind(reader, at);
  const flags = reader.u8();
  if (flags > (kind === "touch" || kind === "subscription" ? 0 : FLAG) || reader.u16() !== 0)
    throw new DecodeError(`${kind} frame with unknown flags`, at);
  const stream = generation(reader.u64());
  const atMs = reader.u64();
  const start = position(reader.u64());
  if (start + payloadBytes > Number.MAX_SAFE_INTEGER) throw new DecodeError("frame passes the last position", at);
  const fixed: Fixed = { headerBytes, payloadBytes, flag: flags === FLAG, stream, atMs, start };
  const header = readKindFields(reader, kind, fixed, at);
  reader.finish();
  return header;
}

/** Whether `payload`, which starts at block `fromBlock` and ends with a block or with the payload, is what was written. */
export function verifyPayload(header: FrameHeader, payload: Uint8Array, fromBlock: number, crc: Crc32): boolean {
  const from = fromBlock * BLOCK_BYTES;
  const whole = payload.length % BLOCK_BYTES === 0 || from + payload.length === header.payloadBytes;
  if (!whole || from + payload.length > header.payloadBytes) return false;
  for (let at = 0, block = fromBlock; at < payload.length; at += BLOCK_BYTES, block++) {
    if (crc(payload.subarray(at, Math.min(at + BLOCK_BYTES, payload.length))) !== header.blockCrcs[block]) return false;
  }
  return true;
}
