/**
 * The protocol, one operation at a time, on plain data: `apply` says what must be answered to a request and what the world is
 * after it. Nothing is ever changed in place. Two things are left to the caller: which generation a life turns out to have
 * (learned in answers.ts), and whether a stream whose time is nearly up has expired.
 */
import { parseToken } from "./history.ts";
import type { AppendRequest, CreateRequest, ForkFrom, OffsetToken, Producer, Request } from "./history.ts";
import { added, essence, forkedFrom, hasForks, isJson, NO_BYTES, tailOf, without, withStream } from "./world.ts";
import type { Span, Stream, World } from "./world.ts";

/** When an operation takes place, and what has expired by then. */
export interface Moment {
  readonly span: Span;
  expired(path: string, stream: Stream): boolean;
}

/** A moment that is exactly known. */
export function momentAt(nowMs: number): Moment {
  return {
    span: { fromMs: nowMs, toMs: nowMs },
    expired: (_path, { used, ttlSeconds, expiresAtMs }) =>
      nowMs >= (ttlSeconds === null ? (expiresAtMs ?? Infinity) : used.toMs + ttlSeconds * 1000),
  };
}

/** What must be answered. Positions stand where an answer has tokens. */
export type Expected =
  | {
      readonly kind: "created" | "exists" | "appended" | "already-closed" | "closed";
      readonly tail: number;
      readonly closed: boolean;
    }
  | {
      readonly kind: "duplicate";
      readonly epoch: number;
      readonly seq: number;
      readonly tail: number;
      readonly closed: boolean;
    }
  | { readonly kind: "metadata"; readonly contentType: string; readonly tail: number; readonly closed: boolean }
  /** Bytes from `from` on, up to a message boundary of the stream's. */
  | { readonly kind: "data"; readonly from: number }
  | { readonly kind: "stale-epoch"; readonly epoch: number }
  | { readonly kind: "gap"; readonly expected: number }
  | { readonly kind: "conflict" | "no-source" | "bad" | "bad-body" | "deleted" | "not-found" | "gone" | "offset-gone" }
  | { readonly kind: "content-type" | "missing-content-type" | "empty-body" | "epoch-start" | "stream-seq" };

export interface Step {
  readonly expected: Expected;
  /** The very same world when nothing has changed. */
  readonly world: World;
}

/** The stream if clients can use it, or what they are told instead. */
function find(world: World, path: string, moment: Moment): Stream | { readonly kind: "not-found" | "gone" } {
  const stream = world.streams.get(path);
  if (stream === undefined) return { kind: "not-found" };
  if (stream.softDeleted) return { kind: "gone" };
  if (!moment.expired(path, stream)) return stream;
  return { kind: hasForks(world, stream) ? "gone" : "not-found" };
}

export function apply(world: World, path: string, request: Request, moment: Moment): Step {
  if (request.kind === "create") return create(world, path, request, moment);
  const stream = find(world, path, moment);
  if ("kind" in stream) return { expected: stream, world };
  switch (request.kind) {
    case "append":
      return append(world, path, stream, request, moment);
    case "delete": {
      const next = hasForks(world, stream)
        ? withStream(world, path, { ...stream, softDeleted: true })
        : without(world, path);
      return { expected: { kind: "deleted" }, world: next };
    }
    case "head": {
      const { contentType, closed } = stream;
      return { expected: { kind: "metadata", contentType, tail: tailOf(stream), closed }, world };
    }
    case "read": {
      const from = locate(world, stream, request.offset);
      const expected: Expected = typeof from === "number" ? { kind: "data", from: messageStart(stream, from) } : from;
      if (stream.ttlSeconds === null) return { expected, world };
      return { expected, world: withStream(world, path, { ...stream, used: moment.span }) };
    }
  }
}

/** The position that an offset names. Some clients add 1 to the offset they hold: one past the tail is the tail. */
function locate(
  world: World,
  stream: Stream,
  offset: OffsetToken | "start" | "now",
): number | { readonly kind: "offset-gone" | "bad" } {
  if (offset === "start") return 0;
  const tail = tailOf(stream);
  if (offset === "now") return tail;
  const token = parseToken(offset);
  if (token === null || !Number.isSafeInteger(token.generation) || !Number.isSafeInteger(token.position))
    return { kind: "bad" };
  const { generation, position } = token;
  if (generation === 0 && position === 0) return 0;
  const index = stream.lineage.findIndex(({ life }) => world.generations.get(life) === generation);
  const end = stream.lineage[index + 1]?.first ?? Infinity;
  if (index < 0 || position < stream.lineage[index]!.first || position > end) return { kind: "offset-gone" };
  return position > tail + 1 ? { kind: "bad" } : Math.min(position, tail);
}

