// @ts-check
/** How a server starts on a data directory that holds many streams, all of them rolled. */
import { performance } from "node:perf_hooks";
import { setTimeout as wait } from "node:timers/promises";
import { progress } from "./bench-run.js";
import { send, sendOk } from "./http-client.js";
import { readRss, waitUntilRolled } from "./process-stats.js";
import { figure } from "./report.js";
import { streamPath } from "./requests.js";
import { TargetServer } from "./target-server.js";

const SEGMENT_AGE_MS = 1000;
const ROLL_MS_MAX = 900_000;
/** What a start leaves to do in the background shows in memory within this time. */
const SETTLE_MS = 3000;
const GROUP = "million";
const CONTENT_TYPE = "application/octet-stream";

/** @typedef {{dataDir: string, command?: string}} Start */

/**
 * Makes the streams with pipelined PUTs, waits until no sealed WAL segment is left, and ends the server by SIGTERM.
 * @param {import("./job-process.js").JobProcess} generator
 * @param {Start} start
 * @param {{count: number, append: boolean}} options
 */
export async function fillAndRoll(generator, start, { count, append }) {
  const server = await TargetServer.start({ ...start, flags: ["--segment-age-ms", String(SEGMENT_AGE_MS)] });
  try {
    const { address, root } = server;
    const job = { address, root, group: GROUP, contentType: CONTENT_TYPE, count, connections: 32, pipeline: 32 };
    const sweeps = [
      { ...job, method: "PUT", bodyBytes: 0 },
      ...(append ? [{ ...job, method: "POST", bodyBytes: 100 }] : []),
    ];
    for (const sweep of sweeps) {
      const made = await generator.run({ kind: "sweep", job: sweep });
      const rate = `${figure(made.done / made.seconds)}/s`;
      progress(`${sweep.method}: ${made.done} of ${count} in ${figure(made.seconds)} s, ${rate}`);
      if (made.done < count) throw new Error(`${sweep.method}: ${JSON.stringify(made.statuses)}`);
    }
    const rolled = await waitUntilRolled(start.dataDir, { segmentAgeMs: SEGMENT_AGE_MS, withinMs: ROLL_MS_MAX });
    progress(`rolled ${figure(rolled)} s later; RSS ${figure((await readRss(server.pid)).now / 2 ** 20)} MiB`);
  } finally {
    if (!(await server.stop())) progress("! the server did not exit with 0 after SIGTERM");
  }
}

/**
 * Starts a server with default settings, appends to a random stream, reads that back, and ends the server.
 * @param {Start} start @param {number} count
 * @returns {Promise<{startMs: number, rssBytes: number, rssPeakBytes: number, appendMs: number, status: number, works: boolean}>}
 */
export async function probeStart(start, count) {
  const server = await TargetServer.start(start);
  try {
    const atStart = await readRss(server.pid);
    const path = streamPath(server.root, GROUP, Math.floor(Math.random() * count));
    const from = performance.now();
    const appended = await send(server.address, {
      method: "POST",
      path,
      headers: { "Content-Type": CONTENT_TYPE },
      body: "the first append after the start",
    });
    const appendMs = performance.now() - from;
    const read = await sendOk(server.address, { method: "GET", path: `${path}?offset=-1` });
    await wait(SETTLE_MS);
    const settled = await readRss(server.pid);
    return {
      startMs: server.startMs,
      rssBytes: settled.now,
      rssPeakBytes: Math.max(atStart.peak, settled.peak),
      appendMs,
      status: appended.status,
      works: appended.status === 204 && read.body.toString("latin1").endsWith("the first append after the start"),
    };
  } finally {
    await server.stop();
  }
}
