// @ts-check
/** Durable appends of 100 B: connections × streams, each round beside a bare server that gets the very same bytes. */
import { progress } from "./bench-run.js";
import { measureDiskSync } from "./disk-sync.js";
import { figure, median, medianRatio, unsteady, warningsOf } from "./report.js";

const CONNECTIONS = [1, 64, 256];
const BODY_BYTES = 100;
const CONTENT_TYPE = "application/octet-stream";
const WARMUP_MS = 300;

/** @typedef {import("./request-load.js").LoadResult} LoadResult */
/** @typedef {import("./report.js").Row} Row */
/** @typedef {import("./bench-run.js").BenchRun} BenchRun */

/** @param {BenchRun} run @returns {Promise<Row[]>} */
export async function appendCases(run) {
  const target = await run.startTarget("appends");
  const sizes = [...new Set([1, 100, run.settings.streams])];
  for (const count of sizes) await makeStreams(run, target, count);
  const bare = await run.bare("discard");
  const synced = await run.bare("synced");
  /** @type {Row[]} */
  const rows = [];
  for (const connections of CONNECTIONS) {
    /** @type {Map<string, LoadResult[]>} */
    const results = new Map();
    /** @type {number[]} */
    const syncMicros = [];
    // The first round is thrown away: it warms up every process.
    for (let round = -1; round < run.settings.rounds; round += 1) {
      /** @type {[string, import("./connection.js").Address, number][]} */
      const windows = [
        ["bare", bare, run.settings.streams],
        ["synced", synced, run.settings.streams],
        ...sizes.map((count) => /** @type {[string, typeof bare, number]} */ ([String(count), target.address, count])),
      ];
      for (const [name, address, count] of windows) {
        // Beside the window that it is held against, as a disk's speed changes with what else uses it.
        if (name === "1" && round >= 0) syncMicros.push(measureDiskSync(run.directory));
        const durationMs = round < 0 ? 500 : run.settings.roundMs;
        const job = { address, connections, warmupMs: WARMUP_MS, durationMs };
        const result = await run.generator.run({ kind: "requests", name: `appends-${count}`, job });
        if (round >= 0) results.set(name, [...(results.get(name) ?? []), result]);
      }
    }
    rows.push(...rowsOf(connections, sizes, results, syncMicros));
    progress(`appends, ${connections} connections: done`);
  }
  await target.server?.stop();
  return rows;
}

/** @param {BenchRun} run @param {import("./bench-run.js").Target} target @param {number} count */
async function makeStreams(run, { address, root }, count) {
  const group = `bench-${process.pid}-${count}`;
  const job = { address, method: "PUT", root, group, contentType: CONTENT_TYPE, count, bodyBytes: 0 };
  const made = await run.generator.run({ kind: "sweep", job: { ...job, connections: 32, pipeline: 16 } });
  progress(`created ${made.done} of ${count} streams in ${made.seconds.toFixed(1)} s`);
  if (made.done < count) throw new Error(`creating ${count} streams: ${JSON.stringify(made.statuses)}`);
  const spec = { root, group, count, bodyBytes: BODY_BYTES, contentType: CONTENT_TYPE };
  await run.generator.run({ kind: "prepare", name: `appends-${count}`, spec });
}

/**
 * @param {number} connections
 * @param {readonly number[]} sizes
 * @param {Map<string, LoadResult[]>} results
 * @param {readonly number[]} syncMicros
 * @returns {Row[]}
 */
function rowsOf(connections, sizes, results, syncMicros) {
  const bare = results.get("bare") ?? [];
  const bareRates = bare.map((result) => result.perSecond);
  const at = `${connections} connection${connections === 1 ? "" : "s"}`;
  /** @type {Row[]} */
  const rows = [];
  for (const name of [...sizes.map(String), "synced"]) {
    const own = results.get(name) ?? [];
    const rates = own.map((result) => result.perSecond);
    const isSynced = name === "synced";
    rows.push({
      measure: isSynced ? `  (bare with fdatasync, ${at})` : `appends of 100 B, ${at}, ${streams(Number(name))}`,
      unit: "appends/s",
      coldbrook: median(rates),
      bare: median(bareRates),
      ratio: medianRatio(rates, bareRates),
      goal: !isSynced && connections === 64 ? { bound: "at-least", value: 0.35, of: "ratio" } : null,
      detail: `p50 ${percentile(own, "p50Micros")}, p99 ${percentile(own, "p99Micros")} µs (bare ${percentile(bare, "p50Micros")}, ${percentile(bare, "p99Micros")})`,
      ...healthOf(own, bare),
    });
  }
  const large = results.get(String(sizes.at(-1))) ?? [];
  const hundred = results.get("100") ?? [];
  if (connections === 64 && sizes.length > 2) {
    rows.push({
      measure: `  ${streams(Number(sizes.at(-1)))} over 100 streams, ${at}`,
      unit: "appends/s",
      coldbrook: median(large.map((result) => result.perSecond)),
      bare: null,
      ratio: medianRatio(
        large.map((result) => result.perSecond),
        hundred.map((result) => result.perSecond),
      ),
      goal: { bound: "at-least", value: 0.85, of: "ratio" },
      detail: "",
      ...healthOf([], []),
    });
  }
  if (connections === 1) rows.push(singleWriter(results.get("1") ?? [], bare, syncMicros));
  return rows;
}

/**
 * `own p50 ≤ bare p50 + 2 × sync`, judged round by round: how many syncs the single writer takes beyond the bare server.
 * @param {readonly LoadResult[]} own @param {readonly LoadResult[]} bare @param {readonly number[]} syncMicros @returns {Row}
 */
function singleWriter(own, bare, syncMicros) {
  const beyond = own.map((result, round) => result.p50Micros - (bare[round]?.p50Micros ?? Number.NaN));
  return {
    measure: "  single writer, one stream: (p50 - bare p50) ÷ write+fdatasync",
    unit: "µs",
    coldbrook: median(own.map((result) => result.p50Micros)),
    bare: median(bare.map((result) => result.p50Micros)),
    ratio: medianRatio(beyond, syncMicros),
    goal: { bound: "at-most", value: 2, of: "ratio" },
    detail: `one write+fdatasync of 128 B: ${figure(median(syncMicros))} µs`,
    generatorCpuShare: Math.max(0, ...own.map((result) => result.generator.cpuShare)),
    warnings: unsteady("write+fdatasync", syncMicros),
  };
}

/** @param {readonly LoadResult[]} own @param {readonly LoadResult[]} bare @returns {{generatorCpuShare: number, warnings: string[]}} */
function healthOf(own, bare) {
  return {
    generatorCpuShare: Math.max(0, ...[...own, ...bare].map((result) => result.generator.cpuShare)),
    warnings: [
      ...own.flatMap((result) => warningsOf("coldbrook", result)),
      ...bare.flatMap((result) => warningsOf("bare", result)),
      ...(bare.length === 0
        ? []
        : unsteady(
            "bare",
            bare.map((result) => result.perSecond),
          )),
    ],
  };
}

/** @param {readonly LoadResult[]} results @param {"p50Micros" | "p99Micros"} name @returns {string} */
function percentile(results, name) {
  return figure(median(results.map((result) => result[name])));
}

/** @param {number} count @returns {string} */
function streams(count) {
  return `${count.toLocaleString("en-US")} stream${count === 1 ? "" : "s"}`;
}
