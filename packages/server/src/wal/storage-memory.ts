/** WAL segments in memory: they last as long as this value, and everything is as durable as it gets when the call returns. */
import { StreamError } from "@coldbrook/core";
import type { Lsn } from "@coldbrook/core";
import { segmentName } from "./segment-header.ts";
import { endsEarly } from "./storage.ts";
import type { Done, SegmentFile, SegmentListing, WalStorage } from "./storage.ts";

const FIRST_BYTES = 4 * 1024;

export class MemoryWalStorage implements WalStorage {
  readonly isImmediate = true;
  readonly #segments = new Map<Lsn, MemoryFile>();

  /** Bytes of all segments. */
  get bytes(): number {
    let bytes = 0;
    for (const segment of this.#segments.values()) bytes += segment.bytes;
    return bytes;
  }

  name(base: Lsn): string {
    return `memory:${segmentName(base)}`;
  }

  list(): Promise<SegmentListing[]> {
    const found = [...this.#segments].map(([base, { bytes }]) => ({ base, bytes }));
    return Promise.resolve(found.sort((a, b) => a.base - b.base));
  }

  create(base: Lsn, header: Uint8Array, reuse: boolean): SegmentFile {
    if (this.#segments.has(base) !== reuse)
      throw new Error(`${this.name(base)}: this WAL segment is ${reuse ? "missing" : "there already"}`);
    const segment = new MemoryFile(this.name(base));
    segment.append([header], 0);
    this.#segments.set(base, segment);
    return segment;
  }

  open(base: Lsn): SegmentFile {
    return this.#existing(base);
  }

  async readWhole(base: Lsn): Promise<Uint8Array> {
    const segment = this.#existing(base);
    const whole = new Uint8Array(segment.bytes);
    segment.readNow(whole, 0);
    return whole;
  }

  async settle(base: Lsn, bytes: Uint8Array): Promise<void> {
    const segment = this.#existing(base);
    segment.truncate();
    segment.append([bytes], 0);
  }

  async remove(base: Lsn): Promise<void> {
    this.#existing(base);
    this.#segments.delete(base);
  }

  #existing(base: Lsn): MemoryFile {
    const segment = this.#segments.get(base);
    if (segment === undefined) throw new StreamError("gone", `${this.name(base)}: no such WAL segment`);
    return segment;
  }
}

class MemoryFile implements SegmentFile {
  readonly name: string;
  bytes = 0;
  #content: Uint8Array = Buffer.allocUnsafeSlow(FIRST_BYTES);

  constructor(name: string) {
    this.name = name;
  }

  /** Writes at `at`, which is not past the end. */
  append(buffers: readonly Uint8Array[], at: number): void {
    if (at > this.bytes) throw new Error(`${this.name}: a write at ${at} would leave a gap behind ${this.bytes}`);
    let end = at;
    for (const buffer of buffers) end += buffer.length;
    this.#grow(end);
    let to = at;
    for (const buffer of buffers) {
      this.#content.set(buffer, to);
      to += buffer.length;
    }
    this.bytes = Math.max(this.bytes, end);
  }

  truncate(): void {
    this.bytes = 0;
  }

  write(buffers: readonly Uint8Array[], _bytes: number, at: number, done: Done): void {
    this.append(buffers, at);
    done(null);
  }

  sync(done: Done): void {
    done(null);
  }

  syncNow(): void {}

  read(into: Uint8Array, at: number, done: Done): void {
    let failed: Error | null = null;
    try {
      this.readNow(into, at);
    } catch (error) {
      failed = error as Error;
    }
    done(failed);
  }

  readNow(into: Uint8Array, at: number): void {
    const end = at + into.length;
    if (end > this.bytes) throw endsEarly(this.name, this.bytes, end - Math.max(at, this.bytes));
    into.set(this.#content.subarray(at, end));
  }

  close(): void {}

  #grow(bytes: number): void {
    if (bytes <= this.#content.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(bytes, this.#content.length * 2));
    larger.set(this.#content.subarray(0, this.bytes));
    this.#content = larger;
  }
}
