/** The subscription APIs over HTTP (protocol sections 6 and 7): one function per route, errors as `{ error: { code, message } }`. */
import { isUtf8 } from "node:buffer";
import {
  parseAck,
  parseClaim,
  parseLinkPath,
  parseStreams,
  parseSubscription,
  parseSubscriptionName,
  refuse,
  SUBSCRIPTION_STATUS,
} from "@coldbrook/core";
import type { SubscriptionConfig, SubscriptionRefusal } from "@coldbrook/core";
import type { Refused, SubscriptionService } from "../subscriptions/subscription-service.ts";
import { checkWebhookUrl } from "../webhook/webhook-url.ts";
import type { WebhookJwk } from "../webhook/webhook-signer.ts";
import type { BodyReceiver } from "./body.ts";
import type { Exchange } from "./exchange.ts";
import { preflight } from "./preflight.ts";
import { hasBody } from "./writes.ts";
import type { ControlRoute, SubscriptionAction } from "./subscription-routes.ts";

const NO_STORE: readonly string[] = ["Cache-Control", "no-store"];
const JSON_TYPE: readonly string[] = ["Content-Type", "application/json"];
const JWKS_HEADERS: readonly string[] = [
  "Content-Type",
  "application/jwk-set+json",
  "Cache-Control",
  "public, max-age=300",
];
/** RFC 6750: one space, then the token and nothing behind it. The scheme's case does not matter (RFC 9110). */
const BEARER = /^bearer ([A-Za-z0-9\-._~+/]+=*)$/i;

export interface SubscriptionContext {
  readonly service: SubscriptionService;
  /** Null when webhooks are turned off. */
  readonly webhooks: { readonly allowLoopback: boolean } | null;
  readonly jwks: { readonly keys: readonly WebhookJwk[] };
  readonly bodies: BodyReceiver;
  /** Metrics. */
  readonly facts: () => Record<string, number>;
}

/** @throws StreamError wal-full, disk-full, corrupt-catalog */
export async function serveControl(
  context: SubscriptionContext,
  exchange: Exchange,
  route: ControlRoute,
): Promise<void> {
  switch (route.kind) {
    case "unknown":
      return sendUnread(exchange, refuse("SUBSCRIPTION_NOT_FOUND", "there is no such control route"));
    case "malformed":
      return sendUnread(exchange, refuse("INVALID_REQUEST", "the URL has a malformed percent-encoding"));
    case "jwks":
      return only(exchange, ["GET"], () => sendJson(exchange, 200, context.jwks, JWKS_HEADERS));
    default:
      return serveSubscription(context, exchange, route);
  }
}

async function serveSubscription(
  context: SubscriptionContext,
  exchange: Exchange,
  route: Extract<ControlRoute, { readonly name: string }>,
): Promise<void> {
  const parsed = parseSubscriptionName(route.name);
  if (parsed.kind === "bad") return sendUnread(exchange, refuse("INVALID_REQUEST", parsed.detail));
  const { name } = parsed;
  switch (route.kind) {
    case "subscription":
      return only(exchange, ["GET", "PUT", "DELETE"], (method) => {
        if (method === "PUT") return put(context, exchange, name);
        return method === "GET" ? get(context, exchange, name) : remove(context, exchange, name);
      });
    case "streams":
      return only(exchange, ["POST"], () => addStreams(context, exchange, name));
    case "stream":
      return only(exchange, ["DELETE"], () => removeStream(context, exchange, name, route.path));
    case "action":
      return only(exchange, ["POST"], () => act(context, exchange, name, route.action));
  }
}

async function put(
  { service, webhooks, bodies }: SubscriptionContext,
  exchange: Exchange,
  name: string,
): Promise<void> {
  const body = await receiveJson(bodies, exchange);
  if (body === null) return;
  const parsed = parseSubscription(body.value);
  if (parsed.kind === "bad") return sendRefusal(exchange, refuse("INVALID_REQUEST", parsed.detail));
  let config: SubscriptionConfig = parsed.config;
  let rejected: string | null = null;
  if (config.webhookUrl !== null) {
    if (webhooks === null) {
      return sendRefusal(exchange, refuse("INVALID_REQUEST", "webhooks are turned off on this server"));
    }
    const verdict = checkWebhookUrl(config.webhookUrl, webhooks);
    // As it is sent: what was judged is what is called.
    if (verdict.kind === "ok") config = { ...config, webhookUrl: verdict.url.href };
    else rejected = verdict.detail;
  }
  const result = await service.put(name, config, rejected);
  if (result.kind === "refused" || result.kind === "full") return sendRefusal(exchange, result);
  sendJson(exchange, result.kind === "created" ? 201 : 200, result.body);
}

async function get({ service }: SubscriptionContext, exchange: Exchange, name: string): Promise<void> {
  const body = await service.get(name);
  if (body === null) return sendRefusal(exchange, refuse("SUBSCRIPTION_NOT_FOUND", "there is no such subscription"));
  sendJson(exchange, 200, body);
}

async function remove({ service }: SubscriptionContext, exchange: Exchange, name: string): Promise<void> {
  await service.remove(name);
  exchange.empty(204, NO_STORE);
}

async function addStreams({ service, bodies }: SubscriptionContext, exchange: Exchange, name: string): Promise<void> {
  const body = await receiveJson(bodies, exchange);
  if (body === null) return;
  const parsed = parseStreams(body.value);
  if (parsed.kind === "bad") return sendRefusal(exchange, refuse("INVALID_REQUEST", parsed.detail));
  const refused = await service.addStreams(name, parsed.paths);
  if (refused !== null) return sendRefusal(exchange, refused);
  exchange.empty(204, NO_STORE);
}

