/**
 * The shard's write-ahead log: one active segment, then the sealed ones that wait for their roll. A released segment's
 * file is gone, its descriptor stays until the last reader that holds it is done.
 */
import { crc32 } from "node:zlib";
import { encodeSegmentHeader, lsn, SEGMENT_HEADER_BYTES, StreamError } from "@coldbrook/core";
import type { Clock, FaultPoint, Lsn, SealedSegment } from "@coldbrook/core";
import { DiskReserve } from "./disk-reserve.ts";
import { GroupCommit } from "./group-commit.ts";
import type { Batch, CommittedFrame, CommitTarget } from "./group-commit.ts";
import { isPassing } from "./storage.ts";
import type { SegmentFile, WalStorage } from "./storage.ts";

/** Pieces in which a whole segment is loaded for its roll. */
const LOAD_PIECE_BYTES = 4 * 1024 * 1024;

interface SegmentHandle {
  readonly base: Lsn;
  readonly file: SegmentFile;
  bytes: number;
  readers: number;
  released: boolean;
  /** When its first frame was written; null while it holds none. */
  firstFrameAtMs: number | null;
  frames: number;
}

export interface WalSettings {
  readonly storage: WalStorage;
  readonly shard: string;
  readonly segmentBytes: number;
  readonly segmentAgeMs: number;
  readonly walBytesMax: number;
  /** Bytes of the disk that appends leave free; 0 for none. See DiskReserve. */
  readonly diskReserveBytes: number;
}

export interface WalPorts {
  readonly settle: (frames: readonly CommittedFrame[]) => void;
  readonly sealed: (segment: SealedSegment) => void;
  /** Appends are refused for want of room on the disk; called now and then while they are. */
  readonly shortOfRoom: (detail: string) => void;
  readonly fatal: (error: Error) => void;
  readonly fault: FaultPoint;
  readonly clock: Clock;
}

/** A segment that recovery read whole. */
export interface RecoveredSegment {
  readonly base: Lsn;
  readonly bytes: number;
  readonly frames: number;
}

export interface RecoveredWal {
  readonly segments: readonly RecoveredSegment[];
  /** Base of the segment to open. */
  readonly next: Lsn;
  /** A file of that base is there already and holds no frame. */
  readonly reuseNext: boolean;
}

/** Seal at this many frames even when they are small, so that a roll's working set is bounded. */
const SEGMENT_FRAMES_MAX = 500_000;
/** A seal for which there was no room or no descriptor is tried again after this time. */
const SEAL_RETRY_MS = 1_000;
/** While the disk is short of room, a segment of this part of the reserve is worth its roll. */
const SEAL_WHEN_SHORT_PART = 1 / 16;

export class Wal {
  readonly #settings: WalSettings;
  readonly #ports: WalPorts;
  readonly #segments = new Map<Lsn, SegmentHandle>();
  readonly #commit: GroupCommit;
  readonly #reserve: DiskReserve;
  #active: SegmentHandle;
  #oldest: Lsn;
  #sealWanted = false;
  #age: NodeJS.Timeout | null = null;

