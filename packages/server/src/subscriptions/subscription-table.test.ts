import { parseSubscription } from "@coldbrook/core";
import type { Generation } from "@coldbrook/core";
import { expect, test } from "vitest";
import { Catalog } from "../catalog/catalog.ts";
import { Subscription } from "./subscription.ts";
import { SubscriptionLinks } from "./subscription-links.ts";
import { SubscriptionTable } from "./subscription-table.ts";
import type { MatchList } from "./subscription-table.ts";

function subscription(id: number, body: object): Subscription {
  const parsed = parseSubscription({ type: "pull-wake", wake_stream: "wake", ...body });
  if (parsed.kind === "bad") throw new Error(parsed.detail);
  return Subscription.created(id as Generation, { name: `s${id}`, config: parsed.config, configHash: "" }, 0);
}

function fixture(): { catalog: Catalog; links: SubscriptionLinks; table: SubscriptionTable } {
  const catalog = Catalog.inMemory();
  const links = new SubscriptionLinks(catalog);
  return { catalog, links, table: new SubscriptionTable(catalog, links) };
}

const names = (table: SubscriptionTable, path: string, holder: { matches: MatchList | null }): string[] =>
  table
    .matches(path, holder)
    .map(({ subscription: each }) => each.pending.name)
    .sort();

test("a stream keeps its matches until a subscription comes or goes", () => {
  const { table } = fixture();
  const holder = { matches: null };
  const first = subscription(1, { pattern: "events/*" });
  table.add(first);
  const list = table.matches("events/a", holder);
  expect(table.matches("events/a", holder)).toBe(list);
  table.add(subscription(2, { pattern: "**" }));
  expect(names(table, "events/a", holder)).toEqual(["s1", "s2"]);
  table.unmatch(first);
  expect(names(table, "events/a", holder)).toEqual(["s2"]);
});

test("a subscription that names the path is found in memory before it is saved, and in the catalog after", async () => {
  const { catalog, links, table } = fixture();
  const holder = { matches: null };
  const one = subscription(1, { streams: ["a"] });
  table.add(one);
  const link = { path: "a", explicit: true, glob: false, acked: "-1" };
  const entries = links.apply(one, { links: [link], unlinked: [] });
  expect(names(table, "a", holder)).toEqual(["s1"]);
  await catalog.batch(() => catalog.links.put(one.id, link));
  one.inCatalog = true;
  links.saved(one, entries);
  expect([...links.changedAt("a")]).toEqual([]);
  table.relinked();
  expect(names(table, "a", holder)).toEqual(["s1"]);
  expect(names(table, "ab", { matches: null })).toEqual([]);
  expect(links.load(one, "a")).toEqual(link);
});

test("a change of a link that was made while an earlier one was saved stays", async () => {
  const { catalog, links, table } = fixture();
  const one = subscription(1, { streams: ["a"] });
  table.add(one);
  const link = { path: "a", explicit: true, glob: false, acked: "-1" };
  const before = links.apply(one, { links: [link], unlinked: [] });
  const after = links.apply(one, { links: [], unlinked: ["a"] });
  await catalog.batch(() => catalog.links.put(one.id, link));
  one.inCatalog = true;
  links.saved(one, before);
  expect(links.load(one, "a")).toBeUndefined();
  expect(links.count(one)).toBe(0);
  await catalog.batch(() => catalog.links.remove(one.id, "a"));
  links.saved(one, after);
  expect(one.unsaved).toBeNull();
  expect(links.load(one, "a")).toBeUndefined();
});

test("no pattern matches a stream on which wakes are told of, whoever's they are, for as long as they are", () => {
  const { table } = fixture();
  const first = subscription(1, { pattern: "**" });
  table.add(first);
  table.add(subscription(2, { pattern: "**", wake_stream: "other" }));
  expect(names(table, "wake", { matches: null })).toEqual([]);
  expect(names(table, "other", { matches: null })).toEqual([]);
  table.unmatch(first);
  expect(names(table, "wake", { matches: null })).toEqual(["s2"]);
});
