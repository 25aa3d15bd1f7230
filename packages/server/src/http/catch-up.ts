/** GET without a live mode, and HEAD: protocol sections 5.5, 5.6 and 10.1. */
import { cachePolicy, generationAt, isJson, offsetAt, rangeEtag, RESPONSE_HEADER } from "@coldbrook/core";
import type { Position, StreamState } from "@coldbrook/core";
import type { Answer } from "./answer.ts";
import { chooseVariant } from "./compression.ts";
import type { Variant } from "./compression.ts";
import type { Exchange } from "./exchange.ts";
import { bodyBytes, sendRange } from "./range-body.ts";
import type { RangeBody } from "./range-body.ts";
import { absent, endHeaders, tagHeaders } from "./read-context.ts";
import type { ReadContext, Start } from "./read-context.ts";

export async function catchUp(context: ReadContext, exchange: Exchange, start: Start): Promise<void> {
  const { stream, state, from } = start;
  const json = isJson(state.identity.config.contentType);
  if (start.atNow) {
    const headers = [...endHeaders(state, state.tail), "Cache-Control", "no-store"];
    return sendRange(exchange, context.reader, 200, headers, { stream, from: state.tail, to: state.tail, json });
  }
  const end = context.reader.chunkEnd(stream, from, state.tail);
  const to = typeof end === "number" ? end : await end;
  const body = { stream, from, to, json };
  const variant = variantOf(context, exchange, start, state, body);
  const policy = cachePolicy({
    kind: "catch-up",
    realOffset: start.realOffset,
    atTail: to >= state.tail,
    closed: state.closed,
    expiresInMs: context.engine.expiresInMs(stream, state),
    authorized: exchange.authorized,
  });
  const headers = [
    ...endHeaders(state, to),
    "Cache-Control",
    policy.cacheControl,
    "ETag",
    variant.etag,
    ...tagHeaders(state.identity),
    ...variant.headers,
  ];
  if (policy.contentLocation) headers.push("Content-Location", canonical(context, exchange, state, from));
  if (variant.isKnown) return exchange.empty(304, headers);
  await sendRange(exchange, context.reader, 200, headers, body, variant.coder);
}

/** What this client gets of the body's variants, as this state shows it. */
export function variantOf(
  context: ReadContext,
  exchange: Exchange,
  start: Start,
  state: StreamState,
  body: RangeBody,
): Variant {
  return chooseVariant(context.compressor, exchange, {
    contentType: state.identity.config.contentType,
    bodyBytes: bodyBytes(body),
    isSettled: start.realOffset && (body.to < state.tail || state.closed),
    etag: etagOf(state, body.from, body.to),
  });
}

/** Tag of the bytes [from, to) as this state shows them. */
function etagOf(state: StreamState, from: Position, to: Position): string {
  const { identity, closed, tail } = state;
  return rangeEtag({
    id: identity.id,
    generation: generationAt(identity, to),
    start: from,
    end: to,
    closed,
    atTail: to >= tail,
  });
}

/** What a HEAD is answered. @throws StreamError */
export async function head(context: ReadContext, path: string): Promise<Answer> {
  const found = context.engine.find(path);
  if (found === undefined) return await absent(context, path);
  const { state } = found;
  const { config } = state.identity;
  const headers: string[] = [
    RESPONSE_HEADER.contentType,
    config.contentType,
    RESPONSE_HEADER.streamNextOffset,
    offsetAt(state.identity, state.tail),
    "Cache-Control",
    cachePolicy({ kind: "no-store" }).cacheControl,
  ];
  if (state.closed) headers.push(RESPONSE_HEADER.streamClosed, "true");
  if (config.ttlSeconds !== null) headers.push(RESPONSE_HEADER.streamTtl, String(config.ttlSeconds));
  if (config.expiresAtMs !== null) {
    headers.push(RESPONSE_HEADER.streamExpiresAt, new Date(config.expiresAtMs).toISOString());
  }
  return { status: 200, headers, isHead: true };
}

function canonical(context: ReadContext, exchange: Exchange, state: StreamState, from: Position): string {
  return `${context.streamRoot}/${exchange.path}?offset=${offsetAt(state.identity, from)}`;
}
