import * as fc from "fast-check";
import { expect, test } from "vitest";
import { at, fresh, linkOf, pullConfig, startMs, subscription, webhookConfig } from "../test-support/subscription.ts";
import { generation, lsn } from "./brand.ts";
import { applyLinks, decideStreamGone, linkChange, pendingOf } from "./subscription-link.ts";
import type { AckRequest } from "./subscription-parse.ts";
import { applySubscription } from "./subscription-replay.ts";
import {
  decideAck,
  decideClaim,
  decideLeaseExpiry,
  decideRelease,
  decideSubscribe,
  decideUnsubscribe,
  decideWake,
} from "./subscription-wake.ts";
import type { AckDecision } from "./subscription-wake.ts";
import { decideDelivered, decideDone, decideFailed } from "./subscription-webhook.ts";
import { subscriptionFrame } from "./subscription.ts";
import type { SubscriptionChange, SubscriptionLink, SubscriptionState, WakeToken } from "./subscription.ts";

/** The state after `change`, which must be one. */
function after(state: SubscriptionState, change: SubscriptionChange | null): SubscriptionState {
  if (change === null) throw new Error("nothing was changed");
  return applySubscription(state, subscriptionFrame(state.id, startMs, change), lsn(state.lsn + 1));
}

const pull = fresh(pullConfig);
const webhook = fresh(webhookConfig);
const offered = after(pull, decideWake(pull, "events/a", "w1", startMs));
const claim = { worker: "worker-1", pendingPath: "events/a", wakeId: "w9", nowMs: startMs };
const claimed = ((): SubscriptionState => {
  const decision = decideClaim(offered, claim);
  return after(offered, decision.kind === "claimed" ? decision.change : null);
})();
const delivered = after(webhook, decideWake(webhook, "events/a", "w1", startMs));
const token: WakeToken = { subscription, generation: 1 };
const request: AckRequest = { wakeId: "w1", generation: 1, acks: [], done: false };
const links = new Map([
  ["events/a", linkOf("events/a", at(10))],
  ["events/b", linkOf("events/b", "-1", "explicit")],
]);
const tails = new Map<string, string | null>([
  ["events/a", at(50)],
  ["events/b", null],
]);

test("a name is taken by its configuration until it is deleted", () => {
  expect(decideSubscribe(undefined, "c0ffee")).toBe("create");
  expect(decideSubscribe(pull, "c0ffee")).toBe("exists");
  expect(decideSubscribe(pull, "decaf")).toBe("conflict");
  const deleted = after(claimed, decideUnsubscribe(claimed));
  expect(deleted).toMatchObject({ deleted: true, wake: null, generation: 1 });
  expect(decideSubscribe(deleted, "c0ffee")).toBe("create");
  expect(decideUnsubscribe(deleted)).toBeNull();
});

test("a webhook's lease starts with its wake, a pull-wake's does not", () => {
  expect(delivered).toMatchObject({
    generation: 1,
    wake: { wakeId: "w1", stream: "events/a", holder: null, leaseUntilMs: startMs + 30_000 },
  });
  expect(offered).toMatchObject({
    generation: 1,
    wake: { wakeId: "w1", stream: "events/a", holder: null, leaseUntilMs: null },
  });
});

test("there is one wake at a time, and another once its lease has run out, recorded or not", () => {
  expect(decideWake(offered, "events/b", "w2", startMs + 1e9)).toBeNull();
  expect(decideWake(claimed, "events/b", "w2", startMs + 999)).toBeNull();
  expect(decideWake(delivered, "events/b", "w2", startMs + 29_999)).toBeNull();
  expect(decideWake(delivered, "events/b", "w2", startMs + 30_000)).toMatchObject({
    generation: 2,
    wake: { wakeId: "w2", stream: "events/b" },
  });
});

test("a claim takes the wake in flight, or makes one when work is pending", () => {
  expect(decideClaim(offered, claim)).toMatchObject({ kind: "claimed", wakeId: "w1", generation: 1 });
  expect(claimed.wake).toEqual({
    wakeId: "w1",
    stream: "events/a",
    holder: "worker-1",
    leaseUntilMs: startMs + 1_000,
  });
  expect(decideClaim(pull, claim)).toMatchObject({
    kind: "claimed",
    wakeId: "w9",
    generation: 1,
    change: { wake: { wakeId: "w9", stream: "events/a", holder: "worker-1" } },
  });
});

