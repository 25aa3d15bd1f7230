/**
 * The plan of a seed: what clients do and what fails, as plain data, so that it can be made shorter and run again. What it does
 * not say (how long a sync takes, which un-synced write survives) is drawn from the seed while it runs.
 */
import type { Work } from "./client/workers.ts";
import { Random } from "./world/random.ts";

export interface Settings {
  readonly segmentBytes: number;
  readonly segmentAgeMs: number;
  readonly walBytesMax: number;
  readonly diskReserveBytes: number;
  readonly chunkBytes: number;
  readonly cacheBytesMax: number;
  readonly objectGraceMs: number;
  readonly restingStreamsMax: number;
  /** "s3": the port's faults; "file": the directory adapter, on the simulated disk. */
  readonly store: "s3" | "file";
  /** Each start in a container of its own, where pids mean nothing to the others. */
  readonly containers: boolean;
  /** Every start has the same pid, as the first process of a container has. */
  readonly samePid: boolean;
  /** The data directory's parent has it on disk before the first start. */
  readonly madeBefore: boolean;
}

export type OffsetChoice =
  | { readonly kind: "start" | "now" | "tail" | "past" }
  /** One that some answer of this path gave out: the part of the way from the first to the newest. */
  | { readonly kind: "known"; readonly part: number }
  /** Bytes before such a one, inside of a message mostly. */
  | { readonly kind: "inside"; readonly part: number; readonly back: number };

export type Action =
  | {
      readonly kind: "create";
      readonly path: string;
      readonly contentType: string;
      readonly ttlSeconds: number | null;
      readonly closed: boolean;
      readonly sizes: readonly number[];
    }
  | {
      readonly kind: "append";
      readonly path: string;
      readonly sizes: readonly number[];
      readonly close: boolean;
      readonly producer: "none" | "next" | "again" | "epoch" | "gap" | "stale";
      readonly streamSeq: "none" | "up" | "same";
      readonly otherType: boolean;
    }
  | { readonly kind: "remove" | "head" | "follow"; readonly path: string }
  | { readonly kind: "read"; readonly path: string; readonly offset: OffsetChoice; readonly wait: boolean }
  | {
      readonly kind: "fork";
      readonly path: string;
      readonly source: string;
      readonly offset: OffsetChoice;
      readonly subOffset: number;
      /** What its source has, if that is known. */
      readonly contentType: string | null;
      readonly closed: boolean;
      readonly sizes: readonly number[];
    }
  | Work
  | { readonly kind: "compact" | "restart" | "rival" };

export interface Step {
  /** Stays the same in a shorter plan: bytes are named after it. */
  readonly id: number;
  readonly client: number;
  /** Before it. */
  readonly pauseMs: number;
  readonly action: Action;
}

/** Incarnations are counted from 0, calls and syncs of one from 1. */
export type Fault =
  | {
      readonly kind: "crash";
      readonly incarnation: number;
      readonly call: number;
      /** "writes": only calls are counted that are made while a client's write has arrived and is not answered. */
      readonly during: "anything" | "writes";
      readonly side: "before" | "after";
      readonly mode: "kill" | "power";
    }
  | { readonly kind: "sync"; readonly incarnation: number; readonly number: number }
  | { readonly kind: "full"; readonly incarnation: number; readonly from: number; readonly to: number }
  | { readonly kind: "dark"; readonly fromMs: number; readonly toMs: number }
  | { readonly kind: "flip"; readonly incarnation: number; readonly where: "wal" | "object"; readonly part: number }
  /** The object of this upload is there already, and another writer's; after a while it is taken away. */
  | { readonly kind: "stranger"; readonly upload: number }
  | {
      readonly kind: "store";
      readonly what: "refuse" | "conflict" | "lostAnswer" | "late" | "slow" | "short" | "wrong";
      readonly rate: number;
    };

export interface Plan {
  readonly seed: number;
  readonly settings: Settings;
  readonly steps: readonly Step[];
  readonly faults: readonly Fault[];
}

