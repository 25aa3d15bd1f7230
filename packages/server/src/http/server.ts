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
import type { Generation } from "@coldbrook/core";
import { ConnectionOrder } from "./connection-order.ts";
import { catchUp, head } from "./catch-up.ts";
import { COMMON } from "./answer.ts";
import { Exchange, sendProblem } from "./exchange.ts";
import { logFailure } from "./failure.ts";
import { health } from "./health.ts";
import type { HealthPorts } from "./health.ts";
import { longPoll } from "./long-poll.ts";
import { preflight } from "./preflight.ts";
import { badRequest, faultProblem, problemBody } from "./problem.ts";
import type { Problem } from "./problem.ts";
import { absent, startOf } from "./read-context.ts";
import type { ReadContext } from "./read-context.ts";
import { controlRoute } from "./subscription-routes.ts";
import { serveControl } from "./subscriptions.ts";
import type { SubscriptionContext } from "./subscriptions.ts";
import { SimpleRequests } from "./simple-requests.ts";
import { sse } from "./sse.ts";
import { hasBody, post, put, remove } from "./writes.ts";
import type { WriteContext } from "./writes.ts";

/** Longer than the idle time-out of usual load balancers (60 s), so that they, not we, close idle connections. */
const KEEP_ALIVE_MS = 75_000;
const HEADERS_MS = 80_000;
/** A whole request, body included. */
const REQUEST_MS = 300_000;
/** How long a connection that sent no request may stay behind the answer to that. */
const UNPARSED_LINGER_MS = 2_000;

const CONNECT = "CONNECT";
/** How a client of HTTP/2 begins; as the method of a request it is one that nothing takes. */
const HTTP2_PREFACE = "PRI";
const PARSE_FAILURES: Readonly<Record<string, Problem>> = {
  HPE_HEADER_OVERFLOW: {
    status: 431,
    code: "headers-too-large",
    detail: `request headers may have ${HEADER_BYTES_MAX} bytes`,
  },
  [CONNECT]: badRequest("this server opens no tunnels: CONNECT is not taken"),
  ERR_HTTP_REQUEST_TIMEOUT: { status: 408, code: "request-timeout", detail: "the request took too long to arrive" },
};

/** A whole response for a request that could not be parsed. */
function parseFailure(code: string): string {
  const problem = PARSE_FAILURES[code] ?? badRequest("this is not an HTTP/1.1 request");
  const body = problemBody(problem);
  const headers = ["Content-Type", "application/problem+json", "Content-Length", String(Buffer.byteLength(body))];
  headers.push("Cache-Control", "no-store", "Connection", "close", ...COMMON);
  const lines = headers.flatMap((text, i) => (i % 2 === 0 ? [`${text}: ${headers[i + 1]!}`] : []));
  return `HTTP/1.1 ${problem.status} ${http.STATUS_CODES[problem.status]!}\r\n${lines.join("\r\n")}\r\n\r\n${body}`;
}

/** Scheme and authority of an absolute-form target (RFC 9112 section 3.2.2). */
const ABSOLUTE_FORM = /^https?:\/\/[^/?]*/i;

const METHODS = "GET, HEAD, PUT, POST, DELETE, OPTIONS";

export interface HttpLog {
  error(facts: object, message: string): void;
}

export type HttpContext = ReadContext &
  WriteContext & {
    /** Null when there are none here. */
    readonly subscriptions: SubscriptionContext | null;
  };

/** Sees a request before it is routed; `true` when it has answered it, or never will. */
export type Gate = (request: IncomingMessage, response: ServerResponse) => boolean | Promise<boolean>;

export interface HttpPorts {
  /** Null until the server is ready to serve. */
  readonly context: () => HttpContext | null;
  /** Null when `/health` is a path as any other. */
  readonly health: HealthPorts | null;
  readonly gate: Gate | null;
  /** URL path above all streams, without a slash at its end; "" when every path is a stream's. */
  readonly streamRoot: string;
  /** URL path above the control APIs (protocol section 6); `__ds` below the stream root by default. */
  readonly controlPrefix?: string;
  readonly log: HttpLog;
}

/** Knows of the connections that are not Node's yet as well. */
class FrontServer extends http.Server {
  simple: SimpleRequests | null = null;

  override closeIdleConnections(): void {
    super.closeIdleConnections();
    this.simple?.endIdle();
  }

  override closeAllConnections(): void {
    super.closeAllConnections();
    this.simple?.destroyAll();
  }
}

