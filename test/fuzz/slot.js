// @ts-check
/**
 * One client of the fuzzer: fills connections with requests and judges what comes back. It owns a stream that no other
 * client touches, and looks at it before and behind each request to it: what is refused must have changed nothing.
 */
import { createHash } from "node:crypto";
import { Connection } from "./connection.js";
import { plain, requestText, RequestMaker } from "./requests.js";
import { BadResponse } from "./responses.js";
import { refusedRequest } from "./sentinels.js";
import { ROOT } from "./values.js";

/** @typedef {import("./random.js").Random} Random */
/** @typedef {import("./requests.js").Case} Case */
/** @typedef {import("./responses.js").Response} Response */

/** Far from the bound on requests ahead of their responses. */
const BATCH_MAX = 16;
/** The slot's own stream is deleted past this many bytes. */
const OWN_BYTES_MAX = 32_768;
const RESETS_MAX = 20;

/** @typedef {"look" | "own" | "other"} Role what an item means for the slot's own stream */
/** @typedef {{request: Case, role: Role}} Item */

/** A response that must not be, or a promise not kept; with the bytes that led there. */
export class Finding extends Error {
  /** @override */
  name = "Finding";
  /** @type {Buffer} */
  bytes;

  /** @param {string} message @param {Buffer} bytes @param {ErrorOptions} [options] */
  constructor(message, bytes, options) {
    super(message, options);
    this.bytes = bytes;
  }
}

export class Slot {
  #address;
  #random;
  #maker;
  #corpus;
  #run;
  #own;
  /** @type {Connection | null} */
  #connection = null;
  /** @type {Item[]} */
  #left = [];
  /** What the slot's own stream showed last, by method. @type {Map<string, string>} */
  #shown = new Map();
  #ownBytes = 0;
  #resets = 0;

  /**
   * @param {{host: string, port: number}} address @param {Random} random @param {import("./corpus.js").Corpus} corpus
   * @param {import("./tally.js").Tally} run
   */
  constructor(address, random, corpus, run) {
    this.#address = address;
    this.#random = random;
    this.#maker = new RequestMaker(random);
    this.#corpus = corpus;
    this.#run = run;
    // Names so far apart that no changed byte leads from one slot's stream to another's.
    this.#own = `own-${random.below(0x1_0000_0000).toString(16)}-${random.below(0x1_0000_0000).toString(16)}`;
  }

  close() {
    this.#connection?.destroy();
  }

