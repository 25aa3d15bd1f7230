// @ts-check
/**
 * One request at a time: a valid one for some route, with a few of its parts replaced by what parsers stumble over. What
 * may change where a request ends is kept apart from what may not: only behind the latter can requests follow on the same
 * connection whose responses are still known to be theirs.
 */
import { anyBody, controlBody, jsonBody } from "./bodies.js";
import {
  BROKEN_METHODS,
  CHUNKS,
  CONTENT_TYPES,
  COUNTS,
  CURSORS,
  ENCODINGS,
  EXPECTATIONS,
  FLAGS,
  FOREIGN_METHODS,
  HOSTS,
  IDENTIFIERS,
  LIVES,
  METHODS,
  NAMES,
  OFFSETS,
  ROOT,
  SEQUENCES,
  SMUGGLING,
  SOURCES,
  SUBSCRIPTION_ROUTES,
  SUBSCRIPTIONS,
  TAGS,
  TARGETS,
  TIMES,
  TTLS,
} from "./values.js";

/** @typedef {import("./random.js").Random} Random */

/**
 * @typedef {object} Case
 * @property {Buffer} bytes
 * @property {string} method
 * @property {boolean} framed exactly one response answers it, and what follows on the connection is another request
 * @property {boolean} malformed something in it is not as a client should send it
 * @property {boolean} mustRefuse any answer but 4xx is a defect
 */

/**
 * @typedef {object} Draft
 * @property {string} method
 * @property {string} target
 * @property {string} version
 * @property {[name: string, value: string][]} headers
 * @property {string | null} body null when none is sent
 * @property {string | null} chunks the body as it goes over the wire, when chunked
 * @property {string} raw header lines that break the framing
 * @property {boolean} hasHost
 * @property {boolean} framed
 * @property {boolean} malformed
 */

/** Protocol header fields and values for each. @type {readonly [name: string, values: readonly string[]][]} */
const FIELDS = [
  ["Content-Type", CONTENT_TYPES],
  ["Stream-TTL", TTLS],
  ["Stream-Expires-At", TIMES],
  ["Stream-Closed", FLAGS],
  ["Stream-Seq", SEQUENCES],
  ["Stream-Forked-From", SOURCES],
  ["Stream-Fork-Offset", OFFSETS.filter((value) => !value.includes("%"))],
  ["Stream-Fork-Sub-Offset", COUNTS],
  ["Producer-Id", IDENTIFIERS],
  ["Producer-Epoch", COUNTS],
  ["Producer-Seq", COUNTS],
  ["If-None-Match", TAGS],
  ["Accept-Encoding", ENCODINGS],
  [
    "Authorization",
    ["Bearer x", "Bearer ", "bearer a.b.c", "Basic eDp5", "", "Bearer a b", `Bearer ${"x".repeat(5000)}`],
  ],
  ["Cookie", ["a=b", "", "__proto__=1"]],
  ["Content-Encoding", ["gzip", "identity", "br, gzip", "", "IDENTITY"]],
  ["Range", ["bytes=0-1", "bytes=-1", "x"]],
  ["X-Forwarded-Proto", ["https", "http", "javascript", ""]],
  ["X-Forwarded-For", ["1.2.3.4", "\u00ff"]],
  ["Origin", ["http://x", "null"]],
  ["TE", ["trailers", "gzip"]],
  ["Connection", ["keep-alive", "close", "upgrade", "Stream-Closed", ""]],
  ["Expect", EXPECTATIONS],
  ["Host", HOSTS],
];

/** Characters that end a header line or a request in some parser's eyes. */
// oxlint-disable-next-line no-control-regex
const CONTROL = /[\0-\x08\x0a-\x1f\x7f]/;

export class RequestMaker {
  #random;
  /** Offsets that the server gave out, newest last. @type {string[]} */
  offsets = [];

  /** @param {Random} random */
  constructor(random) {
    this.#random = random;
  }

  /** What the server said of itself is used against it. @param {string} offset */
  learn(offset) {
    this.offsets.push(offset);
    if (this.offsets.length > 64) this.offsets.shift();
  }

