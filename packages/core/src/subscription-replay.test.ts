import * as fc from "fast-check";
import { expect, test } from "vitest";
import { at, linkOf, pullConfig, startMs, subscription, webhookConfig } from "../test-support/subscription.ts";
import { generation, lsn } from "./brand.ts";
import type { Lsn } from "./brand.ts";
import { StreamError } from "./errors.ts";
import { planRoll } from "./roll-plan.ts";
import { applyLinks } from "./subscription-link.ts";
import { SubscriptionFold, applySubscription, applySubscriptionDigest } from "./subscription-replay.ts";
import { createdFrame, subscriptionFrame } from "./subscription.ts";
import type { SubscriptionFrame, SubscriptionLink, SubscriptionState } from "./subscription.ts";

const created = createdFrame(subscription, startMs, { name: "sub-1", config: webhookConfig, configHash: "c0ffee" }, [
  linkOf("events/a", at(1)),
]);
const wake = { wakeId: "w1", stream: "events/a", holder: null, leaseUntilMs: startMs + 30_000 };
const woken = subscriptionFrame(subscription, startMs + 5, {
  generation: 1,
  wake,
  retry: null,
  links: [linkOf("events/b", "-1")],
  unlinked: ["events/a"],
  deleted: false,
});
const deleted: SubscriptionFrame = { ...woken, wake: null, links: [], unlinked: [], deleted: true };

test("a state begins with its first frame and follows the others", () => {
  const first = applySubscription(undefined, created, lsn(100));
  expect(first).toEqual({
    id: subscription,
    name: "sub-1",
    config: webhookConfig,
    configHash: "c0ffee",
    createdAtMs: startMs,
    generation: 0,
    wake: null,
    retry: null,
    deleted: false,
    lsn: 100,
  });
  expect(applySubscription(first, woken, lsn(200))).toEqual({ ...first, generation: 1, wake, lsn: 200 });
});

test("a frame or a digest that the state includes gives back the very state", () => {
  const state = applySubscription(undefined, created, lsn(100));
  const fold = new SubscriptionFold();
  fold.add(created, lsn(100));
  expect(applySubscription(state, created, lsn(100))).toBe(state);
  expect(applySubscription(state, woken, lsn(99))).toBe(state);
  expect(applySubscriptionDigest(state, fold.digest()!)).toBe(state);
});

const impossible: [string, SubscriptionFrame[]][] = [
  ["a change before the creation", [woken]],
  ["a second creation", [created, created]],
  ["a change after the deletion", [created, woken, deleted, woken]],
  ["an earlier wake", [created, woken, { ...woken, generation: 0, wake: null }]],
  ["a wake without a number", [created, { ...woken, generation: 0 }]],
  ["a retry without a wake", [created, { ...woken, wake: null, retry: { count: 1, nextAttemptAtMs: 1 } }]],
];

test.each(impossible)("%s stops the replay", (_, frames) => {
  let state: SubscriptionState | undefined;
  const replay = (): void => frames.forEach((frame, at) => void (state = applySubscription(state, frame, lsn(at + 1))));
  expect(replay).toThrow(StreamError);
  expect(replay).toThrow(expect.objectContaining({ code: "corrupt-wal" }));
});

test.each(impossible.slice(1))("%s stops a roll", (_, frames) => {
  const fold = new SubscriptionFold();
  expect(() => frames.forEach((frame, at) => fold.add(frame, lsn(at + 1)))).toThrow(
    expect.objectContaining({ code: "corrupt-wal" }),
  );
});

test.each(impossible)("%s between rolled segments stops a restore", (_, frames) => {
  let state: SubscriptionState | undefined;
  const restore = (): void =>
    frames.forEach((frame, at) => {
      const fold = new SubscriptionFold();
      const { generation, wake: frameWake, retry } = frame;
      // A fold checks what one frame alone can show; that is a roll's fault, not a restore's.
      if ((frameWake !== null && generation === 0) || (frameWake === null && retry !== null)) {
        throw new StreamError("corrupt-object", "as found by the roll");
      }
      fold.add(frame, lsn(at + 1));
      state = applySubscriptionDigest(state, fold.digest()!);
    });
  expect(restore).toThrow(expect.objectContaining({ code: "corrupt-object" }));
});

