/** What the clients asked for, what was acknowledged, and what any reader saw: the facts that a restart must keep. */
import { AckBell } from "./ack-bell.ts";
import { parseOffset } from "../process/stored-bytes.ts";
import { Incarnation, Violation, type IncarnationConfig, type Origin } from "./incarnation.ts";

const PAST_LIVES_MAX = 3;
const CHAIN_MIN = 3;

/** One path and the streams that lived there, one after the other. */
export class Slot {
  readonly index: number;
  readonly path: string;
  /** The stream there now, as far as anyone can know; undefined between a delete and a create. */
  current: Incarnation | undefined;
  /** Earlier lives, newest first. */
  readonly past: Incarnation[] = [];
  lives = 0;
  #wake: (() => void)[] = [];
  /** Generations that lives gave out which are in `past` no longer. */
  readonly #dropped = new Set<number>();

  constructor(index: number, path: string) {
    this.index = index;
    this.path = path;
  }

  begin(config: IncarnationConfig, origin: Origin | null = null): Incarnation {
    this.lives += 1;
    const older = this.past.map((past) => past.generation ?? 0);
    const floor = Math.max(0, ...older, ...(origin?.source.generations() ?? []));
    this.current = new Incarnation(`${this.index}.${this.lives}`, this.path, config, origin, floor);
    return this.current;
  }

  /** The current life is over, or never began. */
  end(): void {
    if (this.current !== undefined && this.current.created === "yes") this.past.unshift(this.current);
    const dropped = this.past.length > PAST_LIVES_MAX ? this.past.pop() : undefined;
    for (const generation of dropped?.generations() ?? []) this.#dropped.add(generation);
    this.current = undefined;
  }

  /**
   * Which life gave `offset` out, or undefined when that cannot be told: an echo of a life long gone, or an offset that two
   * forks of one source share. A generation that nobody knows yet can only be the current life's.
   */
  lifeOf(offset: string, where: string): Incarnation | undefined {
    const lives = this.current === undefined ? this.past : [this.current, ...this.past];
    const owners = lives.filter((life) => life.owns(offset));
    const owner = owners[0] ?? (this.current?.mayMint(offset) === true ? this.current : undefined);
    if (owners.length > 1 || (owner === undefined && this.#dropped.has(parseOffset(offset).generation)))
      return undefined;
    if (owner === undefined) throw new Violation(`${this.path}: ${where} names ${offset}, which no create was given`);
    if (owner.created === "maybe") owner.created = "yes";
    return owner;
  }

  /** Resolves at the next change of `current`, or when the readers are told to stop. */
  async changed(): Promise<void> {
    await new Promise<void>((resolve) => this.#wake.push(resolve));
  }

  announce(): void {
    const waiting = this.#wake;
    this.#wake = [];
    for (const wake of waiting) wake();
  }
}

/** All slots, one logical clock, and the violations that background readers found. */
export class History {
  readonly slots: readonly Slot[];
  readonly violations: Violation[] = [];
  readonly bell: AckBell = new AckBell();
  acks = 0;
  /** Statuses that say "try later", by count; only tests that expect them allow them. */
  refusals = 0;
  /** What the clients made happen, by acknowledgements and by what a check found. */
  readonly counts: Record<"forks" | "chains" | "softDeletes" | "cascades", number> = {
    forks: 0,
    chains: 0,
    softDeletes: 0,
    cascades: 0,
  };
  /** Whether a 503 with Retry-After is an answer that the run expects. */
  refusalsAllowed = false;
  #tick = 0;
  #write = 0;

  constructor(slots: number, prefix: string) {
    this.slots = Array.from({ length: slots }, (_, index) => new Slot(index, `${prefix}/stream-${index}`));
  }

  tick(): number {
    this.#tick += 1;
    return this.#tick;
  }

  writeId(life: Incarnation): string {
    this.#write += 1;
    return `${life.name}.${this.#write}`;
  }

  /** A fork is there; one of at least three forks in a row counts as a chain too. */
  countFork(life: Incarnation): void {
    this.counts.forks += 1;
    if (life.depth >= CHAIN_MIN) this.counts.chains += 1;
  }

  /** A deleted stream is known to be kept for its forks. */
  noteSoft(life: Incarnation): void {
    if (life.soft) return;
    life.soft = true;
    this.counts.softDeletes += 1;
  }

  /** The slot's deleted stream is gone, and its path free, once no fork keeps it. */
  endDeleted(slot: Slot): void {
    const life = slot.current;
    if (life === undefined || life.deleted !== "yes" || life.keptBy() !== "no") return;
    if (life.soft) this.counts.cascades += 1;
    slot.end();
    slot.announce();
  }
}
