/** Key kind `stream id` of a deleted stream whose extents, producers and state are still to be given back. */
import { openStore } from "./environment.ts";
import type { CatalogEnvironment, ValueStore } from "./environment.ts";
import type { Generation } from "@coldbrook/core";

const NOTHING = new Uint8Array(0);

export class DeletedStreams {
  readonly #values: ValueStore<number>;

  constructor(environment: CatalogEnvironment) {
    this.#values = openStore(environment, "deleted");
  }

  /** To be called inside a batch. */
  put(stream: Generation): void {
    void this.#values.put(stream, NOTHING);
  }

  /** To be called inside a batch. */
  remove(stream: Generation): void {
    void this.#values.remove(stream);
  }

  some(limit: number): Generation[] {
    return [...this.#values.getKeys({ limit })] as Generation[];
  }
}
