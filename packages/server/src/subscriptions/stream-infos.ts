/** What a worker is told of a subscription's streams: those with work first, within a bound; what is left out wakes it again. */
import { streamInfo } from "@coldbrook/core";
import type { StreamInfo } from "@coldbrook/core";
import type { Subscription } from "./subscription.ts";
import type { SubscriptionBook } from "./subscription-book.ts";

/** Streams with work in one message. */
const PENDING_MAX = 1_000;
/** Streams in one message when fewer have work: the others are there for their cursors. */
const FILLED_UP_TO = 100;

/** @throws StreamError corrupt-catalog */
export function streamInfos(book: SubscriptionBook, subscription: Subscription): StreamInfo[] {
  const infos = new Map<string, StreamInfo>();
  const others: StreamInfo[] = [];
  const look = (path: string): StreamInfo | null => {
    const link = book.links.load(subscription, path);
    return link === undefined ? null : streamInfo(link, book.tails(path).durable);
  };
  for (const path of subscription.work ?? []) {
    if (infos.size >= PENDING_MAX) break;
    const info = look(path);
    if (info?.has_pending === true) infos.set(path, info);
  }
  if (infos.size >= FILLED_UP_TO) return [...infos.values()];
  for (const path of book.links.some(subscription, FILLED_UP_TO)) {
    const info = infos.has(path) ? null : look(path);
    if (info !== null && infos.size + others.length < FILLED_UP_TO) others.push(info);
  }
  return [...infos.values(), ...others];
}