test("a claim of what is held says by whom, until the lease has run out", () => {
  const other = { ...claim, worker: "worker-2" };
  expect(decideClaim(claimed, { ...other, nowMs: startMs + 999 })).toEqual({
    kind: "held",
    holder: "worker-1",
    generation: 1,
  });
  expect(decideClaim(claimed, { ...other, nowMs: startMs + 1_000 })).toMatchObject({
    kind: "claimed",
    wakeId: "w9",
    generation: 2,
  });
});

test("a claim without pending work takes back the wake that nobody claimed, so that later work is announced", () => {
  const idle = { ...claim, pendingPath: null };
  expect(decideClaim(pull, idle)).toEqual({ kind: "idle", change: null });
  const decision = decideClaim(offered, idle);
  expect(decision).toMatchObject({ kind: "idle", change: { wake: null, generation: 1 } });
  const rested = after(offered, decision.kind === "idle" ? decision.change : null);
  expect(decideWake(rested, "events/a", "w2", startMs)).toMatchObject({ generation: 2 });
});

test("each type takes its own requests only", () => {
  const refused = { kind: "refused", code: "INVALID_REQUEST" };
  expect(decideClaim(delivered, claim)).toMatchObject(refused);
  expect(decideRelease(delivered, { token, request, nowMs: startMs })).toMatchObject(refused);
  expect(decideAck(delivered, { endpoint: "ack", token, request, links, tails, nowMs: startMs })).toMatchObject(
    refused,
  );
  expect(decideAck(claimed, { endpoint: "callback", token, request, links, tails, nowMs: startMs })).toMatchObject(
    refused,
  );
});

test.each<[string, SubscriptionState, Partial<WakeToken>, Partial<AckRequest>, number, string]>([
  ["no wake", pull, {}, {}, 0, "FENCED"],
  ["a wake that nobody claimed", offered, {}, {}, 0, "FENCED"],
  ["a token of an earlier wake", claimed, { generation: 0 }, {}, 0, "FENCED"],
  ["a token of a later wake", claimed, { generation: 2 }, {}, 0, "FENCED"],
  ["another subscription's token", claimed, { subscription: generation(8) }, {}, 0, "TOKEN_INVALID"],
  ["another generation", claimed, {}, { generation: 2 }, 0, "FENCED"],
  ["no generation", claimed, {}, { generation: null }, 0, "FENCED"],
  ["another wake_id", claimed, {}, { wakeId: "w2" }, 0, "FENCED"],
  ["no wake_id", claimed, {}, { wakeId: null }, 0, "FENCED"],
  ["a lease that ran out", claimed, {}, {}, 1_000, "FENCED"],
  ["a deleted subscription", { ...claimed, deleted: true }, {}, {}, 0, "SUBSCRIPTION_NOT_FOUND"],
])("neither an ack nor a release passes with %s", (_, state, tokenPart, requestPart, passed, code) => {
  const common = { token: { ...token, ...tokenPart }, nowMs: startMs + passed };
  const body = { ...request, ...requestPart, acks: [{ path: "events/a", offset: at(20) }] };
  expect(decideAck(state, { ...common, endpoint: "ack", request: body, links, tails })).toMatchObject({ code });
  expect(decideRelease(state, { ...common, request: body })).toMatchObject({ code });
});

test("a deleted subscription is not found, whatever its type was", () => {
  const deleted = { ...delivered, deleted: true };
  const common = { token, request, links, tails, nowMs: startMs };
  expect(decideAck(deleted, { ...common, endpoint: "ack" })).toMatchObject({ code: "SUBSCRIPTION_NOT_FOUND" });
  expect(decideClaim(deleted, claim)).toMatchObject({ code: "SUBSCRIPTION_NOT_FOUND" });
  expect(decideRelease(deleted, common)).toMatchObject({ code: "SUBSCRIPTION_NOT_FOUND" });
  expect(decideWake({ ...pull, deleted: true }, "events/a", "w1", startMs)).toBeNull();
});

function ack(part: Partial<AckRequest>, state: SubscriptionState = claimed): AckDecision {
  const endpoint = state.config.type === "webhook" ? "callback" : "ack";
  return decideAck(state, {
    endpoint,
    token,
    request: { ...request, ...part },
    links,
    tails,
    nowMs: startMs + 500,
  });
}

