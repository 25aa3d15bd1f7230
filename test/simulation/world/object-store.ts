/**
 * The object store of a world: a map that is reached through a network. A request may be refused, be applied without an answer,
 * be applied long after its caller was told that it timed out, answer slowly or with wrong bytes, or meet a store that is dark.
 */
import { count } from "./counts.ts";
import type { World } from "./world.ts";

/** Probabilities for each request, and when nothing answers at all. */
export interface StoreFaults {
  readonly refuse: number;
  readonly conflict: number;
  readonly lostAnswer: number;
  readonly late: number;
  readonly slow: number;
  readonly short: number;
  readonly wrong: number;
  readonly dark: readonly { readonly fromMs: number; readonly toMs: number }[];
}

export const NO_STORE_FAULTS: StoreFaults = {
  refuse: 0,
  conflict: 0,
  lostAnswer: 0,
  late: 0,
  slow: 0,
  short: 0,
  wrong: 0,
  dark: [],
};

/** What an answer says in place of a result. */
export class StoreRefusal extends Error {
  readonly kind: "unavailable" | "missing" | "short";
  constructor(kind: "unavailable" | "missing" | "short", message: string) {
    super(message);
    this.kind = kind;
  }
}

const TIMEOUT_MS = 1_000;
const LATE_MS_MAX = 20_000;
/** An operator takes another writer's object away after this time. */
const STRANGER_MS = 10_000;

export class Bucket {
  readonly objects = new Map<string, Uint8Array>();
  faults: StoreFaults = NO_STORE_FAULTS;
  /** The object of the upload of this number is another writer's. */
  strangerAt: number | null = null;
  #uploads = 0;
  #strangers: string | null = null;
  readonly #world: World;
  readonly #startMs: number;

  constructor(world: World) {
    this.#world = world;
    this.#startMs = world.nowMs;
  }

  create(key: string, bytes: Uint8Array): Promise<"created" | "exists"> {
    return this.#change("create", () => {
      this.#meetStranger(key, bytes.length);
      if (this.objects.has(key)) return "exists";
      this.objects.set(key, bytes);
      return "created";
    });
  }

  /** Takes another writer's object away. */
  dismissStranger(): void {
    this.strangerAt = null;
    if (this.#strangers !== null) this.objects.delete(this.#strangers);
    this.#strangers = null;
  }

  /** Whoever finds another writer's object under its key must stop. */
  #meetStranger(key: string, bytes: number): void {
    const world = this.#world;
    if (key.startsWith("objects/") && !this.objects.has(key)) {
      this.#uploads += 1;
      if (this.#uploads === this.strangerAt) {
        count(world.counts, "store.stranger");
        this.objects.set(key, new Uint8Array(bytes));
        this.#strangers = key;
        world.scheduler.after(STRANGER_MS, null, () => this.dismissStranger());
      }
    }
    if (key === this.#strangers) this.#excuse(`${key} is another writer's`);
  }

  remove(key: string): Promise<void> {
    return this.#change("remove", () => {
      this.objects.delete(key);
    });
  }

  size(key: string): Promise<number | undefined> {
    return this.#ask("size", () => this.objects.get(key)?.length);
  }

  list(prefix: string): Promise<string[]> {
    return this.#ask("list", () => [...this.objects.keys()].filter((key) => key.startsWith(prefix)).sort());
  }

  read(key: string, from: number, to: number): Promise<Uint8Array> {
    const world = this.#world;
    const { random } = world;
    const isShort = random.chance(this.faults.short);
    const isWrong = random.chance(this.faults.wrong);
    return this.#ask("read", () => {
      const whole = this.objects.get(key);
      if (whole === undefined) throw new StoreRefusal("missing", `${key}: no such object`);
      if (to > whole.length) throw new StoreRefusal("short", `${key}: holds ${whole.length} bytes`);
      const bytes = Uint8Array.from(whole.subarray(from, to));
      if (isShort) {
        count(world.counts, "store.short");
        throw this.#fault("short", `${key}: the body ended early`);
      }
      if (isWrong && bytes.length > 0) {
        count(world.counts, "store.wrong");
        this.#excuse("an object's bytes came back wrong");
        bytes[random.int(0, bytes.length - 1)]! ^= 1 << random.int(0, 7);
      }
      return bytes;
    });
  }

  #ask<T>(name: string, answer: () => T): Promise<T> {
    const { random } = this.#world;
    const refusal = this.#refusal(name, random.chance(this.faults.refuse), false);
    return this.#world.later(`store.${name}`, this.#delay(refusal !== null), () => {
      if (refusal !== null || this.#isDark()) throw refusal ?? this.#dark(name);
      return answer();
    });
  }

  #change<T>(name: string, apply: () => T): Promise<T> {
    const world = this.#world;
    const { random, scheduler, counts } = world;
    const { refuse, conflict, lostAnswer, late } = this.faults;
    const [isLost, isLate] = [random.chance(lostAnswer), random.chance(late)];
    const refusal = this.#refusal(name, random.chance(refuse), random.chance(conflict));
    const lateMs = random.between(TIMEOUT_MS, LATE_MS_MAX);
    return world.later(`store.${name}`, this.#delay(refusal !== null), () => {
      if (refusal !== null || this.#isDark()) throw refusal ?? this.#dark(name);
      if (isLate) {
        count(counts, "store.late");
        // Nobody's: the request is under way whatever becomes of its sender.
        scheduler.after(lateMs, null, () => void apply());
        throw this.#fault("unavailable", `${name}: timed out`);
      }
      const result = apply();
      if (!isLost) return result;
      count(counts, "store.lostAnswer");
      throw this.#fault("unavailable", `${name}: timed out`);
    });
  }

  #refusal(name: string, isRefused: boolean, isConflict: boolean): StoreRefusal | null {
    if (!isRefused && !isConflict) return null;
    count(this.#world.counts, isRefused ? "store.refused" : "store.conflict");
    return this.#fault("unavailable", `${name}: HTTP ${isRefused ? 503 : 409}`);
  }

  #isDark(): boolean {
    const sinceMs = this.#world.nowMs - this.#startMs;
    return this.faults.dark.some(({ fromMs, toMs }) => sinceMs >= fromMs && sinceMs < toMs);
  }

  #dark(name: string): StoreRefusal {
    count(this.#world.counts, "store.dark");
    return this.#fault("unavailable", `${name}: nothing answers`);
  }

  #fault(kind: "unavailable" | "short", message: string): StoreRefusal {
    this.#excuse(`the store failed: ${message}`);
    return new StoreRefusal(kind, message);
  }

  #excuse(what: string): void {
    this.#world.owner?.excuses.push(what);
  }

  #delay(fails: boolean): number {
    const { latency } = this.#world;
    if (latency.chance(this.faults.slow)) {
      count(this.#world.counts, "store.slow");
      return latency.between(100, 15_000);
    }
    return fails ? latency.between(1, TIMEOUT_MS) : latency.between(0.5, 20);
  }
}

const buckets = new WeakMap<World, Bucket>();

export function bucketOf(world: World): Bucket {
  let bucket = buckets.get(world);
  if (bucket === undefined) {
    bucket = new Bucket(world);
    buckets.set(world, bucket);
  }
  return bucket;
}
