/** One shard's hot tier on a temporary directory, with a manual clock and a memory store: for the tests of its parts. */
import fs from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { crc32 } from "node:zlib";
import { lsn, type CreateRequest, type SealedSegment, type StreamState } from "@coldbrook/core";
import { ChunkCache, MemoryObjectStore, MergedReader, Roller } from "@coldbrook/tiering";
import type { Catalog } from "../src/catalog/catalog.ts";
import { openCatalog } from "../src/catalog/open-catalog.ts";
import { rebuildCatalog } from "../src/catalog/rebuild.ts";
import { Engine } from "../src/engine/engine.ts";
import type { AppendInput, AppendResult } from "../src/engine/write-path.ts";
import { SILENT } from "../src/log.ts";
import { publishRoll } from "../src/engine/publisher.ts";
import { StreamReader } from "../src/engine/stream-reader.ts";
import { recover, type Recovery } from "../src/wal/recovery.ts";
import type { StorageSpace } from "../src/wal/storage.ts";
import { DirectoryWalStorage } from "../src/wal/storage-directory.ts";
import { Wal } from "../src/wal/wal.ts";
import { WalReader } from "../src/wal/wal-reader.ts";

export const SHARD = "0123456789abcdef";
export const START_MS = 1_700_000_000_000;

export interface ShardOptions {
  readonly segmentBytes: number;
  readonly walBytesMax: number;
  readonly chunkBytes: number;
  readonly diskReserveBytes: number;
  /** What the disk says of its room; the real one when left out. */
  readonly space?: () => StorageSpace;
}

/** A temporary directory that goes with its scope. */
export async function temporaryDirectory(): Promise<{ path: string } & AsyncDisposable> {
  const directory = await mkdtemp(path.join(tmpdir(), "coldbrook-"));
  return { path: directory, [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }) };
}