test.each<[string, string, string]>([
  ["a stream that is not linked", "events/c", at(20)],
  ["-1", "events/a", "-1"],
  ["now", "events/a", "now"],
  ["nothing", "events/a", ""],
  ["no offset", "events/a", "0000000000000003_20"],
  ["an offset past all integers", "events/a", "9999999999999999_9999999999999999"],
  ["a step back", "events/a", at(9)],
  ["the zero offset after some bytes", "events/a", at(0).replace("3", "0")],
  ["more than there is", "events/a", at(51)],
  ["a stream that is gone", "events/b", at(1)],
])("an ack of %s is INVALID_OFFSET, and the good ones beside it are not applied", (_, path, offset) => {
  const good = { path: "events/a", offset: at(20) };
  expect(ack({ acks: [good, { path, offset }], done: true })).toMatchObject({
    kind: "refused",
    code: "INVALID_OFFSET",
  });
});

test("an ack without done moves cursors and starts the lease anew", () => {
  const decision = ack({ acks: [{ path: "events/a", offset: at(50) }] });
  expect(decision).toEqual({
    kind: "acked",
    done: false,
    change: {
      generation: 1,
      wake: { ...claimed.wake, leaseUntilMs: startMs + 1_500 },
      retry: null,
      links: [linkOf("events/a", at(50))],
      unlinked: [],
      deleted: false,
    },
  });
});

test("an ack with done ends the wake; several acks of a stream move it to the furthest, and none writes nothing", () => {
  const acks = [at(30), at(40), at(20)].map((offset) => ({ path: "events/a", offset }));
  expect(ack({ acks, done: true })).toMatchObject({
    done: true,
    change: { generation: 1, wake: null, links: [{ path: "events/a", acked: at(40) }] },
  });
  expect(ack({ acks: [{ path: "events/a", offset: at(10) }] })).toMatchObject({ kind: "acked", change: { links: [] } });
  const zero = [{ path: "events/b", offset: "0000000000000000_0000000000000000" }];
  expect(ack({ acks: zero })).toMatchObject({ kind: "acked", change: { links: [{ explicit: true }] } });
});

test("a callback extends a webhook's lease and drops a retry: the worker was reached", () => {
  const failed = after(delivered, decideFailed(delivered, { wakeId: "w1", generation: 1 }, startMs, 0.5));
  expect(ack({}, failed)).toMatchObject({
    kind: "acked",
    change: { wake: { leaseUntilMs: startMs + 30_500 }, retry: null },
  });
});

test("a release gives the work back and leaves the cursors", () => {
  expect(decideRelease(claimed, { token, request, nowMs: startMs })).toMatchObject({
    kind: "released",
    change: { generation: 1, wake: null, links: [] },
  });
});

test("a lease's expiry is recorded when it has run out, and once", () => {
  expect(decideLeaseExpiry(pull, startMs)).toBeNull();
  expect(decideLeaseExpiry(offered, startMs + 1e9)).toBeNull();
  expect(decideLeaseExpiry(claimed, startMs + 999)).toBeNull();
  const expired = after(claimed, decideLeaseExpiry(claimed, startMs + 1_000));
  expect(expired).toMatchObject({ generation: 1, wake: null, retry: null });
  expect(decideLeaseExpiry(expired, startMs + 1e9)).toBeNull();
});

type Step = { readonly what: string; readonly pick: number; readonly bytes: number; readonly waitMs: number };

/** A subscription, its streams and all that its workers were ever given, driven step by step. */
class Play {
  state: SubscriptionState;
  readonly links = new Map<string, SubscriptionLink>();
  readonly tails = new Map<string, string | null>([
    ["events/a", at(0)],
    ["events/b", at(0)],
  ]);
  readonly given: { wakeId: string; generation: number }[] = [];
  /** Until when somebody holds the work, by what the answers said; 0 when nobody does. */
  heldUntilMs = 0;
  nowMs = startMs;
  wakes = 0;
  readonly type: "webhook" | "pull-wake";

  constructor(type: "webhook" | "pull-wake") {
    this.type = type;
    this.state = fresh(type === "webhook" ? { ...webhookConfig, leaseTtlMs: 1_000 } : pullConfig);
    this.links.set("events/a", linkOf("events/a", at(0)));
    this.links.set("events/b", linkOf("events/b", "-1", "explicit"));
  }

  pending(): string | null {
    for (const [path, link] of this.links) if (pendingOf(link, this.tails.get(path) ?? null)) return path;
    return null;
  }

