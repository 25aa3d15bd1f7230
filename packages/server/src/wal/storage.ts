/**
 * Where WAL segments are kept. One segment is one file, named by its base LSN; a byte's LSN is the base plus its place in the
 * file. Every method throws or reports what the medium says; nothing here is tried again (invariant 7).
 */
import { StreamError } from "@coldbrook/core";
import type { Lsn } from "@coldbrook/core";

export type Done = (error: Error | null) => void;

export interface SegmentListing {
  readonly base: Lsn;
  readonly bytes: number;
}

/** Room on the medium, in bytes. */
export interface StorageSpace {
  /** What this process may still write. */
  readonly freeBytes: number;
  readonly totalBytes: number;
}

/** An open segment. */
export interface SegmentFile {
  /** What it is called in messages. */
  readonly name: string;
  /**
   * Writes all of `buffers`, which are `bytes` together, from `at` on. `done` may be called before this returns.
   * @throws instead of calling `done` where it is written at once
   */
  write(buffers: readonly Uint8Array[], bytes: number, at: number, done: Done): void;
  /** Makes all that was written durable. `done` may be called before this returns. */
  sync(done: Done): void;
  /** The same on the calling thread. */
  syncNow(): void;
  /** Fills `into` from `at` on. `done` may be called before this returns. An early end is a StreamError corrupt-wal. */
  read(into: Uint8Array, at: number, done: Done): void;
  /** The same on the calling thread. @throws StreamError corrupt-wal when the file ends early */
  readNow(into: Uint8Array, at: number): void;
  close(): void;
}

export interface WalStorage {
  /** Writes and syncs are done when the call returns: a commit needs no second turn of the event loop. */
  readonly isImmediate: boolean;
  /** What a segment is called in messages, whether it is there or not. */
  name(base: Lsn): string;
  /** Segments in order of base. */
  list(): Promise<SegmentListing[]>;
  /**
   * Creates the segment with `header` as its first bytes, content and name durable, for writing and reading. A segment that holds
   * frames is never written over: an existing file is taken only when `reuse` says that recovery found it empty. Where the medium
   * is full (`isPassing`), nothing is left of the segment, durably, and it may be tried again.
   * @throws when the file exists and is not to be reused
   */
  create(base: Lsn, header: Uint8Array, reuse: boolean): SegmentFile;
  /** Opens an existing segment for reading. */
  open(base: Lsn): SegmentFile;
  /** All bytes of a segment. */
  readWhole(base: Lsn): Promise<Uint8Array>;
  /**
   * Makes the segment hold `bytes` and nothing else, durably. The process before may have ended between its write and its sync, or
   * by a sync that failed: then the pages in memory are not what the disk holds, so they are written once more.
   */
  settle(base: Lsn, bytes: Uint8Array): Promise<void>;
  /** Removes the segment and its name, durably. What is open stays readable until it is closed. */
  remove(base: Lsn): Promise<void>;
  /** Missing where room is no concern. */
  space?(): StorageSpace;
}

const PASSING: ReadonlySet<string> = new Set(["ENOSPC", "EDQUOT", "EMFILE", "ENFILE"]);

/** The medium refused a write or an open for want of room or of descriptors: nothing was promised, and it may be tried again. */
export function isPassing(error: unknown): boolean {
  return error instanceof Error && "code" in error && typeof error.code === "string" && PASSING.has(error.code);
}

/** The fault of a segment that has fewer bytes than it must have. */
export function endsEarly(name: string, at: number, missing: number): StreamError {
  return new StreamError("corrupt-wal", `${name}: ends at ${at}, ${missing} bytes early`);
}
