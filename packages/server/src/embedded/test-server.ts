/**
 * The embeddable server: Coldbrook's HTTP over a store's engine, where every path is a stream. It takes the place of the
 * class of this name in `@durable-streams/server`.
 */
import { inspect } from "node:util";
import { BodyReceiver } from "../http/body.ts";
import { HttpFront } from "../http-front.ts";
import type { FrontSettings } from "../http-front.ts";
import { readSettings } from "../settings.ts";
import type { Shard, ShardPorts } from "../shard.ts";
import type { ServerKeys } from "../subscriptions/server-keys.ts";
import { SubscriptionHost } from "../subscriptions/subscription-host.ts";
import type { SubscriptionLog } from "../subscriptions/subscriptions.ts";
import { scheduleOf } from "./cursor.ts";
import { faultGate } from "./fault-gate.ts";
import { FaultTable } from "./fault-table.ts";
import { FileBackedStreamStore } from "./file-backed-stream-store.ts";
import { LifecycleCalls } from "./lifecycle-calls.ts";
import { StreamStore } from "./stream-store.ts";
import type { InjectedFault, TestServerOptions } from "./types.ts";

type EitherStore = StreamStore | FileBackedStreamStore;

/** A server that runs. */
interface Running {
  readonly front: HttpFront;
  readonly subscriptions: SubscriptionHost;
  readonly url: string;
}

class EmbeddedServer<Store extends EitherStore = EitherStore> {
  readonly store: Store;
  /** Programs set hooks on it while the server runs. */
  private readonly options: TestServerOptions;
  readonly #faults = new FaultTable(Math.random);
  readonly #hooks: LifecycleCalls;
  #starting: Promise<Running> | null = null;
  #running: Running | null = null;
  #stopping: Promise<void> | null = null;

  /** @throws RangeError for cursor options that cannot be used */
  constructor(options: TestServerOptions = {}) {
    this.options = { ...options };
    scheduleOf(cursorOf(this.options));
    // The construct signatures below name the store that these options make.
    this.store = storeOf(this.options) as Store;
    this.#hooks = new LifecycleCalls(this.options, (error, { type, path }) => {
      LOG.error({ err: error, path }, `a hook failed on a stream that was ${type}`);
    });
  }

  /** Resolves with the URL, without a slash at its end. @throws Error when it runs already, cannot listen, or cannot open its store */
  async start(): Promise<string> {
    await this.#stopping;
    if (this.#starting !== null) throw new Error("Server already started");
    this.#starting = this.#listen();
    try {
      this.#running = await this.#starting;
    } catch (error) {
      this.#starting = null;
      throw error;
    }
    return this.#running.url;
  }

  /** Ends live reads, waits for requests under way, and closes a store that is kept in a directory. */
  async stop(): Promise<void> {
    if (this.#starting === null) return;
    const running = await this.#starting;
    this.#stopping ??= this.#end(running).finally(() => (this.#stopping = null));
    await this.#stopping;
  }

  /** Without a slash at its end. @throws Error when the server does not run */
  get url(): string {
    if (this.#running === null) throw new Error("Server not started");
    return this.#running.url;
  }

  /** The same as `url`. */
  get baseUrl(): string {
    return this.url;
  }

  /** The port that the server listens on; before it does, the one it was given. */
  get port(): number {
    return this.#running?.front.port ?? this.options.port ?? 0;
  }

  /** Deletes all streams; in a directory that takes until the promise resolves. */
  clear(): void | Promise<void> {
    return this.store.clear();
  }

  /** @deprecated `injectFault` does this and more. */
  injectError(path: string, status: number, count: number = 1, retryAfter?: number): void {
    this.#faults.inject(path, { status, count, retryAfter });
  }

  /** A fault for the next `count` requests to exactly this URL path, 1 when it is not given. It replaces the path's fault before. */
  injectFault(path: string, fault: Omit<InjectedFault, "count"> & { count?: number | undefined }): void {
    this.#faults.inject(path, fault);
  }

  clearInjectedFaults(): void {
    this.#faults.clear();
  }

  async #listen(): Promise<Running> {
    const { options } = this;
    const store: EitherStore = this.store;
    const { shard, keys } = store instanceof StreamStore ? partsOf(store) : await store.directory();
    const settings = settingsOf(options);
    const gate = faultGate({
      faults: this.#faults,
      bodies: new BodyReceiver(ORDER_BYTES_MAX),
      random: Math.random,
      cors: options.cors ?? true,
    });
    const cursorSchedule = scheduleOf(cursorOf(options));
    let front: HttpFront | null = null;
    try {
      front = await HttpFront.listen(settings, PORTS, {
        gate,
        hooks: this.#hooks,
        cursorSchedule,
        health: false,
        textEvents: "literal-text",
        controlPrefix: CONTROL_PREFIX,
      });
      const url = urlOf(settings.host, front.port);
      const subscriptions = new SubscriptionHost({
        ...PORTS,
        engine: shard.engine,
        keys,
        controlUrl: url + CONTROL_PREFIX,
        webhooks: options.webhooks ?? false,
        webhookLoopback: true,
      });
      front.serve(shard, subscriptions.context);
      this.#hooks.attach(store, url);
      return { front, subscriptions, url };
    } catch (error) {
      front?.abandon();
      if (store instanceof FileBackedStreamStore) await store.close();
      // Programs look for the system's code, such as EADDRINUSE.
      throw error instanceof Error && error.cause instanceof Error ? error.cause : error;
    }
  }

  async #end({ front, subscriptions }: Running): Promise<void> {
    const store: EitherStore = this.store;
    store.cancelAllWaits();
    await front.close();
    await subscriptions.close();
    this.#running = null;
    this.#starting = null;
    if (store instanceof FileBackedStreamStore) await store.close();
  }
}

