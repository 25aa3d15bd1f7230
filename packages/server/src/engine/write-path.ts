/**
 * Every write goes this way: core decides against the pending state, the frame joins the open batch, the batch becomes durable,
 * and only then is the caller answered. An answer that rests on a pending state waits for it as well, so that nobody is told
 * what a crash could take back (invariants 1 to 3).
 */
import { isUtf8 } from "node:buffer";
import {
  decideAppend,
  decideCreate,
  decideDelete,
  DEFAULT_CONTENT_TYPE,
  expiresAtMs,
  frameJson,
  generation,
  HOT_EXTENTS_MAX,
  isExpired,
  isJson,
  lsn,
  newStreamState,
  position,
  StreamError,
  touchDue,
} from "@coldbrook/core";
import type {
  AppendOutcome,
  Clock,
  CreateRequest,
  FaultPoint,
  Frame,
  FramedJson,
  Generation,
  ProducerState,
  ProducerTuple,
  StreamConfig,
  StreamIdentity,
  StreamState,
} from "@coldbrook/core";
import type { Catalog } from "../catalog/catalog.ts";
import type { Batch } from "../wal/group-commit.ts";
import type { Wal } from "../wal/wal.ts";
import type { Enqueued, EnqueuedAppend } from "./enqueued.ts";
import { Stream } from "./stream.ts";
import type { OpenAppend } from "./stream.ts";
import type { StreamTable } from "./stream-table.ts";

/** Appends of one stream join one frame up to this size. */
const MERGED_FRAME_BYTES_MAX = 256 * 1024;

/** Renewals of a TTL are recorded beyond the budget, or a stream that is read through an outage would expire after it. */
const TOUCH_HEADROOM = 0.125;

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

export type AppendResult =
  | { readonly kind: "not-found" }
  | { readonly kind: "bad-body"; readonly detail: string }
  /** `state` is what may be shown: for an append, right after it. */
  | { readonly kind: "decided"; readonly outcome: AppendOutcome; readonly state: StreamState };

/** What was decided, and the batch that must be durable before anyone hears of it. */
interface Decision<T> {
  readonly batch: Batch | null;
  readonly answer: () => T;
}

export interface WritePathPorts {
  readonly catalog: Catalog;
  readonly table: StreamTable;
  readonly wal: () => Wal;
  readonly walBytesMax: number;
  /** Extents that only the WAL holds. */
  readonly hotExtents: () => number;
  /** Largest generation minted before. */
  readonly generation: number;
  readonly clock: Clock;
  readonly fatal: (error: Error) => void;
  readonly fault: FaultPoint;
}

export class WritePath {
  readonly #ports: WritePathPorts;
  readonly #table: StreamTable;
  #generation: number;
  /** Payload of frames that are not durable yet. */
  #enqueuedBytes = 0;

  constructor(ports: WritePathPorts) {
    this.#ports = ports;
    this.#table = ports.table;
    this.#generation = ports.generation;
  }

  /** Largest generation minted. */
  get generation(): number {
    return this.#generation;
  }

  /** Payload bytes have become durable. */
  settled(payloadBytes: number): void {
    this.#enqueuedBytes -= payloadBytes;
  }