export function createHttpServer(ports: HttpPorts): Server {
  const order = new ConnectionOrder();
  const serve = ports.gate === null ? route : gated(ports.gate);
  const handle = (request: IncomingMessage, response: ServerResponse): void => {
    // By its real name Node would cut the connection after this, and with it the answers of the requests before this one.
    if (request.method === HTTP2_PREFACE) request.method = HTTP2_PREFACE.toLowerCase();
    order.run(request, response, () => {
      serve(ports, request, response).catch((error: unknown) => fail(ports, request, response, error));
    });
  };
  const server = new FrontServer(
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
    // In its turn: it ends the connection, and with it what the requests before it wait for.
    if (refused !== null) return order.run(request, response, () => sendProblem(request, response, refused));
    response.writeContinue();
    handle(request, response);
  });
  // Into a response that is under way, nothing may be written but its own bytes.
  const endUnparsed = (socket: Socket, code: string): void => {
    if (!socket.writable) socket.destroy();
    else if (!order.endBehindOpen(socket)) {
      socket.end(parseFailure(code));
      // The client may have nothing more to say and yet not leave.
      socket.setTimeout(UNPARSED_LINGER_MS, () => socket.destroy());
    }
  };
  server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
    if (error.code === "ECONNRESET") socket.destroy();
    else endUnparsed(socket as Socket, error.code ?? "");
  });
  server.on("connect", (_request, socket) => {
    // Node would cut the connection, and with it the answers of the requests before this one; and it has let go of it.
    socket.on("error", () => socket.destroy());
    endUnparsed(socket as Socket, CONNECT);
  });
  // A gate wants to see every request.
  if (ports.gate === null) standBefore(server, ports);
  return server;
}

function standBefore(server: FrontServer, ports: HttpPorts): void {
  server.simple = new SimpleRequests({
    context: ports.context,
    streamRoot: ports.streamRoot,
    controlPrefix: controlPrefixOf(ports),
    fault: (error, method, url) => logFailure(ports.log, { method, url }, error),
    keepAliveMs: KEEP_ALIVE_MS,
  });
  server.simple.standBefore(server);
}

function controlPrefixOf(ports: HttpPorts): string {
  return ports.controlPrefix ?? `${ports.streamRoot}/__ds`;
}

function gated(gate: Gate): typeof route {
  return async (ports, request, response) => {
    if (!(await gate(request, response))) await route(ports, request, response);
  };
}

function route(ports: HttpPorts, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const given = request.url ?? "/";
  const url = given.startsWith("/") ? given : given.replace(ABSOLUTE_FORM, "");
  const query = url.indexOf("?");
  const target = query < 0 ? url : url.slice(0, query);
  if (target === "/health" && ports.health !== null) return health(ports.health, request, response);
  if (request.rawHeaders.length > 2 * HEADER_COUNT_MAX) {
    const detail = `at most ${HEADER_COUNT_MAX} header fields are taken`;
    sendProblem(request, response, { status: 431, code: "too-many-headers", detail, close: true });
    return Promise.resolve();
  }
  const context = ports.context();
  if (context === null) {
    sendProblem(request, response, { ...faultProblem("draining", ""), close: true });
    return Promise.resolve();
  }
  if (url.length > URL_BYTES_MAX) {
    const detail = `the request target is longer than ${URL_BYTES_MAX} bytes`;
    sendProblem(request, response, { status: 414, code: "uri-too-long", detail, close: true });
    return Promise.resolve();
  }
  if (context.subscriptions !== null) {
    // Before streams are looked for: no stream is below this (protocol section 6).
    const control = controlRoute(controlPrefixOf(ports), target);
    if (control !== null) return serveControl(context.subscriptions, new Exchange(request, response, "", ""), control);
  }
  const path = streamPath(ports.streamRoot, target);
  const refused = "problem" in path ? path.problem : encodingProblem(request);
  if (refused !== null || "problem" in path) {
    sendProblem(request, response, { ...refused!, close: hasBody(request) });
    return Promise.resolve();
  }
  return dispatch(context, new Exchange(request, response, path.path, query < 0 ? "" : url.slice(query + 1)));
}

/** Bodies are stored as they come, so one that is encoded would be served without its encoding. */
function encodingProblem({ headers }: IncomingMessage): Problem | null {
  const transfer = headers["transfer-encoding"];
  if (transfer !== undefined && transfer.toLowerCase() !== "chunked") {
    return { status: 501, code: "transfer-encoding", detail: "Transfer-Encoding may only be chunked" };
  }
  const content = headers["content-encoding"];
  if (content === undefined || content.toLowerCase() === "identity") return null;
  return {
    status: 415,
    code: "content-encoding",
    detail: "send the body without a Content-Encoding: it is stored as it comes",
  };
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
      return exchange.answer(await head(context, exchange.path));
    case "POST":
      return post(context, exchange);
    case "PUT":
      return put(context, exchange);
    case "DELETE":
      return exchange.answer(await remove(context, exchange.path));
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
  for (;;) {
    const stream = idAt(context, exchange.path);
    try {
      return await answerRead(context, exchange);
    } catch (error) {
      if (!(error instanceof StreamError) || error.code !== "gone") throw error;
      const current = idAt(context, exchange.path);
      // Bytes of a stream that is deleted meanwhile may go; those of a live one may not.
      if (current === stream) throw new StreamError("corrupt-object", error.message, { cause: error });
      if (current === null || exchange.response.headersSent)
        return exchange.problem(await absent(context, exchange.path));
    }
  }
}

/** Which stream has that name. */
function idAt({ engine }: ReadContext, path: string): Generation | null {
  return engine.find(path)?.state.identity.id ?? null;
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
  sendProblem(request, response, logFailure(ports.log, request, error));
}
