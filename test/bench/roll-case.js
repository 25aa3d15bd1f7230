// @ts-check
/**
 * Appends to a server that rolls all the time, its segments being small, against one that never does. Both are up at
 * once and measured in turn; a pause after each rolling window keeps its last roll out of the other's.
 */
import { setTimeout as wait } from "node:timers/promises";
import { progress } from "./bench-run.js";
import { findFiles } from "./process-stats.js";
import { interleave } from "./rounds.js";
import { makeStreams } from "./stream-sets.js";

const STREAMS = 100;
const CONNECTIONS = 64;
const WARMUP_MS = 300;
const PAUSE_MS = 1000;
const BODY = "x".repeat(100);
const STEADY_FLAGS = ["--segment-bytes", "1GiB", "--segment-age-ms", "3600000"];
const ROLLING_FLAGS = ["--segment-bytes", "1MiB", "--segment-age-ms", "3600000"];

/** @typedef {import("./request-load.js").LoadResult} LoadResult */

/** @param {import("./bench-run.js").BenchRun} run */
export async function rollCase(run) {
  const connections = Math.min(CONNECTIONS, Math.max(...run.settings.connections));
  const count = Math.min(STREAMS, run.settings.streams);
  const started = [
    { server: "not rolling", name: "steady", target: await run.startTarget("steady", STEADY_FLAGS) },
    { server: "rolling", name: "rolling", target: await run.startTarget("rolling", ROLLING_FLAGS) },
  ];
  const windows = [];
  for (const { server, name, target } of started) {
    const { address, root, dataDir } = target;
    const contender = { address, root, dataDir, pid: target.server?.pid ?? 0, name: run.ownName, problem: "" };
    await makeStreams(
      run,
      { ...contender, makeGroup: async () => {}, stop: async () => {} },
      { count, body: BODY, name: `${name}-` },
    );
    windows.push({
      server,
      contender: null,
      /** @param {number} durationMs */
      measure: async (durationMs) => {
        const before = await countObjects(dataDir);
        const job = { address, connections, warmupMs: WARMUP_MS, durationMs };
        /** @type {LoadResult} */
        const result = await run.generator.run({ kind: "requests", name: `${root}-${name}-${count}`, job });
        await wait(PAUSE_MS);
        return { ...result, objects: (await countObjects(dataDir)) - before };
      },
    });
  }
  const outcomes = await interleave(run.settings, windows);
  for (const [index, { server }] of windows.entries()) {
    const { results } = outcomes[index] ?? { results: [] };
    const objects = results.map((result) => result.objects);
    const idle = server === "rolling" && objects.some((made) => made < 2);
    const at = `${connections} connections, ${count} streams`;
    const about = {
      server,
      note: `${objects.join(", ")} objects sealed in a round`,
      warnings: idle ? ["fewer than two rolls fell into a round: longer rounds (--round-ms) would say more"] : [],
    };
    const less = /** @type {const} */ ("less");
    run.figures.addWindows(
      { key: "roll/p99", measure: `p99 of appends of 100 B, ${at}`, unit: "µs", better: less, ...about },
      results,
      (result) => result.p99Micros,
    );
    run.figures.addWindows(
      { key: "roll/rate", measure: `appends of 100 B, ${at}`, unit: "appends/s", server },
      results,
      (result) => result.perSecond,
    );
  }
  await Promise.all(started.map(({ target }) => target.server?.stop()));
  progress("roll: done");
}

/** @param {string | null} dataDir @returns {Promise<number>} */
async function countObjects(dataDir) {
  return dataDir === null ? 0 : (await findFiles(dataDir, ".cbo").catch(() => [])).length;
}
