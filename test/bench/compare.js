// @ts-check
/**
 * `node test/bench/compare.js --before FILE [--pairs N] [options of run.js]`: another build's command against this one, one
 * short run of each in turn, so that noise of the machine meets both. Prints after ÷ before for each measure; 1 is the same,
 * above 1 is better whatever the unit. Exit code 1 when a median is below 0.95.
 */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { figure, median } from "./report.js";
import { whole } from "./settings.js";
import { DEFAULT_COMMAND } from "./target-server.js";

const RUN = fileURLToPath(new URL("run.js", import.meta.url));
const WORST = 0.95;
/** Unless --case says otherwise. */
const CASES = ["appends", "json", "hot", "cold", "fan-out"].flatMap((name) => ["--case", name]);
/** @typedef {{measure: string, unit: string, better: "more" | "less", before: number[], after: number[]}} Pair */

/**
 * @param {string} command @param {readonly string[]} options @param {string} file
 * @returns {Promise<readonly import("./figures.js").Figure[]>}
 */
async function runOnce(command, options, file) {
  const args = [RUN, "--rounds", "1", "--server", command, "--json", file, ...options];
  // A missed goal is an exit code of 1, and no matter here.
  await promisify(execFile)(process.execPath, args, { maxBuffer: 1 << 24 }).catch(
    (/** @type {{code?: number}} */ error) => {
      if (error.code !== 1) throw error;
    },
  );
  /** @type {import("./run-cases.js").BenchResult} */
  const { figures, failures } = JSON.parse(await readFile(file, "utf8"));
  if (failures.length > 0) throw new Error(`${command}: ${failures.join("; ")}`);
  // What is bare is the same on both sides.
  return figures.filter(({ server }) => !server.startsWith("bare"));
}

/** @param {string} before @param {number} pairs @param {readonly string[]} options @returns {Promise<Pair[]>} */
async function compare(before, pairs, options) {
  const directory = await mkdtemp(path.join(tmpdir(), "coldbrook-compare-"));
  /** @type {Map<string, Pair>} */
  const measures = new Map();
  try {
    for (let round = 0; round < pairs; round += 1) {
      // Each goes first as often as the other.
      /** @type {("before" | "after")[]} */
      const order = round % 2 === 0 ? ["before", "after"] : ["after", "before"];
      for (const side of order) {
        const command = side === "before" ? before : DEFAULT_COMMAND;
        process.stderr.write(`pair ${round + 1} of ${pairs}: ${side}\n`);
        for (const figure of await runOnce(command, options, path.join(directory, "result.json"))) {
          note(measures, side, figure);
        }
      }
    }
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
  return [...measures.values()];
}

/** @param {Map<string, Pair>} measures @param {"before" | "after"} side @param {import("./figures.js").Figure} figure */
function note(measures, side, { key, measure, server, unit, better, value }) {
  const name = `${key}/${server}`;
  const shown = server === "coldbrook" ? measure : `${measure}, ${server}`;
  const pair = measures.get(name) ?? { measure: shown, unit, better, before: [], after: [] };
  measures.set(name, pair);
  pair[side].push(value ?? Number.NaN);
}

/** After ÷ before, pair by pair, then their median. @param {Pair} pair @returns {number} */
function gain({ better, before, after }) {
  const ratios = after.map((value, round) => value / (before[round] ?? Number.NaN));
  return median(better === "less" ? ratios.map((ratio) => 1 / ratio) : ratios);
}

const { values, tokens } = parseArgs({
  strict: false,
  tokens: true,
  options: { before: { type: "string" }, pairs: { type: "string", default: "5" } },
});
if (typeof values.before !== "string") {
  process.stderr.write(
    "--before FILE: the command of the build to compare with, such as ../before/packages/server/bin/coldbrook.js\n",
  );
  process.exit(2);
}
const own = new Set(["before", "pairs"]);
const skipped = new Set(
  tokens.flatMap((token) => (token.kind === "option" && own.has(token.name) ? [token.index, token.index + 1] : [])),
);
const given = process.argv.slice(2).filter((_, index) => !skipped.has(index));
const options = tokens.some((token) => token.kind === "option" && token.name === "case") ? given : [...CASES, ...given];
const pairs = await compare(path.resolve(values.before), whole("pairs", String(values.pairs)), options);
for (const pair of pairs) {
  const ratio = gain(pair);
  const line = [
    ratio.toFixed(2),
    ratio < WORST ? "WORSE" : "",
    `${figure(median(pair.before))} → ${figure(median(pair.after))}`,
  ];
  process.stdout.write(`${line.join("  ").padEnd(40)}${pair.unit.padEnd(12)}${pair.measure}\n`);
}
process.exitCode = pairs.some((pair) => gain(pair) < WORST) ? 1 : 0;
