// @ts-check
/** Medians, and the two tables that a run prints: what was measured, and how it stands against the goals. */
import { stripVTControlCharacters } from "node:util";

/** @param {readonly number[]} values @returns {number} */
export function median(values) {
  const sorted = [...values].sort((left, right) => left - right);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** Ratios round by round, then their median. @param {readonly number[]} over @param {readonly number[]} under */
export function medianRatio(over, under) {
  return median(over.map((value, round) => value / (under[round] ?? Number.NaN)));
}

/**
 * What is wrong with a measured window, if anything.
 * @param {string} name
 * @param {{refused: Record<string, number>, generator: import("./generator-cpu.js").GeneratorCpu}} result
 * @returns {string[]}
 */
export function warningsOf(name, { refused, generator }) {
  const warnings = Object.entries(refused).map(([answer, times]) => `${name}: ${times} × ${answer}`);
  if (generator.isLimit)
    warnings.push(`${name}: the generator is the limit (${percent(generator.cpuShare)} of a core)`);
  return warnings;
}

/**
 * Rounds of something that should not change; when they do, something else used the machine.
 * @param {string} name
 * @param {readonly number[]} values
 * @returns {string[]}
 */
export function unsteady(name, values) {
  const spread = Math.max(...values) / Math.min(...values);
  return spread > 1.5 ? [`${name}: rounds differ by a factor of ${spread.toFixed(1)}, the machine was not quiet`] : [];
}

/**
 * Figures under the name of their measure, a line for each server.
 * @param {import("./figures.js").Figures} figures
 * @returns {string}
 */
export function formatFigures(figures) {
  const head = ["measure", "value", "unit", "÷ bare", "p50 µs", "p90", "p99", "p99.9", "generator", ""];
  const lines = [head];
  for (const key of new Set(figures.list.map((entry) => entry.key))) {
    const group = figures.list.filter((entry) => entry.key === key);
    lines.push([group[0]?.measure ?? key]);
    for (const entry of group) {
      const ratio =
        entry.server === "bare" ? null : figures.ratio({ key, server: entry.server }, { key, server: "bare" });
      const { latencyMicros: latency } = entry;
      lines.push([
        `  ${entry.server}`,
        entry.value === null ? "none" : figure(entry.value),
        entry.unit,
        ratio === null ? "" : ratio.toFixed(2),
        ...(latency === null ? ["", "", "", ""] : [latency.p50, latency.p90, latency.p99, latency.p999].map(figure)),
        entry.generatorCpuShare === 0 ? "" : percent(entry.generatorCpuShare),
        entry.note,
      ]);
    }
  }
  const warnings = figures.list.flatMap((entry) => entry.warnings.map((warning) => `! ${entry.measure}: ${warning}`));
  return stripVTControlCharacters([...align(lines), ...new Set(warnings)].join("\n"));
}

/** @param {readonly import("./goals.js").JudgedGoal[]} goals @returns {string} */
export function formatGoals(goals) {
  const lines = [["goal", "measured", "wanted", "", ""]];
  for (const { measure, value, bound, goal, unit, verdict, detail } of goals) {
    lines.push([
      measure,
      value === null ? "" : `${figure(value)}${unit === "" ? "" : ` ${unit}`}`,
      `${bound === "at-least" ? "≥" : "≤"} ${figure(goal)}${unit === "" ? "" : ` ${unit}`}`,
      verdict === "miss" ? "MISS" : verdict,
      detail,
    ]);
  }
  return stripVTControlCharacters(align(lines).join("\n"));
}

/** Lines of a single cell are headings and do not widen the first column. @param {readonly string[][]} lines @returns {string[]} */
function align(lines) {
  const rows = lines.filter((line) => line.length > 1);
  const widths = (lines[0] ?? []).map((_, column) => Math.max(...rows.map((line) => (line[column] ?? "").length)));
  return lines.map((line) =>
    line
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}

/** @param {number} value @returns {string} */
export function figure(value) {
  if (Number.isNaN(value)) return "none";
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString("en-US");
  return value.toFixed(2);
}

/** @param {number} share @returns {string} */
function percent(share) {
  return `${Math.round(share * 100)} %`;
}
