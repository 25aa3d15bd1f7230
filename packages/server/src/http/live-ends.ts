/**
 * Ends live reads of one kind at their deadline, and all of them when the server drains. They share one timer and one
 * listener: a signal looks through all of its listeners for each one that is added.
 */

/** A read that waits for a stream to change. */
export interface LiveRead {
  /** Called once at most. The read says what it still has to say, and ends. */
  end(): void;
}

export class LiveEnds {
  readonly #afterMs: number;
  /** When each read ends. All wait for the same time, so the first one added ends first. */
  readonly #deadlines = new Map<LiveRead, number>();
  readonly #draining: AbortSignal;
  #timer: NodeJS.Timeout | null = null;

  constructor(draining: AbortSignal, afterMs: number) {
    this.#draining = draining;
    this.#afterMs = afterMs;
    draining.addEventListener("abort", () => this.#endAll(), { once: true });
  }

  get size(): number {
    return this.#deadlines.size;
  }

  /** A read that comes while the server drains is ended at once. */
  add(read: LiveRead): void {
    if (this.#draining.aborted) return read.end();
    this.#deadlines.set(read, performance.now() + this.#afterMs);
    this.#timer ??= this.#arm(this.#afterMs);
  }

  delete(read: LiveRead): void {
    if (!this.#deadlines.delete(read) || this.#deadlines.size > 0 || this.#timer === null) return;
    clearTimeout(this.#timer);
    this.#timer = null;
  }

  #arm(ms: number): NodeJS.Timeout {
    return setTimeout(() => this.#endDue(), Math.ceil(ms));
  }

  #endDue(): void {
    this.#timer = null;
    const now = performance.now();
    for (const [read, deadline] of this.#deadlines) {
      if (deadline > now) {
        this.#timer = this.#arm(deadline - now);
        return;
      }
      this.#deadlines.delete(read);
      read.end();
    }
  }

  #endAll(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const reads = [...this.#deadlines.keys()];
    this.#deadlines.clear();
    for (const read of reads) read.end();
  }
}
