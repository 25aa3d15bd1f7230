import * as fc from "fast-check";
import { expect, test } from "vitest";
import { generation, position, type Offset } from "./brand.ts";
import { forkedFrom, forkLineage, ownStart, runAt, sourceRuns } from "./lineage.ts";
import { formatOffset, offsetAt, parseOffset, resolveOffset, type ResolvedOffset } from "./offset.ts";
import type { StreamIdentity } from "./stream-state.ts";

type Entry = [minted: number, first: number, source: number | null];

function identity(...entries: Entry[]): StreamIdentity {
  const own = entries.find(([, , source]) => source === null)!;
  return {
    id: generation(own[0]),
    path: "s",
    config: { contentType: "text/plain", ttlSeconds: null, expiresAtMs: null },
    createdAtMs: 0,
    lineage: entries.map(([minted, first, source]) => ({
      generation: generation(minted),
      first: position(first),
      source: source === null ? null : generation(source),
    })),
  };
}

function entriesOf(source: StreamIdentity, at: number, id: number): Entry[] {
  const lineage = forkLineage(source, position(at), generation(id));
  return lineage.map((entry) => [entry.generation, entry.first, entry.source]);
}

const root = identity([1, 0, null]);
const fork = identity([1, 0, 1], [2, 10, null]);
const forkAtStart = identity([1, 0, 1], [2, 0, null]);
const forkOfFork = identity([1, 0, 1], [2, 10, 2], [3, 20, null]);
const forkOfForkBelow = identity([1, 0, 1], [2, 5, 2], [3, 5, null]);
const lostTail = identity([1, 0, 1], [2, 10, null], [4, 30, null]);

test.each<[string, StreamIdentity, number, Entry[]]>([
  ["a stream at its start", root, 0, [[1, 0, 1]]],
  ["a stream", root, 7, [[1, 0, 1]]],
  [
    "a fork at the start",
    fork,
    0,
    [
      [1, 0, 1],
      [2, 0, 2],
    ],
  ],
  [
    "a fork below its fork point",
    fork,
    5,
    [
      [1, 0, 1],
      [2, 5, 2],
    ],
  ],
  [
    "a fork at its fork point",
    fork,
    10,
    [
      [1, 0, 1],
      [2, 10, 2],
    ],
  ],
  [
    "a fork above its fork point",
    fork,
    11,
    [
      [1, 0, 1],
      [2, 10, 2],
    ],
  ],
  [
    "a fork that inherits nothing, at its start",
    forkAtStart,
    0,
    [
      [1, 0, 1],
      [2, 0, 2],
    ],
  ],
  [
    "a fork that inherits nothing",
    forkAtStart,
    3,
    [
      [1, 0, 1],
      [2, 0, 2],
    ],
  ],
  [
    "a fork's fork at the start",
    forkOfFork,
    0,
    [
      [1, 0, 1],
      [2, 0, 2],
      [3, 0, 3],
    ],
  ],
  [
    "a fork's fork at the first fork point",
    forkOfFork,
    10,
    [
      [1, 0, 1],
      [2, 10, 2],
      [3, 10, 3],
    ],
  ],
  [
    "a fork's fork between both fork points",
    forkOfFork,
    15,
    [
      [1, 0, 1],
      [2, 10, 2],
      [3, 15, 3],
    ],
  ],
  [
    "a fork's fork at its fork point",
    forkOfFork,
    20,
    [
      [1, 0, 1],
      [2, 10, 2],
      [3, 20, 3],
    ],
  ],
  [
    "a fork's fork above it",
    forkOfFork,
    21,
    [
      [1, 0, 1],
      [2, 10, 2],
      [3, 20, 3],
    ],
  ],
  [
    "a fork's fork below both fork points",
    forkOfForkBelow,
    5,
    [
      [1, 0, 1],
      [2, 5, 2],
      [3, 5, 3],
    ],
  ],
  [
    "a fork's fork above both fork points",
    forkOfForkBelow,
    6,
    [
      [1, 0, 1],
      [2, 5, 2],
      [3, 5, 3],
    ],
  ],
  [
    "a fork that lost its tail, below that",
    lostTail,
    30,
    [
      [1, 0, 1],
      [2, 10, 2],
      [4, 30, 2],
    ],
  ],
  [
    "a fork that lost its tail, above that",
    lostTail,
    31,
    [
      [1, 0, 1],
      [2, 10, 2],
      [4, 30, 2],
    ],
  ],
])("the lineage of a fork of %s", (_name, source, at, inherited) => {
  expect(entriesOf(source, at, 9)).toEqual([...inherited, [9, at, null]]);
});

