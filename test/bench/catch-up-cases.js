// @ts-check
/**
 * Catch-up reads. Hot: one stream that is still in the WAL, against a bare server that sends 1 MiB from memory. Cold:
 * streams that were rolled, read by a server that was started afterwards with its disk cache off, against reading the
 * same bytes of the same store directly.
 */
import { stat } from "node:fs/promises";
import { progress } from "./bench-run.js";
import { writeStream } from "./http-client.js";
import { JobProcess } from "./job-process.js";
import { findFiles, waitUntilRolled } from "./process-stats.js";
import { figure, median, medianRatio, unsteady, warningsOf } from "./report.js";
import { storeOf } from "./bench-store.js";

const MESSAGE_BYTES = 64 * 1024;
const WARMUP_MS = 300;
const CHUNK_BYTES = 1024 * 1024;
const SEGMENT_AGE_MS = 1000;
const ROLL_MS_MAX = 300_000;
/** Nothing is sealed while a hot stream is measured. */
const HOT_FLAGS = ["--segment-bytes", "1GiB", "--segment-age-ms", "3600000"];
export const ROLL_FLAGS = ["--segment-bytes", "16MiB", "--segment-age-ms", String(SEGMENT_AGE_MS)];
export const COLD_FLAGS = ["--cache-bytes-max", "0"];

/** @typedef {import("./catch-up-load.js").CatchUpResult} CatchUpResult */
/** @typedef {import("./report.js").Row} Row */
/** @typedef {import("./bench-run.js").BenchRun} BenchRun */

/** @param {BenchRun} run @returns {Promise<Row[]>} */
export async function hotCatchUp(run) {
  const { readers, rounds, roundMs, streamBytes } = run.settings;
  const target = await run.startTarget("hot", HOT_FLAGS);
  const path = `${target.root}/bench-${process.pid}-hot`;
  await writeStream(target.address, { path, bytes: streamBytes, messageBytes: MESSAGE_BYTES });
  const bareAddress = await run.bare("memory");
  /** @type {CatchUpResult[]} */
  const own = [];
  /** @type {CatchUpResult[]} */
  const bare = [];
  for (let round = -1; round < rounds; round += 1) {
    const job = { connections: readers, streamBytes, warmupMs: WARMUP_MS, durationMs: round < 0 ? 500 : roundMs };
    const bareJob = { ...job, address: bareAddress, paths: ["/"], chain: false };
    const ownJob = { ...job, address: target.address, paths: [path], chain: true };
    const bareResult = await run.generator.run({ kind: "catch-up", job: bareJob });
    const ownResult = await run.generator.run({ kind: "catch-up", job: ownJob });
    if (round < 0) continue;
    bare.push(bareResult);
    own.push(ownResult);
  }
  await target.server?.stop();
  progress("hot catch-up: done");
  return [
    rowOf(`hot catch-up, ${figure(streamBytes / 2 ** 20)} MiB stream, ${readers} readers`, own, bare, {
      bound: "at-least",
      value: 0.6,
      of: "ratio",
    }),
  ];
}

/** @param {BenchRun} run @returns {Promise<Row[]>} */
export async function coldCatchUp(run) {
  const { readers, rounds, roundMs } = run.settings;
  const store = await storeOf(run.settings, "cold");
  // Each reader has a stream of its own and all of them together are more than a server keeps in memory.
  const streamBytes = run.settings.streamBytes / 2;
  let target = await run.startTarget("cold", [...ROLL_FLAGS, ...store.flags], store.env);
  const dataDir = target.dataDir;
  if (dataDir === null) throw new Error("cold reads need a server that the benchmark starts itself");
  const paths = Array.from({ length: readers }, (_, index) => `${target.root}/bench-${process.pid}-cold-${index}`);
  for (const path of paths) {
    await writeStream(target.address, { path, bytes: streamBytes, messageBytes: MESSAGE_BYTES });
  }
  progress(
    `rolled after ${figure(await waitUntilRolled(dataDir, { segmentAgeMs: SEGMENT_AGE_MS, withinMs: ROLL_MS_MAX }))} s`,
  );
  await target.server?.stop();
  target = await run.startTarget("cold", [...COLD_FLAGS, ...store.flags], store.env);

  const direct = store.bucket === null ? null : new JobProcess("direct-reader.js", store.env);
  if (direct === null) {
    const objects = await findFiles(dataDir, ".cbo");
    if (objects.length === 0) throw new Error(`no sealed object below ${dataDir}`);
    const files = objects.map(async ({ path }) => ({ path, bytes: (await stat(path)).size }));
    await run.serveFiles(await Promise.all(files));
  } else {
    await direct.run({ kind: "open", endpoint: store.endpoint, bucket: store.bucket, prefix: store.prefix });
  }
  /** @type {CatchUpResult[]} */
  const own = [];
  /** @type {CatchUpResult[]} */
  const bare = [];
  try {
    for (let round = -1; round < rounds; round += 1) {
      const job = { connections: readers, streamBytes, warmupMs: WARMUP_MS, durationMs: round < 0 ? 500 : roundMs };
      const bareResult =
        direct === null
          ? await run.generator.run({
              kind: "catch-up",
              job: {
                ...job,
                address: await run.bare("file"),
                paths: paths.map((_, index) => `/${index}`),
                chain: false,
              },
            })
          : await direct.run({
              kind: "read",
              concurrency: readers,
              chunkBytes: CHUNK_BYTES,
              durationMs: job.durationMs,
            });
      const ownJob = { ...job, address: target.address, paths, chain: true };
      const ownResult = await run.generator.run({ kind: "catch-up", job: ownJob });
      if (round < 0) continue;
      bare.push(bareResult);
      own.push(ownResult);
    }
  } finally {
    direct?.end();
  }
  await target.server?.stop();
  progress("cold catch-up: done");
  return [rowOf(`cold catch-up, ${store.name}, ${readers} readers and streams`, own, bare, null)];
}

/**
 * @param {string} measure
 * @param {readonly CatchUpResult[]} own
 * @param {readonly CatchUpResult[]} bare
 * @param {import("./report.js").Goal | null} goal
 * @returns {Row}
 */
function rowOf(measure, own, bare, goal) {
  const rates = own.map((result) => result.megabytesPerSecond);
  const bareRates = bare.map((result) => result.megabytesPerSecond);
  const wrong = own.reduce((sum, result) => sum + result.wrongPasses, 0);
  return {
    measure,
    unit: "MB/s",
    coldbrook: median(rates),
    bare: median(bareRates),
    ratio: medianRatio(rates, bareRates),
    goal,
    detail: `p50 ${percentile(own, "p50Micros")}, p99 ${percentile(own, "p99Micros")} µs a response (bare ${percentile(bare, "p50Micros")}, ${percentile(bare, "p99Micros")})`,
    generatorCpuShare: Math.max(...[...own, ...bare].map((result) => result.generator.cpuShare)),
    warnings: [
      ...own.flatMap((result) => warningsOf("coldbrook", result)),
      ...bare.flatMap((result) => warningsOf("bare", result)),
      ...unsteady("bare", bareRates),
      ...(wrong === 0 ? [] : [`${wrong} passes did not bring the bytes that were appended`]),
    ],
  };
}

/** @param {readonly CatchUpResult[]} results @param {"p50Micros" | "p99Micros"} name @returns {string} */
function percentile(results, name) {
  return figure(median(results.map((result) => result[name])));
}
