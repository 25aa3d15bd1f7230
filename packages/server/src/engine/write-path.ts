/**
 * Every write goes this way: core decides against the pending state, the frame joins the open batch, the batch becomes durable,
 * and only then is the caller answered. An answer that rests on a pending state waits for it as well, so that nobody is told
 * what a crash could take back (invariants 1 to 3).
 */
import {
  decideAppend,
  decideCreate,
  decideDelete,
  decideFork,
  DEFAULT_CONTENT_TYPE,
  forkLineage,
  isJson,
  StreamError,
} from "@coldbrook/core";
import type {
  AppendOutcome,
  CreateRequest,
  FaultPoint,
  ForkRequest,
  Generation,
  Position,
  ProducerState,
  ProducerTuple,
  StreamState,
} from "@coldbrook/core";
import type { Catalog } from "../catalog/catalog.ts";
import { Decisions, isUnsettled } from "./decisions.ts";
import type { Decide, Decision } from "./decisions.ts";
import { Expiry } from "./expiry.ts";
import type { ExpiryPorts } from "./expiry.ts";
import { frameBody } from "./frame-body.ts";
import type { FrameQueue } from "./frame-queue.ts";
import type { Stream } from "./stream.ts";
import type { StreamTable } from "./stream-table.ts";

export interface AppendInput {
  readonly contentType: string | null;
  /** Body as received; empty for a close without data. */
  readonly body: Uint8Array;
  readonly close: boolean;
  readonly producer: ProducerTuple | null;
  readonly streamSeq: string | null;
}

export type CreateResult =
  | { readonly kind: "created" | "exists"; readonly state: StreamState }
  | { readonly kind: "conflict"; readonly detail: string }
  | { readonly kind: "bad-body"; readonly detail: string };

export type ForkResult =
  | CreateResult
  /** The source is not there. */
  | { readonly kind: "no-source" }
  | { readonly kind: "bad"; readonly detail: string };

export type AppendResult =
  | { readonly kind: "not-found" }
  /** It was soft-deleted. */
  | { readonly kind: "gone" }
  | { readonly kind: "bad-body"; readonly detail: string }
  /** `state` is what may be shown: for an append, right after it. */
  | { readonly kind: "decided"; readonly outcome: AppendOutcome; readonly state: StreamState };

export type RemoveResult = "deleted" | "missing" | "gone";

/** Where a fork parts from its source, or why it cannot. */
export type ForkPoint =
  | { readonly kind: "point"; readonly position: Position }
  | { readonly kind: "bad"; readonly detail: string };

/** A create that is to inherit from another stream. */
export interface ForkCreation {
  readonly create: CreateRequest;
  readonly fork: ForkRequest;
}

export interface WritePathPorts extends Omit<ExpiryPorts, "decisions"> {
  readonly catalog: Catalog;
  /** Finds the fork point in a source's durable bytes. */
  readonly forkPoint: (source: Stream, state: StreamState, request: ForkRequest) => ForkPoint | Promise<ForkPoint>;
  /** Commits the open batch in this very turn. @throws Error where commits must be awaited */
  readonly commitNow: () => void;
  readonly fault: FaultPoint;
}

export class WritePath {
  readonly expiry: Expiry;
  readonly #ports: WritePathPorts;
  readonly #table: StreamTable;
  readonly #queue: FrameQueue;
  readonly #decisions: Decisions;

