// @ts-check
/** Reads the responses of one connection strictly, and judges each: what a server may never send, whatever it was sent. */

const HEAD_BYTES_MAX = 64 * 1024;
const HEAD_END = Buffer.from("\r\n\r\n");
const LINE_END = Buffer.from("\r\n");

/** All that the server has names for: a line that a request smuggled into a response is none of these. */
const KNOWN_HEADERS = new Set(
  (
    "content-type content-length content-encoding content-location transfer-encoding connection keep-alive date allow vary " +
    "location etag cache-control cache-tag surrogate-key retry-after stream-next-offset stream-cursor stream-up-to-date " +
    "stream-closed stream-ttl stream-expires-at stream-sse-data-encoding producer-epoch producer-seq producer-expected-seq " +
    "producer-received-seq x-content-type-options cross-origin-resource-policy access-control-allow-origin " +
    "access-control-expose-headers access-control-allow-methods access-control-allow-headers access-control-max-age x-accel-buffering"
  ).split(" "),
);
const STATUS_LINE = /^HTTP\/1\.1 ([1-5][0-9][0-9]) [A-Za-z -]+$/;
const HEADER_LINE = /^([A-Za-z-]+): ([\t\x20-\x7e]*)$/;

/**
 * @typedef {object} Response
 * @property {number} status
 * @property {Map<string, string>} headers by lower-case name
 * @property {Buffer} body without its framing
 * @property {string} code a problem's code; "" when there is none
 * @property {boolean} closes the server said that it ends the connection
 */

/** A response that must not be. */
export class BadResponse extends Error {
  /** @override */
  name = "BadResponse";
}

export class ResponseReader {
  /** @type {Buffer} */
  #bytes = Buffer.alloc(0);

  /** Bytes that belong to no whole response yet. */
  get rest() {
    return this.#bytes;
  }

  /** @param {Buffer} part */
  push(part) {
    this.#bytes = this.#bytes.length === 0 ? part : Buffer.concat([this.#bytes, part]);
  }

  /**
   * The next whole response, or null. `isHead`: it answers HEAD and has no body; null: nobody knows what it answers, and
   * what looks like the next response behind its head is one. `ended`: no more bytes come.
   * @param {boolean | null} isHead @param {boolean} ended
   * @returns {Response | null}
   * @throws {BadResponse}
   */
  next(isHead, ended) {
    for (;;) {
      const head = this.#head();
      if (head === null) return null;
      const { status, headers, length } = head;
      if (status < 200) {
        if (status !== 100) throw new BadResponse(`an interim response ${status}`);
        this.#bytes = this.#bytes.subarray(length);
        continue;
      }
      const found = this.#body(head, isHead, ended);
      if (found === null) return null;
      this.#bytes = this.#bytes.subarray(found.end);
      return judged({ status, headers, body: found.body, code: "", closes: headers.get("connection") === "close" });
    }
  }

  /** @returns {{status: number, headers: Map<string, string>, length: number} | null} */
  #head() {
    const end = this.#bytes.indexOf(HEAD_END);
    if (end < 0) {
      if (this.#bytes.length > HEAD_BYTES_MAX) throw new BadResponse("a response head of more than 64 KiB");
      return null;
    }
    const [first, ...lines] = this.#bytes.toString("latin1", 0, end).split("\r\n");
    const status = STATUS_LINE.exec(first ?? "")?.[1];
    if (status === undefined) throw new BadResponse(`no status line: ${JSON.stringify(first)}`);
    /** @type {Map<string, string>} */
    const headers = new Map();
    for (const line of lines) {
      const [, name, value] = HEADER_LINE.exec(line) ?? [];
      if (name === undefined || value === undefined) throw new BadResponse(`a header line ${JSON.stringify(line)}`);
      const known = name.toLowerCase();
      if (!KNOWN_HEADERS.has(known))
        throw new BadResponse(`a header that the server has no name for: ${JSON.stringify(line)}`);
      if (headers.has(known)) throw new BadResponse(`a header twice: ${JSON.stringify(line)}`);
      headers.set(known, value);
    }
    return { status: Number(status), headers, length: end + HEAD_END.length };
  }

