/**
 * Who may work for one subscription, by the test's own clock: each hold's lease lasts at least until `aliveUntilMs`, counted
 * from when the request that started or extended it was sent. Fencing holds when no two leases overlap, when no lease is
 * taken away before its time, and when nothing is accepted from a hold that is known to be over (protocol section 7.3).
 */
import { Violation } from "../incarnation.ts";

/** One wake in somebody's hands. */
export interface Hold {
  readonly generation: number;
  readonly wakeId: string;
  readonly worker: string;
  /** The lease cannot have run out before; 0 while nobody knows a bound. */
  aliveUntilMs: number;
  /** A request or an answer that ends it was sent, whatever became of that. */
  mayHaveEnded: boolean;
  /** Known to be over: its end was acknowledged, or it was told that it is fenced. */
  over: boolean;
}

/** What was known when a request for a hold was sent. */
export interface SentFor {
  readonly sentAtMs: number;
  readonly wasOver: boolean;
  readonly newestGeneration: number;
}

export interface Granted {
  readonly generation: number;
  readonly wakeId: string;
  readonly worker: string;
  readonly sentAtMs: number;
  readonly answeredAtMs: number;
}

export class Leases {
  readonly #name: string;
  readonly #ttlMs: number;
  readonly #holds = new Map<number, Hold>();
  /** When each wake was first in somebody's hands. */
  readonly #takenAtMs = new Map<number, number>();
  readonly #claimed = new Set<number>();
  readonly #wakeIds = new Map<string, number>();
  /** The highest number of a wake that anybody was told. */
  newest = 0;

  constructor(name: string, ttlMs: number) {
    this.#name = name;
    this.#ttlMs = ttlMs;
  }

  fail(what: string): never {
    throw new Violation(`subscription ${this.#name}: ${what}`);
  }

  /** A wake's number was told; true when it is news. */
  see(generation: number): boolean {
    const isNew = generation > this.newest;
    if (isNew) this.newest = generation;
    return isNew;
  }

  /** A request for the hold is on its way. */
  sending(hold: Hold, nowMs: number, ends: boolean): SentFor {
    if (ends) hold.mayHaveEnded = true;
    return { sentAtMs: nowMs, wasOver: hold.over, newestGeneration: this.newest };
  }

  /** A claim was answered 2xx. `newestBefore` was known when it was sent. */
  granted(claim: Granted, newestBefore: number): Hold {
    const { generation, wakeId, worker } = claim;
    if (generation < newestBefore) {
      this.fail(`a claim got generation ${generation}, though ${newestBefore} was told before: it went backwards`);
    }
    if (this.#claimed.has(generation)) {
      this.fail(`two workers hold generation ${generation}: ${this.#holds.get(generation)?.worker} and ${worker}`);
    }
    this.#claimed.add(generation);
    const hold = this.hold(generation, wakeId, worker, claim.answeredAtMs);
    this.#alive(hold, claim.sentAtMs + this.#ttlMs);
    return hold;
  }

  /** The wake as it came to a worker, for the first time or again. */
  hold(generation: number, wakeId: string, worker: string, takenAtMs: number): Hold {
    this.see(generation);
    const known = this.#holds.get(generation);
    if (known !== undefined) {
      if (known.wakeId !== wakeId)
        this.fail(`generation ${generation} is wake ${known.wakeId}, and wake ${wakeId} too`);
      return known;
    }
    if (this.#wakeIds.has(wakeId)) {
      this.fail(`wake ${wakeId} is generation ${this.#wakeIds.get(wakeId)}, and ${generation} too`);
    }
    this.#wakeIds.set(wakeId, generation);
    const hold: Hold = { generation, wakeId, worker, aliveUntilMs: 0, mayHaveEnded: false, over: false };
    this.#holds.set(generation, hold);
    this.#takenAtMs.set(generation, takenAtMs);
    for (const earlier of this.#holds.values()) {
      if (earlier.generation < generation) this.#apart(earlier, hold);
    }
    return hold;
  }

  /** An ack, callback or release was answered 2xx; `ended` when that ends the wake. */
  accepted(hold: Hold, sent: SentFor, ended: boolean): void {
    const { generation } = hold;
    if (sent.wasOver)
      this.fail(`generation ${generation} was over, yet a request of ${hold.worker} for it is accepted`);
    if (sent.newestGeneration > generation) {
      const newer = sent.newestGeneration;
      this.fail(`generation ${generation} is accepted from ${hold.worker}, though ${newer} had been told: not fenced`);
    }
    if (ended) hold.over = true;
    else this.#alive(hold, sent.sentAtMs + this.#ttlMs);
  }

  /** A request for the hold was answered FENCED. */
  fenced(hold: Hold, answeredAtMs: number): void {
    if (!hold.mayHaveEnded && answeredAtMs < hold.aliveUntilMs) {
      const leftMs = hold.aliveUntilMs - answeredAtMs;
      this.fail(`${hold.worker} is fenced from generation ${hold.generation} with ${leftMs} ms of its lease left`);
    }
    hold.over = true;
  }

  #alive(hold: Hold, untilMs: number): void {
    hold.aliveUntilMs = Math.max(hold.aliveUntilMs, untilMs);
    for (const later of this.#holds.values()) if (later.generation > hold.generation) this.#apart(hold, later);
  }

  #apart(earlier: Hold, later: Hold): void {
    const takenAtMs = this.#takenAtMs.get(later.generation) ?? Number.POSITIVE_INFINITY;
    if (earlier.mayHaveEnded || takenAtMs >= earlier.aliveUntilMs) return;
    this.fail(
      `${later.worker} has generation ${later.generation} while ${earlier.worker} holds ${earlier.generation} for another ` +
        `${earlier.aliveUntilMs - takenAtMs} ms: two workers hold one lease`,
    );
  }
}
