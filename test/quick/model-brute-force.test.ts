/** The search leaves much untried; on small histories, right and wrong ones, it must say what trying all orders says. */
import { expect, test } from "vitest";
import { SeededRandom } from "../crash/random.ts";
import { judge } from "../model/answers.ts";
import { checkHistory } from "../model/checker.ts";
import { formatToken, parseToken } from "../model/history.ts";
import type { History, Operation, Outcome } from "../model/history.ts";
import { inventHistory } from "../model/invented-history.ts";
import { apply, momentAt } from "../model/model.ts";
import { EMPTY_WORLD } from "../model/world.ts";
import type { World } from "../model/world.ts";

const HISTORIES = 100;
const TIME = momentAt(0);

function endOf(operation: Operation): number {
  return (operation.return ?? operation.endedBy)?.step ?? Infinity;
}

/** Every order, each operation without an answer anywhere in it or nowhere. */
function hasOrder(world: World, left: readonly Operation[], latestCall: number): boolean {
  const answered = left.filter(({ outcome }) => outcome !== null);
  if (answered.length === 0) return true;
  return left.some((operation) => {
    if (answered.some((other) => other !== operation && endOf(other) < operation.call.step)) return false;
    if (endOf(operation) < latestCall) return false;
    const step = apply(world, operation.path, operation.request, TIME);
    const rest = left.filter((other) => other !== operation);
    const since = Math.max(latestCall, operation.call.step);
    if (operation.outcome === null) return hasOrder(step.world, rest, since);
    const judgement = judge(world, step, operation.path, operation.outcome, false);
    return judgement.kind === "agrees" && hasOrder(judgement.world, rest, since);
  });
}

function moved(token: string, by: number): string {
  const { generation, position } = parseToken(token)!;
  return formatToken(generation, Math.max(0, position + by));
}

/** An answer that may be wrong. */
function altered(outcome: Outcome, random: SeededRandom): Outcome {
  const by = random.pick([-3, -1, 1, 3, 4]);
  if (outcome.kind === "data") {
    if (random.chance(0.3)) return { ...outcome, closed: !outcome.closed };
    if (random.chance(0.5)) return { ...outcome, bytes: "", next: moved(outcome.next, -outcome.bytes.length) };
    return { ...outcome, next: moved(outcome.next, by) };
  }
  if (!("shown" in outcome)) return { kind: random.pick(["not-found", "gone", "conflict", "deleted"] as const) };
  const { tail, closed } = outcome.shown;
  if (random.chance(0.3)) return { ...outcome, shown: { tail, closed: !closed } };
  return { ...outcome, shown: { tail: moved(tail!, by), closed } };
}

/** Keeps a history small enough for all of its orders. */
function small(random: SeededRandom): History {
  const plan = {
    operations: 6,
    clients: 4,
    paths: ["a", "b"].slice(0, random.integer(1, 2)),
    loss: random.pick([0.1, 0.4]),
  };
  const { operations, crashes } = inventHistory(random, { ...plan, crash: 0.03, ttl: false });
  const victim = random.pick(operations).id;
  const spoiled = operations.map((operation) =>
    operation.id === victim && operation.outcome !== null
      ? { ...operation, outcome: altered(operation.outcome, random) }
      : operation,
  );
  return { operations: random.chance(0.3) ? operations : spoiled, crashes };
}

test("the checker says of a small history what a trial of all orders says", () => {
  const said = { linearizable: 0, violation: 0, undecided: 0 };
  for (let seed = 1; seed <= HISTORIES; seed++) {
    const history = small(new SeededRandom(seed));
    const verdict = checkHistory(history);
    const wanted = hasOrder(EMPTY_WORLD, history.operations, -Infinity) ? "linearizable" : "violation";
    if (verdict.kind !== wanted) {
      throw new Error(
        `seed ${seed}: ${wanted}, but ${verdict.kind === "violation" ? verdict.text : JSON.stringify(history)}`,
      );
    }
    said[verdict.kind] += 1;
  }
  expect(Math.min(said.linearizable, said.violation)).toBeGreaterThan(HISTORIES / 6);
});
