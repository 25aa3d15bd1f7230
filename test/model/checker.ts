/**
 * Is there an order of a history's operations, each between its call and its answer, in which the model gives every answer?
 * Streams that never fork from one another are judged apart: if each family has its order, the whole has one.
 */
import { parseToken } from "./history.ts";
import type { History, Operation } from "./history.ts";
import { table } from "./report.ts";
import { Search } from "./search.ts";
import type { Found, Stuck } from "./search.ts";

export type Verdict =
  /** `places` is how many places the search has been to, over all families. */
  | { readonly kind: "linearizable"; readonly places: number }
  /** `operations` is the smallest prefix of one family's history that has no order, and `text` its table with the reasons. */
  | { readonly kind: "violation"; readonly operations: readonly Operation[]; readonly text: string }
  /** The bound on places was met before there was an answer. A test must not take it for one. */
  | { readonly kind: "undecided"; readonly operations: readonly Operation[]; readonly places: number };

export interface CheckOptions {
  /** Bound on the places that the search goes to for one family. */
  readonly placesMax?: number;
}

const PLACES_MAX = 200_000;

export function checkHistory(history: History, options: CheckOptions = {}): Verdict {
  const placesMax = options.placesMax ?? PLACES_MAX;
  const families = familiesOf(history.operations);
  const shared = sharedGeneration(families);
  if (shared !== null) return shared;
  let places = 0;
  let undecided: Verdict | null = null;
  for (const family of families) {
    const found = new Search(family, history.crashes, placesMax).run();
    if (found.kind === "none") return violation(history, family, found.furthest, placesMax);
    if (found.kind === "undecided") undecided = { kind: "undecided", operations: family, places: found.places };
    places += found.places;
  }
  return undecided ?? { kind: "linearizable", places };
}

/** Operations by streams that fork from one another, each in the order of calls. */
function familiesOf(operations: readonly Operation[]): Operation[][] {
  const parent = new Map<string, string>();
  const root = (path: string): string => {
    const above = parent.get(path) ?? path;
    return above === path ? path : root(above);
  };
  for (const { path, request } of operations)
    if (request.kind === "create" && request.fork !== null) parent.set(root(request.fork.source), root(path));
  const families = new Map<string, Operation[]>();
  for (const operation of operations.toSorted((a, b) => a.call.step - b.call.step)) {
    const name = root(operation.path);
    const family = families.get(name);
    if (family === undefined) families.set(name, [operation]);
    else family.push(operation);
  }
  return [...families.values()];
}

/** A generation belongs to one life, and so to one family. */
function sharedGeneration(families: readonly (readonly Operation[])[]): Verdict | null {
  const owners = new Map<number, { readonly family: number; readonly operation: Operation }>();
  for (const [family, operations] of families.entries()) {
    for (const operation of operations) {
      const { outcome } = operation;
      const shown = outcome?.kind === "data" ? outcome.next : outcome && "shown" in outcome ? outcome.shown.tail : null;
      const generation = shown === null ? undefined : parseToken(shown)?.generation;
      if (generation === undefined) continue;
      const owner = owners.get(generation);
      if (owner === undefined) owners.set(generation, { family, operation });
      else if (owner.family !== family) {
        const pair = [owner.operation, operation];
        const why = `generation ${generation} is shown by streams that have nothing to do with each other`;
        const text = table(pair, { order: [], reasons: [{ id: operation.id, why }] });
        return { kind: "violation", operations: pair, text };
      }
    }
  }
  return null;
}

/** A longer prefix of a history without an order has none either, so the smallest one is found by halving. */
function violation(history: History, family: readonly Operation[], stuck: Stuck, placesMax: number): Verdict {
  const answers = family.flatMap((operation) => (operation.return === null ? [] : [operation.return]));
  const cuts = answers.toSorted((a, b) => a.step - b.step);
  let [low, high] = [0, cuts.length - 1];
  let smallest: { operations: readonly Operation[]; stuck: Stuck } = { operations: family, stuck };
  while (low <= high) {
    const middle = (low + high) >>> 1;
    const operations = prefixOf(family, cuts[middle]!.step);
    const found: Found = new Search(operations, history.crashes, placesMax).run();
    if (found.kind === "none") {
      smallest = { operations, stuck: found.furthest };
      high = middle - 1;
    } else low = middle + 1;
  }
  return { kind: "violation", operations: smallest.operations, text: table(smallest.operations, smallest.stuck) };
}

/** What was known at that step. What was answered later is without an answer, and had its effect before it if it had one. */
function prefixOf(family: readonly Operation[], step: number): Operation[] {
  return family
    .filter(({ call }) => call.step <= step)
    .map((operation) =>
      operation.return !== null && operation.return.step > step
        ? { ...operation, return: null, outcome: null, endedBy: operation.return }
        : operation,
    );
}
