/**
 * Wakes and leases (protocol sections 7, 7.2 and 7.3): who is woken, who holds the work, and whose acks still count.
 * A subscription has at most one wake in flight. A lease past its time counts as run out although nobody has recorded
 * that yet. Every decision returns the change to be logged; it holds once that is durable.
 */

import { parseOffset } from "./offset.ts";
import type { AckRequest, StreamAck } from "./subscription-parse.ts";
import { ZERO_OFFSET, refuse, unchanged, wakeInFlight } from "./subscription.ts";
import type {
  SubscriptionChange,
  SubscriptionLink,
  SubscriptionRefusal,
  SubscriptionState,
  Wake,
  WakeToken,
} from "./subscription.ts";

/** The change that ends the wake, if any. */
function idle(state: SubscriptionState): SubscriptionChange {
  return { ...unchanged(state), wake: null, retry: null };
}

function gone(): SubscriptionRefusal {
  return refuse("SUBSCRIPTION_NOT_FOUND", "the subscription was deleted");
}

/** A PUT of a name (section 6.2): `exists` is 200, `conflict` is SUBSCRIPTION_ALREADY_EXISTS. */
export function decideSubscribe(
  existing: SubscriptionState | undefined,
  configHash: string,
): "create" | "exists" | "conflict" {
  if (existing === undefined || existing.deleted) return "create";
  return existing.configHash === configHash ? "exists" : "conflict";
}

/** A DELETE (section 6.3). Null when it is deleted already. All links go with it. */
export function decideUnsubscribe(state: SubscriptionState): SubscriptionChange | null {
  return state.deleted ? null : { ...idle(state), deleted: true };
}

/** A new wake, pending work being at `path`. Null while one is in flight. A webhook's lease starts with the wake. */
export function decideWake(
  state: SubscriptionState,
  path: string,
  wakeId: string,
  nowMs: number,
): SubscriptionChange | null {
  if (state.deleted || wakeInFlight(state, nowMs) !== null) return null;
  const leaseUntilMs = state.config.type === "webhook" ? nowMs + state.config.leaseTtlMs : null;
  const wake: Wake = { wakeId, stream: path, holder: null, leaseUntilMs };
  return { ...idle(state), generation: state.generation + 1, wake };
}

export interface Claim {
  readonly worker: string;
  /** The first path with pending work; null when there is none. */
  readonly pendingPath: string | null;
  /** For the wake that is made when none is in flight. */
  readonly wakeId: string;
  readonly nowMs: number;
}

export type ClaimDecision =
  | {
      readonly kind: "claimed";
      readonly change: SubscriptionChange;
      readonly wakeId: string;
      readonly generation: number;
    }
  /** ALREADY_CLAIMED. */
  | { readonly kind: "held"; readonly holder: string; readonly generation: number }
  /**
   * NO_PENDING_WORK. The change, if any, takes back a wake that nobody claimed: whoever read its event has asked in
   * vain by now, so that later work needs an event of its own.
   */
  | { readonly kind: "idle"; readonly change: SubscriptionChange | null }
  | SubscriptionRefusal;

/** A worker asks for the work (section 7.2). */
export function decideClaim(state: SubscriptionState, claim: Claim): ClaimDecision {
  const { worker, pendingPath, nowMs } = claim;
  if (state.deleted) return gone();
  if (state.config.type !== "pull-wake") return refuse("INVALID_REQUEST", "only a pull-wake subscription is claimed");
  const current = wakeInFlight(state, nowMs);
  if (current !== null && current.holder !== null) {
    return { kind: "held", holder: current.holder, generation: state.generation };
  }
  if (pendingPath === null) return { kind: "idle", change: state.wake === null ? null : idle(state) };
  const generation = current === null ? state.generation + 1 : state.generation;
  const { wakeId, stream } = current ?? { wakeId: claim.wakeId, stream: pendingPath };
  const wake: Wake = { wakeId, stream, holder: worker, leaseUntilMs: nowMs + state.config.leaseTtlMs };
  return { kind: "claimed", change: { ...idle(state), generation, wake }, wakeId, generation };
}

