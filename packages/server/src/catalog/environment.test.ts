import { describe, expect, test } from "vitest";
import * as fc from "fast-check";
import { temporaryDirectory } from "../../test-support/shard.ts";
import type { CatalogEnvironment, StoreKey } from "./environment.ts";
import { openLmdb } from "./environment-lmdb.ts";
import { openMemory } from "./environment-memory.ts";

const VALUE = Uint8Array.of(7);

async function withLmdb(run: (environment: CatalogEnvironment) => Promise<void>): Promise<void> {
  await using directory = await temporaryDirectory();
  const environment = openLmdb(directory.path);
  try {
    await run(environment);
  } finally {
    await environment.close();
  }
}

const ADAPTERS: { name: string; using: typeof withLmdb }[] = [
  { name: "LMDB", using: withLmdb },
  { name: "memory", using: (run) => run(openMemory()) },
];

/** Keys of one shape each, in the order in which they are to come back. */
const ORDERED: Record<string, readonly StoreKey[]> = {
  numbers: [-1, 0, 1, 2, 9, 10, 255, 256, 65_536, 4_294_967_296, Number.MAX_SAFE_INTEGER],
  strings: ["A", "Z", "a", "a/b", "a/b/c", "aa", "b", "\u00e9", "\u4e2d", "\uff21", "\u{1f600}"],
  "number and string": [
    [1, ""],
    [1, "a"],
    [1, "ab"],
    [1, "b"],
    [2, ""],
    [2, "a"],
    [10, "a"],
    [1_700_000_000_000, "a"],
  ],
  "number and number": [
    [1, -1],
    [1, 0],
    [1, 5],
    [1, 1_000],
    [2, -1],
    [2, 0],
    [10, 3],
    [300, 2],
  ],
};

/** Any order but the sorted one. */
function shuffled<K>(keys: readonly K[]): K[] {
  return keys
    .map((key, i) => ({ key, at: (i * 7 + 3) % keys.length }))
    .sort((a, b) => a.at - b.at)
    .map(({ key }) => key);
}

