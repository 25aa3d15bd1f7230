import { once } from "node:events";
import {
  Agent,
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type Server,
  type ServerResponse,
} from "node:http";
import type { Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

export type RequestKind = "put" | "get" | "head" | "delete" | "list" | "other";

export type Fault =
  /** Answered here; the server never sees the request. */
  | { readonly kind: "status"; readonly status: number; readonly code: string }
  /** Passed on after that long. */
  | { readonly kind: "delay"; readonly ms: number }
  /** Taken and never answered. */
  | { readonly kind: "silence" }
  /** The connection is reset before the server sees the request. */
  | { readonly kind: "reset" }
  /** The server answers, then the connection is reset instead of passing that on: a write has landed. */
  | { readonly kind: "reset-after" }
  /** The answer's body breaks off after so many bytes, and the connection with it. */
  | { readonly kind: "truncate"; readonly bytes: number }
  /** The answer's body ends early, and its Content-Length agrees. */
  | { readonly kind: "shorten"; readonly bytes: number }
  /** The byte at that index of the answer's body is another one. */
  | { readonly kind: "corrupt"; readonly at: number }
  /** The answer poses as one of a server that does not know Range. */
  | { readonly kind: "ignore-range" };

export interface FaultRule {
  readonly on: RequestKind | "any";
  readonly fault: Fault;
  /** Requests it is applied to; without end when left out. */
  readonly times?: number;
  /** Of the requests that match, only every so many-th; each when left out. */
  readonly every?: number;
  /** Only where the URL's path matches. */
  readonly path?: RegExp;
}

export interface RequestCounts extends Record<RequestKind, number> {
  /** Bytes of answers to GETs of objects that were sent on. */
  getBytes: number;
  /** Bytes of PUT bodies that came in. */
  putBytes: number;
}

export interface FaultProxy extends AsyncDisposable {
  readonly url: string;
  /** Requests that arrived, faulted or not. */
  readonly counts: Readonly<RequestCounts>;
  resetCounts(): void;
  /** Requests that a rule was applied to. */
  readonly faulted: number;
  /** Connections of clients that are open now. */
  readonly connections: number;
  /** Adds a rule; the first that matches and is not used up applies. */
  inject(rule: FaultRule): void;
  /** Drops all rules. Requests that were left without an answer stay so. */
  clear(): void;
  /** Refuses connections, and resets those that are open, until comeBack. */
  goDark(): Promise<void>;
  comeBack(): Promise<void>;
}

/** An HTTP proxy before an S3 server. It passes on the Host header that the client signed, so signatures hold. */
export async function startFaultProxy(upstream: string): Promise<FaultProxy> {
  const proxy = new HttpFaultProxy(new URL(upstream));
  await proxy.listen();
  return proxy;
}

interface LiveRule {
  readonly rule: FaultRule;
  matched: number;
  left: number;
}

class HttpFaultProxy implements FaultProxy {
  counts: RequestCounts = noCounts();
  faulted = 0;
  readonly #upstream: URL;
  readonly #agent: Agent = new Agent({ keepAlive: true });
  readonly #sockets: Set<Socket> = new Set();
  #server: Server | undefined;
  #rules: LiveRule[] = [];
  #port = 0;

  constructor(upstream: URL) {
    this.#upstream = upstream;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  get connections(): number {
    return this.#sockets.size;
  }

  resetCounts(): void {
    this.counts = noCounts();
  }

  inject(rule: FaultRule): void {
    this.#rules.push({ rule, matched: 0, left: rule.times ?? Number.POSITIVE_INFINITY });
  }

  clear(): void {
    this.#rules = [];
  }

  async listen(): Promise<void> {
    const server = createServer((request, response) => {
      this.#handle(request, response).catch(() => request.socket.destroy());
    });
    // A client's idle connection is the client's to end.
    server.keepAliveTimeout = 600_000;
    server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
    server.listen(this.#port, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("the proxy has no port");
    this.#port = address.port;
    this.#server = server;
  }

  async goDark(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    const closed = once(server, "close");
    server.close();
    for (const socket of this.#sockets) socket.resetAndDestroy();
    await closed;
  }

  async comeBack(): Promise<void> {
    if (this.#server === undefined) await this.listen();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.goDark();
    this.#agent.destroy();
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const kind = kindOf(request);
    this.counts[kind] += 1;
    if (kind === "put") request.on("data", (chunk: Buffer) => (this.counts.putBytes += chunk.byteLength));
    const fault = this.#take(kind, request.url ?? "");
    switch (fault?.kind) {
      case "status":
        request.resume();
        await once(request, "end");
        answerError(response, fault.status, fault.code, request.method === "HEAD");
        return;
      case "silence":
        request.resume();
        return;
      case "reset":
        request.socket.resetAndDestroy();
        return;
      case "delay":
        await delay(fault.ms);
        break;
      case undefined:
      default:
    }
    const answer = await this.#forward(request, response);
    await this.#answer(kind, fault, request, response, answer);
  }

  #take(kind: RequestKind, url: string): Fault | undefined {
    const path = url.split("?", 1)[0] ?? "";
    const found = this.#rules.find(
      ({ rule, left }) => left > 0 && (rule.on === "any" || rule.on === kind) && (rule.path?.test(path) ?? true),
    );
    if (found === undefined) return undefined;
    found.matched += 1;
    if (found.matched % (found.rule.every ?? 1) !== 0) return undefined;
    found.left -= 1;
    this.faulted += 1;
    return found.rule.fault;
  }

  async #forward(request: IncomingMessage, response: ServerResponse): Promise<IncomingMessage> {
    const forwarded = httpRequest({
      host: this.#upstream.hostname,
      port: this.#upstream.port,
      method: request.method,
      path: request.url,
      headers: request.headers,
      agent: this.#agent,
    });
    // Whoever goes away takes the other side along.
    response.once("close", () => {
      if (!response.writableFinished) forwarded.destroy();
    });
    request.pipe(forwarded);
    const [answer]: [IncomingMessage] = (await once(forwarded, "response")) as [IncomingMessage];
    return answer;
  }

  async #answer(
    kind: RequestKind,
    fault: Fault | undefined,
    request: IncomingMessage,
    response: ServerResponse,
    answer: IncomingMessage,
  ): Promise<void> {
    const status = answer.statusCode ?? 502;
    const send = (code: number, headers: OutgoingHttpHeaders, body: Buffer): void => {
      if (kind === "get") this.counts.getBytes += body.byteLength;
      response.writeHead(code, headers);
      response.end(body);
    };
    switch (fault?.kind) {
      case "reset-after":
        await readAll(answer);
        request.socket.resetAndDestroy();
        return;
      case "truncate": {
        const body = (await readAll(answer)).subarray(0, fault.bytes);
        if (kind === "get") this.counts.getBytes += body.byteLength;
        response.writeHead(status, answer.headers);
        response.write(body, () => request.socket.destroy());
        return;
      }
      case "shorten": {
        const body = (await readAll(answer)).subarray(0, fault.bytes);
        send(status, { ...answer.headers, "content-length": body.byteLength }, body);
        return;
      }
      case "corrupt": {
        const body = await readAll(answer);
        body[fault.at] = (body[fault.at] ?? 0) ^ 0xff;
        send(status, answer.headers, body);
        return;
      }
      case "ignore-range": {
        const { "content-range": _, ...headers } = answer.headers;
        send(200, headers, await readAll(answer));
        return;
      }
      case undefined:
      default:
        if (kind === "get") answer.on("data", (chunk: Buffer) => (this.counts.getBytes += chunk.byteLength));
        response.writeHead(status, answer.headers);
        answer.pipe(response);
        answer.once("error", () => request.socket.destroy());
    }
  }
}

function noCounts(): RequestCounts {
  return { put: 0, get: 0, head: 0, delete: 0, list: 0, other: 0, getBytes: 0, putBytes: 0 };
}

function kindOf(request: IncomingMessage): RequestKind {
  const { pathname, searchParams } = new URL(request.url ?? "/", "http://s3");
  const named = /^\/[^/]+\/./.test(pathname);
  switch (request.method) {
    case "PUT":
      return named ? "put" : "other";
    case "GET":
      if (named) return "get";
      return searchParams.has("list-type") ? "list" : "other";
    case "HEAD":
      return "head";
    case "DELETE":
      return "delete";
    default:
      return "other";
  }
}

function answerError(response: ServerResponse, status: number, code: string, headersOnly: boolean): void {
  const body = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>injected</Message></Error>`;
  response.writeHead(status, { "content-type": "application/xml", "content-length": Buffer.byteLength(body) });
  response.end(headersOnly ? undefined : body);
}

async function readAll(answer: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of answer) {
    if (chunk instanceof Buffer) chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
