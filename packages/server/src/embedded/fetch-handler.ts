/**
 * A handler of `Request`s for frameworks that speak them. A request goes over a connection inside of the process to the same
 * HTTP server that listens on a port, so that every limit and header is the same; bodies stream both ways with back-pressure.
 */
import http from "node:http";
import type { ClientRequest, IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";

/** What of a server the handler needs. */
export interface InProcessServer {
  /** A new connection to it, or null when it takes none, because it stops or has as many as it may. */
  connect(): Duplex | null;
}

export type FetchHandler = (request: Request) => Promise<Response>;

/** Headers of one connection; this one is the handler's own. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  "connection",
  "expect",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);
const WITHOUT_BODY: ReadonlySet<number> = new Set([204, 205, 304]);

/**
 * The handler rejects only when the request is aborted, or the server breaks off before it answers. A server that stops
 * answers 503. Cancel the body of a response that is not read to its end: it holds its connection.
 */
export function createFetchHandler(server: InProcessServer): FetchHandler {
  return async (request) => {
    request.signal.throwIfAborted();
    const connection = server.connect();
    if (connection === null) return refused();
    const sent = send(request, connection);
    const abort = (): void => void sent.destroy(new DOMException("the request was aborted", "AbortError"));
    request.signal.addEventListener("abort", abort, { once: true });
    sent.once("close", () => request.signal.removeEventListener("abort", abort));
    const answer = answered(sent);
    sendBody(request, sent).catch((error: unknown) => sent.destroy(error as Error));
    try {
      return responseOf(request, await answer);
    } catch (error) {
      if (request.signal.aborted) throw request.signal.reason;
      throw error;
    }
  };
}

function refused(): Response {
  const body = JSON.stringify({ type: "about:blank", title: "Service Unavailable", status: 503, code: "draining" });
  const headers = { "Content-Type": "application/problem+json", "Cache-Control": "no-store", "Retry-After": "1" };
  return new Response(body, { status: 503, headers });
}

function send(request: Request, connection: Duplex): ClientRequest {
  const url = new URL(request.url);
  const headers: Record<string, string> = { host: url.host };
  // Told to the server as a proxy would, so that Location has it.
  if (url.protocol === "https:") headers["x-forwarded-proto"] = "https";
  for (const [name, value] of request.headers) if (!HOP_BY_HOP.has(name)) headers[name] = value;
  return http.request({
    createConnection: () => connection,
    method: request.method,
    path: url.pathname + url.search,
    headers: { ...headers, connection: "close" },
    setHost: false,
    maxHeaderSize: 256 * 1024,
  });
}

function answered(sent: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    sent.once("response", resolve);
    sent.on("error", reject);
    sent.once("close", () => reject(new Error("the server ended the connection without an answer")));
  });
}

async function sendBody(request: Request, sent: ClientRequest): Promise<void> {
  if (request.body === null) return void sent.end();
  for await (const piece of request.body) {
    // Answered without its body, or gone.
    if (sent.destroyed) return;
    if (!sent.write(piece)) await drained(sent);
  }
  sent.end();
}

function drained(sent: ClientRequest): Promise<void> {
  return new Promise((resolve) => {
    const settle = (): void => {
      sent.off("drain", settle).off("close", settle);
      resolve();
    };
    sent.on("drain", settle).on("close", settle);
  });
}

function responseOf(request: Request, answer: IncomingMessage): Response {
  const headers = new Headers();
  for (let i = 0; i < answer.rawHeaders.length; i += 2) {
    const name = answer.rawHeaders[i]!;
    if (!HOP_BY_HOP.has(name.toLowerCase())) headers.append(name, answer.rawHeaders[i + 1]!);
  }
  const status = answer.statusCode!;
  if (request.method === "HEAD" || WITHOUT_BODY.has(status)) {
    answer.resume();
    return new Response(null, { status, headers });
  }
  return new Response(bodyOf(request, answer), { status, headers });
}

/** Nothing is read ahead of who takes the body but what the connection buffers. */
function bodyOf(request: Request, answer: IncomingMessage): ReadableStream<Uint8Array> {
  const pieces = answer[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const next = await pieces.next();
          if (next.done === true) controller.close();
          else controller.enqueue(Uint8Array.from(next.value));
        } catch (error) {
          controller.error(request.signal.aborted ? request.signal.reason : error);
        }
      },
      cancel() {
        answer.destroy();
      },
    },
    { highWaterMark: 0 },
  );
}