const TYPES = ["application/octet-stream", "text/plain", "application/json"] as const;

export function planOf(seed: number): Plan {
  const random = new Random(seed, "plan");
  const paths = Array.from({ length: random.int(1, 5) }, (_, i) => `s/${i}`);
  return {
    seed,
    settings: settingsOf(random),
    steps: stepsOf(random, paths),
    faults: [...faultsOf(random), ...strangersOf(new Random(seed, "strangers"))],
  };
}

function settingsOf(random: Random): Settings {
  const segmentBytes = random.skewed(200, 20_000);
  return {
    segmentBytes,
    segmentAgeMs: random.skewed(20, 60_000),
    walBytesMax: segmentBytes * random.int(4, 40),
    diskReserveBytes: random.pick([0, 100_000, 1_000_000]),
    chunkBytes: random.skewed(32, 16_384),
    cacheBytesMax: random.chance(0.3) ? 0 : 100_000,
    objectGraceMs: random.pick([0, 100, 10_000]),
    restingStreamsMax: random.int(1, 8),
    store: random.chance(0.7) ? "s3" : "file",
    containers: random.chance(0.2),
    samePid: random.chance(0.3),
    madeBefore: random.chance(0.8),
  };
}

function stepsOf(random: Random, paths: readonly string[]): Step[] {
  const clients = random.int(1, 5);
  const count = random.skewed(10, 100);
  const pauseMs = random.skewed(1, 200);
  const actions = new Actions(random, paths);
  return Array.from({ length: count }, (_, id) => ({
    id,
    client: random.int(1, clients),
    pauseMs: random.chance(0.05) ? random.between(0, 8_000) : random.between(0, pauseMs),
    action: id < paths.length ? actions.create(paths[id]!) : actions.any(),
  }));
}

class Actions {
  readonly #random: Random;
  readonly #paths: readonly string[];
  readonly #hasWorkers: boolean;
  readonly #expires: boolean;
  /** Of all streams; null: each creation chooses, and forks, whose type nobody knows then, have no body. */
  readonly #type: string | null;

  constructor(random: Random, paths: readonly string[]) {
    this.#random = random;
    this.#hasWorkers = random.chance(0.3);
    this.#expires = random.chance(0.35);
    this.#type = random.chance(0.6) ? random.pick(TYPES) : null;
    this.#paths = paths;
  }

