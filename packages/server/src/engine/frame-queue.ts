/**
 * The second half of a write: what was decided becomes a frame of the open batch, and the stream's pending state moves with it
 * in the same turn. Appends of one stream in one batch become one frame.
 */
import { generation, HOT_EXTENTS_MAX, lsn, newStreamState, position, StreamError } from "@coldbrook/core";
import type {
  Clock,
  FramedJson,
  Generation,
  LineageEntry,
  ProducerTuple,
  StreamConfig,
  StreamIdentity,
  StreamState,
  SubscriptionFrame,
} from "@coldbrook/core";
import type { EnqueuedSubscription, LinkEntry, Subscription } from "../subscriptions/subscription.ts";
import type { SubscriptionBook } from "../subscriptions/subscription-book.ts";
import type { Batch } from "../wal/group-commit.ts";
import type { Wal } from "../wal/wal.ts";
import type { Enqueued, EnqueuedAppend } from "./enqueued.ts";
import type { ForkLinks } from "./fork-links.ts";
import { Stream } from "./stream.ts";
import type { StreamTable } from "./stream-table.ts";

/** Appends of one stream join one frame up to this size. */
const MERGED_FRAME_BYTES_MAX = 256 * 1024;

/** A body as it is stored. */
export type Framed = Extract<FramedJson, { kind: "messages" }>;

/** What a create fixes, its fork point aside. */
export interface Creation {
  readonly path: string;
  readonly config: StreamConfig;
  readonly closed: boolean;
  readonly framed: Framed;
  /** Null for a stream that begins with nothing; else the lineage of a fork with that id. */
  readonly lineage: ((id: Generation) => LineageEntry[]) | null;
}

export interface Addition {
  readonly framed: Framed;
  readonly producer: ProducerTuple | null;
  readonly streamSeq: string | null;
  readonly close: boolean;
}

export interface FrameQueuePorts {
  readonly table: StreamTable;
  readonly forks: ForkLinks;
  /** Hears of each append, create and delete in the turn in which that is enqueued. */
  readonly subscriptions: Pick<SubscriptionBook, "appended" | "created" | "gone">;
  readonly wal: () => Wal;
  readonly walBytesMax: number;
  /** Extents that only the WAL holds. */
  readonly hotExtents: () => number;
  /** Largest generation minted before. */
  readonly generation: number;
  readonly clock: Clock;
  readonly fatal: (error: Error) => void;
}

export class FrameQueue {
  readonly #ports: FrameQueuePorts;
  #generation: number;
  /** Payload of frames that are not durable yet. */
  #enqueuedBytes = 0;

  constructor(ports: FrameQueuePorts) {
    this.#ports = ports;
    this.#generation = ports.generation;
  }

  /** Largest generation minted. */
  get generation(): number {
    return this.#generation;
  }

