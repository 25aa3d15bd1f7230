// @ts-check
/**
 * A thousand sockets that ask for chunks of a 64 MiB stream and never read a byte: how far the server's resident memory
 * grows, and whether it still serves. Exit code 1 when a bound of the acceptance is missed.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { setTimeout as wait } from "node:timers/promises";
import { parseArgs } from "node:util";
import { progress } from "./bench-run.js";
import { send, sendOk, writeStream } from "./http-client.js";
import { readRss } from "./process-stats.js";
import { figure } from "./report.js";
import { requestHead } from "./requests.js";
import { whole } from "./settings.js";
import { TargetServer } from "./target-server.js";

const GROWTH_BYTES_MAX = 150 * 2 ** 20;
const STREAM_BYTES = 64 * 2 ** 20;
const MESSAGE_BYTES = 64 * 1024;
const SERVE_MS_MAX = 5000;
const CHUNKS_MAX = 4096;

const { values } = parseArgs({
  options: {
    help: { type: "boolean", default: false },
    readers: { type: "string", default: "1000" },
    gets: { type: "string", default: "8" },
    seconds: { type: "string", default: "20" },
    server: { type: "string" },
  },
});

if (values.help) {
  process.stdout.write(`node test/bench/stalled-readers.js [options]
  --readers N    sockets that never read (1000)
  --gets N       GETs sent on each, for N chunks in a row, so that kernel buffers alone cannot take them (8)
  --seconds N    how long memory is watched (20)
  --server FILE  start this command instead of packages/server/bin/coldbrook.js\n`);
} else {
  process.exitCode = await main();
}

/** @returns {Promise<number>} exit code */
async function main() {
  const dataDir = await mkdtemp(join(tmpdir(), "coldbrook-stalled-"));
  const command = values.server === undefined ? {} : { command: values.server };
  /** @type {TargetServer | null} */
  let server = null;
  /** @type {Socket[]} */
  let sockets = [];
  const close = async () => {
    for (const socket of sockets) socket.destroy();
    await server?.stop();
    await rm(dataDir, { recursive: true, force: true });
  };
  process.once("SIGINT", () => void close().finally(() => process.exit(130)));
  try {
    server = await TargetServer.start({ dataDir, ...command });
    const path = `${server.root}/bench-stalled`;
    await writeStream(server.address, { path, bytes: STREAM_BYTES, messageBytes: MESSAGE_BYTES });
    // Whatever one whole reader makes the server keep is not growth; two passes also let its heap settle.
    await readAll(server, path);
    const chunks = await readAll(server, path);
    const before = await readRss(server.pid);
    progress(`${chunks.length} chunks; RSS before: ${mebibytes(before.now)}`);
    sockets = await stall(server, path, chunks);
    const seconds = whole("seconds", values.seconds);
    let highest = before.now;
    for (const from = performance.now(); performance.now() - from < seconds * 1000; await wait(100)) {
      highest = Math.max(highest, (await readRss(server.pid)).now);
    }
    const open = sockets.filter((socket) => !socket.destroyed).length;
    return await judge(server, path, { growth: highest - before.now, open });
  } finally {
    await close();
  }
}

/** Reads the whole stream. @param {TargetServer} server @param {string} path @returns {Promise<string[]>} chunk offsets */
async function readAll(server, path) {
  const offsets = ["-1"];
  let bytes = 0;
  while (offsets.length <= CHUNKS_MAX) {
    const offset = encodeURIComponent(offsets.at(-1) ?? "-1");
    const { headers, body } = await sendOk(server.address, { method: "GET", path: `${path}?offset=${offset}` });
    bytes += body.length;
    if (headers["stream-up-to-date"] !== undefined) break;
    offsets.push(String(headers["stream-next-offset"]));
  }
  if (bytes !== STREAM_BYTES) throw new Error(`a read brought ${bytes} bytes of ${STREAM_BYTES}`);
  return offsets;
}

/** @param {TargetServer} server @param {string} path @param {readonly string[]} chunks @returns {Promise<Socket[]>} */
async function stall(server, path, chunks) {
  const gets = whole("gets", values.gets);
  const count = whole("readers", values.readers);
  /** @type {Socket[]} */
  const sockets = [];
  for (let reader = 0; reader < count; reader += 1) {
    const text = Array.from({ length: gets }, (_, index) => {
      const offset = chunks[(reader + index) % chunks.length] ?? "-1";
      return requestHead("GET", `${path}?offset=${encodeURIComponent(offset)}`, null, "127.0.0.1");
    }).join("");
    const socket = new Socket();
    // Paused before it connects, so that not one byte is ever read.
    socket.pause();
    await new Promise((resolve, reject) => {
      socket.once("error", reject);
      socket.connect({ ...server.address, noDelay: true }, () => resolve(null));
    });
    socket.removeAllListeners("error");
    // The server may drop a reader that stalls too long; that is its right.
    socket.on("error", () => {});
    socket.write(text);
    sockets.push(socket);
  }
  progress(`${count} readers have sent ${gets} GETs each and read nothing`);
  return sockets;
}

/** @param {TargetServer} server @param {string} path @param {{growth: number, open: number}} seen @returns {Promise<number>} */
async function judge(server, path, { growth, open }) {
  const marker = `after the stall ${process.pid}`;
  const from = performance.now();
  const appended = await send(server.address, {
    method: "POST",
    path,
    headers: { "Content-Type": "application/octet-stream" },
    body: marker,
  });
  const position = String((await sendOk(server.address, { method: "HEAD", path })).headers["stream-next-offset"]);
  const chunks = await readTail(server, path, marker);
  const elapsed = performance.now() - from;
  const serves = appended.status === 204 && chunks && elapsed < SERVE_MS_MAX;
  const grows = growth < GROWTH_BYTES_MAX;
  process.stdout.write(
    `${grows ? "pass" : "MISS"}  RSS growth: ${mebibytes(growth)}; < ${mebibytes(GROWTH_BYTES_MAX)} (${open} readers still open)\n` +
      `${serves ? "pass" : "MISS"}  append and read of the whole stream: ${figure(elapsed)} ms, status ${appended.status}, tail ${position}; < ${SERVE_MS_MAX} ms\n`,
  );
  return grows && serves ? 0 : 1;
}

/** Whether a read of the whole stream ends in `marker`. @param {TargetServer} server @param {string} path @param {string} marker */
async function readTail(server, path, marker) {
  let offset = "-1";
  for (let chunk = 0; chunk < CHUNKS_MAX; chunk += 1) {
    const { headers, body } = await sendOk(server.address, {
      method: "GET",
      path: `${path}?offset=${encodeURIComponent(offset)}`,
    });
    if (headers["stream-up-to-date"] !== undefined) return body.subarray(-marker.length).toString("latin1") === marker;
    offset = String(headers["stream-next-offset"]);
  }
  return false;
}

/** @param {number} bytes @returns {string} */
function mebibytes(bytes) {
  return `${figure(bytes / 2 ** 20)} MiB`;
}
