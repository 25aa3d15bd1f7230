/**
 * Histories that have an order by construction, for tests of the checker: clients of the model itself, whose operations take
 * effect at some step between call and answer, lose answers and meet crashes. `spoil` changes the world behind their backs.
 */
import { formatToken } from "./history.ts";
import type { AppendRequest, CreateRequest, History, Instant, Operation, Outcome, Request } from "./history.ts";
import { apply, momentAt } from "./model.ts";
import { EMPTY_WORLD, lifeAt, tailOf } from "./world.ts";
import type { Expected } from "./model.ts";
import type { Stream, World } from "./world.ts";

export interface Random {
  next(): number;
  integer(low: number, high: number): number;
  chance(probability: number): boolean;
  pick<Item>(items: readonly Item[]): Item;
}

export interface Invention {
  readonly operations: number;
  readonly clients: number;
  readonly paths: readonly string[];
  /** Of an answer to be lost. */
  readonly loss: number;
  /** Of a crash, at each step. */
  readonly crash: number;
  readonly ttl: boolean;
  readonly spoil?: (world: World) => World;
}

interface Open {
  readonly operation: Operation;
  effect: Outcome | null;
}

export function inventHistory(random: Random, plan: Invention): History {
  return new Invented(random, plan).run();
}

class Invented {
  readonly #random: Random;
  readonly #plan: Invention;
  readonly #operations: Operation[] = [];
  readonly #crashes: Instant[] = [];
  /** Under way, and those whose client has given up. */
  #open: Open[] = [];
  #lost: Open[] = [];
  #world: World = EMPTY_WORLD;
  #made = 0;
  #step = 0;
  #ms = 1000;
  readonly #seen: string[] = [];
  /** By path and producer: the last one that was sent. */
  readonly #sent = new Map<string, number>();

  constructor(random: Random, plan: Invention) {
    this.#random = random;
    this.#plan = plan;
  }

