/**
 * The one queue of a world: what happens, in the order of virtual time. Each event runs alone, with all the microtasks that it
 * causes, as the process that it belongs to; so whoever calls the world is known without being asked.
 */
import type { Process } from "./process.ts";

/** Taken before the worker replaces the globals. */
const realSetImmediate = setImmediate;

export interface Event {
  readonly atMs: number;
  readonly serial: number;
  /** Null: a client, or the harness. */
  readonly owner: Process | null;
  run: (() => void) | null;
}

export class Scheduler {
  nowMs: number;
  /** Whom the event under way belongs to. */
  owner: Process | null = null;
  /** Events run so far. */
  count = 0;
  readonly #heap: Event[] = [];
  #serial = 0;

  constructor(startMs: number) {
    this.nowMs = startMs;
  }

  /** Runs `run` after `delayMs`, unless its owner is dead by then. What is due at the same time keeps its order. */
  after(delayMs: number, owner: Process | null, run: () => void): Event {
    const event: Event = { atMs: this.nowMs + delayMs, serial: this.#serial++, owner, run };
    this.#push(event);
    return event;
  }

  cancel(event: Event): void {
    event.run = null;
  }

  /** Runs events until `isDone`, `eventsMax` or nothing is left to run. `failed` gets what an event threw. */
  run(
    isDone: () => boolean,
    eventsMax: number,
    failed: (owner: Process | null, error: unknown) => void,
  ): Promise<void> {
    const last = this.count + eventsMax;
    return new Promise((resolve) => {
      const step = (): void => {
        if (isDone() || this.count >= last) return resolve();
        const event = this.#next();
        if (event === null) return resolve();
        // Microtasks run when this callback returns, before the next one: in that, the owner is still this event's.
        realSetImmediate(step);
        this.count += 1;
        this.nowMs = Math.max(this.nowMs, event.atMs);
        this.owner = event.owner;
        try {
          event.run!();
        } catch (error) {
          failed(event.owner, error);
        }
      };
      realSetImmediate(step);
    });
  }

  #next(): Event | null {
    for (;;) {
      const event = this.#pop();
      if (event === undefined) return null;
      if (event.run !== null && event.owner?.dead !== true) return event;
    }
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(event, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = event;
  }

  #pop(): Event | undefined {
    const heap = this.#heap;
    const top = heap[0];
    const last = heap.pop();
    if (top === undefined || last === undefined || heap.length === 0) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child += 1;
      if (!isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return top;
  }
}

function isBefore(one: Event, other: Event): boolean {
  return one.atMs < other.atMs || (one.atMs === other.atMs && one.serial < other.serial);
}
