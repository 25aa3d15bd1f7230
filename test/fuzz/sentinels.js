// @ts-check
/**
 * Streams that every request of the run leaves as they are: they are only ever sent what must be refused. One name is never
 * created at all, however many creates for it are refused.
 */
import { brokenJson } from "./bodies.js";
import { Connection } from "./connection.js";
import { plain, requestText } from "./requests.js";
import { BadResponse } from "./responses.js";
import { ROOT } from "./values.js";

/** @typedef {import("./random.js").Random} Random */
/** @typedef {import("./requests.js").Case} Case */

const OPEN = `${ROOT}/sentinel-open-3f9c`;
const CLOSED = `${ROOT}/sentinel-closed-3f9c`;
const JSON_STREAM = `${ROOT}/sentinel-json-3f9c`;
const NEVER = `${ROOT}/sentinel-never-3f9c`;
const TEXT = { "Content-Type": "text/plain" };
const JSON_TYPE = { "Content-Type": "application/json" };
const PRODUCER = { "Producer-Id": "p", "Producer-Epoch": "5", "Producer-Seq": "0" };

const SETUP = [
  requestText("PUT", OPEN, TEXT, "first "),
  requestText("POST", OPEN, { ...TEXT, ...PRODUCER }, "produced "),
  requestText("POST", OPEN, { ...TEXT, "Stream-Seq": "m" }, "sequenced"),
  requestText("PUT", CLOSED, { "Content-Type": "application/octet-stream", "Stream-Closed": "true" }, "sealed"),
  requestText("PUT", JSON_STREAM, JSON_TYPE, '[{"n":9007199254740993},2]'),
];
const LOOKS = [OPEN, CLOSED, JSON_STREAM, NEVER].flatMap((path) => [
  requestText("HEAD", path),
  requestText("GET", `${path}?offset=-1`),
]);

/** @param {{host: string, port: number}} address */
export async function createSentinels(address) {
  const statuses = (await ask(address, SETUP)).map(({ status }) => status).join(" ");
  if (statuses !== "201 200 204 201 201") throw new BadResponse(`the sentinels were answered ${statuses}`);
}

/** Status, headers and bytes of every sentinel. @param {{host: string, port: number}} address */
export async function lookAtSentinels(address) {
  const responses = await ask(address, LOOKS);
  return responses.map(({ status, headers, body }) => {
    const shown = [...headers].filter(([name]) => name !== "date" && name !== "keep-alive");
    return `${status} ${JSON.stringify(shown)} ${body.toString("latin1")}`;
  });
}

/** @param {{host: string, port: number}} address @param {readonly string[]} texts */
async function ask(address, texts) {
  const connection = new Connection(address);
  try {
    const { responses } = await connection.send(texts.map((text) => plain(text)));
    if (responses.length !== texts.length) throw new BadResponse("the sentinels' connection broke");
    return responses;
  } finally {
    connection.destroy();
  }
}

const NOT_COUNTS = ["-1", "+1", "1.0", "1e3", "", "x", "9007199254740992", "9".repeat(400), "1,1", "0x1", "\u00b2"];
const NOT_TTLS = ["-1", "+1", "01", "1.0", "1e3", "", "x", "3155760001", "9".repeat(300), "1 1"];
const NOT_TIMES = ["", "x", "2030-01-01", "2030-02-30T00:00:00Z", "2030-01-01T00:00:00", "1893456000"];
const NOT_OFFSETS = ["-2", "", "0", "x", "9999999999999999_9999999999999999", "0000000000000001_00", "%00", "%FF"];

