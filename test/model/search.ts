/**
 * The search for an order of one family's operations in which the model gives every answer (Wing and Gong's, with Lowe's memory
 * of what was in vain). A place in the search is a set of operations already in order and the world after them.
 */
import { judge } from "./answers.ts";
import type { Instant, Operation } from "./history.ts";
import { isWorthTrying, knownOf } from "./known.ts";
import type { Known } from "./known.ts";
import { apply } from "./model.ts";
import { EMPTY_WORLD, without } from "./world.ts";
import type { Stream, World } from "./world.ts";
import { Renewals } from "./renewals.ts";

export interface Stuck {
  /** Ids, as far as an order was found. */
  readonly order: readonly number[];
  /** Why none of the operations that could come next can. */
  readonly reasons: readonly { readonly id: number; readonly why: string }[];
}

export type Found =
  | { readonly kind: "order"; readonly order: readonly number[]; readonly places: number }
  /** `furthest` is the longest order that was tried. */
  | { readonly kind: "none"; readonly furthest: Stuck; readonly places: number }
  /** The bound on places was met. */
  | { readonly kind: "undecided"; readonly places: number };

/** An answered operation must be placed by its answer; one without an answer may be, until `end`. */
interface Entry {
  readonly operation: Operation;
  readonly call: number;
  readonly end: number;
  readonly isAnswered: boolean;
}

interface Fitting {
  readonly index: number;
  readonly world: World;
}

/** Where the search is: entries before `first` are done with, and the latest call in the order was at `step`. */
interface Since {
  readonly first: number;
  readonly step: number;
}

class OutOfPlaces extends Error {}

export class Search {
  readonly #entries: readonly Entry[];
  readonly #known: Known;
  readonly #renewals: Renewals;
  readonly #placesMax: number;
  readonly #placed: Uint8Array;
  readonly #unanswered: readonly number[];
  readonly #order: number[] = [];
  readonly #inVain = new Set<string>();
  readonly #streamKeys = new WeakMap<Stream, string>();
  /** Answered operations that have no place yet. */
  #left: number;
  #places = 0;
  #furthest: Stuck = { order: [], reasons: [] };
  #leastLeft = Infinity;

  /** `operations` are those of one family. */
  constructor(operations: readonly Operation[], crashes: readonly Instant[], placesMax: number) {
    this.#known = knownOf(operations);
    this.#renewals = new Renewals(operations, crashes);
    this.#placesMax = placesMax;
    this.#entries = operations
      .filter(({ outcome, request }) => (outcome === null ? isWrite(request.kind) : outcome.kind !== "refused"))
      .map((operation) => ({
        operation,
        call: operation.call.step,
        end: (operation.return ?? operation.endedBy)?.step ?? Infinity,
        isAnswered: operation.outcome !== null,
      }))
      .toSorted((a, b) => a.call - b.call);
    this.#placed = new Uint8Array(this.#entries.length);
    this.#unanswered = [...this.#entries.keys()].filter((index) => !this.#entries[index]!.isAnswered);
    this.#left = this.#entries.length - this.#unanswered.length;
  }

