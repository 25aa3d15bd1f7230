import type { Generation, Lsn, Position } from "./brand.ts";

/** What a create fixes for the life of a stream (protocol section 5.1). */
export interface StreamConfig {
  /** Media type as given by the creator, e.g. `application/json`. */
  readonly contentType: string;
  /** Sliding window in seconds, or null. Never set together with `expiresAtMs`. */
  readonly ttlSeconds: number | null;
  /** Absolute expiry in milliseconds since 1970, or null. */
  readonly expiresAtMs: number | null;
}

/** From `first` on, positions carry `generation`; the bytes lie in `source` (a stream's id), or in the stream itself when null. */
export interface LineageEntry {
  readonly generation: Generation;
  readonly first: Position;
  readonly source: Generation | null;
}

/** The part of a stream that never changes. */
export interface StreamIdentity {
  /** The stream's first generation: its name in the WAL, the catalog and the bucket. */
  readonly id: Generation;
  /** URL path below the stream root, canonically percent-encoded, without a leading slash. */
  readonly path: string;
  readonly config: StreamConfig;
  readonly createdAtMs: number;
  /** Ordered by `first`; at least one entry. */
  readonly lineage: readonly LineageEntry[];
}

/** The `(producer, epoch, seq)` of one request (protocol section 5.2.1). */
export interface ProducerTuple {
  readonly id: string;
  readonly epoch: number;
  readonly seq: number;
}

/** What a stream remembers of one producer: its epoch and the highest sequence number accepted in it. */
export interface ProducerState {
  readonly epoch: number;
  readonly seq: number;
}

/** All that decides the next operation on a stream, but for its producers. Immutable: an accepted operation makes a new one. */
export interface StreamState {
  readonly identity: StreamIdentity;
  readonly tail: Position;
  /** Earliest position still kept. */
  readonly horizon: Position;
  readonly closed: boolean;
  /** The producer request that closed the stream, when one did. */
  readonly closedBy: ProducerTuple | null;
  /** Highest Stream-Seq accepted; its scope is the stream (protocol section 5.2). */
  readonly streamSeq: string | null;
  /** Last read or write that counts for a sliding TTL, in milliseconds since 1970. */
  readonly touchedAtMs: number;
  /** Deleted while forks referred to it (protocol section 4.2): its name and bytes stay until the last of them is gone. */
  readonly softDeleted: boolean;
  /** A deleted stream's state is kept until its bytes are given back. */
  readonly deleted: boolean;
  /** LSN just past the last frame that this state includes. */
  readonly lsn: Lsn;
}
