/**
 * Webhook deliveries (protocol section 7.1). A wake is sent once it is durable; what comes of it is logged before anything else
 * follows from it, so that a crash at any moment leads to the same wake being sent again or to the next one. Deliveries take
 * turns: so many at once, so many to one host, hosts in rotation.
 */
import { decideDelivered, decideDone, decideFailed, wakeInFlight, wakeNotification } from "@coldbrook/core";
import type { Clock, Random, SubscriptionChange, SubscriptionLink, WakeRef } from "@coldbrook/core";
import { durable } from "../engine/decisions.ts";
import { WEBHOOK_LIMITS } from "../webhook/webhook-client.ts";
import type { WebhookAnswer, WebhookRequest } from "../webhook/webhook-client.ts";
import { signWebhook } from "../webhook/webhook-signer.ts";
import { streamInfos } from "./stream-infos.ts";
import type { ServerKeys } from "./server-keys.ts";
import type { Subscription } from "./subscription.ts";
import type { Subscriptions, SubscriptionLog } from "./subscriptions.ts";
import { WakeTokens } from "./wake-tokens.ts";

/** As many as the client makes at once: who waited in its queues would wait with a lease that runs. */
const DELIVERIES_MAX = WEBHOOK_LIMITS.concurrency;
const DELIVERIES_PER_HOST_MAX = WEBHOOK_LIMITS.perHostConcurrency;
/** When one that could not be made, because the catalog is damaged, is looked at again. */
const FAULT_MS = 60_000;
/** When a delivery that our own limits refused is looked at again. */
const BUSY_MS = 1_000;

export interface DeliveriesPorts {
  readonly subscriptions: Subscriptions;
  readonly client: { post(request: WebhookRequest): Promise<WebhookAnswer>; close(): Promise<void> };
  readonly keys: ServerKeys;
  /** Where workers call back: the URL above `/subscriptions/…`, without a slash at its end. */
  readonly controlUrl: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: SubscriptionLog;
}

interface Lane {
  readonly host: string;
  readonly waiting: Set<Subscription>;
  active: number;
}

interface Sent {
  readonly ref: WakeRef;
  /** Tails that were sent, by path. */
  readonly snapshot: ReadonlyMap<string, string>;
}

export class Deliveries {
  readonly #ports: DeliveriesPorts;
  readonly #tokens: WakeTokens;
  readonly #lanes = new Map<string, Lane>();
  /** Lanes whose next delivery may start. */
  readonly #ready = new Set<Lane>();
  readonly #active = new Set<Promise<void>>();
  #closed = false;
  #scheduled = false;

  constructor(ports: DeliveriesPorts) {
    this.#ports = ports;
    this.#tokens = new WakeTokens(ports.keys.tokenSecret, ports.clock);
    ports.subscriptions.leases.deliverWith((subscription) => this.#enqueue(subscription));
  }

  get active(): number {
    return this.#active.size;
  }

  get waiting(): number {
    let waiting = 0;
    for (const lane of this.#lanes.values()) waiting += lane.waiting.size;
    return waiting;
  }

  /** Calls off what is under way; the next start sends it again. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#lanes.clear();
    this.#ready.clear();
    await this.#ports.client.close();
    await Promise.all(this.#active);
  }

  /** Resolves when nothing waits or is under way. */
  async idle(): Promise<void> {
    this.#pump();
    while (this.#active.size > 0) await Promise.all(this.#active);
  }

  #enqueue(subscription: Subscription): void {
    const { hostname: host } = new URL(subscription.pending.config.webhookUrl!);
    let lane = this.#lanes.get(host);
    if (lane === undefined) {
      lane = { host, waiting: new Set(), active: 0 };
      this.#lanes.set(host, lane);
    }
    lane.waiting.add(subscription);
    this.#settleLane(lane);
    if (this.#scheduled) return;
    this.#scheduled = true;
    // Not inside of the commit that made the wake durable: its writers are answered first.
    setImmediate(() => {
      this.#scheduled = false;
      this.#pump();
    });
  }

  #pump(): void {
    for (const lane of this.#ready) {
      if (this.#closed || this.#active.size >= DELIVERIES_MAX) return;
      const [subscription] = lane.waiting;
      lane.waiting.delete(subscription!);
      lane.active += 1;
      this.#ready.delete(lane);
      this.#settleLane(lane);
      const run = this.#run(subscription!).finally(() => {
        this.#active.delete(run);
        lane.active -= 1;
        this.#settleLane(lane);
        this.#pump();
      });
      this.#active.add(run);
    }
  }

  /** Behind all other lanes when it has something to start. */
  #settleLane(lane: Lane): void {
    if (lane.waiting.size > 0 && lane.active < DELIVERIES_PER_HOST_MAX) this.#ready.add(lane);
    else if (lane.waiting.size === 0 && lane.active === 0) this.#lanes.delete(lane.host);
  }