  constructor(ports: WritePathPorts) {
    this.#ports = ports;
    this.#decisions = new Decisions(ports);
    this.#table = ports.table;
    this.#queue = ports.queue;
    this.expiry = new Expiry({ ...ports, decisions: this.#decisions });
  }

  /** Protocol section 5.1. @throws StreamError wal-full, disk-full, corrupt-catalog */
  create(path: string, request: CreateRequest, body: Uint8Array): Promise<CreateResult> {
    return this.#decisions.later(path, this.#creation(path, request, body));
  }

  /** What `create` resolves with, durable in this very turn. @throws StreamError as `create`; Error where commits must be awaited */
  createNow(path: string, request: CreateRequest, body: Uint8Array): CreateResult {
    return this.#decisions.now(path, this.#creation(path, request, body));
  }

  #creation(path: string, request: CreateRequest, body: Uint8Array): Decide<CreateResult> {
    const { ttlSeconds, expiresAtMs: expiresAt, closed } = request;
    const config = { contentType: request.contentType ?? DEFAULT_CONTENT_TYPE, ttlSeconds, expiresAtMs: expiresAt };
    return (stream, now) => {
      const decision = decideCreate(stream?.exact(stream.pending, now), request, now);
      if (decision.kind !== "create") return existing(stream!, decision);
      const kept = this.expiry.keepForForks(stream);
      if (kept !== null) return kept;
      const framed = frameBody(body, isJson(config.contentType), "create");
      if (framed.kind === "bad") return { batch: null, answer: () => ({ kind: "bad-body", detail: framed.detail }) };
      this.#queue.admit(framed.stored.length);
      if (stream !== undefined) this.#queue.delete(stream, "expired");
      const created = this.#queue.create({ path, config, closed, framed, lineage: null }, now);
      return { batch: created.batch, answer: () => ({ kind: "created", state: created.next }) };
    };
  }

  /** Protocol section 4.2. @throws StreamError wal-full, disk-full, corrupt-catalog, and those of a read of the source */
  async fork(path: string, request: ForkCreation, body: Uint8Array): Promise<ForkResult> {
    for (;;) {
      const source = await this.#decisions.settled(request.fork.source);
      const point = source === undefined ? null : await this.#pointOf(source, request.fork);
      if (point === "again") continue;
      if (point?.kind === "bad") return point;
      const result = await this.#decisions.later(path, this.#forking(path, request, body, source, point));
      if (result !== "again") return result;
    }
  }

  /** What `fork` resolves with, durable in this very turn. @throws as `fork`; Error where commits must be awaited */
  forkNow(path: string, request: ForkCreation, body: Uint8Array): ForkResult {
    for (;;) {
      const source = this.#decisions.settledNow(request.fork.source);
      const point = source === undefined ? null : this.#ports.forkPoint(source, source.durable!, request.fork);
      if (point instanceof Promise) throw new Error("a fork point in bytes that are not in memory can only be awaited");
      if (point?.kind === "bad") return point;
      const result = this.#decisions.now(path, this.#forking(path, request, body, source, point));
      if (result !== "again") return result;
    }
  }

  /** Where a fork parts from the source; "again" when the source and its bytes went while that was looked for. */
  async #pointOf(source: Stream, request: ForkRequest): Promise<ForkPoint | "again"> {
    try {
      return await this.#ports.forkPoint(source, source.durable!, request);
    } catch (error) {
      if (!(error instanceof StreamError) || error.code !== "gone") throw error;
      const current = this.#table.lookUp(request.source);
      const { id } = source.pending.identity;
      if (current?.pending.identity.id !== id || current.pending.deleted) return "again";
      // Nobody may take the bytes of a stream that is there.
      throw new StreamError("corrupt-object", error.message, { cause: error });
    }
  }

