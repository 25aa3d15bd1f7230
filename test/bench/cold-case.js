// @ts-check
/**
 * Catch-up reads of streams that were rolled, by a server that was started afterwards with its disk cache off, against
 * reading the same bytes of the same store directly; and how many bytes it fetches for each byte that it serves.
 */
import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { openStore } from "./bench-store.js";
import { progress } from "./bench-run.js";
import { startCountingProxy } from "./counting-proxy.js";
import { wrongPasses } from "./hot-case.js";
import { writeStream } from "./http-client.js";
import { JobProcess } from "./job-process.js";
import { findFiles, waitUntilRolled } from "./process-stats.js";
import { figure } from "./report.js";
import { interleave } from "./rounds.js";

const MESSAGE_BYTES = 64 * 1024;
const WARMUP_MS = 300;
const CHUNK_BYTES = 1024 * 1024;
const SEGMENT_AGE_MS = 1000;
const ROLL_MS_MAX = 300_000;
const ROLL_FLAGS = ["--segment-bytes", "16MiB", "--segment-age-ms", String(SEGMENT_AGE_MS)];
/** Readers pass over the same streams again and again, which a cache would make hot. */
const COLD_FLAGS = ["--cache-bytes-max", "0"];

/** @typedef {import("./catch-up-load.js").CatchUpResult} CatchUpResult */
/** @typedef {import("./bench-run.js").BenchRun} BenchRun */
/** @typedef {import("./bench-store.js").BenchStore} BenchStore */

/** @param {BenchRun} run */
export async function coldCase(run) {
  const store = await openStore(run.settings, "cold");
  try {
    const streams = await rolledStreams(run, store);
    await throughput(run, store, streams);
    if (store.endpoint !== null) {
      await fetchedPerByte(run, store, streams, { key: "cold/fetched", flags: COLD_FLAGS, cache: "cache off" });
      await fetchedPerByte(run, store, streams, {
        key: "cold/fetched-cached",
        flags: [],
        cache: "default cache, empty",
      });
    }
  } finally {
    await store.close();
  }
}

/**
 * Each reader has a stream of its own, and all of them together are more than a server keeps in memory.
 * @param {BenchRun} run @param {BenchStore} store
 * @returns {Promise<{paths: string[], streamBytes: number, dataDir: string}>}
 */
async function rolledStreams(run, store) {
  const streamBytes = run.settings.streamBytes / 2;
  const { address, root, dataDir, server } = await run.startTarget("cold", [...ROLL_FLAGS, ...store.flags], store.env);
  if (dataDir === null) throw new Error("cold reads need a server that the benchmark starts itself");
  const paths = Array.from(
    { length: run.settings.readers },
    (_, index) => `${root}/bench-${process.pid}-cold-${index}`,
  );
  for (const path of paths) await writeStream(address, { path, bytes: streamBytes, messageBytes: MESSAGE_BYTES });
  const seconds = await waitUntilRolled(dataDir, { segmentAgeMs: SEGMENT_AGE_MS, withinMs: ROLL_MS_MAX });
  progress(`rolled after ${figure(seconds)} s`);
  await server?.stop();
  return { paths, streamBytes, dataDir };
}

/** @param {BenchRun} run @param {BenchStore} store @param {{paths: string[], streamBytes: number, dataDir: string}} streams */
async function throughput(run, store, { paths, streamBytes, dataDir }) {
  const { readers } = run.settings;
  const target = await run.startTarget("cold", [...COLD_FLAGS, ...store.flags], store.env);
  const direct = store.bucket === null ? null : new JobProcess("direct-reader.js", store.env);
  const base = { connections: readers, streamBytes, warmupMs: WARMUP_MS };
  /** @type {(durationMs: number) => Promise<CatchUpResult>} */
  let readBare;
  if (direct === null) {
    const objects = await findFiles(dataDir, ".cbo");
    if (objects.length === 0) throw new Error(`no sealed object below ${dataDir}`);
    await run.serveFiles(
      await Promise.all(objects.map(async ({ path }) => ({ path, bytes: (await stat(path)).size }))),
    );
    const job = { ...base, address: await run.bare("file"), paths: paths.map((_, index) => `/${index}`), chain: false };
    readBare = (durationMs) => run.generator.run({ kind: "catch-up", job: { ...job, durationMs } });
  } else {
    await direct.run({ kind: "open", endpoint: store.endpoint, bucket: store.bucket, prefix: store.prefix });
    const job = { kind: "read", concurrency: readers, chunkBytes: CHUNK_BYTES };
    readBare = (durationMs) => direct.run({ ...job, durationMs });
  }
  const ownJob = { ...base, address: target.address, paths, chain: true };
  try {
    const outcomes = await interleave(run.settings, [
      { server: "bare", contender: null, measure: readBare },
      {
        server: run.ownName,
        contender: null,
        measure: (durationMs) =>
          /** @type {Promise<CatchUpResult>} */ (
            run.generator.run({ kind: "catch-up", job: { ...ownJob, durationMs } })
          ),
      },
    ]);
    for (const [index, server] of ["bare", run.ownName].entries()) {
      const { results } = outcomes[index] ?? { results: [] };
      const measure = `cold catch-up, ${store.name}, ${readers} readers and streams`;
      const note = server !== "bare" ? "" : direct === null ? "1 MiB reads of the same files" : "ranged GETs of 1 MiB";
      const about = { key: store.bucket === null ? "cold/directory" : "cold/s3", measure, server, unit: "MB/s", note };
      const warnings = wrongPasses(results);
      run.figures.addWindows({ ...about, warnings }, results, (result) => result.megabytesPerSecond);
    }
  } finally {
    direct?.end();
    await target.server?.stop();
  }
  progress("cold catch-up: done");
}

/**
 * Every reader reads its stream once, through a proxy that counts what the store sends.
 * @param {BenchRun} run @param {BenchStore} store
 * @param {{paths: string[], streamBytes: number, dataDir: string}} streams
 * @param {{key: string, flags: readonly string[], cache: string}} variant
 */
async function fetchedPerByte(run, store, { paths, streamBytes, dataDir }, { key, flags, cache }) {
  await rm(join(dataDir, "cache"), { recursive: true, force: true });
  const proxy = await startCountingProxy(/** @type {string} */ (store.endpoint));
  try {
    const env = { ...store.env, AWS_ENDPOINT_URL_S3: proxy.url };
    const { address, server } = await run.startTarget("cold", [...flags, ...store.flags], env);
    const before = { ...proxy.counts };
    const job = { connections: paths.length, chain: true, streamBytes, warmupMs: 0, durationMs: 0, address, paths };
    /** @type {CatchUpResult} */
    const result = await run.generator.run({ kind: "catch-up", job });
    const fetched = proxy.counts.getBytes - before.getBytes;
    await server?.stop();
    const measure = `cold catch-up, bytes fetched per byte served, ${cache}`;
    const gets = proxy.counts.gets - before.gets;
    const note = `${gets} GETs, ${figure(fetched / 1e6)} MB fetched, ${figure(result.bytes / 1e6)} MB served`;
    const about = { key, measure, server: run.ownName, unit: "B/B", better: /** @type {const} */ ("less"), note };
    const refused = Object.entries(result.refused).map(([answer, times]) => `${times} × ${answer}`);
    run.figures.add({ ...about, rounds: [fetched / result.bytes], warnings: [...wrongPasses([result]), ...refused] });
  } finally {
    await proxy.close();
  }
}