test.each<[string, StreamIdentity, number, number | null]>([
  ["a stream", root, 0, null],
  ["a stream that lost its tail", identity([1, 0, null], [4, 30, null]), 0, null],
  ["a fork", fork, 10, 1],
  ["a fork that lost its tail", lostTail, 10, 1],
  ["a fork at the start", forkAtStart, 0, 1],
  ["a fork's fork", forkOfFork, 20, 2],
  ["a fork's fork that inherits only the first stream's bytes", forkOfForkBelow, 5, 2],
])("%s knows its own start and its source", (_name, stream, start, source) => {
  expect(ownStart(stream)).toBe(start);
  expect(forkedFrom(stream)).toBe(source);
});

test.each<[StreamIdentity, number, number, Entry[]]>([
  [root, 0, 0, []],
  [root, 5, 5, []],
  [root, 6, 5, []],
  [root, 2, 9, [[1, 2, 9]]],
  [fork, 0, 10, [[1, 0, 10]]],
  [fork, 10, 12, [[2, 10, 12]]],
  [
    fork,
    9,
    11,
    [
      [1, 9, 10],
      [2, 10, 11],
    ],
  ],
  [
    forkOfFork,
    5,
    25,
    [
      [1, 5, 10],
      [2, 10, 20],
      [3, 20, 25],
    ],
  ],
  [
    forkOfForkBelow,
    0,
    8,
    [
      [1, 0, 5],
      [3, 5, 8],
    ],
  ],
  [
    lostTail,
    9,
    31,
    [
      [1, 9, 10],
      [2, 10, 30],
      [2, 30, 31],
    ],
  ],
])("%o: bytes [%i, %i) lie in the streams that they were written to", (stream, from, to, runs) => {
  expect(sourceRuns(stream, from, to).map((run) => [run.stream, run.from, run.to])).toEqual(runs);
});

test("a run that holds a byte is the whole run; the last one has no end", () => {
  expect(runAt(forkOfFork, 9)).toEqual({ stream: 1, from: 0, to: 10 });
  expect(runAt(forkOfFork, 10)).toEqual({ stream: 2, from: 10, to: 20 });
  expect(runAt(forkOfFork, 20)).toEqual({ stream: 3, from: 20, to: Infinity });
  expect(runAt(forkOfForkBelow, 4)).toEqual({ stream: 1, from: 0, to: 5 });
  expect(runAt(forkOfForkBelow, 5)).toEqual({ stream: 3, from: 5, to: Infinity });
  expect(runAt(forkAtStart, 0)).toEqual({ stream: 2, from: 0, to: Infinity });
  expect(runAt(root, 0)).toEqual({ stream: 1, from: 0, to: Infinity });
});

/** A stream as a server that copies bytes would keep it, beside its identity here and its own bytes alone. */
interface Copied {
  readonly identity: StreamIdentity;
  readonly own: number[];
  readonly copy: number[];
  /** The offset that was given out for each position of the copy. */
  readonly minted: Offset[];
}

type Step =
  | { readonly kind: "create" }
  | { readonly kind: "append"; readonly stream: number; readonly bytes: readonly number[] }
  | { readonly kind: "fork"; readonly stream: number; readonly part: number };

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("create" as const) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("append" as const),
      stream: fc.nat(99),
      bytes: fc.array(fc.nat(255), { maxLength: 4 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("fork" as const),
      stream: fc.nat(99),
      part: fc.oneof(fc.constantFrom(0, 1), fc.double({ min: 0, max: 1, noNaN: true })),
    }),
  },
);

