/**
 * The stores' calling convention over the engine's: options become requests, and outcomes become the results that programs
 * written for `@durable-streams/server` know, or errors with the words that they look for. Nothing is decided here.
 */
import { frameJson, isJson, offsetAt, parseOffset, parseStreamSeq, TTL_SECONDS_MAX } from "@coldbrook/core";
import type {
  AppendOutcome,
  CreateRequest,
  ForkRequest,
  ProducerState,
  ProducerTuple,
  StreamState,
} from "@coldbrook/core";
import type { AppendInput, AppendResult as EngineAppendResult, ForkResult } from "../engine/write-path.ts";
import { enginePath } from "./store-path.ts";
import type {
  AppendOptions,
  AppendResult,
  CloseResult,
  CreateOptions,
  ProducerCloseOptions,
  ProducerCloseResult,
  ProducerValidationResult,
  StreamMessage,
} from "./types.ts";

const NOTHING = new Uint8Array(0);

/** @throws Error that names the path and what is wrong with it */
export function pathFor(path: string): string {
  const parsed = enginePath(path);
  if (parsed.kind === "bad") throw new Error(`Invalid stream path ${JSON.stringify(path)}: ${parsed.detail}`);
  return parsed.path;
}

/** @throws Error that names the option which cannot be used */
export function createRequest(options: CreateOptions): CreateRequest {
  const { contentType, ttlSeconds, expiresAt, closed } = options;
  if (
    ttlSeconds !== undefined &&
    !(Number.isSafeInteger(ttlSeconds) && ttlSeconds >= 0 && ttlSeconds <= TTL_SECONDS_MAX)
  ) {
    throw new Error(`ttlSeconds must be a whole number of 0 to ${TTL_SECONDS_MAX}, not ${ttlSeconds}`);
  }
  if (ttlSeconds !== undefined && expiresAt !== undefined)
    throw new Error("ttlSeconds and expiresAt exclude each other");
  const expiresAtMs = expiresAt === undefined ? null : Date.parse(expiresAt);
  if (Number.isNaN(expiresAtMs)) throw new Error(`expiresAt must be an ISO 8601 time, not "${expiresAt}"`);
  return {
    contentType: contentType === undefined || contentType.trim() === "" ? null : contentType.trim(),
    ttlSeconds: ttlSeconds ?? null,
    expiresAtMs,
    closed: closed ?? false,
  };
}

/** The fork that the options ask for, or null. @throws Error */
export function forkRequest(options: CreateOptions): ForkRequest | null {
  const { forkedFrom, forkOffset, forkSubOffset = 0 } = options;
  if (forkedFrom === undefined || forkedFrom === "") return null;
  const source = enginePath(forkedFrom);
  if (source.kind === "bad") throw new Error(`Source stream not found: ${forkedFrom}`);
  if (!Number.isSafeInteger(forkSubOffset) || forkSubOffset < 0) {
    throw new Error(`Invalid fork sub-offset: ${forkSubOffset} is not a whole number`);
  }
  if (forkOffset === undefined || forkOffset === "") {
    return { source: source.path, offset: "tail", subOffset: forkSubOffset };
  }
  const at = parseOffset(forkOffset);
  if (at.kind === "malformed" || at.kind === "now") throw new Error(`Invalid fork offset: ${forkOffset}`);
  return { source: source.path, offset: at.kind === "start" ? "start" : at, subOffset: forkSubOffset };
}

/** What there is under a name: a stream, one that is kept for its forks alone, or none. */
export type Presence = "there" | "gone" | "none";

/** What the names stood for, for those refusals that the engine's results do not tell apart. */
export interface CreateFacts {
  readonly target: Presence;
  /** Of a fork. */
  readonly source: Presence;
}

