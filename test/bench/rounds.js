// @ts-check
/**
 * Windows in turn, round after round, so that whatever else the machine does meets all of them. The first round is
 * thrown away: it warms up every process. A window that fails is not tried again, and its failure is its result.
 */
import { progress } from "./bench-run.js";

/**
 * @template R
 * @typedef {object} Window
 * @property {string} server
 * @property {import("./bench-run.js").Contender | null} contender null for what is bare; one with a problem is not asked
 * @property {(durationMs: number) => Promise<R>} measure
 */

const WARM_UP_ROUND_MS = 500;

/**
 * @template R
 * @param {import("./settings.js").Settings} settings
 * @param {readonly Window<R>[]} windows
 * @returns {Promise<{results: R[], problem: string}[]>} one for each window; no results when it has a problem
 */
export async function interleave({ rounds, roundMs }, windows) {
  const outcomes = windows.map(({ contender }) => ({
    results: /** @type {R[]} */ ([]),
    problem: contender?.problem ?? "",
  }));
  for (let round = -1; round < rounds; round += 1) {
    for (const [index, window] of windows.entries()) {
      const outcome = outcomes[index];
      if (outcome === undefined || outcome.problem !== "") continue;
      try {
        const result = await window.measure(round < 0 ? Math.min(WARM_UP_ROUND_MS, roundMs) : roundMs);
        if (round >= 0) outcome.results.push(result);
      } catch (error) {
        if (window.contender === null) throw error;
        outcome.problem = error instanceof Error ? error.message : String(error);
        outcome.results = [];
        progress(`! ${window.server}: ${outcome.problem}`);
      }
    }
  }
  return outcomes;
}
