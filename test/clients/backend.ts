/** A Coldbrook process that clients keep the address of while it is killed and started again on the same data. */
import { DataDirectory } from "../faults/data-directory.ts";
import { startServer, type ServerProcess } from "../process/coldbrook.ts";
import { Relay } from "./relay.ts";

/** Segments so small and young that nearly every read crosses from the WAL to objects. */
export const CROSS_TIERS: readonly string[] = [
  "--segment-bytes",
  "4096",
  "--segment-age-ms",
  "50",
  "--cache-bytes-max",
  "0",
];

export class Backend implements AsyncDisposable {
  readonly relay: Relay;
  readonly #data: DataDirectory;
  readonly #args: readonly string[];
  #server: ServerProcess;
  #killing = false;

  private constructor(relay: Relay, data: DataDirectory, args: readonly string[], server: ServerProcess) {
    this.relay = relay;
    this.#data = data;
    this.#args = args;
    this.#server = server;
    this.#serveWith(server);
  }

  /** `args` follow `serve --port 0 --data-dir …`. */
  static async start(args: readonly string[] = []): Promise<Backend> {
    const data = await DataDirectory.empty();
    const server = await startServer({ args: ["--data-dir", data.path, ...args] });
    return new Backend(await Relay.start(), data, args, server);
  }

  /** The same for as long as this object lives, without a slash at the end. */
  get url(): string {
    return this.relay.url;
  }

  streamUrl(path: string): string {
    return `${this.url}/v1/stream/${path}`;
  }

  /** kill -9, and a new process on the same data directory; requests in between break off. */
  async crash(): Promise<void> {
    this.relay.pointTo(undefined);
    this.#killing = true;
    await this.#server.kill9();
    this.#killing = false;
    this.#serveWith(await startServer({ args: ["--data-dir", this.#data.path, ...this.#args] }));
  }

  #serveWith(server: ServerProcess): void {
    this.#server = server;
    this.relay.pointTo(server.url);
    void server.exited.then(() => {
      if (!this.#killing) this.relay.refuse(`the server under test has ended by itself${server.tailOfLog()}`);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#killing = true;
    await this.relay[Symbol.asyncDispose]();
    await this.#server[Symbol.asyncDispose]();
    await this.#data[Symbol.asyncDispose]();
  }
}
