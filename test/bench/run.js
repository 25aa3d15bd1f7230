// @ts-check
/**
 * `pnpm bench`: every case beside its bare counterpart in one interleaved run; a table on standard output, progress on
 * standard error, exit code 1 when a goal is missed. README.md says what each figure is and is not.
 */
import { writeFile } from "node:fs/promises";
import { cpus } from "node:os";
import { appendCases } from "./append-cases.js";
import { BenchRun, progress } from "./bench-run.js";
import { coldCatchUp, hotCatchUp } from "./catch-up-cases.js";
import { coldFetchCase } from "./cold-fetch-case.js";
import { fanOutCase } from "./fan-out-case.js";
import { formatTable, passes } from "./report.js";
import { parseSettings, USAGE } from "./settings.js";

/** @type {Record<string, (run: BenchRun) => Promise<import("./report.js").Row[]>>} */
const CASE_FUNCTIONS = {
  appends: appendCases,
  hot: hotCatchUp,
  cold: coldCatchUp,
  "fan-out": fanOutCase,
  "cold-fetch": coldFetchCase,
};

/** @param {import("./settings.js").Settings} settings @returns {Promise<number>} exit code */
async function main(settings) {
  const run = await BenchRun.open(settings);
  const interrupt = () => {
    void run.close().finally(() => process.exit(130));
  };
  process.once("SIGINT", interrupt);
  process.once("SIGTERM", interrupt);
  /** @type {import("./report.js").Row[]} */
  const rows = [];
  /** @type {string[]} */
  const failures = [];
  try {
    if (await run.isMemoryDisk())
      progress("! the data directory is on a tmpfs: a sync costs nothing there (--data-parent)");
    for (const name of settings.cases) {
      progress(`case ${name}`);
      try {
        rows.push(...((await CASE_FUNCTIONS[name]?.(run)) ?? []));
      } catch (error) {
        failures.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
      }
    }
  } finally {
    await run.close();
  }
  const cores = cpus();
  const machine = `Node ${process.version}, ${cores.length} × ${cores[0]?.model ?? "unknown"}`;
  process.stdout.write(
    `${machine}, medians of ${settings.rounds} rounds of ${settings.roundMs} ms\n\n${formatTable(rows)}\n`,
  );
  for (const failure of failures) process.stdout.write(`! case failed: ${failure}\n`);
  if (settings.json !== null) {
    const result = {
      at: new Date().toISOString(),
      machine,
      rounds: settings.rounds,
      roundMs: settings.roundMs,
      rows: rows.map((row) => ({ ...row, pass: passes(row) })),
      failures,
    };
    await writeFile(settings.json, `${JSON.stringify(result, null, 2)}\n`);
  }
  return failures.length > 0 || rows.some((row) => passes(row) === false) ? 1 : 0;
}

try {
  const settings = parseSettings(process.argv.slice(2));
  if (settings === "help") process.stdout.write(`${USAGE}\n`);
  else process.exitCode = await main(settings);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 2;
}
