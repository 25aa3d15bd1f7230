/**
 * Key kind `(time, stream id)`: when to look at a stream that may have expired. An entry is a reminder, not the truth:
 * whoever takes it out asks the stream itself and puts in the next one.
 */
import { openStore } from "./environment.ts";
import type { CatalogEnvironment, ValueStore } from "./environment.ts";
import type { Generation } from "@coldbrook/core";

const NOTHING = new Uint8Array(0);

export interface Reminder {
  readonly atMs: number;
  readonly stream: Generation;
}

export class ExpiryRecords {
  readonly #values: ValueStore<[number, number]>;

  constructor(environment: CatalogEnvironment) {
    this.#values = openStore(environment, "expiry");
  }

  /** To be called inside a batch. */
  put(reminder: Reminder): void {
    void this.#values.put([reminder.atMs, reminder.stream], NOTHING);
  }

  /** To be called inside a batch. */
  remove(reminder: Reminder): void {
    void this.#values.remove([reminder.atMs, reminder.stream]);
  }

  due(nowMs: number, limit: number): Reminder[] {
    const keys = this.#values.getKeys({ start: [0, 0], end: [nowMs + 1, 0], limit });
    return [...keys].map(([atMs, stream]) => ({ atMs, stream: stream as Generation }));
  }
}
