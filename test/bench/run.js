// @ts-check
/**
 * `pnpm bench`: every case beside what it is held against in one interleaved run; the figures and the goals on standard
 * output, progress on standard error, exit code 1 when a goal is missed or a case fails. README.md says what each is.
 */
import { writeFile } from "node:fs/promises";
import { drawChart, throughputLines } from "./chart.js";
import { formatEnvironment } from "./environment.js";
import { formatFigures, formatGoals } from "./report.js";
import { runCases } from "./run-cases.js";
import { parseSettings, USAGE } from "./settings.js";

const CHART_STREAMS = 100;

/** @param {import("./settings.js").Settings} settings @returns {Promise<number>} exit code */
async function main(settings) {
  const { result, figures } = await runCases(settings);
  const { environment, goals, failures } = result;
  const about = `${formatEnvironment(environment)}\nmedians of ${settings.rounds} rounds of ${settings.roundMs} ms`;
  process.stdout.write(`${about}\n\n${formatFigures(figures)}\n`);
  if (goals.length > 0) process.stdout.write(`\n${formatGoals(goals)}\n`);
  for (const failure of failures) process.stdout.write(`! case failed: ${failure}\n`);
  if (settings.json !== null) await writeFile(settings.json, `${JSON.stringify(result, null, 2)}\n`);
  if (settings.svg !== null) {
    const streams = Math.min(CHART_STREAMS, settings.streams);
    const title = `Durable appends of 100 B, ${streams} streams`;
    const subtitle = `${environment.cores} × ${environment.cpu}, generator on the same machine, ${result.at.slice(0, 10)}`;
    await writeFile(settings.svg, drawChart(throughputLines(figures, streams), { title, subtitle }));
  }
  return failures.length > 0 || goals.some(({ verdict }) => verdict === "miss") ? 1 : 0;
}

try {
  const settings = parseSettings(process.argv.slice(2));
  if (settings === "help") process.stdout.write(`${USAGE}\n`);
  else process.exitCode = await main(settings);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 2;
}
