/**
 * Reads the un-rolled WAL back. Only the last segment may end in a torn batch, which was never acknowledged and is cut off.
 * Anything else that cannot be read stops the start and removes nothing (invariant 8).
 */
import { crc32 } from "node:zlib";
import {
  applyFrame,
  DecodeError,
  decodeBatchHeader,
  decodeSegmentHeader,
  lsn,
  position,
  readBatch,
  SEGMENT_HEADER_BYTES,
  StreamError,
} from "@coldbrook/core";
import type { BatchFrame, Generation, HotExtent, Lsn, ProducerState, StreamState } from "@coldbrook/core";
import type { Catalog } from "../catalog/catalog.ts";
import { Stream } from "../engine/stream.ts";
import { SubscriptionReplay } from "../subscriptions/subscription-replay.ts";
import type { ReplayedSubscription } from "../subscriptions/subscription-replay.ts";
import { checkSegmentHeader } from "./segment-header.ts";
import type { SegmentListing, WalStorage } from "./storage.ts";
import type { RecoveredSegment, RecoveredWal } from "./wal.ts";

/** First bytes of a batch header, to look for one behind an unreadable batch. */
const BATCH_MAGIC: Buffer = Buffer.from("CBWB", "latin1");

export interface Recovery {
  readonly streams: Stream[];
  /** Those that the un-rolled WAL names. */
  readonly subscriptions: readonly ReplayedSubscription[];
  readonly wal: RecoveredWal;
  /** Largest generation seen. */
  readonly generation: number;
  /** Sealed segments whose roll is published: their release was cut off. */
  readonly released: Lsn[];
  /** What was cut off the last segment, if anything. */
  readonly torn: { readonly file: string; readonly at: number; readonly bytes: number } | null;
}

interface Rebuilt {
  state: StreamState | undefined;
  inCatalog: boolean;
  hot: HotExtent[];
  producers: Map<string, ProducerState>;
}

interface RecoveryOptions {
  readonly storage: WalStorage;
  readonly shard: string;
  readonly catalog: Catalog;
  readonly rolledLsn: Lsn;
  readonly appliedLsn: Lsn;
  /** False for a check: a torn tail is reported and left alone. */
  readonly repair: boolean;
}

/** @throws StreamError corrupt-wal, naming file and position */
export async function recover(options: RecoveryOptions): Promise<Recovery> {
  const { storage } = options;
  const listed = await storage.list();
  const { released, kept } = splitReleased(listed, options);
  const replay = new Replay(options);
  const segments: RecoveredSegment[] = [];
  let torn: Recovery["torn"] = null;
  for (const [i, segment] of kept.entries()) {
    const file = storage.name(segment.base);
    const isLast = i === kept.length - 1;
    const bytes = await storage.readWhole(segment.base);
    if (isLast && isUnborn(bytes)) {
      if (segment.base + SEGMENT_HEADER_BYTES < options.appliedLsn)
        throw cutShort(file, 0, segment.base, options.appliedLsn);
      continue;
    }
    checkSegmentHeader(bytes, file, segment.base, options.shard);
    const { end, frames } = replay.segment(bytes, segment.base, file, isLast);
    if (end < bytes.length) {
      torn = { file, at: end, bytes: bytes.length - end };
    }
    // What was read may not be durable yet, and behind it may lie a torn batch.
    if (isLast && options.repair) await storage.settle(segment.base, bytes.subarray(0, end));
    if (end > SEGMENT_HEADER_BYTES) segments.push({ base: segment.base, bytes: end, frames });
  }
  const last = kept.at(-1);
  const lastHasFrames = last !== undefined && segments.at(-1)?.base === last.base;
  const next =
    last === undefined ? options.rolledLsn : lastHasFrames ? lsn(last.base + segments.at(-1)!.bytes) : last.base;
  return {
    streams: replay.streams(),
    subscriptions: replay.subscriptions(),
    wal: { segments, next, reuseNext: last !== undefined && !lastHasFrames },
    generation: replay.generation,
    released,
    torn,
  };
}

