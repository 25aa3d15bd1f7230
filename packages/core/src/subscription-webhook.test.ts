import { expect, test } from "vitest";
import { at, fresh, linkOf, pullConfig, startMs, webhookConfig } from "../test-support/subscription.ts";
import { lsn } from "./brand.ts";
import { applySubscription } from "./subscription-replay.ts";
import { decideLeaseExpiry, decideWake } from "./subscription-wake.ts";
import { decideDelivered, decideDone, decideFailed } from "./subscription-webhook.ts";
import { subscriptionFrame, wakeInFlight } from "./subscription.ts";
import type { SubscriptionChange, SubscriptionState } from "./subscription.ts";

function after(state: SubscriptionState, change: SubscriptionChange | null): SubscriptionState {
  if (change === null) throw new Error("nothing was changed");
  return applySubscription(state, subscriptionFrame(state.id, startMs, change), lsn(state.lsn + 1));
}

const idle = fresh({ ...webhookConfig, leaseTtlMs: 1_000 });
const ref = { wakeId: "w1", generation: 1 };
const woken = after(idle, decideWake(idle, "events/a", "w1", startMs));
const failed = after(woken, decideFailed(woken, ref, startMs + 100, 0.5));
const links = new Map([["events/a", linkOf("events/a", at(10))]]);

test("a failed delivery is tried again, the same wake, and the lease ends one whole lease after that", () => {
  expect(failed.retry).toEqual({ count: 1, nextAttemptAtMs: startMs + 1_100 });
  expect(failed.wake).toEqual({ ...woken.wake, leaseUntilMs: startMs + 2_100 });
  expect(failed.generation).toBe(1);
});

test("a wake outlives any number of failures, each reported in time", () => {
  let state = woken;
  let nowMs = startMs;
  for (let count = 1; count <= 40; count++) {
    nowMs += 999;
    expect(wakeInFlight(state, nowMs)).not.toBeNull();
    state = after(state, decideFailed(state, ref, nowMs, 0.999));
    expect(state.retry?.count).toBe(count);
    nowMs = state.retry?.nextAttemptAtMs ?? 0;
    expect(wakeInFlight(state, nowMs - 1)).not.toBeNull();
  }
  expect(state.wake?.wakeId).toBe("w1");
});

test("a server that was down past the lease wakes anew", () => {
  const expired = after(failed, decideLeaseExpiry(failed, startMs + 2_100));
  expect(expired).toMatchObject({ generation: 1, wake: null, retry: null });
  expect(decideWake(expired, "events/a", "w2", startMs + 2_100)).toMatchObject({ generation: 2, retry: null });
});

test.each([
  [1, 0, 800],
  [1, 0.5, 1_000],
  [1, 1, 1_200],
  [2, 0.5, 2_000],
  [3, 0.5, 4_000],
  [6, 0.5, 32_000],
  [7, 0.5, 60_000],
  [7, 0, 48_000],
  [1_000_000, 1, 72_000],
])("failure %d with random %d waits %d ms", (count, random, waitMs) => {
  const before: SubscriptionState = {
    ...woken,
    retry: count === 1 ? null : { count: count - 1, nextAttemptAtMs: startMs },
  };
  expect(decideFailed(before, ref, startMs, random)?.retry).toEqual({ count, nextAttemptAtMs: startMs + waitMs });
});

test("an answer forgets the failures, and says nothing when there were none", () => {
  expect(decideDelivered(failed, ref)).toMatchObject({ wake: failed.wake, retry: null });
  expect(decideDelivered(woken, ref)).toBeNull();
});

test("done acknowledges what was sent, never backwards, and ends the wake", () => {
  const change = decideDone(failed, ref, new Map([["events/a", at(20)]]), links);
  expect(change).toMatchObject({ generation: 1, wake: null, retry: null, links: [linkOf("events/a", at(20))] });
  for (const snapshot of [[["events/a", at(5)]], [["events/gone", at(5)]]] as const) {
    expect(decideDone(failed, ref, new Map(snapshot), links)).toMatchObject({ wake: null, links: [] });
  }
});

test.each([
  ["of an earlier wake", woken, { ...ref, generation: 0 }],
  ["of another wake", woken, { ...ref, wakeId: "w2" }],
  ["after the wake", idle, ref],
  ["after the deletion", { ...failed, deleted: true }, ref],
  ["of a pull-wake", { ...failed, config: pullConfig }, ref],
])("an outcome %s means nothing", (_, state, stale) => {
  expect(decideDelivered({ ...state, retry: failed.retry }, stale)).toBeNull();
  expect(decideDone(state, stale, new Map(), links)).toBeNull();
  expect(decideFailed(state, stale, startMs, 0.5)).toBeNull();
});
