/** Readers that ask and never read: what they make the server hold is bounded, and it goes on serving (invariant 9). */
import { connect, type Socket } from "node:net";
import { once } from "node:events";
import { setTimeout as pause } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { startServer, type ServerProcess } from "../process/coldbrook.ts";
import { expectStatus, nextOffset, StreamClient } from "../process/http.ts";
import { DataDirectory } from "../faults/data-directory.ts";
import { until } from "../process/until.ts";
import { figuresOf, patternBytes, residentBytes, untilAllRolled } from "./served.ts";

const full = process.env["SCALE_FULL"] === "1";
const MIB = 1024 * 1024;
const STREAM_BYTES = 64 * MIB;
const MESSAGE_BYTES = 256 * 1024;
/** The acceptance takes a thousand, and 150 MiB. */
const READERS = full ? 1_000 : 200;
const GROWTH_BYTES_MAX = (full ? 150 : 75) * MIB;
/** Chunks that each asks for in a row: more than the kernel's buffers take. */
const GETS = 8;
const WATCH_MS = full ? 20_000 : 4_000;
const HOT_ARGS = ["--segment-bytes", "1GiB", "--segment-age-ms", "3600000"];
const COLD_ARGS = ["--segment-age-ms", "500", "--cache-bytes-max", "0"];
const contentType = "application/octet-stream";
const path = "scale/stalled";

describe.runIf(process.platform === "linux")(`${READERS} readers that never read`, () => {
  test.each([
    ["from the WAL", HOT_ARGS, false],
    ["from objects", COLD_ARGS, true],
  ])(
    `%s: resident memory grows by less than ${GROWTH_BYTES_MAX / MIB} MiB, and the server goes on serving`,
    { timeout: 180_000 },
    async (_, args, cold) => {
      await using data = await DataDirectory.empty();
      const all = ["--data-dir", data.path, ...args];
      await using writer = await startServer({ args: all });
      const written = await write(writer);
      if (cold) {
        await untilAllRolled(writer.url);
        expect(await writer.stop()).toBe(0);
      }
      await using server = cold ? await startServer({ args: all }) : undefined;
      const served = server ?? writer;
      using client = new StreamClient(served.url);
      // What whole readers make the server keep is not growth; a second pass lets its heap settle.
      await client.readAll(path);
      const { chunks } = await client.readAll(path);
      const before = await residentBytes(served.pid);
      const sockets = await stall(
        served,
        chunks.map((chunk) => chunk.from),
      );
      try {
        let highest = before;
        for (let watched = 0; watched < WATCH_MS; watched += 50) {
          highest = Math.max(highest, await residentBytes(served.pid));
          await pause(50);
        }
        expect(highest - before, "bytes of growth").toBeLessThan(GROWTH_BYTES_MAX);
        expect(sockets.filter((socket) => !socket.destroyed).length, "readers that still wait").toBe(READERS);
        expectStatus(await client.append(path, "and one more", { contentType }), "append", 204);
        const whole = await client.readAll(path);
        expect(whole.bytes.equals(Buffer.concat([written, Buffer.from("and one more")])), "the whole stream").toBe(
          true,
        );
      } finally {
        for (const socket of sockets) socket.destroy();
      }
      // Also what was held for requests whose turn on their connection never came.
      await until("all that those readers held to be given back", 30_000, async () =>
        (await figuresOf(served.url)).bodiesInFlightBytes === 0 ? true : undefined,
      );
    },
  );
});

async function write(server: ServerProcess): Promise<Buffer> {
  using client = new StreamClient(server.url);
  expectStatus(await client.create(path, { contentType }), "create", 201);
  const part = patternBytes(MESSAGE_BYTES, 1);
  const messages: Buffer[] = [];
  for (let index = 0; index < STREAM_BYTES / MESSAGE_BYTES; index += 1) {
    const message = Buffer.from(part);
    message.writeUInt32LE(index);
    expectStatus(await client.append(path, message, { contentType }), "append", 204);
    messages.push(message);
  }
  expect(nextOffset(await client.head(path)).endsWith(String(STREAM_BYTES))).toBe(true);
  return Buffer.concat(messages);
}

/** Sockets that have sent their GETs, each begun at another chunk, and are paused before the first byte comes. */
async function stall(server: ServerProcess, offsets: readonly string[]): Promise<Socket[]> {
  const { hostname, port } = new URL(server.url);
  const sockets: Socket[] = [];
  for (let reader = 0; reader < READERS; reader += 1) {
    const requests = Array.from({ length: GETS }, (_, index) => {
      const offset = offsets[(reader + index) % offsets.length] ?? "-1";
      return `GET /v1/stream/${path}?offset=${offset} HTTP/1.1\r\nHost: ${hostname}\r\n\r\n`;
    });
    const socket = connect({ host: hostname, port: Number(port) });
    socket.pause();
    socket.on("error", () => undefined);
    sockets.push(socket);
    await once(socket, "connect");
    socket.write(requests.join(""));
  }
  return sockets;
}