  /** Any request to any stream or route. @returns {Case} */
  any() {
    const draft = this.#valid(this.#random.pick(NAMES));
    if (this.#random.chance(0.9)) this.#spoil(draft);
    return finish(draft);
  }

  /** A request to the stream `name`, with only those parts spoilt that leave its framing whole. @param {string} name @returns {Case} */
  framed(name) {
    const draft = this.#stream(name);
    for (let parts = this.#random.below(3) + 1; parts > 0; parts--) this.#spoilHeader(draft);
    return finish(draft);
  }

  /** @param {string} name @returns {Draft} */
  #valid(name) {
    const random = this.#random;
    const route = random.weighted({ stream: 12, control: 2, health: 0.3, options: 0.3 });
    if (route === "stream") return this.#stream(name);
    if (route === "control") return this.#control();
    if (route === "health") return draft("GET", "/health");
    return draft("OPTIONS", `${ROOT}/${name}`);
  }

  /** @param {string} name @returns {Draft} */
  #stream(name) {
    const random = this.#random;
    const path = `${ROOT}/${name}`;
    switch (
      random.weighted({
        put: 3,
        fork: 1,
        post: 6,
        produce: 2,
        close: 0.5,
        get: 4,
        poll: 0.5,
        sse: 0.05,
        head: 1.5,
        remove: 1,
      })
    ) {
      case "put":
        return { ...draft("PUT", path), ...this.#content(random.chance(0.4)) };
      case "fork": {
        const fork = draft("PUT", path, [["Stream-Forked-From", `${ROOT}/${random.pick(NAMES)}`]]);
        if (random.chance(0.5)) fork.headers.push(["Stream-Fork-Offset", this.#offset()]);
        return fork;
      }
      case "post":
        return { ...draft("POST", path), ...this.#content(true) };
      case "produce": {
        const post = { ...draft("POST", path), ...this.#content(true) };
        const seq = String(random.below(4));
        post.headers.push(
          ["Producer-Id", random.pick(["p", "q"])],
          ["Producer-Epoch", String(random.below(3))],
          ["Producer-Seq", seq],
        );
        return post;
      }
      case "close":
        return draft("POST", path, [["Stream-Closed", "true"]]);
      case "get":
        return draft("GET", random.chance(0.3) ? path : `${path}?offset=${this.#offset()}`);
      case "poll":
        return draft(
          "GET",
          `${path}?offset=${this.#offset()}&live=long-poll${random.chance(0.5) ? `&cursor=${random.pick(CURSORS)}` : ""}`,
        );
      case "sse":
        return draft("GET", `${path}?offset=${this.#offset()}&live=sse`);
      case "head":
        return draft("HEAD", path);
      case "remove":
        return draft("DELETE", path);
    }
  }

  /** @param {boolean} full @returns {Pick<Draft, "headers" | "body">} */
  #content(full) {
    const random = this.#random;
    const type = random.pick(["application/json", "text/plain", "application/octet-stream"]);
    const body = !full ? "" : type === "application/json" ? jsonBody(random) : anyBody(random);
    return { headers: [["Content-Type", type]], body };
  }

  #offset() {
    const random = this.#random;
    if (this.offsets.length === 0 || random.chance(0.3)) return random.pick(["-1", "-1", "now", random.pick(OFFSETS)]);
    const known = random.pick(this.offsets);
    if (random.chance(0.6)) return known;
    const at = random.below(known.length);
    return known.slice(0, at) + random.pick(["0", "1", "9", "_", "-", "", "%30"]) + known.slice(at + 1);
  }

  /** @returns {Draft} */
  #control() {
    const random = this.#random;
    if (random.chance(0.1)) return draft(random.pick(METHODS), `${ROOT}/__ds/jwks.json`);
    const method = random.pick(["PUT", "PUT", "POST", "POST", "GET", "DELETE", "OPTIONS"]);
    const route = method === "PUT" ? "" : random.pick(SUBSCRIPTION_ROUTES);
    const request = draft(method, `${ROOT}/__ds/subscriptions/${random.pick(SUBSCRIPTIONS)}${route}`);
    if (method === "PUT" || method === "POST") {
      request.headers.push(["Content-Type", "application/json"]);
      request.body = controlBody(random);
    }
    if (random.chance(0.4)) request.headers.push(["Authorization", "Bearer x.y"]);
    return request;
  }

  /** @param {Draft} request */
  #spoil(request) {
    const random = this.#random;
    for (let parts = random.below(3) + 1; parts > 0; parts--) {
      switch (
        random.weighted({
          header: 10,
          target: 3,
          query: 3,
          method: 1.5,
          body: 2,
          chunked: 1,
          smuggle: 0.7,
          line: 0.4,
          many: 0.05,
          host: 0.2,
        })
      ) {
        case "header":
          this.#spoilHeader(request);
          break;
        case "target":
          setTarget(request, random.pick(TARGETS));
          break;
        case "query":
          setTarget(request, `${request.target.split("?", 1)[0]}?${this.#query()}`);
          break;
        case "method":
          this.#spoilMethod(request);
          break;
        case "body":
          request.body = anyBody(random);
          break;
        case "chunked":
          request.chunks = random.chance(0.3) ? chunked(anyBody(random)) : random.pick(CHUNKS);
          request.framed = false;
          break;
        case "smuggle":
          request.raw += `${random.pick(SMUGGLING)}\r\n`;
          request.framed = false;
          break;
        case "line":
          request.version = random.pick([
            "HTTP/1.0",
            "HTTP/2.0",
            "HTTP/0.9",
            "HTTP/1.2",
            "http/1.1",
            "",
            "HTTP/1.1 x",
            "HTTP/1.1\t",
            "ICE/1.0",
            "HTTP/11",
          ]);
          request.framed = false;
          break;
        case "many":
          for (let count = random.pick([90, 101, 300, 1000]); count > 0; count--)
            request.headers.push([`X-${count}`, "y"]);
          break;
        case "host":
          request.hasHost = false;
          break;
      }
    }
    request.malformed = true;
  }

  /** @param {Draft} request */
  #spoilMethod(request) {
    const random = this.#random;
    const kind = random.weighted({ other: 6, foreign: 2, broken: 1 });
    if (kind === "broken") request.framed = false;
    request.method = random.pick(kind === "other" ? METHODS : kind === "foreign" ? FOREIGN_METHODS : BROKEN_METHODS);
  }

