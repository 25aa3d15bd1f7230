// @ts-check
/** From an append to a reader that long-polls for it, one at a time: what a person sees between two browsers. */
import { progress } from "./bench-run.js";
import { sendOk } from "./http-client.js";
import { interleave } from "./rounds.js";
import { streamPath } from "./requests.js";

const BODY_BYTES = 100;

/** @typedef {import("./round-trip-load.js").RoundTripResult} RoundTripResult */

/** @param {import("./bench-run.js").BenchRun} run */
export async function roundTripCase(run) {
  const contenders = await run.startContenders("round-trip");
  const group = `bench-${process.pid}-round-trip`;
  const outcomes = await interleave(
    run.settings,
    contenders.map((contender) => {
      const path = streamPath(contender.root, group, 0);
      /** @type {string | null} */
      let offset = null;
      return {
        server: contender.name,
        contender,
        measure: async (durationMs) => {
          offset ??= await makeStream(contender, group, path);
          const job = { address: contender.address, path, offset, bodyBytes: BODY_BYTES, durationMs };
          /** @type {RoundTripResult} */
          const result = await run.generator.run({ kind: "round-trip", job });
          offset = result.offset;
          return result;
        },
      };
    }),
  );
  for (const [index, { name }] of contenders.entries()) {
    const { results, problem } = outcomes[index] ?? { results: [], problem: "" };
    const about = { server: name, unit: "µs", better: /** @type {const} */ ("less"), note: problem };
    const trip = "append of 100 B until a long-polling reader has it";
    run.figures.addWindows({ key: "round-trip", measure: trip, ...about }, results, (result) => result.p50Micros);
    run.figures.add({
      key: "round-trip/ping",
      measure: "empty read at the tail",
      ...about,
      rounds: results.map((result) => result.pingMicros),
    });
  }
  await Promise.all(contenders.map((contender) => contender.stop()));
  progress("round-trip: done");
}

/** @param {import("./bench-run.js").Contender} contender @param {string} group @param {string} path @returns {Promise<string>} its tail */
async function makeStream({ address, makeGroup }, group, path) {
  const headers = { "Content-Type": "application/octet-stream" };
  await makeGroup(group);
  await sendOk(address, { method: "PUT", path, headers });
  const { headers: answer } = await sendOk(address, { method: "HEAD", path });
  return String(answer["stream-next-offset"] ?? "-1");
}
