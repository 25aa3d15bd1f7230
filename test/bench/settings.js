// @ts-check
/** The command line of `pnpm bench`. */
import { parseArgs } from "node:util";

export const CASES = /** @type {const} */ (["appends", "hot", "cold", "fan-out", "cold-fetch"]);

/**
 * @typedef {object} Settings
 * @property {number} rounds
 * @property {number} roundMs
 * @property {readonly string[]} cases
 * @property {number} streams size of the largest set of streams
 * @property {number} subscribers
 * @property {number} streamBytes of the streams that catch-up cases read
 * @property {number} readers connections of catch-up cases
 * @property {string | null} json file for the machine-readable result
 * @property {URL | null} url stream root of a running server; null: start our own
 * @property {string | null} server file of the command to start instead of this repository's
 * @property {string | null} parent directory for the data directories
 * @property {string | null} s3 endpoint
 * @property {string} bucket
 */

export const USAGE = `pnpm bench [options]
  --quick              3 rounds of 1 s instead of 5 rounds of 2 s
  --rounds N           rounds (medians of them are shown)
  --round-ms MS        length of one measured window
  --case NAME          ${CASES.join(", ")}; may be repeated; all that apply by default
  --streams N          size of the large set of streams (100000)
  --subscribers N      SSE subscribers (1000)
  --json FILE          write the result there as well
  --url URL            stream root of a running server, e.g. http://127.0.0.1:4437/v1/stream (no cold cases)
  --server FILE        start this command instead of packages/server/bin/coldbrook.js
  --data-parent DIR    where the data directories are made and removed (the system's temporary directory)
  --s3 ENDPOINT        cold cases on this S3 endpoint; keys from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY
  --bucket NAME        bucket there, made when missing (coldbrook-bench)`;

/** Throws a TypeError that names the option when one is wrong. @param {string[]} argv @returns {Settings | "help"} */
export function parseSettings(argv) {
  const { values } = parseArgs({
    args: argv.filter((argument) => argument !== "--"),
    options: {
      help: { type: "boolean", default: false },
      quick: { type: "boolean", default: false },
      rounds: { type: "string" },
      "round-ms": { type: "string" },
      case: { type: "string", multiple: true },
      streams: { type: "string", default: "100000" },
      subscribers: { type: "string", default: "1000" },
      json: { type: "string" },
      url: { type: "string" },
      server: { type: "string" },
      "data-parent": { type: "string" },
      s3: { type: "string" },
      bucket: { type: "string", default: "coldbrook-bench" },
    },
  });
  if (values.help) return "help";
  const cases = values.case ?? CASES.filter((name) => values.url === undefined || !name.startsWith("cold"));
  const unknown = cases.find((name) => !CASES.some((known) => known === name));
  if (unknown !== undefined) throw new TypeError(`--case ${unknown}: use one of ${CASES.join(", ")}`);
  return {
    rounds: whole("rounds", values.rounds ?? (values.quick ? "3" : "5")),
    roundMs: whole("round-ms", values["round-ms"] ?? (values.quick ? "1000" : "2000")),
    cases,
    streams: whole("streams", values.streams),
    subscribers: whole("subscribers", values.subscribers),
    streamBytes: 64 * 1024 * 1024,
    readers: 8,
    json: values.json ?? null,
    url: values.url === undefined ? null : new URL(values.url),
    server: values.server ?? null,
    parent: values["data-parent"] ?? null,
    s3: values.s3 ?? null,
    bucket: values.bucket,
  };
}

/** @param {string} name @param {string} text @returns {number} */
export function whole(name, text) {
  if (!/^[1-9]\d{0,8}$/.test(text)) throw new TypeError(`--${name} ${text}: use a whole number from 1`);
  return Number(text);
}
