// @ts-check
/**
 * The protocol's Node reference server as a process: `node reference-server.js PACKAGE PORT [DATA_DIR]`, in memory
 * without a directory. Its defaults otherwise.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [packageDirectory = "", port = "0", dataDir] = process.argv.slice(2);
const { module: entry } = JSON.parse(await readFile(join(packageDirectory, "package.json"), "utf8"));
const { DurableStreamTestServer } = /** @type {typeof import("@durable-streams/server")} */ (
  await import(pathToFileURL(join(packageDirectory, entry)).href)
);
const server = new DurableStreamTestServer({
  host: "127.0.0.1",
  port: Number(port),
  ...(dataDir === undefined ? {} : { dataDir }),
});
await server.start();
process.once("SIGTERM", () => process.exit(0));
