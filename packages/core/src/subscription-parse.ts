/**
 * What clients send to the subscription APIs (protocol sections 6.2, 6.4, 7.1 and 7.2), bodies as parsed JSON. Unknown
 * fields are ignored, wrong types are not. Everything bad is INVALID_REQUEST.
 */

import {
  LEASE_TTL_DEFAULT_MS,
  LEASE_TTL_MAX_MS,
  LEASE_TTL_MIN_MS,
  SUBSCRIPTION_ACKS_PER_REQUEST_MAX,
  SUBSCRIPTION_DESCRIPTION_BYTES_MAX,
  SUBSCRIPTION_NAME_BYTES_MAX,
  SUBSCRIPTION_PATTERN_BYTES_MAX,
  SUBSCRIPTION_PATTERN_SEGMENTS_MAX,
  SUBSCRIPTION_STREAMS_PER_REQUEST_MAX,
  WORKER_BYTES_MAX,
} from "./limits.ts";
import { parseStreamPath } from "./stream-path.ts";
import type { SubscriptionConfig } from "./subscription.ts";

interface BadRequest {
  readonly kind: "bad";
  readonly detail: string;
}

export interface StreamAck {
  readonly path: string;
  /** As sent: not yet known to be an offset. */
  readonly offset: string;
}

/** The body of a callback, an ack or a release. What is missing is null, and fences. */
export interface AckRequest {
  readonly wakeId: string | null;
  readonly generation: number | null;
  readonly acks: readonly StreamAck[];
  readonly done: boolean;
}

export type ParsedSubscription = { readonly kind: "config"; readonly config: SubscriptionConfig } | BadRequest;
export type ParsedSubscriptionName = { readonly kind: "name"; readonly name: string } | BadRequest;
export type ParsedLinkPath = { readonly kind: "path"; readonly path: string } | BadRequest;
export type ParsedStreams = { readonly kind: "streams"; readonly paths: readonly string[] } | BadRequest;
export type ParsedClaim = { readonly kind: "claim"; readonly worker: string } | BadRequest;
export type ParsedAck = { readonly kind: "ack"; readonly request: AckRequest } | BadRequest;

/** Thrown and caught in this file only: deep in a body there is nothing to do with a fault but to say it. */
class Refused {
  readonly detail: string;

  constructor(detail: string) {
    this.detail = detail;
  }
}

function refuse(detail: string): never {
  throw new Refused(detail);
}

function parsed<Result>(parse: () => Result): Result | BadRequest {
  try {
    return parse();
  } catch (error) {
    if (error instanceof Refused) return { kind: "bad", detail: error.detail };
    throw error;
  }
}

const textEncoder = new TextEncoder();
/** Half of a surrogate pair, which UTF-8 cannot carry. */
const LONE_SURROGATE = /\p{Surrogate}/u;
const CONTROL = /\p{Control}/u;

function text(value: unknown, what: string, bytesMax: number): string {
  if (typeof value !== "string") refuse(`${what} must be a string`);
  if (LONE_SURROGATE.test(value)) refuse(`${what} is not well-formed Unicode`);
  if (value.length > bytesMax || textEncoder.encode(value).length > bytesMax) {
    refuse(`${what} is longer than ${bytesMax} bytes`);
  }
  return value;
}

function name(value: unknown, what: string, bytesMax: number): string {
  const given = text(value, what, bytesMax);
  if (given === "") refuse(`${what} must not be empty`);
  if (CONTROL.test(given)) refuse(`${what} has a control character`);
  return given;
}

type Fields = Readonly<Record<string, unknown>>;

function object(value: unknown, what: string): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) refuse(`${what} must be a JSON object`);
  return value as Fields;
}

/** JSON `null` says the same as a missing field. */
function field(fields: Fields, key: string): unknown {
  return Object.hasOwn(fields, key) ? (fields[key] ?? null) : null;
}

function list(value: unknown, what: string, lengthMax: number): readonly unknown[] {
  if (!Array.isArray(value)) refuse(`${what} must be an array`);
  if (value.length > lengthMax) refuse(`${what} has more than ${lengthMax} entries`);
  return value;
}

function trimmed(raw: string): string {
  let from = 0;
  let to = raw.length;
  while (from < to && raw[from] === "/") from++;
  while (to > from && raw[to - 1] === "/") to--;
  return raw.slice(from, to);
}

function canonical(raw: string, what: string): string {
  const result = parseStreamPath(raw);
  return result.kind === "path" ? result.path : refuse(`${what}: ${result.detail}`);
}

function path(value: unknown, what: string): string {
  if (typeof value !== "string") refuse(`${what} must be a string`);
  return canonical(trimmed(value), what);
}

function paths(value: unknown): string[] {
  const given = list(value, "streams", SUBSCRIPTION_STREAMS_PER_REQUEST_MAX);
  return [...new Set(given.map((each) => path(each, "streams")))].sort();
}

