/** Opens the shard of a data directory: its store is probed and claimed, its catalog opened or made anew, its WAL read back. */
import { randomBytes } from "node:crypto";
import { lsn } from "@coldbrook/core";
import type { ObjectStore } from "@coldbrook/core";
import { ChunkCache, probeStore } from "@coldbrook/tiering";
import type { Catalog } from "./catalog/catalog.ts";
import { openCatalog } from "./catalog/open-catalog.ts";
import type { OpenedCatalog } from "./catalog/open-catalog.ts";
import { rebuildCatalog } from "./catalog/rebuild.ts";
import { claimPrefix } from "./claim.ts";
import type { DataDir } from "./data-dir.ts";
import type { Settings } from "./settings.ts";
import { Shard } from "./shard.ts";
import type { ShardPorts, ShardSettings } from "./shard.ts";
import { recover } from "./wal/recovery.ts";
import { DirectoryWalStorage } from "./wal/storage-directory.ts";

/** @throws Error that says which file or promise of the store stands in the way */
export async function openShard(
  settings: ShardSettings & Pick<Settings, "cacheBytesMax">,
  ports: ShardPorts,
  dataDir: DataDir,
  store: ObjectStore,
): Promise<Shard> {
  await probeStore(store, { unique: probeName(dataDir.shard) });
  const opened = await openCatalog(dataDir.catalog);
  try {
    await claimAndRebuild(opened, ports, dataDir, store);
    return await startShard(settings, ports, { dataDir, store, catalog: opened.catalog });
  } catch (error) {
    // Whoever tries again must not meet a catalog that this start has open still.
    await opened.catalog.close();
    throw error;
  }
}

/**
 * Drawn anew for each start: pids are used again, the first process of a container always has the same one, and a write of an earlier
 * start's probe may reach the store late.
 */
function probeName(shard: string): string {
  return `${shard}-${randomBytes(8).toString("hex")}`;
}

async function startShard(
  settings: ShardSettings & Pick<Settings, "cacheBytesMax">,
  ports: ShardPorts,
  { dataDir, store, catalog }: { dataDir: DataDir; store: ObjectStore; catalog: Catalog },
): Promise<Shard> {
  const { log } = ports;
  const { shard: id } = dataDir;
  const wal = new DirectoryWalStorage(dataDir.wal);
  const recovered = await recover({
    storage: wal,
    shard: id,
    catalog,
    rolledLsn: lsn(catalog.meta("rolledLsn") ?? 0),
    appliedLsn: lsn(catalog.meta("appliedLsn") ?? 0),
    repair: true,
  });
  if (recovered.torn !== null)
    log.warn(recovered.torn, "a torn batch at the end of the WAL, never acknowledged, was cut off");
  let shard: Shard | null = null;
  const cache = await ChunkCache.open({
    directory: dataDir.cache,
    bytesMax: settings.cacheBytesMax,
    mayGrow: (bytes) => shard?.engine.wal.isShortOfRoom(bytes) !== true,
    log,
  });
  shard = new Shard(settings, ports, { id, catalog, wal, store, readNow: null, cache, recovered });
  await shard.start();
  return shard;
}

async function claimAndRebuild(
  { catalog, isEmpty, damage, movedTo }: OpenedCatalog,
  { log, clock }: ShardPorts,
  dataDir: DataDir,
  store: ObjectStore,
): Promise<void> {
  await claimPrefix(store, dataDir.shard, (catalog.meta("rolledLsn") ?? 0) > 0);
  if (damage !== null) log.warn({ damage, movedTo }, "the catalog cannot be used and is rebuilt");
  if (isEmpty) {
    const rebuilt = await rebuildCatalog(catalog, store, clock());
    if (!dataDir.isNew)
      log.info({ ...rebuilt }, "the catalog was rebuilt from the object store; the WAL is replayed next");
  }
}
