/** The newest committed payloads, in memory up to a bound: what readers at the tail get without a read of the WAL. */
import type { HotExtent } from "@coldbrook/core";

/** What an extent costs beside its payload. */
const EXTENT_OVERHEAD_BYTES = 128;

export class MemoryTail {
  readonly #bytesMax: number;
  #queue: HotExtent[] = [];
  #head = 0;
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Takes over `extent.memory`, and lets go of the oldest payloads past the bound. */
  add(extent: HotExtent): void {
    if (extent.memory === null) return;
    this.#queue.push(extent);
    this.#bytes += cost(extent);
    while (this.#bytes > this.#bytesMax && this.#head < this.#queue.length) {
      const oldest = this.#queue[this.#head]!;
      this.#head += 1;
      this.#bytes -= cost(oldest);
      oldest.memory = null;
    }
    if (this.#head > 4096 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
  }
}

function cost(extent: HotExtent): number {
  return extent.end - extent.start + EXTENT_OVERHEAD_BYTES;
}
