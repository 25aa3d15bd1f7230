// @ts-check
/** One append to many SSE subscribers, against a bare loop of `res.write` over as many open responses. */
import { progress } from "./bench-run.js";
import { sendOk } from "./http-client.js";
import { median, medianRatio, warningsOf } from "./report.js";

const BODY_BYTES = 100;
const APPENDS = 20;

/** @typedef {import("./fan-out-load.js").FanOutResult} FanOutResult */

/** @param {import("./bench-run.js").BenchRun} run @returns {Promise<import("./report.js").Row[]>} */
export async function fanOutCase(run) {
  const { rounds, subscribers } = run.settings;
  const target = await run.startTarget("fan-out");
  const path = `${target.root}/bench-${process.pid}-fan-out`;
  await sendOk(target.address, { method: "PUT", path, headers: { "Content-Type": "text/plain" } });
  const bareAddress = await run.bare("fanOut");
  /** @type {FanOutResult[]} */
  const own = [];
  /** @type {FanOutResult[]} */
  const bare = [];
  for (let round = -1; round < rounds; round += 1) {
    const job = { subscribers, appends: round < 0 ? 5 : APPENDS, bodyBytes: BODY_BYTES };
    const bareResult = await run.generator.run({ kind: "fan-out", job: { ...job, address: bareAddress, path: "/" } });
    const ownResult = await run.generator.run({ kind: "fan-out", job: { ...job, address: target.address, path } });
    if (round < 0) continue;
    bare.push(bareResult);
    own.push(ownResult);
  }
  await target.server?.stop();
  progress("fan-out: done");
  const millis = own.map((result) => median(result.lastByteMicros) / 1000);
  const bareMillis = bare.map((result) => median(result.lastByteMicros) / 1000);
  const windows = [...own, ...bare];
  return [
    {
      measure: `SSE, one append to ${subscribers.toLocaleString("en-US")} subscribers, last byte`,
      unit: "ms",
      coldbrook: median(millis),
      bare: median(bareMillis),
      ratio: medianRatio(millis, bareMillis),
      goal: null,
      detail: "lower is better; the bare side writes no disk",
      generatorCpuShare: Math.max(...windows.map((result) => result.generator.cpuShare)),
      warnings: windows.flatMap(({ generator }) => warningsOf("fan-out", { refused: {}, generator })),
    },
  ];
}
