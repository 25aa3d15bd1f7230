import type { Lsn } from "./brand.ts";
import type { ColdExtent, HotExtent } from "./extent.ts";

/** CRC-32 (ISO-HDLC, as in zlib) of `bytes`, continued from `seed`; unsigned 32 bits. */
export type Crc32 = (bytes: Uint8Array, seed?: number) => number;

/** Milliseconds since 1970. */
export type Clock = () => number;

/** Uniform in [0, 1). */
export type Random = () => number;

/** Called at each named durability step; a test makes one of them end the process. */
export type FaultPoint = (name: string) => void;

export type ObjectStoreErrorCode =
  /** No object has that key. */
  | "missing"
  /** Fewer or more bytes than were asked for. */
  | "short"
  /** Refused, timed out, unreachable, throttled: try again later. */
  | "unavailable"
  /** Refused for good: credentials, permissions, no such bucket. */
  | "denied";

export class ObjectStoreError extends Error {
  override readonly name = "ObjectStoreError";
  readonly code: ObjectStoreErrorCode;

  constructor(code: ObjectStoreErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/**
 * A flat store of immutable objects. Keys are `/`-separated, of `[A-Za-z0-9._/-]`, relative to the store's own prefix.
 * One contract suite runs on every adapter. All methods throw ObjectStoreError.
 */
export interface ObjectStore {
  /** For logs and messages, without secrets: `s3://bucket/prefix`. */
  readonly name: string;
  /**
   * Creates `key` whole or not at all, never replacing: "exists" when it was there before, which may be this call's own
   * earlier attempt. `body` is called once for each attempt and yields exactly `bytes` bytes. Durable when it resolves.
   */
  create(key: string, bytes: number, body: () => AsyncIterable<Uint8Array>): Promise<"created" | "exists">;
  /** Exactly the bytes of [from, to). */
  read(key: string, from: number, to: number): Promise<Uint8Array>;
  /** Size in bytes, or undefined when there is no such object. */
  size(key: string): Promise<number | undefined>;
  /** Removes `key`; a missing one is no error. */
  remove(key: string): Promise<void>;
  /** All keys below `prefix`, in lexicographic order. Only for check and restore, never on a serving path. */
  list(prefix: string): AsyncIterable<string>;
  close(): Promise<void>;
}

/** Where a stream's bytes lie, at one instant. Hot extents win over cold ones that cover the same positions. */
export interface ExtentIndex {
  /** Ordered by start, without gaps between them; may be empty. */
  readonly hot: readonly HotExtent[];
  /** The cold extent that holds byte `at`, or undefined. May be a catalog look-up. */
  cold(at: number): ColdExtent | undefined;
}

/** Verified reads of WAL payloads, as the merged reader needs them. */
export interface HotReader {
  /** Message lengths of the frame. @throws StreamError corrupt-wal, gone */
  lengths(extent: HotExtent): Promise<readonly number[]>;
  /** Payload bytes of [from, to), both stream positions inside the extents' run, which is contiguous; neighbouring reads are coalesced. @throws StreamError corrupt-wal, gone */
  read(extents: readonly HotExtent[], from: number, to: number): Promise<Uint8Array>;
}

/** One sealed WAL segment, whole in its file. */
export interface SealedSegment {
  readonly base: Lsn;
  /** LSN just past its last byte: the base of its successor. */
  readonly end: Lsn;
  /** All its bytes, from the file's first. */
  load(): Promise<Uint8Array>;
}
