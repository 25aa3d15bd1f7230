/**
 * Carries durable stream states into the catalog, behind the WAL: in slices, so that appends are not held up, and in order,
 * so that `appliedLsn` never names a frame that the catalog lacks.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import { expiresAtMs, forkedFrom } from "@coldbrook/core";
import type { FaultPoint, Lsn } from "@coldbrook/core";
import type { Catalog } from "../catalog/catalog.ts";
import type { SubscriptionSaver } from "../subscriptions/subscription-saver.ts";
import type { Stream } from "./stream.ts";

/** Streams of one transaction: they enter it in one turn of the event loop, which appends wait for. */
const TRANSACTION_STREAMS_MAX = 128;
/** Producers that a stream keeps in memory beyond the ones that are not saved yet. */
const PRODUCERS_KEPT_MAX = 1024;
/** How far the catalog trails the WAL at most; a roll catches it up. A stream that is appended to all the while is saved once in it. */
const DELAY_MS = 20_000;
/** So many unsaved streams are saved without a delay. */
const DIRTY_STREAMS_MAX = 262_144;
/** Streams whose ids lie this close to each other are saved one after the other. */
const NEIGHBOURS = 256;
/** Streams that are put in order in one turn of the event loop. */
const ORDERED_AT_ONCE = 8192;

export interface CatalogSyncPorts {
  readonly catalog: Catalog;
  /** LSN up to which everything is durable and settled. */
  readonly durableLsn: () => Lsn;
  /** Largest generation minted. */
  readonly generation: () => number;
  readonly saved: (stream: Stream) => void;
  readonly subscriptions: Pick<SubscriptionSaver, "save" | "giveBack">;
  readonly fatal: (error: Error) => void;
  readonly fault: FaultPoint;
}

export class CatalogSync {
  readonly #ports: CatalogSyncPorts;
  #dirty = new Set<Stream>();
  #underWay = new Set<Stream>();
  #timer: NodeJS.Timeout | null = null;
  #run: Promise<void> = Promise.resolve();

  constructor(ports: CatalogSyncPorts) {
    this.#ports = ports;
  }

  get dirtyCount(): number {
    return this.#dirty.size;
  }

  unsaved(stream: Stream): boolean {
    return this.#dirty.has(stream) || this.#underWay.has(stream);
  }

  /** Whether so many streams wait already that only what must be saved may join them. */
  get isCrowded(): boolean {
    return this.#dirty.size >= DIRTY_STREAMS_MAX;
  }

  /** The stream's durable state has changed. */
  mark(stream: Stream): void {
    this.#dirty.add(stream);
    this.arm();
  }

  /** Something durable is to be saved. */
  arm(): void {
    if (this.#timer !== null) {
      if (this.#dirty.size !== DIRTY_STREAMS_MAX) return;
      clearTimeout(this.#timer);
    }
    const delay = this.#dirty.size >= DIRTY_STREAMS_MAX ? 0 : DELAY_MS;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.save().catch(this.#ports.fatal);
    }, delay);
    this.#timer.unref();
  }

  /** Resolves when all that is durable now is committed to the catalog. */
  save(): Promise<void> {
    // The next one is due a whole delay after this one.
    this.stop();
    this.#run = this.#run.then(() => this.#save());
    return this.#run;
  }

  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  async #save(): Promise<void> {
    const applied = this.#ports.durableLsn();
    // The run before has ended, so that the set under way is empty.
    [this.#dirty, this.#underWay] = [this.#underWay, this.#dirty];
    const ordered = await byNeighbourhood(this.#underWay);
    for (let at = 0; at < ordered.length; at += TRANSACTION_STREAMS_MAX) {
      const streams = ordered.slice(at, at + TRANSACTION_STREAMS_MAX);
      this.#ports.fault("catalog.commit");
      await this.#ports.catalog.batch(() => {
        for (const stream of streams) this.#put(stream);
      });
      for (const stream of streams) {
        stream.inCatalog = true;
        this.#underWay.delete(stream);
        forgetProducers(stream);
        this.#ports.saved(stream);
      }
      await nextTurn();
    }
    await this.#ports.subscriptions.save();
    await this.#ports.catalog.batch(() => {
      this.#ports.catalog.setMeta("generation", this.#ports.generation());
      this.#ports.catalog.setMeta("appliedLsn", applied);
    });
    await this.#ports.subscriptions.giveBack(applied);
    this.#ports.catalog.recordSize();
  }

  #put(stream: Stream): void {
    const { catalog } = this.#ports;
    if (stream.durable === null) return;
    const state = stream.recorded(stream.durable);
    const { id } = state.identity;
    catalog.streams.put(state, !stream.inCatalog);
    const source = forkedFrom(state.identity);
    if (source !== null) {
      if (state.deleted) catalog.forks.remove(source, id);
      else if (!stream.inCatalog) catalog.forks.put(source, id);
    }
    if (!stream.inCatalog) {
      const at = expiresAtMs(state);
      if (Number.isFinite(at)) catalog.expiry.put({ atMs: at, stream: id });
    }
    if (state.deleted) catalog.deleted.put(id);
    if (stream.dirtyProducers === null) return;
    for (const [producer, known] of stream.dirtyProducers) catalog.producers.put(id, producer, known, state.lsn);
    stream.dirtyProducers = null;
  }
}

/**
 * The streams in such an order that a transaction writes few pages of the catalog, which keeps them by id. A stream stays before a
 * later one of the same name: neighbours stay as they were, and others are in order of their ids.
 */
async function byNeighbourhood(streams: ReadonlySet<Stream>): Promise<Stream[]> {
  const hoods = new Map<number, Stream[]>();
  let count = 0;
  for (const stream of streams) {
    const hood = Math.floor(stream.pending.identity.id / NEIGHBOURS);
    const neighbours = hoods.get(hood);
    if (neighbours === undefined) hoods.set(hood, [stream]);
    else neighbours.push(stream);
    count += 1;
    if (count % ORDERED_AT_ONCE === 0) await nextTurn();
  }
  return [...hoods.keys()].sort((a, b) => a - b).flatMap((hood) => hoods.get(hood)!);
}

/** Producers may leave memory only when the catalog has them: look-ups see committed values alone. */
function forgetProducers(stream: Stream): void {
  if (stream.producers === null || stream.producers.size <= PRODUCERS_KEPT_MAX) return;
  if (stream.lastBatch === null && stream.dirtyProducers === null) stream.producers = null;
}
