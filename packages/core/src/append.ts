/** Append, append-and-close and close-only (protocol sections 5.2, 5.2.1, 5.3): one decision, in the protocol's order of precedence. */
import type { Position } from "./brand.ts";
import { sameMediaType } from "./headers.ts";
import type { ProducerState, ProducerTuple, StreamState } from "./stream-state.ts";

export interface AppendRequest {
  /** As given, or null when absent. Not looked at when there is no body. */
  readonly contentType: string | null;
  /** Stored bytes; 0 is an empty body. */
  readonly bytes: number;
  readonly close: boolean;
  readonly producer: ProducerTuple | null;
  readonly streamSeq: string | null;
  readonly nowMs: number;
}

export type AppendOutcome =
  /** Accepted. `next` keeps the state's `lsn`, which is known only once the frame is placed; `producer` replaces the producer's state. */
  | { readonly kind: "append"; readonly next: StreamState; readonly producer: ProducerState | null }
  /** 204: accepted before; `producer` holds the highest sequence number accepted. The stream may still be open. */
  | { readonly kind: "duplicate"; readonly producer: ProducerState }
  /** 204: a close-only of a stream that is closed. */
  | { readonly kind: "already-closed" }
  /** 409 with Stream-Closed and Stream-Next-Offset. */
  | { readonly kind: "closed" }
  /** 409 */
  | { readonly kind: "content-type"; readonly expected: string }
  /** 400 */
  | { readonly kind: "missing-content-type" }
  /** 400 */
  | { readonly kind: "empty-body" }
  /** 403; `epoch` is the one in force. */
  | { readonly kind: "stale-epoch"; readonly epoch: number }
  /** 400: a new epoch starts at sequence number 0. */
  | { readonly kind: "epoch-start" }
  /** 409 */
  | { readonly kind: "gap"; readonly expected: number; readonly received: number }
  /** 409; `last` is the highest one accepted. */
  | { readonly kind: "stream-seq"; readonly last: string }
  /** The tail would pass 2^53-1. */
  | { readonly kind: "too-long" };

function decideClosed(state: StreamState, producer: ProducerState | undefined, request: AppendRequest): AppendOutcome {
  const tuple = request.producer;
  if (tuple === null) return request.bytes === 0 ? { kind: "already-closed" } : { kind: "closed" };
  if (producer !== undefined && tuple.epoch < producer.epoch) return { kind: "stale-epoch", epoch: producer.epoch };
  const by = state.closedBy;
  if (by !== null && by.id === tuple.id && by.epoch === tuple.epoch && by.seq === tuple.seq) {
    return { kind: "duplicate", producer: producer ?? { epoch: by.epoch, seq: by.seq } };
  }
  return { kind: "closed" };
}

/** What a producer's tuple forbids, or null. A producer not seen before may start with any epoch. */
function decideProducer(known: ProducerState | undefined, tuple: ProducerTuple): AppendOutcome | null {
  if (known === undefined) return tuple.seq === 0 ? null : { kind: "gap", expected: 0, received: tuple.seq };
  if (tuple.epoch < known.epoch) return { kind: "stale-epoch", epoch: known.epoch };
  if (tuple.epoch > known.epoch) return tuple.seq === 0 ? null : { kind: "epoch-start" };
  if (tuple.seq <= known.seq) return { kind: "duplicate", producer: known };
  if (tuple.seq > known.seq + 1) return { kind: "gap", expected: known.seq + 1, received: tuple.seq };
  return null;
}

/**
 * Judges one POST against the stream's pending state and its producer's. The caller has ruled out a missing, deleted or
 * expired stream. Stream-Seq values hold one byte in each character, so that string order is byte order.
 */
export function decideAppend(
  state: StreamState,
  producer: ProducerState | undefined,
  request: AppendRequest,
): AppendOutcome {
  const { bytes, close, contentType, streamSeq } = request;
  const tuple = request.producer;
  if (bytes === 0 && !close) return { kind: "empty-body" };
  if (bytes !== 0 && contentType === null) return { kind: "missing-content-type" };
  if (state.closed) return decideClosed(state, producer, request);
  const expected = state.identity.config.contentType;
  if (bytes !== 0 && contentType !== null && !sameMediaType(expected, contentType)) {
    return { kind: "content-type", expected };
  }
  if (tuple !== null) {
    const refusal = decideProducer(producer, tuple);
    if (refusal !== null) return refusal;
  }
  if (streamSeq !== null && state.streamSeq !== null && streamSeq <= state.streamSeq) {
    return { kind: "stream-seq", last: state.streamSeq };
  }
  const tail = state.tail + bytes;
  if (!Number.isSafeInteger(tail)) return { kind: "too-long" };
  return {
    kind: "append",
    next: {
      identity: state.identity,
      tail: tail as Position,
      horizon: state.horizon,
      closed: close,
      closedBy: close ? tuple : null,
      streamSeq: streamSeq ?? state.streamSeq,
      touchedAtMs: request.nowMs,
      softDeleted: state.softDeleted,
      deleted: state.deleted,
      lsn: state.lsn,
    },
    producer: tuple === null ? null : { epoch: tuple.epoch, seq: tuple.seq },
  };
}
