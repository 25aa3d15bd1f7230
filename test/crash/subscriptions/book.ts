/** All streams that subscriptions follow, all subscriptions, and what happened to them, by count. */
import type { AckKind } from "../ack-bell.ts";
import type { FollowedStream, StreamLife } from "./followed-stream.ts";
import type { SubscriptionLife, SubscriptionPlan } from "./subscription-life.ts";

/** One subscription id and its lives, one after the other. */
export class SubscriptionSlot {
  readonly id: string;
  readonly plan: SubscriptionPlan;
  readonly comesAndGoes: boolean;
  readonly workers: number;
  /** Explicit links that come and go. */
  readonly toggles: readonly string[];
  current: SubscriptionLife | undefined;
  readonly past: SubscriptionLife[] = [];
  lives = 0;

  constructor(
    id: string,
    plan: SubscriptionPlan,
    options: { comesAndGoes?: boolean; workers?: number; toggles?: readonly string[] } = {},
  ) {
    this.id = id;
    this.plan = plan;
    this.comesAndGoes = options.comesAndGoes ?? false;
    this.workers = options.workers ?? 0;
    this.toggles = options.toggles ?? [];
  }

  end(): void {
    if (this.current !== undefined) this.past.push(this.current);
    this.current = undefined;
  }
}

export interface SubscriptionCounts {
  wakes: number;
  acksOfSubscriptions: number;
  claims: number;
  webhooks: number;
  /** Webhooks that were delivered again, with the same wake. */
  retries: number;
}

/** All of it, with one logical clock. */
export class SubscriptionBook {
  readonly streams: readonly FollowedStream[];
  readonly slots: readonly SubscriptionSlot[];
  readonly counts: SubscriptionCounts = { wakes: 0, acksOfSubscriptions: 0, claims: 0, webhooks: 0, retries: 0 };
  /** An acknowledgement has arrived, in this very turn. */
  onAck: (kind: AckKind) => void = () => undefined;
  readonly #byPath: ReadonlyMap<string, FollowedStream>;
  #tick = 0;

  constructor(streams: readonly FollowedStream[], slots: readonly SubscriptionSlot[]) {
    this.streams = streams;
    this.slots = slots;
    this.#byPath = new Map(streams.map((stream) => [stream.path, stream]));
  }

  tick(): number {
    this.#tick += 1;
    return this.#tick;
  }

  /** The stream there now, unless it may be deleted. */
  lifeOf(path: string): StreamLife | undefined {
    const life = this.#byPath.get(path)?.current;
    return life?.created === "yes" && life.deleted === "no" ? life : undefined;
  }

  /** The number of a wake was told; counts what is news. */
  see(life: SubscriptionLife, generation: number): void {
    if (life.leases.see(generation)) this.counts.wakes += 1;
  }
}
