// @ts-check
/**
 * A closed loop: each connection has exactly one request outstanding and sends the next prepared one when the answer
 * has come whole. Nothing is built or parsed per request but the status.
 */
import { performance } from "node:perf_hooks";
import { setTimeout as wait } from "node:timers/promises";
import { openConnection, openMany } from "./connection.js";
import { startCpu } from "./generator-cpu.js";
import { LatencyHistogram } from "./latency-histogram.js";
import { ResponseParser } from "./response-parser.js";

const DRAIN_MS = 10_000;

/** @typedef {import("./connection.js").Address} Address */

/**
 * @typedef {object} LoadResult
 * @property {number} perSecond 2xx answers a second
 * @property {number} p50Micros of 2xx answers
 * @property {number} p90Micros
 * @property {number} p99Micros
 * @property {number} p999Micros
 * @property {Record<string, number>} refused other statuses and lost connections, by name
 * @property {import("./generator-cpu.js").GeneratorCpu} generator
 */

/**
 * @param {{address: Address, requests: readonly Buffer[], connections: number, warmupMs: number, durationMs: number}} job
 * @returns {Promise<LoadResult>}
 */
export async function runRequestLoad({ address, requests, connections, warmupMs, durationMs }) {
  const histogram = new LatencyHistogram();
  /** @type {Record<string, number>} */
  const refused = {};
  let answered = 0;
  let cursor = 0;
  /** Connections that wait for an answer; looked at once the loop is told to stop. */
  const outstanding = { lanes: 0 };
  let stopping = false;

  const lanes = await openMany(connections, async () => {
    let sentAt = 0;
    const parser = new ResponseParser(() => {
      const now = performance.now();
      if (parser.status >= 200 && parser.status < 300) {
        answered += 1;
        histogram.record((now - sentAt) * 1000);
      } else {
        refused[parser.status] = (refused[parser.status] ?? 0) + 1;
      }
      if (stopping) outstanding.lanes -= 1;
      else send(now);
    }, true);
    const socket = await openConnection(
      address,
      (buffer, length) => parser.push(buffer, length),
      (error) => {
        if (stopping && outstanding.lanes === 0) return;
        outstanding.lanes -= 1;
        const name = error === null ? "closed" : (/** @type {{code?: string}} */ (error).code ?? error.message);
        refused[name] = (refused[name] ?? 0) + 1;
      },
    );
    /** @param {number} now */
    const send = (now) => {
      const request = requests[cursor];
      cursor = cursor + 1 === requests.length ? 0 : cursor + 1;
      sentAt = now;
      socket.write(/** @type {Buffer} */ (request));
    };
    return { socket, send };
  });

  for (const lane of lanes) {
    outstanding.lanes += 1;
    lane.send(performance.now());
  }
  await wait(warmupMs);
  answered = 0;
  histogram.reset();
  const endCpu = startCpu();
  const from = performance.now();
  await wait(durationMs);
  const elapsedMs = performance.now() - from;
  const generator = endCpu();
  const result = {
    perSecond: (answered * 1000) / elapsedMs,
    p50Micros: histogram.percentile(0.5),
    p90Micros: histogram.percentile(0.9),
    p99Micros: histogram.percentile(0.99),
    p999Micros: histogram.percentile(0.999),
    refused,
    generator,
  };
  stopping = true;
  for (let waited = 0; outstanding.lanes > 0 && waited < DRAIN_MS; waited += 10) await wait(10);
  outstanding.lanes = 0;
  for (const lane of lanes) lane.socket.destroy();
  return result;
}
