/** WAL segments as files of one directory. A name that must survive is followed by a sync of its directory. */
import fs from "node:fs";
import fsp from "node:fs/promises";
import path from "node:path";
import { lsn } from "@coldbrook/core";
import type { Lsn } from "@coldbrook/core";
import { segmentName } from "./segment-header.ts";
import { endsEarly, isPassing } from "./storage.ts";
import type { Done, SegmentFile, SegmentListing, StorageSpace, WalStorage } from "./storage.ts";

/** Batches up to this size are written on the calling thread: a copy into the page cache beats a thread hop. */
const INLINE_WRITE_BYTES_MAX = 256 * 1024;

const REWRITE_BYTES: number = 4 * 1024 * 1024;

const NAME = /^(\d{16})\.wal$/;

export class DirectoryWalStorage implements WalStorage {
  readonly isImmediate = false;
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  name(base: Lsn): string {
    return path.join(this.#directory, segmentName(base));
  }

  async list(): Promise<SegmentListing[]> {
    const found: SegmentListing[] = [];
    for (const name of await fsp.readdir(this.#directory)) {
      const match = NAME.exec(name);
      if (match === null) continue;
      const stat = await fsp.stat(path.join(this.#directory, name));
      found.push({ base: lsn(Number(match[1])), bytes: stat.size });
    }
    return found.sort((a, b) => a.base - b.base);
  }

  create(base: Lsn, header: Uint8Array, reuse: boolean): SegmentFile {
    const name = this.name(base);
    const fd = fs.openSync(name, reuse ? "r+" : "wx+", 0o600);
    try {
      if (reuse) fs.ftruncateSync(fd, 0);
      this.#writeHeader(fd, name, header, reuse);
      fs.fdatasyncSync(fd);
      syncDirectoryNow(this.#directory);
      return new DescriptorFile(fd, name);
    } catch (error) {
      fs.closeSync(fd);
      throw error;
    }
  }

  /** A name without a header would seal the segment before it, which goes on taking frames when there is no room for this one. */
  #writeHeader(fd: number, name: string, header: Uint8Array, reuse: boolean): void {
    try {
      if (fs.writeSync(fd, header, 0, header.length, 0) !== header.length)
        throw new Error("short write of a WAL segment header");
    } catch (error) {
      if (reuse || !isPassing(error)) throw error;
      fs.unlinkSync(name);
      syncDirectoryNow(this.#directory);
      throw error;
    }
  }

  open(base: Lsn): SegmentFile {
    const name = this.name(base);
    return new DescriptorFile(fs.openSync(name, "r"), name);
  }

  readWhole(base: Lsn): Promise<Uint8Array> {
    return fsp.readFile(this.name(base));
  }

  async settle(base: Lsn, bytes: Uint8Array): Promise<void> {
    const handle = await fsp.open(this.name(base), "r+");
    try {
      await handle.truncate(bytes.length);
      for (let at = 0; at < bytes.length;) {
        const { bytesWritten } = await handle.write(bytes, at, Math.min(REWRITE_BYTES, bytes.length - at), at);
        at += bytesWritten;
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
    await syncDirectory(this.#directory);
  }

  async remove(base: Lsn): Promise<void> {
    await fsp.unlink(this.name(base));
    await syncDirectory(this.#directory);
  }

  space(): StorageSpace {
    const { bsize, bavail, blocks } = fs.statfsSync(this.#directory);
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  }
}

/** A segment by its descriptor. */
export class DescriptorFile implements SegmentFile {
  readonly name: string;
  readonly #fd: number;

  constructor(fd: number, name: string) {
    this.#fd = fd;
    this.name = name;
  }

  write(buffers: readonly Uint8Array[], bytes: number, at: number, done: Done): void {
    if (bytes > INLINE_WRITE_BYTES_MAX) return writeAll(this.#fd, buffers, at, done);
    let to = at;
    for (const buffer of buffers) {
      for (let from = 0; from < buffer.length;) {
        const written = fs.writeSync(this.#fd, buffer, from, buffer.length - from, to);
        from += written;
        to += written;
      }
    }
    done(null);
  }

  sync(done: Done): void {
    fs.fdatasync(this.#fd, done);
  }

  syncNow(): void {
    fs.fdatasyncSync(this.#fd);
  }

  read(into: Uint8Array, at: number, done: Done): void {
    const step = (filled: number): void => {
      fs.read(this.#fd, into, filled, into.length - filled, at + filled, (error, read) => {
        if (error !== null) done(error);
        else if (filled + read === into.length) done(null);
        else if (read === 0) done(endsEarly(this.name, at + filled, into.length - filled));
        else step(filled + read);
      });
    };
    step(0);
  }

  readNow(into: Uint8Array, at: number): void {
    for (let filled = 0; filled < into.length;) {
      const read = fs.readSync(this.#fd, into, filled, into.length - filled, at + filled);
      if (read === 0) throw endsEarly(this.name, at + filled, into.length - filled);
      filled += read;
    }
  }

  close(): void {
    fs.closeSync(this.#fd);
  }
}

function writeAll(fd: number, buffers: readonly Uint8Array[], at: number, done: Done): void {
  fs.writev(fd, buffers as NodeJS.ArrayBufferView[], at, (error, written) => {
    if (error !== null) return done(error);
    const rest = dropBytes(buffers, written);
    if (rest.length === 0) return done(null);
    writeAll(fd, rest, at + written, done);
  });
}

function dropBytes(buffers: readonly Uint8Array[], count: number): Uint8Array[] {
  const rest: Uint8Array[] = [];
  let skip = count;
  for (const buffer of buffers) {
    if (skip >= buffer.length) skip -= buffer.length;
    else {
      rest.push(skip === 0 ? buffer : buffer.subarray(skip));
      skip = 0;
    }
  }
  return rest;
}

/** Makes the names in `directory` durable. */
async function syncDirectory(directory: string): Promise<void> {
  const handle = await fsp.open(directory, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

export function syncDirectoryNow(directory: string): void {
  const fd = fs.openSync(directory, "r");
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}
