/**
 * What a webhook's delivery does to its subscription (protocol sections 7.1 and 7.3).
 *
 * A wake is delivered by one attempt or several, all with its wake_id and generation, so that a receiver may answer
 * any of them. The lease bounds how long the receiver that was reached may be silent, and therefore never runs while
 * the server itself waits: a failed attempt moves the lease's end to one whole `leaseTtlMs` after the next attempt.
 * Thus neither a retry nor a callback that comes while one is scheduled is fenced by the lease, and the wake stays in
 * flight. What follows for the caller:
 * - An attempt may take as long as the lease has left. One that is cut off then is reported here as failed, before
 *   the lease's expiry is recorded, or else the back-off starts again with each wake.
 * - A server that was down past the lease's end, retry or not, records the expiry and wakes anew. The retry was due
 *   long before, so its schedule is kept, and nothing is lost, because what is pending follows from the cursors.
 * - One that finds a retry overdue within the lease makes the attempt at once; one that finds a wake without a retry
 *   cannot know whether it was delivered and leaves it to the lease.
 */

import { WEBHOOK_RETRY_JITTER, WEBHOOK_RETRY_MAX_MS, WEBHOOK_RETRY_MIN_MS } from "./limits.ts";
import { unchanged } from "./subscription.ts";
import type { SubscriptionChange, SubscriptionLink, SubscriptionState, Wake } from "./subscription.ts";

/** The wake that an attempt was made for. */
export interface WakeRef {
  readonly wakeId: string;
  readonly generation: number;
}

/** Null when the wake is over, or was no webhook's: the attempt's outcome then means nothing. */
function current(state: SubscriptionState, ref: WakeRef): Wake | null {
  const { wake, generation, deleted, config } = state;
  if (deleted || config.type !== "webhook" || generation !== ref.generation) return null;
  return wake?.wakeId === ref.wakeId ? wake : null;
}

/** The receiver answered 2xx without `done`. Null when stale, and when there is no retry to forget. */
export function decideDelivered(state: SubscriptionState, ref: WakeRef): SubscriptionChange | null {
  return current(state, ref) === null || state.retry === null ? null : { ...unchanged(state), retry: null };
}

/**
 * The receiver answered `{"done": true}`: all that the attempt's snapshot named is acknowledged up to the tail sent with
 * it, and the wake ends. `links` holds at least the snapshot's; a link that is gone is left so. Null when stale.
 */
export function decideDone(
  state: SubscriptionState,
  ref: WakeRef,
  snapshot: ReadonlyMap<string, string>,
  links: ReadonlyMap<string, SubscriptionLink>,
): SubscriptionChange | null {
  if (current(state, ref) === null) return null;
  const moved: SubscriptionLink[] = [];
  for (const [path, tail] of snapshot) {
    const link = links.get(path);
    if (link !== undefined && tail > link.acked) moved.push({ ...link, acked: tail });
  }
  return { ...unchanged(state), wake: null, retry: null, links: moved };
}

/** How long to wait after `count` failures in a row. `random` is of [0, 1). */
function backOffMs(count: number, random: number): number {
  const plain = Math.min(WEBHOOK_RETRY_MAX_MS, WEBHOOK_RETRY_MIN_MS * 2 ** Math.min(count - 1, 30));
  return Math.round(plain * (1 + WEBHOOK_RETRY_JITTER * (random * 2 - 1)));
}

/** The attempt failed: schedules the next one. `random` is of [0, 1). Null when stale. */
export function decideFailed(
  state: SubscriptionState,
  ref: WakeRef,
  nowMs: number,
  random: number,
): SubscriptionChange | null {
  const wake = current(state, ref);
  if (wake === null) return null;
  const count = (state.retry?.count ?? 0) + 1;
  const nextAttemptAtMs = nowMs + backOffMs(count, random);
  const leaseUntilMs = nextAttemptAtMs + state.config.leaseTtlMs;
  return { ...unchanged(state), wake: { ...wake, leaseUntilMs }, retry: { count, nextAttemptAtMs } };
}
