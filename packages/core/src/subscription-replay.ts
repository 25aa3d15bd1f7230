/**
 * The fold that turns subscription frames, or the digests of rolled segments, into subscription states; see replay.ts.
 * Links are kept apart: who gets back the very state it gave has them already, else `applyLinks` says what to do.
 */

import type { Generation, Lsn } from "./brand.ts";
import { StreamError } from "./errors.ts";
import type { StreamErrorCode } from "./errors.ts";
import type {
  SubscriptionChange,
  SubscriptionCreated,
  SubscriptionFrame,
  SubscriptionLink,
  SubscriptionState,
} from "./subscription.ts";

/** What one WAL segment did to one subscription: the fold of its frames there. */
export interface SubscriptionDigest extends SubscriptionChange {
  /** The subscription's id. */
  readonly stream: Generation;
  /** When the subscription was created in this segment. */
  readonly created: (SubscriptionCreated & { readonly createdAtMs: number }) | null;
  /** LSN just past the subscription's last frame in the segment. */
  readonly lsn: Lsn;
}

function fail(code: StreamErrorCode, id: Generation, lsn: Lsn, what: string): never {
  throw new StreamError(code, `subscription ${id}, before LSN ${lsn}: ${what}`);
}

type Head = Pick<SubscriptionDigest, "stream" | "generation" | "wake" | "retry">;

/** `before` is the number of the last wake before this head. */
function checkHead(head: Head, before: number, lsn: Lsn, code: StreamErrorCode): void {
  const { stream, generation, wake, retry } = head;
  if (generation < before) fail(code, stream, lsn, `wake ${generation} after wake ${before}`);
  if (wake !== null && generation === 0) fail(code, stream, lsn, "a wake without a number");
  if (wake === null && retry !== null) fail(code, stream, lsn, "a retry without a wake");
}

type Step = Head & Pick<SubscriptionDigest, "created" | "deleted">;

function applyStep(
  state: SubscriptionState | undefined,
  step: Step,
  lsn: Lsn,
  code: StreamErrorCode,
): SubscriptionState {
  const { stream: id, created, generation, wake, retry, deleted } = step;
  checkHead(step, state?.generation ?? 0, lsn, code);
  const next = { generation, wake, retry, deleted, lsn };
  if (state === undefined) {
    return created === null ? fail(code, id, lsn, "changed before it was created") : { id, ...created, ...next };
  }
  if (created !== null) fail(code, id, lsn, "created a second time");
  if (state.deleted) fail(code, id, lsn, "changed after it was deleted");
  return { ...state, ...next };
}

/**
 * The state after one more frame, which ends before `lsnEnd`; the very `state` when it already includes the frame.
 * @throws StreamError corrupt-wal when the frame cannot follow the state.
 */
export function applySubscription(
  state: SubscriptionState | undefined,
  frame: SubscriptionFrame,
  lsnEnd: Lsn,
): SubscriptionState {
  if (state !== undefined && lsnEnd <= state.lsn) return state;
  const created = frame.created === null ? null : { ...frame.created, createdAtMs: frame.atMs };
  return applyStep(state, { ...frame, created }, lsnEnd, "corrupt-wal");
}

/**
 * The state after one more rolled segment; the very `state` when it already includes it.
 * @throws StreamError corrupt-object when the digest cannot follow the state.
 */
export function applySubscriptionDigest(
  state: SubscriptionState | undefined,
  digest: SubscriptionDigest,
): SubscriptionState {
  return state !== undefined && digest.lsn <= state.lsn
    ? state
    : applyStep(state, digest, digest.lsn, "corrupt-object");
}

/** One subscription's digest in the making: frames go in one by one, in WAL order. */
export class SubscriptionFold {
  private created: SubscriptionDigest["created"] = null;
  private last: SubscriptionFrame | null = null;
  private end: Lsn | null = null;
  /** What became of each path that was touched: its link, or null when it was taken away. */
  private readonly links = new Map<string, SubscriptionLink | null>();

  /** @throws StreamError corrupt-wal on a frame that cannot follow the one before. */
  add(frame: SubscriptionFrame, lsnEnd: Lsn): void {
    const { last } = this;
    const code = "corrupt-wal";
    if (last !== null) {
      if (frame.created !== null) fail(code, frame.stream, lsnEnd, "created a second time");
      if (last.deleted) fail(code, frame.stream, lsnEnd, "changed after it was deleted");
    }
    checkHead(frame, last?.generation ?? 0, lsnEnd, code);
    if (frame.created !== null) this.created = { ...frame.created, createdAtMs: frame.atMs };
    this.last = frame;
    this.end = lsnEnd;
    if (frame.deleted) {
      this.links.clear();
      return;
    }
    for (const path of frame.unlinked) this.links.set(path, null);
    for (const link of frame.links) this.links.set(link.path, link);
  }

  /** Null before the first frame. */
  digest(): SubscriptionDigest | null {
    const { created, last, end } = this;
    if (last === null || end === null) return null;
    const links: SubscriptionLink[] = [];
    const unlinked: string[] = [];
    for (const [path, link] of this.links) {
      if (link === null) unlinked.push(path);
      else links.push(link);
    }
    const { stream, generation, wake, retry, deleted } = last;
    return { stream, created, generation, wake, retry, links, unlinked, deleted, lsn: end };
  }
}
