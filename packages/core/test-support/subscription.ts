/** Subscriptions for the tests: fixed and arbitrary ones. */

import * as fc from "fast-check";
import { generation, lsn } from "../src/brand.ts";
import type {
  SubscriptionConfig,
  SubscriptionFrame,
  SubscriptionLink,
  SubscriptionState,
} from "../src/subscription.ts";
import type { SubscriptionDigest } from "../src/subscription-replay.ts";
import { anyCount, anyName } from "./codec.ts";

export const subscription = generation(9);
export const startMs = 1_760_000_000_000;

/** The offset of `bytes` in a stream of generation 3. */
export function at(bytes: number): string {
  return `0000000000000003_${String(bytes).padStart(16, "0")}`;
}

export const webhookConfig: SubscriptionConfig = {
  type: "webhook",
  pattern: "events/*",
  streams: ["events/a", "manual/b"],
  webhookUrl: "https://worker.example/hooks",
  wakeStream: null,
  leaseTtlMs: 30_000,
  description: "événements",
};

export const pullConfig: SubscriptionConfig = {
  ...webhookConfig,
  type: "pull-wake",
  webhookUrl: null,
  wakeStream: "wake/pool",
  leaseTtlMs: 1_000,
};

/** A new subscription. */
export function fresh(config: SubscriptionConfig): SubscriptionState {
  return {
    id: subscription,
    name: "sub-1",
    config,
    configHash: "c0ffee",
    createdAtMs: startMs,
    generation: 0,
    wake: null,
    retry: null,
    deleted: false,
    lsn: lsn(100),
  };
}

export function linkOf(path: string, acked: string, kinds: "explicit" | "glob" | "both" = "glob"): SubscriptionLink {
  return { path, explicit: kinds !== "glob", glob: kinds !== "explicit", acked };
}

const anyId = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }).map(generation);
export const anyLink: fc.Arbitrary<SubscriptionLink> = fc
  .record({ path: anyName, kinds: fc.constantFrom("explicit", "glob", "both"), acked: anyName })
  .map(({ path, kinds, acked }) => linkOf(path, acked, kinds as "both"));
const anyConfig: fc.Arbitrary<SubscriptionConfig> = fc.record({
  type: fc.constantFrom("webhook", "pull-wake"),
  pattern: fc.option(anyName),
  streams: fc.array(anyName, { maxLength: 3 }),
  webhookUrl: fc.option(anyName),
  wakeStream: fc.option(anyName),
  leaseTtlMs: anyCount,
  description: fc.option(anyName),
});
const anyWake = fc.record({
  wakeId: anyName,
  stream: anyName,
  holder: fc.option(anyName),
  leaseUntilMs: fc.option(anyCount),
});
const head = {
  generation: anyCount,
  wake: fc.option(anyWake),
  retry: fc.option(fc.record({ count: anyCount, nextAttemptAtMs: anyCount })),
  deleted: fc.boolean(),
};
const created = { name: anyName, config: anyConfig, configHash: anyName };
const links = { links: fc.array(anyLink, { maxLength: 3 }), unlinked: fc.array(anyName, { maxLength: 3 }) };

export const anySubscription: fc.Arbitrary<SubscriptionState> = fc.record({
  id: anyId,
  ...created,
  createdAtMs: anyCount,
  ...head,
  lsn: anyCount.map(lsn),
});
export const anySubscriptionFrame: fc.Arbitrary<SubscriptionFrame> = fc.record({
  kind: fc.constant("subscription" as const),
  stream: anyId,
  atMs: anyCount,
  created: fc.option(fc.record(created)),
  ...head,
  ...links,
});
export const anySubscriptionDigest: fc.Arbitrary<SubscriptionDigest> = fc.record({
  stream: anyId,
  created: fc.option(fc.record({ ...created, createdAtMs: anyCount })),
  ...head,
  ...links,
  lsn: anyCount.map(lsn),
});

export const sampleSubscription: SubscriptionState = {
  ...fresh(webhookConfig),
  generation: 7,
  wake: { wakeId: "w_abc123", stream: "events/a", holder: null, leaseUntilMs: startMs + 34_000 },
  retry: { count: 3, nextAttemptAtMs: startMs + 4_000 },
  lsn: lsn(5_000_000_099),
};
export const sampleLink: SubscriptionLink = linkOf("events/a", at(66), "both");
export const sampleSubscriptionFrames: SubscriptionFrame[] = [
  {
    kind: "subscription",
    stream: subscription,
    atMs: startMs,
    created: { name: "sub-1", config: webhookConfig, configHash: "c0ffee" },
    generation: 0,
    wake: null,
    retry: null,
    links: [linkOf("events/a", at(66), "both"), linkOf("manual/b", "-1", "explicit")],
    unlinked: [],
    deleted: false,
  },
  {
    kind: "subscription",
    stream: subscription,
    atMs: startMs + 1,
    created: null,
    generation: 7,
    wake: sampleSubscription.wake,
    retry: sampleSubscription.retry,
    links: [linkOf("events/%C3%A9", at(300))],
    unlinked: ["manual/b"],
    deleted: false,
  },
  {
    kind: "subscription",
    stream: subscription,
    atMs: startMs + 2,
    created: null,
    generation: 8,
    wake: { wakeId: "w_2", stream: "events/a", holder: "worker-1", leaseUntilMs: null },
    retry: null,
    links: [],
    unlinked: [],
    deleted: true,
  },
];
export const sampleSubscriptionDigest: SubscriptionDigest = {
  stream: subscription,
  created: { name: "sub-1", config: webhookConfig, configHash: "c0ffee", createdAtMs: startMs },
  generation: 7,
  wake: sampleSubscription.wake,
  retry: sampleSubscription.retry,
  links: [sampleLink],
  unlinked: ["manual/b"],
  deleted: false,
  lsn: lsn(5_000_070_000),
};
