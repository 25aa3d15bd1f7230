/** Those who do a subscription's work, well or badly: pull-wake workers, and what a webhook's receiver does with a wake. */
import { setTimeout as pause } from "node:timers/promises";
import { ConnectionLost, expectStatus, nextOffset, type StreamClient } from "../../process/http.ts";
import type { SeededRandom } from "../random.ts";
import type { SubscriptionBook } from "./book.ts";
import type { ShownStream, StreamAck, SubscriptionLife } from "./subscription-life.ts";
import { ack, claim, forge, parseReply, release, type Work } from "./requests.ts";

const STYLES = { finish: 45, partly: 20, linger: 8, release: 8, forget: 6, zombie: 6, forge: 7 } as const;
export type WorkStyle = keyof typeof STYLES;

/** Acks of all that a wake told of. */
export function wholeAcks(streams: readonly ShownStream[]): StreamAck[] {
  return streams
    .filter((stream) => stream.has_pending)
    .map(({ path, tail_offset: offset }) => ({ stream: path, offset }));
}

/** Acks of some of it, at offsets between cursor and tail where some are known. */
function someAcks(book: SubscriptionBook, streams: readonly ShownStream[], random: SeededRandom): StreamAck[] {
  const acks: StreamAck[] = [];
  for (const { path, acked_offset: acked, tail_offset: tail, has_pending: hasPending } of streams) {
    if (!hasPending || random.chance(0.4)) continue;
    const between = (book.lifeOf(path)?.offsets ?? []).filter((offset) => offset > acked && offset <= tail);
    acks.push({ stream: path, offset: between.length === 0 ? tail : random.pick(between) });
  }
  return acks;
}

/**
 * Does the work in one of many ways, some of which leave the lease to run out.
 * @throws ConnectionLost, Violation
 */
export async function doWork(
  book: SubscriptionBook,
  client: () => Promise<StreamClient>,
  life: SubscriptionLife,
  work: Work,
  random: SeededRandom,
  style: WorkStyle = random.weighted(STYLES),
): Promise<void> {
  const all = wholeAcks(work.streams);
  const send = async (acks: readonly StreamAck[], done: boolean): Promise<boolean> =>
    (await ack(book, await client(), life, work, { acks, done })) === "accepted";
  const finish = async (): Promise<void> => {
    if (!(await send(all, true)) && !work.hold.over) await send([], true);
  };
  switch (style) {
    case "finish":
      return finish();
    case "partly":
      if (!(await send(someAcks(book, work.streams, random), random.chance(0.4)))) return;
      if (!work.hold.over && random.chance(0.8)) await finish();
      return;
    case "linger":
      for (let beats = random.integer(1, 4); beats > 0; beats -= 1) {
        await pause(random.integer(50, 350));
        if (!(await send([], false))) return;
      }
      return finish();
    case "release":
      return life.plan.type === "webhook" ? finish() : release(await client(), life, work);
    case "forget":
      return;
    case "zombie":
      await pause(random.integer(600, 1_800));
      await send(all, random.chance(0.5));
      return;
    case "forge":
      await forge(await client(), life, work);
      return finish();
  }
}

interface WakeEventShown {
  readonly type: string;
  readonly subscription_id: string;
  readonly stream: string;
  readonly generation: number;
}

/**
 * Reads a wake stream and claims for an event, and for nothing else: who claimed unasked would hide a wake that was lost.
 * It outlives the server, as a worker's own process would.
 */
export class WakeReader {
  readonly name: string;
  readonly #life: SubscriptionLife;
  #offset = "-1";
  #newest = 0;
  /** Wakes up to this number were claimed, or are somebody else's. */
  handled: number;

  constructor(name: string, life: SubscriptionLife, handled = 0) {
    this.name = name;
    this.#life = life;
    this.handled = handled;
  }

  /** An event waits for a claim. */
  get isCalled(): boolean {
    return this.#newest > this.handled;
  }

  /** Reads on; waits for an event when `signal` is given and none waits already. @throws ConnectionLost, Violation */
  async read(book: SubscriptionBook, client: StreamClient, signal?: AbortSignal): Promise<void> {
    const path = this.#life.wakeStream ?? this.#life.fail("it has no wake stream");
    const waits = signal !== undefined && !this.isCalled && this.#offset !== "-1";
    const reply = await (waits
      ? client.longPoll(path, this.#offset, undefined, signal)
      : client.read(path, { offset: this.#offset }));
    expectStatus(reply, `read of ${path} from ${this.#offset}`, 200, 204);
    this.#offset = nextOffset(reply);
    for (const event of reply.status === 204 ? [] : parseReply<readonly WakeEventShown[]>(reply)) {
      this.#take(book, event);
    }
  }

  /** Claims for the newest event. Null when the work is somebody else's, or done. @throws ConnectionLost, Violation */
  async claim(book: SubscriptionBook, client: StreamClient): Promise<Work | null> {
    const asked = this.#newest;
    const outcome = await claim(book, client, this.#life, this.name);
    const generation = outcome.kind === "work" ? outcome.work.hold.generation : outcome.generation;
    this.handled = Math.max(this.handled, asked, generation);
    return outcome.kind === "work" ? outcome.work : null;
  }

  #take(book: SubscriptionBook, { type, subscription_id: id, stream, generation }: WakeEventShown): void {
    const life = this.#life;
    if (type !== "wake" || id !== life.id) life.fail(`its wake stream has an event of type ${type} for ${id}`);
    if (generation <= this.#newest) {
      life.fail(`its wake stream has an event of generation ${generation} behind one of ${this.#newest}`);
    }
    life.mayFollow(stream, `the wake event of generation ${generation}`);
    this.#newest = generation;
    book.see(life, generation);
  }
}

/** One pull-wake worker: reads, claims, works, sometimes claims unasked, sometimes goes on where a kill stopped it. */
export class PullWorker {
  readonly reader: WakeReader;
  readonly life: SubscriptionLife;
  #inHand: Work | null = null;

  constructor(name: string, life: SubscriptionLife) {
    this.life = life;
    this.reader = new WakeReader(name, life);
  }

  /** @throws ConnectionLost, Violation */
  async step(book: SubscriptionBook, client: StreamClient, random: SeededRandom, signal: AbortSignal): Promise<void> {
    if (this.#inHand !== null) {
      const work = this.#inHand;
      // The answer to its last request never came: it sends another, or is heard of no more.
      const style = random.chance(0.5) ? "finish" : "forget";
      await doWork(book, async () => client, this.life, work, random, style);
      this.#inHand = null;
    }
    await this.reader.read(book, client, signal);
    if (this.life.deleted !== "no") return;
    if (!this.reader.isCalled && !random.chance(0.05)) return;
    const work = await this.reader.claim(book, client);
    if (work === null) return;
    this.#inHand = work;
    await doWork(book, async () => client, this.life, work, random);
    this.#inHand = null;
  }
}

/** Whether a request ended because of its server's end or because nobody waits for it any more. */
export function isLoss(error: unknown): boolean {
  return error instanceof ConnectionLost;
}