  run(): Found {
    try {
      const isFound = this.#from(EMPTY_WORLD, { first: 0, step: -Infinity });
      if (isFound) return { kind: "order", order: this.#order, places: this.#places };
      return { kind: "none", furthest: this.#furthest, places: this.#places };
    } catch (error) {
      if (error instanceof OutOfPlaces) return { kind: "undecided", places: this.#places };
      throw error;
    }
  }

  /** Whether an order of what is left goes on from here. */
  #from(world: World, since: Since): boolean {
    if (this.#left === 0) return true;
    this.#places += 1;
    if (this.#places > this.#placesMax) throw new OutOfPlaces();
    const key = this.#inVain.size > 0 ? this.#keyOf(world, since.step) : null;
    if (key !== null && this.#inVain.has(key)) return false;
    if (this.#goesOn(world, since)) return true;
    this.#inVain.add(key ?? this.#keyOf(world, since.step));
    return false;
  }

  #goesOn(world: World, since: Since): boolean {
    const { indexes, first, latestMs } = this.#next(since);
    const here = { ...since, first };
    const { fitting, isSettled } = this.#fitting(world, indexes, latestMs, since);
    if (fitting.some((next) => this.#place(next.world, next.index, here))) return true;
    if (isSettled) return false;
    if (indexes.some((index) => this.#tryUnanswered(world, index, latestMs, here))) return true;
    // An expired fork goes when the server gets to it, and only then does it let go of its source.
    return this.#renewals.sweepable(world, latestMs).some((path) => this.#from(without(world, path), here));
  }

  /** Which operations may come next: none that was called after the answer of one that is left. */
  #next({ first, step }: Since): { indexes: number[]; first: number; latestMs: number } {
    const indexes: number[] = [];
    let answerBy = Infinity;
    let latestMs = Infinity;
    for (let index = first; index < this.#entries.length; index++) {
      if (this.#placed[index] === 1) continue;
      const { call, end, isAnswered, operation } = this.#entries[index]!;
      if (call > answerBy) break;
      if (!isAnswered && end < step) continue;
      indexes.push(index);
      if (!isAnswered) continue;
      answerBy = Math.min(answerBy, end);
      latestMs = Math.min(latestMs, operation.return!.ms);
    }
    return { indexes, first: indexes[0] ?? first, latestMs };
  }

  /** The answered operations whose answers the model gives here, and the worlds after them. */
  #fitting(
    world: World,
    indexes: readonly number[],
    latestMs: number,
    since: Since,
  ): { fitting: Fitting[]; isSettled: boolean } {
    const fitting: Fitting[] = [];
    const differing: { id: number; judgement: { readonly why: string } }[] = [];
    for (const index of indexes) {
      const { operation, isAnswered, call } = this.#entries[index]!;
      if (!isAnswered) continue;
      const { id, path, request, outcome } = operation;
      const choices = this.#renewals.choices(world, operation, latestMs);
      for (const choice of choices) {
        const step = apply(choice.world, path, request, choice.moment);
        const judgement = judge(choice.world, step, path, outcome!, false);
        if (judgement.kind === "differs") {
          differing.push({ id, judgement });
          continue;
        }
        // What changes nothing, or nothing that another operation could still come before, may as well come now.
        const isSettled =
          choices.length === 1 &&
          (judgement.world === world || this.#isAlone(index, since.step)) &&
          !this.#shutsOut(since.step, call);
        const next = { index, world: judgement.world };
        if (isSettled) return { fitting: [next], isSettled };
        fitting.push(next);
      }
    }
    if (fitting.length === 0) this.#note(differing);
    return { fitting, isSettled: false };
  }

  /** Whether no other operation on the same, living stream could come before this one. */
  #isAlone(index: number, step: number): boolean {
    const { operation, end } = this.#entries[index]!;
    const { path, outcome } = operation;
    if (outcome?.kind !== "appended" && outcome?.kind !== "data" && outcome?.kind !== "metadata") return false;
    return this.#entries.every(
      (other, at) =>
        at === index ||
        this.#placed[at] === 1 ||
        other.call > end ||
        other.end < step ||
        !touches(other.operation, path),
    );
  }

  /** Whether some operation without an answer could come now, but not after something that was called at `call`. */
  #shutsOut(step: number, call: number): boolean {
    return this.#unanswered.some((index) => {
      const { end } = this.#entries[index]!;
      return this.#placed[index] === 0 && end >= step && end < call;
    });
  }

  #tryUnanswered(world: World, index: number, latestMs: number, since: Since): boolean {
    const { operation, isAnswered } = this.#entries[index]!;
    if (isAnswered) return false;
    const { path, request } = operation;
    const stream = world.streams.get(path);
    if (request.kind !== "create" && stream === undefined) return false;
    if (request.kind === "append" && !isWorthTrying(this.#known, world, stream!, operation)) return false;
    return this.#renewals.choices(world, operation, latestMs).some((choice) => {
      const next = apply(choice.world, path, request, choice.moment).world;
      return next !== choice.world && this.#place(next, index, since);
    });
  }

  #place(world: World, index: number, { first, step }: Since): boolean {
    const { operation, isAnswered, call } = this.#entries[index]!;
    const answered = isAnswered ? 1 : 0;
    this.#placed[index] = 1;
    this.#left -= answered;
    this.#order.push(operation.id);
    if (this.#from(world, { first, step: Math.max(step, call) })) return true;
    this.#order.pop();
    this.#left += answered;
    this.#placed[index] = 0;
    return false;
  }

  #note(differing: readonly { id: number; judgement: { readonly why: string } }[]): void {
    if (this.#left >= this.#leastLeft) return;
    this.#leastLeft = this.#left;
    this.#furthest = {
      order: [...this.#order],
      reasons: differing.map(({ id, judgement }) => ({ id, why: judgement.why })),
    };
  }

  /** What is still to come and what it meets. An operation that can come no more is as one that has its place. */
  #keyOf(world: World, step: number): string {
    const streams = [...world.streams].map(([path, stream]) => `${path} ${this.#streamKey(stream)}`).toSorted();
    const generations = [...world.generations].map(([life, generation]) => `${life}=${generation}`);
    const spent = this.#placed.map((isPlaced, index) => (isPlaced === 1 || this.#entries[index]!.end < step ? 1 : 0));
    return `${packed(spent)} ${generations.toSorted().join()} ${streams.join("\n")}`;
  }

  #streamKey(stream: Stream): string {
    const known = this.#streamKeys.get(stream);
    if (known !== undefined) return known;
    const { life, lineage, hash, closed, closedBy, streamSeq, producers, used, wrote, softDeleted } = stream;
    const ages = stream.ttlSeconds === null && stream.expiresAtMs === null ? null : [used, wrote];
    const config = [stream.contentType, stream.ttlSeconds, stream.expiresAtMs];
    const facts = [life, lineage, config, stream.bytes.length, hash, closed, closedBy, streamSeq, softDeleted];
    const key = JSON.stringify([
      facts,
      [...producers].toSorted(),
      ages?.map(({ fromMs, toMs }) => `${fromMs} ${toMs}`),
    ]);
    this.#streamKeys.set(stream, key);
    return key;
  }
}

function touches({ path, request }: Operation, name: string): boolean {
  return path === name || (request.kind === "create" && request.fork?.source === name);
}

function isWrite(kind: Operation["request"]["kind"]): boolean {
  return kind !== "head" && kind !== "read";
}

function packed(flags: Uint8Array): string {
  const codes: number[] = [];
  for (let at = 0; at < flags.length; at += 15) {
    let code = 0;
    for (let bit = 0; bit < 15; bit++) code |= (flags[at + bit] ?? 0) << bit;
    codes.push(code);
  }
  return String.fromCharCode(...codes);
}
