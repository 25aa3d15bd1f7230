/**
 * One resident stream. `pending` is what the next operation is decided against; `durable` is all that anyone is shown. They
 * differ only while a batch with a frame of this stream is under way (invariants 1 and 2).
 */
import { expiresAtMs, recoveredExpiresAtMs } from "@coldbrook/core";
import type { AppendFrame, HotExtent, Position, ProducerState, ProducerTuple, StreamState } from "@coldbrook/core";
import type { MatchList } from "../subscriptions/subscription-table.ts";
import type { Batch } from "../wal/group-commit.ts";

/** An append frame that later appends of the same batch may still join. */
export interface OpenAppend extends AppendFrame {
  atMs: number;
  payload: Uint8Array[];
  lengths: number[];
  producers: ProducerTuple[];
  streamSeq: string | null;
  closed: boolean;
  closedBy: ProducerTuple | null;
  bytes: number;
}

export type Waiter = () => void;

export class Stream {
  pending: StreamState;
  /** Null until the create is durable. */
  durable: StreamState | null;
  /** Ordered, without gaps, up to the durable tail. */
  hot: HotExtent[] = [];
  /** Known producers, pending state; loaded one by one. */
  producers: Map<string, ProducerState> | null = null;
  /** Producers that the catalog does not have yet in their durable state. */
  dirtyProducers: Map<string, ProducerState> | null = null;
  /** The batch that will make `pending` durable; null when it is. */
  lastBatch: Batch | null = null;
  openAppend: OpenAppend | null = null;
  readonly waiters: Set<Waiter> = new Set();
  /** Subscriptions that an append may concern, as they were found last. */
  matches: MatchList | null = null;
  /** The catalog has a record of the stream. */
  inCatalog: boolean;
  /** Last read that renews a sliding TTL; exact, where the recorded one may lag. */
  readAtMs: number;
  /** Last read that the catalog is to record, since the WAL had no room for it; 0 for none. */
  renewedAtMs = 0;

  constructor(pending: StreamState, durable: StreamState | null, origin: "new" | "catalog" | "wal") {
    this.pending = pending;
    this.durable = durable;
    this.inCatalog = origin === "catalog";
    // A stream that comes back from disk may have been read since its last recorded touch: it must not expire early.
    const slackMs = recoveredExpiresAtMs(pending) - expiresAtMs(pending);
    this.readAtMs = pending.touchedAtMs + (origin !== "new" && Number.isFinite(slackMs) ? slackMs : 0);
  }

  /** The state with the exact time of the last use, which expiry is judged by: a stream that is watched is in use now. */
  exact(state: StreamState, nowMs: number): StreamState {
    // A write that is not durable yet has renewed the stream: it is not to expire under it.
    const usedAtMs = this.waiters.size > 0 ? nowMs : Math.max(this.readAtMs, this.pending.touchedAtMs);
    return usedAtMs > state.touchedAtMs ? { ...state, touchedAtMs: usedAtMs } : state;
  }

  /** The state with the last use that is recorded, or will be. */
  recorded(state: StreamState): StreamState {
    return this.renewedAtMs > state.touchedAtMs ? { ...state, touchedAtMs: this.renewedAtMs } : state;
  }

  /** Extents that overlap [from, to), for one read. */
  hotBetween(from: number, to: number): HotExtent[] {
    const first = firstEndingAfter(this.hot, from);
    let last = first;
    while (last < this.hot.length && this.hot[last]!.start < to) last += 1;
    return this.hot.slice(first, last);
  }

  /** Forgets the extents below `end`, which are cold now. */
  dropHotBelow(end: Position): number {
    let count = 0;
    while (count < this.hot.length && this.hot[count]!.end <= end) count += 1;
    if (count > 0) this.hot = this.hot.slice(count);
    return count;
  }

  wake(): void {
    for (const waiter of this.waiters) waiter();
  }
}

function firstEndingAfter(extents: readonly HotExtent[], at: number): number {
  let low = 0;
  let high = extents.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (extents[middle]!.end > at) high = middle;
    else low = middle + 1;
  }
  return low;
}
