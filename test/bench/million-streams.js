// @ts-check
/**
 * Makes a million streams on a fresh data directory, waits until they are rolled, stops the server, and measures the
 * next start: time to the listening line, resident memory, and an append to a random stream. Exit code 1 when a bound
 * of the acceptance is missed. `node test/bench/million-streams.js --help` lists the options.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { JobProcess } from "./job-process.js";
import { figure } from "./report.js";
import { whole } from "./settings.js";
import { fillAndRoll, probeStart } from "./start-probe.js";

const START_MS_MAX = 5000;
const RSS_BYTES_MAX = 400 * 2 ** 20;

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
  const start = { dataDir, ...(values.server === undefined ? {} : { command: values.server }) };
  const generator = new JobProcess("load-generator.js");
  const close = async () => {
    generator.end();
    if (!values.keep) await rm(dataDir, { recursive: true, force: true });
  };
  process.once("SIGINT", () => void close().finally(() => process.exit(130)));
  try {
    await fillAndRoll(generator, start, { count, append: values.append });
    return report(await probeStart(start, count));
  } finally {
    await close();
  }
}

/** @param {Awaited<ReturnType<typeof probeStart>>} probe @returns {number} exit code */
function report({ startMs, rssBytes, rssPeakBytes, appendMs, status, works }) {
  const highest = `${mebibytes(rssPeakBytes)} (now ${mebibytes(rssBytes)})`;
  /** @type {[string, string, string, boolean][]} */
  const lines = [
    ["start to listening line", `${figure(startMs)} ms`, `< ${START_MS_MAX} ms`, startMs < START_MS_MAX],
    ["RSS, highest until 3 s after", highest, `< ${mebibytes(RSS_BYTES_MAX)}`, rssPeakBytes < RSS_BYTES_MAX],
    ["append to a random stream", `${figure(appendMs)} ms, status ${status}`, "204, and read back", works],
  ];
  for (const [what, got, bound, ok] of lines)
    process.stdout.write(`${ok ? "pass" : "MISS"}  ${what}: ${got}; ${bound}\n`);
  return lines.every(([, , , ok]) => ok) ? 0 : 1;
}

/** @param {number} bytes @returns {string} */
function mebibytes(bytes) {
  return `${figure(bytes / 2 ** 20)} MiB`;
}
