// @ts-check
/**
 * Readers that follow a stream from its start by Stream-Next-Offset until it says Stream-Up-To-Date, over and over.
 * Each pass must bring exactly the bytes that were appended. The same loop reads a bare server, which has no chain.
 */
import { performance } from "node:perf_hooks";
import { setTimeout as wait } from "node:timers/promises";
import { hostOf, openConnection, openMany } from "./connection.js";
import { startCpu } from "./generator-cpu.js";
import { LatencyHistogram } from "./latency-histogram.js";
import { requestHead } from "./requests.js";
import { headerOf, ResponseParser } from "./response-parser.js";

/**
 * @typedef {object} CatchUpJob
 * @property {import("./connection.js").Address} address
 * @property {readonly string[]} paths connection n reads path n, modulo their number
 * @property {number} connections
 * @property {boolean} chain follow offsets; false: ask for the same path again
 * @property {number} streamBytes what one pass must bring; not looked at without a chain
 * @property {number} warmupMs
 * @property {number} durationMs 0: one pass of every connection, however long it takes up to two minutes
 */

/**
 * @typedef {object} CatchUpResult
 * @property {number} megabytesPerSecond of bodies, 10^6 bytes
 * @property {number} bytes
 * @property {number} p50Micros per response
 * @property {number} p90Micros
 * @property {number} p99Micros
 * @property {number} p999Micros
 * @property {number} wrongPasses passes with another number of bytes than the stream has
 * @property {Record<string, number>} refused
 * @property {import("./generator-cpu.js").GeneratorCpu} generator
 */

const PASS_MS_MAX = 120_000;

/** @param {CatchUpJob} job @returns {Promise<CatchUpResult>} */
export async function runCatchUp(job) {
  const histogram = new LatencyHistogram();
  /** @type {Record<string, number>} */
  const refused = {};
  let wrongPasses = 0;
  let stopping = false;
  let passesLeft = job.connections;
  const once = job.durationMs === 0;
  const host = hostOf(job.address);
  /** @type {((passed: null) => void) | null} */
  let allPassed = null;
  const everyPass = new Promise((/** @type {(passed: null) => void} */ resolve) => {
    allPassed = resolve;
  });

  const lanes = await openMany(job.connections, async (index) => {
    const path = /** @type {string} */ (job.paths[index % job.paths.length]);
    const first = Buffer.from(requestHead("GET", job.chain ? `${path}?offset=-1` : path, null, host), "latin1");
    let sentAt = 0;
    let passBytes = 0;
    /** @param {Buffer} request */
    const send = (request) => {
      sentAt = performance.now();
      socket.write(request);
    };
    const endPass = () => {
      if (job.chain && passBytes !== job.streamBytes) wrongPasses += 1;
      passBytes = 0;
      passesLeft -= 1;
      if (once && passesLeft === 0) allPassed?.(null);
    };
    const parser = new ResponseParser(() => {
      if (parser.status !== 200) {
        refused[parser.status] = (refused[parser.status] ?? 0) + 1;
        if (once) endPass();
        return;
      }
      histogram.record((performance.now() - sentAt) * 1000);
      passBytes += parser.bodyBytes;
      if (stopping) return;
      const offset = job.chain ? headerOf(parser.head, "stream-next-offset") : null;
      const ended = headerOf(parser.head, "stream-up-to-date") !== null;
      if (offset !== null && !ended) {
        send(Buffer.from(requestHead("GET", `${path}?offset=${encodeURIComponent(offset)}`, null, host), "latin1"));
        return;
      }
      endPass();
      if (!once) send(first);
    }, true);
    const socket = await openConnection(
      job.address,
      (buffer, length) => parser.push(buffer, length),
      (error) => {
        if (stopping) return;
        const name = error?.message ?? "closed";
        refused[name] = (refused[name] ?? 0) + 1;
        if (once) endPass();
      },
    );
    return { socket, parser, start: () => send(first) };
  });

  for (const lane of lanes) if (!once) lane.start();
  if (!once) await wait(job.warmupMs);
  const received = () => lanes.reduce((sum, lane) => sum + lane.parser.received, 0);
  const receivedBefore = received();
  histogram.reset();
  const endCpu = startCpu();
  const from = performance.now();
  if (once) {
    for (const lane of lanes) lane.start();
    await Promise.race([everyPass, wait(PASS_MS_MAX, null, { ref: false })]);
    if (passesLeft > 0) refused["not read within 120 s"] = passesLeft;
  } else {
    await wait(job.durationMs);
  }
  const elapsedMs = performance.now() - from;
  const generator = endCpu();
  const bytes = received() - receivedBefore;
  stopping = true;
  for (const lane of lanes) lane.socket.destroy();
  return {
    megabytesPerSecond: bytes / 1000 / elapsedMs,
    bytes,
    p50Micros: histogram.percentile(0.5),
    p90Micros: histogram.percentile(0.9),
    p99Micros: histogram.percentile(0.99),
    p999Micros: histogram.percentile(0.999),
    wrongPasses,
    refused,
    generator,
  };
}
