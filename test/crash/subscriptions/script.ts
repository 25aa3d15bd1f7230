/** One pull-wake and one webhook subscription, worked on step by step: each step is exactly one commit. */
import type { StreamClient } from "../../process/http.ts";
import { until } from "../../process/until.ts";
import { SubscriptionBook, SubscriptionSlot } from "./book.ts";
import { FollowedStream, type StreamLife } from "./followed-stream.ts";
import { ack, append, createStream, createSubscription, deleteSubscription, type Work } from "./requests.ts";
import type { SubscriptionRig } from "./rig.ts";
import { WakeReader, wholeAcks } from "./workers.ts";

/** By the commit that they are, counted from 1. */
export const PULL_STEPS = [
  "wake",
  "claim",
  "ack",
  "append while it is held",
  "last ack and next wake",
  "delete",
] as const;
export const HOOK_STEPS = ["wake of a webhook", "done of a webhook"] as const;
export type ScriptStep = (typeof PULL_STEPS)[number] | (typeof HOOK_STEPS)[number];

const LEASE_MS = 1_000;
const STEP_BOUND_MS = 30_000;

export function scriptBook(prefix: string): SubscriptionBook {
  const plan = { streams: [], leaseTtlMs: LEASE_MS };
  return new SubscriptionBook(
    [new FollowedStream(`${prefix}/pulled/a`, false), new FollowedStream(`${prefix}/hooked/a`, false)],
    [
      new SubscriptionSlot(`${prefix}-pull`, { ...plan, type: "pull-wake", pattern: `${prefix}/pulled/*` }),
      new SubscriptionSlot(`${prefix}-hook`, { ...plan, type: "webhook", pattern: `${prefix}/hooked/*` }),
    ],
  );
}

export class SubscriptionScript {
  readonly #rig: SubscriptionRig;
  /** The step that was last begun. */
  step: ScriptStep | null = null;

  constructor(rig: SubscriptionRig) {
    this.#rig = rig;
  }

  /** Makes what is not there yet. @throws ConnectionLost, Violation */
  async prepare(client: StreamClient): Promise<void> {
    const { book, channel } = this.#rig;
    for (const stream of book.streams) {
      if (stream.current === undefined) await createStream(book, client, stream, null);
    }
    for (const slot of book.slots) {
      if (slot.current === undefined) await createSubscription(book, client, slot, channel);
    }
  }

  /** @throws ConnectionLost, Violation */
  async pull(client: StreamClient): Promise<void> {
    const { book } = this.#rig;
    const [slot] = book.slots;
    const life = slot?.current;
    if (slot === undefined || life === undefined) throw new Error("the script's subscription is not there");
    const stream = this.#stream(0);
    const before = life.leases.newest;
    this.step = "wake";
    await append(client, stream, "first");
    const reader = new WakeReader("the script's worker", life, before);
    while (!reader.isCalled) await reader.read(book, client, AbortSignal.timeout(STEP_BOUND_MS));
    this.step = "claim";
    const work: Work = (await reader.claim(book, client)) ?? life.fail("its only worker got no work");
    const acks = wholeAcks(work.streams);
    this.step = "ack";
    await ack(book, client, life, work, { acks, done: false });
    this.step = "append while it is held";
    await append(client, stream, "second");
    this.step = "last ack and next wake";
    await ack(book, client, life, work, { acks, done: true });
    this.step = "delete";
    await deleteSubscription(book, client, slot, life);
  }

  /** Resolves when the receiver has done the work, or when `isOver` says so. @throws ConnectionLost, Violation */
  async hook(client: StreamClient, isOver: () => boolean): Promise<void> {
    const { counts } = this.#rig.book;
    const before = counts.webhooks;
    this.step = "wake of a webhook";
    await append(client, this.#stream(1), "first");
    this.step = "done of a webhook";
    await until("the webhook", STEP_BOUND_MS, () => counts.webhooks > before || isOver() || undefined);
  }

  #stream(index: number): StreamLife {
    const life = this.#rig.book.streams[index]?.current;
    if (life === undefined) throw new Error("the script's stream is not there");
    return life;
  }
}
