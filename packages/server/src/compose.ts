/** The composition root: settings and components in, a serving Coldbrook out. Every part is made here and nowhere else. */
import type { Server } from "node:http";
import { setMaxListeners } from "node:events";
import type { AddressInfo } from "node:net";
import { setImmediate as nextTurn, setTimeout as sleep } from "node:timers/promises";
import { crc32 } from "node:zlib";
import { COLD_MEMORY_BYTES_MAX, lsn } from "@coldbrook/core";
import type { Clock, FaultPoint, ObjectStore, Random, RollRecord } from "@coldbrook/core";
import { ChunkCache, Collector, MergedReader, openObjectStore, probeStore, Roller } from "@coldbrook/tiering";
import type { Catalog } from "./catalog/catalog.ts";
import { openCatalog } from "./catalog/open-catalog.ts";
import { rebuildCatalog } from "./catalog/rebuild.ts";
import { claimPrefix } from "./claim.ts";
import { openDataDir } from "./data-dir.ts";
import type { DataDir } from "./data-dir.ts";
import { CatalogWork } from "./engine/catalog-work.ts";
import { Engine } from "./engine/engine.ts";
import { publishRoll } from "./engine/publisher.ts";
import { Reaper } from "./engine/reaper.ts";
import { StreamReader } from "./engine/stream-reader.ts";
import { BodyReceiver } from "./http/body.ts";
import type { Phase } from "./http/health.ts";
import { createHttpServer } from "./http/server.ts";
import type { HttpContext } from "./http/server.ts";
import type { Log } from "./log.ts";
import { SILENT } from "./log.ts";
import type { Settings } from "./settings.ts";
import { recover } from "./wal/recovery.ts";
import { Wal } from "./wal/wal.ts";
import { WalReader } from "./wal/wal-reader.ts";

/** How long a stop waits for requests under way. */
const DRAIN_MS = 10_000;

/** How long it waits for an upload under way. */
const STORE_DRAIN_MS = 5_000;

/** Extents that become cold in one turn of the event loop. */
const COOLED_PER_TURN = 1_000;

/** What is injected and is not a setting. */
export interface Components {
  readonly store?: ObjectStore;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly faultPoint?: FaultPoint;
  readonly log?: Log;
  /** Called when the server can no longer keep its promises; must end the process. */
  readonly onFatal?: (error: Error) => void;
}

export interface Coldbrook {
  readonly url: string;
  readonly engine: Engine;
  /** Stops accepting, ends live readers politely, flushes and seals. */
  close(): Promise<void>;
}

type Ports = Required<Omit<Components, "store">>;

/** @throws Error that says which setting, file or promise of the store stands in the way */
export async function startColdbrook(settings: Settings, components: Components = {}): Promise<Coldbrook> {
  const ports: Ports = {
    clock: components.clock ?? Date.now,
    random: components.random ?? Math.random,
    faultPoint: components.faultPoint ?? ((): void => undefined),
    log: components.log ?? SILENT,
    onFatal:
      components.onFatal ??
      ((error): never => {
        throw error;
      }),
  };
  const dataDir = await openDataDir(settings.dataDir);
  let phase: Phase = "starting";
  let serving: Serving | null = null;
  const http = createHttpServer({
    context: () => (phase === "ok" ? (serving?.context ?? null) : null),
    health: { phase: () => phase, facts: () => serving?.facts() ?? {} },
    streamRoot: settings.streamRoot,
    log: ports.log,
  });
  try {
    const url = await listen(http, settings);
    const store = components.store ?? (await openObjectStore(settings.store, { dataDir: settings.dataDir }));
    serving = await Serving.open(settings, ports, dataDir, store);
    phase = "ok";
    const opened = serving;
    return {
      url,
      engine: opened.engine,
      close: async (): Promise<void> => {
        phase = "draining";
        await drain(http, opened);
        await opened.close();
        dataDir.release();
      },
    };
  } catch (error) {
    http.closeAllConnections();
    http.close();
    dataDir.release();
    throw error;
  }
}

