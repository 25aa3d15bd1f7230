/**
 * `coldbrook check`: reads everything that a stopped server keeps, verifies every checksum, and that everything referred to is
 * there and everything there is referred to. Changes nothing. Tests use it as their oracle.
 */
import fs from "node:fs";
import path from "node:path";
import { crc32 } from "node:zlib";
import { forkedFrom, lsn, ObjectStoreError, ownStart, sourceRuns, StreamError } from "@coldbrook/core";
import type { ColdExtent, Generation, Lsn, ObjectStore, RollRecord, StreamState } from "@coldbrook/core";
import { openObjectStore, readRolls, verifyCache, verifyObject } from "@coldbrook/tiering";
import { Catalog, CATALOG_VERSION } from "../catalog/catalog.ts";
import { checkSubscriptions } from "./check-subscriptions.ts";
import { fileDamage } from "../catalog/open-catalog.ts";
import { openDataDir } from "../data-dir.ts";
import type { DataDir } from "../data-dir.ts";
import type { Stream } from "../engine/stream.ts";
import { keysProblem } from "../subscriptions/server-keys.ts";
import type { ReplayedSubscription } from "../subscriptions/subscription-replay.ts";
import type { Settings } from "../settings.ts";
import { recover } from "../wal/recovery.ts";
import { DirectoryWalStorage } from "../wal/storage-directory.ts";

/** Prints a line for each finding, then a summary. Returns the exit code: 0 when all is sound, else 1. */
export async function check(settings: Settings, print: (line: string) => void): Promise<number> {
  const dataDir = await openDataDir(settings.dataDir);
  try {
    const store = await openObjectStore(settings.store, { dataDir: settings.dataDir });
    const checker = new Checker(dataDir, store, print);
    await checker.run();
    await store.close();
    const { findings, counts } = checker;
    print(
      `${findings === 0 ? "sound" : `${findings} findings`}: ${counts.streams} streams, ${counts.subscriptions} subscriptions, ${counts.extents} extents, ${counts.rolls} rolls, ${counts.objects} objects, ${counts.segments} WAL segments, ${counts.cacheFiles} cache files`,
    );
    return findings === 0 ? 0 : 1;
  } finally {
    dataDir.release();
  }
}

interface Replayed {
  readonly streams: Map<Generation, Stream>;
  readonly subscriptions: readonly ReplayedSubscription[];
}

class Checker {
  findings = 0;
  readonly counts = { streams: 0, subscriptions: 0, extents: 0, rolls: 0, objects: 0, segments: 0, cacheFiles: 0 };
  readonly #dataDir: DataDir;
  readonly #store: ObjectStore;
  readonly #print: (line: string) => void;
  readonly #extentsOfObject = new Map<string, number>();
  /** Objects that hold bytes of a stream that is not deleted. */
  readonly #needed = new Set<string>();
  /** Objects of a roll that is recorded and not yet published: the publication counts them, with its last transaction. */
  readonly #unpublished = new Set<string>();
  /** Objects that the catalog counts, with live extents or waiting to be collected. */
  readonly #counted = new Set<string>();

  constructor(dataDir: DataDir, store: ObjectStore, print: (line: string) => void) {
    this.#dataDir = dataDir;
    this.#store = store;
    this.#print = print;
  }

  async run(): Promise<void> {
    const keys = keysProblem(this.#dataDir.root);
    if (keys !== null) this.#found(keys);
    const cache = await verifyCache(this.#dataDir.cache);
    this.counts.cacheFiles = cache.files;
    for (const problem of cache.problems) this.#found(problem);
    const catalog = this.#openCatalog();
    const rolledLsn = await this.#rolls(catalog);
    if (catalog !== null) {
      const { streams, subscriptions } = await this.#wal(catalog, rolledLsn);
      this.#catalog(catalog, streams);
      this.#subscriptions(catalog, streams, subscriptions);
      this.#objects(catalog);
    }
    await this.#contents(catalog !== null);
    await catalog?.close();
  }

  #found(what: string): void {
    this.findings += 1;
    this.#print(what);
  }

  /** Runs a step; a fault is a finding. */
  #guard<T>(step: () => T): T | undefined {
    try {
      return step();
    } catch (error) {
      if (!(error instanceof StreamError)) throw error;
      this.#found(error.message);
      return undefined;
    }
  }

