// @ts-check
/** Resident memory under appends at full speed over many streams: the slope of a straight line through the second half. */
import { setInterval as every } from "node:timers/promises";
import { progress } from "./bench-run.js";
import { readRss } from "./process-stats.js";
import { figure } from "./report.js";
import { makeStreams, streamsName } from "./stream-sets.js";

const CONNECTIONS = 64;
const SAMPLE_MS = 1000;
const BODY = "x".repeat(100);
const MEBIBYTE = 2 ** 20;

/** @typedef {{seconds: number, mebibytes: number}} Sample */

/** @param {import("./bench-run.js").BenchRun} run */
export async function memoryCase(run) {
  const { minutes, streams: count } = run.settings;
  const { address, root, dataDir, server } = await run.startTarget("memory");
  if (server === null) throw new Error("memory is that of a server that the benchmark starts itself");
  const contender = { name: run.ownName, address, root, dataDir, pid: server.pid, problem: "" };
  await makeStreams(run, { ...contender, makeGroup: async () => {}, stop: async () => {} }, { count, body: BODY });
  /** @type {Sample[]} */
  const samples = [];
  /** @type {Sample[]} */
  const ownSamples = [];
  const sampling = new AbortController();
  const from = Date.now();
  const sampled = (async () => {
    for await (const _ of every(SAMPLE_MS, null, { signal: sampling.signal })) {
      const { now, own } = await readRss(server.pid);
      const seconds = (Date.now() - from) / 1000;
      samples.push({ seconds, mebibytes: now / MEBIBYTE });
      ownSamples.push({ seconds, mebibytes: own / MEBIBYTE });
      if (samples.length % 60 === 0)
        progress(`${samples.length / 60} min: ${figure(samples.at(-1)?.mebibytes ?? 0)} MiB`);
    }
  })().catch((error) => {
    if (!sampling.signal.aborted) throw error;
  });
  const connections = Math.min(CONNECTIONS, Math.max(...run.settings.connections));
  const job = { address, connections, warmupMs: 0, durationMs: minutes * 60_000 };
  /** @type {import("./request-load.js").LoadResult} */
  const result = await run.generator.run({ kind: "requests", name: `${root}-${count}`, job });
  sampling.abort();
  await sampled;
  await server.stop();
  const half = samples.slice(samples.length >> 1);
  const ownHalf = ownSamples.slice(ownSamples.length >> 1);
  const of = `${minutes} min of appends over ${streamsName(count)}`;
  const own = { server: run.ownName };
  const less = /** @type {const} */ ("less");
  run.figures.add({
    ...own,
    key: "memory/slope",
    measure: `resident memory in the second half of ${of}`,
    unit: "MiB/min",
    better: less,
    rounds: [slopePerMinute(half)],
    note: `${figure(half[0]?.mebibytes ?? Number.NaN)} MiB at half, ${figure(half.at(-1)?.mebibytes ?? Number.NaN)} at the end; ${minutes} min, ${streamsName(count)}`,
  });
  run.figures.add({
    ...own,
    key: "memory/own-slope",
    measure: "of it the process's own, without pages of files",
    unit: "MiB/min",
    better: less,
    rounds: [slopePerMinute(ownHalf)],
    note: `${figure(ownHalf[0]?.mebibytes ?? Number.NaN)} MiB at half, ${figure(ownHalf.at(-1)?.mebibytes ?? Number.NaN)} at the end`,
  });
  run.figures.add({
    ...own,
    key: "memory/rss",
    measure: `resident memory, each second of ${of}`,
    unit: "MiB",
    better: less,
    rounds: samples.map(({ mebibytes }) => mebibytes),
    note: `median; highest ${figure(Math.max(...samples.map(({ mebibytes }) => mebibytes)))}`,
  });
  const rate = { ...own, key: "memory/rate", measure: `rate during ${of}`, unit: "appends/s" };
  run.figures.addWindows(rate, [result], ({ perSecond }) => perSecond);
  progress("memory: done");
}

/** Least squares. @param {readonly Sample[]} samples @returns {number} MiB a minute */
export function slopePerMinute(samples) {
  const meanSeconds = samples.reduce((sum, { seconds }) => sum + seconds, 0) / samples.length;
  const meanMebibytes = samples.reduce((sum, { mebibytes }) => sum + mebibytes, 0) / samples.length;
  let over = 0;
  let under = 0;
  for (const { seconds, mebibytes } of samples) {
    over += (seconds - meanSeconds) * (mebibytes - meanMebibytes);
    under += (seconds - meanSeconds) ** 2;
  }
  return (over / under) * 60;
}
