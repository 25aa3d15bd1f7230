/** Writers, workers and an owner who makes and unmakes subscriptions, against one server process. */
import { setMaxListeners } from "node:events";
import { setTimeout as pause } from "node:timers/promises";
import type { StreamClient } from "../../process/http.ts";
import type { AckKind } from "../ack-bell.ts";
import { Violation } from "../incarnation.ts";
import { SeededRandom } from "../random.ts";
import type { SubscriptionSlot } from "./book.ts";
import type { FollowedStream } from "./followed-stream.ts";
import type { SubscriptionLife } from "./subscription-life.ts";
import { checkSubscription } from "./oracle.ts";
import {
  addLink,
  append,
  createStream,
  createSubscription,
  deleteStream,
  deleteSubscription,
  reconfirm,
  removeLink,
} from "./requests.ts";
import type { SubscriptionRig } from "./rig.ts";
import { isLoss, PullWorker } from "./workers.ts";

const OWNER_STEPS = { look: 30, reconfirm: 15, conflict: 8, toggle: 40, remove: 14 } as const;
/** What an owner does next while somebody waits for an acknowledgement of that kind. */
const HURRIED: Partial<Record<AckKind, keyof typeof OWNER_STEPS>> = {
  "subscription create": "remove",
  "subscription delete": "remove",
  link: "toggle",
};
/** A worker that waits for an event looks up so often whether its subscription is still there. */
const WAIT_MS = 600;

export class SubscriptionLoad {
  readonly #rig: SubscriptionRig;
  readonly #client: StreamClient;
  readonly #stop = new AbortController();
  readonly #done: Promise<unknown>;
  #lossExpected: boolean;
  /** Owners see to it that there soon is an acknowledgement of that kind. */
  hurry: AckKind | null = null;

  constructor(rig: SubscriptionRig, client: StreamClient, seed: number, lossExpected: boolean) {
    this.#rig = rig;
    this.#client = client;
    this.#lossExpected = lossExpected;
    setMaxListeners(0, this.#stop.signal);
    const { streams, slots } = rig.book;
    let tasks = 0;
    const random = (): SeededRandom => new SeededRandom(seed * 1_000 + 500 + (tasks += 1));
    this.#done = Promise.all([
      ...streams.map((stream) => this.#repeat(random(), (own) => this.#write(stream, own))),
      ...slots.map((slot) => this.#repeat(random(), (own) => this.#own(slot, own))),
      ...slots.flatMap((slot) =>
        Array.from({ length: slot.workers }, (_, index) =>
          this.#repeat(random(), (own) => this.#work(slot, index, own)),
        ),
      ),
    ]);
  }

  expectLoss(): void {
    this.#lossExpected = true;
  }

  /** Resolves when all have stopped. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#done;
  }

  /** A lost connection ends the task; anything else is a violation. */
  async #repeat(random: SeededRandom, step: (random: SeededRandom) => Promise<void>): Promise<void> {
    try {
      while (!this.#stop.signal.aborted) await step(random);
    } catch (error) {
      if (isLoss(error) && (this.#lossExpected || this.#stop.signal.aborted)) return;
      this.#rig.violated(
        error instanceof Violation ? error : new Violation(`subscriptions: ${String(error)}`, { cause: error }),
      );
    }
  }

  async #write(stream: FollowedStream, random: SeededRandom): Promise<void> {
    const { book } = this.#rig;
    const life = stream.current;
    if (life === undefined) {
      return createStream(book, this.#client, stream, random.chance(0.5) ? `created at ${book.tick()}` : null);
    }
    if (stream.comesAndGoes && random.chance(0.04)) return deleteStream(this.#client, stream, life);
    await append(this.#client, life, "x".repeat(random.integer(1, 60)));
    await pause(random.chance(0.3) ? 0 : random.integer(10, 200));
  }

  async #own(slot: SubscriptionSlot, random: SeededRandom): Promise<void> {
    const { book, channel } = this.#rig;
    const life = slot.current;
    if (life === undefined) return createSubscription(book, this.#client, slot, channel);
    await pause(random.integer(10, 250));
    switch (HURRIED[this.hurry ?? "append"] ?? random.weighted(OWNER_STEPS)) {
      case "look":
        return checkSubscription(book, this.#client, slot);
      case "reconfirm":
        return reconfirm(this.#client, life, true);
      case "conflict":
        return reconfirm(this.#client, life, false);
      case "toggle":
        return this.#toggle(slot, life, random);
      case "remove":
        return slot.comesAndGoes ? deleteSubscription(book, this.#client, slot, life) : undefined;
    }
  }

  async #toggle(slot: SubscriptionSlot, life: SubscriptionLife, random: SeededRandom): Promise<void> {
    if (slot.toggles.length === 0) return;
    const { book } = this.#rig;
    const path = random.pick(slot.toggles);
    const isLinked = life.explicit.get(path) === "yes";
    const change = isLinked ? removeLink : addLink;
    return change(book, this.#client, life, path);
  }

  async #work(slot: SubscriptionSlot, index: number, random: SeededRandom): Promise<void> {
    const life = slot.current;
    if (life?.isThere !== true) return pause(10);
    const worker = this.#rig.worker(life, index, () => new PullWorker(`${life.name} worker ${index}`, life));
    const waited = AbortSignal.timeout(WAIT_MS);
    try {
      await worker.step(this.#rig.book, this.#client, random, AbortSignal.any([this.#stop.signal, waited]));
    } catch (error) {
      if (!isLoss(error) || !waited.aborted) throw error;
      // The server may be gone as well: the next step then tells.
    }
  }
}