/** Sorts out the segments whose roll is published, and checks that the others follow each other without a gap. */
function splitReleased(
  listed: readonly SegmentListing[],
  options: RecoveryOptions,
): { released: Lsn[]; kept: SegmentListing[] } {
  const released = listed.filter((s, i) => i < listed.length - 1 && s.base < options.rolledLsn).map((s) => s.base);
  const kept = listed.slice(released.length);
  const first = kept[0];
  if (first === undefined && Math.max(options.rolledLsn, options.appliedLsn) > 0) {
    throw missing(options.storage, options.rolledLsn, "no segment is there");
  }
  if (first !== undefined && first.base !== options.rolledLsn) {
    throw missing(options.storage, options.rolledLsn, `the first un-rolled segment there starts at ${first.base}`);
  }
  for (const [i, segment] of kept.entries()) {
    const next = kept[i + 1];
    if (next === undefined || next.base === segment.base + segment.bytes) continue;
    const end = segment.base + segment.bytes;
    throw missing(
      options.storage,
      end,
      `${options.storage.name(segment.base)} ends at LSN ${end}, the next segment starts at ${next.base}`,
    );
  }
  return { released, kept };
}

/**
 * The creation of the file was cut off: its header never became whole, so that no frame was ever written behind it. The disk may
 * hold any part of a header that was not synced.
 */
function isUnborn(bytes: Uint8Array): boolean {
  return (
    bytes.length < SEGMENT_HEADER_BYTES ||
    (bytes.length === SEGMENT_HEADER_BYTES && decodeSegmentHeader(bytes, crc32) === null)
  );
}

function cutShort(file: string, at: number, base: Lsn, applied: Lsn): StreamError {
  return new StreamError(
    "corrupt-wal",
    `${file}: ends at position ${at}, but the catalog has applied ${applied - base - at} bytes more: they were acknowledged; nothing was changed`,
  );
}

function missing(storage: WalStorage, at: number, found: string): StreamError {
  return new StreamError(
    "corrupt-wal",
    `${storage.name(lsn(at))}: this WAL segment is missing (${found}); nothing was changed`,
  );
}

class Replay {
  generation = 0;
  readonly #options: RecoveryOptions;
  readonly #rebuilt = new Map<Generation, Rebuilt>();
  readonly #subscriptions: SubscriptionReplay;

  constructor(options: RecoveryOptions) {
    this.#options = options;
    this.#subscriptions = new SubscriptionReplay(options.catalog, options.appliedLsn);
  }

