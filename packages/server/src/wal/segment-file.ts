/**
 * One WAL segment is one file, `<base LSN>.wal`; a byte's LSN is the base plus its place in the file. A name that must
 * survive is followed by a sync of its directory.
 */
import fs from "node:fs/promises";
import { closeSync, fdatasyncSync, fsyncSync, ftruncateSync, openSync, writeSync } from "node:fs";
import path from "node:path";
import { crc32 } from "node:zlib";
import {
  decodeSegmentHeader,
  encodeSegmentHeader,
  lsn,
  SEGMENT_HEADER_BYTES,
  StreamError,
  WAL_VERSION,
} from "@coldbrook/core";
import type { Lsn } from "@coldbrook/core";

const NAME = /^(\d{16})\.wal$/;

export function segmentPath(directory: string, base: Lsn): string {
  return path.join(directory, `${String(base).padStart(16, "0")}.wal`);
}

/** Makes the names in `directory` durable. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await fs.open(directory, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export function syncDirectoryNow(directory: string): void {
  const fd = openSync(directory, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * Creates the segment, header and name durable, and returns a descriptor for reading and writing. A segment that holds frames
 * is never written over: an existing file is taken only when `reuse` says that recovery found it empty.
 * @throws when the file exists and is not to be reused
 */
export function createSegment(directory: string, base: Lsn, shard: string, reuse: boolean): number {
  const fd = openSync(segmentPath(directory, base), reuse ? "r+" : "wx+", 0o600);
  try {
    const header = encodeSegmentHeader({ base, shard }, crc32);
    if (reuse) ftruncateSync(fd, 0);
    if (writeSync(fd, header, 0, header.length, 0) !== header.length)
      throw new Error("short write of a WAL segment header");
    fdatasyncSync(fd);
    syncDirectoryNow(directory);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

export interface SegmentListing {
  readonly base: Lsn;
  readonly bytes: number;
}

/** Segments of the directory in order of base. */
export async function listSegments(directory: string): Promise<SegmentListing[]> {
  const found: SegmentListing[] = [];
  for (const name of await fs.readdir(directory)) {
    const match = NAME.exec(name);
    if (match === null) continue;
    const stat = await fs.stat(path.join(directory, name));
    found.push({ base: lsn(Number(match[1])), bytes: stat.size });
  }
  return found.sort((a, b) => a.base - b.base);
}

/** @throws StreamError corrupt-wal when the header is damaged or names another segment or shard. */
export function checkSegmentHeader(bytes: Uint8Array, file: string, base: Lsn, shard: string): void {
  const header =
    bytes.length < SEGMENT_HEADER_BYTES ? null : decodeSegmentHeader(bytes.subarray(0, SEGMENT_HEADER_BYTES), crc32);
  if (header === null)
    throw new StreamError("corrupt-wal", `${file}: the segment header at position 0 fails its checksum`);
  if (header.version !== WAL_VERSION)
    throw new StreamError("corrupt-wal", `${file}: WAL version ${header.version}, this program reads ${WAL_VERSION}`);
  if (header.base !== base)
    throw new StreamError("corrupt-wal", `${file}: the header says base LSN ${header.base}, the name ${base}`);
  if (header.shard !== shard) {
    throw new StreamError(
      "corrupt-wal",
      `${file}: written by shard ${header.shard}, this data directory is of shard ${shard}`,
    );
  }
}
