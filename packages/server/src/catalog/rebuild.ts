/** Fills an empty catalog from the roll records of the bucket; recovery then replays the WAL on top (invariant 5). */
import { crc32 } from "node:zlib";
import { applyDigest, applySubscriptionDigest, expiresAtMs, forkedFrom } from "@coldbrook/core";
import type {
  Generation,
  ObjectStore,
  ProducerState,
  RollRecord,
  StreamDigest,
  StreamState,
  SubscriptionDigest,
} from "@coldbrook/core";
import { readRolls } from "@coldbrook/tiering";
import { publishRoll } from "../engine/publisher.ts";
import { CATALOG_VERSION } from "./catalog.ts";
import type { Catalog } from "./catalog.ts";

/** Streams of one transaction. */
const SLICE = 512;

export interface RebuildResult {
  readonly rolls: number;
  readonly rolledLsn: number;
}

/** @throws StreamError corrupt-object when the roll records do not follow each other; ObjectStoreError */
export async function rebuildCatalog(catalog: Catalog, store: ObjectStore, nowMs: number): Promise<RebuildResult> {
  let rolls = 0;
  let rolledLsn = 0;
  let newest = 0;
  for await (const record of readRolls(store, crc32)) {
    newest = Math.max(newest, await applyRoll(catalog, record));
    const isLive = (id: Generation): boolean => catalog.streams.load(id)?.deleted === false;
    await publishRoll(catalog, record, isLive, nowMs);
    rolls += 1;
    rolledLsn = record.end;
  }
  await catalog.batch(() => {
    catalog.setMeta("rolledLsn", rolledLsn);
    catalog.setMeta("appliedLsn", rolledLsn);
    catalog.setMeta("generation", newest);
    catalog.setMeta("version", CATALOG_VERSION);
  });
  await catalog.flushed();
  return { rolls, rolledLsn };
}

/** Returns the largest id of the roll, be it a stream's or a subscription's. */
async function applyRoll(catalog: Catalog, record: RollRecord): Promise<number> {
  let newest = 0;
  for (let from = 0; from < record.digests.length; from += SLICE) {
    const slice = record.digests.slice(from, from + SLICE);
    for (const digest of slice) newest = Math.max(newest, digest.stream);
    await catalog.batch(() => {
      for (const digest of slice) putDigest(catalog, digest);
    });
  }
  for (const digest of record.subscriptions) {
    newest = Math.max(newest, digest.stream);
    await putSubscription(catalog, digest);
  }
  return newest;
}

/** Its links go first, as in every save; those of a deleted one are given back by the server that opens the catalog. */
async function putSubscription(catalog: Catalog, digest: SubscriptionDigest): Promise<void> {
  const { stream: id, links, unlinked } = digest;
  const state = applySubscriptionDigest(catalog.subscriptions.load(id), digest);
  for (let from = 0; from < Math.max(links.length, unlinked.length); from += SLICE) {
    await catalog.batch(() => {
      for (const path of unlinked.slice(from, from + SLICE)) catalog.links.remove(id, path);
      for (const link of links.slice(from, from + SLICE)) catalog.links.put(id, link);
    });
  }
  await catalog.batch(() => catalog.subscriptions.put(state));
}

function putDigest(catalog: Catalog, digest: StreamDigest): void {
  const before = catalog.streams.load(digest.stream);
  const producers = new Map<string, ProducerState>();
  const state: StreamState = applyDigest(before, producers, digest);
  catalog.streams.put(state, before === undefined);
  for (const [id, producer] of producers) catalog.producers.put(digest.stream, id, producer, state.lsn);
  if (state.deleted) catalog.deleted.put(digest.stream);
  const source = forkedFrom(state.identity);
  if (source !== null) {
    if (state.deleted) catalog.forks.remove(source, digest.stream);
    else if (before === undefined) catalog.forks.put(source, digest.stream);
  }
  const at = expiresAtMs(state);
  if (before === undefined && Number.isFinite(at)) catalog.expiry.put({ atMs: at, stream: digest.stream });
}
