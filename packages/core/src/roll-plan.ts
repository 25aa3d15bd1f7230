/**
 * Which objects a sealed WAL segment becomes, and what it did to each stream: a pure fold of the segment's frames.
 * The same segment always gives the same plan, so a roll that a crash cut off is redone under the same keys.
 */

import { lsn, position } from "./brand.ts";
import type { Generation, Lsn, Position } from "./brand.ts";
import type { CodecSteps } from "./bytes.ts";
import { StreamError } from "./errors.ts";
import type { AppendHeader, CreateHeader, FrameHeader, SubscriptionHeader } from "./frame.ts";
import { OBJECT_BYTES_TARGET, SEGMENT_OBJECT_BYTES_MIN } from "./limits.ts";
import type { StreamDigest } from "./replay.ts";
import type { ProducerTuple } from "./stream-state.ts";
import { SubscriptionFold } from "./subscription-replay.ts";
import type { SubscriptionDigest } from "./subscription-replay.ts";

/** A stream's bytes of the segment. */
export interface PlannedExtent {
  readonly stream: Generation;
  readonly start: Position;
  readonly end: Position;
  /** Where its payload lies in the segment file: byte position, bytes, byte position, bytes, … in stream order. */
  readonly sources: readonly number[];
  readonly lengths: readonly number[];
}

export interface PlannedObject {
  readonly extents: readonly PlannedExtent[];
  /** Payload bytes of all extents. */
  readonly payloadBytes: number;
}

export interface RollPlan {
  readonly base: Lsn;
  readonly end: Lsn;
  /** Streams large enough for an object of their own come first, then packs; by stream id in both. May be empty. */
  readonly objects: readonly PlannedObject[];
  /** One for each stream that the segment names, by stream id. */
  readonly digests: readonly StreamDigest[];
  /** One for each subscription that the segment names, by id. */
  readonly subscriptions: readonly SubscriptionDigest[];
}

type StreamHeader = Exclude<FrameHeader, SubscriptionHeader>;
type Mutable<Type> = { -readonly [Key in keyof Type]: Type[Key] };

/** A stream's digest in the making, and the ends of its chain of payloads. */
interface Fold {
  readonly digest: Mutable<StreamDigest>;
  producers: Map<string, ProducerTuple> | null;
  first: number;
  last: number;
}

/**
 * Payloads of all streams in flat number arrays, chained stream by stream: a segment may hold 400,000 frames, and an
 * array for each of as many streams would cost several times its content. `table` keeps four numbers for a payload:
 * its place, its size, the index of its first message in `lengths`, the index of the stream's next payload or -1.
 */
class Payloads {
  private readonly table: number[] = [];
  private readonly lengths: number[] = [];

  add(fold: Fold, at: number, bytes: number, lengths: readonly number[]): void {
    const index = this.table.length;
    if (fold.last >= 0) this.table[fold.last + 3] = index;
    else fold.first = index;
    fold.last = index;
    this.table.push(at, bytes, this.lengths.length, -1);
    for (const length of lengths) this.lengths.push(length);
  }

  /** The extent of a stream that has payloads. */
  extent(fold: Fold): PlannedExtent {
    const { stream, start, tail } = fold.digest;
    const sources: number[] = [];
    const lengths: number[] = [];
    for (let index = fold.first; index >= 0; index = this.table[index + 3] as number) {
      const bytes = this.table[index + 1] as number;
      sources.push(this.table[index] as number, bytes);
      let from = this.table[index + 2] as number;
      for (let left = bytes; left > 0; from++) {
        const length = this.lengths[from] as number;
        lengths.push(length);
        left -= length;
      }
    }
    // Copies, because an array that grew by pushes has room for 17 numbers at least, and a copy has none to spare.
    return {
      stream,
      start: start as Position,
      end: tail as Position,
      sources: sources.slice(),
      lengths: lengths.slice(),
    };
  }
}

function fail(stream: Generation, what: string): never {
  throw new StreamError("corrupt-wal", `stream ${stream}: ${what}`);
}

