/** How long the property tests of the formats look: a moment, or FUZZ_SECONDS for each property. */
import type * as fc from "fast-check";

const seconds = Number(process.env["FUZZ_SECONDS"] ?? "0");

/** Vitest's time limit of one property. */
export const PROPERTY_MS: number = 30_000 + seconds * 1000;

/** `numRuns` without a budget. */
export function budget(numRuns: number): fc.Parameters<unknown> {
  if (seconds === 0) return { numRuns };
  return { numRuns: Number.MAX_SAFE_INTEGER, interruptAfterTimeLimit: seconds * 1000, markInterruptAsFailure: false };
}
