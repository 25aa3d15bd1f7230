/** A subscription's links: what memory has of them in pending state before what the catalog has, which trails. */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { SubscriptionChange, SubscriptionLink } from "@coldbrook/core";
import type { Catalog } from "../catalog/catalog.ts";
import type { LinkEntry, Subscription } from "./subscription.ts";

/** Links that are gone through in one turn of the event loop. */
const SLICE = 500;

export class SubscriptionLinks {
  readonly #catalog: Catalog;
  /** By path: subscriptions with a change of a link that the catalog may lack. */
  readonly #unsavedByPath = new Map<string, Set<Subscription>>();

  constructor(catalog: Catalog) {
    this.#catalog = catalog;
  }

  /** @throws StreamError corrupt-catalog */
  load(subscription: Subscription, path: string): SubscriptionLink | undefined {
    const entry = subscription.unsaved?.get(path);
    if (entry !== undefined) return entry.link ?? undefined;
    return subscription.inCatalog ? this.#catalog.links.load(subscription.id, path) : undefined;
  }

  /** Makes the change's changes to links; returns them. */
  apply(subscription: Subscription, change: Pick<SubscriptionChange, "links" | "unlinked">): LinkEntry[] {
    const entries: LinkEntry[] = [];
    for (const path of change.unlinked) entries.push({ path, link: null });
    for (const link of change.links) entries.push({ path: link.path, link });
    for (const entry of entries) {
      this.#count(subscription, entry);
      this.adopt(subscription, entry);
    }
    if (change.unlinked.length > 0) subscription.unlinks += 1;
    return entries;
  }

  /** Takes over what the catalog lacks. */
  adopt(subscription: Subscription, entry: LinkEntry): void {
    subscription.unsaved ??= new Map();
    subscription.unsaved.set(entry.path, entry);
    const others = this.#unsavedByPath.get(entry.path);
    if (others === undefined) this.#unsavedByPath.set(entry.path, new Set([subscription]));
    else others.add(subscription);
  }

  /** The catalog has the entries. */
  saved(subscription: Subscription, entries: Iterable<LinkEntry>): void {
    const { unsaved } = subscription;
    for (const entry of entries) {
      // A later change of the same link is not saved yet.
      if (unsaved?.get(entry.path) !== entry) continue;
      unsaved.delete(entry.path);
      this.#forget(subscription, entry.path);
    }
    if (unsaved?.size === 0) subscription.unsaved = null;
  }

  /** The subscription is deleted: its links mean nothing any more. */
  drop(subscription: Subscription): void {
    for (const path of subscription.unsaved?.keys() ?? []) this.#forget(subscription, path);
    subscription.unsaved = null;
    subscription.dirtyLinks = null;
  }

  /** Subscriptions whose links to the path memory has; each may have one or not. */
  changedAt(path: string): Iterable<Subscription> {
    return this.#unsavedByPath.get(path) ?? [];
  }

  /** Up to `limit` of the paths, in no particular order. */
  some(subscription: Subscription, limit: number): string[] {
    const found: string[] = [];
    for (const { path, link } of subscription.unsaved?.values() ?? []) {
      if (found.length >= limit) return found;
      if (link !== null) found.push(path);
    }
    if (!subscription.inCatalog) return found;
    for (const path of this.#catalog.links.paths(subscription.id, "", limit)) {
      if (found.length >= limit) break;
      if (subscription.unsaved?.has(path) !== true) found.push(path);
    }
    return found;
  }

  /** Visits all paths, some of them perhaps twice and some that are no longer linked, over several turns of the event loop. */
  async each(subscription: Subscription, visit: (path: string) => void): Promise<void> {
    let visited = 0;
    // Others may come and go meanwhile.
    const unsaved = Array.from(subscription.unsaved?.keys() ?? []);
    for (const path of unsaved) {
      visit(path);
      if (++visited % SLICE === 0) await nextTurn();
    }
    for (let from = ""; ;) {
      const paths = this.#catalog.links.paths(subscription.id, from, SLICE);
      for (const path of paths) visit(path);
      if (paths.length < SLICE) return;
      from = `${paths.at(-1)!}\u0000`;
      await nextTurn();
    }
  }

  /** How many there are; counted once. */
  count(subscription: Subscription): number {
    if (subscription.linkCount !== null) return subscription.linkCount;
    const { id, unsaved } = subscription;
    let count = this.#catalog.links.paths(id, "", Number.MAX_SAFE_INTEGER).length;
    for (const { path, link } of unsaved?.values() ?? []) {
      count += Number(link !== null) - Number(this.#catalog.links.load(id, path) !== undefined);
    }
    subscription.linkCount = count;
    return count;
  }

  #count(subscription: Subscription, { path, link }: LinkEntry): void {
    if (subscription.linkCount === null) return;
    subscription.linkCount += Number(link !== null) - Number(this.load(subscription, path) !== undefined);
  }

  #forget(subscription: Subscription, path: string): void {
    const others = this.#unsavedByPath.get(path);
    if (others?.delete(subscription) === true && others.size === 0) this.#unsavedByPath.delete(path);
  }
}