for (const { name, using } of ADAPTERS) {
  describe(`the catalog's values in ${name}`, () => {
    test.each(Object.keys(ORDERED))("keys of %s come in order, in ranges of any kind", (shape) =>
      using(async (environment) => {
        const keys = ORDERED[shape]!;
        const store = environment.store<StoreKey>("s");
        await environment.batch(() => shuffled(keys).forEach((key) => store.put(key, VALUE)));
        expect([...store.getKeys()]).toEqual(keys);
        expect([...store.getKeys({ reverse: true })]).toEqual(keys.toReversed());
        expect([...store.getKeys({ limit: 3, snapshot: false })]).toEqual(keys.slice(0, 3));
        for (const [i, start] of keys.entries()) {
          for (const [j, end] of keys.entries()) {
            expect([...store.getKeys({ start, end })]).toEqual(keys.slice(i, Math.max(i, j)));
            const down = keys.slice(Math.min(i, j) + 1, i + 1).toReversed();
            expect([...store.getKeys({ start, end, reverse: true })]).toEqual(down);
          }
          expect([...store.getKeys({ start, reverse: true, limit: 1 })]).toEqual([start]);
        }
      }),
    );

    test("a range's ends need not be keys that are there", () =>
      using(async (environment) => {
        const store = environment.store<[number, number]>("s");
        await environment.batch(() => {
          for (const at of [0, 10, 20]) store.put([5, at], VALUE);
          store.put([4, 99], VALUE);
          store.put([6, 0], VALUE);
        });
        const below = (at: number): [number, number][] => [
          ...store.getKeys({ start: [5, at], end: [5, -1], reverse: true, limit: 1 }),
        ];
        expect([below(-1), below(0), below(9), below(10), below(1_000)]).toEqual([
          [],
          [[5, 0]],
          [[5, 0]],
          [[5, 10]],
          [[5, 20]],
        ]);
        expect([...store.getKeys({ start: [5, 1], end: [6, 0] })]).toEqual([
          [5, 10],
          [5, 20],
        ]);
      }));

    test("what a batch puts is seen once it is committed, and not within it", () =>
      using(async (environment) => {
        const store = environment.store<string>("s");
        await environment.batch(() => store.put("old", VALUE));
        const seen: unknown[] = [];
        const committed = environment.batch(() => {
          store.put("new", VALUE);
          store.remove("old");
          seen.push([...store.getKeys()], store.get("new"));
        });
        await committed;
        expect(seen).toEqual([["old"], undefined]);
        expect([...store.getKeys()]).toEqual(["new"]);
        expect(store.get("old")).toBeUndefined();
      }));

    test("the last change of a key in a batch counts, and a missing key may be removed", () =>
      using(async (environment) => {
        const store = environment.store<number>("s");
        await environment.batch(() => {
          store.put(1, Uint8Array.of(1));
          store.remove(1);
          store.put(2, Uint8Array.of(1));
          store.put(2, Uint8Array.of(2));
          store.remove(3);
        });
        expect([...store.getKeys()]).toEqual([2]);
        expect([...store.get(2)!]).toEqual([2]);
      }));

    test("nobody shares a value's bytes with the store", () =>
      using(async (environment) => {
        const store = environment.store<string>("s");
        const value = Uint8Array.of(1, 2, 3);
        await environment.batch(() => store.put("a", value));
        value[0] = 9;
        const first = store.get("a")!;
        first[1] = 9;
        expect([...store.get("a")!]).toEqual([1, 2, 3]);
      }));

    test("an empty value is a value, and stores of other names are others", () =>
      using(async (environment) => {
        const [one, two] = [environment.store<string>("one"), environment.store<string>("two")];
        await environment.batch(() => one.put("a", new Uint8Array(0)));
        expect(one.get("a")).toHaveLength(0);
        expect(two.get("a")).toBeUndefined();
        await environment.flushed();
        environment.recordSize();
      }));
  });
}

test("in memory, any history of puts and removals leaves what a map would, in order", () =>
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.integer({ min: 0, max: 3_000 }), fc.boolean()), { maxLength: 3_000, size: "max" }),
      fc.integer({ min: 0, max: 3_000 }),
      (history, start) => {
        const environment = openMemory();
        const store = environment.store<number>("s");
        const model = new Map<number, number>();
        for (const [key, isPut] of history) {
          if (isPut) {
            store.put(key, Uint8Array.of(key & 0xff));
            model.set(key, key & 0xff);
          } else {
            store.remove(key);
            model.delete(key);
          }
        }
        const keys = [...model.keys()].sort((a, b) => a - b);
        expect([...store.getKeys()]).toEqual(keys);
        expect([...store.getKeys({ start, reverse: true })]).toEqual(keys.filter((key) => key <= start).toReversed());
        for (const key of keys) expect(store.get(key)?.[0]).toBe(model.get(key));
      },
    ),
    { numRuns: 30 },
  ));

test("in memory, keys may come and go while others are walked through", () => {
  for (const reverse of [false, true]) {
    const store = openMemory().store<number>("s");
    for (let key = 0; key < 2_000; key += 2) store.put(key, VALUE);
    const walked: number[] = [];
    for (const key of store.getKeys({ reverse })) {
      walked.push(key);
      store.remove(key);
      store.put(reverse ? key + 1 : key - 1, VALUE);
    }
    expect(walked.length).toBe(1_000);
  }
});

test("in memory, 100,000 keys put in disorder are found again", () => {
  const store = openMemory().store<[number, string]>("s");
  const count = 100_003;
  for (let i = 0; i < count; i++) store.put([1, `stream-${(i * 7_919) % count}`], VALUE);
  let walked = 0;
  for (const [, name] of store.getKeys()) if (store.get([1, name]) !== undefined) walked += 1;
  expect(walked).toBe(count);
});
