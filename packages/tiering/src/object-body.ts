import {
  BLOCK_BYTES,
  ByteWriter,
  OBJECT_HEADER_BYTES,
  cutBlocks,
  encodeObjectHeader,
  encodeTrailer,
  footerSteps,
  objectKey,
  trailerSteps,
  writeTable,
  type Block,
  type Crc32,
  type FooterExtent,
  type Generation,
  type ObjectFooter,
  type PlannedExtent,
  type StreamIdentity,
} from "@coldbrook/core";
import type { SegmentPlan } from "./segment-plan.ts";
import type { TimeSlice } from "./time-slice.ts";

/** An upload's body is yielded in pieces of this many bytes. */
const PIECE_BYTES = 256 * 1024;

/** A sealed object that is ready for its upload. Its payload is read from the WAL segment's bytes each time. */
export interface EncodedObject {
  readonly key: string;
  readonly bytes: number;
  readonly footer: ObjectFooter;
  /** The footer as it is written. */
  readonly footerBytes: Uint8Array;
  readonly footerCrc: number;
  readonly body: () => AsyncGenerator<Uint8Array, void, undefined>;
}

export interface EncodeOptions {
  readonly crc: Crc32;
  readonly writerId: string;
  readonly identities: (id: Generation) => StreamIdentity | undefined;
}

/** Encodes object number `index` of a roll: all checksums and the footer, so that its size is known before its upload. */
export async function encodeObject(
  plan: SegmentPlan,
  index: number,
  options: EncodeOptions,
  slice: TimeSlice,
): Promise<EncodedObject> {
  const { extents: planned } = plan.roll.objects[index]!;
  // All tables in one buffer: a small one for each of hundreds of thousands would keep the garbage collector busy.
  const writer = new ByteWriter(planned.length * 4);
  const extents: FooterExtent[] = [];
  let at = OBJECT_HEADER_BYTES;
  for (const extent of planned) {
    const offset = at;
    const blocks: Block[] = [];
    const payload = new PayloadCursor(plan.bytes, extent);
    for (const cut of cutBlocks(extent.start, extent.lengths, BLOCK_BYTES)) {
      if (slice.over) await slice.rest();
      const block = writeTable(writer, payload.take(cut.payloadBytes), cut.lengths, options.crc);
      blocks.push(block);
      at += block.payloadBytes + block.tableBytes;
    }
    const { stream, start, end } = extent;
    extents.push({
      identity: options.identities(stream) ?? unknownIdentity(stream),
      closed: plan.closed.has(stream),
      start,
      end,
      offset,
      blocks,
    });
  }
  const footer: ObjectFooter = { writerId: options.writerId, base: plan.base, end: plan.end, extents };
  const footerBytes = await slice.run(footerSteps(footer));
  const trailer = await slice.run(trailerSteps(at, footerBytes, options.crc));
  const tables = writer.take();
  const parts = function* (): Generator<Uint8Array, void, undefined> {
    yield encodeObjectHeader();
    let tableAt = 0;
    for (const [number, extent] of planned.entries()) {
      const payload = new PayloadCursor(plan.bytes, extent);
      for (const block of extents[number]!.blocks) {
        yield* payload.take(block.payloadBytes);
        yield tables.subarray(tableAt, tableAt + block.tableBytes);
        tableAt += block.tableBytes;
      }
    }
    yield footerBytes;
    yield encodeTrailer(trailer);
  };
  return {
    key: objectKey(plan.base, index),
    bytes: trailer.objectBytes,
    footer,
    footerBytes,
    footerCrc: trailer.footerCrc,
    body: () => inPieces(parts(), slice),
  };
}

/** A stream's payload in a WAL segment, taken from its start to its end. */
class PayloadCursor {
  readonly #bytes: Uint8Array;
  /** Byte position, bytes, byte position, bytes, … in the segment. */
  readonly #sources: readonly number[];
  #source = 0;
  #taken = 0;

  constructor(bytes: Uint8Array, extent: PlannedExtent) {
    this.#bytes = bytes;
    this.#sources = extent.sources;
  }

  /** The next `bytes` of the stream, as views of the segment's bytes. */
  *take(bytes: number): Generator<Uint8Array, void, undefined> {
    let left = bytes;
    while (left > 0) {
      const at = this.#sources[this.#source];
      const size = this.#sources[this.#source + 1];
      if (at === undefined || size === undefined) throw new RangeError(`the extent's sources end ${left} bytes early`);
      const count = Math.min(left, size - this.#taken);
      yield this.#bytes.subarray(at + this.#taken, at + this.#taken + count);
      left -= count;
      this.#taken += count;
      if (this.#taken === size) {
        this.#source += 2;
        this.#taken = 0;
      }
    }
  }
}

/** Joins small parts and splits large ones; the pieces are fresh, so a store may keep them until they are sent. */
async function* inPieces(parts: Iterable<Uint8Array>, slice: TimeSlice): AsyncGenerator<Uint8Array, void, undefined> {
  let piece = new Uint8Array(PIECE_BYTES);
  let filled = 0;
  for (const part of parts) {
    let taken = 0;
    while (taken < part.length) {
      const count = Math.min(part.length - taken, PIECE_BYTES - filled);
      piece.set(count === part.length ? part : part.subarray(taken, taken + count), filled);
      taken += count;
      filled += count;
      if (filled < PIECE_BYTES) continue;
      yield piece;
      if (slice.over) await slice.rest();
      piece = new Uint8Array(PIECE_BYTES);
      filled = 0;
    }
  }
  if (filled > 0) yield piece.subarray(0, filled);
}

/** Stands for a stream that was deleted between its last append and its roll; its extent is garbage at once. */
function unknownIdentity(id: Generation): StreamIdentity {
  return {
    id,
    path: "",
    config: { contentType: "application/octet-stream", ttlSeconds: null, expiresAtMs: null },
    createdAtMs: 0,
    lineage: [],
  };
}