  commit(change: SubscriptionChange | null): void {
    if (change === null) return;
    const before = new Map(this.links);
    this.state = after(this.state, change);
    applyLinks(this.links, change);
    for (const [path, link] of this.links) {
      const was = before.get(path);
      expect(was === undefined || was.acked <= link.acked).toBe(true);
    }
  }

  claim(): void {
    const wakeId = `w${++this.wakes}`;
    const decision = decideClaim(this.state, {
      worker: `worker-${this.wakes}`,
      pendingPath: this.pending(),
      wakeId,
      nowMs: this.nowMs,
    });
    if (decision.kind === "refused") return;
    if (decision.kind !== "held") this.commit(decision.change);
    if (decision.kind === "claimed") {
      expect(this.given.some(({ generation }) => generation >= decision.generation)).toBe(false);
      expect(this.heldUntilMs).toBeLessThanOrEqual(this.nowMs);
      this.heldUntilMs = this.nowMs + this.state.config.leaseTtlMs;
      this.given.push(decision);
    }
  }

  /** A worker, perhaps one of long ago, acks at any offset. */
  ack({ pick, bytes }: Step, done: boolean): void {
    const one = this.given[pick % Math.max(1, this.given.length)];
    if (one === undefined) return;
    const path = pick % 2 === 0 ? "events/a" : "events/b";
    const decision = decideAck(this.state, {
      endpoint: this.type === "webhook" ? "callback" : "ack",
      token: { subscription, generation: one.generation },
      request: { ...one, acks: [{ path, offset: at(bytes) }], done },
      links: this.links,
      tails: this.tails,
      nowMs: this.nowMs,
    });
    if (decision.kind === "refused") return;
    expect(one.generation).toBe(this.state.generation);
    if (this.type === "pull-wake") expect(this.heldUntilMs).toBeGreaterThan(this.nowMs);
    this.heldUntilMs = done ? 0 : this.nowMs + this.state.config.leaseTtlMs;
    this.commit(decision.change);
  }

  webhook({ what, pick, bytes }: Step): void {
    const one = this.given[pick % Math.max(1, this.given.length)];
    if (one === undefined) return;
    if (what === "delivered") this.commit(decideDelivered(this.state, one));
    if (what === "failed") this.commit(decideFailed(this.state, one, this.nowMs, bytes / 1_000));
    if (what === "finished") this.commit(decideDone(this.state, one, new Map([["events/a", at(bytes)]]), this.links));
  }

  step(step: Step): void {
    this.nowMs += step.waitMs;
    const path = step.pick % 2 === 0 ? "events/a" : "events/b";
    if (step.what === "append") this.tails.set(path, at(step.bytes + 1));
    if (step.what === "claim") this.claim();
    if (step.what === "ack" || step.what === "done") this.ack(step, step.what === "done");
    if (step.what === "expiry") this.commit(decideLeaseExpiry(this.state, this.nowMs));
    if (step.what === "append" && this.pending() !== null) {
      const change = decideWake(this.state, path, `w${++this.wakes}`, this.nowMs);
      this.commit(change);
      const { wake, generation } = this.state;
      if (change !== null && wake !== null && this.type === "webhook") {
        this.given.push({ wakeId: wake.wakeId, generation });
      }
    }
    this.webhook(step);
    expect(this.state.retry === null || this.state.wake !== null).toBe(true);
  }
}

test("whatever workers send, no cursor goes back, no two hold the work, and only the wake in flight moves anything", () => {
  const anyStep: fc.Arbitrary<Step> = fc.record({
    what: fc.constantFrom("append", "claim", "ack", "done", "expiry", "delivered", "failed", "finished"),
    pick: fc.nat(9),
    bytes: fc.nat(40),
    waitMs: fc.constantFrom(0, 0, 0, 1, 400, 1_000),
  });
  fc.assert(
    fc.property(fc.constantFrom("webhook", "pull-wake"), fc.array(anyStep, { maxLength: 40 }), (type, steps) => {
      const play = new Play(type);
      for (const step of steps) play.step(step);
    }),
    { numRuns: 500 },
  );
});

test("only a stream's deletion takes a cursor back, and an explicit one's at that", () => {
  const gone = [...links.values()].map(decideStreamGone);
  expect(linkChange(claimed, gone)).toMatchObject({
    links: [linkOf("events/b", "0000000000000000_0000000000000000", "explicit")],
    unlinked: ["events/a"],
  });
});
