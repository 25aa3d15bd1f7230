// @ts-check
/** One row per measure: what Coldbrook did, what the bare thing beside it did, their ratio, and the goal if it has one. */
import { stripVTControlCharacters } from "node:util";

/**
 * @typedef {object} Goal
 * @property {"at-least" | "at-most"} bound
 * @property {number} value in the unit of what is held against it
 * @property {"ratio" | "coldbrook"} of
 */

/**
 * @typedef {object} Row
 * @property {string} measure
 * @property {string} unit
 * @property {number} coldbrook median of the rounds
 * @property {number | null} bare median of the rounds; null when nothing bare compares
 * @property {number | null} ratio median of the rounds' own ratios, so that a slow round counts for both sides
 * @property {Goal | null} goal
 * @property {string} detail percentiles and the like
 * @property {number} generatorCpuShare the highest of the rounds
 * @property {string[]} warnings
 */

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

/** @param {Row} row @returns {boolean | null} null without a goal */
export function passes(row) {
  if (row.goal === null) return null;
  const value = row.goal.of === "ratio" ? (row.ratio ?? Number.NaN) : row.coldbrook;
  return row.goal.bound === "at-least" ? value >= row.goal.value : value <= row.goal.value;
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

/** @param {readonly Row[]} rows @returns {string} */
export function formatTable(rows) {
  const lines = [["measure", "unit", "coldbrook", "bare", "ratio", "goal", "", "detail", "generator"]];
  for (const row of rows) {
    const passed = passes(row);
    lines.push([
      row.measure,
      row.unit,
      figure(row.coldbrook),
      row.bare === null ? "" : figure(row.bare),
      row.ratio === null ? "" : row.ratio.toFixed(2),
      row.goal === null ? "" : `${row.goal.bound === "at-least" ? "≥" : "≤"} ${figure(row.goal.value)}`,
      passed === null ? "" : passed ? "pass" : "MISS",
      row.detail,
      percent(row.generatorCpuShare),
    ]);
  }
  const widths = (lines[0] ?? []).map((_, column) => Math.max(...lines.map((line) => (line[column] ?? "").length)));
  const text = lines.map((line) =>
    line
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
  const warnings = rows.flatMap((row) => row.warnings.map((warning) => `! ${row.measure}: ${warning}`));
  return stripVTControlCharacters([...text, ...new Set(warnings)].join("\n"));
}

/** @param {number} value @returns {string} */
export function figure(value) {
  if (Number.isNaN(value)) return "none";
  if (value >= 100) return Math.round(value).toLocaleString("en-US");
  return value.toFixed(2);
}

/** @param {number} share @returns {string} */
function percent(share) {
  return `${Math.round(share * 100)} %`;
}
