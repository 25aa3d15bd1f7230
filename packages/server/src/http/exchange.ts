/** One request and its response, with what every handler needs of both. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { COMMON, partsOf } from "./answer.ts";
import type { Answer } from "./answer.ts";
import { endAfterResponse } from "./connection-order.ts";
import type { Problem } from "./problem.ts";

/** How long, and how much, of a refused body is read before its connection is closed. */
const LINGER_MS = 2_000;
const LINGER_BYTES_MAX: number = 64 * 1024 * 1024;

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

  answer(answer: Answer): void {
    if ("detail" in answer) return this.problem(answer);
    const { status } = answer;
    this.head(status, partsOf(answer).headers);
    this.response.end();
  }
}

export function sendProblem(request: IncomingMessage, response: ServerResponse, problem: Problem): void {
  if (response.headersSent) {
    // Only a broken connection tells the client that what it has is not whole.
    response.destroy();
    return;
  }
  const { headers, body } = partsOf(problem);
  response.writeHead(problem.status, [...headers, ...COMMON]);
  const sent = request.method === "HEAD" ? "" : body;
  if (problem.close !== true) {
    response.end(sent);
    return;
  }
  endAfterResponse(request.socket);
  if (request.complete) response.end(sent);
  else linger(request, response, sent);
}

/**
 * Answers a request whose body is still on its way. Closing with unread input would reset the connection and take the answer
 * with it, so the rest is read and thrown away for a while before the connection is closed.
 */
function linger(request: IncomingMessage, response: ServerResponse, body: string): void {
  response.write(body);
  let discarded = 0;
  const end = (): void => {
    clearTimeout(deadline);
    request.off("data", count).off("end", end).off("close", end);
    response.end();
  };
  const deadline = setTimeout(end, LINGER_MS);
  const count = (part: Buffer): void => {
    discarded += part.length;
    if (discarded > LINGER_BYTES_MAX) end();
  };
  request.on("data", count).on("end", end).on("close", end);
}
