/**
 * Requests to one server: bounded in time, repeated only where a repetition cannot do harm, and every answer that is
 * not 2xx turned into a Failure.
 */
import { setTimeout as pause } from "node:timers/promises";
import { DurableStream } from "@durable-streams/client";
import type { BackoffOptions } from "@durable-streams/client";
import type { ClientSettings } from "./client-settings.ts";
import { Failure, failureOfAnswer, networkFaultOf } from "./failure.ts";
import { streamUrl } from "./stream-url.ts";

type Fetch = typeof globalThis.fetch;

const ATTEMPTS_MAX = 6;
const FIRST_DELAY_MS = 100;
const DELAY_MS_MAX = 5_000;
const REFUSAL_CHARS_MAX = 4_096;

/** Repetition is this file's; the client package must add none. */
export const NO_BACKOFF: BackoffOptions = { initialDelay: 0, maxDelay: 0, multiplier: 1, maxRetries: 0 };

export class Connection {
  readonly baseUrl: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  /** For the client package and for plain requests alike. @throws Failure */
  readonly fetch: Fetch;
  /** Headers and status of the newest answer. */
  lastAnswer: Response | undefined;

  constructor(settings: ClientSettings) {
    this.baseUrl = settings.baseUrl;
    this.headers = settings.headers;
    this.timeoutMs = settings.timeoutMs;
    this.fetch = (input, init) => this.#request(String(input), init ?? {});
  }

  streamUrl(path: string): string {
    return streamUrl(this.baseUrl, path);
  }

  handle(
    path: string,
    options: { contentType?: string | undefined; headers?: Record<string, string> } = {},
  ): DurableStream {
    const { contentType } = options;
    return new DurableStream({
      url: this.streamUrl(path),
      headers: { ...this.headers, ...options.headers },
      ...(contentType === undefined ? {} : { contentType }),
      fetch: this.fetch,
      backoffOptions: NO_BACKOFF,
      batching: false,
      warnOnHttp: false,
    });
  }

  /** @throws Failure of kind timeout when the work takes longer than the server may be silent */
  async within<Value>(work: Promise<Value>): Promise<Value> {
    let timer: NodeJS.Timeout | undefined;
    const bound = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(this.#silence()), this.timeoutMs);
    });
    try {
      return await Promise.race([work, bound]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #request(url: string, init: RequestInit): Promise<Response> {
    const end = performance.now() + this.timeoutMs;
    for (let attempt = 1; ; attempt += 1) {
      const result = await this.#attempt(url, init);
      if ("response" in result) return result.response;
      const waitMs = Math.max(result.retryAfterMs, delayMs(attempt));
      const isLast = attempt >= ATTEMPTS_MAX && !isLive(url);
      if (!result.repeatable || isLast || performance.now() + waitMs > end) throw result.failure;
      await pause(waitMs);
    }
  }

  async #attempt(
    url: string,
    init: RequestInit,
  ): Promise<{ response: Response } | { failure: Failure; repeatable: boolean; retryAfterMs: number }> {
    const harmless = isHarmless(init);
    try {
      const response = await this.#send(url, init);
      this.lastAnswer = response;
      if (response.ok) return { response };
      const failure = failureOfAnswer(response.status, response.headers, await this.#refusal(response));
      const isBusy = response.status === 429 || response.status === 503;
      const repeatable = isBusy || (harmless && response.status >= 500 && response.status !== 501);
      return { failure: doubt(failure, harmless), repeatable, retryAfterMs: retryAfterMs(response.headers) };
    } catch (error) {
      if (error instanceof Failure) return { failure: doubt(error, harmless), repeatable: false, retryAfterMs: 0 };
      const fault = networkFaultOf(error);
      if (fault === undefined) throw error;
      const { code, unreached } = fault;
      const failure = new Failure(
        "server",
        `cannot reach ${this.baseUrl} (${code}); is it running? See --url and STREAM_URL`,
        !unreached,
      );
      // A server that never answered is more likely misnamed than restarting.
      const repeatable = unreached ? this.lastAnswer !== undefined : harmless;
      return { failure: doubt(failure, harmless), repeatable, retryAfterMs: 0 };
    }
  }

  /** A live request may wait as long as the server likes; any other has its time. */
  async #send(url: string, init: RequestInit): Promise<Response> {
    const abort = new AbortController();
    init.signal?.addEventListener("abort", () => abort.abort(init.signal?.reason), { once: true });
    const isRead = (init.method ?? "GET") === "GET";
    const answered = globalThis.fetch(url, {
      ...init,
      signal: abort.signal,
      // A redirected write would arrive as a read.
      redirect: isRead || init.method === "HEAD" ? "follow" : "manual",
    });
    if (isLive(url)) return answered;
    try {
      return await this.within(isRead ? answered : answered.then(wholeAnswer));
    } catch (error) {
      abort.abort();
      answered.catch(() => undefined);
      throw error;
    }
  }

  async #refusal(response: Response): Promise<string> {
    try {
      return (await this.within(response.text())).slice(0, REFUSAL_CHARS_MAX);
    } catch {
      // The status says enough.
      return "";
    }
  }

  #silence(): Failure {
    return new Failure("timeout", `${this.baseUrl} did not answer for ${this.timeoutMs / 1000} s; see --timeout`, true);
  }
}

/** The answer with its whole body at hand. */
export async function wholeAnswer(response: Response): Promise<Response> {
  const { status, statusText, headers } = response;
  const body = await response.arrayBuffer();
  return new Response(body.byteLength === 0 ? null : body, { status, statusText, headers });
}

function isLive(url: string): boolean {
  return new URL(url).searchParams.has("live");
}

/** A second arrival changes nothing: by its verb, or because the server knows the producer's sequence (5.2.1). */
function isHarmless(init: RequestInit): boolean {
  const method = init.method ?? "GET";
  if (method !== "POST") return true;
  const headers = new Headers(init.headers);
  // A close without a body may be repeated (5.3).
  return headers.has("producer-id") || (headers.has("stream-closed") && (init.body ?? null) === null);
}

function doubt(failure: Failure, harmless: boolean): Failure {
  if (!failure.inDoubt || harmless) return failure;
  return new Failure(
    failure.kind,
    `${failure.message}; the request may have been carried out, and a write with --producer-id can be repeated safely`,
    true,
  );
}

function delayMs(attempt: number): number {
  return Math.min(FIRST_DELAY_MS * 3 ** (attempt - 1), DELAY_MS_MAX) * (0.5 + Math.random() / 2);
}

function retryAfterMs(headers: Headers): number {
  const text = headers.get("retry-after") ?? "";
  if (/^\d{1,6}$/.test(text)) return Number(text) * 1000;
  const date = Date.parse(text);
  return Number.isNaN(date) ? 0 : Math.max(0, date - Date.now());
}
