/** The protocol's official suite on the embeddable server, in this very process. */
import { runConformanceTests } from "@durable-streams/server-conformance-tests";
import { DurableStreamTestServer, type TestServerOptions } from "@coldbrook/server";
import { afterAll, beforeAll } from "vitest";

/** Registers the whole suite against one server; `options` says where that keeps its data. */
export function suiteOnEmbedded(options: () => Promise<TestServerOptions>): void {
  const config = { baseUrl: "", subscriptions: true };
  let server: DurableStreamTestServer | undefined;
  beforeAll(async () => {
    server = new DurableStreamTestServer({ port: 0, webhooks: true, ...(await options()) });
    config.baseUrl = await server.start();
  });
  afterAll(async () => {
    await server?.stop();
  });
  runConformanceTests(config);
}
