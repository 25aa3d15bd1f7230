/**
 * All subscriptions, by name and by id, and which of them an append to a path may concern. Patterns are asked together; those
 * that name the path are found in the catalog and in what it lacks. A stream keeps the answer until either may have changed.
 */
import { GlobIndex } from "@coldbrook/core";
import type { Generation } from "@coldbrook/core";
import type { Catalog } from "../catalog/catalog.ts";
import type { Subscription } from "./subscription.ts";
import type { SubscriptionLinks } from "./subscription-links.ts";

/** A subscription that an append may concern. */
export interface Match {
  readonly subscription: Subscription;
  /** By its pattern; else by an explicit link, if it still has that. */
  readonly byPattern: boolean;
  /** The subscription's `unlinks` when its link to the path was last seen; -1 before. */
  linkedAt: number;
}

/** What a stream remembers of its matches. */
export interface MatchList {
  readonly version: number;
  readonly matches: readonly Match[];
}

const NONE: readonly Match[] = [];
const NOBODY: readonly Subscription[] = [];

export class SubscriptionTable {
  readonly #catalog: Catalog;
  readonly #links: SubscriptionLinks;
  readonly #byName = new Map<string, Subscription>();
  readonly #byId = new Map<Generation, Subscription>();
  readonly #patterns = new GlobIndex<Subscription>();
  readonly #byWakeStream = new Map<string, Set<Subscription>>();
  #version = 0;

  constructor(catalog: Catalog, links: SubscriptionLinks) {
    this.#catalog = catalog;
    this.#links = links;
  }

  /** Those that are not deleted; of deleted ones, those whose links are not given back. */
  get size(): number {
    return this.#byId.size;
  }

  /** The newest of that name, deleted or not. */
  find(name: string): Subscription | undefined {
    return this.#byName.get(name);
  }

  all(): Iterable<Subscription> {
    return this.#byId.values();
  }

  add(subscription: Subscription): void {
    const { name, config, deleted } = subscription.pending;
    this.#byId.set(subscription.id, subscription);
    if (deleted) return;
    this.#byName.set(name, subscription);
    if (config.pattern !== null) this.#patterns.add(config.pattern, subscription);
    if (config.wakeStream !== null) {
      const others = this.#byWakeStream.get(config.wakeStream);
      if (others === undefined) this.#byWakeStream.set(config.wakeStream, new Set([subscription]));
      else others.add(subscription);
    }
    this.#version += 1;
  }

  /** It is deleted, if perhaps not durably: no append wakes it any more. */
  unmatch(subscription: Subscription): void {
    const { pattern, wakeStream } = subscription.pending.config;
    if (pattern !== null) this.#patterns.remove(pattern, subscription);
    const others = wakeStream === null ? undefined : this.#byWakeStream.get(wakeStream);
    if (others?.delete(subscription) === true && others.size === 0) this.#byWakeStream.delete(wakeStream!);
    this.#version += 1;
  }

  /** Nothing is left of it. */
  remove(subscription: Subscription): void {
    const { name } = subscription.pending;
    this.#byId.delete(subscription.id);
    if (this.#byName.get(name) === subscription) this.#byName.delete(name);
  }

  /** Those whose wakes are told of on that path. */
  wakingOn(path: string): Iterable<Subscription> {
    return this.#byWakeStream.get(path) ?? NOBODY;
  }

  /**
   * Whether wakes are told of on that path. No pattern matches it: what the server writes there is no work, or subscriptions that
   * match each other's wake streams would wake each other for ever.
   */
  isWakeStream(path: string): boolean {
    return this.#byWakeStream.has(path);
  }

  /** Explicit links were added. */
  relinked(): void {
    this.#version += 1;
  }

  /** `holder` keeps the answer. */
  matches(path: string, holder: { matches: MatchList | null }): readonly Match[] {
    if (holder.matches === null || holder.matches.version !== this.#version) {
      holder.matches = { version: this.#version, matches: this.#match(path) };
    }
    return holder.matches.matches;
  }

  #match(path: string): readonly Match[] {
    const found = new Map<Subscription, Match>();
    for (const subscription of this.isWakeStream(path) ? NOBODY : this.#patterns.match(path)) {
      found.set(subscription, { subscription, byPattern: true, linkedAt: -1 });
    }
    const explicit = (subscription: Subscription | undefined): void => {
      if (subscription === undefined || subscription.pending.deleted || found.has(subscription)) return;
      found.set(subscription, { subscription, byPattern: false, linkedAt: -1 });
    };
    for (const id of this.#catalog.links.explicitOf(path)) explicit(this.#byId.get(id));
    for (const subscription of this.#links.changedAt(path)) explicit(subscription);
    return found.size === 0 ? NONE : [...found.values()];
  }
}
