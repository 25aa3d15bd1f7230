/** The engine's side of subscriptions: the book of them, their way into the catalog, and their due times. */
import type { Clock, Lsn, WebhookSigning } from "@coldbrook/core";
import type { Catalog } from "../catalog/catalog.ts";
import type { FrameQueue } from "../engine/frame-queue.ts";
import type { StreamTable } from "../engine/stream-table.ts";
import type { ServerKeys } from "./server-keys.ts";
import { LeaseClock } from "./lease-clock.ts";
import { Subscription } from "./subscription.ts";
import type { EnqueuedSubscription } from "./subscription.ts";
import { SubscriptionBook } from "./subscription-book.ts";
import type { ReplayedSubscription } from "./subscription-replay.ts";
import { SubscriptionService } from "./subscription-service.ts";
import { SubscriptionSaver } from "./subscription-saver.ts";
import { WakeTokens } from "./wake-tokens.ts";

/** The part of the log's budget that may be used beyond it, so that wakes go on through an outage of the store. */
const HEADROOM = 0.125;

/** For the operator. */
export interface SubscriptionLog {
  warn(facts: object, message: string): void;
  error(facts: object, message: string): void;
}

export interface SubscriptionsPorts {
  readonly catalog: Catalog;
  readonly streams: StreamTable;
  readonly queue: () => FrameQueue;
  /** See SubscriptionBook. */
  readonly pathPrefix: string;
  readonly clock: Clock;
  readonly log: SubscriptionLog | null;
  /** Something durable is to be saved. */
  readonly armSync: () => void;
  readonly fatal: (error: Error) => void;
}

export class Subscriptions {
  readonly book: SubscriptionBook;
  readonly saver: SubscriptionSaver;
  readonly leases: LeaseClock;
  readonly #ports: SubscriptionsPorts;

  constructor(ports: SubscriptionsPorts) {
    this.#ports = ports;
    this.book = new SubscriptionBook({
      ...ports,
      changed: (subscription) => this.#changed(subscription),
      warn: (facts, message) => ports.log?.warn(facts, message),
    });
    this.saver = new SubscriptionSaver(ports.catalog, this.book.table, this.book.links);
    this.leases = new LeaseClock({ book: this.book, isFull: () => this.isFull, clock: ports.clock, log: ports.log });
  }

  /** The log's budget is used up, also for what nobody asked for: expiries and the outcomes of deliveries. */
  get isFull(): boolean {
    return this.#ports.queue().isFull(HEADROOM);
  }

  /** Takes over what the catalog has and recovery read on top of it. @throws StreamError corrupt-catalog */
  adopt(replayed: Iterable<ReplayedSubscription>): void {
    const { catalog } = this.#ports;
    const known = new Map(Array.from(replayed, (each) => [each.state.id, each]));
    for (const id of catalog.subscriptions.ids()) {
      if (known.has(id)) continue;
      const state = catalog.subscriptions.load(id);
      if (state !== undefined) known.set(id, { state, inCatalog: true, links: new Map() });
    }
    // By id, so that of two with one name the later one has it.
    for (const each of [...known.values()].sort((a, b) => a.state.id - b.state.id)) this.#adopt(each);
  }

  /** The operations on them, as clients ask for them. */
  service(secrets: { readonly keys: ServerKeys; readonly signing: WebhookSigning | null }): SubscriptionService {
    const { keys, signing } = secrets;
    const tokens = new WakeTokens(keys.tokenSecret, this.#ports.clock);
    return new SubscriptionService({ ...this.#ports, book: this.book, signing, tokens });
  }

  /** The frame is on disk. */
  settle(frame: EnqueuedSubscription, end: Lsn): void {
    this.book.settle(frame, end);
  }

  #adopt({ state, inCatalog, links }: ReplayedSubscription): void {
    const subscription = new Subscription(state, state, inCatalog);
    for (const entry of links.values()) {
      this.book.links.adopt(subscription, entry);
      subscription.dirtyLinks ??= new Map();
      subscription.dirtyLinks.set(entry.path, entry);
    }
    this.book.table.add(subscription);
    if (state.deleted) this.book.links.drop(subscription);
    if (links.size > 0 || !inCatalog || state.lsn > (this.#ports.catalog.meta("appliedLsn") ?? 0)) {
      this.saver.mark(subscription);
    } else if (state.deleted) {
      this.saver.bury(subscription);
    }
    this.leases.schedule(subscription);
  }

  #changed(subscription: Subscription): void {
    this.saver.mark(subscription);
    this.#ports.armSync();
    this.leases.settled(subscription);
  }
}