/** Everything behind HTTP. */
class Serving {
  readonly context: HttpContext;
  readonly engine: Engine;
  readonly draining = new AbortController();
  readonly #catalog: Catalog;
  readonly #store: ObjectStore;
  readonly #roller: Roller;
  readonly #reaper: Reaper;
  readonly #work: CatalogWork;

  private constructor(settings: Settings, ports: Ports, parts: ServingParts) {
    const { catalog, store, engine, roller, reaper, work, reader } = parts;
    this.engine = engine;
    this.#catalog = catalog;
    this.#store = store;
    this.#roller = roller;
    this.#reaper = reaper;
    this.#work = work;
    // One listener for each live reader; they are bounded with the waiters.
    setMaxListeners(0, this.draining.signal);
    this.context = {
      engine,
      reader,
      bodies: new BodyReceiver(settings.bodyBytesMax),
      clock: ports.clock,
      random: ports.random,
      streamRoot: settings.streamRoot,
      longPollMs: settings.longPollMs,
      sseMs: settings.sseMs,
      draining: this.draining.signal,
    };
  }

  static async open(settings: Settings, ports: Ports, dataDir: DataDir, store: ObjectStore): Promise<Serving> {
    const { log, clock } = ports;
    await probeStore(store, { unique: `${dataDir.shard}-${process.pid}` });
    const opened = await openCatalog(dataDir.catalog);
    const { catalog } = opened;
    await claimPrefix(store, dataDir.shard, (catalog.meta("rolledLsn") ?? 0) > 0);
    if (opened.damage !== null)
      log.warn({ damage: opened.damage, movedTo: opened.movedTo }, "the catalog cannot be used and is rebuilt");
    if (opened.isEmpty) {
      const rebuilt = await rebuildCatalog(catalog, store, clock());
      if (!dataDir.isNew)
        log.info({ ...rebuilt }, "the catalog was rebuilt from the object store; the WAL is replayed next");
    }
    return new Serving(settings, ports, await openParts(settings, ports, dataDir, store, catalog));
  }

  facts(): Record<string, number | string> {
    const { engine } = this;
    return {
      unrolledBytes: engine.wal.unrolledBytes,
      walSegments: engine.wal.segmentCount,
      segmentsToRoll: this.#roller.pendingSegments,
      bodiesHeldBytes: this.context.bodies.heldBytes,
      bodiesInFlightBytes: this.context.reader.inFlightBytes,
      ...engine.stats,
    };
  }

  async close(): Promise<void> {
    await this.#reaper.stop();
    await this.engine.wal.drain();
    await this.#stopRolling();
    await this.#work.idle();
    // Sealed, so that any damage to what was acknowledged is told from a torn tail.
    await this.engine.wal.seal();
    await this.engine.sync.save();
    this.engine.sync.stop();
    await this.#catalog.flushed();
    this.engine.wal.close();
    await this.#catalog.close();
    await this.#store.close();
  }

  /** A store that does not answer must not hold up the stop: what is not rolled stays in the WAL. */
  async #stopRolling(): Promise<void> {
    const deadline = setTimeout(() => void this.#store.close(), STORE_DRAIN_MS);
    await this.#roller.stop();
    clearTimeout(deadline);
  }
}

interface ServingParts {
  readonly catalog: Catalog;
  readonly store: ObjectStore;
  readonly engine: Engine;
  readonly roller: Roller;
  readonly reaper: Reaper;
  readonly work: CatalogWork;
  readonly reader: StreamReader;
}

