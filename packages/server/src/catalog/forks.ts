/** Key kind `(source id, fork id)`: the forks that keep a stream's bytes. It follows from the forks' own lineages. */
import type { Generation } from "@coldbrook/core";
import { openStore } from "./environment.ts";
import type { CatalogEnvironment, ValueStore } from "./environment.ts";

const NOTHING = new Uint8Array(0);

export class ForkRecords {
  readonly #values: ValueStore<[number, number]>;

  constructor(environment: CatalogEnvironment) {
    this.#values = openStore(environment, "forks");
  }

  /** To be called inside a batch. */
  put(source: Generation, fork: Generation): void {
    void this.#values.put([source, fork], NOTHING);
  }

  /** To be called inside a batch. */
  remove(source: Generation, fork: Generation): void {
    void this.#values.remove([source, fork]);
  }

  /** Up to `limit` forks of the stream, in order, from the id `from` on. */
  some(source: Generation, limit: number, from: number = 0): Generation[] {
    const keys = this.#values.getKeys({ start: [source, from], end: [source + 1, 0], limit });
    return [...keys].map(([, fork]) => fork as Generation);
  }

  /** For the checker. */
  *all(): Generator<{ source: Generation; fork: Generation }> {
    for (const [source, fork] of this.#values.getKeys({ snapshot: false })) {
      yield { source: source as Generation, fork: fork as Generation };
    }
  }
}
