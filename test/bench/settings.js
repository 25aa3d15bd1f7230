// @ts-check
/** The command line of `pnpm bench`. */
import { parseArgs } from "node:util";

/** In the order in which they run. */
export const CASES = /** @type {const} */ ([
  "appends",
  "json",
  "round-trip",
  "hot",
  "cold",
  "fan-out",
  "roll",
  "start",
  "memory",
]);
/** What a server that is running already can be asked; the others need a process and a directory of their own. */
export const URL_CASES = /** @type {const} */ (["appends", "json", "round-trip", "hot", "fan-out"]);

/**
 * @typedef {object} Settings
 * @property {number} rounds
 * @property {number} roundMs
 * @property {readonly string[]} cases
 * @property {readonly number[]} connections of the append cases, ascending
 * @property {number} streams size of the largest set of streams
 * @property {number} startStreams streams of the start case
 * @property {number} minutes of the memory case
 * @property {number} setupMs how long a server may take to create one set of streams
 * @property {number} subscribers
 * @property {number} streamBytes of the streams that catch-up cases read
 * @property {number} readers connections of catch-up cases
 * @property {boolean} peers run the peers that are installed
 * @property {Readonly<Record<string, string>>} peerPaths file or package of a peer, by its name
 * @property {string | null} json file for the machine-readable result
 * @property {string | null} svg file for the chart
 * @property {URL | null} url stream root of a running server; null: start our own
 * @property {string} environment what the result calls the machine or deployment
 * @property {string | null} server file of the command to start instead of this repository's
 * @property {string | null} parent directory for the data directories
 * @property {string | null} s3 endpoint; null: a MinIO of our own when there is a binary, else the directory store
 * @property {string} bucket
 */

export const USAGE = `pnpm bench [options]
  --peers              the peers as well, where they are installed (README.md says how)
  --peer NAME=PATH     where a peer is, e.g. electric=/opt/bin/durable-streams-server; may be repeated; means --peers
  --quick              3 rounds of 0.5 s instead of 5 of 2 s, and the long cases scaled down: a look, not a result
  --case NAME          ${CASES.join(", ")}; may be repeated; all that apply by default
  --rounds N           rounds (medians of them are shown)
  --round-ms MS        length of one measured window
  --connections LIST   of the append cases (1,4,16,64,256)
  --streams N          size of the large set of streams (100000)
  --start-streams N    streams of the start case (1000000; --quick 100000)
  --minutes N          of the memory case (10; --quick 1)
  --subscribers N      SSE subscribers (1000)
  --json FILE          the result, machine-readable
  --svg FILE           a chart of throughput over connections
  --url URL            stream root of a running server, e.g. https://example.org/v1/stream (${URL_CASES.join(", ")})
  --environment NAME   what the result calls the place where it was measured
  --server FILE        start this command instead of packages/server/bin/coldbrook.js
  --data-parent DIR    where the data directories are made and removed (the system's temporary directory)
  --s3 ENDPOINT        cold case on this S3 endpoint instead of a MinIO that the run starts; keys from
                       AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY
  --bucket NAME        bucket there, made when missing (coldbrook-bench)`;

/** Throws a TypeError that names the option when one is wrong. @param {string[]} argv @returns {Settings | "help"} */
export function parseSettings(argv) {
  const { values } = parseArgs({
    args: argv.filter((argument) => argument !== "--"),
    options: {
      help: { type: "boolean", default: false },
      peers: { type: "boolean", default: false },
      peer: { type: "string", multiple: true, default: [] },
      quick: { type: "boolean", default: false },
      case: { type: "string", multiple: true },
      rounds: { type: "string" },
      "round-ms": { type: "string" },
      connections: { type: "string", default: "1,4,16,64,256" },
      streams: { type: "string", default: "100000" },
      "start-streams": { type: "string" },
      minutes: { type: "string" },
      subscribers: { type: "string", default: "1000" },
      json: { type: "string" },
      svg: { type: "string" },
      url: { type: "string" },
      environment: { type: "string", default: "unknown" },
      server: { type: "string" },
      "data-parent": { type: "string" },
      s3: { type: "string" },
      bucket: { type: "string", default: "coldbrook-bench" },
    },
  });
  if (values.help) return "help";
  const { quick } = values;
  /** @type {readonly string[]} */
  const possible = values.url === undefined ? CASES : URL_CASES;
  const cases = values.case ?? possible;
  const unknown = cases.find((name) => !possible.includes(name));
  if (unknown !== undefined) throw new TypeError(`--case ${unknown}: use one of ${possible.join(", ")}`);
  const connections = values.connections.split(",").map((text) => whole("connections", text));
  return {
    rounds: whole("rounds", values.rounds ?? (quick ? "3" : "5")),
    roundMs: whole("round-ms", values["round-ms"] ?? (quick ? "500" : "2000")),
    cases,
    connections: [...new Set(connections)].sort((left, right) => left - right),
    streams: whole("streams", values.streams),
    startStreams: whole("start-streams", values["start-streams"] ?? (quick ? "100000" : "1000000")),
    minutes: whole("minutes", values.minutes ?? (quick ? "1" : "10")),
    setupMs: quick ? 15_000 : 90_000,
    subscribers: whole("subscribers", values.subscribers),
    streamBytes: (quick ? 16 : 64) * 1024 * 1024,
    readers: 8,
    peers: values.peers || values.peer.length > 0,
    peerPaths: peerPaths(values.peer),
    json: values.json ?? null,
    svg: values.svg ?? null,
    url: values.url === undefined ? null : streamRoot(values.url),
    environment: values.environment,
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

/** The stream root of a server; a bare origin stands for the root that most servers use. @param {string} text @returns {URL} */
export function streamRoot(text) {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:")) {
    throw new TypeError(`--url ${text}: use an http or https URL`);
  }
  return url.pathname === "/" ? new URL("/v1/stream", url) : url;
}

/** @param {readonly string[]} pairs @returns {Record<string, string>} */
function peerPaths(pairs) {
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf("=");
      if (at < 1 || at === pair.length - 1) throw new TypeError(`--peer ${pair}: use NAME=PATH`);
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}
