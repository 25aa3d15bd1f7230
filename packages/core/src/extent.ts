import type { Generation, Lsn, Position } from "./brand.ts";

/**
 * A run of whole messages inside a sealed object: `payloadBytes` of stored bytes, then `tableBytes` of encoded message
 * lengths, `crc` over both. Blocks end at the first message boundary at or after a multiple of BLOCK_BYTES (of stream
 * positions), or at the end of their extent, so that chunk boundaries are block boundaries.
 */
export interface Block {
  readonly payloadBytes: number;
  readonly tableBytes: number;
  readonly crc: number;
}

/** Contiguous bytes of one stream in a sealed object. `offset` is where its first block starts in the object. */
export interface ColdExtent {
  readonly stream: Generation;
  readonly start: Position;
  readonly end: Position;
  /** Key of the object below the shard's prefix. */
  readonly object: string;
  readonly offset: number;
  readonly blocks: readonly Block[];
}

/** Contiguous bytes of one stream in one WAL frame; `end - start` is the frame's payload length. */
export interface HotExtent {
  readonly stream: Generation;
  readonly start: Position;
  readonly end: Position;
  /** First LSN of the WAL segment that holds the frame. */
  readonly segment: Lsn;
  /** Where the frame's header starts in the segment file, in bytes from the file's start. */
  readonly headerAt: number;
  readonly headerBytes: number;
  readonly messages: number;
  /** The payload, while the bounded memory tail still holds it. */
  memory: Uint8Array | null;
}
