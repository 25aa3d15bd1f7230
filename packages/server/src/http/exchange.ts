/** One request and its response, with what every handler needs of both. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { RESPONSE_HEADER } from "@coldbrook/core";
import { problemBody } from "./problem.ts";
import type { Problem } from "./problem.ts";

const EXPOSED = [...Object.values(RESPONSE_HEADER), "ETag", "Location", "Content-Location", "Retry-After"].join(", ");

/** On every response (protocol section 12.7, CORS). */
const COMMON: readonly string[] = [
  "X-Content-Type-Options",
  "nosniff",
  "Cross-Origin-Resource-Policy",
  "cross-origin",
  "Access-Control-Allow-Origin",
  "*",
  "Access-Control-Expose-Headers",
  EXPOSED,
];

export class Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Canonical stream path. */
  readonly path: string;
  /** Query of the request target, without the question mark. */
  readonly search: string;

  constructor(request: IncomingMessage, response: ServerResponse, path: string, search: string) {
    this.request = request;
    this.response = response;
    this.path = path;
    this.search = search;
  }

  get authorized(): boolean {
    return this.request.headers.authorization !== undefined || this.request.headers.cookie !== undefined;
  }

  /** Sends status and headers; `headers` is name, value, name, value. */
  head(status: number, headers: readonly string[]): void {
    this.response.writeHead(status, [...headers, ...COMMON]);
  }

  /** A response without a body. */
  empty(status: number, headers: readonly string[]): void {
    this.head(status, status === 200 || status === 201 ? [...headers, "Content-Length", "0"] : headers);
    this.response.end();
  }

  problem(problem: Problem): void {
    sendProblem(this.request, this.response, problem);
  }
}

export function sendProblem(request: IncomingMessage, response: ServerResponse, problem: Problem): void {
  if (response.headersSent) {
    // Only a broken connection tells the client that what it has is not whole.
    response.destroy();
    return;
  }
  const body = problemBody(problem);
  const headers = [
    "Content-Type",
    "application/problem+json",
    "Content-Length",
    String(Buffer.byteLength(body)),
    "Cache-Control",
    "no-store",
    ...(problem.headers ?? []),
    ...(problem.close === true ? ["Connection", "close"] : []),
    ...COMMON,
  ];
  response.writeHead(problem.status, headers);
  response.end(request.method === "HEAD" ? undefined : body);
}
