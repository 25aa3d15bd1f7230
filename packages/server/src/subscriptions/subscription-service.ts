/**
 * The subscription operations (protocol sections 6 and 7): look-up, decision and frame in one turn against the pending state,
 * and the answer once what it rests on is durable, exactly as for streams.
 */
import { createHash } from "node:crypto";
import {
  canonicalConfig,
  decideAck,
  decideClaim,
  decideLink,
  decideRelease,
  decideSubscribe,
  decideUnlink,
  decideUnsubscribe,
  globMatch,
  linkChange,
  refuse,
  subscriptionBody,
  SUBSCRIPTION_LINKS_MAX,
  SUBSCRIPTIONS_MAX,
} from "@coldbrook/core";
import type {
  AckRequest,
  Clock,
  SubscriptionBody,
  SubscriptionConfig,
  SubscriptionLink,
  SubscriptionRefusal,
  StreamInfo,
  WebhookSigning,
} from "@coldbrook/core";
import type { Batch } from "../wal/group-commit.ts";
import { durable } from "../engine/decisions.ts";
import { backfill } from "./backfill.ts";
import type { BackfillPorts } from "./backfill.ts";
import { streamInfos } from "./stream-infos.ts";
import { newWakeId } from "./subscription.ts";
import type { Subscription } from "./subscription.ts";
import type { SubscriptionBook } from "./subscription-book.ts";
import type { WakeTokens } from "./wake-tokens.ts";

/** A refusal, or that the server has as many subscriptions as it can. */
export type Refused = SubscriptionRefusal | { readonly kind: "full" };

export type PutResult = { readonly kind: "created" | "exists"; readonly body: SubscriptionBody } | Refused;

export interface Claimed {
  readonly kind: "claimed";
  readonly wakeId: string;
  readonly generation: number;
  readonly token: string;
  readonly streams: readonly StreamInfo[];
  readonly leaseTtlMs: number;
}

export type ClaimResult =
  | Claimed
  | { readonly kind: "held"; readonly holder: string; readonly generation: number }
  | SubscriptionRefusal;

export type AckResult = { readonly kind: "acked"; readonly nextWake: boolean } | SubscriptionRefusal;

interface Decision<T> {
  readonly batch: Batch | null;
  readonly answer: () => T;
}

/** A decision, or what has to happen before there can be one. */
type Attempt<T> = Decision<T> | Promise<unknown>;

export interface SubscriptionServicePorts extends Omit<BackfillPorts, "book"> {
  readonly book: SubscriptionBook;
  readonly tokens: WakeTokens;
  /** Said of webhooks; null when receivers are told nothing. */
  readonly signing: WebhookSigning | null;
  readonly clock: Clock;
}

export class SubscriptionService {
  readonly #ports: SubscriptionServicePorts;
  readonly #book: SubscriptionBook;
  readonly #tokens: WakeTokens;

  constructor(ports: SubscriptionServicePorts) {
    this.#ports = ports;
    this.#book = ports.book;
    this.#tokens = ports.tokens;
  }

