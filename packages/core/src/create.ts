/** Create (protocol section 5.1): a repeated PUT succeeds only when it asks for what is there. */
import { position, type Lsn, type Position } from "./brand.ts";
import { isExpired, parseExpiresAt, parseTtl } from "./expiry.ts";
import {
  headerValue,
  isTrue,
  parseContentType,
  REQUEST_HEADER,
  sameMediaType,
  type RequestHeaders,
} from "./headers.ts";
import type { StreamConfig, StreamIdentity, StreamState } from "./stream-state.ts";

/** The type of a stream whose creator names none. */
export const DEFAULT_CONTENT_TYPE = "application/octet-stream";

export interface CreateRequest {
  /** As given, or null when the request names none. */
  readonly contentType: string | null;
  readonly ttlSeconds: number | null;
  readonly expiresAtMs: number | null;
  readonly closed: boolean;
}

export type ParsedCreate =
  | { readonly kind: "request"; readonly request: CreateRequest }
  | { readonly kind: "bad"; readonly detail: string };

export type CreateOutcome =
  | { readonly kind: "create" }
  | { readonly kind: "exists" }
  | { readonly kind: "conflict"; readonly detail: string };

/** Reads a PUT's headers, fork headers aside. */
export function parseCreate(headers: RequestHeaders): ParsedCreate {
  const contentType = parseContentType(headerValue(headers, REQUEST_HEADER.contentType));
  if (contentType !== null && typeof contentType === "object") return { kind: "bad", detail: contentType.error };
  const ttl = headerValue(headers, REQUEST_HEADER.streamTtl);
  const expires = headerValue(headers, REQUEST_HEADER.streamExpiresAt);
  if (ttl !== undefined && expires !== undefined) {
    return { kind: "bad", detail: "Stream-TTL and Stream-Expires-At exclude each other" };
  }
  const ttlSeconds = ttl === undefined ? null : parseTtl(ttl);
  if (ttlSeconds !== null && typeof ttlSeconds === "object") return { kind: "bad", detail: ttlSeconds.error };
  const expiresAtMs = expires === undefined ? null : parseExpiresAt(expires);
  if (expiresAtMs !== null && typeof expiresAtMs === "object") return { kind: "bad", detail: expiresAtMs.error };
  const closed = isTrue(headerValue(headers, REQUEST_HEADER.streamClosed));
  return { kind: "request", request: { contentType, ttlSeconds, expiresAtMs, closed } };
}

/**
 * Judges a PUT against the stream of that path, if there is one. A deleted or expired stream gives way to a new one; a
 * soft-deleted one does not (section 4.2). An existing fork is what a plain PUT asks for when its configuration is.
 */
export function decideCreate(existing: StreamState | undefined, request: CreateRequest, nowMs: number): CreateOutcome {
  if (existing === undefined || existing.deleted || isExpired(existing, nowMs)) return { kind: "create" };
  const contentType = request.contentType ?? DEFAULT_CONTENT_TYPE;
  return decideSameConfig(existing, { ...request, contentType }, request);
}

/** Whether a stream that is there has the configuration `wanted`; `request` is compared where it says more than that. */
export function decideSameConfig(
  existing: StreamState,
  wanted: StreamConfig,
  request: CreateRequest,
): Exclude<CreateOutcome, { kind: "create" }> {
  const { config } = existing.identity;
  if (existing.softDeleted) {
    return { kind: "conflict", detail: "a deleted stream is kept under this path until its forks are deleted" };
  }
  if (!sameMediaType(config.contentType, request.contentType ?? wanted.contentType)) {
    return { kind: "conflict", detail: `the stream exists with content type ${config.contentType}` };
  }
  if (config.ttlSeconds !== wanted.ttlSeconds) {
    return { kind: "conflict", detail: "the stream exists with another Stream-TTL" };
  }
  if (config.expiresAtMs !== wanted.expiresAtMs) {
    return { kind: "conflict", detail: "the stream exists with another Stream-Expires-At" };
  }
  if (existing.closed !== request.closed) {
    return { kind: "conflict", detail: `the stream exists and is ${existing.closed ? "closed" : "open"}` };
  }
  return { kind: "exists" };
}

/** What a create fixes about a new stream's state. `lsn` is just past its create frame. */
export interface NewStream {
  readonly identity: StreamIdentity;
  readonly tail: Position;
  readonly closed: boolean;
  readonly touchedAtMs: number;
  readonly lsn: Lsn;
}

/** The state of a stream just created, with nothing trimmed and no producer known. */
export function newStreamState({ identity, tail, closed, touchedAtMs, lsn }: NewStream): StreamState {
  return {
    identity,
    tail,
    horizon: position(0),
    closed,
    closedBy: null,
    streamSeq: null,
    touchedAtMs,
    softDeleted: false,
    deleted: false,
    lsn,
  };
}
