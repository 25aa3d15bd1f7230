/**
 * What happens to subscriptions because of what happens to streams, and the one place where a change of a subscription becomes
 * a frame. An append and the wake that it causes join the same batch in the same turn, so that no acknowledged append is
 * without its wake; while a wake is in flight the append only leaves a note in memory, and whatever ends the wake looks at
 * those notes and wakes again (protocol section 7).
 */
import {
  applySubscription,
  decideDiscover,
  decideLeaseExpiry,
  decideStreamGone,
  decideWake,
  isExpired,
  linkChange,
  offsetAt,
  ownStart,
  parseOffset,
  pendingOf,
  position,
  resolveOffset,
  subscriptionFrame,
  createdFrame,
  ZERO_OFFSET,
} from "@coldbrook/core";
import type {
  Clock,
  Lsn,
  StreamState,
  SubscriptionChange,
  SubscriptionCreated,
  SubscriptionFrame,
  SubscriptionLink,
} from "@coldbrook/core";
import type { Catalog } from "../catalog/catalog.ts";
import type { Stream } from "../engine/stream.ts";
import type { Batch } from "../wal/group-commit.ts";
import { newWakeId, Subscription } from "./subscription.ts";
import type { EnqueuedSubscription } from "./subscription.ts";
import { SubscriptionLinks } from "./subscription-links.ts";
import { SubscriptionTable } from "./subscription-table.ts";
import type { Match } from "./subscription-table.ts";
import { WakeEvents } from "./wake-events.ts";
import type { WakeEventPorts } from "./wake-events.ts";

export interface SubscriptionBookPorts extends WakeEventPorts {
  readonly catalog: Catalog;
  readonly clock: Clock;
  /** The durable state has changed. */
  readonly changed: (subscription: Subscription) => void;
}

/** An append that was enqueued. */
interface Arrival {
  readonly stream: Stream;
  /** Tail before the append; null when that created the stream. */
  readonly tailBefore: () => string | null;
  /** False when all of its bytes are inherited: no pattern discovers it by them. */
  readonly discovers: boolean;
  readonly nowMs: number;
}

/** A stream's tails as offsets. Null when there is no such stream, or none yet. */
export interface Tails {
  readonly pending: string | null;
  readonly durable: string | null;
}

const NO_STREAM: Tails = { pending: null, durable: null };

export class SubscriptionBook {
  readonly table: SubscriptionTable;
  readonly links: SubscriptionLinks;
  readonly #ports: SubscriptionBookPorts;
  readonly #events: WakeEvents;
  readonly #arrivals: Arrival[] = [];
  #arriving = false;

  constructor(ports: SubscriptionBookPorts) {
    this.#ports = ports;
    this.links = new SubscriptionLinks(ports.catalog);
    this.table = new SubscriptionTable(ports.catalog, this.links);
    this.#events = new WakeEvents(ports);
  }

  /** Bytes were appended to the stream in this turn; `before` is its pending state without them. @throws StreamError corrupt-catalog */
  appended(stream: Stream, before: StreamState, nowMs: number): void {
    if (this.table.size === 0) return;
    const tailBefore = (): string => offsetAt(before.identity, before.tail);
    this.#arrive({ stream, tailBefore, discovers: true, nowMs });
  }

  /** The stream was created in this turn; `bytes` are its own. @throws StreamError corrupt-catalog */
  created(stream: Stream, bytes: number, nowMs: number): void {
    const { identity, tail } = stream.pending;
    if (this.table.size === 0) return;
    if (tail > 0) {
      const start = ownStart(identity);
      const tailBefore = (): string | null => (start === 0 ? null : offsetAt(identity, start));
      this.#arrive({ stream, tailBefore, discovers: bytes > 0, nowMs });
    }
    const path = this.#relative(stream);
    if (path !== null) this.#announceOn(path, nowMs);
  }