/** The streams that the steps make. Now and then a fork parts exactly where its source does. */
function grow(steps: readonly Step[]): Copied[] {
  const streams: Copied[] = [];
  for (const step of steps) {
    const id = generation(streams.length + 1);
    const base = step.kind === "create" ? undefined : streams[step.stream % Math.max(1, streams.length)];
    if (base === undefined) {
      const made = identity([id, 0, null]);
      streams.push({ identity: made, own: [], copy: [], minted: [formatOffset(id, position(0))] });
    } else if (step.kind === "append") {
      for (const byte of step.bytes) {
        base.own.push(byte);
        base.copy.push(byte);
        base.minted.push(formatOffset(base.identity.id, position(base.copy.length)));
      }
    } else if (step.kind === "fork") {
      const part = Math.round(base.copy.length * step.part);
      const at = step.stream % 3 === 0 ? ownStart(base.identity) : position(part);
      const made = { ...base.identity, id, lineage: forkLineage(base.identity, at, id) };
      streams.push({ identity: made, own: [], copy: base.copy.slice(0, at), minted: base.minted.slice(0, at + 1) });
      expect(ownStart(made)).toBe(at);
      expect(forkedFrom(made)).toBe(base.identity.id);
      expect(made.lineage.length).toBe(base.identity.lineage.length + 1);
    }
  }
  return streams;
}

function resolve({ identity: stream, copy }: Copied, offset: Offset): ResolvedOffset {
  const parsed = parseOffset(offset);
  if (parsed.kind !== "at") throw new Error(`not an offset: ${offset}`);
  return resolveOffset(stream, position(copy.length), position(0), parsed);
}

const anySteps = fc.array(anyStep, { maxLength: 40 });

test("the bytes that a stream's runs name are the bytes that a copy would hold", () => {
  fc.assert(
    fc.property(
      anySteps,
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (steps, a, b) => {
        const streams = grow(steps);
        for (const { identity: stream, copy } of streams) {
          const [from, to] = [Math.min(a, b), Math.max(a, b)].map((part) => Math.round(part * copy.length)) as [
            number,
            number,
          ];
          const bytes: number[] = [];
          for (const run of sourceRuns(stream, from, to)) {
            const holder = streams[run.stream - 1]!;
            expect(run.from).toBe(from + bytes.length);
            expect(run.from).toBeLessThan(run.to);
            const start = ownStart(holder.identity);
            bytes.push(...holder.own.slice(run.from - start, run.to - start));
            const whole = runAt(stream, run.from);
            expect(whole.stream).toBe(run.stream);
            expect(whole.from <= run.from && run.to <= whole.to).toBe(true);
          }
          expect(bytes).toEqual(copy.slice(from, to));
        }
      },
    ),
    { numRuns: 300 },
  );
});

test("a stream gives out and accepts the offsets that its copy would have, and they grow", () => {
  fc.assert(
    fc.property(anySteps, (steps) => {
      for (const stream of grow(steps)) {
        for (const [place, offset] of stream.minted.entries()) {
          expect(offsetAt(stream.identity, position(place))).toBe(offset);
          if (place > 0) expect(offset > stream.minted[place - 1]!).toBe(true);
          expect(resolve(stream, offset)).toEqual({ kind: "position", position: place });
        }
      }
    }),
    { numRuns: 300 },
  );
});

test("an offset that another stream gave out past the point where both part is refused", () => {
  fc.assert(
    fc.property(anySteps, (steps) => {
      const streams = grow(steps);
      for (const stream of streams) {
        const known = new Set(stream.minted);
        for (const other of streams) {
          for (const offset of other.minted) if (!known.has(offset)) expect(resolve(stream, offset).kind).toBe("gone");
        }
      }
    }),
    { numRuns: 100 },
  );
});
