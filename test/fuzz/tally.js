// @ts-check
/** What a run sent and what it got. */

/** @typedef {import("./requests.js").Case} Case */

const HISTORY = 64;

export class Tally {
  malformed = 0;
  wellFormed = 0;
  connections = 0;
  /** Comparisons of a stream with what it showed before a refused request. */
  looks = 0;
  resets = 0;
  /** @type {Map<string, number>} */
  counts = new Map();
  /** Bytes of the newest connections' batches, oldest first. @type {Buffer[]} */
  history = [];

  /** @param {Buffer} bytes */
  sent(bytes) {
    this.connections += 1;
    this.history.push(bytes);
    if (this.history.length > HISTORY) this.history.shift();
  }

  /** @param {Case} request @param {number} status @param {string} code */
  answered(request, status, code) {
    this.#count(request);
    this.#add(`${status} ${code}`.trim());
  }

  /** The connection ended, or would have waited for more. @param {Case} request */
  unanswered(request) {
    this.#count(request);
    this.#add("closed without a response");
  }

  /** @returns {string[]} */
  lines() {
    const sorted = [...this.counts].sort(([left], [right]) => (left < right ? -1 : 1));
    return sorted.map(([key, count]) => `${String(count).padStart(9)}  ${key}`);
  }

  /** @param {Case} request */
  #count(request) {
    if (request.malformed) this.malformed += 1;
    else this.wellFormed += 1;
  }

  /** @param {string} key */
  #add(key) {
    this.counts.set(key, (this.counts.get(key) ?? 0) + 1);
  }
}
