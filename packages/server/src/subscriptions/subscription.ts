/**
 * One resident subscription: its head, pending and durable as a stream's are, what the catalog lacks of its links, and, while a
 * wake is in flight, which of its streams may have work. An idle one has none: whatever ends a wake looks, and wakes again.
 */
import { randomBytes } from "node:crypto";
import { lsn } from "@coldbrook/core";
import type {
  Generation,
  SubscriptionCreated,
  SubscriptionFrame,
  SubscriptionLink,
  SubscriptionState,
} from "@coldbrook/core";
import type { Batch } from "../wal/group-commit.ts";

/** Unique for good. */
export function newWakeId(): string {
  return `w_${randomBytes(12).toString("hex")}`;
}

/** What an operation made of a link: null when it was taken away. Each change has an entry of its own. */
export interface LinkEntry {
  readonly path: string;
  readonly link: SubscriptionLink | null;
}

/** A subscription's frame on its way to the disk. */
export type EnqueuedSubscription = SubscriptionFrame & {
  readonly owner: Subscription;
  /** The state once the frame is durable, but for its LSN. */
  readonly next: SubscriptionState;
  readonly batch: Batch;
  readonly entries: readonly LinkEntry[];
};

export class Subscription {
  readonly id: Generation;
  pending: SubscriptionState;
  /** Null until the creation is durable. */
  durable: SubscriptionState | null;
  /** The batch that will make `pending` durable; null when it is. */
  lastBatch: Batch | null = null;
  /** Links that the catalog lacks or has otherwise: pending state. */
  unsaved: Map<string, LinkEntry> | null = null;
  /** Those of them that are durable. */
  dirtyLinks: Map<string, LinkEntry> | null = null;
  /** The catalog may have links of it. */
  inCatalog: boolean;
  /** Links, pending state; null until somebody has to know. */
  linkCount: number | null = null;
  /** How often a link was taken away, so that nobody takes one for granted. */
  unlinks = 0;
  /** While a wake is in flight: paths that may have more than was acknowledged, and at least all that do. */
  work: Set<string> | null = null;
  /** False for a wake that recovery found: its work must be looked for among all links first. */
  workKnown: boolean;
  /** The look for it, while it is under way. */
  scan: Promise<void> | null = null;
  /** The links of existing streams are being made; null when they are. */
  backfill: Promise<void> | null = null;
  /** Why they could not be made. */
  refusal: Error | "too-many" | null = null;
  /** That its wake stream takes no events was said. */
  warned = false;
  /** Place in the heap of due times; -1 when it is not there. */
  heapIndex = -1;
  dueAtMs: number = Infinity;
  /** The wake whose delivery was started last. */
  startedWakeId: string | null = null;
  /** A delivery of the current wake waits for its turn or is under way. */
  delivery: { abort(): void } | "queued" | null = null;
  /** No delivery before that: the last one was put off. */
  notBeforeMs = 0;

  constructor(pending: SubscriptionState, durable: SubscriptionState | null, inCatalog: boolean) {
    this.id = pending.id;
    this.pending = pending;
    this.durable = durable;
    this.inCatalog = inCatalog;
    this.workKnown = pending.wake === null;
  }

  /** One that is about to be created. */
  static created(id: Generation, created: SubscriptionCreated, nowMs: number): Subscription {
    const head = { generation: 0, wake: null, retry: null, deleted: false, lsn: lsn(0) };
    const subscription = new Subscription({ id, ...created, createdAtMs: nowMs, ...head }, null, false);
    subscription.linkCount = 0;
    return subscription;
  }
}
