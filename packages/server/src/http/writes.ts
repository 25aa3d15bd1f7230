/** PUT, POST and DELETE: protocol sections 5.1 to 5.4. */
import {
  headerValue,
  isTrue,
  offsetAt,
  parseContentType,
  parseCreate,
  parseFork,
  parseProducer,
  parseStreamSeq,
  REQUEST_HEADER,
  RESPONSE_HEADER,
} from "@coldbrook/core";
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import type { AppendOutcome, CreateRequest, ForkRequest, ProducerTuple, StreamState } from "@coldbrook/core";
import type { Engine } from "../engine/engine.ts";
import type { AppendInput, AppendResult } from "../engine/write-path.ts";
import type { Answer } from "./answer.ts";
import type { BodyReceiver, ReceivedBody } from "./body.ts";
import type { Exchange } from "./exchange.ts";
import { badRequest, notFound, softDeleted } from "./problem.ts";
import type { Problem } from "./problem.ts";

const NO_STORE = ["Cache-Control", "no-store"];
const CLOSED = [RESPONSE_HEADER.streamClosed, "true"];
const HOST = /^(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/;

/** Told of what requests did to streams, before they are answered. Must not throw. */
export interface LifecycleHooks {
  created(state: StreamState): Promise<void>;
  /** `path` is canonical. */
  deleted(path: string): Promise<void>;
}

export interface WriteContext {
  readonly engine: Engine;
  readonly bodies: BodyReceiver;
  readonly streamRoot: string;
  /** Null when nobody wants to know. */
  readonly hooks: LifecycleHooks | null;
}

type WholeBody = Extract<ReceivedBody, { kind: "body" }>;

/** Of a request, what says under which address it came. */
interface Addressed {
  readonly headers: IncomingHttpHeaders;
  readonly socket: { readonly localAddress?: string | undefined; readonly localPort?: number | undefined };
}

export async function put(context: WriteContext, exchange: Exchange): Promise<void> {
  const parsed = parsePut(exchange.request.headers, context.streamRoot);
  if ("status" in parsed) return exchange.problem({ ...parsed, close: hasBody(exchange.request) });
  const body = await context.bodies.receive(exchange.request);
  if (body.kind === "aborted") return;
  if (body.kind === "refused") return exchange.problem(body.problem);
  exchange.answer(await create(context, exchange.path, parsed, { request: exchange.request, body }));
}

/** What a create whose body is here is answered. `body` is released when its bytes are no longer needed. */
export async function create(
  context: WriteContext,
  path: string,
  { create, fork }: ParsedPut,
  { request, body }: { readonly request: Addressed; readonly body: WholeBody },
): Promise<Answer> {
  const result = await (
    fork === null
      ? context.engine.create(path, create, body.bytes)
      : context.engine.fork(path, { create, fork }, body.bytes)
  ).finally(body.release);
  if (result.kind === "no-source") return noSource("there is no stream to fork at Stream-Forked-From");
  if (result.kind === "bad") return badRequest(result.detail);
  if (result.kind === "bad-body") return badRequest(result.detail);
  if (result.kind === "conflict") return { status: 409, code: "stream-exists", detail: result.detail };
  const { state } = result;
  const headers = [
    RESPONSE_HEADER.contentType,
    state.identity.config.contentType,
    RESPONSE_HEADER.streamNextOffset,
    offsetAt(state.identity, state.tail),
    ...NO_STORE,
    ...(state.closed ? CLOSED : []),
  ];
  if (result.kind === "exists") return { status: 200, headers };
  if (context.hooks !== null) await context.hooks.created(state);
  return { status: 201, headers: [...headers, "Location", location(context, path, request)] };
}

export interface ParsedPut {
  readonly create: CreateRequest;
  readonly fork: ForkRequest | null;
}

/** The headers of a create, or what is wrong with them. */
export function parsePut(headers: IncomingHttpHeaders, streamRoot: string): ParsedPut | Problem {
  const parsed = parseCreate(headers);
  if (parsed.kind === "bad") return badRequest(parsed.detail);
  const fork = parseFork(headers, streamRoot);
  if (fork.kind === "bad") return badRequest(fork.detail);
  if (fork.kind === "elsewhere") return noSource(fork.detail);
  return { create: parsed.request, fork: fork.kind === "none" ? null : fork.request };
}

export async function post(context: WriteContext, exchange: Exchange): Promise<void> {
  const parsed = parseAppend(exchange.request.headers);
  if ("status" in parsed) return exchange.problem({ ...parsed, close: hasBody(exchange.request) });
  const body = await context.bodies.receive(exchange.request);
  if (body.kind === "aborted") return;
  if (body.kind === "refused") return exchange.problem(body.problem);
  exchange.answer(await append(context, exchange.path, parsed, body));
}

/** What an append whose body is here is answered. `body` is released when its bytes are no longer needed. */
export async function append(
  context: WriteContext,
  path: string,
  parsed: ParsedAppend,
  body: WholeBody,
): Promise<Answer> {
  let result: AppendResult;
  try {
    // A close without a body does not look at its content type (protocol section 5.2).
    if (body.bytes.length > 0 && parsed.contentTypeError !== null) return badRequest(parsed.contentTypeError);
    const { contentType, close, producer, streamSeq } = parsed;
    result = await context.engine.append(path, { contentType, body: body.bytes, close, producer, streamSeq });
  } finally {
    body.release();
  }
  if (result.kind === "not-found") return notFound(path);
  if (result.kind === "gone") return softDeleted(path);
  if (result.kind === "bad-body") return badRequest(result.detail);
  const accepted = parsed.producer !== null && body.bytes.length > 0 ? 200 : 204;
  return appendAnswer(parsed.producer, accepted, result.outcome, result.state);
}

/** What a DELETE is answered. */
export async function remove(context: WriteContext, path: string): Promise<Answer> {
  const result = await context.engine.remove(path);
  if (result === "missing") return notFound(path);
  if (result === "gone") return softDeleted(path);
  if (context.hooks !== null) await context.hooks.deleted(path);
  return { status: 204, headers: NO_STORE };
}

function noSource(detail: string): Problem {
  return { status: 404, code: "no-fork-source", detail };
}

export type ParsedAppend = Omit<AppendInput, "body"> & { readonly contentTypeError: string | null };

/** The headers of an append, or what is wrong with them. */
export function parseAppend(headers: IncomingHttpHeaders): ParsedAppend | Problem {
  const contentType = parseContentType(headers["content-type"]);
  const close = isTrue(headerValue(headers, REQUEST_HEADER.streamClosed));
  const contentTypeError = contentType !== null && typeof contentType === "object" ? contentType.error : null;
  if (contentTypeError !== null && !close) return badRequest(contentTypeError);
  const producer = parseProducer(
    headerValue(headers, REQUEST_HEADER.producerId),
    headerValue(headers, REQUEST_HEADER.producerEpoch),
    headerValue(headers, REQUEST_HEADER.producerSeq),
  );
  if (producer !== null && "error" in producer) return badRequest(producer.error);
  const streamSeq = parseStreamSeq(headerValue(headers, REQUEST_HEADER.streamSeq));
  if (streamSeq !== null && typeof streamSeq === "object") return badRequest(streamSeq.error);
  return {
    contentType: typeof contentType === "string" ? contentType : null,
    contentTypeError,
    close,
    producer,
    streamSeq,
  };
}

function appendAnswer(
  producer: ProducerTuple | null,
  accepted: 200 | 204,
  outcome: AppendOutcome,
  state: StreamState,
): Answer {
  const headers: string[] = [RESPONSE_HEADER.streamNextOffset, offsetAt(state.identity, state.tail)];
  if (state.closed) headers.push(...CLOSED);
  switch (outcome.kind) {
    case "append":
      headers.push(...NO_STORE);
      if (producer === null) return { status: 204, headers };
      headers.push(...producerHeaders(producer.epoch, producer.seq));
      return { status: accepted, headers };
    case "duplicate":
      headers.push(...NO_STORE, ...producerHeaders(outcome.producer.epoch, outcome.producer.seq));
      return { status: 204, headers };
    case "already-closed":
      return { status: 204, headers: [...headers.slice(0, 2), ...NO_STORE, ...CLOSED] };
    default:
      return refusal(outcome, headers);
  }
}

type Refusal = Exclude<AppendOutcome, { kind: "append" | "duplicate" | "already-closed" }>;

function refusal(outcome: Refusal, streamHeaders: readonly string[]): Problem {
  switch (outcome.kind) {
    case "closed":
      return {
        status: 409,
        code: "stream-closed",
        detail: "the stream is closed: nothing can be appended",
        headers: streamHeaders,
      };
    case "content-type":
      return {
        status: 409,
        code: "content-type-mismatch",
        detail: `the stream holds ${outcome.expected}: send that content type`,
      };
    case "missing-content-type":
      return badRequest("an append needs a Content-Type header, the stream's own");
    case "empty-body":
      return badRequest("an append needs a body; only a close (Stream-Closed: true) goes without");
    case "stale-epoch":
      return {
        status: 403,
        code: "stale-producer-epoch",
        detail: `a producer of that id has epoch ${outcome.epoch}: this one was replaced`,
        headers: [RESPONSE_HEADER.producerEpoch, String(outcome.epoch), ...streamHeaders],
      };
    case "epoch-start":
      return badRequest("a new producer epoch starts with Producer-Seq 0");
    case "gap":
      return {
        status: 409,
        code: "producer-seq-gap",
        detail: `Producer-Seq ${outcome.received} came where ${outcome.expected} is next`,
        headers: [
          RESPONSE_HEADER.producerExpectedSeq,
          String(outcome.expected),
          RESPONSE_HEADER.producerReceivedSeq,
          String(outcome.received),
        ],
      };
    case "stream-seq":
      return {
        status: 409,
        code: "stream-seq-regression",
        detail: `sequence conflict: Stream-Seq must be greater than "${outcome.last}"`,
      };
    case "too-long":
      return { status: 413, code: "stream-too-long", detail: "the stream would pass 2^53-1 bytes" };
  }
}

function producerHeaders(epoch: number, seq: number): string[] {
  return [RESPONSE_HEADER.producerEpoch, String(epoch), RESPONSE_HEADER.producerSeq, String(seq)];
}

/** The request brings a body, or may. */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers["transfer-encoding"] !== undefined || (headers["content-length"] ?? "0") !== "0";
}

/** Absolute, as clients expect; the host is the client's own word for us, if it is one. */
function location(context: WriteContext, path: string, { headers, socket }: Addressed): string {
  const { host, "x-forwarded-proto": forwarded } = headers;
  const scheme = forwarded === "https" ? "https" : "http";
  const local = `${socket.localAddress ?? "127.0.0.1"}:${socket.localPort ?? 80}`;
  const authority = host !== undefined && HOST.test(host) ? host : local;
  return `${scheme}://${authority}${context.streamRoot}/${path}`;
}
