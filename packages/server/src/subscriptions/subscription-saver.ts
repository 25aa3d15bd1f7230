/**
 * Carries durable subscriptions into the catalog, behind the WAL, in slices. A subscription's links go before its head, whose
 * LSN says what is included: replay repeats what a crash left between them. What is left of a deleted one is given back only
 * when no frame of it can be replayed any more.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { SubscriptionState } from "@coldbrook/core";
import type { Catalog } from "../catalog/catalog.ts";
import type { LinkEntry, Subscription } from "./subscription.ts";
import type { SubscriptionLinks } from "./subscription-links.ts";
import type { SubscriptionTable } from "./subscription-table.ts";

/** Changes of one transaction. */
const SLICE = 1_000;

interface Saving {
  readonly subscription: Subscription;
  readonly state: SubscriptionState;
  readonly entries: readonly LinkEntry[];
}

export class SubscriptionSaver {
  readonly #catalog: Catalog;
  readonly #table: SubscriptionTable;
  readonly #links: SubscriptionLinks;
  #dirty = new Set<Subscription>();
  readonly #deleted = new Set<Subscription>();

  constructor(catalog: Catalog, table: SubscriptionTable, links: SubscriptionLinks) {
    this.#catalog = catalog;
    this.#table = table;
    this.#links = links;
  }

  get dirtyCount(): number {
    return this.#dirty.size;
  }

  /** The durable state has changed. */
  mark(subscription: Subscription): void {
    this.#dirty.add(subscription);
  }

  /** The catalog has it, and it is deleted. */
  bury(subscription: Subscription): void {
    this.#deleted.add(subscription);
  }

  /** Resolves when all that is durable now is committed. */
  async save(): Promise<void> {
    const subscriptions = [...this.#dirty];
    this.#dirty = new Set();
    let slice: Saving[] = [];
    let size = 0;
    for (const subscription of subscriptions) {
      const saving = take(subscription);
      if (saving === null) continue;
      if (saving.entries.length > SLICE) {
        await this.#saveLarge(saving);
        continue;
      }
      slice.push(saving);
      size += 1 + saving.entries.length;
      if (size < SLICE) continue;
      await this.#saveSlice(slice);
      slice = [];
      size = 0;
      await nextTurn();
    }
    if (slice.length > 0) await this.#saveSlice(slice);
  }

  /** All frames that end at or before `appliedLsn` are in the catalog and will not be replayed: gives back what is deleted. */
  async giveBack(appliedLsn: number): Promise<void> {
    for (const subscription of this.#deleted) {
      const { durable, id } = subscription;
      if (durable === null || durable.lsn > appliedLsn) continue;
      for (;;) {
        const paths = this.#catalog.links.paths(id, "", SLICE);
        const isLast = paths.length < SLICE;
        await this.#catalog.batch(() => {
          for (const path of paths) this.#catalog.links.remove(id, path);
          if (isLast) this.#catalog.subscriptions.remove(id);
        });
        if (isLast) break;
        await nextTurn();
      }
      this.#deleted.delete(subscription);
      this.#table.remove(subscription);
    }
  }

  async #saveLarge(saving: Saving): Promise<void> {
    const { entries } = saving;
    for (let from = 0; from < entries.length; from += SLICE) {
      await this.#catalog.batch(() => this.#putLinks(saving, entries.slice(from, from + SLICE)));
      await nextTurn();
    }
    await this.#catalog.batch(() => this.#catalog.subscriptions.put(saving.state));
    this.#saved(saving);
  }

  async #saveSlice(slice: readonly Saving[]): Promise<void> {
    await this.#catalog.batch(() => {
      for (const saving of slice) {
        this.#putLinks(saving, saving.entries);
        this.#catalog.subscriptions.put(saving.state);
      }
    });
    for (const saving of slice) this.#saved(saving);
  }

  #putLinks({ subscription }: Saving, entries: readonly LinkEntry[]): void {
    for (const { path, link } of entries) {
      if (link === null) this.#catalog.links.remove(subscription.id, path);
      else this.#catalog.links.put(subscription.id, link);
    }
  }

  #saved({ subscription, state, entries }: Saving): void {
    subscription.inCatalog = true;
    this.#links.saved(subscription, entries);
    if (state.deleted) this.#deleted.add(subscription);
  }
}

function take(subscription: Subscription): Saving | null {
  const { durable, dirtyLinks } = subscription;
  if (durable === null) return null;
  subscription.dirtyLinks = null;
  return { subscription, state: durable, entries: [...(dirtyLinks?.values() ?? [])] };
}
