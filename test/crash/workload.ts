/** Mixed writes on every slot at once, each slot one step at a time, until the connection is lost or the load is stopped. */
import { setMaxListeners } from "node:events";
import { setTimeout as pause } from "node:timers/promises";
import {
  ConnectionLost,
  expectStatus,
  header,
  isClosed,
  nextOffset,
  type ProducerTuple,
  type StreamClient,
} from "../process/http.ts";
import { planFork } from "./fork-plan.ts";
import type { History, Slot } from "./history.ts";
import { Violation, type Incarnation, type IncarnationConfig, type Write } from "./incarnation.ts";
import { CONTENT_TYPES, makePayload, type StreamKind } from "./messages.ts";
import { SeededRandom } from "./random.ts";
import { followSlot } from "./readers.ts";
import { ALONE, recordWrite, sendCreate, sendDelete, sendWrite, type Races, type WriteRequest } from "./requests.ts";
import { knockTombstone } from "./tombstones.ts";

const STREAM_BYTES_MAX = 192 * 1024;
const ELDER_BYTES_MAX = 1024 * 1024;
/** How many of the streams that come and go begin as forks, when there is something to fork. */
const FORK_SHARE = 0.6;
/** At each step, the chance that a fork goes whose source is kept for its forks only. */
const LEAVE_SHARE = 0.06;
/** Slots below this keep their stream for long; the others come and go. */
const ELDERS = 4;
const KINDS: readonly StreamKind[] = ["octet", "text", "json"];
const A_DAY_MS = 86_400_000;

const STEPS = {
  append: 40,
  burst: 22,
  batch: 8,
  produce: 25,
  twin: 6,
  sequence: 12,
  look: 6,
  close: 1,
  produceClose: 1,
  appendClose: 2,
  closeRace: 2,
  remove: 3,
  removeRace: 2,
} as const;

function configOf(slot: Slot, random: SeededRandom): IncarnationConfig {
  const kind = KINDS[slot.index % KINDS.length] ?? "octet";
  const config = { kind, contentType: CONTENT_TYPES[kind], ttlSeconds: null, expiresAt: null, fleeting: false };
  if (slot.index % 10 === 9) return { ...config, ttlSeconds: 1, fleeting: true };
  if (slot.index % 10 === 8) return { ...config, ttlSeconds: random.integer(86_400, 172_800) };
  if (slot.index % 10 !== 7) return config;
  return { ...config, expiresAt: new Date(Date.now() + A_DAY_MS + random.integer(0, 1e6)).toISOString() };
}

/** A run of writers and live readers against one server process. */
export class Load {
  readonly #history: History;
  readonly #client: StreamClient;
  readonly #stop = new AbortController();
  readonly #done: Promise<unknown>;
  /** From when on a lost connection is no surprise. */
  #lossExpected = false;

  constructor(
    history: History,
    client: StreamClient,
    seed: number,
    options: { readers: boolean; lossExpected: boolean },
  ) {
    this.#history = history;
    this.#client = client;
    this.#lossExpected = options.lossExpected;
    setMaxListeners(0, this.#stop.signal);
    const work = history.slots.map((slot) => this.#drive(slot, new SeededRandom(seed * 1_000 + slot.index)));
    const readers = options.readers ? history.slots.flatMap((slot) => this.#follow(slot)) : [];
    this.#done = Promise.all([...work, ...readers]);
  }

  expectLoss(): void {
    this.#lossExpected = true;
  }

  /** Tells writers to stop after their step and readers at once; resolves when all have. */
  async stop(): Promise<void> {
    this.#stop.abort();
    for (const slot of this.#history.slots) slot.announce();
    await this.#done;
  }

  #follow(slot: Slot): Promise<void>[] {
    const modes = [["sse"], ["long-poll"], ["sse", "long-poll"], ["catch-up"]] as const;
    return (modes[slot.index % modes.length] ?? []).map((mode) =>
      this.#guard(slot, () => followSlot(mode, slot, this.#client, this.#stop.signal)),
    );
  }

  async #drive(slot: Slot, random: SeededRandom): Promise<void> {
    await this.#guard(slot, async () => {
      while (!this.#stop.signal.aborted) await this.#step(slot, random);
    });
  }

  /** A lost connection ends the task; a violation ends the load. */
  async #guard(slot: Slot, task: () => Promise<void>): Promise<void> {
    try {
      await task();
    } catch (error) {
      if (error instanceof ConnectionLost && (this.#lossExpected || this.#stop.signal.aborted)) return;
      this.#history.violations.push(
        error instanceof Violation ? error : new Violation(`${slot.path}: ${String(error)}`, { cause: error }),
      );
    }
  }

  async #step(slot: Slot, random: SeededRandom): Promise<void> {
    const life = slot.current;
    if (life === undefined) return this.#create(slot, random);
    if (life.deleted === "yes") return this.#rest(slot, life, random);
    if (life.origin !== null && life.origin.source.soft && random.chance(LEAVE_SHARE)) return this.#remove(slot, life);
    if (life.closed) return random.chance(0.5) ? this.#remove(slot, life) : this.#knock(life, random);
    const elder = slot.index < ELDERS;
    if (life.tailSeen - life.base > (elder ? ELDER_BYTES_MAX : STREAM_BYTES_MAX)) return this.#remove(slot, life);
    const step = random.weighted(STEPS);
    if (!elder || !["close", "produceClose", "appendClose", "closeRace", "remove", "removeRace"].includes(step)) {
      return this.#perform(step, slot, life, random);
    }
  }