  /**
   * @param {{status: number, headers: Map<string, string>, length: number}} head
   * @param {boolean | null} isHead @param {boolean} ended
   * @returns {{body: Buffer, end: number} | null}
   */
  #body({ status, headers, length: at }, isHead, ended) {
    const none = { body: Buffer.alloc(0), end: at };
    if (isHead === true || status === 204 || status === 304) return none;
    const rest = this.#bytes.subarray(at);
    const declared = headers.get("content-length");
    const chunked = headers.get("transfer-encoding");
    if (isHead === null && (rest.length === 0 ? ended : rest.toString("latin1", 0, 9) === "HTTP/1.1 ")) return none;
    if (chunked !== undefined) {
      if (chunked !== "chunked" || declared !== undefined)
        throw new BadResponse(`${status}: a body framed twice or strangely`);
      return this.#chunks(at);
    }
    if (declared === undefined) {
      if (isHead === null && rest.length === 0) return null;
      if (headers.get("connection") !== "close") throw new BadResponse(`${status}: a response without an end`);
      return ended ? { body: rest, end: this.#bytes.length } : null;
    }
    if (!/^[0-9]{1,12}$/.test(declared)) throw new BadResponse(`Content-Length: ${declared}`);
    const length = Number(declared);
    return rest.length < length ? null : { body: rest.subarray(0, length), end: at + length };
  }

  /** @param {number} from @returns {{body: Buffer, end: number} | null} */
  #chunks(from) {
    /** @type {Buffer[]} */
    const parts = [];
    let at = from;
    for (;;) {
      const lineEnd = this.#bytes.indexOf(LINE_END, at);
      if (lineEnd < 0) return null;
      const size = this.#bytes.toString("latin1", at, lineEnd);
      if (!/^[0-9a-f]{1,8}$/i.test(size)) throw new BadResponse(`a chunk of size ${JSON.stringify(size)}`);
      const length = Number.parseInt(size, 16);
      const start = lineEnd + 2;
      if (this.#bytes.length < start + length + 2) return null;
      if (this.#bytes.toString("latin1", start + length, start + length + 2) !== "\r\n")
        throw new BadResponse("a chunk without its end");
      if (length === 0) return { body: Buffer.concat(parts), end: start + 2 };
      parts.push(this.#bytes.subarray(start, start + length));
      at = start + length + 2;
    }
  }
}

/** 503 and 507 say when to come back; 501 is what RFC 9112 section 6.1 asks for. @param {Response} response */
function isDocumented5xx({ status, headers, body, code }) {
  if (status === 501) return code === "transfer-encoding" || body.length === 0;
  return (status === 503 || status === 507) && /^[1-9][0-9]{0,3}$/.test(headers.get("retry-after") ?? "");
}

/** @param {Response} response @returns {Response} */
function judged(response) {
  const { status, headers, body } = response;
  const type = headers.get("content-type") ?? "";
  if (status >= 400 && body.length > 0) response.code = problemCode(response, type);
  if (status >= 500 && !isDocumented5xx(response))
    throw new BadResponse(`${status} ${response.code}: ${body.toString("utf8").slice(0, 500)}`);
  if (status === 204 && headers.has("content-length")) throw new BadResponse("204 with a Content-Length");
  if (status === 405 && !headers.has("allow")) throw new BadResponse("405 without Allow");
  const isWhole = status === 200 && body.length > 0 && !headers.has("content-encoding");
  if (isWhole && /^application\/(?:jwk-set\+)?json *(?:;|$)/i.test(type)) {
    try {
      JSON.parse(body.toString("utf8"));
    } catch (error) {
      throw new BadResponse(`a JSON body that is none: ${body.toString("utf8").slice(0, 200)}`, { cause: error });
    }
  }
  for (const name of ["stream-next-offset"]) {
    const offset = headers.get(name);
    if (offset !== undefined && !/^[0-9]{16}_[0-9]{16}$/.test(offset)) throw new BadResponse(`${name}: ${offset}`);
  }
  return response;
}

/** @param {Response} response @param {string} type */
function problemCode({ status, body }, type) {
  if (!/^application\/(?:problem\+)?json$/.test(type)) throw new BadResponse(`${status} with a body of ${type}`);
  /** @type {unknown} */
  let problem;
  try {
    problem = JSON.parse(body.toString("utf8"));
  } catch (error) {
    throw new BadResponse(`${status} with a problem that is no JSON`, { cause: error });
  }
  const {
    code,
    error,
    status: said,
  } = /** @type {{code?: unknown, error?: {code?: unknown}, status?: unknown}} */ (problem);
  if (error === undefined && said !== status) throw new BadResponse(`${status} with a problem of status ${said}`);
  const found = error === undefined ? code : error.code;
  if (typeof found !== "string" || !/^[A-Za-z_-]+$/.test(found))
    throw new BadResponse(`${status} with a problem without a code`);
  return found;
}
