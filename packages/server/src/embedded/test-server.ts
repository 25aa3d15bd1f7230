/**
 * The embeddable server: Coldbrook's HTTP over a store's engine, where every path is a stream. It takes the place of the
 * class of this name in `@durable-streams/server`.
 */
import { BodyReceiver } from "../http/body.ts";
import type { HttpLog } from "../http/server.ts";
import { HttpFront } from "../http-front.ts";
import type { FrontSettings } from "../http-front.ts";
import { readSettings } from "../settings.ts";
import type { ShardPorts } from "../shard.ts";
import { scheduleOf } from "./cursor.ts";
import { faultGate } from "./fault-gate.ts";
import { FaultTable } from "./fault-table.ts";
import { FileBackedStreamStore } from "./file-backed-stream-store.ts";
import { LifecycleCalls } from "./lifecycle-calls.ts";
import { StreamStore } from "./stream-store.ts";
import type { InjectedFault, TestServerOptions } from "./types.ts";

/** The store that a server with these options has. Where the options are not known, it may be either. */
export type StoreOf<Options extends TestServerOptions> = "store" extends keyof Options
  ? Options["store"] extends StreamStore | FileBackedStreamStore
    ? Options["store"]
    : StreamStore | FileBackedStreamStore
  : "dataDir" extends keyof Options
    ? Options["dataDir"] extends string
      ? FileBackedStreamStore
      : StreamStore | FileBackedStreamStore
    : StreamStore;

/** A server that runs. */
interface Running {
  readonly front: HttpFront;
  readonly url: string;
}

export class DurableStreamTestServer<Options extends TestServerOptions = TestServerOptions> {
  readonly store: StoreOf<Options>;
  /** Programs set hooks on it while the server runs. */
  private readonly options: TestServerOptions;
  readonly #faults = new FaultTable(Math.random);
  readonly #hooks: LifecycleCalls;
  #starting: Promise<Running> | null = null;
  #running: Running | null = null;
  #stopping: Promise<void> | null = null;

  /** @throws RangeError for cursor options that cannot be used */
  constructor(options?: Options) {
    this.options = { ...options };
    scheduleOf(cursorOf(this.options));
    this.store = storeOf(this.options) as StoreOf<Options>;
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
    return (this.store as StreamStore | FileBackedStreamStore).clear();
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
    const store = this.store as StreamStore | FileBackedStreamStore;
    const { shard } = store instanceof StreamStore ? store.memory : await store.directory();
    const settings = settingsOf(options);
    const gate = faultGate({
      faults: this.#faults,
      bodies: new BodyReceiver(ORDER_BYTES_MAX),
      random: Math.random,
      cors: options.cors ?? true,
    });
    const cursorSchedule = scheduleOf(cursorOf(options));
    try {
      const front = await HttpFront.listen(settings, PORTS, { gate, hooks: this.#hooks, cursorSchedule, health: false });
      front.serve(shard);
      const url = urlOf(settings.host, front.port);
      this.#hooks.attach(store, url);
      return { front, url };
    } catch (error) {
      if (store instanceof FileBackedStreamStore) await store.close();
      // Programs look for the system's code, such as EADDRINUSE.
      throw error instanceof Error && error.cause instanceof Error ? error.cause : error;
    }
  }

  async #end({ front }: Running): Promise<void> {
    const store = this.store as StreamStore | FileBackedStreamStore;
    store.cancelAllWaits();
    await front.close();
    this.#running = null;
    this.#starting = null;
    if (store instanceof FileBackedStreamStore) await store.close();
  }
}

/** The server of a call instead of `new`. */
export function createDurableStreamServer<const Options extends TestServerOptions = TestServerOptions>(
  options?: Options,
): DurableStreamTestServer<Options> {
  return new DurableStreamTestServer(options);
}

/** Faults and hooks that fail are for whoever runs the program to see. */
const LOG: HttpLog = {
  error: (facts, message) => console.error(`coldbrook: ${message}`, facts),
};

const PORTS: Pick<ShardPorts, "clock" | "random"> & { readonly log: HttpLog } = {
  clock: Date.now,
  random: Math.random,
  log: LOG,
};

/** Largest order for a fault. */
const ORDER_BYTES_MAX: number = 1024 * 1024;

function storeOf({ store, dataDir }: TestServerOptions): StreamStore | FileBackedStreamStore {
  if (store !== undefined) return store;
  return dataDir === undefined || dataDir === "" ? new StreamStore() : new FileBackedStreamStore({ dataDir });
}

function cursorOf({ cursorOptions, cursorIntervalSeconds, cursorEpoch }: TestServerOptions): Parameters<typeof scheduleOf>[0] {
  return {
    intervalSeconds: cursorIntervalSeconds ?? cursorOptions?.intervalSeconds,
    epoch: cursorEpoch ?? cursorOptions?.epoch,
  };
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
