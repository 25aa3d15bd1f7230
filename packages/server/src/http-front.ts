/** What a shard is served by over HTTP: it listens from the start on, answers 503 until there is a shard, and drains politely. */
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { CONNECTIONS_MAX, DEFAULT_CURSOR_SCHEDULE } from "@coldbrook/core";
import { BodyReceiver } from "./http/body.ts";
import { Compressor } from "./http/compression.ts";
import type { Phase } from "./http/health.ts";
import { createHttpServer } from "./http/server.ts";
import type { Gate, HttpContext, HttpLog } from "./http/server.ts";
import type { SubscriptionContext } from "./http/subscriptions.ts";
import { InProcessSocket } from "./http/in-process-socket.ts";
import { connectionsWithin, openFilesMax } from "./open-files.ts";
import type { Settings } from "./settings.ts";
import type { Shard, ShardPorts } from "./shard.ts";

/** How long a stop waits for requests under way. */
const DRAIN_MS = 10_000;

export type FrontSettings = Pick<
  Settings,
  "host" | "port" | "streamRoot" | "bodyBytesMax" | "longPollMs" | "sseMs" | "compression"
>;

/** What an embedding program may change of it. */
export interface FrontOptions {
  readonly gate?: Gate | null;
  readonly hooks?: HttpContext["hooks"];
  readonly cursorSchedule?: HttpContext["cursorSchedule"];
  /** See ReadContext. */
  readonly textEvents?: HttpContext["textEvents"];
  /** See HttpPorts. */
  readonly controlPrefix?: string;
  /** False: no port is taken, and requests come by `connect` alone. */
  readonly listen?: boolean;
  /** False: `/health` is a path as any other. */
  readonly health?: boolean;
}

export type FrontPorts = Pick<ShardPorts, "clock" | "random"> & { readonly log: HttpLog };

/** Of a shard, what serving it needs. */
export type ServedShard = Pick<Shard, "engine" | "reader" | "facts">;

export class HttpFront {
  /** Without a slash at its end; empty when no port is taken. */
  readonly url: string;
  readonly port: number;
  readonly #settings: FrontSettings;
  readonly #ports: FrontPorts;
  readonly #options: FrontOptions;
  readonly #server: Server;
  readonly #draining = new AbortController();
  readonly #bodies: BodyReceiver;
  readonly #compressor: Compressor | null;
  /** Server's ends of connections inside of the process. */
  readonly #inProcess = new Set<InProcessSocket>();
  #phase: Phase = "starting";
  #shard: ServedShard | null = null;
  #context: HttpContext | null = null;

  private constructor(settings: FrontSettings, ports: FrontPorts, options: FrontOptions, server: Server) {
    this.#settings = settings;
    this.#ports = ports;
    this.#options = options;
    this.#server = server;
    const address = server.address() as AddressInfo | null;
    this.url = address === null ? "" : urlOf(address);
    this.port = address?.port ?? 0;
    this.#bodies = new BodyReceiver(settings.bodyBytesMax);
    this.#compressor = settings.compression ? new Compressor() : null;
  }

  /** Listens. @throws Error that says why it cannot */
  static async listen(settings: FrontSettings, ports: FrontPorts, options: FrontOptions = {}): Promise<HttpFront> {
    let front: HttpFront | null = null;
    const health = { phase: () => front?.phase ?? "starting", facts: () => front?.facts() ?? {} } as const;
    const server = createHttpServer({
      context: () => front?.context ?? null,
      health: options.health === false ? null : health,
      gate: options.gate ?? null,
      streamRoot: settings.streamRoot,
      ...(options.controlPrefix === undefined ? {} : { controlPrefix: options.controlPrefix }),
      log: ports.log,
    });
    // Past it, a connection is closed as soon as it is made.
    server.maxConnections = connectionsWithin(CONNECTIONS_MAX, openFilesMax());
    if (options.listen !== false) await listen(server, settings);
    front = new HttpFront(settings, ports, options, server);
    return front;
  }

  /** Null unless there is a shard to serve. */
  get context(): HttpContext | null {
    return this.#phase === "ok" ? this.#context : null;
  }

  get phase(): Phase {
    return this.#phase;
  }

  facts(): Record<string, number | string> {
    const shard = this.#shard;
    if (shard === null) return {};
    const compressed = this.#compressor === null ? {} : { compressedResponses: this.#compressor.responses };
    return {
      ...shard.facts(),
      ...this.#context?.subscriptions?.facts(),
      bodiesHeldBytes: this.#bodies.heldBytes,
      ...compressed,
    };
  }

  serve(shard: ServedShard, subscriptions: SubscriptionContext | null = null): void {
    const { streamRoot, longPollMs, sseMs } = this.#settings;
    this.#shard = shard;
    this.#context = {
      engine: shard.engine,
      reader: shard.reader,
      bodies: this.#bodies,
      clock: this.#ports.clock,
      random: this.#ports.random,
      streamRoot,
      longPollMs,
      sseMs,
      textEvents: this.#options.textEvents ?? "text",
      cursorSchedule: this.#options.cursorSchedule ?? DEFAULT_CURSOR_SCHEDULE,
      hooks: this.#options.hooks ?? null,
      compressor: this.#compressor,
      draining: this.#draining.signal,
      log: this.#ports.log,
      subscriptions,
    };
    this.#phase = "ok";
  }

  /** The client's end of a new connection inside of the process; null when no more are taken, or when there are too many. */
  connect(): InProcessSocket | null {
    if (this.#phase === "draining" || this.#inProcess.size >= CONNECTIONS_MAX) return null;
    const [client, end] = InProcessSocket.pair();
    this.#inProcess.add(end);
    end.once("close", () => this.#inProcess.delete(end));
    this.#server.emit("connection", end);
    return client;
  }

  /** Stops accepting and ends live readers politely. The shard is its owner's to close. */
  async close(): Promise<void> {
    this.#phase = "draining";
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#draining.abort();
    this.#server.closeIdleConnections();
    const inProcess = [...this.#inProcess].map((end) => new Promise((resolve) => end.once("close", resolve)));
    const deadline = setTimeout(() => this.#cut(), DRAIN_MS);
    const idle = setInterval(() => this.#server.closeIdleConnections(), 50);
    await Promise.all([closed, ...inProcess]);
    clearTimeout(deadline);
    clearInterval(idle);
  }

  /** Ends at once. */
  abandon(): void {
    this.#phase = "draining";
    this.#cut();
    this.#server.close();
  }

  #cut(): void {
    this.#server.closeAllConnections();
    for (const end of this.#inProcess) end.destroy();
  }
}

function listen(server: Server, { host, port }: FrontSettings): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (cause) =>
      reject(new Error(`--host ${host} --port ${port}: cannot listen (${cause.message})`, { cause })),
    );
    server.listen(port, host, 4096, resolve);
  });
}

function urlOf({ address, port, family }: AddressInfo): string {
  return `http://${family === "IPv6" ? `[${address}]` : address}:${port}`;
}