  /** The stream was deleted in this turn, if only softly. @throws StreamError corrupt-catalog */
  gone(stream: Stream): void {
    if (this.table.size === 0) return;
    const path = this.#relative(stream);
    if (path === null) return;
    for (const { subscription } of this.table.matches(path, stream)) {
      if (subscription.pending.deleted) continue;
      subscription.work?.delete(path);
      const link = this.links.load(subscription, path);
      const change = link === undefined ? null : linkChange(subscription.pending, [decideStreamGone(link)]);
      if (change !== null) this.enqueue(subscription, change, this.#ports.clock());
    }
  }

  /** Puts a new subscription on its way to the disk. */
  create(created: SubscriptionCreated, links: readonly SubscriptionLink[], nowMs: number): Subscription {
    const subscription = Subscription.created(this.#ports.queue().mint(), created, nowMs);
    this.#enqueueFrame(subscription, createdFrame(subscription.id, nowMs, created, links));
    this.table.add(subscription);
    return subscription;
  }

  /** Puts a change on its way to the disk: it is the pending state from here on. */
  enqueue(subscription: Subscription, change: SubscriptionChange, nowMs: number): Batch {
    const batch = this.#enqueueFrame(subscription, subscriptionFrame(subscription.id, nowMs, change));
    this.#dropDone(subscription, change.links);
    if (change.deleted) {
      this.table.unmatch(subscription);
      subscription.work = null;
    }
    return batch;
  }

  /** The wake has ended in this turn: if there is work, the next one begins. Its work must be known. @throws StreamError corrupt-catalog */
  rewake(subscription: Subscription, nowMs: number): boolean {
    const path = this.firstWork(subscription);
    if (path === null) {
      subscription.work = null;
      return false;
    }
    return this.#wake(subscription, path, nowMs, null) !== null;
  }

  /** Records that the lease ran out, and wakes again if there is work. Null when it has not. @throws StreamError corrupt-catalog */
  expire(subscription: Subscription, nowMs: number): Batch | null {
    const change = decideLeaseExpiry(subscription.pending, nowMs);
    if (change === null) return null;
    const batch = this.enqueue(subscription, change, nowMs);
    this.rewake(subscription, nowMs);
    return batch;
  }

  /** The first path with more than was acknowledged; notes that turn out empty are dropped. */
  firstWork(subscription: Subscription): string | null {
    for (const path of subscription.work ?? []) {
      const link = this.links.load(subscription, path);
      if (link !== undefined && pendingOf(link, this.tails(path).pending)) return path;
      subscription.work!.delete(path);
    }
    return null;
  }

  /** Finds the work of a wake that recovery found, piece by piece. */
  async findWork(subscription: Subscription): Promise<void> {
    subscription.scan ??= this.#findWork(subscription).finally(() => (subscription.scan = null));
    await subscription.scan;
  }

  /** Whether the offset is one of the stream that has the path now, as far as that is durable. @throws StreamError corrupt-catalog */
  has(path: string, offset: string): boolean {
    if (offset === ZERO_OFFSET) return true;
    if (this.tails(path).durable === null) return false;
    const { identity, tail } = this.#ports.streams.lookUp(this.#ports.pathPrefix + path)!.durable!;
    const at = parseOffset(offset);
    return at.kind === "at" && resolveOffset(identity, tail, position(0), at).kind === "position";
  }

  /** @throws StreamError corrupt-catalog */
  tails(path: string): Tails {
    const stream = this.#ports.streams.lookUp(this.#ports.pathPrefix + path);
    if (stream === undefined || stream.pending.deleted || stream.pending.softDeleted) return NO_STREAM;
    const { pending, durable } = stream;
    const now = this.#ports.clock();
    if (isExpired(stream.exact(pending, now), now)) return NO_STREAM;
    return {
      pending: offsetAt(pending.identity, pending.tail),
      durable: durable === null ? null : offsetAt(durable.identity, durable.tail),
    };
  }

  /** The frame is on disk. */
  settle(frame: EnqueuedSubscription, end: Lsn): void {
    const { owner, next, batch, entries } = frame;
    const state = applySubscription(owner.durable ?? undefined, frame, end);
    owner.durable = state;
    if (owner.pending === next) owner.pending = state;
    if (owner.lastBatch === batch) owner.lastBatch = null;
    if (entries.length > 0) {
      owner.dirtyLinks ??= new Map();
      for (const entry of entries) owner.dirtyLinks.set(entry.path, entry);
    }
    if (state.deleted) this.links.drop(owner);
    this.#ports.changed(owner);
  }

  #enqueueFrame(subscription: Subscription, frame: SubscriptionFrame): Batch {
    if (subscription.pending.deleted) throw new Error(`subscription ${subscription.id}: a change after its delete`);
    const isNew = (link: SubscriptionLink): boolean => this.links.load(subscription, link.path)?.explicit !== true;
    if (frame.links.some((link) => link.explicit && isNew(link))) this.table.relinked();
    const entries = this.links.apply(subscription, frame);
    return this.#ports.queue().subscription(subscription, frame, entries);
  }

  /** Notes of what is acknowledged go at once, or whoever ends the wake would go through all of them in one turn. */
  #dropDone({ work }: Subscription, links: readonly SubscriptionLink[]): void {
    if (work === null) return;
    for (const link of links) {
      if (work.has(link.path) && !pendingOf(link, this.tails(link.path).pending)) work.delete(link.path);
    }
  }