test("a fold without frames has no digest, and a deletion leaves no links in it", () => {
  const fold = new SubscriptionFold();
  expect(fold.digest()).toBeNull();
  for (const [at, frame] of [created, woken, deleted].entries()) fold.add(frame, lsn(at + 1));
  expect(fold.digest()).toMatchObject({ links: [], unlinked: [], deleted: true, generation: 1, lsn: 3 });
});

test("a roll gives one digest for each subscription, by id, and takes none for a stream", () => {
  const other: SubscriptionFrame = { ...created, stream: generation(5) };
  const placed = [created, other, woken].map((frame, index) => ({
    header: { ...frame, headerBytes: 50, payloadBytes: 0, blockCrcs: [] },
    payloadAt: (index + 1) * 100,
  }));
  const plan = planRoll(placed, { base: lsn(1_000), end: lsn(1_300) });
  expect(plan).toMatchObject({ objects: [], digests: [] });
  expect(plan.subscriptions).toEqual([
    {
      stream: 5,
      created: { ...created.created, createdAtMs: startMs },
      generation: 0,
      wake: null,
      retry: null,
      links: [linkOf("events/a", at(1))],
      unlinked: [],
      deleted: false,
      lsn: 1_200,
    },
    {
      stream: subscription,
      created: { ...created.created, createdAtMs: startMs },
      generation: 1,
      wake,
      retry: null,
      links: [linkOf("events/b", "-1")],
      unlinked: ["events/a"],
      deleted: false,
      lsn: 1_300,
    },
  ]);
  expect(() => planRoll(placed, { base: lsn(1_000), end: lsn(1_299) })).toThrow(StreamError);
});

interface Known {
  state: SubscriptionState | undefined;
  readonly links: Map<string, SubscriptionLink>;
}

function byFrames(known: Known, frames: readonly (readonly [SubscriptionFrame, Lsn])[]): void {
  for (const [frame, end] of frames) {
    const next = applySubscription(known.state, frame, end);
    if (next !== known.state) applyLinks(known.links, frame);
    known.state = next;
  }
}

function byDigest(known: Known, frames: readonly (readonly [SubscriptionFrame, Lsn])[]): void {
  const fold = new SubscriptionFold();
  for (const [frame, end] of frames) fold.add(frame, end);
  const digest = fold.digest();
  if (digest === null) return;
  const next = applySubscriptionDigest(known.state, digest);
  if (next !== known.state) applyLinks(known.links, digest);
  known.state = next;
}

const anyPath = fc.constantFrom("a", "b", "c", "d");
const anyChange = fc.record({
  wakes: fc.boolean(),
  links: fc.uniqueArray(fc.tuple(anyPath, fc.nat(99)), { maxLength: 3, selector: ([path]) => path }),
  unlinked: fc.uniqueArray(anyPath, { maxLength: 2 }),
});

test("frame by frame, in digests of any segments, and replayed again over them: always the same subscription", () => {
  fc.assert(
    fc.property(
      fc.array(anyChange, { maxLength: 12 }),
      fc.boolean(),
      fc.array(fc.nat(12), { maxLength: 3 }),
      (changes, ends, cutsAt) => {
        let generation = 0;
        const frames: SubscriptionFrame[] = [
          createdFrame(subscription, startMs, { name: "s", config: pullConfig, configHash: "x" }, [linkOf("a", "-1")]),
        ];
        for (const { wakes, links, unlinked } of changes) {
          if (wakes) generation++;
          const held = wakes ? { ...wake, wakeId: `w${generation}` } : null;
          const set = links.map(([path, bytes]) => linkOf(path, at(bytes)));
          const head = { generation, wake: held, retry: null, deleted: false };
          frames.push(subscriptionFrame(subscription, startMs, { ...head, links: set, unlinked }));
        }
        if (ends) frames.push({ ...deleted, generation });
        const log = frames.map((frame, at): [SubscriptionFrame, Lsn] => [frame, lsn((at + 1) * 10)]);
        const one: Known = { state: undefined, links: new Map() };
        byFrames(one, log);
        const two: Known = { state: undefined, links: new Map() };
        const cuts = [0, ...cutsAt.toSorted((left, right) => left - right), log.length];
        for (const [index, from] of cuts.entries()) byDigest(two, log.slice(from, cuts[index + 1] ?? from));
        expect(two).toEqual(one);
        byFrames(two, log);
        expect(two).toEqual(one);
      },
    ),
    { numRuns: 300 },
  );
});
