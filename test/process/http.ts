/** A small HTTP client for tests: keep-alive, no retry, every header and byte as the server sent it. */
import { Agent, request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import { storedBytes } from "./stored-bytes.ts";
import { PATIENCE } from "./until.ts";
import { decodeEvents, type SseEvent } from "./sse.ts";

const REQUEST_BOUND_MS: number = 90_000 * PATIENCE;
const CHUNKS_MAX = 1_000_000;

export interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** The request got no whole response: what it asked for may have happened or not. */
export class ConnectionLost extends Error {
  override readonly name: string = "ConnectionLost";
}

/** The response began and broke off. */
export class ResponseCut extends ConnectionLost {
  override readonly name = "ResponseCut";
}

export interface ProducerTuple {
  readonly id: string;
  readonly epoch: number;
  readonly seq: number;
}

type Headers = Readonly<Record<string, string>>;

export interface RequestOptions {
  readonly headers?: Headers;
  readonly body?: Uint8Array | string;
  /** Without the question mark. */
  readonly query?: string;
  readonly signal?: AbortSignal;
}

export interface CreateOptions {
  readonly contentType?: string;
  readonly body?: Uint8Array | string;
  readonly closed?: boolean;
  readonly ttlSeconds?: number | null;
  readonly expiresAt?: string | null;
  readonly headers?: Headers;
}

export interface AppendOptions {
  readonly contentType?: string;
  readonly producer?: ProducerTuple | null;
  readonly streamSeq?: string | null;
  readonly close?: boolean;
  readonly headers?: Headers;
}

export interface ReadOptions {
  /** Absent: no offset in the URL. */
  readonly offset?: string;
  readonly live?: "long-poll" | "sse";
  readonly cursor?: string | undefined;
  readonly headers?: Headers;
  readonly signal?: AbortSignal;
}

/** One stored range as a reader got it. `bytes` are stored bytes: JSON without its brackets, each message with its comma. */
export interface Chunk {
  readonly from: string;
  readonly next: string;
  readonly bytes: Buffer;
  readonly reply: Reply;
}

export interface WholeRead {
  readonly bytes: Buffer;
  readonly next: string;
  readonly closed: boolean;
  readonly chunks: readonly Chunk[];
}

export function header(reply: Reply, name: string): string | undefined {
  const value = reply.headers[name];
  return Array.isArray(value) ? value.join(", ") : value;
}

export function isClosed(reply: Reply): boolean {
  return header(reply, "stream-closed") === "true";
}

/** @throws Error when the reply names no next offset. */
export function nextOffset(reply: Reply): string {
  const offset = header(reply, "stream-next-offset");
  if (offset === undefined) throw new Error(`no Stream-Next-Offset on ${describeReply(reply)}`);
  return offset;
}

export function describeReply(reply: Reply): string {
  return `${reply.status} ${JSON.stringify(reply.headers)} ${reply.body.subarray(0, 300).toString("utf8")}`;
}

/** @throws Error describing the reply when its status is none of `allowed`. */
export function expectStatus(reply: Reply, what: string, ...allowed: readonly number[]): Reply {
  if (!allowed.includes(reply.status))
    throw new Error(`${what}: expected ${allowed.join(" or ")}, got ${describeReply(reply)}`);
  return reply;
}

function producerHeaders(producer: ProducerTuple | null | undefined): Record<string, string> {
  if (producer === null || producer === undefined) return {};
  return { "producer-id": producer.id, "producer-epoch": `${producer.epoch}`, "producer-seq": `${producer.seq}` };
}

export class StreamClient {
  readonly #agent: Agent;
  readonly #host: string;
  readonly #port: number;
  readonly #root: string;

  /** `baseUrl` as the server prints it; `root` is the stream root, with a leading slash. */
  constructor(baseUrl: string, root = "/v1/stream") {
    const url = new URL(baseUrl);
    this.#host = url.hostname;
    this.#port = Number(url.port);
    this.#root = root;
    this.#agent = new Agent({ keepAlive: true, maxSockets: Infinity, maxFreeSockets: 1024 });
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }

  /** Sends one request to a path below the stream root. @throws ConnectionLost */
  async request(method: string, path: string, options: RequestOptions = {}): Promise<Reply> {
    const response = await this.open(method, path, options);
    const pieces: Buffer[] = [];
    try {
      for await (const piece of response) pieces.push(piece as Buffer);
    } catch (error) {
      throw new ResponseCut(`${method} ${path}: response cut short`, { cause: error });
    }
    if (!response.complete) throw new ResponseCut(`${method} ${path}: response cut short`);
    return { status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(pieces) };
  }

  /** Sends one request and resolves at the response's head. The caller reads or destroys the body. @throws ConnectionLost */
  async open(method: string, path: string, options: RequestOptions = {}): Promise<IncomingMessage> {
    return this.openUrl(
      method,
      `${this.#root}/${path}${options.query === undefined ? "" : `?${options.query}`}`,
      options,
    );
  }

  /** As `open`, for any URL path of the server. */
  async openUrl(method: string, target: string, options: RequestOptions = {}): Promise<IncomingMessage> {
    const body = typeof options.body === "string" ? Buffer.from(options.body) : options.body;
    const headers: Record<string, string | number> = { ...options.headers };
    if (body !== undefined) headers["content-length"] = body.length;
    else if (method === "POST") headers["content-length"] = 0;
    return new Promise((resolve, reject) => {
      const lost = (error: Error): void =>
        reject(new ConnectionLost(`${method} ${target}: ${error.message}`, { cause: error }));
      const sent = httpRequest({
        method,
        host: this.#host,
        port: this.#port,
        path: target,
        agent: this.#agent,
        headers,
        timeout: REQUEST_BOUND_MS,
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      });
      sent.on("response", resolve).on("error", lost);
      sent.on("timeout", () => sent.destroy(new Error(`no byte for ${REQUEST_BOUND_MS} ms`)));
      sent.end(body);
    });
  }

  async create(path: string, options: CreateOptions = {}): Promise<Reply> {
    const headers: Record<string, string> = { ...options.headers };
    if (options.contentType !== undefined) headers["content-type"] = options.contentType;
    if (options.closed === true) headers["stream-closed"] = "true";
    if (typeof options.ttlSeconds === "number") headers["stream-ttl"] = `${options.ttlSeconds}`;
    if (typeof options.expiresAt === "string") headers["stream-expires-at"] = options.expiresAt;
    return this.request("PUT", path, options.body === undefined ? { headers } : { headers, body: options.body });
  }

  /** An empty body with `close` is a close-only request. */
  async append(path: string, body: Uint8Array | string, options: AppendOptions = {}): Promise<Reply> {
    const headers: Record<string, string> = { ...producerHeaders(options.producer), ...options.headers };
    if (options.contentType !== undefined) headers["content-type"] = options.contentType;
    if (typeof options.streamSeq === "string") headers["stream-seq"] = options.streamSeq;
    if (options.close === true) headers["stream-closed"] = "true";
    return this.request("POST", path, body.length === 0 ? { headers } : { headers, body });
  }

  async close(path: string, producer: ProducerTuple | null = null): Promise<Reply> {
    return this.append(path, "", { close: true, producer });
  }

  async del(path: string): Promise<Reply> {
    return this.request("DELETE", path);
  }

  async head(path: string): Promise<Reply> {
    return this.request("HEAD", path);
  }

  async read(path: string, options: ReadOptions = {}): Promise<Reply> {
    const query = new URLSearchParams();
    if (options.offset !== undefined) query.set("offset", options.offset);
    if (options.live !== undefined) query.set("live", options.live);
    if (options.cursor !== undefined) query.set("cursor", options.cursor);
    const { headers, signal } = options;
    return this.request("GET", path, {
      ...(query.size === 0 ? {} : { query: query.toString() }),
      ...(headers === undefined ? {} : { headers }),
      ...(signal === undefined ? {} : { signal }),
    });
  }

  async longPoll(path: string, offset: string, cursor?: string, signal?: AbortSignal): Promise<Reply> {
    return this.read(path, { offset, live: "long-poll", cursor, ...(signal === undefined ? {} : { signal }) });
  }

  /**
   * Reads chunk after chunk from `offset` until a reply says that it is up to date. `first` is the reply to the first of these
   * reads when the caller has it already.
   * @throws Error on any status but 200, on a chunk that neither advances nor ends the read, ConnectionLost
   */
  async readAll(path: string, offset = "-1", first?: Reply): Promise<WholeRead> {
    const chunks: Chunk[] = [];
    let from = offset;
    while (chunks.length < CHUNKS_MAX) {
      const answer = chunks.length === 0 && first !== undefined ? first : await this.read(path, { offset: from });
      const reply = expectStatus(answer, `read ${path} from ${from}`, 200);
      const next = nextOffset(reply);
      chunks.push({ from, next, bytes: storedBytes(header(reply, "content-type"), reply.body), reply });
      if (header(reply, "stream-up-to-date") === "true") {
        return { bytes: Buffer.concat(chunks.map((chunk) => chunk.bytes)), next, closed: isClosed(reply), chunks };
      }
      if (next === from) throw new Error(`read ${path} from ${from}: not up to date, yet it does not advance`);
      from = next;
    }
    throw new Error(`read ${path}: more than ${CHUNKS_MAX} chunks`);
  }

  /** A live SSE read: its events until the server ends the response. @throws ConnectionLost, ResponseCut, RefusedRead */
  async *sse(path: string, offset: string, signal?: AbortSignal): AsyncGenerator<SseEvent> {
    const query = new URLSearchParams({ offset, live: "sse" }).toString();
    const response = await this.open("GET", path, { query, ...(signal === undefined ? {} : { signal }) });
    try {
      if (response.statusCode !== 200) throw new RefusedRead(response.statusCode ?? 0);
      yield* decodeEvents(response, response.headers["stream-sse-data-encoding"] === "base64");
      if (!response.complete) throw new ResponseCut(`SSE ${path}: response cut short`);
    } catch (error) {
      if (error instanceof RefusedRead || error instanceof ConnectionLost) throw error;
      if (error instanceof Error && "code" in error)
        throw new ResponseCut(`SSE ${path}: ${error.message}`, { cause: error });
      throw error;
    } finally {
      response.destroy();
    }
  }
}

/** A live read that was answered with another status than 200. */
export class RefusedRead extends Error {
  override readonly name = "RefusedRead";
  readonly status: number;

  constructor(status: number) {
    super(`live read answered ${status}`);
    this.status = status;
  }
}
