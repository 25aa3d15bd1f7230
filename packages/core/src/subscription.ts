/**
 * Subscriptions (protocol sections 6 and 7): durable cursors over streams that wake a worker when one of them has
 * more than was acknowledged. This file holds the words and what is common; the rules are in the `subscription-*`
 * files beside it. A subscription's head is one immutable SubscriptionState. Its links, which may be 100,000, are
 * kept one by one, and a change carries only those that it changes.
 */

import type { Generation, Lsn } from "./brand.ts";

export type SubscriptionType = "webhook" | "pull-wake";

/** What a create fixes (section 6.2). Paths are below the stream root and canonical. */
export interface SubscriptionConfig {
  readonly type: SubscriptionType;
  /** Glob over paths; see glob.ts. */
  readonly pattern: string | null;
  /** The explicit paths named at creation, each once, sorted. */
  readonly streams: readonly string[];
  /** Set exactly when `type` is webhook. Whether the address may be called is for the caller to judge. */
  readonly webhookUrl: string | null;
  /** Set exactly when `type` is pull-wake. */
  readonly wakeStream: string | null;
  readonly leaseTtlMs: number;
  readonly description: string | null;
}

/** A wake in flight (section 7). Its number is the state's `generation`. */
export interface Wake {
  /** Unique per wake. */
  readonly wakeId: string;
  /** The path whose data caused it. */
  readonly stream: string;
  /** Pull-wake: the worker that claimed it. Always null for a webhook. */
  readonly holder: string | null;
  /** When the lease ends, in milliseconds since 1970; null while a pull-wake is not claimed. */
  readonly leaseUntilMs: number | null;
}

/** A webhook whose last delivery failed. */
export interface WakeRetry {
  /** Failed attempts in a row, at least 1. */
  readonly count: number;
  readonly nextAttemptAtMs: number;
}

/** All that decides the next operation on a subscription, but for its links. */
export interface SubscriptionState {
  /** Minted as streams' generations are; it names the subscription in the log, also after its name is used again. */
  readonly id: Generation;
  /** What the client calls it: the URL's `:id`, decoded. */
  readonly name: string;
  readonly config: SubscriptionConfig;
  /** Hash of `canonicalConfig(config)`. */
  readonly configHash: string;
  readonly createdAtMs: number;
  /** Number of the last wake; 0 before the first. */
  readonly generation: number;
  readonly wake: Wake | null;
  /** Only ever set together with `wake`. */
  readonly retry: WakeRetry | null;
  readonly deleted: boolean;
  /** LSN just past the last frame that this state includes. */
  readonly lsn: Lsn;
}

/** One stream of a subscription and its cursor (section 6.1). At least one of `explicit` and `glob` is true. */
export interface SubscriptionLink {
  readonly path: string;
  readonly explicit: boolean;
  readonly glob: boolean;
  /** Last processed offset, inclusive; `-1` before anything. */
  readonly acked: string;
}

/** What one operation changes: the head's new mutable part, and the links that are set, replaced or taken away. */
export interface SubscriptionChange {
  readonly generation: number;
  readonly wake: Wake | null;
  readonly retry: WakeRetry | null;
  readonly links: readonly SubscriptionLink[];
  readonly unlinked: readonly string[];
  readonly deleted: boolean;
}

export interface SubscriptionCreated {
  readonly name: string;
  readonly config: SubscriptionConfig;
  readonly configHash: string;
}

/** A change as the log has it: all that an operation changes is in one frame (invariant 3). */
export interface SubscriptionFrame extends SubscriptionChange {
  readonly kind: "subscription";
  /** The subscription's id. */
  readonly stream: Generation;
  /** When the operation was decided, in milliseconds since 1970. */
  readonly atMs: number;
  /** Set in a subscription's first frame. */
  readonly created: SubscriptionCreated | null;
}

/** What a valid callback or claim token says. Its signature and its expiry are for the caller to check. */
export interface WakeToken {
  readonly subscription: Generation;
  readonly generation: number;
}

export type SubscriptionErrorCode =
  | "INVALID_REQUEST"
  | "SUBSCRIPTION_NOT_FOUND"
  | "SUBSCRIPTION_ALREADY_EXISTS"
  | "WEBHOOK_URL_REJECTED"
  | "TOKEN_INVALID"
  | "TOKEN_EXPIRED"
  | "FENCED"
  | "ALREADY_CLAIMED"
  | "NO_PENDING_WORK"
  | "INVALID_OFFSET";

export const SUBSCRIPTION_STATUS: Readonly<Record<SubscriptionErrorCode, number>> = {
  INVALID_REQUEST: 400,
  SUBSCRIPTION_NOT_FOUND: 404,
  SUBSCRIPTION_ALREADY_EXISTS: 409,
  WEBHOOK_URL_REJECTED: 400,
  TOKEN_INVALID: 401,
  TOKEN_EXPIRED: 401,
  FENCED: 409,
  ALREADY_CLAIMED: 409,
  NO_PENDING_WORK: 409,
  INVALID_OFFSET: 409,
};

export interface SubscriptionRefusal {
  readonly kind: "refused";
  readonly code: SubscriptionErrorCode;
  readonly detail: string;
}

/** The cursor of a link that nothing was acknowledged on, and whose stream had nothing when it was linked. */
export const BEFORE_FIRST_OFFSET = "-1";
/** Stands for the tail of a stream that is not there. */
export const ZERO_OFFSET = "0000000000000000_0000000000000000";

export function refuse(code: SubscriptionErrorCode, detail: string): SubscriptionRefusal {
  return { kind: "refused", code, detail };
}

/** The change that changes nothing, to build others from. */
export function unchanged(state: SubscriptionState): SubscriptionChange {
  const { generation, wake, retry, deleted } = state;
  return { generation, wake, retry, links: [], unlinked: [], deleted };
}

/** The frame of a change to a subscription that is there. */
export function subscriptionFrame(id: Generation, atMs: number, change: SubscriptionChange): SubscriptionFrame {
  return { kind: "subscription", stream: id, atMs, created: null, ...change };
}

/** The first frame of a new subscription, with its links (or the first of them; later frames may add more). */
export function createdFrame(
  id: Generation,
  atMs: number,
  created: SubscriptionCreated,
  links: readonly SubscriptionLink[],
): SubscriptionFrame {
  const head = { generation: 0, wake: null, retry: null, deleted: false };
  return { kind: "subscription", stream: id, atMs, created, ...head, links, unlinked: [] };
}

/** The wake that a worker may still hold or get: null once its lease has run out, recorded or not (section 7.3). */
export function wakeInFlight(state: SubscriptionState, nowMs: number): Wake | null {
  const { wake } = state;
  return wake !== null && wake.leaseUntilMs !== null && nowMs >= wake.leaseUntilMs ? null : wake;
}
