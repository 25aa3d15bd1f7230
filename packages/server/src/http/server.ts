/** The HTTP surface: limits, routing, and the one place where a fault becomes a response. */
import http from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import {
  CONNECTIONS_MAX,
  HEADER_BYTES_MAX,
  HEADER_COUNT_MAX,
  parseStreamPath,
  StreamError,
  URL_BYTES_MAX,
} from "@coldbrook/core";
import { ConnectionOrder } from "./connection-order.ts";
import { catchUp, head } from "./catch-up.ts";
import { Exchange, sendProblem } from "./exchange.ts";
import { health } from "./health.ts";
import type { HealthPorts } from "./health.ts";
import { longPoll } from "./long-poll.ts";
import { preflight } from "./preflight.ts";
import { badRequest, faultProblem, notFound } from "./problem.ts";
import { startOf } from "./read-context.ts";
import type { ReadContext } from "./read-context.ts";
import { sse } from "./sse.ts";
import { post, put, remove } from "./writes.ts";
import type { WriteContext } from "./writes.ts";

/** Longer than the idle time-out of usual load balancers (60 s), so that they, not we, close idle connections. */
const KEEP_ALIVE_MS = 75_000;
const HEADERS_MS = 80_000;
/** A whole request, body included. */
const REQUEST_MS = 300_000;

const PARSE_FAILURES: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: "431 Request Header Fields Too Large",
  ERR_HTTP_REQUEST_TIMEOUT: "408 Request Timeout",
};

const METHODS = "GET, HEAD, PUT, POST, DELETE, OPTIONS";

export interface HttpLog {
  error(facts: object, message: string): void;
}

export type HttpContext = ReadContext & WriteContext;

export interface HttpPorts {
  /** Null until the server is ready to serve. */
  readonly context: () => HttpContext | null;
  readonly health: HealthPorts;
  readonly streamRoot: string;
  readonly log: HttpLog;
}

export function createHttpServer(ports: HttpPorts): Server {
  const order = new ConnectionOrder();
  const handle = (request: IncomingMessage, response: ServerResponse): void => {
    order.run(request, response, () => {
      route(ports, request, response).catch((error: unknown) => fail(ports, request, response, error));
    });
  };
  const server = http.createServer(
    {
      maxHeaderSize: HEADER_BYTES_MAX,
      keepAliveTimeout: KEEP_ALIVE_MS,
      headersTimeout: HEADERS_MS,
      requestTimeout: REQUEST_MS,
    },
    handle,
  );
  // Node would drop what is past its own limit in silence; we count and refuse instead.
  server.maxHeadersCount = 0;
  server.maxConnections = CONNECTIONS_MAX;
  server.on("checkContinue", (request: IncomingMessage, response: ServerResponse) => {
    // A body that will be refused is refused before it is sent.
    const refused = ports.context()?.bodies.judge(request) ?? null;
    if (refused !== null) return sendProblem(request, response, refused);
    response.writeContinue();
    handle(request, response);
  });
  server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
    // Into a response that is under way, nothing may be written but its own bytes.
    if (error.code === "ECONNRESET" || !socket.writable || order.isAnswering(socket as Socket)) {
      socket.destroy();
      return;
    }
    const status = PARSE_FAILURES[error.code ?? ""] ?? "400 Bad Request";
    socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
  });
  return server;
}

function route(ports: HttpPorts, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = request.url ?? "/";
  const query = url.indexOf("?");
  const target = query < 0 ? url : url.slice(0, query);
  if (target === "/health") return health(ports.health, request, response);
  if (request.rawHeaders.length > 2 * HEADER_COUNT_MAX) {
    const detail = `at most ${HEADER_COUNT_MAX} header fields are taken`;
    sendProblem(request, response, { status: 431, code: "too-many-headers", detail, close: true });
    return Promise.resolve();
  }
  const context = ports.context();
  if (context === null) {
    const detail = ports.health.phase() === "starting" ? "the server is starting" : "the server is stopping";
    sendProblem(request, response, { ...faultProblem("draining", `${detail}; try again`), close: true });
    return Promise.resolve();
  }
  if (url.length > URL_BYTES_MAX) {
    const detail = `the request target is longer than ${URL_BYTES_MAX} bytes`;
    sendProblem(request, response, { status: 414, code: "uri-too-long", detail, close: true });
    return Promise.resolve();
  }
  const path = streamPath(ports.streamRoot, target);
  if ("problem" in path) {
    sendProblem(request, response, path.problem);
    return Promise.resolve();
  }
  return dispatch(context, new Exchange(request, response, path.path, query < 0 ? "" : url.slice(query + 1)));
}

function streamPath(root: string, target: string): { path: string } | { problem: ReturnType<typeof badRequest> } {
  if (!target.startsWith(`${root}/`)) {
    return { problem: { status: 404, code: "no-such-resource", detail: `streams are at ${root}/<path>` } };
  }
  const parsed = parseStreamPath(target.slice(root.length + 1));
  if (parsed.kind === "path") return { path: parsed.path };
  return { problem: badRequest(parsed.detail) };
}

async function dispatch(context: HttpContext, exchange: Exchange): Promise<void> {
  switch (exchange.request.method) {
    case "GET":
      return read(context, exchange);
    case "HEAD":
      return head(context, exchange);
    case "POST":
      return post(context, exchange);
    case "PUT":
      return put(context, exchange);
    case "DELETE":
      return remove(context, exchange);
    case "OPTIONS":
      return preflight(exchange, METHODS);
    default:
      exchange.problem({
        status: 405,
        code: "method-not-allowed",
        detail: `a stream takes ${METHODS}`,
        headers: ["Allow", METHODS],
        close: true,
      });
  }
}

async function read(context: ReadContext, exchange: Exchange): Promise<void> {
  try {
    await answerRead(context, exchange);
  } catch (error) {
    if (!(error instanceof StreamError) || error.code !== "gone") throw error;
    // Bytes of a stream that is deleted meanwhile may go; those of a live one may not.
    if (context.engine.find(exchange.path) === undefined) exchange.problem(notFound(exchange.path));
    else throw new StreamError("corrupt-object", error.message, { cause: error });
  }
}

async function answerRead(context: ReadContext, exchange: Exchange): Promise<void> {
  const start = await startOf(context, exchange);
  if ("status" in start) return exchange.problem(start);
  switch (start.query.live) {
    case "long-poll":
      return longPoll(context, exchange, start);
    case "sse":
      return sse(context, exchange, start);
    case null:
      return catchUp(context, exchange, start);
  }
}

function fail(ports: HttpPorts, request: IncomingMessage, response: ServerResponse, error: unknown): void {
  if (error instanceof StreamError) {
    if (error.code.startsWith("corrupt")) ports.log.error({ code: error.code, url: request.url }, error.message);
    return sendProblem(request, response, faultProblem(error.code, error.message));
  }
  ports.log.error({ err: error, method: request.method, url: request.url }, "a request failed unexpectedly");
  sendProblem(request, response, {
    status: 500,
    code: "internal",
    detail: "the server failed to handle this request; its log says why",
    close: true,
  });
}
