/** The name and the first bytes of a WAL segment. */
import { crc32 } from "node:zlib";
import { decodeSegmentHeader, SEGMENT_HEADER_BYTES, StreamError, WAL_VERSION } from "@coldbrook/core";
import type { Lsn } from "@coldbrook/core";

/** `<base LSN>.wal` */
export function segmentName(base: Lsn): string {
  return `${String(base).padStart(16, "0")}.wal`;
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
