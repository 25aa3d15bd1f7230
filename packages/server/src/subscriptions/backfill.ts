/**
 * Links a new subscription's pattern to the streams that are there (protocol section 6.2), over several turns of the event
 * loop. From the subscription's creation on an append to a stream that is not linked yet links it as before that append, and
 * the tail of one that gets none stays what it was: so all links are as if they had been made at that moment.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { decideBackfill, globMatch, linkChange, SUBSCRIPTION_LINKS_MAX } from "@coldbrook/core";
import type { Clock, LinkChange } from "@coldbrook/core";
import type { Catalog } from "../catalog/catalog.ts";
import type { FrameQueue } from "../engine/frame-queue.ts";
import type { StreamTable } from "../engine/stream-table.ts";
import { durable } from "../engine/decisions.ts";
import type { Subscription } from "./subscription.ts";
import type { SubscriptionBook } from "./subscription-book.ts";

/** Paths of one turn. */
const SLICE = 500;

export interface BackfillPorts {
  readonly book: SubscriptionBook;
  readonly catalog: Catalog;
  readonly streams: StreamTable;
  readonly queue: () => FrameQueue;
  readonly pathPrefix: string;
  readonly clock: Clock;
}

/** Called in the turn of the creation; false when there are more streams than one may follow. @throws StreamError wal-full, disk-full, corrupt-catalog */
export async function backfill(ports: BackfillPorts, subscription: Subscription, pattern: string): Promise<boolean> {
  const prefix = ports.pathPrefix + literalBeginning(pattern);
  // What the catalog lacks is in memory at this moment.
  const resident = ports.streams.residentPaths().filter((path) => path.startsWith(prefix));
  for (let from = 0; from < resident.length; from += SLICE) {
    if (!(await linkAll(ports, subscription, pattern, resident.slice(from, from + SLICE)))) return false;
  }
  for (let from = prefix; ;) {
    const paths = ports.catalog.streams.pathsFrom(from, SLICE);
    const wanted = paths.filter((path) => path.startsWith(prefix));
    if (!(await linkAll(ports, subscription, pattern, wanted))) return false;
    if (wanted.length < SLICE) return true;
    from = `${paths.at(-1)!}\u0000`;
  }
}

async function linkAll(
  ports: BackfillPorts,
  subscription: Subscription,
  pattern: string,
  paths: readonly string[],
): Promise<boolean> {
  const { book, queue, clock, pathPrefix } = ports;
  if (subscription.pending.deleted) return true;
  const changes: LinkChange[] = [];
  for (const stream of paths) {
    const path = stream.slice(pathPrefix.length);
    if (book.table.isWakeStream(path) || !globMatch(pattern, path)) continue;
    const tail = book.tails(path).pending;
    if (tail !== null) changes.push(decideBackfill(book.links.load(subscription, path), path, tail));
  }
  const change = linkChange(subscription.pending, changes);
  if (change !== null) {
    if (book.links.count(subscription) + change.links.length > SUBSCRIPTION_LINKS_MAX) return false;
    queue().admit(0);
    await durable(book.enqueue(subscription, change, clock()));
  }
  await nextTurn();
  return true;
}

/** What all paths that the pattern matches begin with: its segments before the first that is not plainly itself. */
function literalBeginning(pattern: string): string {
  const segments = pattern.split("/");
  const first = segments.findIndex((segment) => segment.includes("*") || /%2A/i.test(segment));
  if (first < 0) return pattern;
  const plain = segments.slice(0, first).join("/");
  // `**` may also be no segment at all, and then no slash is before it.
  return first === 0 || segments[first] === "**" ? plain : `${plain}/`;
}
