// @ts-check
/**
 * What was measured: one figure for each measure and server. A figure keeps its rounds, so that a ratio of two servers
 * is the median of the rounds' own ratios and a slow round counts for both sides.
 */
import { median, medianRatio, unsteady, warningsOf } from "./report.js";

/** @typedef {{p50: number, p90: number, p99: number, p999: number}} Latency in µs */

/**
 * @typedef {object} Figure
 * @property {string} key names the measure for programs, e.g. `appends/64/100`: 64 connections, 100 streams
 * @property {string} measure names it for people
 * @property {string} server `coldbrook`, `bare` and its variants, or a peer's name
 * @property {string} unit
 * @property {"more" | "less"} better
 * @property {number | null} value median of the rounds; null when the server could not do it, and `note` says why
 * @property {number[]} rounds
 * @property {Latency | null} latencyMicros medians of the rounds' percentiles
 * @property {number} generatorCpuShare the highest of the rounds
 * @property {string} note
 * @property {string[]} warnings
 */

/**
 * @typedef {object} WindowResult
 * @property {Record<string, number>} refused
 * @property {import("./generator-cpu.js").GeneratorCpu} generator
 * @property {number} [p50Micros]
 * @property {number} [p90Micros]
 * @property {number} [p99Micros]
 * @property {number} [p999Micros]
 */

/** @typedef {Pick<Figure, "key" | "measure" | "server" | "unit"> & Partial<Figure>} FigureStart */

export class Figures {
  /** @type {Figure[]} */
  list = [];

  /**
   * A figure of numbers that have no latencies behind them.
   * @param {FigureStart} start
   * @returns {Figure}
   */
  add(start) {
    const rounds = start.rounds ?? [];
    /** @type {Figure} */
    const figure = {
      better: "more",
      value: rounds.length === 0 ? null : median(rounds),
      rounds,
      latencyMicros: null,
      generatorCpuShare: 0,
      note: "",
      warnings: [],
      ...start,
    };
    this.list.push(figure);
    return figure;
  }

  /**
   * A figure of measured windows. Without any, the server could not do it and `start.note` says what it answered.
   * @template {WindowResult} R
   * @param {FigureStart} start
   * @param {readonly R[]} results one a round
   * @param {(result: R) => number} valueOf
   * @returns {Figure}
   */
  addWindows(start, results, valueOf) {
    const rounds = results.map(valueOf);
    const timed = results.some((result) => result.p50Micros !== undefined);
    const whose = start.server;
    return this.add({
      ...start,
      rounds,
      latencyMicros: timed
        ? {
            p50: median(results.map((result) => result.p50Micros ?? Number.NaN)),
            p90: median(results.map((result) => result.p90Micros ?? Number.NaN)),
            p99: median(results.map((result) => result.p99Micros ?? Number.NaN)),
            p999: median(results.map((result) => result.p999Micros ?? Number.NaN)),
          }
        : null,
      generatorCpuShare: Math.max(0, ...results.map((result) => result.generator.cpuShare)),
      warnings: [
        ...(start.warnings ?? []),
        ...results.flatMap((result) => warningsOf(whose, result)),
        ...(whose.startsWith("bare") && rounds.length > 0 ? unsteady(whose, rounds) : []),
      ],
    });
  }

  /** @param {string} key @param {string} server @returns {Figure | undefined} */
  find(key, server) {
    return this.list.find((figure) => figure.key === key && figure.server === server);
  }

  /**
   * Median of the ratios of each round; null when one side has no value.
   * @param {{key: string, server: string}} over
   * @param {{key: string, server: string}} under
   * @returns {number | null}
   */
  ratio(over, under) {
    const upper = this.find(over.key, over.server);
    const lower = this.find(under.key, under.server);
    if (upper === undefined || lower === undefined) return null;
    if (upper.value === null || lower.value === null) return null;
    return medianRatio(upper.rounds, lower.rounds);
  }
}
