// @ts-check
/**
 * SSE subscribers of one stream and one appender. An append counts as delivered when the last subscriber has the whole
 * data event that carries it and the whole control event after it; the clock starts when the append is written.
 */
import { performance } from "node:perf_hooks";
import { openConnection, openMany } from "./connection.js";
import { startCpu } from "./generator-cpu.js";
import { requestHead } from "./requests.js";
import { ResponseParser } from "./response-parser.js";

const STEP_MS_MAX = 30_000;
const EVENT_END = "\n\n";
const TEXT_CHARS_MAX = 256 * 1024;

/**
 * @typedef {object} FanOutJob
 * @property {import("./connection.js").Address} address
 * @property {string} path of a text/plain stream
 * @property {number} subscribers
 * @property {number} appends
 * @property {number} bodyBytes
 */

/**
 * @typedef {object} FanOutResult
 * @property {number[]} lastByteMicros one entry per append
 * @property {import("./generator-cpu.js").GeneratorCpu} generator
 */

/** @param {FanOutJob} job @returns {Promise<FanOutResult>} */
export async function runFanOut(job) {
  const gate = new Gate();
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
    socket.write(requestHead("GET", `${job.path}?offset=now&live=sse`, null));
    return socket;
  };

  const ready = gate.open(job.subscribers);
  const sockets = await openMany(job.subscribers, subscribe);
  await ready;
  const appender = await openAppender(job, gate);
  const endCpu = startCpu();
  const lastByteMicros = [];
  for (let index = 0; index < job.appends; index += 1) {
    marker = `append-${index}-`.padEnd(job.bodyBytes, "x");
    // One pass for each subscriber and one for the answer to the append.
    const delivered = gate.open(job.subscribers + 1);
    const from = performance.now();
    appender.send(marker);
    const last = await delivered;
    lastByteMicros.push((last - from) * 1000);
  }
  const generator = endCpu();
  gate.close();
  for (const socket of [...sockets, appender.socket]) socket.destroy();
  return { lastByteMicros, generator };
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
  /** @param {string} body */
  const send = (body) => {
    socket.write(requestHead("POST", job.path, { contentType: "text/plain", bytes: body.length }) + body, "latin1");
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

/** Counts passes up to a number; resolves with the time of the last, or rejects at a failure or after 30 s. */
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
      const timer = setTimeout(() => this.fail(new Error(`${this.#missing} not served within 30 s`)), STEP_MS_MAX);
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
