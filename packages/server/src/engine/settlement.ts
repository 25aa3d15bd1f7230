/** What a durable batch changes: durable states and tails, where the bytes lie, and who is woken (invariant 2). */
import { lsn, MEMORY_TAIL_BYTES_MAX, position } from "@coldbrook/core";
import type { Frame, HotExtent, Lsn, Position, StreamState } from "@coldbrook/core";
import type { CommittedFrame } from "../wal/group-commit.ts";
import type { EnqueuedSubscription } from "../subscriptions/subscription.ts";
import type { Enqueued } from "./enqueued.ts";
import { MemoryTail } from "./memory-tail.ts";
import type { Stream } from "./stream.ts";
import type { StreamTable } from "./stream-table.ts";

export interface SettlementPorts {
  readonly table: StreamTable;
  /** Payload bytes have become durable. */
  readonly settled: (payloadBytes: number) => void;
  /** The stream's durable state has changed. */
  readonly changed: (stream: Stream) => void;
  /** A subscription's frame is durable. */
  readonly subscription: (frame: EnqueuedSubscription, end: Lsn) => void;
}

export class Settlement {
  readonly #ports: SettlementPorts;
  readonly #memoryTail = new MemoryTail(MEMORY_TAIL_BYTES_MAX);
  readonly #woken = new Set<Stream>();
  #hotExtents = 0;

  constructor(ports: SettlementPorts) {
    this.#ports = ports;
  }

  /** Extents that only the WAL holds. */
  get hotExtents(): number {
    return this.#hotExtents;
  }

  get memoryTailBytes(): number {
    return this.#memoryTail.bytes;
  }

  /** Takes over a stream that recovery read. */
  adopt(stream: Stream): void {
    this.#ports.table.pin(stream);
    this.#hotExtents += stream.hot.length;
    this.#ports.changed(stream);
    if (stream.pending.deleted) this.#ports.table.unname(stream);
  }

  /** Bytes of the stream below `end` are cold. */
  cooled(stream: Stream, end: Position): void {
    this.#hotExtents -= stream.dropHotBelow(end);
    this.#ports.table.unpin(stream);
  }

  /** The batch is on disk: its frames become what everyone sees. */
  settle(frames: readonly CommittedFrame[]): void {
    for (const committed of frames) {
      const frame = committed.frame as Enqueued | EnqueuedSubscription;
      if (frame.kind === "subscription") this.#ports.subscription(frame, lsn(endOf(committed)));
      else this.#settleFrame(committed, frame);
    }
  }

  #settleFrame(committed: CommittedFrame, frame: Enqueued): void {
    const stream = frame.owner;
    checkFollows(stream, frame);
    this.#ports.settled(committed.payloadBytes);
    const state: StreamState = { ...frame.next, lsn: lsn(endOf(committed)) };
    if (stream.pending === frame.next) stream.pending = state;
    stream.durable = state;
    if (stream.lastBatch === frame.batch) stream.lastBatch = null;
    if (stream.openAppend === (frame as Frame)) stream.openAppend = null;
    if (frame.kind === "append" || frame.kind === "create") this.#settlePayload(stream, frame, committed);
    if (frame.kind === "append" && frame.producers.length > 0) {
      stream.dirtyProducers ??= new Map();
      for (const { id, epoch, seq } of frame.producers) stream.dirtyProducers.set(id, { epoch, seq });
    }
    if (state.deleted) {
      this.#hotExtents -= stream.hot.length;
      for (const extent of stream.hot) extent.memory = null;
      stream.hot = [];
      this.#ports.table.unname(stream);
    }
    this.#ports.changed(stream);
    if (stream.waiters.size > 0) this.#wakeSoon(stream);
  }

  /** After the writers are answered, and once for several commits in a row. */
  #wakeSoon(stream: Stream): void {
    this.#woken.add(stream);
    if (this.#woken.size > 1) return;
    setImmediate(() => {
      const woken = [...this.#woken];
      this.#woken.clear();
      for (const each of woken) each.wake();
    });
  }

  #settlePayload(
    stream: Stream,
    frame: Extract<Frame, { payload: readonly Uint8Array[] }>,
    committed: CommittedFrame,
  ): void {
    if (committed.payloadBytes === 0) return;
    const extent: HotExtent = {
      stream: frame.stream,
      start: frame.start,
      end: position(frame.start + committed.payloadBytes),
      segment: committed.segment,
      headerAt: committed.headerAt,
      headerBytes: committed.headerBytes,
      messages: frame.lengths.length,
      memory: frame.payload.length === 1 ? frame.payload[0]! : Buffer.concat(frame.payload),
    };
    // Most streams have few extents, and an empty array that is pushed to takes room for many.
    if (stream.hot.length === 0) stream.hot = [extent];
    else stream.hot.push(extent);
    this.#hotExtents += 1;
    this.#memoryTail.add(extent);
  }
}

function endOf({ segment, headerAt, headerBytes, payloadBytes }: CommittedFrame): number {
  return segment + headerAt + headerBytes + payloadBytes;
}

/** An impossible frame stops the process before anyone is answered. */
function checkFollows({ durable: before }: Stream, frame: Enqueued): void {
  const { identity, tail } = frame.next;
  const follows =
    before === null
      ? frame.kind === "create"
      : frame.kind !== "create" &&
        !before.deleted &&
        tail >= before.tail &&
        (frame.kind !== "append" || frame.start === before.tail);
  if (follows && !(before?.closed === true && frame.kind === "append")) return;
  throw new Error(`stream ${identity.id}: a ${frame.kind} frame to ${tail} does not follow ${JSON.stringify(before)}`);
}
