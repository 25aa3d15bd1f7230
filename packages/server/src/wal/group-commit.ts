/**
 * Group commit: nothing is acknowledged before the batch that holds its frame is on disk.
 *
 * Frames that arrive while a batch is being written and synced gather in the next one; there is no timer. The order is:
 * write, sync, then `settle` (tails advance), then the acknowledgements. A write or sync that fails acknowledges nobody. A sync
 * is never tried again: the process must stop, and recovery decides what is whole (invariants 1 and 7). A write that finds the
 * disk full is: the same bytes go to the same place until there is room, since what follows was decided upon them, and whatever
 * part of them is there is a torn batch at the end of the log to any start. Nothing was synced in between that could be lost.
 */
import { crc32 } from "node:zlib";
import { encodeBatch } from "@coldbrook/core";
import type { Clock, FaultPoint, Frame, Lsn } from "@coldbrook/core";
import { isPassing } from "./storage.ts";
import type { Done, SegmentFile } from "./storage.ts";

/**
 * A lone writer waits for nobody else, and nobody else is there to be held up: while batches hold one frame and the disk is
 * quick, the sync runs on the calling thread as well.
 */
const INLINE_SYNC_MS_MAX = 1;
const INLINE_SYNC_BYTES_MAX = 16 * 1024;

/** A batch for which there was no room on the disk is written again after this time. */
const ROOM_WAIT_MS = 100;

/** A frame's place, once its batch is durable. */
export interface CommittedFrame {
  readonly frame: Frame;
  readonly segment: Lsn;
  /** From the start of the segment file. */
  readonly headerAt: number;
  readonly headerBytes: number;
  readonly payloadBytes: number;
}

/** Frames that become durable together. */
export class Batch {
  readonly frames: Frame[] = [];
  readonly #acknowledgements: (() => void)[] = [];
  durable = false;

  /** Runs `acknowledge` once everything in the batch is on disk, or never. */
  whenDurable(acknowledge: () => void): void {
    if (this.durable) acknowledge();
    else this.#acknowledgements.push(acknowledge);
  }

  acknowledge(): void {
    this.durable = true;
    for (const acknowledge of this.#acknowledgements) acknowledge();
    this.#acknowledgements.length = 0;
  }
}

/** Where the next batch goes. Sealing happens between batches, when all before is synced. */
export interface CommitTarget {
  readonly file: SegmentFile;
  readonly base: Lsn;
  /** Bytes in the file. */
  readonly bytes: number;
}

export interface GroupCommitPorts {
  /** The active segment; may seal the old one first. */
  readonly target: () => CommitTarget;
  /** Makes the batch visible: called after the sync, before anyone is acknowledged. */
  readonly settle: (frames: readonly CommittedFrame[], batchBytes: number) => void;
  /** There is no room for a batch: it waits for some, and everything behind it. */
  readonly stalled: (error: Error) => void;
  /** Must end the process. */
  readonly fatal: (error: Error) => void;
  readonly fault: FaultPoint;
  readonly clock: Clock;
  /** The target's writes and syncs are done when their call returns. */
  readonly isImmediate: boolean;
}

/** A batch on its way to its place. */
interface Placed {
  readonly batch: Batch;
  readonly target: CommitTarget;
  readonly buffers: readonly Uint8Array[];
  readonly bytes: number;
  readonly committed: readonly CommittedFrame[];
}

export class GroupCommit {
  readonly #ports: GroupCommitPorts;
  #open = new Batch();
  #underWay = false;
  #scheduled = false;
  #failed = false;
  #waitsForRoom = false;
  #mayWait = true;
  #retry: (() => void) | null = null;
  #idle: (() => void)[] = [];
  /** Frames of the batch before, and how long its sync took. */
  #lastFrames = 0;
  #lastSyncMs = Infinity;

  constructor(ports: GroupCommitPorts) {
    this.#ports = ports;
  }

  /** The batch that frames join now. Whoever adds a frame to it calls `schedule`. */
  get open(): Batch {
    return this.#open;
  }

  /** Starts a commit at the end of this turn of the event loop, so that requests which arrived together share it. */
  schedule(): void {
    if (this.#underWay || this.#scheduled || this.#failed) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#commit();
    });
  }

