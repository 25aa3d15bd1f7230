// @ts-check
/** Requests worth changing: those in `corpus/`, and those that made the server answer in a way it had not answered before. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

/** @typedef {import("./random.js").Random} Random */

export const CORPUS_DIRECTORY = fileURLToPath(new URL("corpus", import.meta.url));
const KEPT_MAX = 2_000;
const BYTES_MAX = 16_384;

/** Bytes that mean something to some parser. */
const TOKENS = [
  "\r\n",
  "\n",
  "\r",
  "\r\n\r\n",
  "\0",
  " ",
  "	",
  ":",
  ",",
  ";",
  "?",
  "&",
  "=",
  "%",
  "%00",
  "%0d%0a",
  "..",
  "/",
  "//",
  '"',
  "\\",
  "#",
  "-1",
  "now",
  "chunked",
  "close",
  "Content-Length: 3\r\n",
  "Transfer-Encoding: chunked\r\n",
  "HTTP/1.0",
  "HTTP/1.1\r\n",
  "0\r\n\r\n",
  "9007199254740993",
  "18446744073709551616",
  "__proto__",
  "À¯",
  "ÿ",
  "",
  "ï»¿",
  "true",
  "Stream-Closed: true\r\n",
];

export class Corpus {
  /** @type {Buffer[]} */
  entries;
  #seen = new Set();
  #random;
  #fixed;

  /** @param {Random} random @param {readonly Buffer[]} entries at least one */
  constructor(random, entries) {
    this.#random = random;
    this.entries = [...entries];
    this.#fixed = entries.length;
  }

  /** Keeps `bytes` when nothing was answered with this `key` before. @param {string} key @param {Buffer} bytes */
  keep(key, bytes) {
    if (this.#seen.has(key) || bytes.length > BYTES_MAX) return;
    this.#seen.add(key);
    if (this.entries.length < KEPT_MAX) this.entries.push(bytes);
  }

  /** Some entry with a few of its bytes changed. */
  mutated() {
    const random = this.#random;
    let bytes = random.pick(this.entries);
    for (let changes = random.below(4) + 1; changes > 0; changes--) bytes = this.#changed(bytes);
    return bytes;
  }

  /** Writes what was found in this run beside the files that were there. @returns {number} how many */
  save() {
    const found = this.entries.slice(this.#fixed);
    for (const [index, bytes] of found.entries()) {
      const text = bytes.toString("latin1");
      const readable =
        /^[\t\n\r\x20-\x7e]*$/.test(text) && text.replaceAll("\r\n", "\n").replaceAll("\n", "\r\n") === text;
      const name = `found-${String(index).padStart(4, "0")}.${readable ? "http" : "bin"}`;
      writeFileSync(path.join(CORPUS_DIRECTORY, name), readable ? text.replaceAll("\r\n", "\n") : bytes);
    }
    return found.length;
  }

  /** @param {Buffer} bytes @returns {Buffer} */
  #changed(bytes) {
    const random = this.#random;
    const at = random.below(bytes.length + 1);
    const end = Math.min(bytes.length, at + 1 + random.below(8));
    const join = (/** @type {Buffer[]} */ ...parts) => Buffer.concat(parts).subarray(0, BYTES_MAX);
    switch (random.weighted({ flip: 4, insert: 3, remove: 3, splice: 2, repeat: 1, cut: 1, token: 4 })) {
      case "flip": {
        const copy = Buffer.from(bytes);
        if (at < copy.length) copy[at] = /** @type {number} */ (copy[at]) ^ (1 << random.below(8));
        return copy;
      }
      case "insert":
        return join(bytes.subarray(0, at), Buffer.from([random.below(256)]), bytes.subarray(at));
      case "remove":
        return join(bytes.subarray(0, at), bytes.subarray(end));
      case "splice": {
        const other = random.pick(this.entries);
        return join(bytes.subarray(0, at), other.subarray(random.below(other.length + 1)));
      }
      case "repeat":
        return join(
          bytes.subarray(0, end),
          ...Array.from({ length: random.below(40) + 1 }, () => bytes.subarray(at, end)),
          bytes.subarray(end),
        );
      case "cut":
        return bytes.subarray(0, at);
      case "token":
        return join(
          bytes.subarray(0, at),
          Buffer.from(random.pick(TOKENS), "latin1"),
          bytes.subarray(random.chance(0.5) ? at : end),
        );
    }
  }
}

/** The bytes of one corpus file: `.http` is text whose line ends are CR LF on the wire. @param {string} file */
export function readRequest(file) {
  const bytes = readFileSync(file);
  if (!file.endsWith(".http")) return bytes;
  return Buffer.from(bytes.toString("latin1").replaceAll("\r\n", "\n").replaceAll("\n", "\r\n"), "latin1");
}

/** @returns {Buffer[]} */
export function readCorpus() {
  const names = readdirSync(CORPUS_DIRECTORY).filter((name) => /\.(?:http|bin)$/.test(name));
  return names.sort().map((name) => readRequest(path.join(CORPUS_DIRECTORY, name)));
}