  #openCatalog(): Catalog | null {
    const { catalog: directory } = this.#dataDir;
    const file = path.join(directory, "data.mdb");
    if (!fs.existsSync(file)) {
      this.#found(`catalog ${directory} is missing; the next start rebuilds it`);
      return null;
    }
    const damage = fileDamage(directory);
    if (damage !== null) {
      this.#found(`${damage}; the next start rebuilds the catalog`);
      return null;
    }
    const catalog = Catalog.open(directory);
    const version = this.#guard(() => catalog.meta("version"));
    if (version === undefined || version > CATALOG_VERSION)
      this.#found(`catalog ${directory} has version ${version ?? "none"}, expected ${CATALOG_VERSION}`);
    return catalog;
  }

  /** Walks the chain of roll records; returns how far the catalog says they go. */
  async #rolls(catalog: Catalog | null): Promise<Lsn> {
    let end = 0;
    const rolledLsn = catalog === null ? null : (this.#guard(() => catalog.meta("rolledLsn")) ?? 0);
    await this.#eachRoll((record) => {
      this.counts.rolls += 1;
      end = record.end;
      if (rolledLsn !== null && record.base >= rolledLsn)
        for (const { key } of record.objects) this.#unpublished.add(key);
      if (record.writerId === this.#dataDir.shard) return;
      this.#found(`roll ${record.base} was written by shard ${record.writerId}`);
    });
    const rolled = rolledLsn ?? end;
    // A roll may be recorded and not yet published; the other way round, the catalog refers to what is not there.
    if (rolled > end) this.#found(`the catalog says LSN ${rolled} is rolled, the bucket's records end at ${end}`);
    return lsn(rolled);
  }

  /** Verifies every object. One that holds nothing of a live stream may be gone, if the catalog can tell. */
  async #contents(knowsLiving: boolean): Promise<void> {
    await this.#eachRoll(async (record) => {
      for (const { key } of record.objects) {
        if (knowsLiving && !this.#needed.has(key) && (await this.#store.size(key)) === undefined) continue;
        if (knowsLiving && this.#isLeftOver(key)) {
          this.#print(
            `note: object ${key} was deleted and is there again (an upload that the store was late with); nothing refers to it, and it may be removed`,
          );
          continue;
        }
        this.counts.objects += 1;
        for (const problem of await verifyObject(this.#store, crc32, key, record)) this.#found(problem);
      }
    });
  }

  /** The catalog forgets an object when it is deleted. What is in it then is nobody's, and need not be what the record says. */
  #isLeftOver(key: string): boolean {
    return !this.#counted.has(key) && !this.#extentsOfObject.has(key) && !this.#unpublished.has(key);
  }

  async #eachRoll(visit: (record: RollRecord) => void | Promise<void>): Promise<void> {
    try {
      for await (const record of readRolls(this.#store, crc32)) await visit(record);
    } catch (error) {
      if (!(error instanceof StreamError || error instanceof ObjectStoreError)) throw error;
      this.#found(error.message);
    }
  }

  async #wal(catalog: Catalog, rolledLsn: Lsn): Promise<Replayed> {
    const appliedLsn = lsn(this.#guard(() => catalog.meta("appliedLsn")) ?? 0);
    try {
      const { wal, shard } = this.#dataDir;
      const storage = new DirectoryWalStorage(wal);
      const replay = await recover({ storage, shard, catalog, rolledLsn, appliedLsn, repair: false });
      this.counts.segments = replay.wal.segments.length;
      if (replay.torn !== null) {
        const { file, at, bytes } = replay.torn;
        this.#print(
          `note: ${file} ends in a torn batch at position ${at} (${bytes} bytes, never acknowledged); the next start cuts it off`,
        );
      }
      const streams = new Map(replay.streams.map((stream) => [stream.pending.identity.id, stream]));
      return { streams, subscriptions: replay.subscriptions };
    } catch (error) {
      if (!(error instanceof StreamError)) throw error;
      this.#found(error.message);
      return { streams: new Map(), subscriptions: [] };
    }
  }

  #subscriptions(catalog: Catalog, streams: Map<Generation, Stream>, replayed: readonly ReplayedSubscription[]): void {
    const named = new Map<string, StreamState>();
    for (const { pending } of streams.values()) if (!pending.deleted) named.set(pending.identity.path, pending);
    const stream = (path: string): StreamState | undefined => {
      const known = named.get(path);
      if (known !== undefined) return known;
      const id = this.#guard(() => catalog.streams.find(path));
      return id === undefined || streams.has(id) ? undefined : this.#guard(() => catalog.streams.load(id));
    };
    this.counts.subscriptions = checkSubscriptions({
      catalog,
      replayed,
      stream,
      found: (what) => this.#found(what),
      guard: (step) => this.#guard(step),
    });
  }

  #catalog(catalog: Catalog, replayed: Map<Generation, Stream>): void {
    const states = new Map<Generation, StreamState>();
    for (const id of catalog.streams.ids()) {
      const state = this.#guard(() => catalog.streams.load(id as Generation));
      if (state === undefined) continue;
      states.set(state.identity.id, state);
      this.counts.streams += 1;
      const named = state.deleted ? id : this.#guard(() => catalog.streams.find(state.identity.path));
      if (named === id || replayed.get(state.identity.id)?.pending.deleted === true) continue;
      const leads = named === undefined ? "has no name in the catalog" : `has a name that leads to stream ${named}`;
      this.#found(`stream ${id} "${state.identity.path}" ${leads}`);
    }
    for (const name of catalog.streams.paths()) {
      const id = this.#guard(() => catalog.streams.find(name));
      if (id === undefined) continue;
      const known = states.get(id)?.identity.path;
      if (known === undefined) this.#found(`path "${name}" names stream ${id}, which is not there`);
      else if (known !== name) this.#found(`path "${name}" names stream ${id}, which is "${known}"`);
    }
    for (const { stream, id } of catalog.producers.all()) {
      this.#guard(() => catalog.producers.load(stream, id));
      if (!states.has(stream)) this.#found(`producer "${id}" belongs to stream ${stream}, which is not there`);
    }
    const isLive = (id: Generation): boolean => (replayed.get(id)?.pending ?? states.get(id))?.deleted === false;
    const coldEnds = this.#extents(catalog, states, isLive);
    for (const [id, state] of states)
      this.#coverage(
        id,
        replayed.get(id)?.pending ?? state,
        replayed.get(id),
        coldEnds.get(id) ?? ownStart(state.identity),
      );
    this.#forks(catalog, states, replayed);
  }

  /** Returns where each stream's cold bytes end; a gap between them is a finding. */
  #extents(
    catalog: Catalog,
    states: Map<Generation, StreamState>,
    isLive: (id: Generation) => boolean,
  ): Map<Generation, number> {
    const ends = new Map<Generation, number>();
    for (const { stream, start } of catalog.extents.keys()) {
      this.counts.extents += 1;
      const extent: ColdExtent | undefined = this.#guard(() => catalog.extents.load(stream, start));
      if (extent === undefined) continue;
      this.#extentsOfObject.set(extent.object, (this.#extentsOfObject.get(extent.object) ?? 0) + 1);
      if (isLive(stream)) this.#needed.add(extent.object);
      const state = states.get(stream);
      if (state === undefined) this.#found(`extent ${start} belongs to stream ${stream}, which is not there`);
      const before = ends.get(stream) ?? (state === undefined ? 0 : ownStart(state.identity));
      if (start !== before && state?.deleted === false) {
        this.#found(`stream ${stream}: cold bytes end at ${before}, the next extent starts at ${start}`);
      }
      ends.set(stream, extent.end);
    }
    return ends;
  }

  #coverage(id: Generation, state: StreamState, replayed: Stream | undefined, coldEnd: number): void {
    if (state.deleted) return;
    let end = coldEnd;
    for (const extent of replayed?.hot ?? []) {
      if (extent.start > end)
        this.#found(`stream ${id}: bytes ${end} to ${extent.start} are neither in the WAL nor in an object`);
      end = Math.max(end, extent.end);
    }
    if (end !== state.tail)
      this.#found(`stream ${id} "${state.identity.path}": bytes end at ${end}, its tail is ${state.tail}`);
  }

  /** Each fork has a source that is kept, with all the bytes that it inherits, and the catalog's list of forks says the same. */
  #forks(catalog: Catalog, states: Map<Generation, StreamState>, replayed: Map<Generation, Stream>): void {
    const latest = (id: Generation): StreamState | undefined => replayed.get(id)?.pending ?? states.get(id);
    const listed = new Set<string>();
    for (const { source, fork } of catalog.forks.all()) {
      listed.add(`${source}:${fork}`);
      const state = states.get(fork);
      // A link that nothing takes away any more keeps its source for ever.
      const isFork = state !== undefined && !state.deleted && forkedFrom(state.identity) === source;
      if (!isFork) this.#found(`stream ${fork}, listed as a fork of stream ${source}, is not there or not one`);
    }
    const softDeleted = new Set<Generation>();
    const kept = new Set<Generation>();
    for (const id of new Set([...states.keys(), ...replayed.keys()])) {
      const state = latest(id);
      if (state === undefined || state.deleted) continue;
      if (state.softDeleted) softDeleted.add(id);
      const source = forkedFrom(state.identity);
      if (source === null) continue;
      kept.add(source);
      if (states.has(id) && states.get(id)!.deleted === false && !listed.has(`${source}:${id}`)) {
        this.#found(`stream ${id} is a fork of stream ${source}, which does not list it`);
      }
      if (latest(source)?.deleted !== false) this.#found(`stream ${id}: its source ${source} is not there`);
      for (const run of sourceRuns(state.identity, 0, ownStart(state.identity))) {
        const holder = latest(run.stream);
        if (holder === undefined || holder.deleted || holder.tail < run.to) {
          this.#found(
            `stream ${id} inherits ${run.from} to ${run.to} of stream ${run.stream}, which does not have them`,
          );
        }
      }
    }
    for (const id of softDeleted) if (!kept.has(id)) this.#found(`stream ${id} is kept for forks, and has none`);
  }

  #objects(catalog: Catalog): void {
    for (const key of catalog.objects.keys()) {
      this.#counted.add(key);
      const count = this.#guard(() => catalog.objects.load(key));
      const referred = this.#extentsOfObject.get(key) ?? 0;
      if (count !== undefined && count.liveExtents !== referred) {
        this.#found(`object ${key} counts ${count.liveExtents} live extents, ${referred} refer to it`);
      }
      this.#extentsOfObject.delete(key);
    }
    for (const key of this.#extentsOfObject.keys()) {
      // The publication was cut off between its extents and its counts. Its WAL segment is still there, and the next start does it
      // again; until then nothing counts the object, so that the collector does not know it either.
      if (this.#unpublished.has(key)) continue;
      this.#found(`extents refer to object ${key}, which the catalog does not count`);
    }
  }
}