/** A pattern with its literal segments as paths have them, so that they can be compared as they are; see glob.ts. */
function pattern(value: unknown): string | null {
  const raw = trimmed(text(value, "pattern", SUBSCRIPTION_PATTERN_BYTES_MAX));
  if (raw === "") return null;
  const segments = raw.split("/");
  if (segments.length > SUBSCRIPTION_PATTERN_SEGMENTS_MAX) {
    refuse(`pattern has more than ${SUBSCRIPTION_PATTERN_SEGMENTS_MAX} segments`);
  }
  const kept = segments.map((segment, index) => {
    if (segment === "*" || segment === "**") return segment;
    // Only a path's first segment can be a reserved one.
    const literal = canonical(index === 0 ? segment : `p/${segment}`, "pattern").slice(index === 0 ? 0 : 2);
    return literal === "*" || literal === "**" ? literal.replaceAll("*", "%2A") : literal;
  });
  return text(kept.join("/"), "pattern", SUBSCRIPTION_PATTERN_BYTES_MAX);
}

function leaseTtl(value: unknown): number {
  if (value === null) return LEASE_TTL_DEFAULT_MS;
  if (typeof value === "number" && Number.isInteger(value)) {
    if (value >= LEASE_TTL_MIN_MS && value <= LEASE_TTL_MAX_MS) return value;
  }
  return refuse(`lease_ttl_ms must be an integer from ${LEASE_TTL_MIN_MS} to ${LEASE_TTL_MAX_MS}`);
}

/** Any text: whether webhooks may go there is the caller's to judge (section 12.8). */
function webhookUrl(value: unknown): string {
  if (value === null) refuse("a webhook subscription needs webhook.url");
  const url = field(object(value, "webhook"), "url");
  if (typeof url !== "string" || url === "") refuse("webhook.url must be a string that is not empty");
  return url;
}

function config(body: unknown): SubscriptionConfig {
  const fields = object(body, "the body");
  const type = field(fields, "type");
  if (type !== "webhook" && type !== "pull-wake") refuse('type must be "webhook" or "pull-wake"');
  const glob = field(fields, "pattern");
  const streams = field(fields, "streams");
  const wake = field(fields, "wake_stream");
  const description = field(fields, "description");
  if (type === "pull-wake" && (wake === null || wake === "")) refuse("a pull-wake subscription needs wake_stream");
  const result: SubscriptionConfig = {
    type,
    pattern: glob === null ? null : pattern(glob),
    streams: streams === null ? [] : paths(streams),
    webhookUrl: type === "webhook" ? webhookUrl(field(fields, "webhook")) : null,
    wakeStream: type === "pull-wake" ? path(wake, "wake_stream") : null,
    leaseTtlMs: leaseTtl(field(fields, "lease_ttl_ms")),
    description: description === null ? null : text(description, "description", SUBSCRIPTION_DESCRIPTION_BYTES_MAX),
  };
  if (result.pattern === null && result.streams.length === 0) refuse("at least one of pattern and streams is needed");
  return result;
}

/** The body of a PUT (section 6.2). What belongs to the other type is ignored. */
export function parseSubscription(body: unknown): ParsedSubscription {
  return parsed((): ParsedSubscription => ({ kind: "config", config: config(body) }));
}

/** The text whose hash tells whether two configurations are the same. Persisted hashes depend on it. */
export function canonicalConfig(config: SubscriptionConfig): string {
  const { type, pattern: glob, streams, webhookUrl: url, wakeStream, leaseTtlMs, description } = config;
  return JSON.stringify([type, glob, streams, url, wakeStream, leaseTtlMs, description]);
}

/** The URL's `:id`, decoded. */
export function parseSubscriptionName(raw: string): ParsedSubscriptionName {
  return parsed((): ParsedSubscriptionName => ({
    kind: "name",
    name: name(raw, "subscription id", SUBSCRIPTION_NAME_BYTES_MAX),
  }));
}

/** A path below the stream root, as in bodies or, percent-decoded once, in `…/streams/:path`. */
export function parseLinkPath(raw: string): ParsedLinkPath {
  return parsed((): ParsedLinkPath => ({ kind: "path", path: path(raw, "stream path") }));
}

/** The body of a POST to `…/streams` (section 6.4): each path once, sorted. */
export function parseStreams(body: unknown): ParsedStreams {
  return parsed((): ParsedStreams => ({ kind: "streams", paths: paths(field(object(body, "the body"), "streams")) }));
}

export function parseClaim(body: unknown): ParsedClaim {
  return parsed((): ParsedClaim => ({
    kind: "claim",
    worker: name(field(object(body, "the body"), "worker"), "worker", WORKER_BYTES_MAX),
  }));
}

function streamAck(value: unknown): StreamAck {
  const fields = object(value, "each of acks");
  const offset = field(fields, "offset");
  if (typeof offset !== "string") refuse("offset of an ack must be a string");
  return { path: path(field(fields, "stream") ?? field(fields, "path"), "stream of an ack"), offset };
}

function ackRequest(body: unknown): AckRequest {
  const fields = object(body, "the body");
  const wakeId = field(fields, "wake_id");
  const generation = field(fields, "generation");
  const acks = field(fields, "acks");
  const done = field(fields, "done") ?? false;
  if (wakeId !== null && typeof wakeId !== "string") refuse("wake_id must be a string");
  if (generation !== null && typeof generation !== "number") refuse("generation must be a number");
  if (typeof done !== "boolean") refuse("done must be true or false");
  const given = acks === null ? [] : list(acks, "acks", SUBSCRIPTION_ACKS_PER_REQUEST_MAX);
  return { wakeId, generation, acks: given.map(streamAck), done };
}

/** The body of a callback, an ack or a release (sections 7.1 and 7.2). */
export function parseAck(body: unknown): ParsedAck {
  return parsed((): ParsedAck => ({ kind: "ack", request: ackRequest(body) }));
}
