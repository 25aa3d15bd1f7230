/**
 * `pnpm simulate`: runs seeds until one breaks a promise. Options: --seeds N, --from S, --seed S (one, with its trace),
 * --plan (prints what it does),
 * --plant NAME, --planted (each planted bug until it is found), --traces, --workers N.
 */
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { Pool } from "./pool.ts";
import { planOf } from "./plan.ts";
import type { Plan } from "./plan.ts";
import { PATCHES } from "./planted/patches.ts";
import { TABLE_HEAD, tableRow } from "./planted/table.ts";
import { addCounts, newCounts } from "./world/counts.ts";
import type { Report } from "./run-plan.ts";
import { planText, shorten } from "./shorten.ts";

const PLANTED_SEEDS_MAX = 2_000;
const SHORTEN_MS = 60_000;

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "1000" },
    from: { type: "string", default: "1" },
    seed: { type: "string" },
    plant: { type: "string", default: "" },
    planted: { type: "boolean", default: false },
    plan: { type: "boolean", default: false },
    traces: { type: "boolean", default: false },
    workers: { type: "string", default: String(Math.min(8, availableParallelism())) },
  },
});
const workers = Number(values.workers);

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** The first seed that fails, by order of seeds among those that were run. */
async function search(plant: string, from: number, count: number): Promise<{ found: Report | null; seeds: number }> {
  const sum = newCounts();
  let seeds = 0;
  let found: Report | null = null;
  const startMs = Date.now();
  let toldMs = startMs;
  using pool = new Pool(workers, plant);
  await pool.run(from, count, (report) => {
    seeds += 1;
    addCounts(sum, report.counts);
    if (values.traces) say(traceOf(report));
    if (report.violations.length > 0 && (found === null || report.seed < found.seed)) found = report;
    if (plant === "" && Date.now() - toldMs > 10_000) {
      toldMs = Date.now();
      say(`${seeds} seeds, ${Math.round((seeds * 1_000) / (toldMs - startMs))}/s`);
    }
    return found !== null;
  });
  if (plant === "") summary(sum, seeds, Date.now() - startMs);
  return { found, seeds };
}

/** Two runs of a seed must say the same. */
function traceOf({ seed, trace }: Report): string {
  return `seed ${seed}: trace ${trace}`;
}

function summary(sum: Readonly<Record<string, number>>, seeds: number, tookMs: number): void {
  say(`${seeds} seeds in ${(tookMs / 1000).toFixed(1)} s, ${Math.round((seeds * 1_000) / Math.max(1, tookMs))}/s`);
  for (const [name, count] of Object.entries(sum)) say(`  ${name.padEnd(24)} ${count}`);
}

async function one(seed: number, plant: string): Promise<number> {
  using pool = new Pool(1, plant);
  const report = await pool.one(seed);
  if (values.plan) say(JSON.stringify(planOf(seed), null, 1));
  summary(report.counts, 1, 1000);
  say(traceOf(report));
  if (report.violations.length > 0) await tell(report, plant);
  return report.violations.length > 0 ? 1 : 0;
}

async function planted(): Promise<number> {
  let missed = 0;
  say(TABLE_HEAD);
  for (const patch of PATCHES) {
    const { found, seeds } = await search(patch.name, 1, PLANTED_SEEDS_MAX);
    if (found === null) missed += 1;
    say(
      found === null ? `${patch.name}: NOT FOUND in ${seeds} seeds` : tableRow(patch, found.seed, found.violations[0]!),
    );
  }
  return missed === 0 ? 0 : 1;
}

async function many(plant: string): Promise<number> {
  const { found } = await search(plant, Number(values.from), Number(values.seeds));
  if (found === null) {
    say("0 violations");
    return 0;
  }
  await tell(found, plant);
  return 1;
}

/** What was broken, by the shortest plan that breaks it. */
async function tell(found: Report, plant: string): Promise<void> {
  say(`seed ${found.seed} breaks a promise: ${found.violations[0]!.split("\n")[0]}`);
  using pool = new Pool(1, plant);
  const { plan, report, runs } = await shorten(planOf(found.seed), found, (plan: Plan) => pool.one(plan), SHORTEN_MS);
  say(`the shortest plan that still does, after ${runs} runs:`);
  say(planText(plan));
  for (const violation of report.violations) say(violation);
  say(`replay: pnpm simulate --seed ${found.seed}${plant === "" ? "" : ` --plant ${plant}`}`);
}

process.exitCode = values.planted
  ? await planted()
  : values.seed !== undefined
    ? await one(Number(values.seed), values.plant)
    : await many(values.plant);
