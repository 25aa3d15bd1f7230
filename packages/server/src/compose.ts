/** The composition root: settings and components in, a serving Coldbrook out. */
import type { Duplex } from "node:stream";
import type { ObjectStore } from "@coldbrook/core";
import { openObjectStore } from "@coldbrook/tiering";
import { openDataDir } from "./data-dir.ts";
import type { Engine } from "./engine/engine.ts";
import { HttpFront } from "./http-front.ts";
import { SILENT } from "./log.ts";
import { openMemoryEngine } from "./memory-engine.ts";
import { openShard } from "./open-shard.ts";
import type { Settings } from "./settings.ts";
import type { Shard, ShardPorts } from "./shard.ts";
import { generateKeys, openKeys } from "./subscriptions/server-keys.ts";
import type { ServerKeys } from "./subscriptions/server-keys.ts";
import { SubscriptionHost } from "./subscriptions/subscription-host.ts";

/** What is injected and is not a setting. */
export interface Components extends Partial<ShardPorts> {
  /** "memory": streams live as long as the server; no data directory and no object store is used. */
  readonly storage?: "disk" | "memory";
  readonly store?: ObjectStore;
  /** False: no port is taken, and requests come by `connect` alone. */
  readonly listen?: boolean;
}

export interface Coldbrook {
  /** Without a slash at its end; empty when no port is taken. */
  readonly url: string;
  readonly engine: Engine;
  /** The client's end of a new connection inside of this process, to speak HTTP over; null when the server takes no more. */
  connect(): Duplex | null;
  /** Stops accepting, ends live readers politely, flushes and seals. */
  close(): Promise<void>;
}

/** @throws Error that says which setting, file or promise of the store stands in the way */
export async function startColdbrook(settings: Settings, components: Components = {}): Promise<Coldbrook> {
  const ports: ShardPorts = {
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
  const options = { listen: components.listen ?? true };
  if (components.storage === "memory") {
    const front = await HttpFront.listen(settings, ports, options);
    try {
      const { shard } = openMemoryEngine({ ...settings, ...ports });
      return serve(settings, ports, { front, shard, keys: generateKeys() }, () => undefined);
    } catch (error) {
      front.abandon();
      throw error;
    }
  }
  const dataDir = await openDataDir(settings.dataDir);
  let front: HttpFront | null = null;
  try {
    front = await HttpFront.listen(settings, ports, options);
    const store = components.store ?? (await openObjectStore(settings.store, { dataDir: settings.dataDir }));
    const keys = openKeys(settings.dataDir);
    const shard = await openShard(settings, ports, dataDir, store);
    return serve(settings, ports, { front, shard, keys }, () => dataDir.release());
  } catch (error) {
    front?.abandon();
    dataDir.release();
    throw error;
  }
}

interface Parts {
  readonly front: HttpFront;
  readonly shard: Shard;
  readonly keys: ServerKeys;
}

function serve(settings: Settings, ports: ShardPorts, { front, shard, keys }: Parts, release: () => void): Coldbrook {
  const controlUrl = `${settings.publicUrl || front.url}${settings.streamRoot}/__ds`;
  const subscriptions = new SubscriptionHost({ ...settings, ...ports, engine: shard.engine, keys, controlUrl });
  front.serve(shard, subscriptions.context);
  const end = async (): Promise<void> => {
    await front.close();
    await subscriptions.close();
    await shard.close();
    release();
  };
  let ending: Promise<void> | null = null;
  return {
    url: front.url,
    engine: shard.engine,
    connect: () => front.connect(),
    close: () => (ending ??= end()),
  };
}
