import * as fc from "fast-check";
import { expect, test } from "vitest";
import { DueHeap } from "./due-heap.ts";
import type { Due } from "./due-heap.ts";

test("items come out when they are due, the soonest first, however they were added, moved and removed", () => {
  const step = fc.record({ item: fc.nat(15), at: fc.oneof(fc.nat(20), fc.constant(null)) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100 }), fc.nat(20), (steps, now) => {
      const items: Due[] = Array.from({ length: 16 }, () => ({ heapIndex: -1, dueAtMs: 0 }));
      const heap = new DueHeap<Due>();
      const model = new Map<Due, number>();
      for (const { item, at } of steps) {
        const which = items[item]!;
        if (at === null) {
          heap.remove(which);
          model.delete(which);
        } else {
          heap.set(which, at);
          model.set(which, at);
        }
        expect(heap.size).toBe(model.size);
        expect(heap.nextMs).toBe(Math.min(Infinity, ...model.values()));
      }
      const due: number[] = [];
      for (let next = heap.take(now); next !== undefined; next = heap.take(now)) {
        due.push(next.dueAtMs);
        expect(next.heapIndex).toBe(-1);
      }
      expect(due).toEqual([...model.values()].filter((at) => at <= now).sort((a, b) => a - b));
    }),
  );
});