  /** The next generation, minted once and for all (invariant 4). */
  mint(): Generation {
    this.#generation += 1;
    return generation(this.#generation);
  }

  /** The later one of two batches that are not durable yet: there are never more than the open one and one under way. */
  later(one: Batch | null, other: Batch | null): Batch | null {
    if (one === null || other === null) return one ?? other;
    return one === this.#ports.wal().open ? one : other;
  }

  /** Payload bytes have become durable. */
  settled(payloadBytes: number): void {
    this.#enqueuedBytes -= payloadBytes;
  }

  /** `headroom` is the part of the budget that may be used beyond it. */
  isFull(headroom: number): boolean {
    const wal = this.#ports.wal();
    const bytes = wal.unrolledBytes + this.#enqueuedBytes;
    const isFull = bytes >= this.#ports.walBytesMax * (1 + headroom) || this.#ports.hotExtents() >= HOT_EXTENTS_MAX;
    return isFull || wal.waitsForRoom;
  }

  /** `bytes` is the payload that is to be taken. @throws StreamError wal-full, disk-full */
  admit(bytes: number): void {
    const wal = this.#ports.wal();
    if (wal.isShortOfRoom(this.#enqueuedBytes + bytes)) {
      wal.sealForRoom();
      throw new StreamError("disk-full", `${wal.roomDetail}; free some space, appends go on by themselves then`);
    }
    if (!this.isFull(0)) return;
    // What fills the budget must be on its way to the store, or the budget would never drain.
    this.#ports.wal().seal().catch(this.#ports.fatal);
    throw new StreamError(
      "wal-full",
      `the write-ahead log holds ${this.#ports.wal().unrolledBytes} bytes that the object store has not taken yet (--wal-bytes-max ${this.#ports.walBytesMax}); try again later`,
    );
  }

  /** Whether a frame would wait for room on the disk. */
  get waitsForRoom(): boolean {
    return this.#ports.wal().waitsForRoom;
  }

  /** Refuses what would wait for room on the disk. @throws StreamError disk-full */
  needRoom(): void {
    const wal = this.#ports.wal();
    if (wal.waitsForRoom) throw new StreamError("disk-full", `${wal.roomDetail}; free some space and try again`);
  }

  create(creation: Creation, now: number): Enqueued {
    const { path, config, closed, framed } = creation;
    const id = this.mint();
    const lineage = creation.lineage?.(id) ?? [{ generation: id, first: position(0), source: null }];
    const identity: StreamIdentity = { id, path, config, createdAtMs: now, lineage };
    const start = lineage.at(-1)!.first;
    const tail = position(start + framed.stored.length);
    const state = newStreamState({ identity, tail, closed, touchedAtMs: now, lsn: lsn(0) });
    const { stored, lengths } = framed;
    this.#enqueuedBytes += stored.length;
    this.#ports.forks.add(identity);
    const owner = new Stream(state, null, "new");
    const what = { path, config, lineage, closed, start, lengths, payload: [stored] };
    const batch = this.#ports.wal().open;
    const enqueued: Enqueued = { kind: "create", stream: id, atMs: now, ...what, owner, next: state, batch };
    this.#enqueue(enqueued);
    this.#ports.subscriptions.created(owner, stored.length, now);
    return enqueued;
  }

  touch(stream: Stream, now: number): void {
    const id = stream.pending.identity.id;
    const next = { ...stream.pending, touchedAtMs: now };
    this.#enqueue({ kind: "touch", stream: id, atMs: now, owner: stream, next, batch: this.#ports.wal().open });
  }

  softDelete(stream: Stream, reason: "request" | "expired"): Batch {
    const { id } = stream.pending.identity;
    const next = { ...stream.pending, softDeleted: true };
    const batch = this.#ports.wal().open;
    this.#enqueue({ kind: "soft-delete", stream: id, atMs: this.#ports.clock(), reason, owner: stream, next, batch });
    this.#ports.subscriptions.gone(stream);
    return batch;
  }

  /** Deletes the stream, and with it every soft-deleted one that was kept for it alone: one batch, so all of them or none. */
  delete(stream: Stream, reason: "request" | "expired"): Batch {
    const { forks, table } = this.#ports;
    const batch = this.#delete(stream, reason);
    for (let source = table.sourceOf(stream); source !== undefined; source = table.sourceOf(source)) {
      const { softDeleted, deleted, identity } = source.pending;
      if (!softDeleted || deleted || forks.hasForks(identity.id)) break;
      this.#delete(source, "request");
    }
    return batch;
  }

  append(stream: Stream, next: StreamState, addition: Addition, now: number): Batch {
    const { framed, producer } = addition;
    const before = stream.pending;
    const joined = this.#joinable(stream, framed.stored.length);
    if (joined !== null && framed.stored.length > 0) {
      joined.payload.push(framed.stored);
      for (const length of framed.lengths) joined.lengths.push(length);
      joined.bytes += framed.stored.length;
    }
    const open = joined ?? this.#openAppend(stream, framed, now);
    this.#enqueuedBytes += framed.stored.length;
    open.atMs = now;
    if (producer !== null) {
      const same = open.producers.findIndex((p) => p.id === producer.id);
      if (same < 0) open.producers.push(producer);
      else open.producers[same] = producer;
      stream.producers ??= new Map();
      stream.producers.set(producer.id, { epoch: producer.epoch, seq: producer.seq });
    }
    if (addition.streamSeq !== null) open.streamSeq = addition.streamSeq;
    if (addition.close) {
      open.closed = true;
      open.closedBy = next.closedBy;
    }
    open.next = next;
    stream.pending = next;
    if (framed.stored.length > 0) this.#ports.subscriptions.appended(stream, before, now);
    return open.batch;
  }

  /** `entries` are what the frame makes of the subscription's links. */
  subscription(owner: Subscription, frame: SubscriptionFrame, entries: readonly LinkEntry[]): Batch {
    const batch = this.#ports.wal().open;
    const { generation: number, wake, retry, deleted } = frame;
    const next = { ...owner.pending, generation: number, wake, retry, deleted };
    const enqueued: EnqueuedSubscription = Object.assign(frame, { owner, next, batch, entries });
    batch.frames.push(enqueued);
    owner.pending = next;
    owner.lastBatch = batch;
    this.#ports.wal().schedule();
    return batch;
  }

  #delete(stream: Stream, reason: "request" | "expired"): Batch {
    const { identity } = stream.pending;
    const next = { ...stream.pending, deleted: true };
    const batch = this.#ports.wal().open;
    this.#ports.forks.remove(identity);
    const atMs = this.#ports.clock();
    this.#enqueue({ kind: "delete", stream: identity.id, atMs, reason, owner: stream, next, batch });
    this.#ports.subscriptions.gone(stream);
    return batch;
  }

  #enqueue(frame: Enqueued): void {
    const { owner, next, batch } = frame;
    if (owner.pending.deleted) {
      const { id, path } = owner.pending.identity;
      throw new Error(`stream ${id} "${path}": a ${frame.kind} after its delete`);
    }
    // What was appended before this frame must not grow after it.
    owner.openAppend = null;
    batch.frames.push(frame);
    owner.pending = next;
    owner.lastBatch = batch;
    this.#ports.table.pin(owner);
    this.#ports.wal().schedule();
  }

  #joinable(stream: Stream, bytes: number): EnqueuedAppend | null {
    const open = stream.openAppend as EnqueuedAppend | null;
    return open !== null && open.batch === this.#ports.wal().open && open.bytes + bytes <= MERGED_FRAME_BYTES_MAX
      ? open
      : null;
  }

  #openAppend(stream: Stream, { stored, lengths }: Framed, now: number): EnqueuedAppend {
    const { pending } = stream;
    const open: EnqueuedAppend = {
      kind: "append",
      stream: pending.identity.id,
      atMs: now,
      start: pending.tail,
      // Exactly as long as they are: an empty array that is pushed to takes room for many.
      payload: stored.length === 0 ? [] : [stored],
      lengths: stored.length === 0 ? [] : lengths.slice(),
      producers: [],
      streamSeq: null,
      closed: false,
      closedBy: null,
      bytes: stored.length,
      owner: stream,
      next: pending,
      batch: this.#ports.wal().open,
    };
    this.#enqueue(open);
    stream.openAppend = open;
    return open;
  }
}