/** Lets everything run that is ready before the next turn of the event loop: no commit starts meanwhile. */
export async function microtasks(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

/** Waits, turn by turn, for something that disk and threads bring about. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve));
}

export function ask(request: Partial<CreateRequest> = {}): CreateRequest {
  return { contentType: "text/plain", ttlSeconds: null, expiresAtMs: null, closed: false, ...request };
}

export class Shard {
  nowMs: number = START_MS;
  /** Fatal faults that were reported. */
  readonly fatal: Error[] = [];
  readonly sealed: SealedSegment[] = [];
  readonly shortages: string[] = [];
  readonly store: MemoryObjectStore;
  readonly root: string;
  readonly options: ShardOptions;
  catalog!: Catalog;
  engine!: Engine;
  reader!: StreamReader;
  recovery!: Recovery;
  #open = false;

  private constructor(root: string, store: MemoryObjectStore, options: ShardOptions) {
    this.root = root;
    this.store = store;
    this.options = options;
  }

  static async create(options: Partial<ShardOptions> = {}): Promise<Shard> {
    const root = await mkdtemp(path.join(tmpdir(), "coldbrook-"));
    const shard = new Shard(root, new MemoryObjectStore(), {
      segmentBytes: 1 << 26,
      walBytesMax: 1 << 30,
      chunkBytes: 1 << 20,
      diskReserveBytes: 0,
      ...options,
    });
    fs.mkdirSync(shard.walDirectory);
    await shard.start();
    return shard;
  }

  get walDirectory(): string {
    return path.join(this.root, "wal");
  }

  get catalogDirectory(): string {
    return path.join(this.root, "catalog");
  }

  clock = (): number => this.nowMs;

  async start(): Promise<void> {
    const { catalog, isEmpty } = await openCatalog(this.catalogDirectory);
    this.catalog = catalog;
    this.#open = true;
    if (isEmpty) await rebuildCatalog(catalog, this.store, this.nowMs);
    this.recovery = await this.recover(true);
    const recovered = this.recovery;
    this.engine = new Engine(
      {
        catalog,
        walBytesMax: this.options.walBytesMax,
        forkPoint: (...source) => this.reader.forkPoint(...source),
        openWal: (settle) =>
          new Wal(
            {
              storage: this.#walStorage(),
              shard: SHARD,
              segmentAgeMs: 86_400_000,
              ...this.options,
            },
            {
              settle,
              sealed: (segment) => this.sealed.push(segment),
              shortOfRoom: (detail) => this.shortages.push(detail),
              fatal: this.#fail,
              fault: () => undefined,
              clock: this.clock,
            },
            recovered.wal,
          ),
        clock: this.clock,
        fatal: this.#fail,
        fault: () => undefined,
      },
      {
        streams: recovered.streams,
        subscriptions: recovered.subscriptions,
        generation: Math.max(recovered.generation, catalog.meta("generation") ?? 0, catalog.streams.newest()),
      },
    );
    const merged = new MergedReader({
      store: this.store,
      crc: crc32,
      hot: new WalReader(this.engine.wal),
      cache: await ChunkCache.open({ directory: path.join(this.root, "cache"), bytesMax: 0, log: SILENT }),
      chunkMemoryBytesMax: 0,
    });
    this.reader = new StreamReader(this.engine, merged, this.options.chunkBytes);
    for (const base of recovered.released) await this.engine.wal.discard(base);
    this.sealed.length = 0;
    this.engine.wal.announceRecovered();
  }

  #walStorage(): DirectoryWalStorage {
    const storage = new DirectoryWalStorage(this.walDirectory);
    const { space } = this.options;
    return space === undefined ? storage : Object.assign(storage, { space });
  }

  recover(repair: boolean): Promise<Recovery> {
    const { catalog } = this;
    return recover({
      storage: new DirectoryWalStorage(this.walDirectory),
      shard: SHARD,
      catalog,
      rolledLsn: lsn(catalog.meta("rolledLsn") ?? 0),
      appliedLsn: lsn(catalog.meta("appliedLsn") ?? 0),
      repair,
    });
  }

  /** Ends without saving or sealing anything; all that is left is on disk. */
  async stop(): Promise<void> {
    if (!this.#open) return;
    this.#open = false;
    await this.engine.wal.drain();
    this.engine.sync.stop();
    this.engine.wal.close();
    await this.catalog.close();
  }

  /** What a killed process and its successor do. */
  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await rm(this.root, { recursive: true, force: true });
  }

  /** Rolls every sealed segment, as the composition root does. */
  async roll(): Promise<void> {
    await this.engine.wal.seal();
    const roller = new Roller({
      store: this.store,
      crc: crc32,
      writerId: SHARD,
      identities: (id) => this.engine.identity(id),
      publish: async (record) => {
        await this.engine.sync.save();
        await publishRoll(this.catalog, record, (id) => this.engine.isLive(id), this.nowMs);
        await this.catalog.flushed();
        for (const extent of record.extents) this.engine.cooled(extent.stream, extent.end);
      },
      release: (segment) => this.engine.wal.release(segment.base),
      fault: () => undefined,
      clock: this.clock,
      random: () => 0.5,
      sleep: () => Promise.resolve(),
      log: { info: () => undefined, warn: () => undefined },
      onFatal: this.#fail,
    });
    for (const segment of this.sealed.splice(0)) roller.enqueue(segment);
    await roller.idle();
  }

  append(name: string, text: string, more: Partial<AppendInput> = {}): Promise<AppendResult> {
    const contentType = this.engine.find(name)?.state.identity.config.contentType ?? "text/plain";
    const body = Buffer.from(text);
    return this.engine.append(name, { contentType, body, close: false, producer: null, streamSeq: null, ...more });
  }

  async create(name: string, text = "", request: Partial<CreateRequest> = {}): Promise<StreamState> {
    const result = await this.engine.create(name, ask(request), Buffer.from(text));
    if (result.kind !== "created") throw new Error(`not created: ${result.kind}`);
    return result.state;
  }

  /** The durable bytes that the WAL holds of the stream, from memory. */
  hotText(name: string): string {
    const hot = this.engine.find(name)?.stream.hot ?? [];
    return Buffer.concat(hot.map((extent) => extent.memory ?? Buffer.from("?"))).toString();
  }

  /** Names and bytes of all WAL files. */
  walFiles(): Map<string, Buffer> {
    const names = fs.readdirSync(this.walDirectory).sort();
    return new Map(names.map((name) => [name, fs.readFileSync(path.join(this.walDirectory, name))]));
  }

  restoreWal(files: ReadonlyMap<string, Uint8Array>): void {
    for (const name of fs.readdirSync(this.walDirectory)) fs.rmSync(path.join(this.walDirectory, name));
    for (const [name, bytes] of files) fs.writeFileSync(path.join(this.walDirectory, name), bytes);
  }

  readonly #fail = (error: Error): void => {
    this.fatal.push(error);
  };
}
