/** Errors as RFC 9457 problem details, and the one map from fault codes to statuses. */
import type { StreamErrorCode } from "@coldbrook/core";

export interface Problem {
  readonly status: number;
  /** Stable, for programs. */
  readonly code: string;
  /** What is wrong, where, and what to do; for people. */
  readonly detail: string;
  /** Further headers, as name, value, name, value. */
  readonly headers?: readonly string[];
  /** A body of another form than problem details: JSON text. */
  readonly json?: string;
  /** The connection cannot be used again: a body was left unread. */
  readonly close?: boolean;
}

const TITLES: Readonly<Record<number, string>> = {
  400: "Bad Request",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  409: "Conflict",
  410: "Gone",
  413: "Content Too Large",
  414: "URI Too Long",
  415: "Unsupported Media Type",
  417: "Expectation Failed",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
  507: "Insufficient Storage",
};

const FAULTS: Readonly<Record<StreamErrorCode, { readonly status: number; readonly retryAfterSeconds?: number }>> = {
  "wal-full": { status: 503, retryAfterSeconds: 1 },
  "disk-full": { status: 507, retryAfterSeconds: 5 },
  draining: { status: 503, retryAfterSeconds: 1 },
  "too-many-waiters": { status: 429, retryAfterSeconds: 5 },
  "store-unavailable": { status: 503, retryAfterSeconds: 1 },
  "corrupt-object": { status: 502 },
  "corrupt-wal": { status: 500 },
  "corrupt-catalog": { status: 500 },
  gone: { status: 410 },
};

/** What a client is told. The message of the fault itself is for the operator: it names files and stores. */
const SENTENCES: Readonly<Record<StreamErrorCode, string>> = {
  "wal-full": "the server cannot take more data until the object store has taken what is waiting; try again later",
  "disk-full": "the server has no room for more data; delete what is not needed or tell the operator, then try again",
  draining: "the server is starting or stopping; try again",
  "too-many-waiters": "too many readers wait on this stream or server; try again later",
  "store-unavailable": "the object store does not answer; try again later",
  "corrupt-object": "stored bytes are missing or fail their checksum and were not served; tell the operator",
  "corrupt-wal": "bytes of the write-ahead log fail their checksum and were not served; tell the operator",
  "corrupt-catalog": "the server's catalog is damaged for this stream, and nothing of it was served; tell the operator",
  gone: "the bytes were taken away while they were read; start again",
};

/** Names inside the store and the log say where the damage is without saying where they lie. */
const OBJECT_NAME = /objects\/[0-9]{16}-[0-9]{4}\.cbo|[0-9]{16}\.wal/;

/** `message` is the fault's own; only the name of an object or WAL segment in it is passed on. */
export function faultProblem(code: StreamErrorCode, message: string): Problem {
  const { status, retryAfterSeconds } = FAULTS[code];
  const headers = retryAfterSeconds === undefined ? [] : ["Retry-After", String(retryAfterSeconds)];
  const name = OBJECT_NAME.exec(message)?.[0];
  return { status, code, detail: name === undefined ? SENTENCES[code] : `${SENTENCES[code]} (${name})`, headers };
}

export function problemBody(problem: Problem): string {
  const { status, code, detail } = problem;
  return `${JSON.stringify({ type: "about:blank", title: TITLES[status] ?? "Error", status, code, detail })}\n`;
}

export function badRequest(detail: string): Problem {
  return { status: 400, code: "bad-request", detail };
}

/** Protocol section 4.2: deleted, and kept for its forks alone. */
export function softDeleted(path: string): Problem {
  return { status: 410, code: "stream-gone", detail: `the stream "${path}" was deleted; only its forks can be read` };
}

export function notFound(path: string): Problem {
  return { status: 404, code: "not-found", detail: `there is no stream "${path}"` };
}
