// @ts-check
/**
 * One append at a time and a reader that long-polls for it on a second connection. A round trip lasts from the write of
 * the append until the reader has the whole answer that carries it. A ping, which is an empty read at the tail, goes before each.
 */
import { performance } from "node:perf_hooks";
import { setTimeout as wait } from "node:timers/promises";
import { hostOf, openConnection } from "./connection.js";
import { startCpu } from "./generator-cpu.js";
import { LatencyHistogram } from "./latency-histogram.js";
import { requestHead } from "./requests.js";
import { headerOf, ResponseParser } from "./response-parser.js";

const STEP_MS_MAX = 30_000;
/** A long-poll that has been sent is taken for parked after this. */
const PARK_MS = 2;

/**
 * @typedef {object} RoundTripJob
 * @property {import("./connection.js").Address} address
 * @property {string} path of an octet stream
 * @property {string} offset its tail
 * @property {number} bodyBytes
 * @property {number} durationMs
 */

/**
 * @typedef {object} RoundTripResult
 * @property {number} pingMicros median
 * @property {number} p50Micros
 * @property {number} p90Micros
 * @property {number} p99Micros
 * @property {number} p999Micros
 * @property {string} offset the tail after the last append
 * @property {Record<string, number>} refused always empty: a refusal ends the job
 * @property {import("./generator-cpu.js").GeneratorCpu} generator
 */

/** @param {RoundTripJob} job @returns {Promise<RoundTripResult>} */
export async function runRoundTrips(job) {
  const host = hostOf(job.address);
  const about = { contentType: "application/octet-stream", bytes: job.bodyBytes };
  const append = requestHead("POST", job.path, about, host) + "x".repeat(job.bodyBytes);
  const writer = await openLane(job.address);
  const reader = await openLane(job.address);
  const pings = new LatencyHistogram();
  const trips = new LatencyHistogram();
  let { offset } = job;
  const endCpu = startCpu();
  const from = performance.now();
  try {
    while (performance.now() - from < job.durationMs) {
      const pingedAt = performance.now();
      await writer.ask(requestHead("GET", `${job.path}?offset=${encodeURIComponent(offset)}`, null, host));
      pings.record((performance.now() - pingedAt) * 1000);
      const path = `${job.path}?offset=${encodeURIComponent(offset)}&live=long-poll`;
      const read = reader.ask(requestHead("GET", path, null, host));
      await wait(PARK_MS);
      const sentAt = performance.now();
      const [, answer] = await Promise.all([writer.ask(append), read]);
      if (answer.status !== 200) throw new Error(`a long-poll got ${answer.status}`);
      trips.record((answer.at - sentAt) * 1000);
      offset = headerOf(answer.head, "stream-next-offset") ?? "";
      if (offset === "") throw new Error("an answer without Stream-Next-Offset");
    }
  } finally {
    writer.end();
    reader.end();
  }
  return {
    pingMicros: pings.percentile(0.5),
    p50Micros: trips.percentile(0.5),
    p90Micros: trips.percentile(0.9),
    p99Micros: trips.percentile(0.99),
    p999Micros: trips.percentile(0.999),
    offset,
    refused: {},
    generator: endCpu(),
  };
}

/**
 * A connection with one request outstanding at most. A status outside of 2xx is an error.
 * @param {import("./connection.js").Address} address
 */
async function openLane(address) {
  /** @type {{resolve: (answer: {status: number, head: string, at: number}) => void, reject: (error: Error) => void, timer: NodeJS.Timeout} | null} */
  let open = null;
  const parser = new ResponseParser(() => {
    const { status, head } = parser;
    if (open !== null) clearTimeout(open.timer);
    if (status >= 200 && status < 300) open?.resolve({ status, head, at: performance.now() });
    else open?.reject(new Error(`it answered ${status}`));
    open = null;
  }, true);
  const socket = await openConnection(
    address,
    (buffer, length) => parser.push(buffer, length),
    (error) => open?.reject(error ?? new Error("the server closed a connection in use")),
  );
  return {
    /** @param {string} request @returns {Promise<{status: number, head: string, at: number}>} */
    ask: (request) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error("no answer within 30 s")), STEP_MS_MAX);
        open = { resolve, reject, timer };
        socket.write(request, "latin1");
      }),
    end: () => socket.destroy(),
  };
}