  /**
   * Commits and acknowledges the open batch in this very turn.
   * @throws Error where a sync takes its time, inside of another commit, and when the log has failed
   */
  commitNow(): void {
    if (!this.#ports.isImmediate) throw new Error("this WAL's commits end in a later turn; they can only be awaited");
    if (this.#underWay && !this.#failed) throw new Error("a commit was asked for inside of another one");
    this.#commit();
    if (this.#failed) throw new Error("the WAL has failed: nothing is acknowledged any more");
  }

  /** A batch waits for room on the disk. */
  get waitsForRoom(): boolean {
    return this.#waitsForRoom;
  }

  /** From now on, a disk without room ends the process as any other failed write does. */
  stopWaiting(): void {
    this.#mayWait = false;
    this.#retry?.();
  }

  /** Resolves when every frame enqueued so far is durable. */
  drain(): Promise<void> {
    if (!this.#underWay && this.#open.frames.length === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  #commit(): void {
    if (this.#underWay || this.#failed || this.#open.frames.length === 0) return;
    this.#underWay = true;
    const batch = this.#open;
    this.#open = new Batch();
    try {
      const target = this.#ports.target();
      const lsn = (target.base + target.bytes) as Lsn;
      const encoded = encodeBatch({ lsn, atMs: this.#ports.clock(), frames: batch.frames, crc: crc32 });
      const committed: CommittedFrame[] = encoded.placements.map((placement, i) => ({
        frame: batch.frames[i]!,
        segment: target.base,
        headerAt: target.bytes + placement.headerAt,
        headerBytes: placement.headerBytes,
        payloadBytes: placement.payloadBytes,
      }));
      this.#ports.fault("commit.write");
      this.#write({ batch, target, committed, ...encoded });
    } catch (error) {
      this.#fail("write", error as Error);
    }
  }

  #write(placed: Placed): void {
    const { batch, target, buffers, bytes } = placed;
    let written = false;
    try {
      target.file.write(buffers, bytes, target.bytes, (writeError) => {
        if (writeError !== null) return this.#refused(placed, writeError);
        written = true;
        this.#waitsForRoom = false;
        this.#ports.fault("commit.sync");
        this.#sync(target.file, batch.frames.length, bytes, (syncError) => {
          if (syncError !== null) return this.#fail("sync", syncError);
          this.#settle(batch, placed.committed, bytes);
        });
      });
    } catch (error) {
      if (written) this.#fail("write", error as Error);
      else this.#refused(placed, error as Error);
    }
  }

  /** The write failed. Only for want of room may it be tried again, and only as it was. */
  #refused(placed: Placed, error: Error): void {
    if (!this.#mayWait || this.#ports.isImmediate || !isPassing(error)) return this.#fail("write", error);
    if (!this.#waitsForRoom) this.#ports.stalled(error);
    this.#waitsForRoom = true;
    const timer = setTimeout(() => this.#retry?.(), ROOM_WAIT_MS);
    this.#retry = (): void => {
      clearTimeout(timer);
      this.#retry = null;
      this.#write(placed);
    };
  }

  #sync(file: SegmentFile, frames: number, bytes: number, done: Done): void {
    const since = performance.now();
    const isLone = frames === 1 && this.#lastFrames === 1;
    const inline = isLone && bytes <= INLINE_SYNC_BYTES_MAX && this.#lastSyncMs < INLINE_SYNC_MS_MAX;
    this.#lastFrames = frames;
    const ended: Done = (error) => {
      this.#lastSyncMs = performance.now() - since;
      done(error);
    };
    if (!inline) return file.sync(ended);
    let failed: Error | null = null;
    try {
      file.syncNow();
    } catch (error) {
      failed = error as Error;
    }
    ended(failed);
  }

  #settle(batch: Batch, committed: readonly CommittedFrame[], bytes: number): void {
    this.#ports.settle(committed, bytes);
    this.#ports.fault("commit.ack");
    // Acknowledge after durable: the batch was synced by the caller of this function.
    batch.acknowledge();
    this.#underWay = false;
    if (this.#open.frames.length > 0) this.#commit();
    else if (this.#idle.length > 0) {
      const idle = this.#idle;
      this.#idle = [];
      for (const resolve of idle) resolve();
    }
  }

  #fail(step: string, cause: Error): void {
    this.#failed = true;
    this.#ports.fatal(
      new Error(`WAL ${step} failed, nothing of its batch was acknowledged: ${cause.message}`, { cause }),
    );
  }
}
