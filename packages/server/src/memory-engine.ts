/**
 * The engine with everything in memory, for as long as the value lives: WAL, catalog and object store, with the real roller and
 * reaper behind them, so that what is deleted is given back. What is committed is committed at once, and on request in the
 * very turn (`createNow` and its kin). Nothing is on disk, and no timer keeps the process alive.
 */
import { randomBytes } from "node:crypto";
import { lsn } from "@coldbrook/core";
import { MemoryObjectStore } from "@coldbrook/tiering";
import { Catalog } from "./catalog/catalog.ts";
import type { Engine } from "./engine/engine.ts";
import type { StreamReader } from "./engine/stream-reader.ts";
import { SILENT } from "./log.ts";
import { Shard } from "./shard.ts";
import type { ShardPorts, ShardSettings } from "./shard.ts";
import type { Recovery } from "./wal/recovery.ts";
import { MemoryWalStorage } from "./wal/storage-memory.ts";

/** A segment's bytes are held twice while it is rolled, and those of deleted streams until it is. */
const SEGMENT_BYTES = 8 * 1024 * 1024;
const SEGMENT_AGE_MS = 60_000;
const CHUNK_BYTES = 1024 * 1024;
/** The catalog has every stream in memory already, and a program may make many engines. */
const RESTING_STREAMS_MAX = 256;

export type MemoryEngineOptions = Partial<
  Pick<ShardSettings, "segmentBytes" | "segmentAgeMs" | "walBytesMax" | "chunkBytes"> & ShardPorts
>;

export interface MemoryEngine {
  readonly engine: Engine;
  readonly reader: StreamReader;
  readonly clock: ShardPorts["clock"];
  readonly shard: Shard;
  /** Bytes in WAL segments and in objects. */
  storedBytes(): { readonly wal: number; readonly objects: number };
  close(): Promise<void>;
}

const NEW: Recovery = {
  streams: [],
  subscriptions: [],
  wal: { segments: [], next: lsn(0), reuseNext: false },
  generation: 0,
  released: [],
  torn: null,
};

export function openMemoryEngine(options: MemoryEngineOptions = {}): MemoryEngine {
  const ports: ShardPorts = {
    clock: options.clock ?? Date.now,
    random: options.random ?? Math.random,
    faultPoint: options.faultPoint ?? ((): void => undefined),
    log: options.log ?? SILENT,
    ...(options.subscriptionPrefix === undefined ? {} : { subscriptionPrefix: options.subscriptionPrefix }),
    onFatal:
      options.onFatal ??
      ((error): never => {
        throw error;
      }),
  };
  const settings: ShardSettings = {
    segmentBytes: options.segmentBytes ?? SEGMENT_BYTES,
    segmentAgeMs: options.segmentAgeMs ?? SEGMENT_AGE_MS,
    // Whoever writes without a pause leaves the roller no turn to drain a budget in, and nothing would be saved by refusing.
    walBytesMax: options.walBytesMax ?? Number.MAX_SAFE_INTEGER,
    diskReserveBytes: 0,
    chunkBytes: options.chunkBytes ?? CHUNK_BYTES,
    // Only a read that is under way while its stream is deleted would profit; it is cut short.
    objectGraceMs: 0,
    restingStreamsMax: RESTING_STREAMS_MAX,
  };
  const wal = new MemoryWalStorage();
  const store = new MemoryObjectStore();
  const shard = new Shard(settings, ports, {
    id: randomBytes(8).toString("hex"),
    catalog: Catalog.inMemory(),
    wal,
    store,
    readNow: store.readNow.bind(store),
    cache: null,
    recovered: NEW,
  });
  shard.startNow();
  return {
    engine: shard.engine,
    reader: shard.reader,
    clock: ports.clock,
    shard,
    storedBytes: () => ({ wal: wal.bytes, objects: store.bytes }),
    close: () => shard.close(),
  };
}