  /** Applies all whole batches; returns where they end in the file. */
  segment(bytes: Uint8Array, base: Lsn, file: string, isLast: boolean): { end: number; frames: number } {
    let at = SEGMENT_HEADER_BYTES;
    let frames = 0;
    for (;;) {
      const batch = readBatchOf(bytes, at, file);
      if (batch.kind === "end") {
        if (isLast && base + at < this.#options.appliedLsn) {
          throw cutShort(file, at, base, this.#options.appliedLsn);
        }
        return { end: at, frames };
      }
      if (batch.kind === "invalid" || batch.header.lsn !== base + at) {
        const reason = batch.kind === "invalid" ? batch.reason : `the batch says LSN ${batch.header.lsn}`;
        const proof = this.#proofOfLoss(bytes, at, base, isLast);
        if (proof !== null) {
          throw new StreamError(
            "corrupt-wal",
            `${file}: unreadable at position ${at} (${reason}), and ${proof}: this was acknowledged; nothing was changed`,
          );
        }
        return { end: at, frames };
      }
      for (const frame of batch.frames) this.#apply(frame, base, file);
      frames += batch.frames.length;
      at = batch.end;
    }
  }

  /** What shows that the unreadable batch at `at` was durable once, so that it is damage and not a torn write; or null. */
  #proofOfLoss(bytes: Uint8Array, at: number, base: Lsn, isLast: boolean): string | null {
    if (!isLast) return "a later segment follows";
    if (base + at < this.#options.appliedLsn) return "the catalog has applied it";
    return hasLaterBatch(bytes, at, base) ? "a whole batch follows" : null;
  }

  subscriptions(): ReplayedSubscription[] {
    return this.#subscriptions.results();
  }

  streams(): Stream[] {
    const streams: Stream[] = [];
    for (const { state, inCatalog, hot, producers } of this.#rebuilt.values()) {
      if (state === undefined) continue;
      const stream = new Stream(state, state, "wal");
      stream.inCatalog = inCatalog;
      if (!state.deleted) stream.hot = hot;
      if (producers.size > 0) {
        stream.producers = producers;
        stream.dirtyProducers = new Map(producers);
      }
      streams.push(stream);
    }
    return streams;
  }

  #apply({ header, headerAt, payloadAt }: BatchFrame, base: Lsn, file: string): void {
    const end = lsn(base + payloadAt + header.payloadBytes);
    const where = `${file}: the frame at position ${headerAt}`;
    this.generation = Math.max(this.generation, header.stream);
    if (header.kind === "subscription") {
      located(where, () => this.#subscriptions.apply(header, end));
      return;
    }
    const known = this.#known(header.stream);
    // The catalog has applied the stream's deletion and given it back.
    if (known.state === undefined && header.kind !== "create" && end <= this.#options.appliedLsn) return;
    if (header.kind === "create" && known.state === undefined && end <= this.#options.appliedLsn) return;
    const before = known.state;
    known.state = located(where, () => applyFrame(before, header, end));
    if (header.kind === "append" && (before === undefined || end > before.lsn)) {
      for (const { id, epoch, seq } of header.producers) known.producers.set(id, { epoch, seq });
    }
    if ((header.kind === "append" || header.kind === "create") && header.payloadBytes > 0) {
      known.hot.push({
        stream: header.stream,
        start: header.start,
        end: position(header.start + header.payloadBytes),
        segment: base,
        headerAt,
        headerBytes: header.headerBytes,
        messages: header.lengths.length,
        memory: null,
      });
    }
  }

  #known(id: Generation): Rebuilt {
    let known = this.#rebuilt.get(id);
    if (known === undefined) {
      const state = this.#options.catalog.streams.load(id);
      known = { state, inCatalog: state !== undefined, hot: [], producers: new Map() };
      this.#rebuilt.set(id, known);
    }
    return known;
  }
}

/** Runs a step of the replay; a fault says where it is. */
function located<T>(where: string, step: () => T): T {
  try {
    return step();
  } catch (error) {
    if (error instanceof StreamError) throw new StreamError(error.code, `${where}: ${error.message}`, { cause: error });
    throw error;
  }
}

function readBatchOf(bytes: Uint8Array, at: number, file: string): ReturnType<typeof readBatch> {
  try {
    return readBatch(bytes, at, crc32);
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    throw new StreamError(
      "corrupt-wal",
      `${file}: unreadable at position ${at} (${error.message}); nothing was changed`,
      { cause: error },
    );
  }
}

/** A later batch was written only after this one was synced: then it is damage, not a torn write. */
function hasLaterBatch(bytes: Uint8Array, at: number, base: Lsn): boolean {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let next = view.indexOf(BATCH_MAGIC, at + 1); next >= 0; next = view.indexOf(BATCH_MAGIC, next + 1)) {
    if (lsnOfBatch(bytes, next) === base + next) return true;
  }
  return false;
}

/** LSN in the batch header at `at`, or null when a client's bytes only look like one. */
function lsnOfBatch(bytes: Uint8Array, at: number): Lsn | null {
  try {
    return decodeBatchHeader(bytes, at, crc32)?.lsn ?? null;
  } catch (error) {
    if (error instanceof DecodeError) return null;
    throw error;
  }
}