  async #run(subscription: Subscription): Promise<void> {
    const { subscriptions, log } = this.#ports;
    try {
      await this.#deliver(subscription);
    } catch (error) {
      const { name } = subscription.pending;
      log.error(
        { subscription: name, error: (error as Error).message },
        "a webhook cannot be made, and is tried again in a minute",
      );
      subscription.delivery = null;
      subscription.notBeforeMs = this.#ports.clock() + FAULT_MS;
      subscriptions.leases.schedule(subscription);
    }
  }

  async #deliver(subscription: Subscription): Promise<void> {
    const { subscriptions, client, clock } = this.#ports;
    const { book, leases } = subscriptions;
    // Another run has taken it over.
    if (subscription.delivery !== "queued") return;
    if (!subscription.workKnown) await book.findWork(subscription);
    // The lease does not run while the wake waits for its turn here.
    if (subscription.pending.wake !== null && wakeInFlight(subscription.pending, clock()) === null) {
      book.expire(subscription, clock());
      subscription.startedWakeId = subscription.pending.wake?.wakeId ?? null;
    }
    if (subscription.lastBatch !== null) await durable(subscription.lastBatch);
    // Another run has taken it over meanwhile.
    if (subscription.delivery !== "queued") return;
    const { wake, generation, deleted } = subscription.pending;
    if (wake === null || deleted || this.#closed) {
      subscription.delivery = null;
      leases.schedule(subscription);
      return;
    }
    const ref = { wakeId: wake.wakeId, generation };
    subscription.startedWakeId = wake.wakeId;
    const { body, snapshot } = this.#compose(subscription);
    const controller = new AbortController();
    const delivery = { abort: (): void => controller.abort() };
    subscription.delivery = delivery;
    leases.schedule(subscription);
    if (subscription.lastBatch !== null) await durable(subscription.lastBatch);
    const seconds = Math.floor(clock() / 1000);
    const signature = signWebhook(this.#ports.keys.signing, seconds, body);
    const answer = await client.post({
      url: subscription.pending.config.webhookUrl!,
      headers: { "content-type": "application/json", "webhook-signature": signature },
      body,
      signal: controller.signal,
    });
    // A later wake's delivery may have taken its place.
    if (subscription.delivery === delivery) subscription.delivery = null;
    if (!this.#closed) this.#conclude(subscription, { ref, snapshot }, answer);
    leases.schedule(subscription);
  }

  #compose(subscription: Subscription): { body: Uint8Array; snapshot: Map<string, string> } {
    const { subscriptions, controlUrl } = this.#ports;
    const streams = streamInfos(subscriptions.book, subscription);
    const { pending } = subscription;
    const token = this.#tokens.mint(subscription, pending.generation, "callback");
    const url = `${controlUrl}/subscriptions/${encodeURIComponent(pending.name)}/callback`;
    const snapshot = new Map<string, string>();
    for (const { path, tail_offset: tail, has_pending: hasWork } of streams) if (hasWork) snapshot.set(path, tail);
    return { body: Buffer.from(JSON.stringify(wakeNotification(pending, streams, { url, token }))), snapshot };
  }

  /** Nothing follows from the answer to a wake that is over. */
  #conclude(subscription: Subscription, sent: Sent, answer: WebhookAnswer): void {
    const { subscriptions, clock } = this.#ports;
    if (subscription.pending.wake?.wakeId !== sent.ref.wakeId) return;
    const now = clock();
    const isPutOff = answer.kind === "failed" && answer.reason === "busy";
    const change = isPutOff ? null : this.#outcome(subscription, sent, answer, now);
    // What cannot be recorded has not happened: the receiver gets it again.
    if (isPutOff || (change !== null && subscriptions.isFull)) {
      subscription.notBeforeMs = now + BUSY_MS;
    } else if (change !== null) {
      subscriptions.book.enqueue(subscription, change, now);
      if (change.wake === null) subscriptions.book.rewake(subscription, now);
    }
  }

  /** Null when there is nothing to record. */
  #outcome(subscription: Subscription, sent: Sent, answer: WebhookAnswer, now: number): SubscriptionChange | null {
    const { pending: state } = subscription;
    if (answer.kind === "failed" || answer.status < 200 || answer.status > 299) {
      return decideFailed(state, sent.ref, now, this.#ports.random());
    }
    if (!isDone(answer.body)) return decideDelivered(state, sent.ref);
    const { book } = this.#ports.subscriptions;
    const links = new Map<string, SubscriptionLink>();
    for (const [path, tail] of sent.snapshot) {
      const link = book.links.load(subscription, path);
      // Another stream may have the path by now, whose cursor must not be one of the old one's.
      if (link !== undefined && book.has(path, tail)) links.set(path, link);
    }
    return decideDone(state, sent.ref, sent.snapshot, links);
  }
}

/** `{"done": true}`; anything else that a 2xx brings means that the receiver calls back. */
function isDone(body: Uint8Array): boolean {
  try {
    const parsed: unknown = JSON.parse(Buffer.from(body).toString("utf8"));
    return typeof parsed === "object" && parsed !== null && "done" in parsed && parsed.done === true;
  } catch {
    return false;
  }
}