  /** `recovered` are the un-rolled segments with frames, in order; all are sealed by opening a new one behind them. */
  constructor(settings: WalSettings, ports: WalPorts, recovered: RecoveredWal) {
    this.#settings = settings;
    this.#ports = ports;
    const { storage } = settings;
    this.#reserve = new DiskReserve({
      space: storage.space?.bind(storage),
      reserveBytes: settings.diskReserveBytes,
      clock: ports.clock,
      onShort: () => ports.shortOfRoom(this.roomDetail),
    });
    for (const segment of recovered.segments) {
      this.#segments.set(segment.base, {
        ...segment,
        file: settings.storage.open(segment.base),
        readers: 0,
        released: false,
        firstFrameAtMs: null,
      });
    }
    this.#active = this.#create(recovered.next, recovered.reuseNext);
    this.#oldest = recovered.segments[0]?.base ?? recovered.next;
    this.#commit = new GroupCommit({
      target: () => this.#target(),
      settle: (frames, bytes) => this.#settle(frames, bytes),
      stalled: (error) => ports.shortOfRoom(`${error.message}; a batch waits for room`),
      fatal: ports.fatal,
      fault: ports.fault,
      clock: ports.clock,
      isImmediate: settings.storage.isImmediate,
    });
  }

  /** Hands every segment that was recovered to the roller, in order. */
  announceRecovered(): void {
    for (const segment of this.#segments.values()) if (segment !== this.#active) this.#announce(segment);
  }

  get open(): Batch {
    return this.#commit.open;
  }

  schedule(): void {
    this.#commit.schedule();
  }

  /** See GroupCommit. */
  commitNow(): void {
    this.#commit.commitNow();
  }

  /** LSN of the next batch. */
  get end(): Lsn {
    return lsn(this.#active.base + this.#active.bytes);
  }

  /** Bytes that only the WAL holds: the quantity the budget bounds. */
  get unrolledBytes(): number {
    return this.end - this.#oldest - SEGMENT_HEADER_BYTES;
  }

  get segmentCount(): number {
    return this.#segments.size;
  }

  /** Free bytes of its disk, as far as is known; null where room is no concern. */
  get diskFreeBytes(): number | null {
    return this.#reserve.freeBytes;
  }

  /** A batch waits for room on the disk, and everything behind it. */
  get waitsForRoom(): boolean {
    return this.#commit.waitsForRoom;
  }

  /** How much room there is, for messages. */
  get roomDetail(): string {
    return `the disk of ${this.#active.file.name} has ${this.diskFreeBytes} bytes free, of which ${this.#reserve.bytes} are kept (--disk-reserve)`;
  }

  /** Whether so many bytes more must be refused for want of room on the disk. */
  isShortOfRoom(bytes: number): boolean {
    return this.#reserve.isShort(bytes) || this.#commit.waitsForRoom;
  }

  /** What was appended may go to a store elsewhere, once there is enough of it to be worth a roll. */
  sealForRoom(): void {
    if (this.#active.bytes < this.#reserve.bytes * SEAL_WHEN_SHORT_PART) return;
    this.seal().catch(this.#ports.fatal);
  }

  drain(): Promise<void> {
    return this.#commit.drain();
  }

  /** See GroupCommit. */
  stopWaiting(): void {
    this.#commit.stopWaiting();
  }

  /**
   * Seals the active segment before the next batch, or as soon as no commit is under way. Where there is no room for the next
   * segment, that is done once there is.
   */
  async seal(): Promise<void> {
    this.#sealWanted = true;
    await this.#commit.drain();
    if (!this.#sealWanted) return;
    if (this.#active.bytes > SEGMENT_HEADER_BYTES) this.#seal();
    else this.#sealWanted = false;
  }

  /** Closes every descriptor. The caller has drained. */
  close(): void {
    if (this.#age !== null) clearTimeout(this.#age);
    for (const segment of this.#segments.values()) segment.file.close();
    this.#segments.clear();
  }

  /** Deletes a rolled segment's file. Called only after its roll is published and flushed. */
  async release(base: Lsn): Promise<void> {
    const segment = this.#segments.get(base);
    if (segment === undefined || segment === this.#active) throw new Error(`WAL segment ${base} is not sealed`);
    await this.#settings.storage.remove(base);
    this.#segments.delete(base);
    segment.released = true;
    this.#closeIfUnused(segment);
    this.#oldest = this.#segments.keys().next().value ?? this.#active.base;
  }

  /** Deletes a segment file that recovery found published: its release was cut off. */
  async discard(base: Lsn): Promise<void> {
    await this.#settings.storage.remove(base);
  }

  /** Reads exactly [at, at + bytes) of a segment's file. @throws StreamError gone when the segment was released */
  async read(base: Lsn, at: number, bytes: number): Promise<Uint8Array> {
    const segment = this.#segments.get(base);
    if (segment === undefined) throw new StreamError("gone", `WAL segment ${base} was released`);
    segment.readers += 1;
    try {
      const buffer = Buffer.allocUnsafeSlow(bytes);
      await readInto(segment.file, buffer, at);
      return buffer;
    } finally {
      segment.readers -= 1;
      this.#closeIfUnused(segment);
    }
  }

  /** The same on the calling thread. @throws StreamError gone when the segment was released, corrupt-wal when it ends early */
  readNow(base: Lsn, at: number, bytes: number): Uint8Array {
    const segment = this.#segments.get(base);
    if (segment === undefined) throw new StreamError("gone", `WAL segment ${base} was released`);
    const buffer = Buffer.allocUnsafeSlow(bytes);
    segment.file.readNow(buffer, at);
    return buffer;
  }

  #closeIfUnused(segment: SegmentHandle): void {
    if (segment.released && segment.readers === 0) segment.file.close();
  }

  #create(base: Lsn, reuse: boolean): SegmentHandle {
    this.#ports.fault("segment.create");
    const { storage, shard } = this.#settings;
    const file = storage.create(base, encodeSegmentHeader({ base, shard }, crc32), reuse);
    const handle: SegmentHandle = {
      base,
      file,
      bytes: SEGMENT_HEADER_BYTES,
      readers: 0,
      released: false,
      firstFrameAtMs: null,
      frames: 0,
    };
    this.#segments.set(base, handle);
    return handle;
  }

  #target(): CommitTarget {
    const { segmentBytes, walBytesMax } = this.#settings;
    // A roll needs room for a copy of its segment before it gives that back: the reserve has it.
    const room = this.#reserve.bytes === 0 ? Infinity : this.#reserve.bytes / 2;
    const sealAt = Math.min(segmentBytes, walBytesMax / 4, room);
    if (this.#sealWanted || this.#active.bytes >= sealAt || this.#active.frames >= SEGMENT_FRAMES_MAX) {
      if (this.#active.bytes > SEGMENT_HEADER_BYTES) this.#seal();
    }
    return this.#active;
  }

  /**
   * A segment is sealed by the durable name of its successor. Without room or a descriptor for that one, it goes on taking frames
   * until there is.
   */
  #seal(): void {
    this.#ports.fault("segment.seal");
    const sealed = this.#active;
    try {
      this.#active = this.#create(this.end, false);
    } catch (error) {
      if (!isPassing(error)) throw error;
      this.#sealWanted = true;
      this.#armAge(SEAL_RETRY_MS);
      return;
    }
    this.#sealWanted = false;
    if (this.#age !== null) clearTimeout(this.#age);
    this.#age = null;
    this.#announce(sealed);
  }

  #announce(segment: SegmentHandle): void {
    const end = lsn(segment.base + segment.bytes);
    this.#ports.sealed({ base: segment.base, end, load: () => this.#load(segment.base, segment.bytes) });
  }

  async #load(base: Lsn, bytes: number): Promise<Uint8Array> {
    const segment = this.#segments.get(base);
    if (segment === undefined) throw new StreamError("gone", `WAL segment ${base} was released`);
    const whole = Buffer.allocUnsafeSlow(bytes);
    for (let at = 0; at < bytes; at += LOAD_PIECE_BYTES) {
      const piece = Math.min(LOAD_PIECE_BYTES, bytes - at);
      await readInto(segment.file, whole.subarray(at, at + piece), at);
    }
    return whole;
  }

  #settle(frames: readonly CommittedFrame[], bytes: number): void {
    const active = this.#active;
    this.#reserve.written(bytes);
    active.bytes += bytes;
    active.frames += frames.length;
    if (active.firstFrameAtMs === null) {
      active.firstFrameAtMs = this.#ports.clock();
      this.#armAge(this.#settings.segmentAgeMs);
    }
    this.#ports.settle(frames);
  }

  #armAge(afterMs: number): void {
    if (this.#age !== null) clearTimeout(this.#age);
    this.#age = setTimeout(() => {
      this.#age = null;
      this.seal().catch(this.#ports.fatal);
    }, afterMs);
    this.#age.unref();
  }
}

function readInto(file: SegmentFile, buffer: Uint8Array, at: number): Promise<void> {
  return new Promise((resolve, reject) => {
    file.read(buffer, at, (error) => (error === null ? resolve() : reject(error)));
  });
}
