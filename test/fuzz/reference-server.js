// @ts-check
/** The Node reference server with its streams in memory, as a process of its own: it may fall over, and says much. */
import { DurableStreamTestServer } from "@durable-streams/server";

const server = new DurableStreamTestServer({ port: 0, host: "127.0.0.1", longPollTimeout: Number(process.argv[2]) });
console.log(`reference listening on ${await server.start()}\n`);
process.once("SIGTERM", () => process.exit(0));
