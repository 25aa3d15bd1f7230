/**
 * One shard, wired: WAL, catalog, engine, roller, reader and reaper over whatever they are kept in. A directory and a bucket
 * or all in memory, it is the same parts and the same rules.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { crc32 } from "node:zlib";
import { COLD_MEMORY_BYTES_MAX, rollKey } from "@coldbrook/core";
import type { Clock, FaultPoint, Lsn, ObjectStore, Random, RollRecord } from "@coldbrook/core";
import { Collector, MergedReader, Roller, TimeSlice } from "@coldbrook/tiering";
import type { ChunkCache, ImmediateReads } from "@coldbrook/tiering";
import type { Catalog } from "./catalog/catalog.ts";
import { CatalogWork } from "./engine/catalog-work.ts";
import { Engine } from "./engine/engine.ts";
import { publishRoll } from "./engine/publisher.ts";
import { Reaper } from "./engine/reaper.ts";
import { StreamReader } from "./engine/stream-reader.ts";
import type { Log } from "./log.ts";
import type { Settings } from "./settings.ts";
import type { Recovery } from "./wal/recovery.ts";
import type { WalStorage } from "./wal/storage.ts";
import { Wal } from "./wal/wal.ts";
import { WalReader } from "./wal/wal-reader.ts";

/** How long a stop waits for an upload under way. */
const STORE_DRAIN_MS = 5_000;

export type ShardSettings = Pick<
  Settings,
  "segmentBytes" | "segmentAgeMs" | "walBytesMax" | "diskReserveBytes" | "chunkBytes" | "objectGraceMs"
> & {
  /** See EnginePorts. */
  readonly restingStreamsMax?: number;
};

/** What is injected and is not a setting. */
export interface ShardPorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly faultPoint: FaultPoint;
  readonly log: Log;
  /** See EnginePorts. */
  readonly subscriptionPrefix?: string;
  /** Called when the shard can no longer keep its promises; must end the process. */
  readonly onFatal: (error: Error) => void;
}

/** What the shard is kept in, opened, and what recovery found there. */
export interface ShardStorage {
  /** Id of the shard. */
  readonly id: string;
  readonly catalog: Catalog;
  readonly wal: WalStorage;
  readonly store: ObjectStore;
  /** What the store's `read` resolves with, where it is in memory, as the WAL must be then; null elsewhere. */
  readonly readNow: ImmediateReads["cold"] | null;
  /** Null: nothing is kept on disk. */
  readonly cache: ChunkCache | null;
  readonly recovered: Recovery;
}

export class Shard {
  readonly engine: Engine;
  readonly reader: StreamReader;
  readonly reaper: Reaper;
  readonly clock: Clock;
  readonly #storage: ShardStorage;
  readonly #ports: ShardPorts;
  readonly #roller: Roller;
  readonly #merged: MergedReader;
  readonly #work = new CatalogWork();

  /** Nothing runs before `start`. */
  constructor(settings: ShardSettings, ports: ShardPorts, storage: ShardStorage) {
    this.#storage = storage;
    this.#ports = ports;
    this.clock = ports.clock;
    this.engine = this.#openEngine(settings);
    this.#roller = this.#openRoller();
    this.#merged = this.#openReader(settings);
    this.reader = new StreamReader(this.engine, this.#merged, settings.chunkBytes);
    this.reaper = this.#openReaper(settings);
  }

  /** Takes up what recovery left to do: cut-off releases, un-rolled segments, streams to give back. */
  async start(): Promise<void> {
    // In this turn: a segment that is sealed before the recovered ones are announced would be rolled before them.
    this.startNow();
    await this.#discardReleased();
  }

  /** The same in this very turn, for a shard that is new. */
  startNow(): void {
    this.engine.wal.announceRecovered();
    this.reaper.start();
  }

  facts(): Record<string, number | string> {
    const { engine } = this;
    const { gets, bytesFetched, aheadFetchedBytes, aheadTakenBytes, aheadHeldBytes } = this.#merged.stats;
    return {
      unrolledBytes: engine.wal.unrolledBytes,
      walSegments: engine.wal.segmentCount,
      ...(engine.wal.diskFreeBytes === null ? {} : { diskFreeBytes: engine.wal.diskFreeBytes }),
      segmentsToRoll: this.#roller.pendingSegments,
      bodiesInFlightBytes: this.reader.inFlightBytes,
      coldGets: gets,
      coldBytesFetched: bytesFetched,
      aheadFetchedBytes,
      aheadTakenBytes,
      aheadHeldBytes,
      ...engine.stats,
    };
  }

  /** Rolls all that was written so far and gives back what nobody can read any more, without waiting for its time. */
  async compact(): Promise<void> {
    await this.engine.wal.seal();
    await this.#roller.idle();
    await this.engine.sync.save();
    await this.reaper.reap();
  }

  /** Flushes and seals. The caller has seen to it that nobody writes any more. */
  async close(): Promise<void> {
    const { catalog, store } = this.#storage;
    await this.engine.subscriptions.leases.stop();
    await this.reaper.stop();
    this.engine.wal.stopWaiting();
    catalog.stopWaiting();
    await this.engine.wal.drain();
    await this.#stopRolling();
    await this.#work.idle();
    // Sealed, so that any damage to what was acknowledged is told from a torn tail.
    await this.engine.wal.seal();
    await this.engine.sync.save();
    this.engine.sync.stop();
    await catalog.flushed();
    this.engine.wal.close();
    await catalog.close();
    await store.close();
  }

  /** A store that does not answer must not hold up the stop: what is not rolled stays in the WAL. */
  async #stopRolling(): Promise<void> {
    const deadline = setTimeout(() => void this.#storage.store.close(), STORE_DRAIN_MS);
    await this.#roller.stop();
    clearTimeout(deadline);
  }

  /**
   * The catalog says that these segments are rolled, but a killed process may have left that in the page cache alone. A commit of
   * our own takes all before it to the disk; only then may they go.
   */
  async #discardReleased(): Promise<void> {
    const { catalog, recovered } = this.#storage;
    if (recovered.released.length === 0) return;
    const rolledLsn = catalog.meta("rolledLsn");
    if (rolledLsn !== undefined) await catalog.batch(() => catalog.setMeta("rolledLsn", rolledLsn));
    await catalog.flushed();
    for (const base of recovered.released) await this.engine.wal.discard(base);
  }