  run(): History {
    const random = this.#random;
    const { operations, clients, crash, loss } = this.#plan;
    while (this.#made < operations || this.#open.length > 0) {
      const open = this.#open.length === 0 ? null : random.pick(this.#open);
      if (random.chance(crash)) this.#crash();
      else if (this.#lost.length > 0 && random.chance(0.05)) this.#take(random.pick(this.#lost));
      else if (open === null || (this.#open.length < clients && this.#made < operations && random.chance(0.5)))
        this.#call(random.pick(this.#plan.paths), null);
      else if (random.chance(loss)) this.#lose(open);
      else if (open.effect === null) this.#take(open);
      else this.#answer(open);
    }
    if (this.#plan.spoil !== undefined) this.#world = this.#plan.spoil(this.#world);
    for (const path of this.#plan.paths) {
      for (const request of [{ kind: "head" }, { kind: "read", offset: "start", wait: false }] as const) {
        const open = this.#call(path, request);
        this.#take(open);
        this.#answer(open);
      }
    }
    for (const { operation } of this.#lost) this.#operations.push(operation);
    return { operations: this.#operations, crashes: this.#crashes };
  }

  #now(): Instant {
    this.#step += 1;
    if (this.#plan.ttl && this.#random.chance(0.1)) this.#ms += this.#random.integer(1, 700);
    return { step: this.#step, ms: this.#ms };
  }

  #call(path: string, request: Request | null): Open {
    this.#made += 1;
    const id = this.#made;
    const free = Array.from({ length: this.#plan.clients }, (_, client) => `c${client}`).find((name) =>
      this.#open.every(({ operation }) => operation.client !== name),
    );
    const open: Open = {
      operation: {
        id,
        client: free ?? "reader",
        path,
        request: request ?? this.#request(path, id),
        call: this.#now(),
        return: null,
        endedBy: null,
        outcome: null,
      },
      effect: null,
    };
    this.#open.push(open);
    return open;
  }

  /** The operation happens. */
  #take(open: Open): void {
    if (open.effect !== null) return;
    const { path, request } = open.operation;
    const { expected, world } = apply(this.#world, path, request, momentAt(this.#ms));
    const isNew = world.lives > this.#world.lives;
    const learned = new Map(world.generations).set(world.lives, world.lives * 3);
    this.#world = isNew ? { ...world, generations: learned } : world;
    open.effect = answerTo(this.#world, this.#world.streams.get(path), expected, this.#random);
  }

  #answer(open: Open): void {
    this.#open = this.#open.filter((other) => other !== open);
    const outcome = open.effect!;
    const token = outcome.kind === "data" ? outcome.next : "shown" in outcome ? outcome.shown.tail : null;
    if (token !== null) this.#seen.push(token);
    this.#operations.push({ ...open.operation, return: this.#now(), outcome });
  }

  #lose(open: Open): void {
    this.#open = this.#open.filter((other) => other !== open);
    this.#lost.push(open);
  }

  #crash(): void {
    const endedBy = this.#now();
    this.#crashes.push(endedBy);
    for (const { operation } of [...this.#open, ...this.#lost]) this.#operations.push({ ...operation, endedBy });
    this.#open = [];
    this.#lost = [];
  }

  #request(path: string, id: number): Request {
    const random = this.#random;
    const stream = this.#world.streams.get(path);
    const draw = random.next();
    if ((stream === undefined && draw < 0.6) || draw < 0.03) return this.#create(path, id);
    if (draw < 0.06) return { kind: "delete" };
    if (draw < 0.12) return { kind: "head" };
    if (draw < 0.4) {
      const seen = this.#seen.slice(-12);
      const offset =
        random.chance(0.3) || seen.length === 0 ? random.pick(["start", "now"] as const) : random.pick(seen);
      return { kind: "read", offset, wait: random.chance(0.3) };
    }
    return this.#append(path, id);
  }

  #create(path: string, id: number): CreateRequest {
    const random = this.#random;
    const source = random.pick(this.#plan.paths);
    const isFork = source !== path && random.chance(0.4);
    return {
      kind: "create",
      contentType: "text/plain",
      ttlSeconds: this.#plan.ttl && random.chance(0.5) ? 2 : null,
      expiresAtMs: null,
      closed: random.chance(0.05),
      messages: random.chance(0.5) ? [`[${id}]`] : [],
      fork: isFork ? { source, offset: random.pick(["tail", "start", ...this.#seen.slice(-5)]), subOffset: 0 } : null,
    };
  }

  #append(path: string, id: number): AppendRequest {
    const random = this.#random;
    const by = random.chance(0.3) ? random.pick(["p", "q"]) : null;
    const last = this.#sent.get(`${path} ${by}`) ?? -1;
    const seq = Math.max(0, last + (random.chance(0.8) ? 1 : random.integer(-1, 2)));
    if (by !== null) this.#sent.set(`${path} ${by}`, seq);
    const close = random.chance(0.03);
    return {
      kind: "append",
      contentType: "text/plain",
      // Some bodies are alike: what was appended cannot always be told by its bytes.
      messages: close && random.chance(0.5) ? [] : [random.chance(0.15) ? "same" : `<${id}${".".repeat(id % 5)}>`],
      close,
      producer: by === null ? null : { id: by, epoch: 0, seq },
      streamSeq: random.chance(0.05) ? String(id).padStart(6, "0") : null,
    };
  }
}

function answerTo(world: World, stream: Stream | undefined, expected: Expected, random: Random): Outcome {
  const token = (position: number): string => formatToken(world.generations.get(lifeAt(stream!, position))!, position);
  if (expected.kind === "data") {
    const tail = tailOf(stream!);
    const ends = stream!.ends.filter((end) => end > expected.from);
    // Now and then a chunk ends before the tail.
    const next = ends.length === 0 ? expected.from : random.chance(0.2) ? random.pick(ends) : tail;
    const upToDate = next === tail;
    const bytes = stream!.bytes.slice(expected.from, next);
    return { kind: "data", bytes, next: token(next), upToDate, closed: upToDate && stream!.closed };
  }
  if (!("tail" in expected)) return expected;
  const { tail, closed, ...rest } = expected;
  return { ...rest, shown: { tail: token(tail), closed } };
}
