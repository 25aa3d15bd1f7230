// @ts-check
/** Start on many streams that are all rolled: time from the start of the process to its listening line, and memory. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { progress } from "./bench-run.js";
import { diskBytes } from "./process-stats.js";
import { fillAndRoll, probeStart } from "./start-probe.js";
import { streamsName } from "./stream-sets.js";

const MEBIBYTE = 2 ** 20;

/** @param {import("./bench-run.js").BenchRun} run */
export async function startCase(run) {
  const { startStreams: count, server: command, rounds } = run.settings;
  const dataDir = join(run.directory, "start");
  const start = { dataDir, ...(command === null ? {} : { command }) };
  const less = { server: run.ownName, better: /** @type {const} */ ("less") };
  try {
    await fillAndRoll(run.generator, start, { count, append: false });
    const disk = await diskBytes(dataDir);
    /** @type {Awaited<ReturnType<typeof probeStart>>[]} */
    const probes = [];
    for (let round = 0; round < rounds; round += 1) probes.push(await probeStart(start, count));
    const failed = probes.filter(({ works }) => !works);
    const warnings = failed.map(({ status }) => `an append after the start got ${status}, or was not read back`);
    const of = `start with ${streamsName(count)}`;
    /** @param {(probe: Awaited<ReturnType<typeof probeStart>>) => number} valueOf */
    const each = (valueOf) => probes.map(valueOf);
    /** @type {[string, string, string, number[]][]} */
    const figures = [
      ["start/ms", "to the listening line", "ms", each(({ startMs }) => startMs)],
      [
        "start/rss",
        "highest resident memory until 3 s after",
        "MiB",
        each(({ rssPeakBytes }) => rssPeakBytes / MEBIBYTE),
      ],
      ["start/append", "first append", "ms", each(({ appendMs }) => appendMs)],
      ["start/rss-stream", "resident memory for each stream", "B", each(({ rssBytes }) => rssBytes / count)],
      ["start/disk-stream", "disk for each stream", "B", [disk / count]],
    ];
    for (const [key, what, unit, rounds] of figures) {
      run.figures.add({ ...less, key, measure: `${of}, ${what}`, unit, rounds, warnings });
    }
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
  progress("start: done");
}
