// @ts-check
/**
 * One append to many SSE subscribers, against a bare loop of `res.write` over as many open responses; and what a
 * subscriber costs in resident memory, on servers that had appends but no subscriber before.
 */
import { progress } from "./bench-run.js";
import { sendOk } from "./http-client.js";
import { median } from "./report.js";
import { streamPath } from "./requests.js";
import { interleave } from "./rounds.js";
import { makeStreams } from "./stream-sets.js";

const BODY_BYTES = 100;
const APPENDS = 20;
const WARMUP_APPENDS = 5;
/** Appends that bring a fresh server to the memory it has anyway. */
const WARM_MS = 2000;
const WARM_STREAMS = 100;
const WARM_CONNECTIONS = 64;

/** @typedef {import("./fan-out-load.js").FanOutResult} FanOutResult */
/** @typedef {import("./bench-run.js").BenchRun} BenchRun */
/** @typedef {import("./bench-run.js").Contender} Contender */

/** @param {BenchRun} run */
export async function fanOutCase(run) {
  await lastByte(run);
  if (run.settings.url === null) await memory(run);
}

/** @param {BenchRun} run */
async function lastByte(run) {
  const { subscribers, roundMs } = run.settings;
  const contenders = await run.startContenders("fan-out");
  for (const contender of contenders) await makeTextStream(run, contender);
  const loads = [
    { server: "bare", contender: null, address: await run.bare("fanOut"), path: "/" },
    ...contenders.map((contender) => ({
      server: contender.name,
      contender,
      address: contender.address,
      path: textPath(contender),
    })),
  ];
  const outcomes = await interleave(
    run.settings,
    loads.map(({ server, contender, address, path }) => ({
      server,
      contender,
      measure: (durationMs) => {
        const appends = durationMs < roundMs ? WARMUP_APPENDS : APPENDS;
        const job = { subscribers, appends, bodyBytes: BODY_BYTES, address, path };
        return /** @type {Promise<FanOutResult>} */ (run.generator.run({ kind: "fan-out", job }));
      },
    })),
  );
  const many = subscribers.toLocaleString("en-US");
  for (const [index, { server }] of loads.entries()) {
    const { results, problem } = outcomes[index] ?? { results: [], problem: "" };
    const about = { server, unit: "ms", better: /** @type {const} */ ("less") };
    const note = problem === "" && server === "bare" ? "writes no disk" : problem;
    run.figures.addWindows(
      { key: "fan-out", measure: `SSE, one append to ${many} subscribers, last byte`, note, ...about },
      results,
      (result) => median(result.lastByteMicros) / 1000,
    );
  }
  await Promise.all(contenders.map((contender) => contender.stop()));
  progress("fan-out: done");
}

/** Once for each server: growth is only seen by one that never had subscribers. @param {BenchRun} run */
async function memory(run) {
  const { subscribers } = run.settings;
  const contenders = await run.startContenders("fan-out-memory");
  for (const contender of contenders) {
    if (contender.problem !== "") continue;
    await makeTextStream(run, contender);
    const job = { subscribers, appends: APPENDS, bodyBytes: BODY_BYTES, pid: contender.pid };
    const about = {
      key: "fan-out/rss",
      measure: "SSE, resident memory for each subscriber",
      server: contender.name,
      unit: "KiB",
      better: /** @type {const} */ ("less"),
    };
    try {
      const name = "warm-";
      const { problem } = await makeStreams(run, contender, {
        count: WARM_STREAMS,
        body: "x".repeat(BODY_BYTES),
        name,
      });
      if (problem !== "") throw new Error(problem);
      const { address, root } = contender;
      const warm = { address, connections: WARM_CONNECTIONS, warmupMs: 0, durationMs: WARM_MS };
      await run.generator.run({ kind: "requests", name: `${root}-${name}${WARM_STREAMS}`, job: warm });
      /** @type {FanOutResult} */
      const result = await run.generator.run({
        kind: "fan-out",
        job: { ...job, address, path: textPath(contender) },
      });
      run.figures.add({ ...about, rounds: [result.rssGrowthBytes / 1024 / subscribers] });
    } catch (error) {
      if (contender.name === run.ownName) throw error;
      run.figures.add({ ...about, note: error instanceof Error ? error.message : String(error) });
    }
    await contender.stop();
  }
  await Promise.all(contenders.map((contender) => contender.stop()));
}

/** @param {Contender} contender */
function textPath({ root }) {
  return streamPath(root, group(), 0);
}

/** @param {BenchRun} run @param {Contender} contender */
async function makeTextStream(run, contender) {
  if (contender.problem !== "") return;
  try {
    await contender.makeGroup(group());
    const headers = { "Content-Type": "text/plain" };
    await sendOk(contender.address, { method: "PUT", path: textPath(contender), headers });
  } catch (error) {
    if (contender.name === run.ownName) throw error;
    contender.problem = error instanceof Error ? error.message : String(error);
  }
}

function group() {
  return `bench-${process.pid}-fan-out`;
}
