// @ts-check
/**
 * The load generator's process. It takes one job at a time from its parent over IPC and answers each with its result
 * or its error; it ends when the parent lets go of it.
 */
import { runCatchUp } from "./catch-up-load.js";
import { runFanOut } from "./fan-out-load.js";
import { runRequestLoad } from "./request-load.js";
import { prepareAppends } from "./requests.js";
import { runRoundTrips } from "./round-trip-load.js";
import { runSweep } from "./sweep-load.js";

/**
 * @typedef {{id: number, kind: "prepare", name: string, spec: Parameters<typeof prepareAppends>[0]}
 *   | {id: number, kind: "requests", name: string, job: Omit<Parameters<typeof runRequestLoad>[0], "requests">}
 *   | {id: number, kind: "sweep", job: import("./sweep-load.js").SweepJob}
 *   | {id: number, kind: "catch-up", job: import("./catch-up-load.js").CatchUpJob}
 *   | {id: number, kind: "round-trip", job: import("./round-trip-load.js").RoundTripJob}
 *   | {id: number, kind: "fan-out", job: import("./fan-out-load.js").FanOutJob}} Job
 */

/** @type {Map<string, Buffer[]>} */
const prepared = new Map();

/** @param {Job} message @returns {Promise<unknown>} */
async function perform(message) {
  switch (message.kind) {
    case "prepare":
      prepared.set(message.name, prepareAppends(message.spec));
      return null;
    case "requests": {
      const requests = prepared.get(message.name);
      if (requests === undefined) throw new Error(`no requests named ${message.name} are prepared`);
      return runRequestLoad({ ...message.job, requests });
    }
    case "sweep":
      return runSweep(message.job);
    case "catch-up":
      return runCatchUp(message.job);
    case "round-trip":
      return runRoundTrips(message.job);
    case "fan-out":
      return runFanOut(message.job);
  }
}

process.on("message", (/** @type {Job} */ message) => {
  perform(message).then(
    (result) => process.send?.({ id: message.id, result }),
    (error) => process.send?.({ id: message.id, error: error instanceof Error ? error.message : String(error) }),
  );
});
process.on("disconnect", () => process.exit(0));