function messageStart(stream: Stream, position: number): number {
  return position === tailOf(stream) ? position : (stream.ends.findLast((end) => end <= position) ?? 0);
}

function create(world: World, path: string, request: CreateRequest, moment: Moment): Step {
  const fork = request.fork === null ? null : forkOf(world, request.fork);
  if (fork === "bad") return { expected: { kind: "bad" }, world };
  const existing = world.streams.get(path);
  const inherits = fork !== null && request.ttlSeconds === null && request.expiresAtMs === null;
  const { ttlSeconds, expiresAtMs } = inherits && fork !== "no-source" ? fork.source : request;
  if (existing !== undefined && (existing.softDeleted || !moment.expired(path, existing))) {
    const same =
      !existing.softDeleted &&
      isSameFork(existing, request, fork) &&
      essence(existing.contentType) === essence(request.contentType ?? typeByDefault(fork)) &&
      existing.ttlSeconds === ttlSeconds &&
      existing.expiresAtMs === expiresAtMs &&
      existing.closed === request.closed;
    if (!same) return { expected: { kind: "conflict" }, world };
    return { expected: { kind: "exists", tail: tailOf(existing), closed: existing.closed }, world };
  }
  let contentType = request.contentType ?? typeByDefault(fork);
  if (fork !== null) {
    if (fork === "no-source") return { expected: { kind: "no-source" }, world };
    if (fork.source.softDeleted) return { expected: { kind: "conflict" }, world };
    if (moment.expired(request.fork!.source, fork.source)) return { expected: { kind: "no-source" }, world };
    if (essence(contentType) !== essence(fork.source.contentType)) return { expected: { kind: "conflict" }, world };
    contentType = fork.source.contentType;
  }
  if (existing !== undefined && hasForks(world, existing)) {
    return { expected: { kind: "conflict" }, world: withStream(world, path, { ...existing, softDeleted: true }) };
  }
  if (request.messages === null) return { expected: { kind: "bad-body" }, world };
  const left = existing === undefined ? world : without(world, path);
  const life = left.lives + 1;
  const empty: Stream = {
    life,
    ...inherited(fork, life),
    contentType,
    ttlSeconds,
    expiresAtMs,
    closed: request.closed,
    closedBy: null,
    streamSeq: null,
    producers: new Map(),
    wrote: moment.span,
    used: moment.span,
    softDeleted: false,
  };
  const stream = withMessages(empty, request.messages);
  const next = withStream({ ...left, lives: life }, path, stream);
  return { expected: { kind: "created", tail: tailOf(stream), closed: stream.closed }, world: next };
}

type Fork = { readonly source: Stream; readonly point: number } | "no-source" | null;

function typeByDefault(fork: Fork): string {
  return fork === null || fork === "no-source" ? "application/octet-stream" : fork.source.contentType;
}

/** Where the fork would part from its source. That is looked for before anything else. */
function forkOf(world: World, { source: path, offset, subOffset }: ForkFrom): Exclude<Fork, null> | "bad" {
  const source = world.streams.get(path);
  if (source === undefined) return "no-source";
  const tail = tailOf(source);
  const at = offset === "tail" ? tail : locate(world, source, offset);
  if (typeof at !== "number" || (parseToken(offset)?.position ?? 0) > tail) return "bad";
  const anchor = messageStart(source, at);
  const ahead = source.ends.filter((end) => end > anchor);
  if (subOffset === 0) return { source, point: anchor };
  if (isJson(source.contentType)) {
    return subOffset > ahead.length ? "bad" : { source, point: ahead[subOffset - 1]! };
  }
  return anchor + subOffset > (ahead[0] ?? anchor) ? "bad" : { source, point: anchor + subOffset };
}