/** The wake that the request speaks for, or why it may not (section 7.3). */
function fence(
  state: SubscriptionState,
  token: WakeToken,
  request: Pick<AckRequest, "wakeId" | "generation">,
  nowMs: number,
): Wake | SubscriptionRefusal {
  if (state.deleted) return gone();
  if (token.subscription !== state.id) return refuse("TOKEN_INVALID", "the token belongs to another subscription");
  const wake = wakeInFlight(state, nowMs);
  const { generation } = state;
  if (wake === null || token.generation !== generation || request.generation !== generation) {
    return refuse("FENCED", "the wake is over: another one took its place, it was finished, or its lease ran out");
  }
  if (request.wakeId !== wake.wakeId) return refuse("FENCED", "wake_id is not that of the wake in flight");
  if (state.config.type === "pull-wake" && wake.holder === null) return refuse("FENCED", "nobody has claimed the wake");
  return wake;
}

function isOffset(text: string): boolean {
  return text === ZERO_OFFSET || parseOffset(text).kind === "at";
}

function ackFault(ack: StreamAck, link: SubscriptionLink | undefined, tail: string | null): string | null {
  if (link === undefined) return `ack of ${ack.path}, which is no stream of this subscription`;
  if (!isOffset(ack.offset)) return `ack of ${ack.path} at what is no offset of this server`;
  if (ack.offset < link.acked) return `ack of ${ack.path} before its cursor, ${link.acked}`;
  const end = tail ?? ZERO_OFFSET;
  return ack.offset > end ? `ack of ${ack.path} beyond the stream's tail, ${end}` : null;
}

export interface Ack {
  /** Webhook workers call back, pull-wake workers ack. */
  readonly endpoint: "callback" | "ack";
  readonly token: WakeToken;
  readonly request: AckRequest;
  /** At least the links that the request names, by path. */
  readonly links: ReadonlyMap<string, SubscriptionLink>;
  /** The durable tails of the same streams; null or absent for one that is gone. */
  readonly tails: ReadonlyMap<string, string | null>;
  readonly nowMs: number;
}

export type AckDecision =
  | { readonly kind: "acked"; readonly change: SubscriptionChange; readonly done: boolean }
  | SubscriptionRefusal;

/** Links with their cursors moved on; several acks of one stream move it to the furthest. */
function moved(acks: readonly StreamAck[], links: ReadonlyMap<string, SubscriptionLink>): SubscriptionLink[] {
  const changed = new Map<string, SubscriptionLink>();
  for (const { path, offset } of acks) {
    const link = changed.get(path) ?? links.get(path);
    if (link !== undefined && offset > link.acked) changed.set(path, { ...link, acked: offset });
  }
  return [...changed.values()];
}

/**
 * A callback or an ack (sections 7.1 and 7.2): all of its acks are applied or none. Done ends the wake; otherwise the
 * lease starts anew, and a scheduled retry is dropped, because the worker has evidently been reached.
 */
export function decideAck(state: SubscriptionState, ack: Ack): AckDecision {
  const { endpoint, token, request, links, tails, nowMs } = ack;
  if (!state.deleted && (endpoint === "callback") !== (state.config.type === "webhook")) {
    return refuse("INVALID_REQUEST", `a ${state.config.type} subscription takes no ${endpoint}`);
  }
  const wake = fence(state, token, request, nowMs);
  if ("kind" in wake) return wake;
  for (const each of request.acks) {
    const fault = ackFault(each, links.get(each.path), tails.get(each.path) ?? null);
    if (fault !== null) return refuse("INVALID_OFFSET", fault);
  }
  const next = request.done ? null : { ...wake, leaseUntilMs: nowMs + state.config.leaseTtlMs };
  const change = { ...idle(state), wake: next, links: moved(request.acks, links) };
  return { kind: "acked", change, done: request.done };
}

export interface Release {
  readonly token: WakeToken;
  readonly request: Pick<AckRequest, "wakeId" | "generation">;
  readonly nowMs: number;
}

export type ReleaseDecision = { readonly kind: "released"; readonly change: SubscriptionChange } | SubscriptionRefusal;

/** A worker gives the work back (section 7.2); cursors stay. What is pending then needs another wake. */
export function decideRelease(state: SubscriptionState, release: Release): ReleaseDecision {
  if (!state.deleted && state.config.type !== "pull-wake") {
    return refuse("INVALID_REQUEST", "only a pull-wake subscription is released");
  }
  const wake = fence(state, release.token, release.request, release.nowMs);
  return "kind" in wake ? wake : { kind: "released", change: idle(state) };
}

/** Records that the lease ran out: holder, wake and retry go. Null while it has not. */
export function decideLeaseExpiry(state: SubscriptionState, nowMs: number): SubscriptionChange | null {
  if (state.deleted || state.wake === null || wakeInFlight(state, nowMs) !== null) return null;
  return idle(state);
}
