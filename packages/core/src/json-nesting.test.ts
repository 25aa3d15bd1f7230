import * as fc from "fast-check";
import { test } from "vitest";
import { JsonNesting } from "./json-nesting.ts";

test("what is open is known as from a list of all that is open", () => {
  // Mostly one kind of step for long, so that depths beyond several words of bits are reached and left again.
  const steps = fc.array(
    fc.tuple(
      fc.constantFrom<"array" | "object" | "leave">("array", "object", "leave"),
      fc.integer({ min: 1, max: 70 }),
    ),
    { maxLength: 20 },
  );
  fc.assert(
    fc.property(steps, (steps) => {
      const nesting = new JsonNesting();
      const open: boolean[] = [];
      for (const [step, times] of steps) {
        for (let i = 0; i < times; i += 1) {
          // Alternates, so that a bit that is off by one shows.
          const isObject = (step === "object") === (i % 3 !== 2);
          if (step !== "leave") {
            nesting.enter(isObject);
            open.push(isObject);
          } else if (open.length > 0) {
            nesting.leave();
            open.pop();
          }
          if (nesting.depth !== open.length || nesting.inObject !== (open.at(-1) ?? false)) {
            throw new Error(`at depth ${open.length}: ${nesting.depth}, in an object: ${nesting.inObject}`);
          }
        }
      }
    }),
    { numRuns: 200 },
  );
});
