// @ts-check
/** Sessions for two servers: a few streams, and valid and nearly valid requests to them. Offsets are named by when they were first seen. */
import { anyBody, jsonBody } from "./bodies.js";
import { CONTENT_TYPES, COUNTS, FLAGS, IDENTIFIERS, OFFSETS, SEQUENCES, TIMES, TTLS } from "./values.js";

/** @typedef {import("./random.js").Random} Random */

/**
 * An offset as text, or the one that a server gave out for a stream: the `nth` different one of its present life, or of the
 * life before its last create.
 * @typedef {string | {stream: number, nth: number, past: boolean}} OffsetName
 */

/**
 * @typedef {object} Operation
 * @property {"PUT" | "POST" | "GET" | "HEAD" | "DELETE"} method
 * @property {number} stream
 * @property {Record<string, string>} headers
 * @property {string | null} body latin1
 * @property {OffsetName} [offset] of a GET
 * @property {string} [live] of a GET
 * @property {string} [query] added to that
 * @property {number} [source] stream to fork
 * @property {OffsetName} [forkOffset]
 * @property {boolean} [known] If-None-Match names the entity tag seen last
 */

const STREAMS = 3;
const OPERATIONS_MAX = 9;
/** What Node's client sends. */
// oxlint-disable-next-line no-control-regex
const SENDABLE = /^[\t\x20-\x7e\x80-\xff]*$/;

/** Without those that end during a session, sooner on one server than on the other. */
const TTLS_TO_KEEP = TTLS.filter((text) => !/^[1-9]$/.test(text.trim()));

/** @param {Random} random @returns {Operation[]} */
export function anySession(random) {
  const type = random.pick(["text/plain", "application/json", "application/octet-stream", "application/json"]);
  /** @type {Operation[]} */
  const operations = [create(random, 0, type)];
  for (let left = random.below(OPERATIONS_MAX) + 1; left > 0; left--) operations.push(operation(random, type));
  return operations;
}

/** @param {Random} random @param {readonly string[]} values */
function odd(random, values) {
  const value = random.pick(values);
  return SENDABLE.test(value) && value.length < 2000 ? value : "?";
}

/** @param {Random} random @param {number} stream @param {string} type @returns {Operation} */
function create(random, stream, type) {
  /** @type {Record<string, string>} */
  const headers = {};
  if (!random.chance(0.1)) headers["Content-Type"] = random.chance(0.05) ? odd(random, CONTENT_TYPES) : type;
  if (random.chance(0.1)) headers["Stream-TTL"] = random.chance(0.5) ? "3600" : odd(random, TTLS_TO_KEEP);
  if (random.chance(0.07))
    headers["Stream-Expires-At"] = random.chance(0.5) ? "2090-01-01T00:00:00.000Z" : odd(random, TIMES);
  if (random.chance(0.08)) headers["Stream-Closed"] = random.chance(0.7) ? "true" : odd(random, FLAGS);
  return { method: "PUT", stream, headers, body: random.chance(0.4) ? content(random, type) : null };
}

/** @param {Random} random @param {string} type */
function content(random, type) {
  return type === "application/json" ? jsonBody(random) : anyBody(random);
}

/** @param {Random} random @param {string} type @returns {Operation} */
function operation(random, type) {
  const stream = random.below(STREAMS) < 2 ? 0 : random.below(STREAMS);
  switch (
    random.weighted({
      create: 2,
      append: 8,
      produce: 4,
      close: 1,
      read: 6,
      tail: 2,
      sse: 1,
      head: 2,
      remove: 1,
      fork: 2,
    })
  ) {
    case "create":
      return create(random, stream, type);
    case "append":
      return append(random, stream, type);
    case "produce": {
      const post = append(random, stream, type);
      const count = () => (random.chance(0.05) ? odd(random, COUNTS) : String(random.below(3)));
      post.headers["Producer-Id"] = random.chance(0.05) ? odd(random, IDENTIFIERS) : "p";
      if (!random.chance(0.03)) post.headers["Producer-Epoch"] = count();
      if (!random.chance(0.03)) post.headers["Producer-Seq"] = count();
      return post;
    }
    case "close":
      return { method: "POST", stream, headers: { "Stream-Closed": "true" }, body: null };
    case "read":
      return { ...read(random, stream), known: random.chance(0.2) };
    case "tail":
      return { ...read(random, stream), live: random.chance(0.9) ? "long-poll" : odd(random, ["", "SSE", "longpoll"]) };
    case "sse":
      return { ...read(random, stream), live: "sse" };
    case "head":
      return { method: "HEAD", stream, headers: {}, body: null };
    case "remove":
      return { method: "DELETE", stream, headers: {}, body: null };
    case "fork":
      return fork(random, type);
  }
}

/** @param {Random} random @param {number} stream @param {string} type @returns {Operation} */
function append(random, stream, type) {
  /** @type {Record<string, string>} */
  const headers = {};
  if (!random.chance(0.03)) headers["Content-Type"] = random.chance(0.05) ? odd(random, CONTENT_TYPES) : type;
  if (random.chance(0.12))
    headers["Stream-Seq"] = random.chance(0.8) ? random.pick(["a", "b", "c"]) : odd(random, SEQUENCES);
  if (random.chance(0.08)) headers["Stream-Closed"] = random.chance(0.7) ? "true" : odd(random, FLAGS);
  return { method: "POST", stream, headers, body: content(random, type) };
}

/** @param {Random} random @param {number} stream @returns {OffsetName} */
function offsetName(random, stream) {
  if (random.chance(0.25)) return random.pick(["-1", "now"]);
  if (random.chance(0.08)) return odd(random, OFFSETS);
  return {
    stream: random.chance(0.05) ? random.below(STREAMS) : stream,
    nth: random.below(4),
    past: random.chance(0.1),
  };
}

/** @param {Random} random @param {number} stream @returns {Operation} */
function read(random, stream) {
  /** @type {Operation} */
  const get = { method: "GET", stream, headers: {}, body: null };
  if (!random.chance(0.1)) get.offset = offsetName(random, stream);
  if (random.chance(0.04))
    get.query = random.pick(["offset=-1", "offset", "x=y", "cursor=abc", "cursor=5", "live=", "&&"]);
  return get;
}

/** @param {Random} random @param {string} type @returns {Operation} */
function fork(random, type) {
  const stream = 1 + random.below(STREAMS - 1);
  const source = random.chance(0.8) ? 0 : random.below(STREAMS);
  /** @type {Operation} */
  const put = { method: "PUT", stream, headers: {}, body: random.chance(0.1) ? content(random, type) : null, source };
  if (random.chance(0.6)) put.forkOffset = offsetName(random, source);
  if (random.chance(0.25))
    put.headers["Stream-Fork-Sub-Offset"] = random.chance(0.8) ? String(random.below(4)) : odd(random, COUNTS);
  if (random.chance(0.3)) put.headers["Content-Type"] = random.chance(0.9) ? type : odd(random, CONTENT_TYPES);
  if (random.chance(0.1)) put.headers["Stream-TTL"] = "3600";
  if (random.chance(0.05)) put.headers["Stream-Closed"] = "true";
  return put;
}