  #forking(
    path: string,
    request: ForkCreation,
    body: Uint8Array,
    source: Stream | undefined,
    point: { readonly position: Position } | null,
  ): Decide<ForkResult | "again"> {
    const id = source?.pending.identity.id;
    return (stream, now) => {
      // Others had their turns while the fork point was looked for.
      const current = this.#table.lookUp(request.fork.source);
      if (current?.pending.identity.id !== id) return { batch: null, answer: () => "again" };
      if (current !== undefined && isUnsettled(current)) return { batch: current.lastBatch, answer: () => "again" };
      return this.#decideFork(path, stream, current, { ...request, point: point?.position ?? null, body }, now);
    };
  }

  /** Protocol sections 5.2 and 5.3. @throws StreamError wal-full, disk-full, corrupt-catalog */
  append(path: string, input: AppendInput): Promise<AppendResult> {
    this.#ports.fault("append.enqueue");
    return this.#decisions.later(path, (stream, now) => this.#decideAppend(stream, input, now));
  }

  /** What `append` resolves with, durable in this very turn. @throws StreamError as `append`; Error where commits must be awaited */
  appendNow(path: string, input: AppendInput): AppendResult {
    this.#ports.fault("append.enqueue");
    return this.#decisions.now(path, (stream, now) => this.#decideAppend(stream, input, now));
  }

  /** Protocol sections 4.2 and 5.4. @throws StreamError corrupt-catalog */
  remove(path: string): Promise<RemoveResult> {
    return this.#decisions.later(path, (stream, now) => this.#decideRemoval(stream, now));
  }

  /** What `remove` resolves with, durable in this very turn. @throws StreamError as `remove`; Error where commits must be awaited */
  removeNow(path: string): RemoveResult {
    return this.#decisions.now(path, (stream, now) => this.#decideRemoval(stream, now));
  }

  #decideRemoval(stream: Stream | undefined, now: number): Decision<RemoveResult> {
    const hasForks = stream !== undefined && this.#ports.forks.hasForks(stream.pending.identity.id);
    const decision = decideDelete(stream?.exact(stream.pending, now), hasForks, now);
    if (stream === undefined) return { batch: null, answer: () => "missing" };
    if (decision === "missing" || decision === "gone") {
      return { batch: this.expiry.absenceOf(stream, now)?.batch ?? null, answer: () => decision };
    }
    const batch =
      decision === "delete" ? this.#queue.delete(stream, "request") : this.#queue.softDelete(stream, "request");
    return { batch, answer: () => "deleted" };
  }

  #decideFork(
    path: string,
    stream: Stream | undefined,
    source: Stream | undefined,
    request: {
      readonly create: CreateRequest;
      readonly fork: ForkRequest;
      readonly point: Position | null;
      readonly body: Uint8Array;
    },
    now: number,
  ): Decision<ForkResult> {
    const origin = source?.exact(source.pending, now);
    // The default fork point is the tail behind all that was accepted before, durable or not.
    const point = request.fork.offset === "tail" ? origin?.tail : request.point;
    const outcome = decideFork(stream?.exact(stream.pending, now), origin, request, point ?? (0 as Position), now);
    if (outcome.kind === "no-source") {
      return { batch: this.expiry.absenceOf(source, now)?.batch ?? null, answer: () => outcome };
    }
    const rests = this.#queue.later(stream?.lastBatch ?? null, source?.lastBatch ?? null);
    if (outcome.kind === "bad" || outcome.kind === "conflict") return { batch: rests, answer: () => outcome };
    if (outcome.kind === "exists") return existing(stream!, outcome);
    const kept = this.expiry.keepForForks(stream);
    if (kept !== null) return kept;
    const { config } = outcome;
    const framed = frameBody(request.body, isJson(config.contentType), "create");
    if (framed.kind === "bad") return { batch: null, answer: () => ({ kind: "bad-body", detail: framed.detail }) };
    if (!Number.isSafeInteger(point! + framed.stored.length)) {
      return {
        batch: null,
        answer: () => ({ kind: "bad", detail: "the body would pass the last position of a stream" }),
      };
    }
    this.#queue.admit(framed.stored.length);
    if (stream !== undefined) this.#queue.delete(stream, "expired");
    const lineage = (id: Generation): ReturnType<typeof forkLineage> => forkLineage(origin!.identity, point!, id);
    const created = this.#queue.create({ path, config, closed: request.create.closed, framed, lineage }, now);
    return { batch: created.batch, answer: () => ({ kind: "created", state: created.next }) };
  }

  #decideAppend(stream: Stream | undefined, input: AppendInput, now: number): Decision<AppendResult> {
    const absence = this.expiry.absenceOf(stream, now);
    if (absence !== null) return { batch: absence.batch, answer: () => ({ kind: absence.kind }) };
    return this.#decidePresent(stream!, input, now);
  }

  #decidePresent(stream: Stream, input: AppendInput, now: number): Decision<AppendResult> {
    const framed = frameBody(input.body, isJson(stream.pending.identity.config.contentType), "append");
    const known = input.producer === null ? undefined : this.#producer(stream, input.producer.id);
    const outcome = decideAppend(stream.pending, known, {
      contentType: input.contentType,
      // A body that cannot be framed must not hide a conflict, so it counts as some bytes until that is known.
      bytes: framed.kind === "bad" ? 1 : framed.stored.length,
      close: input.close,
      producer: input.producer,
      streamSeq: input.streamSeq,
      nowMs: now,
    });
    if (outcome.kind !== "append") {
      return { batch: stream.lastBatch, answer: () => ({ kind: "decided", outcome, state: stream.durable! }) };
    }
    if (framed.kind === "bad") return { batch: null, answer: () => ({ kind: "bad-body", detail: framed.detail }) };
    this.#queue.admit(framed.stored.length);
    const { producer, streamSeq, close } = input;
    const batch = this.#queue.append(stream, outcome.next, { framed, producer, streamSeq, close }, now);
    return { batch, answer: () => ({ kind: "decided", outcome, state: outcome.next }) };
  }

  /** The stream's producers, in their pending state. */
  producersOf(stream: Stream): Map<string, ProducerState> {
    const { catalog } = this.#ports;
    const { id } = stream.pending.identity;
    const known = new Map<string, ProducerState>();
    for (const producer of stream.inCatalog ? catalog.producers.some(id, Number.MAX_SAFE_INTEGER) : []) {
      const state = catalog.producers.load(id, producer);
      if (state !== undefined) known.set(producer, state);
    }
    for (const [producer, state] of stream.producers ?? []) known.set(producer, state);
    return known;
  }

  #producer(stream: Stream, id: string): ProducerState | undefined {
    const known = stream.producers?.get(id);
    if (known !== undefined || !stream.inCatalog) return known;
    return this.#ports.catalog.producers.load(stream.pending.identity.id, id);
  }
}

function existing(
  stream: Stream,
  decision: { readonly kind: "exists" } | { readonly kind: "conflict"; readonly detail: string },
): Decision<CreateResult> {
  if (decision.kind === "conflict") return { batch: stream.lastBatch, answer: () => decision };
  return { batch: stream.lastBatch, answer: () => ({ kind: "exists", state: stream.durable! }) };
}
