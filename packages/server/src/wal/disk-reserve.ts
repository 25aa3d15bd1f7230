/**
 * Room on the disk that appends leave alone: deletes, rolls, subscriptions and the catalog write into it, so that a disk which
 * appends have filled can be emptied again. The system is asked now and then, not for each request.
 */
import type { Clock } from "@coldbrook/core";
import type { StorageSpace } from "./storage.ts";

/** On a small disk, the reserve is this part of it at most. */
const PART_MAX = 1 / 8;
/** What others write on the disk is noticed within this time. */
const SAMPLE_MS = 200;
/** The system is asked again once our own writes have come to this part of the reserve. */
const SAMPLE_PART = 1 / 16;
/** `onShort` is called this often at most. */
const SHORT_MS = 10_000;

export interface DiskReservePorts {
  /** Missing where room is no concern. */
  readonly space: (() => StorageSpace) | undefined;
  /** Bytes asked for by the operator; 0 for none. */
  readonly reserveBytes: number;
  readonly clock: Clock;
  /** Appends are refused; called now and then while they are. */
  readonly onShort: () => void;
}

export class DiskReserve {
  readonly #ports: DiskReservePorts;
  #freeBytes = Infinity;
  #totalBytes = Infinity;
  #sampledAtMs = -Infinity;
  #writtenBytes = 0;
  #shortAtMs = -Infinity;

  constructor(ports: DiskReservePorts) {
    this.#ports = ports;
    this.#sample();
  }

  /** Bytes that are kept free; 0 when none are. */
  get bytes(): number {
    if (this.#ports.space === undefined) return 0;
    return Math.min(this.#ports.reserveBytes, Math.floor(this.#totalBytes * PART_MAX));
  }

  /** Free bytes when the system was last asked, less what we wrote since; null where room is no concern. */
  get freeBytes(): number | null {
    return this.#ports.space === undefined ? null : Math.max(0, this.#freeBytes - this.#writtenBytes);
  }

  /** So many bytes were written to the disk. */
  written(bytes: number): void {
    this.#writtenBytes += bytes;
  }

  /** Whether `bytes` more would come out of the reserve. */
  isShort(bytes: number): boolean {
    if (this.#ports.space === undefined || this.#ports.reserveBytes === 0) return false;
    const now = this.#ports.clock();
    const isOld = Math.abs(now - this.#sampledAtMs) >= SAMPLE_MS;
    if (isOld || this.#writtenBytes >= this.bytes * SAMPLE_PART) this.#sample();
    if (this.#freeBytes - this.#writtenBytes - bytes >= this.bytes) return false;
    if (Math.abs(now - this.#shortAtMs) >= SHORT_MS) {
      this.#shortAtMs = now;
      this.#ports.onShort();
    }
    return true;
  }

  #sample(): void {
    const { space, clock } = this.#ports;
    if (space === undefined) return;
    const { freeBytes, totalBytes } = space();
    this.#freeBytes = freeBytes;
    this.#totalBytes = totalBytes;
    this.#writtenBytes = 0;
    this.#sampledAtMs = clock();
  }
}
