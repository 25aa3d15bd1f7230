/**
 * Ranged GETs whose answers are taken whole: each part is copied once, to its place in one buffer of the answer's size. The
 * SDK's transport allocates each part twice and hands out a stream, which costs more than moving the bytes.
 */
import type { Agent as HttpAgent } from "node:http";
import { Agent, errors, type Dispatcher } from "undici";
import type { HandlerRequest } from "./answered-handler.ts";

/** Longest body of an answer that is not the range. */
const OTHER_BYTES_MAX = 64 * 1024;
const HEAD_BYTES_MAX = 64 * 1024;
/** A connection that nobody uses is closed before servers commonly do it, so that requests rarely meet a closed one. */
const IDLE_MS = 4_000;
/** What ends a request whose answer never began, though another transport may get one: a closed connection, an odd head. */
const ODD_CODES = /^(?:ECONNRESET|EPIPE|HPE_\w+|UND_ERR_(?:SOCKET|HEADERS_OVERFLOW|INVALID_ARG|NOT_SUPPORTED))$/;

/** Times in milliseconds. */
export interface RangeGetsOptions {
  /** Connections at once to one server. */
  readonly socketsMax: number;
  readonly connectTimeoutMs: number;
  /** Longest silence while an answer is awaited, give or take a second. */
  readonly silenceMs: number;
  /** Of everything else. Their idle sockets give way. */
  readonly agents: readonly HttpAgent[];
}

export interface Answer {
  readonly status: number;
  /** Names in lower case; several of one name joined by a comma. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

export class RangeGets {
  readonly #agent: Agent;

  /** No proxy is used, whatever the environment names: the SDK uses none either. */
  constructor({ socketsMax, connectTimeoutMs, silenceMs, agents }: RangeGetsOptions) {
    this.#agent = new Agent({
      connections: socketsMax,
      pipelining: 1,
      allowH2: false,
      connect: { timeout: connectTimeoutMs },
      headersTimeout: silenceMs,
      bodyTimeout: silenceMs,
      keepAliveTimeout: IDLE_MS,
      maxHeaderSize: HEAD_BYTES_MAX,
    });
    let connected = 0;
    this.#agent.on("connect", () => {
      connected += 1;
      const idle = agents.flatMap((agent) => Object.values(agent.freeSockets).flat());
      if (idle.length + connected > socketsMax) idle[0]?.destroy();
    });
    this.#agent.on("disconnect", () => {
      connected -= 1;
    });
  }

  /**
   * The answer to `request` with a Range header for [from, to). Of a body longer than that nothing is kept. Undefined when the
   * SDK should ask in its own way: the server closed the connection, or sent something odd, before an answer began. Rejects
   * with what ended the connection, which has a `code`, or the name TimeoutError or AbortError.
   */
  async get(request: HandlerRequest, from: number, to: number, signal: AbortSignal): Promise<Answer | undefined> {
    signal.throwIfAborted();
    const { protocol, hostname, port, path, query } = request;
    const origin = `${protocol}//${hostname}${port === undefined ? "" : `:${port}`}`;
    const headers = { ...request.headers, range: `bytes=${from}-${to - 1}` };
    const taker = new AnswerTaker(to - from);
    const abort = (): void => taker.abort();
    signal.addEventListener("abort", abort, { once: true });
    try {
      this.#agent.dispatch({ origin, path, query, method: "GET", headers }, taker);
      return await taker.answer;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  /** Ends what is under way. */
  async destroy(): Promise<void> {
    await this.#agent.destroy();
  }
}

class AnswerTaker implements Dispatcher.DispatchHandler {
  readonly answer: Promise<Answer | undefined>;
  readonly #rangeBytes: number;
  #resolve!: (answer: Answer | undefined) => void;
  #reject!: (error: Error) => void;
  #controller: Dispatcher.DispatchController | undefined;
  #isAborted = false;
  #status = 0;
  #headers: Readonly<Record<string, string>> = {};
  #body: Uint8Array = new Uint8Array(0);
  #filled = 0;

  constructor(rangeBytes: number) {
    this.#rangeBytes = rangeBytes;
    this.answer = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** Also while it waits for a connection: it is not sent then. */
  abort(): void {
    this.#isAborted = true;
    this.#reject(named("AbortError", "the request was aborted"));
    this.#controller?.abort(named("AbortError", "the request was aborted"));
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#isAborted) this.abort();
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: Readonly<Record<string, string | string[] | undefined>>,
  ): void {
    // A provisional answer.
    if (status < 200) return;
    this.#status = status;
    this.#headers = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]));
    const bytesMax = status === 206 ? this.#rangeBytes : OTHER_BYTES_MAX;
    const bytes = Number(this.#headers["content-length"] ?? bytesMax);
    if (!(bytes <= bytesMax)) return this.#leave(controller);
    // Not from the pool of small buffers, and not filled with zeros: only what was written is ever seen.
    this.#body = Buffer.allocUnsafeSlow(bytes);
  }

  onResponseData(controller: Dispatcher.DispatchController, part: Uint8Array): void {
    if (this.#filled + part.length > this.#body.length) return this.#leave(controller);
    this.#body.set(part, this.#filled);
    this.#filled += part.length;
  }

  onResponseEnd(): void {
    const body = this.#filled === this.#body.length ? this.#body : this.#body.subarray(0, this.#filled);
    this.#resolve({ status: this.#status, headers: this.#headers, body });
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    const code = codeOf(error);
    if (this.#status === 0 && ODD_CODES.test(code)) this.#resolve(undefined);
    else if (code.endsWith("_TIMEOUT")) this.#reject(named("TimeoutError", error.message));
    else if (!/^(?:UND_ERR|HPE)_/.test(code)) this.#reject(error);
    else this.#reject(Object.assign(new Error("the connection was closed"), { code: "ECONNRESET" }));
  }

  #leave(controller: Dispatcher.DispatchController): void {
    this.#resolve({ status: this.#status, headers: this.#headers, body: new Uint8Array(0) });
    controller.abort(new Error("the answer is longer than what was asked for"));
  }
}

function codeOf(error: Error): string {
  if ("code" in error && typeof error.code === "string") return error.code;
  return error instanceof errors.HTTPParserError ? "HPE_UNKNOWN" : "";
}

function named(name: string, message: string): Error {
  return Object.assign(new Error(message), { name });
}
