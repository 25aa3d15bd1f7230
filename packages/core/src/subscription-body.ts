/** What clients and workers are told (protocol sections 6.3, 7.1 and 7.2), as values to be written as JSON. */

import { pendingOf } from "./subscription-link.ts";
import { ZERO_OFFSET } from "./subscription.ts";
import type { SubscriptionLink, SubscriptionState, SubscriptionType } from "./subscription.ts";

type LinkType = "explicit" | "glob";

interface LinkInfo {
  readonly path: string;
  readonly link_type: LinkType;
  readonly acked_offset: string;
}

/** A link as a wake's receiver sees it. */
export interface StreamInfo extends LinkInfo {
  readonly tail_offset: string;
  readonly has_pending: boolean;
}

interface WebhookBody {
  readonly url: string;
  readonly signing?: { readonly alg: "ed25519"; readonly kid: string; readonly jwks_url: string };
}

export interface SubscriptionBody {
  readonly id: string;
  readonly subscription_id: string;
  readonly type: SubscriptionType;
  readonly pattern: string | null;
  readonly streams: readonly LinkInfo[];
  readonly webhook: WebhookBody | null;
  readonly wake_stream: string | null;
  readonly lease_ttl_ms: number;
  readonly created_at: string;
  readonly status: "active" | "failed";
  readonly description: string | null;
}

/** The active signing key, and where its public half is. */
export interface WebhookSigning {
  readonly kid: string;
  readonly jwksUrl: string;
}

export interface WakeNotification {
  readonly subscription_id: string;
  readonly wake_id: string;
  readonly generation: number;
  readonly streams: readonly StreamInfo[];
  readonly callback_url: string;
  readonly callback_token: string;
}

export interface WakeEvent {
  readonly type: "wake";
  readonly subscription_id: string;
  readonly stream: string;
  readonly generation: number;
  readonly ts: number;
}

/** A link that is both explicit and a glob's is called explicit. */
function linkInfo(link: SubscriptionLink): LinkInfo {
  return { path: link.path, link_type: link.explicit ? "explicit" : "glob", acked_offset: link.acked };
}

function webhookBody(url: string | null, signing: WebhookSigning | null): WebhookBody | null {
  if (url === null) return null;
  return signing === null ? { url } : { url, signing: { alg: "ed25519", kid: signing.kid, jwks_url: signing.jwksUrl } };
}

/** The answer to a PUT or GET of a subscription. */
export function subscriptionBody(
  state: SubscriptionState,
  links: Iterable<SubscriptionLink>,
  options: { readonly signing: WebhookSigning | null },
): SubscriptionBody {
  const { name, config, createdAtMs, retry } = state;
  return {
    id: name,
    subscription_id: name,
    type: config.type,
    pattern: config.pattern,
    streams: Array.from(links, linkInfo),
    webhook: webhookBody(config.webhookUrl, options.signing),
    wake_stream: config.wakeStream,
    lease_ttl_ms: config.leaseTtlMs,
    created_at: new Date(createdAtMs).toISOString(),
    status: retry === null ? "active" : "failed",
    description: config.description,
  };
}

/** `tail` is null when the stream is gone. */
export function streamInfo(link: SubscriptionLink, tail: string | null): StreamInfo {
  return { ...linkInfo(link), tail_offset: tail ?? ZERO_OFFSET, has_pending: pendingOf(link, tail) };
}

/** What a webhook is sent (section 7.1). Null when no wake is in flight. */
export function wakeNotification(
  state: SubscriptionState,
  streams: readonly StreamInfo[],
  callback: { readonly url: string; readonly token: string },
): WakeNotification | null {
  const { name, wake, generation } = state;
  if (wake === null) return null;
  return {
    subscription_id: name,
    wake_id: wake.wakeId,
    generation,
    streams,
    callback_url: callback.url,
    callback_token: callback.token,
  };
}

/** What a pull-wake's wake stream gets (section 7.2). Null when no wake is in flight. */
export function wakeEvent(state: SubscriptionState, nowMs: number): WakeEvent | null {
  const { name, wake, generation } = state;
  if (wake === null) return null;
  return { type: "wake", subscription_id: name, stream: wake.stream, generation, ts: nowMs };
}