  /** A read renews a sliding TTL (protocol section 5.1). It is recorded, but nobody waits for that. */
  touch(stream: Stream): void {
    if (stream.pending.identity.config.ttlSeconds === null || stream.pending.deleted) return;
    const now = this.#ports.clock();
    stream.readAtMs = now;
    if (!touchDue(stream.pending, now) || this.#isFull(TOUCH_HEADROOM)) return;
    const id = stream.pending.identity.id;
    this.#enqueue(stream, { kind: "touch", stream: id, atMs: now }, { ...stream.pending, touchedAtMs: now });
  }

  /** Protocol section 5.1. @throws StreamError wal-full, corrupt-catalog */
  create(path: string, request: CreateRequest, body: Uint8Array): Promise<CreateResult> {
    const config: StreamConfig = {
      contentType: request.contentType ?? DEFAULT_CONTENT_TYPE,
      ttlSeconds: request.ttlSeconds,
      expiresAtMs: request.expiresAtMs,
    };
    return this.#decide<CreateResult>(path, (stream, now) => {
      const decision = decideCreate(stream?.exact(stream.pending, now), request, now);
      if (decision.kind === "conflict") return { batch: stream?.lastBatch ?? null, answer: () => ({ ...decision }) };
      if (decision.kind === "exists") {
        return { batch: stream!.lastBatch, answer: () => ({ kind: "exists", state: stream!.durable! }) };
      }
      const framed = frame(body, isJson(config.contentType), "create");
      if (framed.kind === "bad") return { batch: null, answer: () => ({ kind: "bad-body", detail: framed.detail }) };
      this.#admit();
      if (stream !== undefined) this.#enqueueDelete(stream, "expired");
      const created = this.#enqueueCreate(path, config, request.closed, framed, now);
      return { batch: created.batch, answer: () => ({ kind: "created", state: created.next }) };
    });
  }

  /** Protocol sections 5.2 and 5.3. @throws StreamError wal-full, corrupt-catalog */
  append(path: string, input: AppendInput): Promise<AppendResult> {
    this.#ports.fault("append.enqueue");
    return this.#decide<AppendResult>(path, (stream, now) => {
      if (stream === undefined || isExpired(stream.exact(stream.pending, now), now)) {
        return { batch: null, answer: () => ({ kind: "not-found" }) };
      }
      return this.#decideAppend(stream, input, now);
    });
  }

  /** Protocol section 5.4. @throws StreamError corrupt-catalog */
  remove(path: string): Promise<"deleted" | "missing"> {
    return this.#decide<"deleted" | "missing">(path, (stream, now) => {
      const decision = decideDelete(stream?.exact(stream.pending, now), now);
      if (stream === undefined || decision === "missing") return { batch: null, answer: () => "missing" };
      return { batch: this.#enqueueDelete(stream, "request"), answer: () => "deleted" };
    });
  }

  /** Deletes the stream if it has expired, and says when to look again: null when it is gone. */
  expire(id: Generation): Promise<number | null> {
    const path = this.#table.identity(id)?.path;
    if (path === undefined) return Promise.resolve(null);
    return this.#decide<number | null>(path, (stream, now) => {
      if (stream === undefined || stream.pending.identity.id !== id) return { batch: null, answer: () => null };
      const exact = stream.exact(stream.pending, now);
      // Live readers keep a stream alive for as long as they stay; that is recorded here, when its time would be up.
      if (stream.waiters.size > 0) this.touch(stream);
      if (!isExpired(exact, now)) return { batch: null, answer: () => expiresAtMs(exact) };
      return { batch: this.#enqueueDelete(stream, "expired"), answer: () => null };
    });
  }

  /** `headroom` is the part of the budget that may be used beyond it. */
  #isFull(headroom: number): boolean {
    const bytes = this.#ports.wal().unrolledBytes + this.#enqueuedBytes;
    return bytes >= this.#ports.walBytesMax * (1 + headroom) || this.#ports.hotExtents() >= HOT_EXTENTS_MAX;
  }

  #admit(): void {
    if (!this.#isFull(0)) return;
    // What fills the budget must be on its way to the store, or the budget would never drain.
    this.#ports.wal().seal().catch(this.#ports.fatal);
    throw new StreamError(
      "wal-full",
      `the write-ahead log holds ${this.#ports.wal().unrolledBytes} bytes that the object store has not taken yet (--wal-bytes-max ${this.#ports.walBytesMax}); try again later`,
    );
  }

  /**
   * Runs one decision on the stream of that name, once no create or delete of it is under way. The look-up, the decision and
   * what it enqueues happen in one turn: nobody else can come between them. The answer waits for what it rests on.
   */
  async #decide<T>(path: string, decide: (stream: Stream | undefined, now: number) => Decision<T>): Promise<T> {
    for (;;) {
      const stream = this.#table.lookUp(path);
      if (stream !== undefined && isUnsettled(stream)) {
        await durable(stream.lastBatch!);
        continue;
      }
      const { batch, answer } = decide(stream, this.#ports.clock());
      if (batch !== null) await durable(batch);
      return answer();
    }
  }

  #decideAppend(stream: Stream, input: AppendInput, now: number): Decision<AppendResult> {
    const framed = frame(input.body, isJson(stream.pending.identity.config.contentType), "append");
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
    this.#admit();
    const batch = this.#enqueueAppend(stream, outcome.next, framed, input, now);
    return { batch, answer: () => ({ kind: "decided", outcome, state: outcome.next }) };
  }

  #producer(stream: Stream, id: string): ProducerState | undefined {
    const known = stream.producers?.get(id);
    if (known !== undefined || !stream.inCatalog) return known;
    return this.#ports.catalog.producers.load(stream.pending.identity.id, id);
  }

  #enqueue(stream: Stream, frame: Frame, next: StreamState): Enqueued {
    const { id, path } = stream.pending.identity;
    if (stream.pending.deleted) throw new Error(`stream ${id} "${path}": a ${frame.kind} after its delete`);
    // What was appended before this frame must not grow after it.
    stream.openAppend = null;
    const batch = this.#ports.wal().open;
    const enqueued: Enqueued = Object.assign(frame, { owner: stream, next, batch });
    batch.frames.push(enqueued);
    stream.pending = next;
    stream.lastBatch = batch;
    this.#table.pin(stream);
    this.#ports.wal().schedule();
    return enqueued;
  }

  #enqueueCreate(
    path: string,
    config: StreamConfig,
    closed: boolean,
    framed: Extract<FramedJson, { kind: "messages" }>,
    now: number,
  ): Enqueued {
    this.#generation += 1;
    const id = generation(this.#generation);
    const lineage = [{ generation: id, first: position(0), source: null }];
    const identity: StreamIdentity = { id, path, config, createdAtMs: now, lineage };
    const tail = position(framed.stored.length);
    const state = newStreamState({ identity, tail, closed, touchedAtMs: now, lsn: lsn(0) });
    const stream = new Stream(state, null, "new");
    const { stored, lengths } = framed;
    this.#enqueuedBytes += stored.length;
    return this.#enqueue(
      stream,
      {
        kind: "create",
        stream: id,
        atMs: now,
        path,
        config,
        lineage,
        closed,
        start: position(0),
        lengths,
        payload: [stored],
      },
      state,
    );
  }

  #enqueueDelete(stream: Stream, reason: "request" | "expired"): Batch {
    const { id } = stream.pending.identity;
    const frame: Frame = { kind: "delete", stream: id, atMs: this.#ports.clock(), reason };
    return this.#enqueue(stream, frame, { ...stream.pending, deleted: true }).batch;
  }

  #enqueueAppend(
    stream: Stream,
    next: StreamState,
    framed: Extract<FramedJson, { kind: "messages" }>,
    input: AppendInput,
    now: number,
  ): Batch {
    const { producer } = input;
    const open = this.#joinable(stream, framed.stored.length) ?? this.#openAppend(stream, now);
    if (framed.stored.length > 0) {
      open.payload.push(framed.stored);
      for (const length of framed.lengths) open.lengths.push(length);
      open.bytes += framed.stored.length;
      this.#enqueuedBytes += framed.stored.length;
    }
    open.atMs = now;
    if (producer !== null) {
      const same = open.producers.findIndex((p) => p.id === producer.id);
      if (same < 0) open.producers.push(producer);
      else open.producers[same] = producer;
      stream.producers ??= new Map();
      stream.producers.set(producer.id, { epoch: producer.epoch, seq: producer.seq });
    }
    if (input.streamSeq !== null) open.streamSeq = input.streamSeq;
    if (input.close) {
      open.closed = true;
      open.closedBy = next.closedBy;
    }
    open.next = next;
    stream.pending = next;
    return open.batch;
  }

  #joinable(stream: Stream, bytes: number): EnqueuedAppend | null {
    const open = stream.openAppend as EnqueuedAppend | null;
    return open !== null && open.batch === this.#ports.wal().open && open.bytes + bytes <= MERGED_FRAME_BYTES_MAX
      ? open
      : null;
  }

  #openAppend(stream: Stream, now: number): EnqueuedAppend {
    const { pending } = stream;
    const frame: OpenAppend = {
      kind: "append",
      stream: pending.identity.id,
      atMs: now,
      start: pending.tail,
      payload: [],
      lengths: [],
      producers: [],
      streamSeq: null,
      closed: false,
      closedBy: null,
      bytes: 0,
    };
    const open = this.#enqueue(stream, frame, pending) as EnqueuedAppend;
    stream.openAppend = open;
    return open;
  }
}

/** A create or delete of the stream is not durable yet. */
function isUnsettled(stream: Stream): boolean {
  return stream.durable === null || (stream.pending.deleted && stream.lastBatch !== null);
}

function durable(batch: Batch): Promise<void> {
  return new Promise((resolve) => batch.whenDurable(resolve));
}

function frame(body: Uint8Array, json: boolean, mode: "create" | "append"): FramedJson {
  if (body.length === 0) return { kind: "messages", stored: body, lengths: [] };
  if (!json) return { kind: "messages", stored: body, lengths: [body.length] };
  if (!isUtf8(body)) return { kind: "bad", detail: "the body is not valid UTF-8" };
  return frameJson(body, Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString("utf8"), mode);
}
