/** A small limit of open files: connections beyond it are refused, and the log, the catalog and the store have what they need. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { expect, test } from "vitest";
import { runCheck, startServer } from "../process/coldbrook.ts";
import { expectStatus, StreamClient } from "../process/http.ts";
import { until } from "../process/until.ts";
import { DataDirectory } from "./data-directory.ts";
import { messageOf } from "./filled-server.ts";

const OPEN_FILES = 256;
const CONNECTIONS = 1_000;
const STREAMS = 1_000;
const WRITERS = 8;
const BOUND_MS = 30_000;
const contentType = "text/plain";

/** Sockets that connect and stay; how many the server has kept. */
class Crowd {
  readonly #sockets: Socket[] = [];
  closed = 0;

  async join(url: string): Promise<void> {
    const { hostname, port } = new URL(url);
    const arrived = Array.from({ length: CONNECTIONS }, async () => {
      const socket = connect(Number(port), hostname);
      this.#sockets.push(socket);
      socket.on("error", () => undefined);
      socket.once("close", () => (this.closed += 1));
      socket.resume();
      await Promise.race([once(socket, "connect"), once(socket, "close")]).catch(() => undefined);
    });
    await Promise.all(arrived);
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}

test(`with ${OPEN_FILES} open files, ${CONNECTIONS} connections and ${STREAMS} streams, all is served or refused, and rolled`, async () => {
  await using data = await DataDirectory.empty();
  const args = [
    "--data-dir",
    data.path,
    "--segment-bytes",
    "65536",
    "--segment-age-ms",
    "100",
    "--chunk-bytes",
    "4096",
  ];
  await using server = await startServer({ args, openFiles: OPEN_FILES });
  using client = new StreamClient(server.url);
  const paths = Array.from({ length: STREAMS }, (_, number) => `many/stream-${number}`);
  const each = async (work: (path: string) => Promise<void>): Promise<void> => {
    const queue = [...paths];
    const worker = async (): Promise<void> => {
      for (let path = queue.pop(); path !== undefined; path = queue.pop()) await work(path);
    };
    await Promise.all(Array.from({ length: WRITERS }, worker));
  };
  await each(async (path) => {
    const body = messageOf(path, 0, 100);
    expectStatus(await client.create(path, { contentType, body }), `create ${path}`, 201);
  });

  {
    using crowd = new Crowd();
    await crowd.join(server.url);
    await until("refused connections", BOUND_MS, () => (crowd.closed >= CONNECTIONS - OPEN_FILES ? true : undefined));
    // Connections that were there before go on, and all that needs a descriptor behind them.
    await each(async (path) => {
      expectStatus(await client.append(path, messageOf(path, 1, 100), { contentType }), `append to ${path}`, 204);
    });
    expect(server.exit).toBe(undefined);
  }
  await until("the end of the rolls", BOUND_MS, async () => {
    const reply = await fetch(`${server.url}/health`).catch(() => undefined);
    const facts = (await reply?.json()) as { segmentsToRoll: number; unrolledBytes: number } | undefined;
    return facts?.segmentsToRoll === 0 && facts.unrolledBytes === 0 ? true : undefined;
  });
  await each(async (path) => {
    const { bytes } = await client.readAll(path);
    expect(bytes.toString()).toBe(messageOf(path, 0, 100) + messageOf(path, 1, 100));
  });
  expect(await server.stop()).toBe(0);
  const checked = await runCheck({ args: ["--data-dir", data.path] });
  expect(checked.code, checked.output).toBe(0);
});