/** The state of the stream that is there now. @throws Error for a refusal */
export function created(path: string, options: CreateOptions, result: ForkResult, facts: CreateFacts): StreamState {
  switch (result.kind) {
    case "created":
    case "exists":
      return result.state;
    case "no-source":
      throw new Error(`Source stream not found: ${options.forkedFrom}`);
    case "bad-body":
      throw badBody(options.initialData ?? NOTHING, result.detail);
    case "bad":
      throw new Error(`Invalid fork ${(options.forkSubOffset ?? 0) > 0 ? "sub-offset" : "offset"}: ${result.detail}`);
    case "conflict":
      throw conflict(path, options, result.detail, facts);
  }
}

function conflict(path: string, options: CreateOptions, detail: string, { target, source }: CreateFacts): Error {
  if (target === "gone") {
    return new Error(`Stream has active forks: the path cannot be used again until all of them are removed: ${path}`);
  }
  if (source === "gone") return new Error(`Source stream is soft-deleted: ${options.forkedFrom}`);
  if (source === "there" && target === "none") return new Error(`Content type mismatch with source stream: ${detail}`);
  return new Error(`Stream already exists with different configuration: ${path} (${detail})`);
}

/** `contentType` is the stream's own, for callers that name none. @throws Error */
export function appendInput(data: Uint8Array, options: AppendOptions, contentType: string): AppendInput {
  const streamSeq = parseStreamSeq(options.seq);
  if (streamSeq !== null && typeof streamSeq === "object") throw new Error(streamSeq.error);
  return {
    // The caller may write to its buffer again, and the engine keeps what it is given.
    body: Uint8Array.from(data),
    contentType: options.contentType ?? contentType,
    close: options.close ?? false,
    producer: tupleOf(options),
    streamSeq,
  };
}

export function closeInput(options: ProducerCloseOptions | null): AppendInput {
  const producer = options === null ? null : tupleOf(options);
  return { body: NOTHING, contentType: null, close: true, producer, streamSeq: null };
}

function tupleOf(options: AppendOptions): ProducerTuple | null {
  const { producerId: id, producerEpoch: epoch, producerSeq: seq } = options;
  return id === undefined || epoch === undefined || seq === undefined ? null : { id, epoch, seq };
}

/** What was known before an append, and when it was made. */
export interface AppendFacts {
  readonly path: string;
  readonly input: AppendInput;
  readonly producer: ProducerState | undefined;
  readonly nowMs: number;
}

/** @throws Error for a refusal that is neither a closed stream's nor a producer's */
export function appended(facts: AppendFacts, result: EngineAppendResult): StreamMessage | AppendResult {
  const { input, path } = facts;
  const { outcome, state } = decided(path, input, result);
  if (outcome.kind === "append") {
    const message = storedMessage(input.body, state, facts.nowMs);
    const producerResult = input.producer === null ? undefined : accepted(input.producer, facts);
    if (producerResult === undefined && !input.close) return message;
    return {
      message,
      ...(producerResult === undefined ? {} : { producerResult }),
      ...(input.close ? { streamClosed: true } : {}),
    };
  }
  const closed = state.closed ? { streamClosed: true } : {};
  const producerResult = refusedProducer(outcome);
  if (producerResult !== null) return { message: null, ...closed, producerResult };
  if (outcome.kind === "closed" || outcome.kind === "already-closed") return { message: null, streamClosed: true };
  throw refusal(path, input, outcome);
}

/** Null when there is no stream. @throws Error when it is soft-deleted */
export function closed(path: string, result: EngineAppendResult): CloseResult | null {
  if (result.kind === "not-found") return null;
  const { outcome, state } = decided(path, closeInput(null), result);
  return { finalOffset: offsetAt(state.identity, state.tail), alreadyClosed: outcome.kind === "already-closed" };
}

