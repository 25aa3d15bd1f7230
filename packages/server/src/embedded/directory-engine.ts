/** The engine of a data directory without HTTP: WAL and catalog in the directory, objects below `objects` in it. */
import path from "node:path";
import type { Clock } from "@coldbrook/core";
import { openObjectStore } from "@coldbrook/tiering";
import { openDataDir } from "../data-dir.ts";
import type { DataDir } from "../data-dir.ts";
import type { Engine } from "../engine/engine.ts";
import type { StreamReader } from "../engine/stream-reader.ts";
import { SILENT } from "../log.ts";
import { openShard } from "../open-shard.ts";
import { readSettings } from "../settings.ts";
import { CHUNK_BYTES } from "./engine-face.ts";
import type { Shard, ShardPorts } from "../shard.ts";
import { openKeys } from "../subscriptions/server-keys.ts";
import type { ServerKeys } from "../subscriptions/server-keys.ts";
import { SUBSCRIPTION_PREFIX } from "./store-path.ts";

const PORTS: ShardPorts = {
  clock: Date.now,
  random: Math.random,
  faultPoint: () => undefined,
  log: SILENT,
  subscriptionPrefix: SUBSCRIPTION_PREFIX,
  // A log that cannot be written any more must not acknowledge anything: the program ends here unless it catches this.
  onFatal: (error) => {
    throw error;
  },
};

export class DirectoryEngine {
  readonly shard: Shard;
  readonly keys: ServerKeys;
  readonly clock: Clock = PORTS.clock;
  readonly #dataDir: DataDir;

  private constructor(dataDir: DataDir, keys: ServerKeys, shard: Shard) {
    this.#dataDir = dataDir;
    this.keys = keys;
    this.shard = shard;
  }

  /** Makes the directory if it is missing. @throws Error that says which file stands in the way, or who has the directory */
  static async open(directory: string): Promise<DirectoryEngine> {
    const settings = { ...readSettings([`--data-dir=${directory}`], {}), chunkBytes: CHUNK_BYTES };
    const dataDir = await openDataDir(directory);
    try {
      const store = await openObjectStore(`file:${path.join(directory, "objects")}`, { dataDir: directory });
      const keys = openKeys(directory);
      return new DirectoryEngine(dataDir, keys, await openShard(settings, PORTS, dataDir, store));
    } catch (error) {
      dataDir.release();
      throw error;
    }
  }

  get engine(): Engine {
    return this.shard.engine;
  }

  get reader(): StreamReader {
    return this.shard.reader;
  }

  /** Flushes, seals, and gives the directory free. */
  async close(): Promise<void> {
    await this.shard.close();
    this.#dataDir.release();
  }
}
