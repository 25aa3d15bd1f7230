/**
 * When streams expire and what renews them (protocol section 5.1). Nobody is told of an expiry that could be taken back: neither a
 * crash nor a stream's way out of memory and back makes it alive again.
 */
import { expiresAtMs, isExpired, recoveredExpiresAtMs, touchDue } from "@coldbrook/core";
import type { Clock, Generation } from "@coldbrook/core";
import type { Batch } from "../wal/group-commit.ts";
import type { Decision, Decisions } from "./decisions.ts";
import type { ForkLinks } from "./fork-links.ts";
import type { FrameQueue } from "./frame-queue.ts";
import type { Stream } from "./stream.ts";
import type { StreamTable } from "./stream-table.ts";

/** Renewals of a TTL are recorded beyond the budget, or a stream that is read through an outage would expire after it. */
const TOUCH_HEADROOM = 0.125;

export interface ExpiryPorts {
  readonly table: StreamTable;
  readonly forks: ForkLinks;
  readonly queue: FrameQueue;
  readonly decisions: Decisions;
  /** Has the catalog record `renewedAtMs`; false when it cannot be asked for more. */
  readonly renew: (stream: Stream) => boolean;
  readonly clock: Clock;
}

/** Why a stream cannot be used by its name, and what that answer rests on. */
export interface Absence {
  readonly kind: "not-found" | "gone";
  readonly batch: Batch | null;
}

/** What a create is told whose path is taken by an expired stream. */
interface Kept {
  readonly kind: "conflict";
  readonly detail: string;
}

export class Expiry {
  readonly #ports: ExpiryPorts;

  constructor(ports: ExpiryPorts) {
    this.#ports = ports;
  }

  /**
   * A read renews a sliding TTL (protocol section 5.1). It is recorded, but nobody waits for that: by a frame or, where the budget
   * has no room for one, by the catalog alone, which a crash may leave behind. Recorded it must be: what memory alone knows of
   * goes with the stream's place there.
   */
  touch(stream: Stream): void {
    const { identity, deleted, softDeleted } = stream.pending;
    if (identity.config.ttlSeconds === null || deleted || softDeleted) return;
    const now = this.#ports.clock();
    stream.readAtMs = now;
    if (!touchDue(stream.recorded(stream.pending), now)) return;
    if (!this.#ports.queue.isFull(TOUCH_HEADROOM)) this.#ports.queue.touch(stream, now);
    else if (this.#ports.renew(stream)) stream.renewedAtMs = now;
  }

  /** Deletes the stream if it has expired, and says when to look again: null when it is gone. */
  expire(id: Generation): Promise<number | null> {
    const path = this.#ports.table.identity(id)?.path;
    if (path === undefined) return Promise.resolve(null);
    return this.#ports.decisions.later<number | null>(path, (stream, now) => {
      if (stream === undefined || stream.pending.identity.id !== id || stream.pending.softDeleted) {
        return { batch: null, answer: () => null };
      }
      const exact = stream.exact(stream.pending, now);
      // Live readers keep a stream alive for as long as they stay; that is recorded here, when its time would be up.
      if (stream.waiters.size > 0) this.touch(stream);
      if (!isExpired(exact, now)) return { batch: null, answer: () => expiresAtMs(exact) };
      const kept = this.keepForForks(stream);
      return { batch: kept?.batch ?? this.#ports.queue.delete(stream, "expired"), answer: () => null };
    });
  }

  /** Why the stream cannot be used by its name, or null. A crash may take back what was not waited for. */
  absenceNow(stream: Stream, now: number): "not-found" | "gone" | null {
    if (stream.pending.softDeleted) return "gone";
    if (!isExpired(stream.exact(stream.pending, now), now)) return null;
    return this.#ports.forks.hasForks(stream.pending.identity.id) ? "gone" : "not-found";
  }

  /** Why the stream of that name could not be used, once no crash can take it back. @throws StreamError disk-full, corrupt-catalog */
  absence(path: string): Promise<"not-found" | "gone"> {
    return this.#ports.decisions.later(path, (stream, now) => {
      const absence = this.absenceOf(stream, now);
      return { batch: absence?.batch ?? null, answer: () => absence?.kind ?? "not-found" };
    });
  }

  /** `batch` is what the answer rests on. @throws StreamError disk-full */
  absenceOf(stream: Stream | undefined, now: number): Absence | null {
    if (stream === undefined) return { kind: "not-found", batch: null };
    const kind = this.absenceNow(stream, now);
    if (kind === null) return null;
    if (mayComeBack(stream, now)) {
      this.#ports.queue.needRoom();
      this.#retire(stream);
    }
    return { kind, batch: stream.lastBatch };
  }

  /** Somebody has found that the stream has expired: it is deleted if it could be found again. */
  retire(stream: Stream, now: number): void {
    // Who waits for the answer is refused then.
    if (mayComeBack(stream, now) && !this.#ports.queue.waitsForRoom) this.#retire(stream);
  }

  #retire(stream: Stream): void {
    if (this.keepForForks(stream) === null) this.#ports.queue.delete(stream, "expired");
  }

  /** An expired stream with forks does not go but is kept for them, and its name with it. */
  keepForForks(stream: Stream | undefined): Decision<Kept> | null {
    if (stream === undefined || !this.#ports.forks.hasForks(stream.pending.identity.id)) return null;
    const batch = this.#ports.queue.softDelete(stream, "expired");
    const detail = "an expired stream is kept under this path until its forks are deleted";
    return { batch, answer: () => ({ kind: "conflict", detail }) };
  }
}

/**
 * An expired stream that is read back from disk may have some time left, since it may have been read after its last recorded use.
 * Only its delete keeps it gone then.
 */
function mayComeBack(stream: Stream, now: number): boolean {
  const { pending } = stream;
  return !pending.deleted && !pending.softDeleted && now < recoveredExpiresAtMs(stream.recorded(pending));
}
