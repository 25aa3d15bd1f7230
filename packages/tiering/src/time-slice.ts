import { setImmediate } from "node:timers/promises";

/** Longest run of CPU work between two turns of the event loop, in milliseconds: appends wait for it. */
const SLICE_MS = 1;

/** Lets the event loop turn between the steps of long CPU work. */
export class TimeSlice {
  #sinceMs: number = performance.now();

  /** True when the work should `rest` before its next step. */
  get over(): boolean {
    return performance.now() - this.#sinceMs >= SLICE_MS;
  }

  /** Resolves after all other work that was waiting had its turn. */
  async rest(): Promise<void> {
    await setImmediate();
    this.#sinceMs = performance.now();
  }

  /** Runs `steps` to their end, with a rest whenever the slice is over. */
  async run<Value>(steps: Generator<undefined, Value, undefined>): Promise<Value> {
    for (;;) {
      const step = steps.next();
      if (step.done === true) return step.value;
      if (this.over) await this.rest();
    }
  }
}
