/** `coldbrook rebuild`: a stopped server's catalog, made anew. The old one is moved aside. */
import fs from "node:fs";
import { lsn } from "@coldbrook/core";
import { openObjectStore } from "@coldbrook/tiering";
import { openCatalog, setAside } from "../catalog/open-catalog.ts";
import { rebuildCatalog } from "../catalog/rebuild.ts";
import { claimPrefix } from "../claim.ts";
import { openDataDir } from "../data-dir.ts";
import type { Settings } from "../settings.ts";
import { recover } from "../wal/recovery.ts";
import { DirectoryWalStorage } from "../wal/storage-directory.ts";

/** @throws Error that says what stands in the way; then nothing was lost */
export async function rebuild(settings: Settings, print: (line: string) => void): Promise<number> {
  const dataDir = await openDataDir(settings.dataDir);
  try {
    const store = await openObjectStore(settings.store, { dataDir: settings.dataDir });
    await claimPrefix(store, dataDir.shard, !dataDir.isNew);
    if (fs.existsSync(dataDir.catalog)) print(`the old catalog is kept as ${setAside(dataDir.catalog)}`);
    const { catalog } = await openCatalog(dataDir.catalog);
    const { rolls, rolledLsn } = await rebuildCatalog(catalog, store, Date.now());
    print(`${rolls} rolls of ${store.name} are in the new catalog, up to LSN ${rolledLsn}`);
    const at = lsn(rolledLsn);
    const replay = await recover({
      storage: new DirectoryWalStorage(dataDir.wal),
      shard: dataDir.shard,
      catalog,
      rolledLsn: at,
      appliedLsn: at,
      repair: false,
    });
    print(`${replay.wal.segments.length} WAL segments are sound; the next start replays them`);
    catalog.recordSize();
    await catalog.close();
    await store.close();
    return 0;
  } finally {
    dataDir.release();
  }
}
