// @ts-check
/** Sends requests down one connection, all at once, and tells their responses apart. */
import net from "node:net";
import { BadResponse, ResponseReader } from "./responses.js";

/** @typedef {import("./requests.js").Case} Case */
/** @typedef {import("./responses.js").Response} Response */

/** Longer than any answer may take: live reads end after a tenth of a second. */
const ANSWER_MS = 30_000;
/** How long the answers to bytes that are no request, or several, are waited for before the client ends its half. */
const QUIET_MS = 8;
/** What ends of connections look like when both sides write: not a defect. */
const CUT = new Set(["ECONNRESET", "EPIPE"]);

/**
 * @typedef {object} Outcome
 * @property {Response[]} responses to the framed requests, in order; fewer when the server ended the connection
 * @property {Response[]} rest whatever came behind them
 * @property {boolean} announced the last response said that the connection ends
 * @property {boolean} reset the connection broke
 */

export class Connection {
  #socket;
  #reader = new ResponseReader();
  #ended = false;
  #closed = false;
  #reset = false;
  /** @type {Error | null} */
  #fault = null;
  /** @type {(() => void) | null} */
  #wake = null;

  /** @param {{host: string, port: number}} address */
  constructor({ host, port }) {
    this.#socket = net.connect({ host, port, noDelay: true, allowHalfOpen: true });
    this.#socket.on("data", (part) => {
      this.#reader.push(part);
      this.#stir();
    });
    this.#socket.on("end", () => {
      this.#ended = true;
      this.#socket.end();
      this.#stir();
    });
    this.#socket.on("error", (/** @type {NodeJS.ErrnoException} */ error) => {
      if (CUT.has(error.code ?? "")) this.#reset = true;
      else this.#fault = error;
      this.#stir();
    });
    this.#socket.on("close", () => {
      this.#closed = true;
      this.#ended = true;
      this.#stir();
    });
  }

  get usable() {
    return !this.#ended;
  }

  destroy() {
    this.#socket.destroy();
  }

  /**
   * @param {readonly Case[]} cases only the last one may be other than framed
   * @returns {Promise<Outcome>}
   * @throws {BadResponse} also when the server neither answers nor ends the connection
   */
  async send(cases) {
    this.#socket.write(
      cases.length === 1 ? /** @type {Case} */ (cases[0]).bytes : Buffer.concat(cases.map(({ bytes }) => bytes)),
    );
    /** @type {Response[]} */
    const responses = [];
    for (const { framed, method } of cases) {
      if (!framed) break;
      const response = await this.#next(method === "HEAD");
      if (response === null) return { responses, rest: [], announced: false, reset: this.#reset };
      responses.push(response);
      if (response.closes) return { responses, rest: await this.#finish(), announced: true, reset: this.#reset };
    }
    if (cases.at(-1)?.framed === true) return { responses, rest: [], announced: false, reset: false };
    return { responses, rest: await this.#finish(), announced: false, reset: this.#reset };
  }

  /** @param {boolean} isHead @returns {Promise<Response | null>} null when the connection ended first */
  async #next(isHead) {
    const deadline = Date.now() + ANSWER_MS;
    for (;;) {
      const response = this.#reader.next(isHead, this.#ended);
      if (response !== null) return response;
      if (this.#fault !== null) throw this.#fault;
      if (this.#ended) {
        if (this.#reader.rest.length > 0 && !this.#reset) throw new BadResponse(`half a response: ${this.#excerpt()}`);
        return null;
      }
      if (!(await this.#news(deadline - Date.now()))) throw new BadResponse(`no answer within ${ANSWER_MS / 1000} s`);
    }
  }

  /** All that still comes until the connection has ended; the client ends its half once it is quiet. */
  async #finish() {
    /** @type {Response[]} */
    const rest = [];
    const deadline = Date.now() + ANSWER_MS;
    let ending = false;
    while (!this.#closed) {
      this.#drain(rest);
      const left = deadline - Date.now();
      if (await this.#news(ending ? left : QUIET_MS)) continue;
      if (ending && left <= 0) throw new BadResponse("the connection did not end");
      this.#socket.end();
      ending = true;
    }
    if (this.#fault !== null) throw this.#fault;
    this.#drain(rest);
    return rest;
  }

  /** @param {Response[]} rest */
  #drain(rest) {
    for (let next = this.#reader.next(null, this.#closed); next !== null; next = this.#reader.next(null, this.#closed))
      rest.push(next);
  }

  /** Whether something came within that time. @param {number} ms @returns {Promise<boolean>} */
  #news(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(
        () => {
          this.#wake = null;
          resolve(false);
        },
        Math.max(0, ms),
      );
      this.#wake = () => {
        clearTimeout(timer);
        this.#wake = null;
        resolve(true);
      };
    });
  }

  #stir() {
    this.#wake?.();
  }

  #excerpt() {
    return JSON.stringify(this.#reader.rest.subarray(0, 300).toString("latin1"));
  }
}