  /** Section 6.2. `rejected` is why its webhook may not be called, or null. @throws StreamError wal-full, disk-full, corrupt-catalog */
  async put(name: string, config: SubscriptionConfig, rejected: string | null): Promise<PutResult> {
    const configHash = createHash("sha256").update(canonicalConfig(config)).digest("hex");
    type Put = { readonly kind: "created" | "exists"; readonly subscription: Subscription } | Refused;
    const result = await this.#decide<Put>(name, (known, now) => {
      const rests = known?.lastBatch ?? null;
      const verdict = decideSubscribe(known?.pending, configHash);
      if (verdict === "conflict") {
        const refusal = refuse("SUBSCRIPTION_ALREADY_EXISTS", "a subscription of that id has another configuration");
        return { batch: rests, answer: () => refusal };
      }
      if (verdict === "exists") {
        if (known!.backfill !== null) return known!.backfill;
        return { batch: rests, answer: () => ({ kind: "exists", subscription: known! }) };
      }
      const refusal = this.#refuseConfig(config, rejected);
      if (refusal !== null) return { batch: null, answer: () => refusal };
      this.#ports.queue().admit(0);
      const links = config.streams.map((path) => this.#newLink(path));
      const subscription = this.#book.create({ name, config, configHash }, links, now);
      if (config.pattern !== null) this.#startBackfill(subscription, config.pattern);
      return { batch: subscription.lastBatch, answer: () => ({ kind: "created", subscription }) };
    });
    if (!("subscription" in result)) return result;
    const { subscription } = result;
    if (subscription.backfill !== null) await subscription.backfill;
    if (subscription.refusal === "too-many") {
      return refuse("INVALID_REQUEST", `the pattern matches more than ${SUBSCRIPTION_LINKS_MAX} streams`);
    }
    if (subscription.refusal !== null) throw subscription.refusal;
    const body = await this.#describe(subscription);
    return body === null ? notFound() : { kind: result.kind, body };
  }

  /** Section 6.3. Null when there is none. @throws StreamError corrupt-catalog */
  async get(name: string): Promise<SubscriptionBody | null> {
    const subscription = await this.#decide(name, (known, _now, rests) => ({
      batch: known?.lastBatch ?? rests,
      answer: () => known,
    }));
    return subscription === undefined ? null : this.#describe(subscription);
  }

  /** Section 6.3; of one that is not there as well. */
  async remove(name: string): Promise<void> {
    await this.#decide(name, (known, now, rests) => {
      const change = known === undefined ? null : decideUnsubscribe(known.pending);
      const batch = change === null ? rests : this.#book.enqueue(known!, change, now);
      return { batch, answer: () => undefined };
    });
  }

  /** Section 6.4. @throws StreamError wal-full, disk-full, corrupt-catalog */
  addStreams(name: string, paths: readonly string[]): Promise<SubscriptionRefusal | null> {
    return this.#decide<SubscriptionRefusal | null>(name, (known, now, rests) => {
      if (known === undefined) return { batch: rests, answer: notFound };
      if (paths.includes(known.pending.config.wakeStream ?? "")) return { batch: null, answer: ownWakeStream };
      const changes = paths.map((path) =>
        decideLink(this.#book.links.load(known, path), path, this.#book.tails(path).pending),
      );
      const change = linkChange(known.pending, changes);
      if (change === null) return { batch: known.lastBatch, answer: () => null };
      if (this.#book.links.count(known) + paths.length > SUBSCRIPTION_LINKS_MAX) {
        const detail = `a subscription follows at most ${SUBSCRIPTION_LINKS_MAX} streams`;
        return { batch: null, answer: () => refuse("INVALID_REQUEST", detail) };
      }
      this.#ports.queue().admit(0);
      return { batch: this.#book.enqueue(known, change, now), answer: () => null };
    });
  }

  /** Section 6.4. @throws StreamError corrupt-catalog */
  removeStream(name: string, path: string): Promise<SubscriptionRefusal | null> {
    return this.#decide<SubscriptionRefusal | null>(name, (known, now, rests) => {
      if (known === undefined) return { batch: rests, answer: notFound };
      const { pattern } = known.pending.config;
      const matches = pattern !== null && !this.#book.table.isWakeStream(path) && globMatch(pattern, path);
      const stays = matches && this.#book.tails(path).pending !== null;
      const change = linkChange(known.pending, [decideUnlink(this.#book.links.load(known, path), stays)]);
      const batch = change === null ? known.lastBatch : this.#book.enqueue(known, change, now);
      return { batch, answer: () => null };
    });
  }

  /** Section 7.2. @throws StreamError wal-full, disk-full, corrupt-catalog */
  async claim(name: string, worker: string): Promise<ClaimResult> {
    type Grant = {
      readonly kind: "granted";
      readonly subscription: Subscription;
      readonly wakeId: string;
      readonly generation: number;
    };
    const result = await this.#decide<Grant | Exclude<ClaimResult, Claimed>>(name, (known, now, rests) => {
      if (known === undefined) return { batch: rests, answer: notFound };
      if (!known.workKnown) return this.#book.findWork(known);
      const decision = decideClaim(known.pending, {
        worker,
        pendingPath: known.pending.config.type === "pull-wake" ? this.#book.firstWork(known) : null,
        wakeId: newWakeId(),
        nowMs: now,
      });
      const unchangedBatch = known.lastBatch;
      switch (decision.kind) {
        case "refused":
        case "held":
          return { batch: unchangedBatch, answer: () => decision };
        case "idle": {
          const { change } = decision;
          const batch = change === null ? unchangedBatch : this.#book.enqueue(known, change, now);
          return { batch, answer: () => refuse("NO_PENDING_WORK", "no stream has more than was acknowledged") };
        }
        case "claimed": {
          this.#ports.queue().admit(0);
          const { wakeId, generation } = decision;
          const batch = this.#book.enqueue(known, decision.change, now);
          return { batch, answer: () => ({ kind: "granted", subscription: known, wakeId, generation }) };
        }
      }
    });
    if (result.kind !== "granted") return result;
    const { subscription, wakeId, generation } = result;
    const streams = streamInfos(this.#book, subscription);
    const token = this.#tokens.mint(subscription, generation, "claim");
    return { kind: "claimed", wakeId, generation, token, streams, leaseTtlMs: subscription.pending.config.leaseTtlMs };
  }

  /** Sections 7.1 and 7.2. @throws StreamError wal-full, disk-full, corrupt-catalog */
  ack(name: string, endpoint: "callback" | "ack", text: string, request: AckRequest): Promise<AckResult> {
    const kind = endpoint === "ack" ? "claim" : "callback";
    return this.#decide<AckResult>(name, (known, now, rests) => {
      if (known === undefined) return { batch: rests, answer: notFound };
      const token = this.#tokens.read(known, kind, text, now);
      if ("kind" in token) return { batch: null, answer: () => token };
      if (request.done && !known.workKnown) return this.#book.findWork(known);
      const links = new Map<string, SubscriptionLink>();
      const tails = new Map<string, string | null>();
      for (const { path } of request.acks) {
        const link = this.#book.links.load(known, path);
        if (link === undefined) continue;
        links.set(path, link);
        tails.set(path, this.#book.tails(path).durable);
      }
      const decision = decideAck(known.pending, { endpoint, token, request, links, tails, nowMs: now });
      if (decision.kind === "refused") return { batch: known.lastBatch, answer: () => decision };
      const foreign = decision.change.links.find(({ path, acked }) => !this.#book.has(path, acked));
      if (foreign !== undefined) {
        const detail = `ack of ${foreign.path} at an offset that the stream which has the path now does not have`;
        return { batch: known.lastBatch, answer: () => refuse("INVALID_OFFSET", detail) };
      }
      this.#ports.queue().admit(0);
      const batch = this.#book.enqueue(known, decision.change, now);
      const nextWake = decision.done && this.#book.rewake(known, now);
      return { batch, answer: () => ({ kind: "acked", nextWake }) };
    });
  }

  /** Section 7.2. Null when it was released. @throws StreamError wal-full, disk-full, corrupt-catalog */
  release(name: string, text: string, request: AckRequest): Promise<SubscriptionRefusal | null> {
    return this.#decide<SubscriptionRefusal | null>(name, (known, now, rests) => {
      if (known === undefined) return { batch: rests, answer: notFound };
      const token = this.#tokens.read(known, "claim", text, now);
      if ("kind" in token) return { batch: null, answer: () => token };
      if (!known.workKnown) return this.#book.findWork(known);
      const decision = decideRelease(known.pending, { token, request, nowMs: now });
      if (decision.kind === "refused") return { batch: known.lastBatch, answer: () => decision };
      this.#ports.queue().admit(0);
      const batch = this.#book.enqueue(known, decision.change, now);
      this.#book.rewake(known, now);
      return { batch, answer: () => null };
    });
  }

  /** `rests`: the batch of a delete that is under way, without which there would be a subscription. */
  async #decide<T>(
    name: string,
    decide: (known: Subscription | undefined, nowMs: number, rests: Batch | null) => Attempt<T>,
  ): Promise<T> {
    for (;;) {
      const found = this.#book.table.find(name);
      const known = found?.pending.deleted === false ? found : undefined;
      const attempt = decide(known, this.#ports.clock(), found?.lastBatch ?? null);
      if (attempt instanceof Promise) {
        await attempt;
        continue;
      }
      if (attempt.batch !== null) await durable(attempt.batch);
      return attempt.answer();
    }
  }

  #refuseConfig(config: SubscriptionConfig, rejected: string | null): Refused | null {
    if (rejected !== null) return refuse("WEBHOOK_URL_REJECTED", rejected);
    if (config.streams.includes(config.wakeStream ?? "")) return ownWakeStream();
    return this.#book.table.size >= SUBSCRIPTIONS_MAX ? { kind: "full" } : null;
  }

  #newLink(path: string): SubscriptionLink {
    const change = decideLink(undefined, path, this.#book.tails(path).pending);
    if (change.kind !== "set") throw new Error(`a new link to "${path}" changes nothing`);
    return change.link;
  }

  /** A subscription whose links cannot all be made does not stay. */
  #startBackfill(subscription: Subscription, pattern: string): void {
    const undo = (): void => {
      const change = decideUnsubscribe(subscription.pending);
      if (change !== null) this.#book.enqueue(subscription, change, this.#ports.clock());
    };
    subscription.backfill = backfill(this.#ports, subscription, pattern)
      .then(
        (complete) => {
          if (complete) return;
          undo();
          subscription.refusal = "too-many";
        },
        (error: unknown) => {
          undo();
          subscription.refusal = error as Error;
        },
      )
      .finally(() => (subscription.backfill = null));
  }

  /** Null when it was deleted. */
  async #describe(subscription: Subscription): Promise<SubscriptionBody | null> {
    const links = new Map<string, SubscriptionLink>();
    await this.#book.links.each(subscription, (path) => {
      const link = links.size < SUBSCRIPTION_LINKS_MAX ? this.#book.links.load(subscription, path) : undefined;
      if (link !== undefined) links.set(path, link);
    });
    const { pending, lastBatch } = subscription;
    if (lastBatch !== null) await durable(lastBatch);
    if (pending.deleted) return null;
    const sorted = [...links.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
    return subscriptionBody(pending, sorted, { signing: this.#ports.signing });
  }
}

function notFound(): SubscriptionRefusal {
  return refuse("SUBSCRIPTION_NOT_FOUND", "there is no such subscription");
}

function ownWakeStream(): SubscriptionRefusal {
  return refuse("INVALID_REQUEST", "a subscription cannot follow its own wake_stream: each wake would cause the next");
}