  #openEngine(settings: ShardSettings): Engine {
    const { id: shard, catalog, wal: storage, recovered } = this.#storage;
    const { clock, onFatal: fatal, faultPoint: fault } = this.#ports;
    const generation = Math.max(recovered.generation, catalog.meta("generation") ?? 0, catalog.streams.newest());
    return new Engine(
      {
        catalog,
        walBytesMax: settings.walBytesMax,
        restingStreamsMax: settings.restingStreamsMax,
        forkPoint: (...source) => this.reader.forkPoint(...source),
        openWal: (settle) =>
          new Wal(
            { storage, shard, ...settings },
            {
              settle,
              sealed: (segment) => this.#roller.enqueue(segment),
              shortOfRoom: (detail) => this.#shortOfRoom(detail),
              fatal,
              fault,
              clock,
            },
            recovered.wal,
          ),
        clock,
        log: this.#ports.log,
        ...(this.#ports.subscriptionPrefix === undefined ? {} : { subscriptionPrefix: this.#ports.subscriptionPrefix }),
        fatal,
        fault,
      },
      { streams: recovered.streams, subscriptions: recovered.subscriptions, generation },
    );
  }

  /** What can be had again goes first. */
  #shortOfRoom(detail: string): void {
    this.#storage.cache?.clear();
    this.#ports.log.warn(
      { detail },
      "the disk of the data directory is short of room; appends are refused with 507 until some is freed",
    );
  }

  #openRoller(): Roller {
    const { clock, random, log, onFatal, faultPoint: fault } = this.#ports;
    return new Roller({
      store: this.#storage.store,
      crc: crc32,
      writerId: this.#storage.id,
      identities: (id) => this.engine.identity(id),
      publish: (record) => this.#work.add(() => this.#publish(record)),
      release: (segment) => this.#release(segment.base),
      fault,
      clock,
      random,
      sleep: (ms) => sleep(ms),
      log,
      onFatal,
    });
  }

  async #release(base: Lsn): Promise<void> {
    const { store, readNow } = this.#storage;
    await this.engine.wal.release(base);
    // Records are for a start to come, which nothing in memory lives to see: they would only pile up.
    if (readNow !== null) await store.remove(rollKey(base));
  }

  #openReader({ chunkBytes }: ShardSettings): MergedReader {
    const { store, cache, readNow } = this.#storage;
    const hot = new WalReader(this.engine.wal);
    const immediate = {
      lengths: hot.lengthsNow.bind(hot),
      hot: hot.readNow.bind(hot),
    };
    return new MergedReader({
      store,
      crc: crc32,
      hot,
      cache,
      chunkMemoryBytesMax: COLD_MEMORY_BYTES_MAX,
      readAheadChunkBytes: chunkBytes,
      random: this.#ports.random,
      ...(readNow === null ? {} : { immediate: { ...immediate, cold: readNow } }),
    });
  }

  #openReaper({ objectGraceMs }: ShardSettings): Reaper {
    const { store, catalog } = this.#storage;
    const { clock, log, onFatal: fatal } = this.#ports;
    const collector = new Collector({
      store,
      due: (nowMs, limit) => catalog.objects.due(nowMs - objectGraceMs, limit),
      forget: (keys) => this.#work.add(() => forget(catalog, keys)),
      log,
    });
    return new Reaper({ engine: this.engine, catalog, collector, work: this.#work, clock, log, fatal });
  }

  /** Publishes a roll: after this resolves, and not before, its WAL segment may go (invariant 6). */
  async #publish(record: RollRecord): Promise<void> {
    const { engine } = this;
    const { catalog } = this.#storage;
    // What the segment says of streams must be in the catalog before its extents are.
    await engine.sync.save();
    await publishRoll(catalog, record, (id) => engine.isLive(id), this.#ports.clock());
    await catalog.flushed();
    catalog.recordSize();
    this.#ports.faultPoint("catalog.flushed");
    const slice = new TimeSlice();
    for (const { stream, end } of record.extents) {
      if (slice.over) await slice.rest();
      engine.cooled(stream, end);
    }
  }
}

/** Drops objects that are gone from the store. */
function forget(catalog: Catalog, keys: readonly string[]): Promise<void> {
  const counts = keys.map((key) => catalog.objects.load(key));
  return catalog.batch(() => {
    for (const [i, key] of keys.entries()) if (counts[i] !== undefined) catalog.objects.forget(key, counts[i]);
  });
}
