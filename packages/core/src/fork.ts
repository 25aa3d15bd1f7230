/** Fork (protocol section 4.2): a create whose stream begins with another one's bytes. */
import type { Position } from "./brand.ts";
import type { CreateRequest } from "./create.ts";
import { decideSameConfig } from "./create.ts";
import { isExpired } from "./expiry.ts";
import { headerValue, REQUEST_HEADER, sameMediaType, type RequestHeaders } from "./headers.ts";
import { LINEAGE_MAX } from "./limits.ts";
import { forkedFrom, ownStart } from "./lineage.ts";
import { parseOffset, resolveOffset, type OffsetAt } from "./offset.ts";
import { parseStreamPath } from "./stream-path.ts";
import type { StreamConfig, StreamState } from "./stream-state.ts";

export interface ForkRequest {
  /** Canonical path of the source. */
  readonly source: string;
  /** Where the fork parts from its source: "tail" when the request does not say. */
  readonly offset: OffsetAt | "start" | "tail";
  /** Messages (JSON mode) or bytes to inherit past the offset. */
  readonly subOffset: number;
}

export type ParsedFork =
  | { readonly kind: "none" }
  | { readonly kind: "fork"; readonly request: ForkRequest }
  /** 404: no stream can have that path. */
  | { readonly kind: "elsewhere"; readonly detail: string }
  | { readonly kind: "bad"; readonly detail: string };

export type ForkOutcome =
  | { readonly kind: "create"; readonly config: StreamConfig }
  | { readonly kind: "exists" }
  /** 409: the target exists otherwise, the source is soft-deleted, or the content types differ. */
  | { readonly kind: "conflict"; readonly detail: string }
  /** 404 */
  | { readonly kind: "no-source" }
  /** 400 */
  | { readonly kind: "bad"; readonly detail: string };

export type ForkAnchor =
  | { readonly kind: "anchor"; readonly position: Position }
  | { readonly kind: "bad"; readonly detail: string };

const SUB_OFFSET = /^(?:0|[1-9][0-9]{0,15})$/;

/** Reads a PUT's fork headers. `streamRoot` is the URL path above all streams, without a trailing slash. */
export function parseFork(headers: RequestHeaders, streamRoot: string): ParsedFork {
  const from = headerValue(headers, REQUEST_HEADER.streamForkedFrom);
  const offset = headerValue(headers, REQUEST_HEADER.streamForkOffset);
  const sub = headerValue(headers, REQUEST_HEADER.streamForkSubOffset);
  if (from === undefined) {
    if (offset === undefined && sub === undefined) return { kind: "none" };
    return { kind: "bad", detail: "Stream-Fork-Offset and Stream-Fork-Sub-Offset need Stream-Forked-From" };
  }
  if (!from.startsWith(`${streamRoot}/`)) {
    return {
      kind: "elsewhere",
      detail: `Stream-Forked-From must be the URL path of a stream here: ${streamRoot}/<path>`,
    };
  }
  const path = parseStreamPath(from.slice(streamRoot.length + 1));
  if (path.kind === "bad") return { kind: "bad", detail: `Stream-Forked-From: ${path.detail}` };
  if (sub !== undefined && !SUB_OFFSET.test(sub)) {
    return {
      kind: "bad",
      detail: "Stream-Fork-Sub-Offset must be a whole number of 0 to 2^53-1, without leading zeros",
    };
  }
  const subOffset = Number(sub ?? 0);
  if (!Number.isSafeInteger(subOffset)) return { kind: "bad", detail: "Stream-Fork-Sub-Offset is out of range" };
  if (offset === undefined) {
    if (subOffset > 0) return { kind: "bad", detail: "Stream-Fork-Sub-Offset needs Stream-Fork-Offset to count from" };
    return { kind: "fork", request: { source: path.path, offset: "tail", subOffset } };
  }
  const parsed = parseOffset(offset);
  if (parsed.kind === "malformed" || parsed.kind === "now" || offset === "-1") {
    return { kind: "bad", detail: "Stream-Fork-Offset must be an offset that the source stream gave out" };
  }
  const anchor = parsed.kind === "start" ? "start" : parsed;
  return { kind: "fork", request: { source: path.path, offset: anchor, subOffset } };
}

/** The position that the request's offset names in the source, before its sub-offset is counted. */
export function forkAnchor(source: StreamState, request: ForkRequest): ForkAnchor {
  const { identity, tail, horizon } = source;
  if (request.offset === "tail") return { kind: "anchor", position: tail };
  if (request.offset === "start") {
    if (horizon > 0) return { kind: "bad", detail: "the source no longer keeps its start" };
    return { kind: "anchor", position: horizon };
  }
  if (request.offset.position > tail) {
    return { kind: "bad", detail: "Stream-Fork-Offset lies past the end of the source stream" };
  }
  const resolved = resolveOffset(identity, tail, horizon, request.offset);
  if (resolved.kind === "position") return { kind: "anchor", position: resolved.position };
  return { kind: "bad", detail: `Stream-Fork-Offset: ${resolved.detail}` };
}

/** Expiry of a fork: what it asks for, else its source's, counted anew (the table of section 4.2). */
function forkConfig(source: StreamConfig, request: CreateRequest): StreamConfig {
  const asks = request.ttlSeconds !== null || request.expiresAtMs !== null;
  const { ttlSeconds, expiresAtMs } = asks ? request : source;
  return { contentType: source.contentType, ttlSeconds, expiresAtMs };
}

/**
 * Judges a forking PUT. `source` is the stream that the request names, soft-deleted or not; `point` is where the fork would
 * part from it. A fork at the source's tail that is asked for again without an offset is the one that is there already.
 */
export function decideFork(
  existing: StreamState | undefined,
  source: StreamState | undefined,
  request: { readonly create: CreateRequest; readonly fork: ForkRequest },
  point: Position,
  nowMs: number,
): ForkOutcome {
  const { create, fork } = request;
  if (existing !== undefined && !existing.deleted && !isExpired(existing, nowMs)) {
    const { identity } = existing;
    if (source === undefined || forkedFrom(identity) !== source.identity.id) {
      return { kind: "conflict", detail: "the stream exists and is not a fork of that source" };
    }
    if (fork.offset !== "tail" && ownStart(identity) !== point) {
      return { kind: "conflict", detail: "the stream exists as a fork at another offset" };
    }
    return decideSameConfig(existing, forkConfig(source.identity.config, create), create);
  }
  if (source === undefined || source.deleted) return { kind: "no-source" };
  if (source.softDeleted)
    return { kind: "conflict", detail: "the source stream was deleted and is kept for its forks only" };
  if (isExpired(source, nowMs)) return { kind: "no-source" };
  const { contentType } = source.identity.config;
  if (create.contentType !== null && !sameMediaType(contentType, create.contentType)) {
    return { kind: "conflict", detail: `the source stream has content type ${contentType}` };
  }
  if (source.identity.lineage.length + 1 > LINEAGE_MAX) {
    return { kind: "bad", detail: `a fork may inherit from ${LINEAGE_MAX - 1} streams at most: fork one further up` };
  }
  return { kind: "create", config: forkConfig(source.identity.config, create) };
}
