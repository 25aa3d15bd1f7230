/** What the read handlers share: where a request starts, and the headers that say which bytes a response holds. */
import {
  offsetAt,
  parseOffset,
  parseReadQuery,
  resolveOffset,
  RESPONSE_HEADER,
  WAITERS_MAX,
  WAITERS_PER_STREAM_MAX,
} from "@coldbrook/core";
import type { Clock, CursorSchedule, Position, Random, ReadQuery, StreamIdentity, StreamState } from "@coldbrook/core";
import type { Engine } from "../engine/engine.ts";
import type { Stream } from "../engine/stream.ts";
import type { StreamReader } from "../engine/stream-reader.ts";
import type { Compressor } from "./compression.ts";
import type { Exchange } from "./exchange.ts";
import { badRequest, faultProblem, notFound, softDeleted } from "./problem.ts";
import type { Problem } from "./problem.ts";
import type { HttpLog } from "./server.ts";

export interface ReadContext {
  readonly engine: Engine;
  readonly reader: StreamReader;
  readonly clock: Clock;
  readonly random: Random;
  readonly streamRoot: string;
  readonly longPollMs: number;
  readonly sseMs: number;
  /** How SSE carries `text/*`: "literal-text" loses the space that a line starts with, as the reference server does. */
  readonly textEvents: "text" | "literal-text";
  readonly cursorSchedule: CursorSchedule;
  /** Null when nothing is compressed. */
  readonly compressor: Compressor | null;
  /** Aborted when the server drains: live reads end politely. */
  readonly draining: AbortSignal;
  /** Told of what fails after the handler of a request is done. */
  readonly log: HttpLog;
}

/** A read whose start is known. */
export interface Start {
  readonly query: ReadQuery;
  readonly stream: Stream;
  readonly state: StreamState;
  readonly from: Position;
  /** The offset was minted by the stream itself: the URL can never mean another stream's bytes. */
  readonly realOffset: boolean;
  /** `offset=now`. */
  readonly atNow: boolean;
}

/** Protocol sections 5.6 and 8. @throws StreamError */
export async function startOf(context: ReadContext, exchange: Exchange): Promise<Start | Problem> {
  const query = parseReadQuery(exchange.search);
  if ("error" in query) return badRequest(query.error);
  const offset = parseOffset(query.offset);
  if (offset.kind === "malformed") return badRequest(offset.detail);
  const found = context.engine.find(exchange.path);
  if (found === undefined) return await absent(context, exchange.path);
  const { stream, state } = found;
  context.engine.touch(stream);
  const start = { query, stream, state };
  if (offset.kind === "start") return { ...start, from: state.horizon, realOffset: false, atNow: false };
  if (offset.kind === "now") return { ...start, from: state.tail, realOffset: false, atNow: true };
  const resolved = resolveOffset(state.identity, state.tail, state.horizon, offset);
  if (resolved.kind === "gone") return { status: 410, code: "offset-gone", detail: resolved.detail };
  if (resolved.kind === "malformed") return badRequest(resolved.detail);
  const from = await context.reader.resolveStart(stream, resolved.position, state.tail);
  // Meanwhile the stream may have left memory and come back as another object, or be gone.
  const again = context.engine.find(exchange.path);
  if (again === undefined || again.state.identity.id !== state.identity.id) return await absent(context, exchange.path);
  // An inherited offset is another stream's: under this path it may come to mean what a later fork of that one holds.
  const realOffset = offset.generation >= state.identity.id;
  return { query, ...again, from, realOffset, atNow: false };
}

/** What a reader is told of a stream that it cannot have. @throws StreamError */
export async function absent(context: { readonly engine: Engine }, path: string): Promise<Problem> {
  return (await context.engine.absent(path)) === "gone" ? softDeleted(path) : notFound(path);
}

/** One token for each stream, so that an operator can purge it from a CDN. */
export function tagHeaders(identity: StreamIdentity): string[] {
  const token = `coldbrook-${identity.id}`;
  return ["Cache-Tag", token, "Surrogate-Key", token];
}

/** Where a response ends, and what that says about the stream. */
export function endHeaders(state: StreamState, end: Position): string[] {
  const headers = [
    RESPONSE_HEADER.contentType,
    state.identity.config.contentType,
    RESPONSE_HEADER.streamNextOffset,
    offsetAt(state.identity, end),
  ];
  if (end >= state.tail) {
    headers.push(RESPONSE_HEADER.streamUpToDate, "true");
    if (state.closed) headers.push(RESPONSE_HEADER.streamClosed, "true");
  }
  return headers;
}

/** A bound on waiting readers, of one stream and in all. */
export function waiterProblem(context: ReadContext, stream: Stream): Problem | null {
  if (stream.waiters.size < WAITERS_PER_STREAM_MAX && context.engine.stats.waiters < WAITERS_MAX) return null;
  return faultProblem("too-many-waiters", "");
}
