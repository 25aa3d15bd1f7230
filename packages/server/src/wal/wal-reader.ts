/**
 * Verified reads of WAL payloads. Every byte handed out was covered by a checksum that held: the frame header's own, and
 * the header's checksum of each 64 KiB of payload. What the memory tail still holds is not read again.
 */
import { crc32 } from "node:zlib";
import { BLOCK_BYTES, DecodeError, decodeFrameHeader, StreamError, verifyPayload } from "@coldbrook/core";
import type { FrameHeader, HotExtent, HotReader } from "@coldbrook/core";
import type { Wal } from "./wal.ts";

/** Frames of one stream that lie closer than this are fetched by one read. */
const COALESCE_GAP_BYTES = 16 * 1024;
const COALESCED_READ_BYTES_MAX = 1024 * 1024;

/** The part of one frame that a read needs: the header and whole payload blocks, as one range of the file. */
interface Span {
  readonly extent: HotExtent;
  readonly from: number;
  readonly to: number;
  /** First and last (exclusive) payload byte to fetch, on block boundaries. */
  readonly blockFrom: number;
  readonly blockTo: number;
}

export class WalReader implements HotReader {
  readonly #wal: Wal;

  constructor(wal: Wal) {
    this.#wal = wal;
  }

  async lengths(extent: HotExtent): Promise<readonly number[]> {
    return lengthsOf(extent, await this.#wal.read(extent.segment, extent.headerAt, extent.headerBytes));
  }

  /** What `lengths` resolves with, in this very turn. Throws the same. */
  lengthsNow(extent: HotExtent): readonly number[] {
    return lengthsOf(extent, this.#wal.readNow(extent.segment, extent.headerAt, extent.headerBytes));
  }

  /** What `read` resolves with, in this very turn and frame by frame. Throws the same. */
  readNow(extents: readonly HotExtent[], from: number, to: number): Uint8Array {
    const out = Buffer.allocUnsafeSlow(to - from);
    let filled = 0;
    for (const extent of extents) {
      if (extent.start >= to || extent.end <= from) continue;
      const part = span(extent, from, to);
      out.set(extent.memory === null ? this.#readInsideNow(part) : fromMemory(part, extent.memory), filled);
      filled += part.to - part.from;
    }
    if (filled !== to - from) throw shortOf(filled, to - from);
    return out;
  }

  async read(extents: readonly HotExtent[], from: number, to: number): Promise<Uint8Array> {
    const spans = extents.filter((e) => e.start < to && e.end > from).map((e) => span(e, from, to));
    const only = spans.length === 1 ? spans[0] : undefined;
    if (only !== undefined) {
      // One frame needs no copy: its bytes lie together already.
      const part = only.extent.memory === null ? await this.#readInside(only) : fromMemory(only, only.extent.memory);
      if (part.length !== to - from) throw shortOf(part.length, to - from);
      return part;
    }
    const out = Buffer.allocUnsafeSlow(to - from);
    let filled = 0;
    for (let i = 0; i < spans.length;) {
      const first = spans[i]!;
      if (first.extent.memory !== null) {
        out.set(fromMemory(first, first.extent.memory), filled);
        filled += first.to - first.from;
        i += 1;
        continue;
      }
      if (first.blockFrom > 0) {
        out.set(await this.#readInside(first), filled);
        filled += first.to - first.from;
        i += 1;
        continue;
      }
      const group = coalesce(spans, i);
      filled += await this.#readGroup(spans.slice(i, group), out, filled);
      i = group;
    }
    if (filled !== to - from) throw shortOf(filled, to - from);
    return out;
  }

  /** A part of one frame; where it does not start with the payload, the header and the blocks are two reads. */
  async #readInside(part: Span): Promise<Uint8Array> {
    const { segment, headerAt, headerBytes } = part.extent;
    if (part.blockFrom === 0) {
      const bytes = await this.#wal.read(segment, headerAt, headerBytes + part.blockTo);
      return this.#verified(part, decodeHeader(bytes, 0, part.extent), bytes.subarray(headerBytes));
    }
    const [head, blocks] = await Promise.all([
      this.#wal.read(segment, headerAt, headerBytes),
      this.#wal.read(segment, headerAt + headerBytes + part.blockFrom, part.blockTo - part.blockFrom),
    ]);
    return this.#verified(part, decodeHeader(head, 0, part.extent), blocks);
  }

  #readInsideNow(part: Span): Uint8Array {
    const { segment, headerAt, headerBytes } = part.extent;
    const head = this.#wal.readNow(segment, headerAt, headerBytes);
    const blocks = this.#wal.readNow(segment, headerAt + headerBytes + part.blockFrom, part.blockTo - part.blockFrom);
    return this.#verified(part, decodeHeader(head, 0, part.extent), blocks);
  }

  #verified(part: Span, header: FrameHeader, blocks: Uint8Array): Uint8Array {
    if (!verifyPayload(header, blocks, part.blockFrom / BLOCK_BYTES, crc32)) throw corrupt(part.extent, "payload");
    return blocks.subarray(part.from - part.blockFrom, part.to - part.blockFrom);
  }

  /** Whole starts of frames that lie close together. */
  async #readGroup(spans: readonly Span[], out: Uint8Array, filledBefore: number): Promise<number> {
    const base = spans[0]!.extent.headerAt;
    const end = spanEnd(spans.at(-1)!);
    const bytes = await this.#wal.read(spans[0]!.extent.segment, base, end - base);
    let filled = filledBefore;
    for (const part of spans) {
      const headerAt = part.extent.headerAt - base;
      const header = decodeHeader(bytes, headerAt, part.extent);
      const payloadAt = headerAt + part.extent.headerBytes;
      const blocks = bytes.subarray(payloadAt, payloadAt + part.blockTo);
      if (!verifyPayload(header, blocks, 0, crc32)) throw corrupt(part.extent, "payload");
      out.set(bytes.subarray(payloadAt + part.from, payloadAt + part.to), filled);
      filled += part.to - part.from;
    }
    return filled - filledBefore;
  }
}