/** Whether a stream that is there is what a PUT with these fork headers made. Without any, a fork is as good as another stream. */
function isSameFork(existing: Stream, request: CreateRequest, fork: Fork): boolean {
  if (fork === null) return true;
  if (fork === "no-source" || forkedFrom(existing) !== fork.source.life) return false;
  return request.fork!.offset === "tail" || existing.lineage.at(-1)!.first === fork.point;
}

function inherited(fork: Fork, life: number): Pick<Stream, "lineage" | "bytes" | "ends" | "hash"> {
  if (fork === null || fork === "no-source")
    return { lineage: [{ life, first: 0 }], bytes: "", ends: [], hash: NO_BYTES };
  const { source, point } = fork;
  const lineage = source.lineage.map((stretch) => ({ ...stretch, first: Math.min(stretch.first, point) }));
  const ends = [...source.ends.filter((end) => end < point), ...(point > 0 ? [point] : [])];
  const messages = ends.map((end, index) => source.bytes.slice(ends[index - 1] ?? 0, end));
  return { lineage: [...lineage, { life, first: point }], ...added("", [], NO_BYTES, messages) };
}

function withMessages(stream: Stream, messages: readonly string[]): Stream {
  return { ...stream, ...added(stream.bytes, stream.ends, stream.hash, messages) };
}

function append(world: World, path: string, stream: Stream, request: AppendRequest, moment: Moment): Step {
  const refusal = refuse(stream, request);
  if (refusal !== null) return { expected: refusal, world };
  const { close, producer, streamSeq } = request;
  const next: Stream = {
    ...withMessages(stream, request.messages!),
    closed: close,
    closedBy: close ? producer : null,
    streamSeq: streamSeq ?? stream.streamSeq,
    producers: producer === null ? stream.producers : new Map(stream.producers).set(producer.id, producer),
    wrote: moment.span,
    used: moment.span,
  };
  return { expected: { kind: "appended", tail: tailOf(next), closed: close }, world: withStream(world, path, next) };
}

/** Why an append is not done, in the protocol's order of precedence, or null. */
function refuse(stream: Stream, request: AppendRequest): Expected | null {
  const { contentType, messages, close, producer, streamSeq } = request;
  const isEmpty = messages !== null && messages.length === 0;
  if (isEmpty && !close) return { kind: "empty-body" };
  if (!isEmpty && contentType === null) return { kind: "missing-content-type" };
  if (stream.closed) return refuseClosed(stream, isEmpty, producer);
  if (!isEmpty && essence(contentType!) !== essence(stream.contentType)) return { kind: "content-type" };
  const refusal = producer === null ? null : refuseProducer(stream, producer);
  if (refusal !== null) return refusal;
  if (streamSeq !== null && stream.streamSeq !== null && streamSeq <= stream.streamSeq) return { kind: "stream-seq" };
  return messages === null ? { kind: "bad-body" } : null;
}

function refuseClosed(stream: Stream, isEmpty: boolean, producer: Producer | null): Expected {
  const shown = { tail: tailOf(stream), closed: true };
  if (producer === null) return { kind: isEmpty ? "already-closed" : "closed", ...shown };
  const known = stream.producers.get(producer.id);
  if (known !== undefined && producer.epoch < known.epoch) return { kind: "stale-epoch", epoch: known.epoch };
  const by = stream.closedBy;
  const isSame = by?.id === producer.id && by.epoch === producer.epoch && by.seq === producer.seq;
  return isSame ? { kind: "duplicate", epoch: by.epoch, seq: by.seq, ...shown } : { kind: "closed", ...shown };
}

/** A producer that is not known may start with any epoch, and each epoch with sequence number 0. */
function refuseProducer(stream: Stream, { id, epoch, seq }: Producer): Expected | null {
  const known = stream.producers.get(id);
  if (known === undefined) return seq === 0 ? null : { kind: "gap", expected: 0 };
  if (epoch < known.epoch) return { kind: "stale-epoch", epoch: known.epoch };
  if (epoch > known.epoch) return seq === 0 ? null : { kind: "epoch-start" };
  if (seq > known.seq + 1) return { kind: "gap", expected: known.seq + 1 };
  if (seq === known.seq + 1) return null;
  return { kind: "duplicate", epoch: known.epoch, seq: known.seq, tail: tailOf(stream), closed: stream.closed };
}
