/**
 * The fold that turns WAL frames, or the digests of rolled segments, into stream states. Recovery, the catalog and a
 * restore from the bucket all use it, so that a state never depends on where it was read from. Producers are kept
 * apart from StreamState: a frame's `producers` are the latest state of each, to be stored as they are.
 */

import { position } from "./brand.ts";
import type { Generation, Lsn, Position } from "./brand.ts";
import { StreamError } from "./errors.ts";
import type { StreamErrorCode } from "./errors.ts";
import { ownStart } from "./lineage.ts";
import type { AppendHeader, CreateHeader, FrameHeader } from "./frame.ts";
import type { ProducerState, ProducerTuple, StreamIdentity, StreamState } from "./stream-state.ts";

/** What one WAL segment did to one stream: the fold of its frames there. Null stands for "not in this segment". */
export interface StreamDigest {
  readonly stream: Generation;
  /** The identity, when the stream was created in this segment. */
  readonly created: StreamIdentity | null;
  /** Tail before the segment's first create or append frame of the stream. */
  readonly start: Position | null;
  /** Tail after the last of them. */
  readonly tail: Position | null;
  readonly closed: boolean;
  readonly closedBy: ProducerTuple | null;
  readonly streamSeq: string | null;
  /** Latest state of every producer that took part. */
  readonly producers: readonly ProducerTuple[];
  /** Time of the last frame that renews a sliding TTL. */
  readonly touchedAtMs: number | null;
  readonly softDeleted: boolean;
  readonly deleted: boolean;
  /** LSN just past the stream's last frame in the segment. */
  readonly lsn: Lsn;
}

function fail(code: StreamErrorCode, stream: Generation, lsn: Lsn, what: string): never {
  throw new StreamError(code, `stream ${stream}, before LSN ${lsn}: ${what}`);
}

function created(header: CreateHeader, lsn: Lsn): StreamState {
  const { stream: id, path, config, lineage, atMs: createdAtMs, closed } = header;
  const identity: StreamIdentity = { id, path, config, createdAtMs, lineage };
  if (lineage.length === 0 || header.start !== ownStart(identity)) {
    fail("corrupt-wal", id, lsn, "a create frame that does not start where its lineage does");
  }
  return {
    identity,
    tail: position(header.start + header.payloadBytes),
    horizon: position(0),
    closed,
    closedBy: null,
    streamSeq: null,
    touchedAtMs: createdAtMs,
    softDeleted: false,
    deleted: false,
    lsn,
  };
}

function appended(state: StreamState, header: AppendHeader, lsn: Lsn): StreamState {
  if (state.closed) fail("corrupt-wal", header.stream, lsn, "an append to a closed stream");
  if (header.start !== state.tail) {
    fail("corrupt-wal", header.stream, lsn, `an append at ${header.start}, but the tail is ${state.tail}`);
  }
  return {
    ...state,
    tail: position(header.start + header.payloadBytes),
    closed: header.closed,
    closedBy: header.closedBy,
    streamSeq: header.streamSeq ?? state.streamSeq,
    touchedAtMs: header.atMs,
    lsn,
  };
}

/**
 * The state after one more frame, which ends before `lsnEnd`; a frame that the state already includes changes nothing.
 * `state` is undefined before the stream's create. @throws StreamError corrupt-wal when the frame cannot follow it.
 */
export function applyFrame(state: StreamState | undefined, header: FrameHeader, lsnEnd: Lsn): StreamState | undefined {
  if (state !== undefined && lsnEnd <= state.lsn) return state;
  if (header.kind === "create") {
    if (state !== undefined) fail("corrupt-wal", header.stream, lsnEnd, "a second create frame");
    return created(header, lsnEnd);
  }
  if (header.kind === "subscription") fail("corrupt-wal", header.stream, lsnEnd, "a frame of a subscription");
  if (state === undefined) fail("corrupt-wal", header.stream, lsnEnd, `a ${header.kind} frame before its create frame`);
  if (state.deleted) fail("corrupt-wal", header.stream, lsnEnd, `a ${header.kind} frame after its delete frame`);
  if (state.softDeleted && header.kind !== "delete") {
    fail("corrupt-wal", header.stream, lsnEnd, `a ${header.kind} frame after its soft delete`);
  }
  switch (header.kind) {
    case "soft-delete":
      return { ...state, softDeleted: true, lsn: lsnEnd };
    case "append":
      return appended(state, header, lsnEnd);
    case "delete":
      return { ...state, deleted: true, lsn: lsnEnd };
    case "touch":
      return { ...state, touchedAtMs: header.atMs, lsn: lsnEnd };
  }
}

function digestBase(state: StreamState | undefined, digest: StreamDigest): StreamState {
  const { stream, created: identity, lsn } = digest;
  if (identity === null) {
    return state ?? fail("corrupt-object", stream, lsn, "a roll record continues a stream that no earlier one created");
  }
  if (state !== undefined) fail("corrupt-object", stream, lsn, "a roll record creates a stream that is there already");
  return {
    identity,
    tail: ownStart(identity),
    horizon: position(0),
    closed: false,
    closedBy: null,
    streamSeq: null,
    touchedAtMs: identity.createdAtMs,
    softDeleted: false,
    deleted: false,
    lsn,
  };
}

/**
 * The state after one more rolled segment; `producers` (by producer id) is updated with it. A digest that the state
 * already includes changes nothing. @throws StreamError corrupt-object when it cannot follow the state.
 */
export function applyDigest(
  state: StreamState | undefined,
  producers: Map<string, ProducerState>,
  digest: StreamDigest,
): StreamState {
  if (state !== undefined && digest.lsn <= state.lsn) return state;
  const base = digestBase(state, digest);
  if (base.deleted) fail("corrupt-object", digest.stream, digest.lsn, "a roll record continues a deleted stream");
  if (base.softDeleted && (digest.touchedAtMs !== null || digest.softDeleted || !digest.deleted)) {
    fail("corrupt-object", digest.stream, digest.lsn, "a roll record continues a soft-deleted stream");
  }
  if (digest.start !== null && (base.closed || digest.start !== base.tail)) {
    const found = `${base.closed ? "closed" : "open"} at ${base.tail}`;
    fail("corrupt-object", digest.stream, digest.lsn, `a roll record continues it at ${digest.start}, it is ${found}`);
  }
  for (const { id, epoch, seq } of digest.producers) producers.set(id, { epoch, seq });
  return {
    ...base,
    tail: digest.tail ?? base.tail,
    closed: base.closed || digest.closed,
    closedBy: digest.closedBy ?? base.closedBy,
    streamSeq: digest.streamSeq ?? base.streamSeq,
    touchedAtMs: digest.touchedAtMs ?? base.touchedAtMs,
    softDeleted: base.softDeleted || digest.softDeleted,
    deleted: digest.deleted,
    lsn: digest.lsn,
  };
}
