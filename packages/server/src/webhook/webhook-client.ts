/**
 * Sends webhooks to hosts that strangers name (protocol 7.1 and 12.8), so that neither the network around the server nor
 * the server itself can be used or worn out through it:
 * - the URL is judged again, whatever it was judged at PUT, and so is each address it leads to (`PinnedConnector`);
 * - redirects are answers, never followed: the next hop was not judged by anyone;
 * - a delivery is bounded in time (waiting, connecting, headers, as a whole) and in bytes (headers, body); a drip-fed or
 *   endless response ends at the limits; a compressed one is taken as the bytes it is, so nothing inflates;
 * - deliveries are bounded per host, in number of hosts and in all, and what waits is bounded; past that they are refused;
 * - the proxy variables of the environment are not used: a proxy would resolve names on its own.
 */
import PQueue from "p-queue";
import type { Agent, Dispatcher } from "undici";
import { DeliveryFault, faultOf } from "./delivery-fault.ts";
import type { WebhookFailure } from "./delivery-fault.ts";
import { dialAny, dnsLookup, PinnedConnector } from "./pinned-connector.ts";
import type { Dial, HostLookup } from "./pinned-connector.ts";
import { checkWebhookUrl } from "./webhook-url.ts";

/** Times in milliseconds, sizes in bytes. */
export interface WebhookLimits {
  /** Name resolution, TCP and TLS together. */
  readonly connectMs: number;
  /** From the request's last byte to the response's headers, and between two pieces of its body. */
  readonly headersMs: number;
  /** A delivery from its start to the last byte of the response. */
  readonly totalMs: number;
  /** Waiting for its start. */
  readonly queueMs: number;
  readonly responseHeaderBytesMax: number;
  readonly responseBytesMax: number;
  readonly perHostConcurrency: number;
  /** Deliveries to one host that wait. */
  readonly perHostQueueMax: number;
  /** Hosts with deliveries under way or waiting. */
  readonly hostsMax: number;
  readonly concurrency: number;
  /** Deliveries to all hosts that wait. */
  readonly queueMax: number;
}

export const WEBHOOK_LIMITS: WebhookLimits = {
  connectMs: 5000,
  headersMs: 30_000,
  totalMs: 30_000,
  queueMs: 30_000,
  responseHeaderBytesMax: 16 * 1024,
  responseBytesMax: 64 * 1024,
  perHostConcurrency: 8,
  perHostQueueMax: 1024,
  hostsMax: 1024,
  concurrency: 256,
  queueMax: 4096,
};

/** An idle connection is closed before common servers close it, else a delivery would race with that. */
const KEEP_ALIVE_MS = 4000;
/** A connection is not reused past this age, so that a name's addresses are judged anew. */
const CONNECTION_AGE_MS = 60_000;

export interface WebhookClientOptions {
  /** Permits `http` and `https` to `localhost`, 127.0.0.0/8 and ::1, at any port. */
  readonly allowLoopback: boolean;
  readonly limits?: Partial<WebhookLimits>;
  /** Resolves host names; the system's name servers by default. Its answers are judged. */
  readonly lookup?: HostLookup;
  /** Opens TCP connections to judged addresses. */
  readonly dial?: Dial;
  /** Certificate authorities in PEM, in place of the system's. */
  readonly tlsCa?: string;
}

export interface WebhookRequest {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
  /** Calls off this one delivery; `close()` calls off all. */
  readonly signal?: AbortSignal;
}

/** `body` is that of a 2xx; no other answer's body is read, and it is empty. */
export type WebhookAnswer =
  | { readonly kind: "answered"; readonly status: number; readonly body: Uint8Array }
  | { readonly kind: "failed"; readonly reason: WebhookFailure; readonly detail: string };

interface Lane {
  readonly queue: PQueue;
  /** Deliveries under way or waiting. */
  count: number;
}

/** What ends a delivery early: its caller, the client's end, or the time limit of the phase that it is in. */
class Attempt {
  readonly #controller = new AbortController();
  readonly #caller: AbortSignal | undefined;
  readonly #abort = (): void => this.stop(new DeliveryFault("aborted", "the delivery was called off"));
  #timer: NodeJS.Timeout | undefined;

  constructor(caller: AbortSignal | undefined) {
    this.#caller = caller;
    if (caller?.aborted === true) this.#abort();
    else caller?.addEventListener("abort", this.#abort);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Starts the time limit of a phase and ends that of the one before. */
  limit(ms: number, fault: DeliveryFault): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.stop(fault), ms);
  }

  stop(fault: DeliveryFault): void {
    this.#controller.abort(fault);
  }

  release(): void {
    clearTimeout(this.#timer);
    this.#caller?.removeEventListener("abort", this.#abort);
  }
}

export class WebhookClient {
  readonly #allowLoopback: boolean;
  readonly #limits: WebhookLimits;
  readonly #connector: PinnedConnector;
  /** Made for the first delivery: many servers never have one, and its module would slow each of their starts. */
  #agent: Promise<Agent> | null = null;
  readonly #total: PQueue;
  readonly #lanes: Map<string, Lane> = new Map();
  readonly #attempts: Set<Attempt> = new Set();
  #closed = false;