/** How the class is called: the server's store has the type that its options ask for. The last way is the one for subclasses. */
export interface DurableStreamTestServerClass {
  new <Store extends FileBackedStreamStore>(
    options: TestServerOptions & { readonly dataDir: string; readonly store?: undefined },
  ): DurableStreamTestServer<Store>;
  new <Store extends EitherStore>(
    options: TestServerOptions & { readonly store: Store },
  ): DurableStreamTestServer<Store>;
  new <Store extends StreamStore>(
    options?: TestServerOptions & { readonly dataDir?: undefined; readonly store?: undefined },
  ): DurableStreamTestServer<Store>;
  new (options?: TestServerOptions): DurableStreamTestServer;
}

export type DurableStreamTestServer<Store extends EitherStore = EitherStore> = EmbeddedServer<Store>;
export const DurableStreamTestServer: DurableStreamTestServerClass = EmbeddedServer;

/** The same by a call. */
export function createDurableStreamServer(options: TestServerOptions = {}): DurableStreamTestServer {
  return new DurableStreamTestServer(options);
}

/** Faults and hooks that fail are for whoever runs the program to see. */
const LOG: SubscriptionLog = {
  error: (facts, message) => process.emitWarning(`coldbrook: ${message}`, { detail: inspect(facts) }),
  // A receiver that does not answer is nothing that a test wants to read of.
  warn: () => undefined,
};

/** Where subscriptions are asked for, while every other path is a stream. */
const CONTROL_PREFIX = "/v1/stream/__ds";

const PORTS: Pick<ShardPorts, "clock" | "random"> & { readonly log: SubscriptionLog } = {
  clock: Date.now,
  random: Math.random,
  log: LOG,
};

/** Largest order for a fault. */
const ORDER_BYTES_MAX: number = 1024 * 1024;

function storeOf({ store, dataDir }: TestServerOptions): EitherStore {
  if (store !== undefined) return store;
  return dataDir === undefined || dataDir === "" ? new StreamStore() : new FileBackedStreamStore({ dataDir });
}

function cursorOf({
  cursorOptions,
  cursorIntervalSeconds,
  cursorEpoch,
}: TestServerOptions): Parameters<typeof scheduleOf>[0] {
  return {
    intervalSeconds: cursorIntervalSeconds ?? cursorOptions?.intervalSeconds,
    epoch: cursorEpoch ?? cursorOptions?.epoch,
  };
}

function partsOf({ memory, keys }: StreamStore): { shard: Shard; keys: ServerKeys } {
  return { shard: memory.shard, keys };
}

function settingsOf({ host, port, longPollTimeout, compression }: TestServerOptions): FrontSettings {
  const defaults = readSettings([], {});
  return {
    ...defaults,
    host: host ?? defaults.host,
    port: port ?? 0,
    streamRoot: "",
    longPollMs: longPollTimeout ?? defaults.longPollMs,
    compression: compression ?? true,
  };
}

/** By the name that the program uses for the host, which a certificate or a cookie may depend on. */
function urlOf(host: string, port: number): string {
  return `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
}
