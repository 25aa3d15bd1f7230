/** All that lives as long as a crash run: the book, the webhooks' receiver, the workers, and work that outlasts a server. */
import { setTimeout as pause } from "node:timers/promises";
import { ConnectionLost, StreamClient } from "../../process/http.ts";
import { Violation } from "../incarnation.ts";
import { SeededRandom } from "../random.ts";
import { SubscriptionBook, SubscriptionSlot } from "./book.ts";
import { FollowedStream } from "./followed-stream.ts";
import type { SubscriptionLife } from "./subscription-life.ts";
import { checkAll, drain } from "./oracle.ts";
import { WebhookKeys, WebhookReceiver, type Jwk } from "./receiver.ts";
import { append, parseReply, type Work } from "./requests.ts";
import { WakeDesk } from "./wakes.ts";
import { doWork, isLoss, type PullWorker } from "./workers.ts";

const LEASE_MS = 1_000;
/** What a server under test needs beside its usual arguments. */
export const SUBSCRIPTION_ARGS: readonly string[] = ["--webhook-loopback", "on"];

/** Streams and subscriptions of every kind, of which some come and go. */
function plant(prefix: string): SubscriptionBook {
  const steady = ["events/a", "events/b", "events/c", "events/deep/d", "extra/e", "other/f"];
  const fleeting = ["events/g", "events/deep/h", "extra/i"];
  const streams = [
    ...steady.map((path) => new FollowedStream(`${prefix}/${path}`, false)),
    ...fleeting.map((path) => new FollowedStream(`${prefix}/${path}`, true)),
  ];
  const near = `${prefix}/events/*`;
  const deep = `${prefix}/events/**`;
  const extra = [`${prefix}/extra/e`, `${prefix}/extra/i`];
  const plan = { streams: [], pattern: null, leaseTtlMs: LEASE_MS };
  const id = (name: string): string => `${prefix}-${name}`;
  return new SubscriptionBook(streams, [
    new SubscriptionSlot(id("hook"), { ...plan, type: "webhook", pattern: near }),
    new SubscriptionSlot(
      id("hook-comes-and-goes"),
      { ...plan, type: "webhook", pattern: deep, streams: extra },
      { comesAndGoes: true },
    ),
    new SubscriptionSlot(id("pull"), { ...plan, type: "pull-wake", pattern: deep }, { workers: 3 }),
    new SubscriptionSlot(
      id("pull-explicit"),
      { ...plan, type: "pull-wake", streams: extra },
      { workers: 2, toggles: extra },
    ),
    new SubscriptionSlot(
      id("pull-comes-and-goes"),
      { ...plan, type: "pull-wake", pattern: near, streams: extra.slice(0, 1) },
      { comesAndGoes: true, workers: 2, toggles: [`${prefix}/events/a`, `${prefix}/events/g`] },
    ),
  ]);
}

/** Opens when a server is there. */
class Arrival {
  readonly promise: Promise<void>;
  #open: () => void = () => undefined;

  constructor() {
    this.promise = new Promise((resolve) => {
      this.#open = resolve;
    });
  }

  open(): void {
    this.#open();
  }
}

export class SubscriptionRig {
  readonly book: SubscriptionBook;
  readonly #receiver: WebhookReceiver;
  readonly #desk: WakeDesk;
  readonly #keys: WebhookKeys;
  readonly #random: SeededRandom;
  readonly #violations: Violation[];
  readonly #prefix: string;
  readonly #workers = new Map<string, PullWorker>();
  /** Work that is called back for, and goes on over a restart. */
  readonly #inHand = new Set<Promise<void>>();
  #client: StreamClient | null = null;
  #arrival = new Arrival();
  #isClosed = false;

  private constructor(
    prefix: string,
    ports: { receiver: WebhookReceiver; desk: WakeDesk; keys: WebhookKeys; book: SubscriptionBook },
    random: SeededRandom,
    violations: Violation[],
  ) {
    this.#prefix = prefix;
    this.book = ports.book;
    this.#receiver = ports.receiver;
    this.#desk = ports.desk;
    this.#keys = ports.keys;
    this.#random = random;
    this.#violations = violations;
  }