  /** A wake's event may itself be an append that wakes others: they take their turns instead of going ever deeper. */
  #arrive(arrival: Arrival): void {
    const path = this.#relative(arrival.stream);
    if (path === null || this.table.matches(path, arrival.stream).length === 0) return;
    this.#arrivals.push(arrival);
    if (this.#arriving) return;
    this.#arriving = true;
    try {
      for (let at = 0; at < this.#arrivals.length; at++) this.#arrived(this.#arrivals[at]!);
    } finally {
      this.#arrivals.length = 0;
      this.#arriving = false;
    }
  }

  #arrived(arrival: Arrival): void {
    const path = this.#relative(arrival.stream);
    if (path === null) return;
    for (const match of this.table.matches(path, arrival.stream)) {
      const { subscription } = match;
      if (subscription.pending.deleted) continue;
      const discovered = this.#discover(match, path, arrival);
      if (discovered === null) continue;
      if (this.#wake(subscription, path, arrival.nowMs, discovered) === null) {
        if (discovered.length > 0) this.#link(subscription, discovered, arrival.nowMs);
        subscription.work ??= new Set();
        subscription.work.add(path);
      }
    }
  }

  #link(subscription: Subscription, links: readonly SubscriptionLink[], nowMs: number): void {
    const change = linkChange(
      subscription.pending,
      links.map((link) => ({ kind: "set", link })),
    );
    if (change !== null) this.enqueue(subscription, change, nowMs);
  }

  /** The link that the append makes, if it has to; null when the append does not concern the subscription. */
  #discover(match: Match, path: string, { tailBefore, discovers }: Arrival): readonly SubscriptionLink[] | null {
    const { subscription, byPattern } = match;
    if (match.linkedAt === subscription.unlinks) return [];
    const link = this.links.load(subscription, path);
    const change = byPattern && discovers ? decideDiscover(link, path, tailBefore()) : null;
    if (link === undefined && change === null) return null;
    match.linkedAt = subscription.unlinks;
    return change?.kind === "set" ? [change.link] : [];
  }

  /** Null while a wake is in flight. */
  #wake(
    subscription: Subscription,
    path: string,
    nowMs: number,
    links: readonly SubscriptionLink[] | null,
  ): Batch | null {
    const change = decideWake(subscription.pending, path, newWakeId(), nowMs);
    if (change === null) return null;
    subscription.work ??= new Set();
    subscription.work.add(path);
    const batch = this.enqueue(subscription, links === null ? change : { ...change, links }, nowMs);
    this.#events.announce(subscription, nowMs);
    return batch;
  }

  async #findWork(subscription: Subscription): Promise<void> {
    await this.links.each(subscription, (path) => {
      const link = this.links.load(subscription, path);
      if (link === undefined || !pendingOf(link, this.tails(path).pending)) return;
      subscription.work ??= new Set();
      subscription.work.add(path);
    });
    subscription.workKnown = true;
  }

  /** A wake stream has come to be: wakes that nobody has claimed are told of, since their events went nowhere. */
  #announceOn(wakeStream: string, nowMs: number): void {
    for (const subscription of this.table.wakingOn(wakeStream)) {
      const { wake } = subscription.pending;
      if (wake !== null && wake.holder === null) this.#events.announce(subscription, nowMs);
    }
  }

  /** The stream's path as subscriptions write it; null when they cannot. */
  #relative(stream: Stream): string | null {
    const { path } = stream.pending.identity;
    const { pathPrefix } = this.#ports;
    if (pathPrefix === "") return path;
    return path.startsWith(pathPrefix) ? path.slice(pathPrefix.length) : null;
  }
}