  /** @param {Draft} request */
  #spoilHeader(request) {
    const random = this.#random;
    const [name, values] = random.pick(FIELDS);
    let value = random.pick(values);
    if (random.chance(0.05)) value += random.pick([" ", "\t", "\u00a0", ";", ",", "\u0080", '"', "%00"]);
    const spelt = random.chance(0.1) ? name.toUpperCase() : random.chance(0.1) ? name.toLowerCase() : name;
    if (name === "Host" || !random.chance(0.15)) {
      request.headers = request.headers.filter(([given]) => given.toLowerCase() !== name.toLowerCase());
    }
    request.headers.push([spelt, value]);
    request.malformed = true;
  }

  #query() {
    const random = this.#random;
    const pair = () =>
      random.pick([
        () => `offset=${this.#offset()}`,
        () => `live=${random.pick(LIVES)}`,
        () => `cursor=${random.pick(CURSORS)}`,
        () =>
          random.pick([
            "",
            "&",
            "=",
            "offset",
            "live",
            "%",
            "x=y",
            "__proto__=1",
            "%6Fffset=-1",
            "OFFSET=-1",
            "offset[]=-1",
            "limit=0",
          ]),
      ])();
    return Array.from({ length: random.below(4) + 1 }, pair).join("&");
  }
}

/** @param {string} method @param {string} target @param {[string, string][]} [headers] @returns {Draft} */
function draft(method, target, headers = []) {
  return {
    method,
    target,
    version: "HTTP/1.1",
    headers,
    body: null,
    chunks: null,
    raw: "",
    hasHost: true,
    framed: true,
    malformed: false,
  };
}

/** @param {Draft} request @param {string} target */
function setTarget(request, target) {
  request.target = target;
  // oxlint-disable-next-line no-control-regex
  if (!/^[\x21-\x7e]+$/.test(target) || !/^[/*]|^https?:/i.test(target) || target.includes("#")) request.framed = false;
}

/** @param {string} body */
function chunked(body) {
  return body === "" ? "0\r\n\r\n" : `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
}

/** @param {Draft} request @returns {Case} */
function finish(request) {
  const { method, target, version, headers, body, chunks, raw } = request;
  const lines = [`${method} ${target} ${version}`];
  let framed = request.framed;
  let { hasHost } = request;
  for (const [name, value] of headers) {
    if (CONTROL.test(value)) framed = false;
    // The client may end the connection itself, and a refused expectation leaves its body behind.
    if (/^(?:connection|expect)$/i.test(name)) framed = false;
    if (/^host$/i.test(name)) hasHost = false;
    lines.push(`${name}: ${value}`);
  }
  if (hasHost) lines.push("Host: localhost");
  if (raw !== "") lines.push(raw.slice(0, -2));
  else if (chunks !== null) lines.push("Transfer-Encoding: chunked");
  else if (body !== null) lines.push(`Content-Length: ${body.length}`);
  const text = `${lines.join("\r\n")}\r\n\r\n${chunks ?? body ?? ""}`;
  if (text.length - (body?.length ?? 0) > 15_000) framed = false;
  // What comes behind an event stream that does not parse cuts the stream.
  if (target.includes("live=sse")) framed = false;
  return { bytes: Buffer.from(text, "latin1"), method, framed, malformed: request.malformed, mustRefuse: false };
}

/** A request as it stands. @param {string} text latin1 @param {Partial<Case>} [facts] @returns {Case} */
export function plain(text, facts = {}) {
  const method = text.slice(0, text.indexOf(" "));
  return { bytes: Buffer.from(text, "latin1"), method, framed: true, malformed: false, mustRefuse: false, ...facts };
}

/**
 * @param {string} method @param {string} target @param {Readonly<Record<string, string>>} [headers] @param {string} [body]
 * @returns {string} latin1
 */
export function requestText(method, target, headers = {}, body) {
  const lines = [
    `${method} ${target} HTTP/1.1`,
    "Host: localhost",
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
  ];
  if (body !== undefined) lines.push(`Content-Length: ${body.length}`);
  return `${lines.join("\r\n")}\r\n\r\n${body ?? ""}`;
}