  /** `violations` gets what is found in the background. */
  static async open(
    prefix: string,
    seed: number,
    violations: Violation[],
    book: SubscriptionBook = plant(prefix),
  ): Promise<SubscriptionRig> {
    const keys = new WebhookKeys();
    const random = new SeededRandom(seed);
    const later = (life: SubscriptionLife, work: Work): void => rig.#takeOver(life, work);
    const violated = (violation: Violation): void => void violations.push(violation);
    const desk = new WakeDesk({ book, keys, random, violated, later });
    const receiver = await WebhookReceiver.listen(async (call) => desk.answer(call));
    const rig: SubscriptionRig = new SubscriptionRig(prefix, { receiver, desk, keys, book }, random, violations);
    return rig;
  }

  /** Where subscriptions tell of their wakes. */
  get channel(): { readonly wakeRoot: string; readonly hookRoot: string } {
    return { wakeRoot: `${this.#prefix}/wake`, hookRoot: this.#receiver.url };
  }

  /** Whether the receiver does each webhook's work at once, and nothing else. */
  set isDiligent(value: boolean) {
    this.#desk.isDiligent = value;
  }

  violated(violation: Violation): void {
    this.#violations.push(violation);
  }

  /** The worker of that life and number, made once. */
  worker(life: SubscriptionLife, index: number, make: () => PullWorker): PullWorker {
    const key = `${life.name}#${index}`;
    let worker = this.#workers.get(key);
    if (worker === undefined) {
      worker = make();
      this.#workers.set(key, worker);
    }
    return worker;
  }

  /** A server listens: work in hand goes on there, and all that it says is checked. @throws Violation, ConnectionLost */
  async attach(url: string): Promise<void> {
    this.detach();
    this.#client = new StreamClient(url);
    const reply = await this.#client.request("GET", "__ds/jwks.json");
    this.#keys.learn(parseReply<{ readonly keys: readonly Jwk[] }>(reply).keys);
    this.#arrival.open();
    await checkAll(this.book, this.#client);
  }

  /** The server is gone, or about to go. */
  detach(): void {
    if (this.#client === null) return;
    this.#client[Symbol.dispose]();
    this.#client = null;
    this.#arrival = new Arrival();
  }

  /**
   * Nobody writes: everybody works until all is acknowledged. Where it `forgets`, there is work for all, and each first lease of it
   * is left to run out: only a wake for that brings the work about. @throws Violation, ConnectionLost
   */
  async drain(forgets = false): Promise<void> {
    const client = this.#client;
    if (client === null) throw new Error("there is no server to drain");
    const { isDiligent } = this.#desk;
    this.#desk.isDiligent = true;
    try {
      if (forgets) await this.#leaveWork(client);
      await drain(this.book, client, this.#random, {
        handled: (life) => this.#handled(life),
        violations: this.#violations,
        forgets,
      });
      await checkAll(this.book, client);
    } finally {
      this.#desk.isDiligent = isDiligent;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    this.detach();
    this.#arrival.open();
    await Promise.all(this.#inHand);
    await this.#receiver[Symbol.asyncDispose]();
  }

  async #leaveWork(client: StreamClient): Promise<void> {
    const lives = this.book.slots.flatMap(({ current }) => current ?? []);
    for (const life of lives) if (life.plan.type === "webhook") this.#desk.toForget.add(life);
    const streams = this.book.streams.flatMap(({ path }) => this.book.lifeOf(path) ?? []);
    await Promise.all(streams.map((stream) => append(client, stream, "work for all")));
  }

  #handled(life: SubscriptionLife): number {
    const of = [...this.#workers.values()].filter((worker) => worker.life === life);
    return Math.max(0, ...of.map((worker) => worker.reader.handled));
  }

  #takeOver(life: SubscriptionLife, work: Work): void {
    const task = this.#callBack(life, work).finally(() => this.#inHand.delete(task));
    this.#inHand.add(task);
  }

  /** Calls back, again and again while no answer comes: a request whose answer was lost may be made once more. */
  async #callBack(life: SubscriptionLife, work: Work): Promise<void> {
    const client = async (): Promise<StreamClient> => {
      await this.#arrival.promise;
      if (this.#client === null) throw new ConnectionLost("there is no server now");
      return this.#client;
    };
    await pause(this.#random.integer(0, 300));
    while (!this.#isClosed && !work.hold.over) {
      try {
        return await doWork(this.book, client, life, work, this.#random);
      } catch (error) {
        if (!isLoss(error)) {
          return this.violated(error instanceof Violation ? error : new Violation(`callback: ${String(error)}`));
        }
        await pause(20);
      }
    }
  }
}