  constructor(options: WebhookClientOptions) {
    const limits = { ...WEBHOOK_LIMITS, ...options.limits };
    this.#limits = limits;
    this.#allowLoopback = options.allowLoopback;
    this.#connector = new PinnedConnector({
      allowLoopback: options.allowLoopback,
      connectMs: limits.connectMs,
      lookup: options.lookup ?? dnsLookup(limits.connectMs),
      dial: options.dial ?? dialAny(limits.connectMs),
      tlsCa: options.tlsCa,
    });
    this.#total = new PQueue({ concurrency: limits.concurrency });
  }

  /** Deliveries under way or waiting. */
  get count(): number {
    return this.#attempts.size;
  }

  /** Hosts with deliveries under way or waiting. */
  get hosts(): number {
    return this.#lanes.size;
  }

  /** Delivers one webhook, once; what can go wrong is in the answer and nothing is thrown. */
  async post(request: WebhookRequest): Promise<WebhookAnswer> {
    const attempt = new Attempt(request.signal);
    this.#attempts.add(attempt);
    try {
      return await this.#admit(request, attempt);
    } catch (error) {
      const fault = faultOf(attempt.signal.aborted ? attempt.signal.reason : error);
      return { kind: "failed", reason: fault.reason, detail: fault.message };
    } finally {
      attempt.release();
      this.#attempts.delete(attempt);
    }
  }

  /** Calls off what is under way or waiting and closes all connections. */
  async close(): Promise<void> {
    this.#closed = true;
    const stopping = new DeliveryFault("aborted", "the server is stopping");
    for (const attempt of this.#attempts) attempt.stop(stopping);
    this.#connector.close();
    await (await this.#agent)?.destroy();
  }

  async #admit(request: WebhookRequest, attempt: Attempt): Promise<WebhookAnswer> {
    if (this.#closed) throw new DeliveryFault("aborted", "the server is stopping");
    const verdict = checkWebhookUrl(request.url, { allowLoopback: this.#allowLoopback });
    if (verdict.kind === "rejected") throw new DeliveryFault("rejected", verdict.detail);
    const { url } = verdict;
    const { signal } = attempt;
    signal.throwIfAborted();
    const lane = this.#enter(url.hostname);
    try {
      const { queueMs, totalMs } = this.#limits;
      attempt.limit(queueMs, new DeliveryFault("busy", `the delivery could not start within ${queueMs} ms`));
      const start = (): Promise<WebhookAnswer> => {
        attempt.limit(totalMs, new DeliveryFault("timeout", `the delivery took more than ${totalMs} ms`));
        return this.#exchange(url, request, signal);
      };
      // A host first gets in line with itself and then, with what it may have under way at most, with all others.
      return await lane.queue.add(() => this.#total.add(start, { signal }), { signal });
    } finally {
      this.#leave(url.hostname, lane);
    }
  }

  #enter(host: string): Lane {
    const { concurrency, queueMax, perHostConcurrency, perHostQueueMax, hostsMax } = this.#limits;
    // This delivery is among the attempts already.
    if (this.#attempts.size > concurrency + queueMax) throw new DeliveryFault("busy", "too many deliveries wait");
    let lane = this.#lanes.get(host);
    if (lane === undefined) {
      if (this.#lanes.size >= hostsMax) throw new DeliveryFault("busy", "deliveries to too many hosts are under way");
      lane = { queue: new PQueue({ concurrency: perHostConcurrency }), count: 0 };
      this.#lanes.set(host, lane);
    }
    if (lane.count >= perHostConcurrency + perHostQueueMax) {
      throw new DeliveryFault("busy", "too many deliveries to this host wait");
    }
    lane.count++;
    return lane;
  }

  #leave(host: string, lane: Lane): void {
    lane.count--;
    if (lane.count === 0) this.#lanes.delete(host);
  }

  async #openAgent(): Promise<Agent> {
    const { Agent } = await import("undici");
    const limits = this.#limits;
    return new Agent({
      connect: this.#connector.connect,
      connections: limits.perHostConcurrency,
      pipelining: 1,
      maxOrigins: limits.hostsMax,
      keepAliveTimeout: KEEP_ALIVE_MS,
      keepAliveMaxTimeout: KEEP_ALIVE_MS,
      clientTtl: CONNECTION_AGE_MS,
      headersTimeout: limits.headersMs,
      bodyTimeout: limits.headersMs,
      maxHeaderSize: limits.responseHeaderBytesMax,
      maxResponseSize: limits.responseBytesMax,
    });
  }

  async #exchange(url: URL, request: WebhookRequest, signal: AbortSignal): Promise<WebhookAnswer> {
    const agent = await (this.#agent ??= this.#openAgent());
    signal.throwIfAborted();
    const response = await agent.request({
      origin: url.origin,
      path: `${url.pathname}${url.search}`,
      method: "POST",
      headers: { "accept-encoding": "identity", ...request.headers },
      body: request.body,
      signal,
    });
    const status = response.statusCode;
    if (status >= 200 && status < 300) return { kind: "answered", status, body: await response.body.bytes() };
    discard(response.body);
    if (status >= 300 && status < 400) {
      throw new DeliveryFault("redirect", `the receiver answered ${status}; redirects are not followed`);
    }
    return { kind: "answered", status, body: new Uint8Array() };
  }
}

/** Gives up a body, and its connection with it, as its length is unknown. */
function discard(body: Dispatcher.ResponseData["body"]): void {
  body.on("error", () => undefined);
  body.destroy();
}
