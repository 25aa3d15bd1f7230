// @ts-check
/**
 * Reads HTTP/1.1 responses of one connection as cheaply as a load generator can afford: status, length, end.
 * Bodies are counted, not kept. Understands Content-Length, chunked bodies and responses without a body; a response
 * that lasts until the connection closes is an error.
 */

const HEAD_BYTES_MAX = 64 * 1024;
const HEAD_END = Buffer.from("\r\n\r\n");
const LINE_END = Buffer.from("\r\n");
const CR = 13;
const LF = 10;

/** @typedef {"head" | "body" | "chunk-size" | "chunk" | "trailer"} ParserState */

export class ResponseParser {
  /** Status of the response that is being read or was read last. */
  status = 0;
  /** Head of that response as it came; empty when it had no body. */
  head = "";
  /** Body bytes of that response, without chunked framing. */
  bodyBytes = 0;
  /** Body bytes of all responses so far, those of an unfinished one included. */
  received = 0;
  /** @type {ParserState} */
  #state = "head";
  /** Bytes of the present body or chunk that are still to come. */
  #missing = 0;
  /** @type {Buffer | null} */
  #carry = null;
  #onResponse;
  #single;

  /**
   * @param {() => void} onResponse called at the end of each response; fields describe it until the next one begins
   * @param {boolean} single at most one request is outstanding, so that a 204 that ends a read needs no search
   */
  constructor(onResponse, single) {
    this.#onResponse = onResponse;
    this.#single = single;
  }

  /** Whether a response has begun that has not ended. */
  get partial() {
    return this.#state !== "head" || this.#carry !== null;
  }

  /**
   * Takes the first `length` bytes of `buffer`; keeps no reference to it.
   * @param {Buffer} buffer
   * @param {number} length
   */
  push(buffer, length) {
    if (this.#single && this.#state === "head" && this.#carry === null && isWhole204(buffer, length)) {
      this.status = 204;
      this.#finish();
      return;
    }
    let source = buffer;
    let end = length;
    if (this.#carry !== null) {
      source = Buffer.concat([this.#carry, buffer.subarray(0, length)]);
      end = source.length;
      this.#carry = null;
    }
    let at = 0;
    while (at < end) {
      const next = this.#step(source, at, end);
      if (next < 0) {
        if (end - at > HEAD_BYTES_MAX) throw new Error("a response head of more than 64 KiB");
        this.#carry = Buffer.from(source.subarray(at, end));
        return;
      }
      at = next;
    }
  }

  /**
   * @param {Buffer} source @param {number} at @param {number} end
   * @returns {number} where to go on, or -1 when a line is not whole yet
   */
  #step(source, at, end) {
    switch (this.#state) {
      case "head":
        return this.#readHead(source, at, end);
      case "body":
      case "chunk": {
        const taken = Math.min(this.#missing, end - at);
        this.#missing -= taken;
        this.received += taken;
        if (this.#missing === 0) {
          if (this.#state === "body") {
            this.#finish();
          } else {
            this.received -= LINE_END.length;
            this.#state = "chunk-size";
          }
        }
        return at + taken;
      }
      case "chunk-size":
      case "trailer":
        return this.#readLine(source, at, end);
    }
  }

  /** @param {Buffer} source @param {number} at @param {number} end @returns {number} */
  #readHead(source, at, end) {
    const headEnd = source.indexOf(HEAD_END, at);
    if (headEnd < 0 || headEnd + 4 > end) return -1;
    this.status = statusAt(source, at);
    this.bodyBytes = 0;
    this.head = "";
    if (this.status < 200) return headEnd + 4;
    if (this.status === 204 || this.status === 304) {
      this.#finish();
      return headEnd + 4;
    }
    this.head = source.toString("latin1", at, headEnd + 2);
    const length = headerOf(this.head, "content-length");
    if (length !== null) {
      this.bodyBytes = Number(length);
      this.#missing = this.bodyBytes;
      if (this.#missing === 0) this.#finish();
      else this.#state = "body";
    } else if (headerOf(this.head, "transfer-encoding") === "chunked") {
      this.#state = "chunk-size";
    } else {
      throw new Error(`a response (status ${this.status}) without a length`);
    }
    return headEnd + 4;
  }

  /** @param {Buffer} source @param {number} at @param {number} end @returns {number} */
  #readLine(source, at, end) {
    const lineEnd = source.indexOf(LINE_END, at);
    if (lineEnd < 0 || lineEnd + 2 > end) return -1;
    if (this.#state === "trailer") {
      if (lineEnd === at) this.#finish();
      return lineEnd + 2;
    }
    const bytes = Number.parseInt(source.toString("latin1", at, lineEnd), 16);
    if (Number.isNaN(bytes)) throw new Error("a chunk without a size");
    if (bytes === 0) {
      this.#state = "trailer";
    } else {
      this.bodyBytes += bytes;
      this.#missing = bytes + LINE_END.length;
      this.#state = "chunk";
    }
    return lineEnd + 2;
  }

  #finish() {
    this.#state = "head";
    this.#onResponse();
  }
}

/**
 * Value of a header in a response head; the name in lower case. Null when absent.
 * @param {string} head @param {string} name
 * @returns {string | null}
 */
export function headerOf(head, name) {
  const at = head.toLowerCase().indexOf(`\r\n${name}:`);
  if (at < 0) return null;
  const from = at + name.length + 3;
  return head.slice(from, head.indexOf("\r\n", from)).trim();
}

/** @param {Buffer} buffer @param {number} at @returns {number} */
function statusAt(buffer, at) {
  const status = digit(buffer, at + 9) * 100 + digit(buffer, at + 10) * 10 + digit(buffer, at + 11);
  if (!(status >= 100 && status <= 599)) throw new Error("a response that is not HTTP/1.1");
  return status;
}

/** @param {Buffer} buffer @param {number} at @returns {number} */
function digit(buffer, at) {
  return (buffer[at] ?? 0) - 48;
}

/** @param {Buffer} buffer @param {number} length @returns {boolean} */
function isWhole204(buffer, length) {
  return (
    length > 16 &&
    buffer[length - 1] === LF &&
    buffer[length - 2] === CR &&
    buffer[length - 3] === LF &&
    buffer[length - 4] === CR &&
    buffer[9] === 50 &&
    buffer[10] === 48 &&
    buffer[11] === 52
  );
}
