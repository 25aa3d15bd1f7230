/** The servers that every command is run against. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { DurableStreamTestServer } from "@durable-streams/server";
import { startServer } from "../process/coldbrook.ts";

export interface RunningServer extends AsyncDisposable {
  /** The URL above all streams. */
  readonly url: string;
}

export interface ServerKind {
  readonly name: string;
  start(): Promise<RunningServer>;
}

export const SERVERS: readonly ServerKind[] = [
  {
    name: "Coldbrook",
    async start() {
      const directory = await mkdtemp(path.join(tmpdir(), "coldbrook-cli-data-"));
      const server = await startServer({
        args: ["--data-dir", directory, "--long-poll-ms", "1000", "--chunk-bytes", "65536"],
      });
      return {
        url: `${server.url}/v1/stream`,
        async [Symbol.asyncDispose]() {
          await server[Symbol.asyncDispose]();
          await rm(directory, { recursive: true, force: true });
        },
      };
    },
  },
  {
    name: "the reference server",
    async start() {
      const server = new DurableStreamTestServer({ port: 0, longPollTimeout: 1000, webhooks: true });
      const url = await server.start();
      return { url: `${url}/v1/stream`, [Symbol.asyncDispose]: () => server.stop() };
    },
  },
];