  any(): Action {
    const random = this.#random;
    if (this.#hasWorkers && random.chance(0.1)) return this.#work();
    const path = random.pick(this.#paths);
    const dice = random.next();
    if (dice < 0.5) return this.#append(path);
    if (dice < 0.72) return { kind: "read", path, offset: this.#offset(), wait: random.chance(0.25) };
    if (dice < 0.77) return { kind: "follow", path };
    if (dice < 0.8) return { kind: "head", path };
    if (dice < 0.86) return this.create(path);
    if (dice < 0.91) return { kind: "remove", path };
    if (dice < 0.95) return this.#fork(path);
    if (dice < 0.965) return { kind: "compact" };
    return { kind: random.chance(0.5) ? "restart" : "rival" };
  }

  create(path: string): Action {
    const random = this.#random;
    return {
      kind: "create",
      path,
      contentType: this.#type ?? random.pick(TYPES),
      ttlSeconds: this.#expires && random.chance(0.4) ? random.int(1, 20) : null,
      closed: random.chance(0.04),
      sizes: random.chance(0.3) ? this.#sizes() : [],
    };
  }

  #append(path: string): Action {
    const random = this.#random;
    const close = random.chance(0.04);
    return {
      kind: "append",
      path,
      sizes: close && random.chance(0.5) ? [] : this.#sizes(),
      close,
      producer: random.chance(0.5)
        ? "none"
        : random.pick(["next", "next", "next", "next", "next", "again", "epoch", "gap", "stale"]),
      streamSeq: random.chance(0.9) ? "none" : random.pick(["up", "up", "same"]),
      otherType: random.chance(0.02),
    };
  }

  #fork(source: string): Action {
    const random = this.#random;
    return {
      kind: "fork",
      path: random.chance(0.5) ? random.pick(this.#paths) : `f/${random.int(0, 3)}`,
      source: random.chance(0.2) ? `f/${random.int(0, 3)}` : source,
      ...this.#forkPoint(),
      contentType: this.#type,
      closed: random.chance(0.05),
      sizes: this.#type !== null && random.chance(0.3) ? this.#sizes() : [],
    };
  }

  /** Whether a point of an expired source is judged before its expiry is noticed is left open: there, only points that always are. */
  #forkPoint(): { offset: OffsetChoice; subOffset: number } {
    const random = this.#random;
    if (this.#expires) return { offset: { kind: random.chance(0.5) ? "tail" : "start" }, subOffset: 0 };
    return {
      offset: random.chance(0.4) ? { kind: "tail" } : this.#offset(),
      subOffset: random.chance(0.7) ? 0 : random.int(1, 30),
    };
  }

  #work(): Action {
    const random = this.#random;
    const name = `q${random.int(0, 1)}`;
    const dice = random.next();
    if (dice < 0.3) return { kind: "subscribe", name, pattern: random.pick(["s/*", "*/0", "**/1"]) };
    if (dice < 0.36) return { kind: "unsubscribe", name };
    return { kind: "work", name, how: random.pick(["finish", "finish", "extend", "release", "abandon"]) };
  }

  #offset(): OffsetChoice {
    const random = this.#random;
    const dice = random.next();
    if (dice < 0.25) return { kind: "start" };
    if (dice < 0.32) return { kind: "now" };
    if (dice < 0.5) return { kind: "tail" };
    if (dice < 0.53) return { kind: "past" };
    const part = random.next();
    return dice < 0.85 ? { kind: "known", part } : { kind: "inside", part, back: random.skewed(1, 100) };
  }

  #sizes(): number[] {
    const random = this.#random;
    const count = random.chance(0.7) ? 1 : random.int(1, 5);
    return Array.from({ length: count }, () =>
      random.chance(0.02) ? random.skewed(1_000, 100_000) : random.skewed(8, 900),
    );
  }
}

function faultsOf(random: Random): Fault[] {
  const faults: Fault[] = [];
  const incarnations = random.int(0, 6);
  for (let incarnation = 0; incarnation < incarnations; incarnation++) {
    const during = random.chance(0.5) ? "writes" : "anything";
    // A start makes some hundred calls.
    const anyCall = random.chance(0.25) ? random.skewed(1, 150) : random.int(70, 400);
    faults.push({
      kind: "crash",
      incarnation,
      call: during === "writes" ? random.skewed(1, 60) : anyCall,
      during,
      side: random.chance(0.5) ? "before" : "after",
      mode: random.chance(0.7) ? "power" : "kill",
    });
    if (random.chance(0.15)) faults.push({ kind: "sync", incarnation, number: random.skewed(1, 100) });
    if (random.chance(0.1)) {
      const from = random.skewed(1, 1_000);
      faults.push({ kind: "full", incarnation, from, to: from + random.skewed(1, 100) });
    }
  }
  if (incarnations > 0 && random.chance(0.15)) {
    const where = random.pick(["wal", "object"] as const);
    faults.push({ kind: "flip", incarnation: random.int(1, incarnations), where, part: random.next() });
  }
  if (random.chance(0.6)) {
    for (const what of ["refuse", "conflict", "lostAnswer", "late", "slow", "short", "wrong"] as const)
      if (random.chance(0.4)) faults.push({ kind: "store", what, rate: random.pick([0.01, 0.05, 0.15]) });
  }
  if (random.chance(0.2)) {
    const fromMs = random.between(0, 5_000);
    faults.push({ kind: "dark", fromMs, toMs: fromMs + random.skewed(100, 60_000) });
  }
  return faults;
}

function strangersOf(random: Random): Fault[] {
  return random.chance(0.1) ? [{ kind: "stranger", upload: random.skewed(1, 10) }] : [];
}
