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
  /** The connection cannot be used again: a body was left unread. */
  readonly close?: boolean;
}

const TITLES: Readonly<Record<number, string>> = {
  400: "Bad Request",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  409: "Conflict",
  410: "Gone",
  413: "Content Too Large",
  414: "URI Too Long",
  417: "Expectation Failed",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
};

const FAULTS: Readonly<Record<StreamErrorCode, { readonly status: number; readonly retryAfterSeconds?: number }>> = {
  "wal-full": { status: 503, retryAfterSeconds: 1 },
  draining: { status: 503, retryAfterSeconds: 1 },
  "too-many-waiters": { status: 429, retryAfterSeconds: 5 },
  "store-unavailable": { status: 503, retryAfterSeconds: 1 },
  "corrupt-object": { status: 502 },
  "corrupt-wal": { status: 500 },
  "corrupt-catalog": { status: 500 },
  gone: { status: 410 },
};

export function faultProblem(code: StreamErrorCode, detail: string): Problem {
  const { status, retryAfterSeconds } = FAULTS[code];
  const headers = retryAfterSeconds === undefined ? [] : ["Retry-After", String(retryAfterSeconds)];
  return { status, code, detail, headers };
}

export function problemBody(problem: Problem): string {
  const { status, code, detail } = problem;
  return `${JSON.stringify({ type: "about:blank", title: TITLES[status] ?? "Error", status, code, detail })}\n`;
}

export function badRequest(detail: string): Problem {
  return { status: 400, code: "bad-request", detail };
}

export function notFound(path: string): Problem {
  return { status: 404, code: "not-found", detail: `there is no stream "${path}"` };
}
