/** GET with `live=long-poll`: protocol section 5.7. */
import { cachePolicy, isJson, offsetAt, responseCursor, RESPONSE_HEADER, sharedCursor } from "@coldbrook/core";
import type { Position, SharedCursor, StreamState } from "@coldbrook/core";
import type { Stream } from "../engine/stream.ts";
import { variantOf } from "./catch-up.ts";
import type { Exchange } from "./exchange.ts";
import { LiveEnds } from "./live-ends.ts";
import { sendRange } from "./range-body.ts";
import { absent, endHeaders, tagHeaders, waiterProblem } from "./read-context.ts";
import type { ReadContext, Start } from "./read-context.ts";

const endsByContext = new WeakMap<ReadContext, LiveEnds>();

function endsOf(context: ReadContext): LiveEnds {
  let ends = endsByContext.get(context);
  if (ends === undefined) endsByContext.set(context, (ends = new LiveEnds(context.draining, context.longPollMs)));
  return ends;
}

/** What the readers at each stream's tail were given last; forgotten with the stream's place in memory. */
const shared = new WeakMap<Stream, SharedCursor>();

export async function longPoll(context: ReadContext, exchange: Exchange, start: Start): Promise<void> {
  const { stream, from } = start;
  let state = start.state;
  if (state.tail <= from && !state.closed) {
    const refused = waiterProblem(context, stream);
    if (refused !== null) return exchange.problem(refused);
    await changed(context, exchange, stream, from);
    if (exchange.response.destroyed) return;
    const latest = stream.durable;
    if (latest === null || latest.deleted || latest.softDeleted)
      return exchange.problem(await absent(context, exchange.path));
    state = latest;
  }
  if (state.tail <= from) return nothing(context, exchange, start, state);
  await data(context, exchange, start, state);
}

/** Resolves at data past `from`, at a close or delete, at the deadline, when the client leaves and when the server drains. */
function changed(context: ReadContext, exchange: Exchange, stream: Stream, from: Position): Promise<void> {
  const { response } = exchange;
  return new Promise((resolve) => {
    const unwatch = context.engine.watch(stream, () => {
      const state = stream.durable!;
      if (state.tail > from || state.closed || state.deleted || state.softDeleted) settle();
    });
    const ends = endsOf(context);
    const read = { end: settle };
    response.once("close", settle);
    ends.add(read);
    function settle(): void {
      ends.delete(read);
      unwatch();
      response.off("close", settle);
      resolve();
    }
  });
}

function nothing(context: ReadContext, exchange: Exchange, start: Start, state: StreamState): void {
  const headers = [
    RESPONSE_HEADER.streamNextOffset,
    offsetAt(state.identity, state.tail),
    RESPONSE_HEADER.streamUpToDate,
    "true",
    "Cache-Control",
    cachePolicy({ kind: "no-store" }).cacheControl,
  ];
  if (state.closed) headers.push(RESPONSE_HEADER.streamClosed, "true");
  else headers.push(RESPONSE_HEADER.streamCursor, tailCursor(context, start, state));
  exchange.empty(204, headers);
}

async function data(context: ReadContext, exchange: Exchange, start: Start, state: StreamState): Promise<void> {
  const { stream, from } = start;
  const to = await context.reader.chunkEnd(stream, from, state.tail);
  const body = { stream, from, to, json: isJson(state.identity.config.contentType) };
  const variant = variantOf(context, exchange, start, state, body);
  const policy = cachePolicy({
    kind: "long-poll",
    realOffset: start.realOffset,
    expiresInMs: context.engine.expiresInMs(stream, state),
    authorized: exchange.authorized,
  });
  const headers = [
    ...endHeaders(state, to),
    RESPONSE_HEADER.streamCursor,
    to >= state.tail ? tailCursor(context, start, state) : ownCursor(context, start),
    "Cache-Control",
    policy.cacheControl,
    "ETag",
    variant.etag,
    ...tagHeaders(state.identity),
    ...variant.headers,
  ];
  if (variant.isKnown) return exchange.empty(304, headers);
  await sendRange(exchange, context.reader, 200, headers, body, variant.coder);
}

/** Of an answer that ends below the tail, which the client goes on from by itself. */
function ownCursor(context: ReadContext, start: Start): string {
  return responseCursor(start.query.cursor, context.clock(), context.random, context.cursorSchedule);
}

/** All who go on waiting at this tail are given the same, so that their next requests are the same to a cache. */
function tailCursor(context: ReadContext, start: Start, state: StreamState): string {
  const { clock, random, cursorSchedule } = context;
  const last = shared.get(start.stream) ?? null;
  const answer = sharedCursor(last, state.tail, start.query.cursor, clock(), random, cursorSchedule);
  if (answer.last !== null && answer.last !== last) shared.set(start.stream, answer.last);
  return answer.cursor;
}
