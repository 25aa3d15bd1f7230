/** Subscriptions as the un-rolled WAL leaves them, on top of what the catalog has. */
import { applySubscription } from "@coldbrook/core";
import type { Generation, Lsn, SubscriptionFrame, SubscriptionState } from "@coldbrook/core";
import type { Catalog } from "../catalog/catalog.ts";
import type { LinkEntry } from "./subscription.ts";

export interface ReplayedSubscription {
  readonly state: SubscriptionState;
  readonly inCatalog: boolean;
  /** Links that the catalog lacks or has otherwise. */
  readonly links: ReadonlyMap<string, LinkEntry>;
}

interface Replaying {
  state: SubscriptionState | undefined;
  readonly inCatalog: boolean;
  readonly links: Map<string, LinkEntry>;
}

export class SubscriptionReplay {
  readonly #catalog: Catalog;
  readonly #appliedLsn: Lsn;
  readonly #replaying = new Map<Generation, Replaying>();

  constructor(catalog: Catalog, appliedLsn: Lsn) {
    this.#catalog = catalog;
    this.#appliedLsn = appliedLsn;
  }

  /** @throws StreamError corrupt-wal when the frame cannot follow */
  apply(frame: SubscriptionFrame, end: Lsn): void {
    const known = this.#known(frame.stream);
    // The catalog has applied its deletion and given it back.
    if (known.state === undefined && end <= this.#appliedLsn) return;
    const before = known.state;
    known.state = applySubscription(before, frame, end);
    if (known.state === before) return;
    if (frame.deleted) known.links.clear();
    for (const path of frame.unlinked) known.links.set(path, { path, link: null });
    for (const link of frame.links) known.links.set(link.path, { path: link.path, link });
  }

  results(): ReplayedSubscription[] {
    const results: ReplayedSubscription[] = [];
    for (const { state, inCatalog, links } of this.#replaying.values()) {
      if (state !== undefined) results.push({ state, inCatalog, links });
    }
    return results;
  }

  #known(id: Generation): Replaying {
    let known = this.#replaying.get(id);
    if (known === undefined) {
      const state = this.#catalog.subscriptions.load(id);
      known = { state, inCatalog: state !== undefined, links: new Map() };
      this.#replaying.set(id, known);
    }
    return known;
  }
}
