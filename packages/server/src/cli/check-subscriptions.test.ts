import { crc32 } from "node:zlib";
import { encodeLink, lsn, newStreamState, position } from "@coldbrook/core";
import type { Generation, StreamState, SubscriptionLink, SubscriptionState } from "@coldbrook/core";
import { expect, test } from "vitest";
import { Catalog } from "../catalog/catalog.ts";
import { checkSubscriptions } from "./check-subscriptions.ts";

const ID = 7 as Generation;
const STREAM = 3 as Generation;

const state: SubscriptionState = {
  id: ID,
  name: "sub",
  config: {
    type: "webhook",
    pattern: "*",
    streams: [],
    webhookUrl: "https://worker.example/",
    wakeStream: null,
    leaseTtlMs: 1_000,
    description: null,
  },
  configHash: "",
  createdAtMs: 0,
  generation: 0,
  wake: null,
  retry: null,
  deleted: false,
  lsn: lsn(1),
};

const stream: StreamState = newStreamState({
  identity: {
    id: STREAM,
    path: "a",
    config: { contentType: "text/plain", ttlSeconds: null, expiresAtMs: null },
    createdAtMs: 0,
    lineage: [{ generation: STREAM, first: position(0), source: null }],
  },
  tail: position(10),
  closed: false,
  touchedAtMs: 0,
  lsn: lsn(1),
});

function link(acked: string, more: Partial<SubscriptionLink> = {}): SubscriptionLink {
  return { path: "a", explicit: false, glob: true, acked, ...more };
}

async function findings(put: (catalog: Catalog) => void): Promise<string[]> {
  const catalog = Catalog.inMemory();
  await catalog.batch(() => put(catalog));
  const found: string[] = [];
  checkSubscriptions({
    catalog,
    replayed: [],
    stream: (path) => (path === "a" ? stream : undefined),
    found: (what) => found.push(what),
    guard: (step) => step(),
  });
  return found;
}

test("cursors up to the tail, and of streams that are gone, are sound", async () => {
  const found = await findings((catalog) => {
    catalog.subscriptions.put(state);
    catalog.links.put(ID, link("0000000000000003_0000000000000010"));
    catalog.links.put(ID, link("0000000000000009_0000000000000010", { path: "gone", explicit: true }));
  });
  expect(found).toEqual([]);
});

test.each([
  [
    "a cursor past the tail",
    (catalog: Catalog): void => {
      catalog.subscriptions.put(state);
      catalog.links.put(ID, link("0000000000000003_0000000000000011"));
    },
    /"a": 0000000000000003_0000000000000011 was acknowledged, and the stream ends at/,
  ],
  [
    "a link of nobody",
    (catalog: Catalog): void => catalog.links.put(ID, link("-1")),
    /belongs to subscription 7, which is not there/,
  ],
  [
    "two of one name",
    (catalog: Catalog): void => {
      catalog.subscriptions.put(state);
      catalog.subscriptions.put({ ...state, id: 8 as Generation });
    },
    /subscriptions 7 and 8 are both called "sub"/,
  ],
])("%s is found", async (_, put, finding) => {
  expect(await findings(put)).toEqual([expect.stringMatching(finding)]);
});

test("a link's bytes are bound to their place", () => {
  expect(encodeLink(ID, link("-1"), crc32)).not.toEqual(encodeLink(8 as Generation, link("-1"), crc32));
});
