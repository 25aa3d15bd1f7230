/** A fixed address before a server that comes and goes. HTTP passes as it is, but for answers that are to be lost. */
import { once } from "node:events";
import { Agent, createServer, request, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** Decides by method and URL whether this request's answer is lost on its way back. */
export type Loses = (method: string, url: string) => boolean;

const LOSES_NOTHING: Loses = () => false;

export class Relay implements AsyncDisposable {
  /** Requests that were passed on, by method. */
  readonly passed: Map<string, number> = new Map<string, number>();
  /** Answers that the server gave and the client never saw. */
  lost = 0;
  readonly #server: Server;
  readonly #agent: Agent = new Agent({ keepAlive: true });
  #upstream: URL | undefined;
  #loses: Loses = LOSES_NOTHING;
  #refusal: string | undefined;

  private constructor() {
    this.#server = createServer((incoming, outgoing) => this.#pass(incoming, outgoing));
    this.#server.requestTimeout = 0;
  }

  static async start(): Promise<Relay> {
    const relay = new Relay();
    relay.#server.listen(0, "127.0.0.1");
    await once(relay.#server, "listening");
    return relay;
  }

  /** Without a slash at the end. */
  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Where requests go from now on; undefined breaks off every connection that asks. */
  pointTo(upstream: string | undefined): void {
    this.#upstream = upstream === undefined ? undefined : new URL(upstream);
  }

  /** The answers to lose from now on. The server has done what was asked; the client's connection breaks off instead. */
  lose(loses: Loses): void {
    this.#loses = loses;
  }

  loseNothing(): void {
    this.#loses = LOSES_NOTHING;
  }

  /** Answers every request with 400 and this from now on: no client retries that, so that its test ends with the reason. */
  refuse(reason: string): void {
    this.#refusal = reason;
  }

  #pass(incoming: IncomingMessage, outgoing: ServerResponse): void {
    const method = incoming.method ?? "GET";
    const url = incoming.url ?? "/";
    const breakOff = (): void => void incoming.socket.destroy();
    if (this.#refusal !== undefined) {
      outgoing.writeHead(400, { "content-type": "text/plain" }).end(this.#refusal);
      return;
    }
    if (this.#upstream === undefined) {
      breakOff();
      return;
    }
    this.passed.set(method, (this.passed.get(method) ?? 0) + 1);
    const lost = this.#loses(method, url);
    const { hostname, port } = this.#upstream;
    const sent = request({ host: hostname, port, method, path: url, headers: incoming.headers, agent: this.#agent });
    sent.on("error", breakOff);
    sent.on("response", (answer) => {
      answer.on("error", breakOff);
      if (lost) {
        answer.resume().on("end", () => {
          this.lost += 1;
          breakOff();
        });
        return;
      }
      outgoing.writeHead(answer.statusCode ?? 502, answer.statusMessage, answer.rawHeaders);
      outgoing.flushHeaders();
      answer.pipe(outgoing);
    });
    outgoing.on("close", () => sent.destroy());
    incoming.pipe(sent);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#agent.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}
