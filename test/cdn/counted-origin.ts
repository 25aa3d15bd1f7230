/**
 * A pass-through between a cache and the server that counts what the cache asks for. Its own address stays when the server
 * is started again elsewhere.
 */
import { Agent, createServer, request, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** One request that the cache sent to the origin. */
export interface OriginRequest {
  readonly method: string;
  readonly target: string;
  /** When it came, as `performance.now()`. */
  readonly atMs: number;
  /** 0 until it is answered; also when it never was. */
  status: number;
  cacheControl: string;
  answeredAtMs: number;
  /** Body bytes that the origin sent. */
  bytes: number;
}

const HOP_BY_HOP: ReadonlySet<string> = new Set(["connection", "keep-alive"]);

export class CountedOrigin implements AsyncDisposable {
  readonly requests: OriginRequest[] = [];
  #target: URL;
  readonly #agent: Agent = new Agent({ keepAlive: true, maxSockets: Infinity });
  readonly #server: Server;

  private constructor(target: string) {
    this.#target = new URL(target);
    this.#server = createServer((incoming, answer) => this.#pass(incoming, answer));
    this.#server.keepAliveTimeout = 120_000;
  }

  static async in(target: string): Promise<CountedOrigin> {
    const origin = new CountedOrigin(target);
    await new Promise<void>((resolve) => origin.#server.listen(0, "127.0.0.1", resolve));
    return origin;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** From here on requests go to the server at `url`. */
  moveTo(url: string): void {
    this.#target = new URL(url);
  }

  /** What came since, and forgets it. */
  take(): OriginRequest[] {
    return this.requests.splice(0);
  }

  #pass(incoming: IncomingMessage, answer: ServerResponse): void {
    const seen: OriginRequest = {
      method: incoming.method ?? "",
      target: incoming.url ?? "",
      atMs: performance.now(),
      status: 0,
      cacheControl: "",
      answeredAtMs: Infinity,
      bytes: 0,
    };
    this.requests.push(seen);
    const { hostname, port } = this.#target;
    const { method, url, headers } = incoming;
    const outgoing = request({ host: hostname, port, agent: this.#agent, method, path: url, headers }, (response) => {
      seen.status = response.statusCode ?? 0;
      seen.cacheControl = response.headers["cache-control"] ?? "";
      seen.answeredAtMs = performance.now();
      const kept = response.rawHeaders.filter(
        (_, index, all) => !HOP_BY_HOP.has((all[index - (index % 2)] ?? "").toLowerCase()),
      );
      answer.writeHead(seen.status, kept);
      answer.flushHeaders();
      response.on("data", (part: Buffer) => (seen.bytes += part.length));
      response.on("error", () => answer.destroy());
      response.pipe(answer);
    });
    // A cache must see the origin's failure as one.
    outgoing.on("error", () => answer.destroy());
    answer.on("close", () => outgoing.destroy());
    incoming.pipe(outgoing);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    this.#agent.destroy();
    await closed;
  }
}
