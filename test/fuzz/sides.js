// @ts-check
/** One server's side of a session: sends its operations, and puts what comes back into words that both sides share. */
import http from "node:http";
import { setTimeout as wait } from "node:timers/promises";
import { ROOT } from "./values.js";

/** @typedef {import("./sessions.js").Operation} Operation */
/** @typedef {import("./sessions.js").OffsetName} OffsetName */

/**
 * What one answer says, fact by fact. "" stands for a header that is not there.
 * @typedef {Readonly<Record<string, string>>} Facts
 */

const ANSWER_MS = 20_000;
/** An event stream that says nothing for this long has said all. */
const QUIET_MS = 150;
const ROUNDS_MAX = 8;
const COPIED = [
  "stream-up-to-date",
  "stream-closed",
  "stream-ttl",
  "stream-expires-at",
  "stream-sse-data-encoding",
  "producer-epoch",
  "producer-seq",
  "producer-expected-seq",
  "producer-received-seq",
];

export class Side {
  #agent = new http.Agent({ keepAlive: true, maxSockets: 256 });
  #server;

  /** @param {{host: string, port: number}} server */
  constructor(server) {
    this.#server = server;
  }

  close() {
    this.#agent.destroy();
  }

  /** @param {string} name prefix of the session's streams, never used before */
  begin(name) {
    return new Played(this.#server, this.#agent, name);
  }
}

class Played {
  #server;
  #agent;
  #name;
  /** Offsets of each stream in the order in which they were first seen, by present and by past life. @type {Map<number, string[]>[]} */
  #seen = [new Map(), new Map()];
  #etag = '"none"';

  /** @param {{host: string, port: number}} server @param {http.Agent} agent @param {string} name */
  constructor(server, agent, name) {
    this.#server = server;
    this.#agent = agent;
    this.#name = name;
  }

  /** @param {Operation} operation @returns {Promise<Facts>} */
  async play(operation) {
    const { status, headers, body } = await this.#send(operation);
    const header = (/** @type {string} */ name) => String(headers[name] ?? "");
    if (status === 201) {
      this.#seen[1]?.set(operation.stream, this.#offsets(operation.stream));
      this.#seen[0]?.set(operation.stream, []);
    }
    /** @type {Record<string, string>} */
    const facts = { status: String(status) };
    for (const name of COPIED) facts[name] = header(name);
    facts["stream-next-offset"] = this.#named(operation.stream, header("stream-next-offset"));
    facts["stream-cursor"] = header("stream-cursor") === "" ? "" : "some";
    if (status < 400) {
      facts["content-type"] = header("content-type").toLowerCase();
      facts["location"] = header("location")
        .replace(/^https?:\/\/[^/]*/, "")
        .replace(this.#name, "NAME");
      facts["etag"] = header("etag") === "" ? "" : "some";
      if (header("etag") !== "") this.#etag = header("etag");
      facts["body"] = operation.live === "sse" ? this.#events(operation.stream, body) : body.toString("latin1");
    }
    return facts;
  }

  /** @param {number} stream */
  #offsets(stream) {
    return this.#seen[0]?.get(stream) ?? [];
  }

  /** @param {number} stream @param {string} offset */
  #named(stream, offset) {
    if (offset === "") return "";
    const seen = this.#offsets(stream);
    if (!seen.includes(offset)) seen.push(offset);
    this.#seen[0]?.set(stream, seen);
    // Later offsets are greater: both sides say where it stands among those seen.
    return `${seen.indexOf(offset)} (${[...seen].sort().indexOf(offset) + 1} of ${seen.length})`;
  }

  /** @param {OffsetName} name */
  #offset(name) {
    if (typeof name === "string") return name;
    const seen = this.#seen[name.past ? 1 : 0]?.get(name.stream) ?? [];
    return seen[name.nth % Math.max(1, seen.length)] ?? "-1";
  }

  /** The events with their offsets named. @param {number} stream @param {Buffer} body */
  #events(stream, body) {
    const text = body
      .toString("utf8")
      .replaceAll(/^data:\s?(\{"streamNextOffset".*\})$/gm, (_line, /** @type {string} */ json) => {
        const { streamNextOffset, streamCursor, ...rest } = /** @type {Record<string, string>} */ (JSON.parse(json));
        const next = this.#named(stream, streamNextOffset ?? "");
        return `data: ${JSON.stringify({ next, cursor: streamCursor !== undefined, ...rest })}`;
      });
    // A server may say as often as it likes that nothing has happened.
    return text
      .split("\n\n")
      .filter((event, index, all) => event !== all[index - 1])
      .join("\n\n");
  }

  /** @param {Operation} operation @returns {Promise<{status: number, headers: http.IncomingHttpHeaders, body: Buffer}>} */
  #send(operation) {
    const { method, stream, body } = operation;
    /** @type {Record<string, string | number>} */
    const headers = { ...operation.headers };
    if (operation.source !== undefined) headers["Stream-Forked-From"] = `${ROOT}/${this.#name}-${operation.source}`;
    if (operation.forkOffset !== undefined) headers["Stream-Fork-Offset"] = this.#offset(operation.forkOffset);
    if (operation.known === true) headers["If-None-Match"] = this.#etag;
    if (body !== null) headers["Content-Length"] = body.length;
    else if (method === "POST") headers["Content-Length"] = 0;
    const query = [];
    if (operation.offset !== undefined) query.push(`offset=${this.#offset(operation.offset)}`);
    if (operation.live !== undefined) query.push(`live=${operation.live}`);
    if (operation.query !== undefined) query.push(operation.query);
    const target = `${ROOT}/${this.#name}-${stream}${query.length === 0 ? "" : `?${query.join("&")}`}`;
    return new Promise((resolve, reject) => {
      const { host, port } = this.#server;
      const sent = http.request(
        { host, port, method, path: target, headers, agent: this.#agent, timeout: ANSWER_MS },
        (response) => {
          const whole =
            operation.live === "sse" && response.statusCode === 200 ? untilQuiet(response) : wholeBody(response);
          whole.then(
            (bytes) => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: bytes }),
            reject,
          );
        },
      );
      sent.on("error", reject);
      sent.on("timeout", () =>
        sent.destroy(new Error(`no answer to ${method} ${target} within ${ANSWER_MS / 1000} s`)),
      );
      sent.end(body === null ? undefined : Buffer.from(body, "latin1"));
    });
  }
}

/** @param {http.IncomingMessage} response */
async function wholeBody(response) {
  /** @type {Buffer[]} */
  const parts = [];
  for await (const part of response) parts.push(part);
  return Buffer.concat(parts);
}

/** What an event stream says until it is quiet, or ends. @param {http.IncomingMessage} response */
async function untilQuiet(response) {
  /** @type {Buffer[]} */
  const parts = [];
  let ended = false;
  response
    .on("data", (part) => parts.push(part))
    .on("close", () => (ended = true))
    .on("error", () => (ended = true));
  let before = -1;
  for (let rounds = 0; !ended && rounds < ROUNDS_MAX && (parts.length === 0 || before < parts.length); rounds++) {
    before = parts.length;
    await wait(QUIET_MS);
  }
  response.destroy();
  return Buffer.concat(parts);
}
