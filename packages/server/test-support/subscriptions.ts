/** A shard's subscriptions with a webhook receiver that is a function: for the tests of their parts. */
import { parseAck, parseSubscription } from "@coldbrook/core";
import type { AckRequest, StreamInfo, SubscriptionBody } from "@coldbrook/core";
import type { Deliveries } from "../src/subscriptions/deliveries.ts";
import { SubscriptionHost } from "../src/subscriptions/subscription-host.ts";
import { generateKeys } from "../src/subscriptions/server-keys.ts";
import type { ServerKeys } from "../src/subscriptions/server-keys.ts";
import type { Subscription } from "../src/subscriptions/subscription.ts";
import type {
  ClaimResult,
  Claimed,
  PutResult,
  SubscriptionService,
} from "../src/subscriptions/subscription-service.ts";
import type { WebhookAnswer, WebhookRequest } from "../src/webhook/webhook-client.ts";
import { Shard, type ShardOptions } from "./shard.ts";

/** What a webhook got. */
export interface Notification {
  readonly subscription_id: string;
  readonly wake_id: string;
  readonly generation: number;
  readonly streams: readonly StreamInfo[];
  readonly callback_url: string;
  readonly callback_token: string;
}

export const ACCEPTED: WebhookAnswer = { kind: "answered", status: 200, body: Buffer.from("") };
export const DONE: WebhookAnswer = { kind: "answered", status: 200, body: Buffer.from('{"done":true}') };
export const REFUSED: WebhookAnswer = { kind: "answered", status: 500, body: Buffer.from("") };

export class SubscribedShard {
  readonly shard: Shard;
  readonly keys: ServerKeys = generateKeys();
  /** All that was sent, the oldest first. */
  readonly sent: Notification[] = [];
  readonly logged: string[] = [];
  /** How the receiver answers. */
  answer: (notification: Notification, signal: AbortSignal) => WebhookAnswer | Promise<WebhookAnswer> = () => ACCEPTED;
  host!: SubscriptionHost;

  private constructor(shard: Shard) {
    this.shard = shard;
  }

  static async create(options: Partial<ShardOptions> = {}): Promise<SubscribedShard> {
    const subscribed = new SubscribedShard(await Shard.create(options));
    subscribed.attach();
    return subscribed;
  }

  get service(): SubscriptionService {
    return this.host.context.service;
  }

  get deliveries(): Deliveries {
    return this.host.deliveries!;
  }

  attach(): void {
    const log = (facts: object, message: string): void => {
      this.logged.push(`${message} ${JSON.stringify(facts)}`);
    };
    let close: (answer: WebhookAnswer) => void = () => undefined;
    const closed = new Promise<WebhookAnswer>((resolve) => (close = resolve));
    this.host = new SubscriptionHost({
      engine: this.shard.engine,
      keys: this.keys,
      controlUrl: "https://streams.example/__ds",
      webhooks: true,
      webhookLoopback: false,
      clock: this.shard.clock,
      random: () => 0.5,
      log: { warn: log, error: log },
      client: {
        post: (request) => Promise.race([this.#post(request), closed]),
        close: () => Promise.resolve(close({ kind: "failed", reason: "aborted", detail: "" })),
      },
    });
  }

  /** What a killed process and its successor do. */
  async restart(): Promise<void> {
    await this.#halt();
    await this.shard.restart();
    this.attach();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#halt();
    await this.shard[Symbol.asyncDispose]();
  }

  /** Moves the clock on and does what is due then. */
  async pass(ms: number): Promise<void> {
    this.shard.nowMs += ms;
    await this.settle();
  }

  /** Lets all wakes, deliveries and their consequences happen. */
  async settle(): Promise<void> {
    const { engine } = this.shard;
    for (let idle = 0; idle < 3; idle++) {
      await engine.subscriptions.leases.tick();
      await engine.wal.drain();
      await this.deliveries.idle();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await engine.wal.drain();
  }

  async put(name: string, body: object): Promise<SubscriptionBody> {
    const result = await this.tryPut(name, body);
    if (result.kind !== "created" && result.kind !== "exists") throw new Error(JSON.stringify(result));
    return result.body;
  }

  tryPut(name: string, body: object): Promise<PutResult> {
    const parsed = parseSubscription(body);
    if (parsed.kind === "bad") throw new Error(parsed.detail);
    return this.service.put(name, parsed.config, null);
  }

  webhook(name: string, more: object): Promise<SubscriptionBody> {
    return this.put(name, { type: "webhook", webhook: { url: "https://worker.example/hook" }, ...more });
  }

  pull(name: string, more: object): Promise<SubscriptionBody> {
    return this.put(name, { type: "pull-wake", wake_stream: "wake/pool", ...more });
  }

  async claim(name: string, worker = "worker-1"): Promise<Claimed> {
    const result: ClaimResult = await this.service.claim(name, worker);
    if (result.kind !== "claimed") throw new Error(JSON.stringify(result));
    return result;
  }

  /** The cursors by path. */
  async cursors(name: string): Promise<Record<string, string>> {
    const body = await this.service.get(name);
    return Object.fromEntries(body!.streams.map((link) => [link.path, link.acked_offset]));
  }

  subscription(name: string): Subscription {
    return this.shard.engine.subscriptions.book.table.find(name)!;
  }

  /** The JSON messages of a stream, from memory. */
  events(name: string): { generation: number; subscription_id: string; stream: string }[] {
    return JSON.parse(`[${this.shard.hotText(name).slice(0, -1)}]`) as ReturnType<SubscribedShard["events"]>;
  }

  /** Nothing of this process goes on. */
  async #halt(): Promise<void> {
    await this.host.close();
    await this.shard.engine.subscriptions.leases.stop();
  }

  async #post({ body, signal }: WebhookRequest): Promise<WebhookAnswer> {
    const notification = JSON.parse(Buffer.from(body).toString()) as Notification;
    this.sent.push(notification);
    return this.answer(notification, signal!);
  }
}

/** The request that acknowledges everything which the wake showed. */
export function ackAll(
  wake: { readonly wakeId: string; readonly generation: number; readonly streams: readonly StreamInfo[] },
  done = true,
): AckRequest {
  const acks = wake.streams.map(({ path, tail_offset }) => ({ stream: path, offset: tail_offset }));
  const parsed = parseAck({ wake_id: wake.wakeId, generation: wake.generation, acks, done });
  if (parsed.kind === "bad") throw new Error(parsed.detail);
  return parsed.request;
}

/** What `ackAll` wants of a notification. */
export function wakeOf({ wake_id: wakeId, generation, streams }: Notification): Parameters<typeof ackAll>[0] {
  return { wakeId, generation, streams };
}
