/**
 * Reads the plainest of HTTP/1.1 requests from bytes: a method and an origin-form target, each header once, no body or a short
 * one whose Content-Length says where it ends. Whatever else there may be in a request is "other", and Node's own parser's to judge. What
 * is read here is read in one way only by anybody, so nothing can be smuggled past it (RFC 9112 sections 3, 5, 6.3 and 11.2).
 */
import { HEADER_BYTES_MAX, HEADER_COUNT_MAX, SIMPLE_BODY_BYTES_MAX } from "@coldbrook/core";

/** Those whose answers are whole when they begin. */
export type SimpleMethod = "POST" | "PUT" | "DELETE" | "HEAD";

export type SimpleHeaders = Readonly<Record<string, string>>;

/** The headers that a connection brought last: most clients send the same lines again and again. */
export class HeaderMemory {
  #lines: string | null = null;
  #headers: SimpleHeaders | null = null;

  /** The headers of these lines, each with its end; null when they are not for here. */
  read(lines: string): SimpleHeaders | null {
    if (lines !== this.#lines) {
      this.#headers = readHeaders(lines);
      this.#lines = lines;
    }
    return this.#headers;
  }
}

export interface SimpleRequest {
  readonly method: SimpleMethod;
  /** In origin form, visible ASCII. */
  readonly target: string;
  /** By name in lower case. Requests with the same lines may share one object. */
  readonly headers: SimpleHeaders;
  /** A view of the bytes that it was read from. */
  readonly body: Uint8Array;
  /** Head and body together. */
  readonly bytes: number;
}

const REQUEST_LINE = /^(POST|PUT|DELETE|HEAD) (\/[\x21\x22\x24-\x7e]*) HTTP\/1\.1\r\n/;
/** Around a value, tabs are not taken: not every parser takes them. */
const HEADER_LINE = /([!#$%&'*+.^_`|~0-9A-Za-z-]+): *([\x21-\x7e]+(?:[ \t]+[\x21-\x7e]+)*)? *\r\n/y;
const LENGTH = /^\d{1,9}$/;

/** They change how a message is framed, or what becomes of its connection; the last is a name that objects have by themselves. */
const NOT_SIMPLE: ReadonlySet<string> = new Set([
  "transfer-encoding",
  "content-encoding",
  "expect",
  "upgrade",
  "te",
  "trailer",
  "http2-settings",
  "__proto__",
]);

const END = Buffer.from("\r\n\r\n");

/** The request that begins at `at`; "incomplete" when its end is not among the bytes and may still come. */
export function readSimpleRequest(
  bytes: Buffer,
  at: number,
  memory: HeaderMemory,
): SimpleRequest | "incomplete" | "other" {
  const end = bytes.indexOf(END, at);
  if (end < 0) return bytes.length - at > HEADER_BYTES_MAX ? "other" : "incomplete";
  const bodyAt = end + END.length;
  if (bodyAt - at > HEADER_BYTES_MAX) return "other";
  const head = bytes.toString("latin1", at, end + 2);
  const line = REQUEST_LINE.exec(head);
  if (line === null) return "other";
  const headers = memory.read(head.slice(line[0].length));
  if (headers === null) return "other";
  const length = headers["content-length"] ?? "0";
  if (!LENGTH.test(length)) return "other";
  const bodyBytes = Number(length);
  if (bodyBytes > SIMPLE_BODY_BYTES_MAX) return "other";
  const bodyEnd = bodyAt + bodyBytes;
  if (bodyEnd > bytes.length) return "incomplete";
  const method = line[1] as SimpleMethod;
  return { method, target: line[2]!, headers, body: bytes.subarray(bodyAt, bodyEnd), bytes: bodyEnd - at };
}

/** Null when there is more to them than names and values. */
function readHeaders(lines: string): SimpleHeaders | null {
  const headers: Record<string, string> = Object.create(null) as Record<string, string>;
  HEADER_LINE.lastIndex = 0;
  let count = 0;
  while (HEADER_LINE.lastIndex < lines.length) {
    const line = HEADER_LINE.exec(lines);
    if (line === null) return null;
    const name = line[1]!.toLowerCase();
    if (name in headers || NOT_SIMPLE.has(name)) return null;
    headers[name] = line[2] ?? "";
    count += 1;
  }
  if (count > HEADER_COUNT_MAX || headers["host"] === undefined) return null;
  const connection = headers["connection"];
  return connection === undefined || connection.toLowerCase() === "keep-alive" ? headers : null;
}
