/** The protocol's official suite, run on the server as its users run it. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { runConformanceTests } from "@durable-streams/server-conformance-tests";
import { afterAll, beforeAll } from "vitest";
import { startServer } from "../process/coldbrook.ts";
import type { ServerProcess } from "../process/coldbrook.ts";

export interface Place {
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** Registers the whole suite against one server; `place` says where that keeps its data. */
export function suiteOn(place: (directory: string) => Promise<Place>): void {
  const options = { baseUrl: "", subscriptions: true };
  let server: ServerProcess | undefined;
  let directory = "";
  beforeAll(async () => {
    directory = await mkdtemp(path.join(tmpdir(), "coldbrook-conformance-"));
    const { args, env } = await place(directory);
    // The suite's webhook receivers listen on this machine.
    const loopback = [...args, "--webhook-loopback", "on"];
    server = await startServer(env === undefined ? { args: loopback } : { args: loopback, env });
    options.baseUrl = server.url;
  });
  afterAll(async () => {
    await server?.stop();
    await rm(directory, { recursive: true, force: true });
  });
  runConformanceTests(options);
}