async function openParts(
  settings: Settings,
  ports: Ports,
  dataDir: DataDir,
  store: ObjectStore,
  catalog: Catalog,
): Promise<ServingParts> {
  const { log, clock, random, faultPoint: fault, onFatal: fatal } = ports;
  const recovered = await recover({
    directory: dataDir.wal,
    shard: dataDir.shard,
    catalog,
    rolledLsn: lsn(catalog.meta("rolledLsn") ?? 0),
    appliedLsn: lsn(catalog.meta("appliedLsn") ?? 0),
    repair: true,
  });
  if (recovered.torn !== null)
    log.warn(recovered.torn, "a torn batch at the end of the WAL, never acknowledged, was cut off");
  const work = new CatalogWork();
  const engine: Engine = new Engine(
    {
      catalog,
      walBytesMax: settings.walBytesMax,
      openWal: (settle) =>
        new Wal(
          { directory: dataDir.wal, shard: dataDir.shard, ...settings },
          { settle, sealed: (segment) => roller.enqueue(segment), fatal, fault, clock },
          recovered.wal,
        ),
      clock,
      fatal,
      fault,
    },
    {
      streams: recovered.streams,
      generation: Math.max(recovered.generation, catalog.meta("generation") ?? 0, catalog.streams.newest()),
    },
  );
  const roller: Roller = new Roller({
    store,
    crc: crc32,
    writerId: dataDir.shard,
    identities: (id) => engine.identity(id),
    publish: (record) => work.add(() => publish(engine, catalog, record, clock, fault)),
    release: (segment) => engine.wal.release(segment.base),
    fault,
    clock,
    random,
    sleep: (ms) => sleep(ms),
    log,
    onFatal: fatal,
  });
  for (const base of recovered.released) await engine.wal.discard(base);
  const cache = await ChunkCache.open({ directory: dataDir.cache, bytesMax: settings.cacheBytesMax, log });
  const merged = new MergedReader({
    store,
    crc: crc32,
    hot: new WalReader(engine.wal),
    cache,
    chunkMemoryBytesMax: COLD_MEMORY_BYTES_MAX,
    random,
  });
  const collector = new Collector({
    store,
    due: (nowMs, limit) => catalog.objects.due(nowMs - settings.objectGraceMs, limit),
    forget: (keys) => work.add(() => forget(catalog, keys)),
    log,
  });
  const reaper = new Reaper({ engine, catalog, collector, work, clock, log, fatal });
  engine.wal.announceRecovered();
  reaper.start();
  return {
    catalog,
    store,
    engine,
    roller,
    reaper,
    work,
    reader: new StreamReader(engine, merged, settings.chunkBytes),
  };
}

/** Publishes a roll: after this resolves, and not before, its WAL segment may go (invariant 6). */
async function publish(
  engine: Engine,
  catalog: Catalog,
  record: RollRecord,
  clock: Clock,
  fault: FaultPoint,
): Promise<void> {
  // What the segment says of streams must be in the catalog before its extents are.
  await engine.sync.save();
  await publishRoll(catalog, record, (id) => engine.isLive(id), clock());
  await catalog.flushed();
  catalog.recordSize();
  fault("catalog.flushed");
  for (const [i, extent] of record.extents.entries()) {
    if (i % COOLED_PER_TURN === 0) await nextTurn();
    engine.cooled(extent.stream, extent.end);
  }
}

/** Drops objects that are gone from the store. */
function forget(catalog: Catalog, keys: readonly string[]): Promise<void> {
  const counts = keys.map((key) => catalog.objects.load(key));
  return catalog.batch(() => {
    for (const [i, key] of keys.entries()) if (counts[i] !== undefined) catalog.objects.forget(key, counts[i]);
  });
}

function listen(http: Server, settings: Settings): Promise<string> {
  return new Promise((resolve, reject) => {
    http.once("error", (error) =>
      reject(new Error(`--host ${settings.host} --port ${settings.port}: cannot listen (${error.message})`)),
    );
    http.listen(settings.port, settings.host, 4096, () => {
      const { address, port, family } = http.address() as AddressInfo;
      resolve(`http://${family === "IPv6" ? `[${address}]` : address}:${port}`);
    });
  });
}

async function drain(http: Server, serving: Serving): Promise<void> {
  const closed = new Promise<void>((resolve) => http.close(() => resolve()));
  serving.draining.abort();
  http.closeIdleConnections();
  const deadline = setTimeout(() => http.closeAllConnections(), DRAIN_MS);
  const idle = setInterval(() => http.closeIdleConnections(), 50);
  await closed;
  clearTimeout(deadline);
  clearInterval(idle);
}