  async #perform(step: keyof typeof STEPS, slot: Slot, life: Incarnation, random: SeededRandom): Promise<void> {
    const json = life.config.kind === "json";
    switch (step) {
      case "append":
        return this.#write(life, random, [{}]);
      case "burst":
        return this.#write(
          life,
          random,
          Array.from({ length: random.integer(2, 5) }, () => ({})),
        );
      case "batch":
        return this.#write(life, random, [
          { batch: json ? random.integer(2, 12) : 1 },
          { producer: nextProducer(life, random) },
        ]);
      case "produce":
        return this.#write(life, random, [{ producer: nextProducer(life, random) }]);
      case "twin":
        return this.#twin(life, random);
      case "sequence":
        return this.#write(life, random, [{ streamSeq: nextStreamSeq(life) }, {}]);
      case "look":
        return this.#look(life);
      case "close":
        return this.#write(life, random, [{ batch: 0, closes: true }]);
      case "produceClose":
        return this.#write(life, random, [
          { batch: random.integer(0, 1), closes: true, producer: nextProducer(life, random) },
        ]);
      case "appendClose":
        return this.#write(life, random, [
          { closes: true, streamSeq: random.chance(0.3) ? nextStreamSeq(life) : null },
        ]);
      case "closeRace":
        return this.#write(life, random, [
          {},
          { producer: nextProducer(life, random) },
          { batch: random.integer(0, 1), closes: true },
          {},
        ]);
      case "remove":
        return this.#remove(slot, life);
      case "removeRace":
        if (life.pinnedAbove) return this.#giveWay();
        await settleAll([
          this.#write(life, random, [{}, {}, { producer: nextProducer(life, random) }], { close: false, remove: true }),
          sendDelete(this.#client, this.#history, slot, life),
        ]);
        return this.#history.endDeleted(slot);
    }
  }

  /** A deleted stream's turn: it is kept for as long as a fork needs it, then its path is free. */
  async #rest(slot: Slot, life: Incarnation, random: SeededRandom): Promise<void> {
    const kept = life.keptBy();
    if (kept === "no") return this.#history.endDeleted(slot);
    if (kept === "yes") {
      this.#history.noteSoft(life);
      if (random.chance(0.2)) await this.#knockTombstone(life);
    }
    await pause(random.integer(5, 25));
  }

  async #knockTombstone(life: Incarnation): Promise<void> {
    life.pinned = true;
    try {
      await knockTombstone(this.#client, life);
    } finally {
      life.pinned = false;
    }
  }

  /** A stream whose source must stay as it is for the moment is not deleted now. */
  async #giveWay(): Promise<void> {
    await pause(5);
  }

  async #create(slot: Slot, random: SeededRandom): Promise<void> {
    const regular = configOf(slot, random);
    const forks = slot.index >= ELDERS && !regular.fleeting && random.chance(FORK_SHARE);
    const plan = forks ? planFork(this.#history, slot, random) : undefined;
    const life = slot.begin(plan?.config ?? regular, plan?.origin);
    const batch = random.chance(0.5) ? random.integer(1, 3) : 0;
    const closes = slot.index >= ELDERS && random.chance(0.06);
    if (batch > 0 || closes) {
      const id = this.#history.writeId(life);
      const payload = makePayload(life.config.kind, id, batch, random);
      life.createWrite = recordWrite(this.#history, life, id, { payload, closes });
    }
    const answer = await sendCreate(this.#client, this.#history, slot, life, life.createWrite);
    if (answer === "refused") slot.end();
    slot.announce();
  }

  async #remove(slot: Slot, life: Incarnation): Promise<void> {
    if (life.pinnedAbove) return this.#giveWay();
    await sendDelete(this.#client, this.#history, slot, life);
    this.#history.endDeleted(slot);
  }

  /** Sends all of `wanted` at once. Only one of them may close. */
  async #write(
    life: Incarnation,
    random: SeededRandom,
    wanted: readonly (Omit<WriteRequest, "payload"> & { batch?: number })[],
    races: Races = { ...ALONE, close: wanted.some((one) => one.closes === true) && wanted.length > 1 },
  ): Promise<void> {
    const writes = wanted.map(({ batch, ...rest }): Write => {
      const id = this.#history.writeId(life);
      return recordWrite(this.#history, life, id, {
        ...rest,
        payload: makePayload(life.config.kind, id, batch ?? 1, random),
      });
    });
    await settleAll(writes.map((write) => sendWrite(this.#client, this.#history, life, write, races)));
  }

  /** The same producer append twice at the same time: one of them is the duplicate. */
  async #twin(life: Incarnation, random: SeededRandom): Promise<void> {
    const id = this.#history.writeId(life);
    const payload = makePayload(life.config.kind, id, 1, random);
    const write = recordWrite(this.#history, life, id, { payload, producer: nextProducer(life, random) });
    const send = async (): Promise<string> => sendWrite(this.#client, this.#history, life, write);
    const answers = await settleAll([send(), send()]);
    const counted = answers.filter((answer) => answer === "accepted").length;
    if (counted !== 1 && !answers.includes("refused"))
      life.fail(`${id} was sent twice at once and accepted ${counted} times`);
  }

  /** HEAD and `offset=now`: whatever tail they show must stay. */
  async #look(life: Incarnation): Promise<void> {
    const [head, now] = await settleAll([
      this.#client.head(life.path),
      this.#client.read(life.path, { offset: "now" }),
    ]);
    for (const reply of [head, now]) {
      if (reply === undefined || (reply.status === 404 && life.config.fleeting)) continue;
      expectStatus(reply, `a look at the tail of ${life.path}`, 200);
      const position = life.learn(nextOffset(reply), "a look at the tail");
      if (isClosed(reply)) life.observeClosed(position, "a look at the tail");
      else life.observeTail(position, "a look at the tail");
    }
  }

  /** A closed stream refuses and says where it ends. */
  async #knock(life: Incarnation, random: SeededRandom): Promise<void> {
    const payload = makePayload(life.config.kind, this.#history.writeId(life), 1, random);
    const reply = await this.#client.append(life.path, payload.body, { contentType: life.config.contentType });
    if (reply.status === 404 && life.config.fleeting) {
      life.deleted = "yes";
      return;
    }
    if (reply.status === 503 && this.#history.refusalsAllowed && header(reply, "retry-after") !== undefined) return;
    expectStatus(reply, `an append to the closed ${life.path}`, 409);
    if (!isClosed(reply)) life.fail("an append to a closed stream is refused without Stream-Closed");
    life.observeClosed(life.learn(nextOffset(reply), "refused append"), "refused append");
  }
}

/** Waits for all, then throws what one of them threw: a violation before a lost connection. */
async function settleAll<Value>(tasks: readonly Promise<Value>[]): Promise<Value[]>;
async function settleAll<Values extends readonly unknown[]>(tasks: {
  [K in keyof Values]: Promise<Values[K]>;
}): Promise<Values>;
async function settleAll(tasks: readonly Promise<unknown>[]): Promise<unknown> {
  const results = await Promise.allSettled(tasks);
  const errors: unknown[] = results.flatMap((result) => (result.status === "rejected" ? [result.reason] : []));
  if (errors.length > 0) throw errors.find((error) => !(error instanceof ConnectionLost)) ?? errors[0];
  return results.map((result) => (result.status === "fulfilled" ? result.value : undefined));
}

function nextProducer(life: Incarnation, random: SeededRandom): ProducerTuple {
  const id = `producer-${random.integer(0, 1)}`;
  const last = life.producers().get(id)?.producer;
  if (last === undefined || last === null) return { id, epoch: 0, seq: 0 };
  if (random.chance(0.04)) return { id, epoch: last.epoch + random.integer(1, 2), seq: 0 };
  return { id, epoch: last.epoch, seq: last.seq + 1 };
}

function nextStreamSeq(life: Incarnation): string {
  const last = Number((life.lastStreamSeq() ?? "s0").slice(1));
  return `s${`${last + 1}`.padStart(8, "0")}`;
}
