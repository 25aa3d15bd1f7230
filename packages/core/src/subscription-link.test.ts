import { expect, test } from "vitest";
import { at, fresh, linkOf, webhookConfig } from "../test-support/subscription.ts";
import {
  applyLinks,
  decideBackfill,
  decideDiscover,
  decideLink,
  decideStreamGone,
  decideUnlink,
  linkChange,
  pendingOf,
} from "./subscription-link.ts";
import type { LinkChange } from "./subscription-link.ts";
import type { SubscriptionLink } from "./subscription.ts";

const zero = "0000000000000000_0000000000000000";
const none: LinkChange = { kind: "none" };
const drop: LinkChange = { kind: "drop", path: "a" };
const explicit = linkOf("a", at(10), "explicit");
const glob = linkOf("a", at(10), "glob");
const both = linkOf("a", at(10), "both");

function set(link: SubscriptionLink): LinkChange {
  return { kind: "set", link };
}

test("an explicit link starts at the tail, and a cursor that is there stays", () => {
  expect(decideLink(undefined, "a", at(50))).toEqual(set(linkOf("a", at(50), "explicit")));
  expect(decideLink(undefined, "a", null)).toEqual(set(linkOf("a", zero, "explicit")));
  expect(decideLink(glob, "a", at(50))).toEqual(set(both));
  expect(decideLink(explicit, "a", at(50))).toEqual(none);
  expect(decideLink(both, "a", at(50))).toEqual(none);
});

test("taking the explicit link away leaves the pattern's, with its cursor", () => {
  expect(decideUnlink(undefined, true)).toEqual(none);
  expect(decideUnlink(glob, false)).toEqual(none);
  expect(decideUnlink(both, true)).toEqual(set(glob));
  expect(decideUnlink(both, false)).toEqual(set(glob));
  expect(decideUnlink(explicit, true)).toEqual(set(glob));
  expect(decideUnlink(explicit, false)).toEqual(drop);
});

test("a stream that is found by the pattern is linked where it was before the append", () => {
  expect(decideDiscover(undefined, "a", null)).toEqual(set(linkOf("a", "-1")));
  expect(decideDiscover(undefined, "a", at(0))).toEqual(set(linkOf("a", at(0))));
  expect(decideDiscover(explicit, "a", at(50))).toEqual(set(both));
  expect(decideDiscover(glob, "a", at(50))).toEqual(none);
  expect(decideBackfill(undefined, "a", at(50))).toEqual(set(linkOf("a", at(50))));
  expect(decideBackfill(both, "a", at(50))).toEqual(none);
});

test("a deleted stream takes the pattern's link with it, and an explicit one waits from the start", () => {
  expect(decideStreamGone(glob)).toEqual(drop);
  expect(decideStreamGone(both)).toEqual(set(linkOf("a", zero, "explicit")));
  expect(decideStreamGone(explicit)).toEqual(set(linkOf("a", zero, "explicit")));
  expect(decideStreamGone(linkOf("a", zero, "explicit"))).toEqual(none);
});

test.each([
  ["-1", null, false],
  ["-1", at(0), false],
  ["-1", at(1), true],
  [zero, zero, false],
  [zero, at(0), false],
  [zero, at(1), true],
  [at(10), at(10), false],
  [at(10), at(11), true],
  [at(10), at(9), false],
  [at(10), at(1).replace("3", "4"), true],
  [at(10), at(0).replace("3", "4"), false],
  [at(1), null, false],
])("with %s acknowledged, a tail of %s is pending: %s", (acked, tail, pending) => {
  expect(pendingOf(linkOf("a", acked), tail)).toBe(pending);
});

test("changes of links become one change, or none", () => {
  const state = { ...fresh(webhookConfig), generation: 4 };
  const other = linkOf("b", "-1");
  expect(linkChange(state, [none, set(other), drop, none])).toEqual({
    generation: 4,
    wake: null,
    retry: null,
    links: [other],
    unlinked: ["a"],
    deleted: false,
  });
  expect(linkChange(state, [none])).toBeNull();
  expect(linkChange({ ...state, deleted: true }, [drop])).toBeNull();
});

test("links that are kept by path follow the changes", () => {
  const kept = new Map([["a", glob]]);
  applyLinks(kept, { links: [linkOf("b", "-1")], unlinked: ["a", "x"], deleted: false });
  expect([...kept.keys()]).toEqual(["b"]);
  applyLinks(kept, { links: [], unlinked: [], deleted: true });
  expect(kept.size).toBe(0);
});