function newFold(stream: Generation): Fold {
  const digest: Mutable<StreamDigest> = {
    stream,
    created: null,
    start: null,
    tail: null,
    closed: false,
    closedBy: null,
    streamSeq: null,
    producers: [],
    touchedAtMs: null,
    softDeleted: false,
    deleted: false,
    lsn: lsn(0),
  };
  return { digest, producers: null, first: -1, last: -1 };
}

function foldCreate(fold: Fold, header: CreateHeader): void {
  const { stream: id, path, config, lineage, atMs: createdAtMs } = header;
  if (fold.digest.lsn !== 0) fail(id, "a create frame after other frames of the stream");
  fold.digest.created = { id, path, config, createdAtMs, lineage };
}

function foldAppend(fold: Fold, header: AppendHeader): void {
  const { digest } = fold;
  digest.closedBy = header.closedBy;
  digest.streamSeq = header.streamSeq ?? digest.streamSeq;
  if (header.producers.length === 0) return;
  fold.producers ??= new Map();
  for (const producer of header.producers) fold.producers.set(producer.id, producer);
}

function foldFrame(fold: Fold, header: StreamHeader, payloadAt: number, payloads: Payloads): void {
  const { digest } = fold;
  if (digest.deleted) fail(header.stream, `a ${header.kind} frame after its delete frame`);
  if (header.kind === "delete") {
    digest.deleted = true;
    return;
  }
  if (digest.softDeleted) fail(header.stream, `a ${header.kind} frame after its soft delete`);
  if (header.kind === "soft-delete") {
    digest.softDeleted = true;
    return;
  }
  digest.touchedAtMs = header.atMs;
  if (header.kind === "touch") return;
  if (digest.closed) fail(header.stream, `a ${header.kind} frame after it was closed`);
  if (digest.tail !== null && digest.tail !== header.start) {
    fail(header.stream, `a frame at ${header.start}, but the one before ends at ${digest.tail}`);
  }
  if (header.kind === "create") foldCreate(fold, header);
  else foldAppend(fold, header);
  digest.start ??= header.start;
  digest.tail = position(header.start + header.payloadBytes);
  digest.closed = header.closed;
  if (header.payloadBytes > 0) payloads.add(fold, payloadAt, header.payloadBytes, header.lengths);
}

/** Yields between streams. */
function* cutObjects(folds: readonly Fold[], payloads: Payloads): Generator<undefined, PlannedObject[], undefined> {
  const own: PlannedObject[] = [];
  const packs: PlannedObject[] = [];
  let extents: PlannedExtent[] = [];
  let packBytes = 0;
  for (const fold of folds) {
    yield;
    if (fold.digest.deleted || fold.first < 0) continue;
    const extent = payloads.extent(fold);
    const bytes = extent.end - extent.start;
    if (bytes >= SEGMENT_OBJECT_BYTES_MIN) {
      own.push({ extents: [extent], payloadBytes: bytes });
      continue;
    }
    if (packBytes + bytes > OBJECT_BYTES_TARGET) {
      packs.push({ extents, payloadBytes: packBytes });
      extents = [];
      packBytes = 0;
    }
    extents.push(extent);
    packBytes += bytes;
  }
  if (extents.length > 0) packs.push({ extents, payloadBytes: packBytes });
  return [...own, ...packs];
}

/** Ids that are sorted in one step. */
const SORT_STEP = 8_192;

/** The ids in order. Yields every few of them. */
function* sortedIds(ids: Iterable<number>, count: number): CodecSteps<Float64Array> {
  let sorted = new Float64Array(count);
  let at = 0;
  for (const id of ids) {
    sorted[at++] = id;
    if (at % SORT_STEP !== 0 && at !== count) continue;
    sorted.subarray(Math.floor((at - 1) / SORT_STEP) * SORT_STEP, at).sort();
    yield;
  }
  for (let run = SORT_STEP; run < count; run *= 2) {
    const merged = new Float64Array(count);
    for (let from = 0; from < count; from += 2 * run) {
      yield* merge(sorted, merged, from, Math.min(from + run, count), Math.min(from + 2 * run, count));
    }
    sorted = merged;
  }
  return sorted;
}

