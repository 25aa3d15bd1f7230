/** Key kind `subscription id` → its head (protocol section 6). A deleted one stays until its links are given back. */
import { crc32 } from "node:zlib";
import { decodeSubscription, encodeSubscription, generation } from "@coldbrook/core";
import type { Generation, SubscriptionState } from "@coldbrook/core";
import { decodeValue, openStore } from "./environment.ts";
import type { CatalogEnvironment, ValueStore } from "./environment.ts";

export class SubscriptionRecords {
  readonly #environment: CatalogEnvironment;
  readonly #values: ValueStore<number>;

  constructor(environment: CatalogEnvironment) {
    this.#environment = environment;
    this.#values = openStore(environment, "subscriptions");
  }

  /** @throws StreamError corrupt-catalog */
  load(id: Generation): SubscriptionState | undefined {
    const bytes = this.#values.get(id);
    if (bytes === undefined) return undefined;
    return decodeValue(this.#environment, `subscription ${id}`, () => decodeSubscription(id, bytes, crc32));
  }

  /** To be called inside a batch. */
  put(state: SubscriptionState): void {
    this.#values.put(state.id, encodeSubscription(state, crc32));
  }

  /** To be called inside a batch. */
  remove(id: Generation): void {
    this.#values.remove(id);
  }

  /** Every id, readable or not, the oldest first. */
  *ids(): Generator<Generation> {
    for (const id of this.#values.getKeys({ snapshot: false })) yield generation(id);
  }
}
