/** The checker accepts histories that have an order by construction, and finds out a world that was changed meanwhile. */
import { describe, expect, test } from "vitest";
import { SeededRandom } from "../crash/random.ts";
import { checkHistory } from "../model/checker.ts";
import type { Verdict } from "../model/checker.ts";
import { inventHistory } from "../model/invented-history.ts";
import type { Invention } from "../model/invented-history.ts";
import { tailOf } from "../model/world.ts";
import type { Stream, World } from "../model/world.ts";

const PLAN: Invention = { operations: 120, clients: 8, paths: ["a", "b", "c"], loss: 0.06, crash: 0.01, ttl: false };

function explain(verdict: Verdict): string {
  return verdict.kind === "violation" ? verdict.text : verdict.kind;
}

describe("histories that have an order are accepted", () => {
  test.each([
    ["of three streams that fork", PLAN],
    ["with sliding TTLs", { ...PLAN, ttl: true }],
    ["of one busy stream", { ...PLAN, paths: ["a"], operations: 300, loss: 0.1 }],
  ] as const)("%s", (_, plan) => {
    for (let seed = 1; seed <= 8; seed++) {
      const verdict = checkHistory(inventHistory(new SeededRandom(seed), plan));
      expect([seed, explain(verdict)]).toEqual([seed, "linearizable"]);
    }
  });
});

/** Changes one stream that has at least two messages of its own, or gives null when it has not. */
type Change = (stream: Stream) => Stream | null;

function cut(stream: Stream, at: number): Stream {
  const ends = stream.ends.filter((end) => end <= at);
  return { ...stream, bytes: stream.bytes.slice(0, at), ends: ends.at(-1) === at ? ends : [...ends, at] };
}

function lastTwo({ bytes, ends }: Stream): [number, string, string] | null {
  const [from, middle] = [ends.at(-3) ?? 0, ends.at(-2)];
  if (middle === undefined) return null;
  const [one, other] = [bytes.slice(from, middle), bytes.slice(middle)];
  return one === other ? null : [from, one, other];
}

const CHANGES: Readonly<Record<string, Change>> = {
  "an acked append is lost": (stream) => {
    const [from, one] = lastTwo(stream) ?? [];
    return from === undefined ? null : cut(stream, from + one!.length);
  },
  "an append is there twice": (stream) => {
    const [, , last] = lastTwo(stream) ?? [];
    if (last === undefined || last === "same") return null;
    return { ...stream, bytes: stream.bytes + last, ends: [...stream.ends, tailOf(stream) + last.length] };
  },
  "two appends are swapped": (stream) => {
    const [from, one, last] = lastTwo(stream) ?? [];
    if (from === undefined) return null;
    const ends = [...stream.ends.slice(0, -2), from + last!.length, tailOf(stream)];
    return { ...stream, bytes: stream.bytes.slice(0, from) + last! + one!, ends };
  },
  "a message is torn": (stream) => (lastTwo(stream) === null ? null : cut(stream, tailOf(stream) - 2)),
  "a close is undone": (stream) => (stream.closed ? { ...stream, closed: false } : null),
  "a stream has another's generation": (stream) => {
    const [own] = stream.lineage;
    return tailOf(stream) === 0 ? null : { ...stream, lineage: [{ life: own!.life + 1, first: 0 }] };
  },
};

describe("a world that is changed behind everybody's back is found out", () => {
  test.each(Object.keys(CHANGES))("%s", (name) => {
    let changed = 0;
    for (let seed = 1; changed < 4 && seed < 200; seed++) {
      let isChanged = false;
      const spoil = (world: World): World => {
        const streams = new Map(world.streams);
        for (const [path, stream] of streams) {
          const next = isChanged || stream.softDeleted ? null : CHANGES[name]!(stream);
          if (next === null) continue;
          isChanged = true;
          streams.set(path, next);
        }
        // Lives that nobody knows yet have a generation as well.
        const generations = new Map(world.generations);
        for (let life = 1; life <= world.lives + 1; life++) generations.set(life, life * 3);
        return { ...world, streams, generations };
      };
      const plan = { ...PLAN, paths: ["a"], operations: 40, loss: 0, crash: 0, spoil };
      const history = inventHistory(new SeededRandom(seed), plan);
      if (!isChanged) continue;
      changed += 1;
      expect([seed, explain(checkHistory(history))]).toEqual([seed, expect.stringContaining("No order")]);
    }
    expect(changed).toBe(4);
  });
});
