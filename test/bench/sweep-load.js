// @ts-check
/**
 * One request for each of many streams: creates them, or appends once to each. Requests of one connection are
 * pipelined in groups, as only the total time matters here.
 */
import { performance } from "node:perf_hooks";
import { hostOf, openConnection, openMany } from "./connection.js";
import { requestHead, streamPath } from "./requests.js";
import { ResponseParser } from "./response-parser.js";

const ANSWER_MS = 60_000;

/**
 * @typedef {object} SweepJob
 * @property {import("./connection.js").Address} address
 * @property {"PUT" | "POST"} method
 * @property {string} root
 * @property {string} group streams are `<root>/<group>/<number>`
 * @property {string} contentType
 * @property {number} count
 * @property {number} connections
 * @property {number} pipeline requests in flight on a connection
 * @property {number} bodyBytes
 * @property {number} [withinMs] no request is sent after that; all of them without it
 */

/**
 * @param {SweepJob} job
 * @returns {Promise<{done: number, seconds: number, statuses: Record<string, number>}>}
 */
export async function runSweep(job) {
  /** @type {Record<string, number>} */
  const statuses = {};
  const body = "x".repeat(job.bodyBytes);
  let next = 0;
  let done = 0;
  let failed = false;
  const host = hostOf(job.address);
  const from = performance.now();

  /** @returns {{text: string, requests: number}} */
  const takeGroup = () => {
    const late = failed || performance.now() - from > (job.withinMs ?? Number.POSITIVE_INFINITY);
    const end = late ? next : Math.min(next + job.pipeline, job.count);
    const parts = [];
    const requests = end - next;
    for (; next < end; next += 1) {
      const path = streamPath(job.root, job.group, next);
      parts.push(requestHead(job.method, path, { contentType: job.contentType, bytes: job.bodyBytes }, host), body);
    }
    return { text: parts.join(""), requests };
  };

  /** @param {number} _index @returns {Promise<void>} */
  const lane = (_index) =>
    new Promise((resolve, reject) => {
      let missing = 0;
      const timer = setTimeout(() => fail(new Error("no answer within 60 s")), ANSWER_MS);
      /** @type {import("node:net").Socket | null} */
      let socket = null;
      /** @param {Error} error */
      const fail = (error) => {
        clearTimeout(timer);
        failed = true;
        socket?.destroy();
        reject(error);
      };
      const parser = new ResponseParser(() => {
        statuses[parser.status] = (statuses[parser.status] ?? 0) + 1;
        if (parser.status >= 200 && parser.status < 300) done += 1;
        missing -= 1;
        if (missing === 0) sendGroup();
      }, false);
      const sendGroup = () => {
        const group = takeGroup();
        missing = group.requests;
        timer.refresh();
        if (missing > 0) {
          socket?.write(group.text, "latin1");
          return;
        }
        clearTimeout(timer);
        resolve();
        socket?.destroy();
      };
      openConnection(
        job.address,
        (buffer, length) => parser.push(buffer, length),
        (error) => {
          if (missing > 0) fail(error ?? new Error("the server closed a connection in use"));
        },
      ).then((opened) => {
        socket = opened;
        sendGroup();
      }, fail);
    });

  await openMany(Math.min(64, job.connections), lane);
  return { done, seconds: (performance.now() - from) / 1000, statuses };
}
