// @ts-check
/** Runs the chosen cases in one run and hands back everything that was measured. */
import { appendCases } from "./append-cases.js";
import { BenchRun, progress } from "./bench-run.js";
import { coldCase } from "./cold-case.js";
import { describeEnvironment } from "./environment.js";
import { fanOutCase } from "./fan-out-case.js";
import { judgeGoals } from "./goals.js";
import { hotCase } from "./hot-case.js";
import { jsonCase } from "./json-case.js";
import { memoryCase } from "./memory-case.js";
import { rollCase } from "./roll-case.js";
import { roundTripCase } from "./round-trip-case.js";
import { startCase } from "./start-case.js";

/** Raised whenever a reader of the result would have to change. */
const SCHEMA = 1;

/** @type {Record<string, (run: BenchRun) => Promise<void>>} */
const CASE_FUNCTIONS = {
  appends: appendCases,
  json: jsonCase,
  "round-trip": roundTripCase,
  hot: hotCase,
  cold: coldCase,
  "fan-out": fanOutCase,
  roll: rollCase,
  start: startCase,
  memory: memoryCase,
};

/**
 * The machine-readable result; README.md documents it.
 * @typedef {object} BenchResult
 * @property {number} schema
 * @property {string} at when the run began
 * @property {string | null} url of the server that was given; null for one of our own
 * @property {import("./environment.js").Environment} environment
 * @property {{rounds: number, roundMs: number, cases: readonly string[]}} settings
 * @property {readonly import("./figures.js").Figure[]} figures
 * @property {readonly import("./goals.js").JudgedGoal[]} goals
 * @property {readonly string[]} failures cases that ended with an error
 */

/**
 * @param {import("./settings.js").Settings} settings
 * @returns {Promise<{result: BenchResult, figures: import("./figures.js").Figures}>}
 */
export async function runCases(settings) {
  const at = new Date().toISOString();
  const run = await BenchRun.open(settings);
  let interrupted = false;
  // A signal may come twice, once to the process and once to its group; the second must not cut the first one short.
  const interrupt = () => {
    if (interrupted) return;
    interrupted = true;
    void run.close().finally(() => process.exit(130));
  };
  process.on("SIGINT", interrupt);
  process.on("SIGTERM", interrupt);
  /** @type {string[]} */
  const failures = [];
  try {
    const name = settings.environment;
    const environment = await describeEnvironment(run.directory, { name, peers: run.peerVersions });
    for (const name of settings.cases) {
      if (interrupted) break;
      progress(`case ${name}`);
      try {
        await CASE_FUNCTIONS[name]?.(run);
      } catch (error) {
        failures.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
        progress(`! ${failures.at(-1)}`);
      }
      await run.stopServers();
    }
    const { rounds, roundMs, cases, url } = settings;
    const { figures } = run;
    return {
      figures,
      result: {
        schema: SCHEMA,
        at,
        url: url?.href ?? null,
        environment,
        settings: { rounds, roundMs, cases },
        figures: figures.list,
        goals: url === null ? judgeGoals(figures, settings) : [],
        failures,
      },
    };
  } finally {
    process.removeListener("SIGINT", interrupt);
    process.removeListener("SIGTERM", interrupt);
    await run.close();
  }
}
