// @ts-check
/**
 * SSE subscribers of one stream and one appender. An append counts as delivered when the last subscriber has the whole
 * data event that carries it and the whole control event after it; the clock starts when the append is written.
 */
import { performance } from "node:perf_hooks";
import { setTimeout as wait } from "node:timers/promises";
import { hostOf, openConnection, openMany } from "./connection.js";
import { startCpu } from "./generator-cpu.js";
import { readRss } from "./process-stats.js";
import { requestHead } from "./requests.js";
import { ResponseParser } from "./response-parser.js";

const STEP_MS_MAX = 15_000;
const SETTLE_MS = 1000;
/** After that no further append is sent: a server that needs seconds for each has shown what it does. */
const APPENDS_MS_MAX = 10_000;
const EVENT_END = "\n\n";
const TEXT_CHARS_MAX = 256 * 1024;

/**
 * @typedef {object} FanOutJob
 * @property {import("./connection.js").Address} address
 * @property {string} path of a text/plain stream
 * @property {number} subscribers
 * @property {number} appends
 * @property {number} bodyBytes
 * @property {number} [pid] process whose memory is looked at before the subscribers come and while they are there
 */

/**
 * @typedef {object} FanOutResult
 * @property {number[]} lastByteMicros one entry per append
 * @property {Record<string, number>} refused always empty: a refusal ends the job
 * @property {number} rssGrowthBytes 0 without a pid
 * @property {import("./generator-cpu.js").GeneratorCpu} generator
 */

/** @param {FanOutJob} job @returns {Promise<FanOutResult>} */
export async function runFanOut(job) {
  const gate = new Gate();
  const host = hostOf(job.address);
  const rssBefore = job.pid === undefined ? 0 : (await readRss(job.pid)).now;
  /** What subscribers look for; empty while they wait for their first event. */
  let marker = "";
  const subscribe = async () => {
    let text = "";
    let found = false;
    let waitingFor = "none";
    const socket = await openConnection(
      job.address,
      (buffer, length) => {
        if (waitingFor !== marker) {
          waitingFor = marker;
          text = "";
          found = false;
        }
        if (found) return;
        text += buffer.toString("latin1", 0, length);
        if (text.length > TEXT_CHARS_MAX) throw new Error("a subscriber got more than it waits for");
        found = marker === "" ? hasFirstEvent(text) : hasDelivery(text, marker);
        if (found) gate.pass();
      },
      (error) => gate.fail(error ?? new Error("the server closed a subscriber")),
    );
    socket.write(requestHead("GET", `${job.path}?offset=now&live=sse`, null, host));
    return socket;
  };

  /** @type {import("node:net").Socket[]} */
  const sockets = [];
  try {
    const ready = gate.open(job.subscribers);
    await openMany(job.subscribers, async () => {
      sockets.push(await subscribe());
    });
    await ready;
    const appender = await openAppender(job, gate);
    sockets.push(appender.socket);
    const endCpu = startCpu();
    const lastByteMicros = await sendAppends(job, gate, (next) => {
      marker = next;
      appender.send(next);
    });
    const generator = endCpu();
    let rssGrowthBytes = 0;
    if (job.pid !== undefined) {
      await wait(SETTLE_MS);
      rssGrowthBytes = (await readRss(job.pid)).now - rssBefore;
    }
    return { lastByteMicros, refused: {}, rssGrowthBytes, generator };
  } finally {
    gate.close();
    for (const socket of sockets) socket.destroy();
  }
}

/**
 * One append after another, each when the last one has reached every subscriber.
 * @param {FanOutJob} job @param {Gate} gate @param {(marker: string) => void} send
 * @returns {Promise<number[]>} µs from the write of each append until its last byte
 */
async function sendAppends(job, gate, send) {
  const begun = performance.now();
  /** @type {number[]} */
  const lastByteMicros = [];
  for (let index = 0; index < job.appends && performance.now() - begun < APPENDS_MS_MAX; index += 1) {
    // One pass for each subscriber and one for the answer to the append.
    const delivered = gate.open(job.subscribers + 1);
    const from = performance.now();
    send(`append-${index}-`.padEnd(job.bodyBytes, "x"));
    lastByteMicros.push(((await delivered) - from) * 1000);
  }
  return lastByteMicros;
}

/** @param {FanOutJob} job @param {Gate} gate */
async function openAppender(job, gate) {
  const parser = new ResponseParser(() => {
    if (parser.status < 300) gate.pass();
    else gate.fail(new Error(`an append got ${parser.status}`));
  }, true);
  const socket = await openConnection(
    job.address,
    (buffer, length) => parser.push(buffer, length),
    (error) => gate.fail(error ?? new Error("the server closed the appender")),
  );
  const host = hostOf(job.address);
  /** @param {string} body */
  const send = (body) => {
    socket.write(
      requestHead("POST", job.path, { contentType: "text/plain", bytes: body.length }, host) + body,
      "latin1",
    );
  };
  return { socket, send };
}

/** @param {string} text @returns {boolean} */
function hasFirstEvent(text) {
  const headEnd = text.indexOf("\r\n\r\n");
  return headEnd >= 0 && text.indexOf(EVENT_END, headEnd + 4) >= 0;
}

/**
 * Event ends are looked for in the raw bytes: chunked framing between events holds no empty line of its own.
 * @param {string} text @param {string} marker @returns {boolean}
 */
function hasDelivery(text, marker) {
  const at = text.indexOf(marker);
  if (at < 0) return false;
  const dataEnd = text.indexOf(EVENT_END, at);
  return dataEnd >= 0 && text.indexOf(EVENT_END, dataEnd + EVENT_END.length) >= 0;
}

/** Counts passes up to a number; resolves with the time of the last, or rejects at a failure or after 15 s. */
class Gate {
  #missing = 0;
  #closed = false;
  /** @type {((now: number) => void) | null} */
  #resolve = null;
  /** @type {((error: Error) => void) | null} */
  #reject = null;

  /** @param {number} passes @returns {Promise<number>} */
  open(passes) {
    this.#missing = passes;
    /** @type {Promise<number>} */
    const opened = new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.fail(new Error(`${this.#missing} not served within 15 s`)), STEP_MS_MAX);
      this.#resolve = (now) => {
        clearTimeout(timer);
        resolve(now);
      };
      this.#reject = (error) => {
        clearTimeout(timer);
        reject(error);
      };
    });
    // A failure may come before anyone awaits; whoever awaits still gets it.
    opened.catch(() => {});
    return opened;
  }

  pass() {
    this.#missing -= 1;
    if (this.#missing === 0) this.#resolve?.(performance.now());
  }

  /** @param {Error} error */
  fail(error) {
    if (!this.#closed) this.#reject?.(error);
  }

  close() {
    this.#closed = true;
  }
}
