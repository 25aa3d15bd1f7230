import * as fc from "fast-check";
import { expect, test } from "vitest";
import { shrink } from "../model/shrink.ts";

const LIST: readonly number[] = Array.from({ length: 100 }, (_, index) => index);

test("what is left is what it takes to fail, in its order", async () => {
  await fc.assert(
    fc.asyncProperty(fc.uniqueArray(fc.nat(99), { maxLength: 6 }), async (needed) => {
      const shrunk = await shrink(LIST, (items) => needed.every((item) => items.includes(item)), 1000);
      expect(shrunk.items).toEqual(needed.toSorted((a, b) => a - b));
      expect(shrunk.isMinimal).toBe(true);
    }),
    { numRuns: 30 },
  );
});

test("a list that fails in any case shrinks to nothing", async () => {
  expect((await shrink(LIST, () => true, 100)).items).toEqual([]);
});

test("no more runs are made than allowed, none twice, and what is left still fails", async () => {
  const tried = new Set<string>();
  const fails = (items: readonly number[]): boolean =>
    items.includes(17) && items.includes(18) && items.length % 2 === 0;
  const shrunk = await shrink(
    LIST,
    (items) => {
      expect(tried.has(items.join())).toBe(false);
      tried.add(items.join());
      return fails(items);
    },
    9,
  );
  expect([tried.size, shrunk.runs, shrunk.isMinimal, fails(shrunk.items)]).toEqual([9, 9, false, true]);
});