function lengthsOf(extent: HotExtent, bytes: Uint8Array): readonly number[] {
  const header = decodeHeader(bytes, 0, extent);
  if (!("lengths" in header)) throw corrupt(extent, `a ${header.kind} frame has no payload`);
  return header.lengths;
}

function span(extent: HotExtent, from: number, to: number): Span {
  const first = Math.max(0, from - extent.start);
  const last = Math.min(extent.end, to) - extent.start;
  const blockTo = Math.min(extent.end - extent.start, Math.ceil(last / BLOCK_BYTES) * BLOCK_BYTES);
  return { extent, from: first, to: last, blockFrom: Math.floor(first / BLOCK_BYTES) * BLOCK_BYTES, blockTo };
}

function spanEnd(part: Span): number {
  return part.extent.headerAt + part.extent.headerBytes + part.blockTo;
}

function fromMemory(part: Span, memory: Uint8Array): Uint8Array {
  return memory.subarray(part.from, part.to);
}

/** Index past the last span that one read takes together with `spans[first]`. */
function coalesce(spans: readonly Span[], first: number): number {
  const start = spans[first]!.extent.headerAt;
  let end = spanEnd(spans[first]!);
  let next = first + 1;
  for (; next < spans.length; next++) {
    const candidate = spans[next]!;
    if (candidate.extent.memory !== null || candidate.extent.segment !== spans[first]!.extent.segment) break;
    if (candidate.extent.headerAt - end > COALESCE_GAP_BYTES || spanEnd(candidate) - start > COALESCED_READ_BYTES_MAX)
      break;
    end = spanEnd(candidate);
  }
  return next;
}

function shortOf(found: number, wanted: number): StreamError {
  return new StreamError("gone", `WAL extents hold ${found} of ${wanted} bytes asked for`);
}

function decodeHeader(bytes: Uint8Array, at: number, extent: HotExtent): FrameHeader {
  try {
    return decodeFrameHeader(bytes, at, crc32);
  } catch (error) {
    if (error instanceof DecodeError) throw corrupt(extent, `header (${error.message})`);
    throw error;
  }
}

function corrupt(extent: HotExtent, what: string): StreamError {
  const file = `${String(extent.segment).padStart(16, "0")}.wal`;
  return new StreamError(
    "corrupt-wal",
    `WAL segment ${file}: the frame at position ${extent.headerAt} fails its checksum (${what}); its bytes were not served`,
  );
}
