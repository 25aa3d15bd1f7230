// @ts-check
/**
 * What the figures are held against: `node:http` doing the least that can be called the same work, in a process of its
 * own. Each variant listens on a port of its own, so that none pays for telling requests apart.
 *
 * - `discard`: reads the body, answers 204.
 * - `synced`: the same, but one write and one fdatasync for all bodies that arrived during the last one, then the 204s.
 * - `eachNow`: reads the body, writes it and calls fdatasync for it alone, without leaving the event loop's turn, then 204.
 * - `eachLater`: the same by the asynchronous calls, one after another.
 * - `memory`: answers each GET with the next 1 MiB of 64 MiB in memory, as many bytes as the stream beside it has: one
 *   megabyte alone would stay in the processor's cache, and a copy out of that says nothing of a server with data.
 * - `file`: answers GET /N with the next 1 MiB of file N, read from the disk (or the page cache) each time.
 * - `fanOut`: keeps every GET open; a POST is written to each of them with one `res.write`, then answered 204.
 */
import { once } from "node:events";
import { fdatasync, fdatasyncSync, openSync, read, write, writeSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";

const CHUNK_BYTES = 1024 * 1024;
const CHUNKS = 64;

/** @typedef {import("node:http").RequestListener} RequestListener */
/** @typedef {{discard: number, synced: number, eachNow: number, eachLater: number, memory: number, file: number, fanOut: number}} BarePorts */

/** @type {RequestListener} */
const discard = (request, response) => {
  /** @type {Buffer[]} */
  const parts = [];
  request.on("data", (/** @type {Buffer} */ part) => parts.push(part));
  request.on("end", () => {
    response.writeHead(204);
    response.end();
  });
};

/** @param {string} file @returns {RequestListener} */
function synced(file) {
  const descriptor = openSync(file, "a");
  /** @type {Buffer[]} */
  let bodies = [];
  /** @type {import("node:http").ServerResponse[]} */
  let waiting = [];
  let busy = false;
  const commit = () => {
    if (waiting.length === 0) {
      busy = false;
      return;
    }
    busy = true;
    const batch = waiting;
    const bytes = Buffer.concat(bodies);
    waiting = [];
    bodies = [];
    write(descriptor, bytes, (failure) => {
      if (failure !== null) throw failure;
      fdatasync(descriptor, (error) => {
        if (error !== null) throw error;
        for (const response of batch) {
          response.writeHead(204);
          response.end();
        }
        commit();
      });
    });
  };
  return (request, response) => {
    request.on("data", (/** @type {Buffer} */ part) => bodies.push(part));
    request.on("end", () => {
      waiting.push(response);
      if (!busy) commit();
    });
  };
}

/** @param {string} file @returns {RequestListener} */
function eachNow(file) {
  const descriptor = openSync(file, "a");
  return (request, response) => {
    /** @type {Buffer[]} */
    const parts = [];
    request.on("data", (/** @type {Buffer} */ part) => parts.push(part));
    request.on("end", () => {
      for (const part of parts) writeSync(descriptor, part);
      fdatasyncSync(descriptor);
      response.writeHead(204);
      response.end();
    });
  };
}

/** One writer waits for each answer, so that nothing has to keep requests apart. @param {string} file @returns {RequestListener} */
function eachLater(file) {
  const descriptor = openSync(file, "a");
  return (request, response) => {
    /** @type {Buffer[]} */
    const parts = [];
    request.on("data", (/** @type {Buffer} */ part) => parts.push(part));
    request.on("end", () => {
      const [first = Buffer.alloc(0)] = parts;
      write(descriptor, parts.length === 1 ? first : Buffer.concat(parts), (failure) => {
        if (failure !== null) throw failure;
        fdatasync(descriptor, (error) => {
          if (error !== null) throw error;
          response.writeHead(204);
          response.end();
        });
      });
    });
  };
}

/** @returns {RequestListener} */
function memory() {
  const chunks = Array.from({ length: CHUNKS }, (_, i) => Buffer.alloc(CHUNK_BYTES, 97 + (i % 26)));
  let next = 0;
  return (_request, response) => {
    const chunk = /** @type {Buffer} */ (chunks[next]);
    next = (next + 1) % CHUNKS;
    response.writeHead(200, { "Content-Type": "application/octet-stream", "Content-Length": chunk.length });
    response.end(chunk);
  };
}

/** @type {{descriptor: number, bytes: number, at: number}[]} */
let files = [];

/** @returns {RequestListener} */
function file() {
  /** @type {Buffer[]} */
  const free = [];
  return (request, response) => {
    const source = files[Number(request.url?.slice(1)) % files.length];
    if (source === undefined) {
      response.writeHead(404, { "Content-Length": 0 });
      response.end();
      return;
    }
    const from = source.at;
    source.at = from + CHUNK_BYTES >= source.bytes ? 0 : from + CHUNK_BYTES;
    const buffer = free.pop() ?? Buffer.allocUnsafeSlow(CHUNK_BYTES);
    read(source.descriptor, buffer, 0, CHUNK_BYTES, from, (failure, bytes) => {
      if (failure !== null) throw failure;
      response.on("close", () => free.push(buffer));
      response.writeHead(200, { "Content-Type": "application/octet-stream", "Content-Length": bytes });
      response.end(buffer.subarray(0, bytes));
    });
  };
}

/** @returns {RequestListener} */
function fanOut() {
  const control = 'event: control\ndata:{"streamNextOffset":"0000000000000001_0000000000000100","upToDate":true}\n\n';
  /** @type {Set<import("node:http").ServerResponse>} */
  const subscribers = new Set();
  return (request, response) => {
    if (request.method === "GET") {
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      response.write(control);
      subscribers.add(response);
      response.on("close", () => subscribers.delete(response));
      return;
    }
    let body = "";
    request.on("data", (part) => {
      body += part;
    });
    request.on("end", () => {
      const events = `event: data\ndata:${body}\n\n${control}`;
      for (const subscriber of subscribers) subscriber.write(events);
      response.writeHead(204);
      response.end();
    });
  };
}

/** @param {RequestListener} listener @returns {Promise<number>} the port */
async function listen(listener) {
  const server = createServer({ keepAliveTimeout: 120_000 }, listener);
  server.listen(0, "127.0.0.1", 4096);
  await once(server, "listening");
  return /** @type {import("node:net").AddressInfo} */ (server.address()).port;
}

/** @typedef {{id: number, kind: "listen", directory: string} | {id: number, kind: "files", files: {path: string, bytes: number}[]}} BareJob */

process.on("message", async (/** @type {BareJob} */ job) => {
  if (job.kind === "files") {
    files = job.files.map(({ path, bytes }) => ({ descriptor: openSync(path, "r"), bytes, at: 0 }));
    process.send?.({ id: job.id, result: null });
    return;
  }
  const result = {
    discard: await listen(discard),
    synced: await listen(synced(join(job.directory, "synced.dat"))),
    eachNow: await listen(eachNow(join(job.directory, "each-now.dat"))),
    eachLater: await listen(eachLater(join(job.directory, "each-later.dat"))),
    memory: await listen(memory()),
    file: await listen(file()),
    fanOut: await listen(fanOut()),
  };
  process.send?.({ id: job.id, result });
});
process.on("disconnect", () => process.exit(0));