  /** One connection's worth of requests. @throws {Finding} */
  async step() {
    const items = this.#batch();
    const bytes = Buffer.concat(items.map(({ request }) => request.bytes));
    this.#run.sent(bytes);
    const connection = (this.#connection ??= new Connection(this.#address));
    try {
      const outcome = await connection.send(items.map(({ request }) => request));
      if (!connection.usable || outcome.announced || items.at(-1)?.request.framed === false) this.close();
      if (!connection.usable || outcome.announced || items.at(-1)?.request.framed === false) this.#connection = null;
      this.#judge(items, outcome);
    } catch (error) {
      if (error instanceof BadResponse) throw new Finding(error.message, bytes, { cause: error });
      throw error;
    }
  }

  /** @returns {Item[]} */
  #batch() {
    const items = this.#left;
    this.#left = [];
    while (items.length < BATCH_MAX && items.at(-1)?.request.framed !== false) items.push(...this.#some());
    return items;
  }

  /** @returns {Item[]} */
  #some() {
    const random = this.#random;
    switch (random.weighted({ any: 60, bytes: 5, refused: 15, own: 12 })) {
      case "any":
        return [{ request: this.#maker.any(), role: "other" }];
      case "bytes":
        return [{ request: mutated(this.#corpus.mutated()), role: "other" }];
      case "refused":
        return [{ request: refusedRequest(random), role: "other" }];
      case "own":
        return this.#ownRequests();
    }
  }

  /** @returns {Item[]} */
  #ownRequests() {
    const path = `${ROOT}/${this.#own}`;
    /** @type {Item} */
    const head = { request: plain(requestText("HEAD", path)), role: "look" };
    /** @type {Item} */
    const get = { request: plain(requestText("GET", `${path}?offset=-1`)), role: "look" };
    const looks = this.#random.chance(0.4) ? [head, get] : [head];
    const text = this.#ownBytes > OWN_BYTES_MAX ? requestText("DELETE", path) : null;
    const request = text === null ? this.#maker.framed(this.#own) : plain(text);
    // Nothing can follow a request whose end is not sure; the next connection looks again.
    if (!request.framed) return [...looks, { request, role: "own" }];
    return [...looks, { request, role: "own" }, ...looks];
  }

  /** @param {Item[]} items @param {import("./connection.js").Outcome} outcome */
  #judge(items, { responses, rest, announced, reset }) {
    for (const [index, response] of responses.entries()) {
      const { request, role } = /** @type {Item} */ (items[index]);
      this.#note(request, response);
      if (role === "look") this.#compare(request, response);
      else if (role === "own" && response.status < 400) this.#shown.clear();
    }
    const behind = items.slice(responses.length);
    const last = behind.at(-1);
    if (behind.length === 1 && last !== undefined && !last.request.framed) return this.#judgeLast(last, rest);
    // Node refuses a request without a Host by itself, and our server, which does not know of it, may refuse what follows.
    const byNode = responses.at(-1)?.status === 400 && responses.at(-1)?.body.length === 0;
    if (rest.length > 0 && !byNode) throw new BadResponse(`${rest.length} responses behind the last one`);
    if (behind.length === 0) return;
    if (!announced) {
      // Closing with unread input may take the answer away; but not every time.
      if (!reset || ++this.#resets > RESETS_MAX) {
        throw new BadResponse(
          `the connection ended unannounced after ${responses.length} of ${items.length} responses${reset ? ", reset" : ""}`,
        );
      }
      this.#run.resets += 1;
      this.#shown.clear();
    } else {
      this.#resets = 0;
    }
    this.#left = behind;
  }

  /** @param {Item} item @param {Response[]} rest what came for a request that may be none, or several */
  #judgeLast({ request, role }, rest) {
    for (const response of rest) this.#note(request, response);
    if (rest.length === 0) this.#run.unanswered(request);
    const refused = rest.length > 0 && rest.every(({ status }) => status >= 400);
    if (role === "own" && !refused) this.#shown.clear();
  }

  /** @param {Case} request @param {Response} response */
  #note(request, response) {
    const { status, headers, body, code } = response;
    if (request.mustRefuse && (status < 400 || status >= 500)) {
      throw new BadResponse(
        `${status} for a request that must be refused: ${request.bytes.toString("latin1").slice(0, 2000)}`,
      );
    }
    const offset = headers.get("stream-next-offset");
    if (offset !== undefined) this.#maker.learn(offset);
    this.#run.answered(request, status, code);
    const isOwn = request.mustRefuse || request.bytes.includes(this.#own);
    if (!isOwn)
      this.#corpus.keep(`${request.method} ${status} ${code} ${Math.ceil(Math.log2(body.length + 1))}`, request.bytes);
  }

  /** @param {Case} request @param {Response} response */
  #compare(request, response) {
    const { status, headers, body } = response;
    const offset = headers.get("stream-next-offset");
    this.#ownBytes = offset === undefined ? 0 : Number(offset.slice(17));
    // It may be gone by itself at any moment.
    if (headers.has("stream-ttl") || headers.has("stream-expires-at")) this.#mortal = true;
    else if (request.method === "HEAD") this.#mortal = false;
    if (this.#mortal) return this.#shown.clear();
    const facts = ["content-type", "stream-next-offset", "stream-closed"].map((name) => headers.get(name) ?? "");
    const shown = `${status} ${facts.join(" ")} ${createHash("sha1").update(body).digest("hex")}`;
    const before = this.#shown.get(request.method);
    if (before !== undefined && before !== shown) {
      throw new BadResponse(
        `refused requests changed the stream ${this.#own}: ${request.method} showed ${before}, now ${shown}`,
      );
    }
    this.#shown.set(request.method, shown);
    this.#run.looks += 1;
  }

  #mortal = false;
}

/** @param {Buffer} bytes @returns {Case} */
function mutated(bytes) {
  const method = bytes.toString("latin1", 0, 8).split(" ", 1)[0] ?? "";
  return { bytes, method, framed: false, malformed: true, mustRefuse: false };
}