/** Merges the ordered runs [from, middle) and [middle, to) into the same places of `into`. */
function* merge(
  source: Float64Array,
  into: Float64Array,
  from: number,
  middle: number,
  to: number,
): CodecSteps<undefined> {
  let left = from;
  let right = middle;
  for (let at = from; at < to; at++) {
    const takesLeft = right === to || (left < middle && (source[left] as number) <= (source[right] as number));
    into[at] = source[takesLeft ? left++ : right++] as number;
    if (at % SORT_STEP === 0) yield;
  }
}

/**
 * The plan of one segment in the making. Frames are added in WAL order, and nothing of a stream's frame is kept but
 * numbers, so that a caller can read, add and let others run. @throws StreamError corrupt-wal
 */
export class RollPlanner {
  private readonly byStream = new Map<Generation, Fold>();
  private readonly bySubscription = new Map<Generation, SubscriptionFold>();
  private readonly payloads = new Payloads();
  private readonly base: Lsn;
  private readonly end: Lsn;

  /** For the segment [base, end). */
  constructor(options: { readonly base: Lsn; readonly end: Lsn }) {
    this.base = options.base;
    this.end = options.end;
  }

  /** `payloadAt` is a byte position in the segment file, so that the frame ends at LSN `base + payloadAt + payloadBytes`. */
  add(header: FrameHeader, payloadAt: number): void {
    const end = lsn(this.base + payloadAt + header.payloadBytes);
    if (end > this.end) fail(header.stream, `a frame past its segment's end, LSN ${this.end}`);
    if (header.kind === "subscription") {
      this.addSubscription(header, end);
      return;
    }
    let fold = this.byStream.get(header.stream);
    if (fold === undefined) {
      fold = newFold(header.stream);
      this.byStream.set(header.stream, fold);
    }
    foldFrame(fold, header, payloadAt, this.payloads);
    fold.digest.lsn = end;
  }

  /** The plan, step by step: a segment may touch hundreds of thousands of streams, and others want a turn meanwhile. */
  *finish(): Generator<undefined, RollPlan, undefined> {
    const ids = yield* sortedIds(this.byStream.keys(), this.byStream.size);
    const folds: Fold[] = [];
    const digests: StreamDigest[] = [];
    for (const id of ids) {
      yield;
      const fold = this.byStream.get(id as Generation)!;
      if (fold.producers !== null) fold.digest.producers = [...fold.producers.values()];
      folds.push(fold);
      digests.push(fold.digest);
    }
    const subscriptions = yield* this.finishSubscriptions();
    const { base, end } = this;
    return { base, end, objects: yield* cutObjects(folds, this.payloads), digests, subscriptions };
  }

  private addSubscription(frame: SubscriptionHeader, end: Lsn): void {
    let fold = this.bySubscription.get(frame.stream);
    if (fold === undefined) {
      fold = new SubscriptionFold();
      this.bySubscription.set(frame.stream, fold);
    }
    fold.add(frame, end);
  }

  private *finishSubscriptions(): Generator<undefined, SubscriptionDigest[], undefined> {
    const digests: SubscriptionDigest[] = [];
    for (const id of Float64Array.from(this.bySubscription.keys()).sort()) {
      yield;
      const digest = this.bySubscription.get(id as Generation)!.digest();
      if (digest !== null) digests.push(digest);
    }
    return digests;
  }
}

/** The plan for the segment [base, end), from all its frames at once; see RollPlanner. @throws StreamError corrupt-wal */
export function planRoll(
  frames: Iterable<{ readonly header: FrameHeader; readonly payloadAt: number }>,
  options: { readonly base: Lsn; readonly end: Lsn },
): RollPlan {
  const planner = new RollPlanner(options);
  for (const { header, payloadAt } of frames) planner.add(header, payloadAt);
  const steps = planner.finish();
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}
