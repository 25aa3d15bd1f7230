// @ts-check
/**
 * Makes a million streams on a fresh data directory, waits until they are rolled, stops the server, and measures the
 * next start: time to the listening line, resident memory, and an append to a random stream. Exit code 1 when a bound
 * of the acceptance is missed. `node test/bench/million-streams.js --help` lists the options.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { setTimeout as wait } from "node:timers/promises";
import { parseArgs } from "node:util";
import { progress } from "./bench-run.js";
import { send, sendOk } from "./http-client.js";
import { JobProcess } from "./job-process.js";
import { readRss, waitUntilRolled } from "./process-stats.js";
import { figure } from "./report.js";
import { streamPath } from "./requests.js";
import { whole } from "./settings.js";
import { TargetServer } from "./target-server.js";

const START_MS_MAX = 5000;
const RSS_BYTES_MAX = 400 * 2 ** 20;
const SEGMENT_AGE_MS = 1000;
const ROLL_MS_MAX = 900_000;
/** What a start leaves to do in the background shows in memory within this time. */
const SETTLE_MS = 3000;
const GROUP = "million";
const CONTENT_TYPE = "application/octet-stream";

const { values } = parseArgs({
  options: {
    help: { type: "boolean", default: false },
    streams: { type: "string", default: "1000000" },
    append: { type: "boolean", default: false },
    "data-dir": { type: "string" },
    keep: { type: "boolean", default: false },
    server: { type: "string" },
  },
});

if (values.help) {
  process.stdout.write(`node test/bench/million-streams.js [options]
  --streams N     how many (1000000)
  --append        one append of 100 B to each stream as well
  --data-dir DIR  make them there; with --keep they stay (a temporary directory, removed)
  --keep          do not remove the data directory
  --server FILE   start this command instead of packages/server/bin/coldbrook.js\n`);
} else {
  process.exitCode = await main(whole("streams", values.streams));
}

/** @param {number} count @returns {Promise<number>} exit code */
async function main(count) {
  const dataDir = values["data-dir"] ?? (await mkdtemp(join(tmpdir(), "coldbrook-million-")));
  const command = values.server === undefined ? {} : { command: values.server };
  const generator = new JobProcess("load-generator.js");
  /** @type {TargetServer | null} */
  let server = null;
  const close = async () => {
    generator.end();
    await server?.stop();
    if (!values.keep) await rm(dataDir, { recursive: true, force: true });
  };
  process.once("SIGINT", () => void close().finally(() => process.exit(130)));
  try {
    server = await TargetServer.start({ dataDir, ...command, flags: ["--segment-age-ms", String(SEGMENT_AGE_MS)] });
    await fill(generator, server, count);
    const rolled = await waitUntilRolled(dataDir, { segmentAgeMs: SEGMENT_AGE_MS, withinMs: ROLL_MS_MAX });
    progress(`rolled ${figure(rolled)} s later; RSS ${mebibytes((await readRss(server.pid)).now)}`);
    if (!(await server.stop())) progress("! the server did not exit with 0 after SIGTERM");
    server = await TargetServer.start({ dataDir, ...command });
    return await judge(server, count);
  } finally {
    await close();
  }
}

/** @param {JobProcess} generator @param {TargetServer} server @param {number} count */
async function fill(generator, server, count) {
  const { address, root } = server;
  const job = { address, root, group: GROUP, contentType: CONTENT_TYPE, count, connections: 32, pipeline: 32 };
  const sweeps = [
    { ...job, method: "PUT", bodyBytes: 0 },
    ...(values.append ? [{ ...job, method: "POST", bodyBytes: 100 }] : []),
  ];
  for (const sweep of sweeps) {
    const made = await generator.run({ kind: "sweep", job: sweep });
    progress(
      `${sweep.method}: ${made.done} of ${count} in ${figure(made.seconds)} s, ${figure(made.done / made.seconds)}/s`,
    );
    if (made.done < count) throw new Error(`${sweep.method}: ${JSON.stringify(made.statuses)}`);
  }
}

/** @param {TargetServer} server @param {number} count @returns {Promise<number>} exit code */
async function judge(server, count) {
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
  const works = appended.status === 204 && read.body.toString("latin1").endsWith("the first append after the start");
  await wait(SETTLE_MS);
  const settled = await readRss(server.pid);
  const highest = Math.max(atStart.peak, settled.peak);
  const lines = [
    ["start to listening line", `${figure(server.startMs)} ms`, `< ${START_MS_MAX} ms`, server.startMs < START_MS_MAX],
    [
      "RSS, highest until 3 s after",
      `${mebibytes(highest)} (now ${mebibytes(settled.now)})`,
      `< ${mebibytes(RSS_BYTES_MAX)}`,
      highest < RSS_BYTES_MAX,
    ],
    ["append to a random stream", `${figure(appendMs)} ms, status ${appended.status}`, "204, and read back", works],
  ];
  for (const [what, got, bound, ok] of lines)
    process.stdout.write(`${ok ? "pass" : "MISS"}  ${what}: ${got}; ${bound}\n`);
  return lines.every(([, , , ok]) => ok) ? 0 : 1;
}

/** @param {number} bytes @returns {string} */
function mebibytes(bytes) {
  return `${figure(bytes / 2 ** 20)} MiB`;
}
