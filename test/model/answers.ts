/**
 * Whether an answer is what the model expects, and what it teaches: the tokens in it show the generation of a life. A life has
 * one generation, no two lives have the same, and a path's later life has a larger one than all before it.
 */
import { parseToken } from "./history.ts";
import type { OffsetToken, Outcome, Shown } from "./history.ts";
import { lifeAt, tailOf } from "./world.ts";
import type { Expected, Step } from "./model.ts";
import type { Stream, World } from "./world.ts";

/** Either the world with what the answer has taught, or why it cannot be. */
export type Judgement =
  | { readonly kind: "agrees"; readonly world: World }
  | { readonly kind: "differs"; readonly why: string };

/**
 * `before` is the world that the step was made from. `sequential` says that nothing else was under way, so that a decision and
 * what is shown with it are of the same moment.
 */
export function judge(before: World, step: Step, path: string, outcome: Outcome, sequential: boolean): Judgement {
  const { expected, world } = step;
  if (outcome.kind === "refused") return { kind: "agrees", world: before };
  if (expected.kind !== outcome.kind) return differs(() => `the model answers ${describe(expected)}`);
  if (outcome.kind === "data" && expected.kind === "data") {
    return judgeData(world, path, world.streams.get(path)!, expected.from, outcome);
  }
  for (const field of ["epoch", "seq", "expected", "contentType"] as const) {
    const [wanted, got] = [valueOf(expected, field), valueOf(outcome, field)];
    if (wanted !== got) return differs(() => `the model answers ${field} ${String(wanted)}`);
  }
  if (!("shown" in outcome) || !("tail" in expected)) return { kind: "agrees", world };
  const isLater = !sequential && MAY_SHOW_LATER.has(outcome.kind);
  return judgeShown(world, path, world.streams.get(path)!, expected, outcome.shown, isLater);
}

/** Answers whose tail is read when they are sent, which may be after the decision. */
const MAY_SHOW_LATER: ReadonlySet<string> = new Set(["exists", "duplicate", "already-closed", "closed"]);

/** The reason is put in words only when it is asked for: a search has many of them. */
function differs(words: () => string): Judgement {
  return {
    kind: "differs",
    get why() {
      return words();
    },
  };
}

function valueOf(record: object, field: string): unknown {
  return (record as Record<string, unknown>)[field];
}

/** An expectation in words. */
export function describe(expected: Expected): string {
  const { kind, ...rest } = expected;
  const facts = Object.entries(rest).map(([name, value]) => `${name} ${String(value)}`);
  return facts.length === 0 ? kind : `${kind} (${facts.join(", ")})`;
}

function judgeShown(
  world: World,
  path: string,
  stream: Stream,
  expected: { readonly tail: number; readonly closed: boolean },
  shown: Shown,
  isLater: boolean,
): Judgement {
  const closedFits = isLater ? shown.closed || !expected.closed : shown.closed === expected.closed;
  if (!closedFits) return differs(() => `the model's stream is ${expected.closed ? "closed" : "open"}`);
  if (shown.tail === null) return { kind: "agrees", world };
  const token = parseToken(shown.tail);
  const tailFits = token !== null && (isLater ? token.position >= expected.tail : token.position === expected.tail);
  return tailFits ? learn(world, path, stream, shown.tail) : differs(() => `the model's tail is ${expected.tail}`);
}

function judgeData(
  world: World,
  path: string,
  stream: Stream,
  from: number,
  outcome: Outcome & { readonly kind: "data" },
): Judgement {
  const tail = tailOf(stream);
  const next = parseToken(outcome.next)?.position ?? -1;
  if (next > tail) return differs(() => `the model's tail is ${tail}`);
  if (next < from || (next === from && from < tail))
    return differs(() => `the model's bytes go from ${from} to ${tail}`);
  if (next !== from && !stream.ends.includes(next)) return differs(() => `no message of the model's ends at ${next}`);
  if (stream.bytes.slice(from, next) !== outcome.bytes) {
    return differs(() => `the model's bytes are ${JSON.stringify(stream.bytes.slice(from, next).slice(0, 60))}`);
  }
  if (outcome.upToDate !== (next === tail)) return differs(() => `the model's tail is ${tail}`);
  if (outcome.closed !== (stream.closed && next === tail)) {
    return differs(() => `the model's stream is ${stream.closed ? "closed" : "open"}, and its tail ${tail}`);
  }
  return learn(world, path, stream, outcome.next);
}

function learn(world: World, path: string, stream: Stream, shown: OffsetToken): Judgement {
  const token = parseToken(shown)!;
  const life = lifeAt(stream, token.position);
  const known = world.generations.get(life);
  if (known === token.generation) return { kind: "agrees", world };
  if (known !== undefined) return differs(() => `these positions have had generation ${known}`);
  for (const other of world.generations.values()) {
    if (other === token.generation) return differs(() => `generation ${other} is that of another life`);
  }
  const newest = world.newest.get(path) ?? 0;
  if (life === stream.life && token.generation <= newest) {
    return differs(() => `an earlier life of this path has had generation ${newest}`);
  }
  return {
    kind: "agrees",
    world: {
      ...world,
      generations: new Map(world.generations).set(life, token.generation),
      newest: life === stream.life ? new Map(world.newest).set(path, token.generation) : world.newest,
    },
  };
}
