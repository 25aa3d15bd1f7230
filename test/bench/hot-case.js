// @ts-check
/** Catch-up reads of one stream that is still in the WAL, against a bare server that sends as many bytes from memory. */
import { progress } from "./bench-run.js";
import { writeStream } from "./http-client.js";
import { figure } from "./report.js";
import { streamPath } from "./requests.js";
import { interleave } from "./rounds.js";

const MESSAGE_BYTES = 64 * 1024;
const WARMUP_MS = 300;
/** Nothing is sealed while a hot stream is measured. */
const HOT_FLAGS = ["--segment-bytes", "1GiB", "--segment-age-ms", "3600000"];

/** @typedef {import("./catch-up-load.js").CatchUpResult} CatchUpResult */

/** @param {import("./bench-run.js").BenchRun} run */
export async function hotCase(run) {
  const { readers, streamBytes } = run.settings;
  const contenders = await run.startContenders("hot", HOT_FLAGS);
  const group = `bench-${process.pid}-hot`;
  for (const contender of contenders.filter(({ problem }) => problem === "")) {
    try {
      await contender.makeGroup(group);
      const path = streamPath(contender.root, group, 0);
      await writeStream(contender.address, { path, bytes: streamBytes, messageBytes: MESSAGE_BYTES });
    } catch (error) {
      if (contender.name === run.ownName) throw error;
      contender.problem = error instanceof Error ? error.message : String(error);
    }
  }
  const base = { connections: readers, streamBytes, warmupMs: WARMUP_MS };
  const bare = { address: await run.bare("memory"), paths: ["/"], chain: false };
  const loads = [
    { server: "bare", contender: null, job: { ...base, ...bare } },
    ...contenders.map((contender) => {
      const paths = [streamPath(contender.root, group, 0)];
      return { server: contender.name, contender, job: { ...base, address: contender.address, paths, chain: true } };
    }),
  ];
  const outcomes = await interleave(
    run.settings,
    loads.map(({ server, contender, job }) => ({
      server,
      contender,
      measure: (durationMs) =>
        /** @type {Promise<CatchUpResult>} */ (run.generator.run({ kind: "catch-up", job: { ...job, durationMs } })),
    })),
  );
  for (const [index, { server }] of loads.entries()) {
    const { results, problem } = outcomes[index] ?? { results: [], problem: "" };
    const measure = `hot catch-up, ${figure(streamBytes / 2 ** 20)} MiB stream, ${readers} readers`;
    const about = { key: "hot", measure, server, unit: "MB/s", note: problem, warnings: wrongPasses(results) };
    run.figures.addWindows(about, results, (result) => result.megabytesPerSecond);
  }
  await Promise.all(contenders.map((contender) => contender.stop()));
  progress("hot catch-up: done");
}

/** @param {readonly CatchUpResult[]} results @returns {string[]} */
export function wrongPasses(results) {
  const wrong = results.reduce((sum, result) => sum + result.wrongPasses, 0);
  return wrong === 0 ? [] : [`${wrong} passes did not bring the bytes that were appended`];
}