/** @type {readonly ((random: Random) => string)[]} */
const REFUSED = [
  () => requestText("POST", CLOSED, { "Content-Type": "application/octet-stream" }, "more"),
  () => requestText("POST", OPEN, JSON_TYPE, '"x"'),
  () => requestText("POST", OPEN, {}, "no type"),
  () => requestText("POST", OPEN, TEXT, ""),
  () => requestText("POST", OPEN, TEXT),
  () => requestText("POST", OPEN, { ...TEXT, "Content-Encoding": "gzip" }, "x"),
  () => requestText("POST", OPEN, { ...TEXT, "Producer-Id": "p", "Producer-Epoch": "4", "Producer-Seq": "9" }, "stale"),
  () => requestText("POST", OPEN, { ...TEXT, "Producer-Id": "p", "Producer-Epoch": "5", "Producer-Seq": "2" }, "gap"),
  () => requestText("POST", OPEN, { ...TEXT, "Producer-Id": "p", "Producer-Epoch": "6", "Producer-Seq": "1" }, "late"),
  () =>
    requestText(
      "POST",
      OPEN,
      { ...TEXT, "Producer-Id": "__proto__", "Producer-Epoch": "0", "Producer-Seq": "1" },
      "new",
    ),
  () => requestText("POST", OPEN, { ...TEXT, "Producer-Id": "p" }, "alone"),
  () => requestText("POST", OPEN, { ...TEXT, "Producer-Epoch": "5", "Producer-Seq": "1" }, "nobody"),
  (random) => requestText("POST", OPEN, { ...TEXT, ...PRODUCER, "Producer-Seq": random.pick(NOT_COUNTS) }, "x"),
  (random) => requestText("POST", OPEN, { ...TEXT, ...PRODUCER, "Producer-Epoch": random.pick(NOT_COUNTS) }, "x"),
  () => requestText("POST", OPEN, { ...TEXT, ...PRODUCER, "Producer-Id": "x".repeat(257), "Producer-Seq": "1" }, "x"),
  (random) =>
    requestText("POST", OPEN, { ...TEXT, "Stream-Seq": random.pick(["m", "a", "", "M", "x".repeat(257)]) }, "x"),
  () => requestText("POST", OPEN, { "Content-Type": "no type at all", "Stream-Seq": "z" }, "x"),
  (random) => requestText("POST", JSON_STREAM, JSON_TYPE, brokenJson(random)),
  () => requestText("POST", JSON_STREAM, JSON_TYPE, "[]"),
  () => requestText("POST", JSON_STREAM, { ...JSON_TYPE, "Stream-Closed": "true" }, "{"),
  (random) => requestText("PUT", OPEN, { ...TEXT, "Stream-TTL": random.pick(["60", ...NOT_TTLS]) }),
  () => requestText("PUT", OPEN, JSON_TYPE),
  () => requestText("PUT", OPEN, { ...TEXT, "Stream-Closed": "true" }),
  () => requestText("PUT", CLOSED, { "Content-Type": "application/octet-stream" }, "more"),
  () => requestText("PUT", JSON_STREAM, { ...JSON_TYPE, "Stream-Expires-At": "2030-01-01T00:00:00Z" }),
  (random) => requestText("PUT", NEVER, JSON_TYPE, `{{${brokenJson(random)}`),
  (random) => requestText("PUT", NEVER, { ...TEXT, "Stream-TTL": random.pick(NOT_TTLS) }, "x"),
  (random) => requestText("PUT", NEVER, { ...TEXT, "Stream-Expires-At": random.pick(NOT_TIMES) }, "x"),
  () => requestText("PUT", NEVER, { ...TEXT, "Stream-TTL": "60", "Stream-Expires-At": "2030-01-01T00:00:00Z" }, "x"),
  () => requestText("PUT", NEVER, { "Content-Type": "no type" }, "x"),
  () => requestText("PUT", NEVER, { "Stream-Forked-From": `${ROOT}/sentinel-none-3f9c` }),
  () => requestText("PUT", NEVER, { ...JSON_TYPE, "Stream-Forked-From": OPEN }),
  (random) =>
    requestText("PUT", NEVER, {
      "Stream-Forked-From": OPEN,
      "Stream-Fork-Offset": random.pick(["-2", "x", "now", "9999999999999999_9999999999999999"]),
    }),
  (random) =>
    requestText("PUT", NEVER, {
      "Stream-Forked-From": OPEN,
      "Stream-Fork-Sub-Offset": random.pick(["-1", "x", "1.5", "999999"]),
    }),
  () => requestText("POST", NEVER, TEXT, "x"),
  () => requestText("DELETE", NEVER),
  (random) => requestText("GET", `${OPEN}?offset=${random.pick(NOT_OFFSETS)}`),
  (random) => requestText("GET", `${OPEN}?offset=-1&live=${random.pick(["", "x", "SSE", "long-poll%20"])}`),
  (random) => requestText("GET", `${OPEN}?live=${random.pick(["sse", "long-poll"])}`),
  () => requestText("GET", `${OPEN}?offset=-1&offset=-1`),
  (random) => requestText(random.pick(["PATCH", "TRACE", "PURGE", "PROPFIND"]), OPEN),
  () => requestText("PUT", `${ROOT}/__ds/sentinel`, TEXT, "x"),
];

/** A request that must be answered 4xx. @param {Random} random @returns {Case} */
export function refusedRequest(random) {
  return plain(random.pick(REFUSED)(random), { malformed: true, mustRefuse: true });
}