/** Null when there is no stream. @throws Error when it is soft-deleted */
export function producerClosed(facts: AppendFacts, result: EngineAppendResult): ProducerCloseResult | null {
  if (result.kind === "not-found") return null;
  const { outcome, state } = decided(facts.path, facts.input, result);
  const finalOffset = offsetAt(state.identity, state.tail);
  if (outcome.kind === "append") {
    return { finalOffset, alreadyClosed: false, producerResult: accepted(facts.input.producer!, facts) };
  }
  return {
    finalOffset,
    alreadyClosed: state.closed,
    producerResult: refusedProducer(outcome) ?? { status: "stream_closed" },
  };
}

function decided(
  path: string,
  input: AppendInput,
  result: EngineAppendResult,
): Extract<EngineAppendResult, { kind: "decided" }> {
  if (result.kind === "decided") return result;
  if (result.kind === "not-found") throw new Error(`Stream not found: ${path}`);
  if (result.kind === "gone") throw new Error(`Stream is soft-deleted: ${path}`);
  throw badBody(input.body, result.detail);
}

/** The bytes of one append as they are stored, and where they end. */
function storedMessage(body: Uint8Array, state: StreamState, timestamp: number): StreamMessage {
  const { identity, tail } = state;
  let data: Uint8Array | null = null;
  if (isJson(identity.config.contentType)) {
    const framed = frameJson(body, "append");
    if (framed.kind === "messages") data = framed.stored.slice();
  }
  // Copied, because the engine keeps the body, framed messages share their memory, and the caller may do anything with it.
  return { data: data ?? Uint8Array.from(body), offset: offsetAt(identity, tail), timestamp };
}

function accepted(producer: ProducerTuple, { producer: before, nowMs }: AppendFacts): ProducerValidationResult {
  const { id, epoch, seq } = producer;
  return {
    status: "accepted",
    isNew: before === undefined || before.epoch !== epoch,
    producerId: id,
    proposedState: { epoch, lastSeq: seq, lastUpdated: nowMs },
  };
}

function refusedProducer(outcome: AppendOutcome): ProducerValidationResult | null {
  switch (outcome.kind) {
    case "duplicate":
      return { status: "duplicate", lastSeq: outcome.producer.seq };
    case "stale-epoch":
      return { status: "stale_epoch", currentEpoch: outcome.epoch };
    case "epoch-start":
      return { status: "invalid_epoch_seq" };
    case "gap":
      return { status: "sequence_gap", expectedSeq: outcome.expected, receivedSeq: outcome.received };
    default:
      return null;
  }
}

function refusal(path: string, input: AppendInput, outcome: AppendOutcome): Error {
  switch (outcome.kind) {
    case "content-type":
      return new Error(`Content-type mismatch: expected ${outcome.expected}, got ${input.contentType}`);
    case "stream-seq":
      return new Error(`Sequence conflict: ${input.streamSeq} <= ${outcome.last}`);
    case "empty-body":
      return new Error(`Empty body: an append to ${path} needs at least one byte`);
    case "too-long":
      return new Error(`Stream too long: ${path} would pass 2^53-1 bytes`);
    default:
      return new Error(`The append to ${path} was refused: ${outcome.kind}`);
  }
}

function badBody(body: Uint8Array, detail: string): Error {
  return new Error(isEmptyArray(body) ? "Empty arrays are not allowed" : `Invalid JSON: ${detail}`);
}

function isEmptyArray(body: Uint8Array): boolean {
  return /^\s*\[\s*\]\s*$/.test(Buffer.from(body).toString("utf8"));
}

/** The messages as one body: a JSON array, or the bytes in a row. */
export function formatMessages(contentType: string, messages: readonly StreamMessage[]): Uint8Array {
  const bytes = Buffer.concat(messages.map(({ data }) => data));
  if (!isJson(contentType)) return Uint8Array.from(bytes);
  if (bytes.length === 0) return new TextEncoder().encode("[]");
  const end = bytes.at(-1) === 0x2c ? bytes.length - 1 : bytes.length;
  return Uint8Array.from(Buffer.concat([Buffer.from("["), bytes.subarray(0, end), Buffer.from("]")]));
}
