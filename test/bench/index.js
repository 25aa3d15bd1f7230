// @ts-check
/**
 * The benchmark as a function, for any server of the protocol that is running: what the protocol's own benchmark package
 * offers, without a test runner, and with a result that is returned.
 */
import { runCases } from "./run-cases.js";
import { median } from "./report.js";
import { parseSettings, streamRoot, URL_CASES } from "./settings.js";

const DEFAULTS = {
  cases: URL_CASES,
  connections: [1, 16, 64],
  streams: 1000,
  subscribers: 100,
  streamBytes: 16 * 2 ** 20,
};

/**
 * Measures a running server. Streams that it makes stay there, below `bench-<process id>-…`.
 * @param {import("./index.d.ts").BenchmarkOptions} options
 * @returns {Promise<import("./index.d.ts").BenchmarkReport>}
 */
export async function runBenchmarks({ baseUrl, environment = "unknown", ...chosen }) {
  const defaults = parseSettings([]);
  if (defaults === "help") throw new Error("no options cannot ask for help");
  const { result } = await runCases({
    ...defaults,
    ...DEFAULTS,
    ...chosen,
    url: streamRoot(baseUrl),
    environment,
  });
  const own = result.figures.filter(({ server, rounds }) => server === "server" && rounds.length > 0);
  return {
    environment,
    baseUrl,
    timestamp: result.at,
    results: Object.fromEntries(own.map((figure) => [figure.key, statistics(figure)])),
    detail: result,
  };
}

/** @param {import("./figures.js").Figure} figure @returns {import("./index.d.ts").BenchmarkStatistics} */
function statistics({ rounds, unit, measure }) {
  const sorted = [...rounds].sort((left, right) => left - right);
  /** @param {number} share */
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
  return {
    measure,
    min: at(0),
    max: at(1),
    mean: rounds.reduce((sum, value) => sum + value, 0) / rounds.length,
    p50: median(rounds),
    p75: at(0.75),
    p99: at(0.99),
    unit,
    iterations: rounds.length,
  };
}