async function removeStream(
  { service }: SubscriptionContext,
  exchange: Exchange,
  name: string,
  raw: string,
): Promise<void> {
  const parsed = parseLinkPath(raw);
  if (parsed.kind === "bad") return sendRefusal(exchange, refuse("INVALID_REQUEST", parsed.detail));
  const refused = await service.removeStream(name, parsed.path);
  if (refused !== null) return sendRefusal(exchange, refused);
  exchange.empty(204, NO_STORE);
}

async function act(
  context: SubscriptionContext,
  exchange: Exchange,
  name: string,
  action: SubscriptionAction,
): Promise<void> {
  const { service, bodies } = context;
  const token = action === "claim" ? "" : bearer(exchange);
  const body = await receiveJson(bodies, exchange);
  if (body === null) return;
  if (action === "claim") return claim(service, exchange, name, body.value);
  if (token === null) {
    return sendRefusal(exchange, refuse("TOKEN_INVALID", "send the wake's token as Authorization: Bearer <token>"));
  }
  const parsed = parseAck(body.value);
  if (parsed.kind === "bad") return sendRefusal(exchange, refuse("INVALID_REQUEST", parsed.detail));
  if (action === "release") {
    const refused = await service.release(name, token, parsed.request);
    if (refused !== null) return sendRefusal(exchange, refused);
    return exchange.empty(204, NO_STORE);
  }
  const result = await service.ack(name, action, token, parsed.request);
  if (result.kind === "refused") return sendRefusal(exchange, result);
  sendJson(exchange, 200, { ok: true, next_wake: result.nextWake });
}

async function claim(service: SubscriptionService, exchange: Exchange, name: string, body: unknown): Promise<void> {
  const parsed = parseClaim(body);
  if (parsed.kind === "bad") return sendRefusal(exchange, refuse("INVALID_REQUEST", parsed.detail));
  const result = await service.claim(name, parsed.worker);
  if (result.kind === "refused") return sendRefusal(exchange, result);
  if (result.kind === "held") {
    const { holder, generation } = result;
    const message = "another worker holds the lease; wait for the next wake";
    const error = { code: "ALREADY_CLAIMED", message, current_holder: holder, generation };
    return sendError(exchange, SUBSCRIPTION_STATUS.ALREADY_CLAIMED, error);
  }
  const { wakeId, generation, token, streams, leaseTtlMs } = result;
  sendJson(exchange, 200, { wake_id: wakeId, generation, token, streams, lease_ttl_ms: leaseTtlMs });
}

async function only(
  exchange: Exchange,
  methods: readonly string[],
  serve: (method: string) => Promise<void> | void,
): Promise<void> {
  const method = exchange.request.method ?? "";
  if (methods.includes(method)) return serve(method);
  const allowed = [...methods, "OPTIONS"].join(", ");
  if (method === "OPTIONS") return preflight(exchange, allowed);
  const error = { code: "INVALID_REQUEST", message: `this takes ${allowed}` };
  sendError(exchange, 405, error, ["Allow", allowed], hasBody(exchange.request));
}

/** The value of the body, an empty one being an empty object; null when the request has been answered, or nobody waits for that. */
async function receiveJson(bodies: BodyReceiver, exchange: Exchange): Promise<{ readonly value: unknown } | null> {
  const body = await bodies.receive(exchange.request);
  if (body.kind === "aborted") return null;
  if (body.kind === "refused") {
    const { status, detail, headers = [], close = false } = body.problem;
    const message = status === 413 ? "the body is longer than a control request may be" : detail;
    sendError(exchange, status, { code: "INVALID_REQUEST", message }, headers, close);
    return null;
  }
  try {
    if (body.bytes.length === 0) return { value: {} };
    if (!isUtf8(body.bytes)) throw new SyntaxError("not UTF-8");
    return { value: JSON.parse(Buffer.from(body.bytes).toString("utf8")) as unknown };
  } catch {
    sendRefusal(exchange, refuse("INVALID_REQUEST", "the body is not valid JSON"));
    return null;
  } finally {
    body.release();
  }
}

function bearer(exchange: Exchange): string | null {
  return BEARER.exec(exchange.request.headers.authorization ?? "")?.[1] ?? null;
}

/** Before anybody has looked at the body, which makes the connection useless if there is one. */
function sendUnread(exchange: Exchange, { code, detail: message }: SubscriptionRefusal): void {
  sendError(exchange, SUBSCRIPTION_STATUS[code], { code, message }, [], hasBody(exchange.request));
}

function sendRefusal(exchange: Exchange, refused: Refused): void {
  if (refused.kind === "full") {
    const error = { code: "TOO_MANY_SUBSCRIPTIONS", message: "the server holds as many subscriptions as it can" };
    return sendError(exchange, 429, error, ["Retry-After", "60"]);
  }
  sendError(exchange, SUBSCRIPTION_STATUS[refused.code], { code: refused.code, message: refused.detail });
}

interface ErrorBody {
  readonly code: string;
  readonly message: string;
}

function sendError(
  exchange: Exchange,
  status: number,
  error: ErrorBody,
  headers: readonly string[] = [],
  close = false,
): void {
  const { code, message: detail } = error;
  exchange.problem({ status, code, detail, headers, close, json: `${JSON.stringify({ error })}\n` });
}

function sendJson(exchange: Exchange, status: number, value: object, headers?: readonly string[]): void {
  const body = JSON.stringify(value);
  const sent = headers ?? [...JSON_TYPE, ...NO_STORE];
  exchange.head(status, [...sent, "Content-Length", String(Buffer.byteLength(body))]);
  exchange.response.end(body);
}
