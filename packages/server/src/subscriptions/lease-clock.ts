/**
 * When something must happen to a subscription without anybody asking: its lease runs out, its webhook is tried again. One heap
 * and one timer for all of them, and none while nothing is in flight.
 */
import type { Clock } from "@coldbrook/core";
import { DueHeap } from "./due-heap.ts";
import type { Subscription } from "./subscription.ts";
import type { SubscriptionBook } from "./subscription-book.ts";
import type { SubscriptionLog } from "./subscriptions.ts";

/** Longest time a timer of the platform takes. */
const TIMER_MS_MAX = 2 ** 31 - 1;
/** Subscriptions of one turn of the event loop. */
const SLICE = 500;
/** When a full write-ahead log is looked at again. */
const FULL_MS = 1_000;

export interface LeaseClockPorts {
  readonly book: SubscriptionBook;
  /** The log's budget is used up, also for what nobody asked for. */
  readonly isFull: () => boolean;
  readonly clock: Clock;
  readonly log: SubscriptionLog | null;
}

export class LeaseClock {
  readonly #ports: LeaseClockPorts;
  readonly #heap = new DueHeap<Subscription>();
  readonly #underWay = new Set<Promise<void>>();
  #timer: NodeJS.Timeout | null = null;
  #timerAtMs = Infinity;
  #deliver: ((subscription: Subscription) => void) | null = null;
  #stopped = false;

  constructor(ports: LeaseClockPorts) {
    this.#ports = ports;
  }

  /** Subscriptions with something due, now or later. */
  get size(): number {
    return this.#heap.size;
  }

  /** From here on webhooks are delivered; until then theirs rest. What recovery found in flight is delivered again. */
  deliverWith(deliver: (subscription: Subscription) => void): void {
    this.#deliver = deliver;
    for (const subscription of this.#ports.book.table.all()) {
      const { wake, retry, config, deleted } = subscription.pending;
      if (deleted || wake === null || config.type !== "webhook") continue;
      const isDue = retry === null && subscription.durable !== null && (wake.leaseUntilMs ?? 0) > this.#ports.clock();
      if (isDue) this.#start(subscription);
      else this.schedule(subscription);
    }
  }

  /** The subscription's durable state has changed. A wake of a webhook is delivered once it is durable, and not before. */
  settled(subscription: Subscription): void {
    const { durable } = subscription;
    const wakeId = durable?.wake?.wakeId ?? null;
    if (wakeId !== null && durable!.config.type === "webhook" && wakeId !== subscription.startedWakeId) {
      this.#start(subscription);
    } else {
      this.schedule(subscription);
    }
  }

  /** Looks anew at when the subscription is due. */
  schedule(subscription: Subscription): void {
    const at = this.#stopped ? Infinity : this.#dueAtMs(subscription);
    if (at === Infinity) this.#heap.remove(subscription);
    else this.#heap.set(subscription, at);
    this.#arm();
  }

  /** Does what is due; resolves when all of it is on its way to the disk or to its receiver. */
  async tick(): Promise<void> {
    const now = this.#ports.clock();
    for (let count = 0; count < SLICE; count++) {
      const subscription = this.#heap.take(now);
      if (subscription === undefined) break;
      this.#due(subscription, now);
    }
    this.#arm();
    await Promise.all(this.#underWay);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    await Promise.all(this.#underWay);
  }

  #dueAtMs({ pending, delivery, notBeforeMs }: Subscription): number {
    const { wake, retry, config, deleted } = pending;
    if (deleted || wake === null) return Infinity;
    const leaseUntilMs = wake.leaseUntilMs ?? Infinity;
    if (config.type !== "webhook") return leaseUntilMs;
    // Who waits for a turn looks at the lease when it comes.
    if (this.#deliver === null || delivery === "queued") return Infinity;
    if (delivery !== null) return leaseUntilMs;
    const nextMs = Math.max(retry?.nextAttemptAtMs ?? 0, notBeforeMs);
    return nextMs === 0 ? leaseUntilMs : Math.min(leaseUntilMs, nextMs);
  }

  #start(subscription: Subscription): void {
    if (this.#deliver === null || this.#stopped) return;
    subscription.startedWakeId = subscription.pending.wake?.wakeId ?? null;
    subscription.notBeforeMs = 0;
    subscription.delivery = "queued";
    this.schedule(subscription);
    this.#deliver(subscription);
  }

  #due(subscription: Subscription, now: number): void {
    const { wake, deleted, config } = subscription.pending;
    if (deleted || wake === null) return;
    const lapsed = wake.leaseUntilMs !== null && wake.leaseUntilMs <= now;
    const { delivery } = subscription;
    if (delivery === "queued") return;
    if (delivery !== null) {
      // An attempt that outlasts the lease is cut off and then counts as failed, which keeps its wake and its back-off.
      if (lapsed) delivery.abort();
      else this.schedule(subscription);
    } else if (lapsed) {
      this.#run(subscription, this.#expire(subscription));
    } else if (config.type === "webhook") {
      this.#start(subscription);
    } else {
      this.schedule(subscription);
    }
  }

  async #expire(subscription: Subscription): Promise<void> {
    const { book, isFull, clock } = this.#ports;
    if (!subscription.workKnown) await book.findWork(subscription);
    if (isFull()) {
      this.#heap.set(subscription, clock() + FULL_MS);
      this.#arm();
    } else if (book.expire(subscription, clock()) === null) {
      this.schedule(subscription);
    }
  }

  #run(subscription: Subscription, work: Promise<void>): void {
    const run = work.catch((error: unknown) => {
      const { name } = subscription.pending;
      this.#ports.log?.error(
        { subscription: name, error: (error as Error).message },
        "the subscription cannot be woken, and rests until its next append or the next start",
      );
    });
    this.#underWay.add(run);
    void run.then(() => this.#underWay.delete(run));
  }

  #arm(): void {
    const at = this.#stopped ? Infinity : this.#heap.nextMs;
    if (at === this.#timerAtMs && this.#timer !== null) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#timerAtMs = at;
    if (at === Infinity) return;
    const delay = Math.min(TIMER_MS_MAX, Math.max(0, at - this.#ports.clock()));
    this.#timer = setTimeout(() => {
      this.#timer = null;
      void this.tick();
    }, delay);
    this.#timer.unref();
  }
}
