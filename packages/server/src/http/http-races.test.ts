import fs from "node:fs";
import type { IncomingMessage } from "node:http";
import { connect, type Socket } from "node:net";
import { PassThrough } from "node:stream";
import { once } from "node:events";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import {
  BODIES_IN_FLIGHT_BYTES_MAX,
  HEADER_COUNT_MAX,
  REQUEST_BODIES_BYTES_MAX,
  type ObjectStore,
} from "@coldbrook/core";
import { MemoryObjectStore } from "@coldbrook/tiering";
import { afterEach, describe, expect, test, vi } from "vitest";
import { START_MS, temporaryDirectory } from "../../test-support/shard.ts";
import { startColdbrook, type Coldbrook, type Components } from "../compose.ts";
import { readSettings, type Settings } from "../settings.ts";
import { BodyReceiver } from "./body.ts";

const MIB = 1024 * 1024;
const ROOT = "/v1/stream";
const TEXT = { "content-type": "text/plain" };

afterEach(() => vi.restoreAllMocks());

/** A server in this process, on a port the system chooses, with a memory store and a clock that stands still. */
class Served implements AsyncDisposable {
  nowMs = START_MS;
  readonly fatal: Error[] = [];
  readonly steps: string[] = [];
  readonly store: ObjectStore;
  #coldbrook!: Coldbrook;
  readonly #directory: { path: string } & AsyncDisposable;
  readonly #settings: Partial<Settings>;
  readonly #sockets: Socket[] = [];

  private constructor(directory: { path: string } & AsyncDisposable, settings: Partial<Settings>, store: ObjectStore) {
    this.#directory = directory;
    this.#settings = settings;
    this.store = store;
  }

  static async start(settings: Partial<Settings> = {}, store: ObjectStore = new MemoryObjectStore()): Promise<Served> {
    const served = new Served(await temporaryDirectory(), settings, store);
    await served.#start();
    return served;
  }

  async #start(): Promise<void> {
    const settings = { ...readSettings(["--data-dir", this.#directory.path, "--port", "0"], {}), ...this.#settings };
    const components: Components = {
      store: this.store,
      clock: () => this.nowMs,
      onFatal: (error) => this.fatal.push(error),
      faultPoint: (step) => this.steps.push(step),
    };
    this.#coldbrook = await startColdbrook(settings, components);
  }

  async restart(): Promise<void> {
    this.#drop();
    await this.#coldbrook.close();
    await this.#start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#drop();
    await this.#coldbrook.close();
    await this.#directory[Symbol.asyncDispose]();
  }

  #drop(): void {
    for (const socket of this.#sockets.splice(0)) socket.destroy();
  }

  fetch(method: string, name: string, init: RequestInit = {}): Promise<Response> {
    return fetch(`${this.#coldbrook.url}${ROOT}/${name}`, { method, headers: TEXT, ...init });
  }

  async text(name: string): Promise<string> {
    return (await this.fetch("GET", `${name}?offset=-1`)).text();
  }

  async health(): Promise<Record<string, number>> {
    return (await fetch(`${this.#coldbrook.url}/health`)).json() as Promise<Record<string, number>>;
  }

  async untilHealth(holds: (facts: Record<string, number>) => boolean): Promise<void> {
    while (!holds(await this.health())) {
      if (this.fatal.length > 0) throw this.fatal[0]!;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async connect(): Promise<Connection> {
    const { hostname, port } = new URL(this.#coldbrook.url);
    const socket = connect(Number(port), hostname);
    this.#sockets.push(socket);
    socket.setNoDelay(true);
    await once(socket, "connect");
    return new Connection(socket);
  }
}

/** A raw connection: requests go out as they are written, in one piece. */
class Connection {
  readonly socket: Socket;
  received = "";

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setEncoding("latin1");
    socket.on("data", (text: string) => (this.received += text)).on("error", () => undefined);
  }

  send(...requests: readonly string[]): void {
    this.socket.write(requests.join(""));
  }

  async until(holds: (received: string) => boolean): Promise<string> {
    while (!holds(this.received)) {
      if (this.socket.closed) throw new Error(`the connection ended after: ${this.received}`);
      await new Promise((resolve) => setImmediate(resolve));
    }
    return this.received;
  }

  /** Drops what is received up to the first control event of an SSE response. */
  firstControlEvent(): Promise<void> {
    let last = "";
    this.socket.removeAllListeners("data");
    return new Promise((resolve) => {
      this.socket.on("data", (text: string) => {
        last = last.slice(-20) + text;
        if (last.includes("event: control")) resolve();
      });
    });
  }

  /** Statuses of the next `count` responses; what was received is forgotten. */
  async statuses(count: number): Promise<number[]> {
    await this.until((text) => statusesIn(text).length >= count);
    const statuses = statusesIn(this.received);
    this.received = "";
    return statuses;
  }

  async ended(): Promise<string> {
    if (!this.socket.closed) await once(this.socket, "close");
    return this.received;
  }
}

function statusesIn(text: string): number[] {
  return [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map((match) => Number(match[1]));
}

function raw(method: string, target: string, body = "", headers: readonly string[] = []): string {
  const all = ["Host: x", "Content-Type: text/plain", ...headers, `Content-Length: ${body.length}`];
  return `${method} ${ROOT}/${target} HTTP/1.1\r\n${all.join("\r\n")}\r\n\r\n${body}`;
}

/** Keeps syncs of the log back; a few writers at once never sync on the calling thread. */
function holdSyncs(): () => void {
  const real = fs.fdatasync;
  const held: (() => void)[] = [];
  const spy = vi.spyOn(fs, "fdatasync").mockImplementation((fd, done) => void held.push(() => real(fd, done)));
  return () => {
    spy.mockRestore();
    for (const sync of held.splice(0)) sync();
  };
}

describe("requests of several connections at the same moment", () => {
  test("PUT, DELETE and POST of a new path: no append is acknowledged behind the delete, and the server starts again", async () => {
    await using served = await Served.start();
    const [put, del, post] = await Promise.all([served.connect(), served.connect(), served.connect()]);
    const expected: string[] = [];
    for (let round = 0; round < 60; round++) {
      const name = `s/${round}`;
      put.send(raw("PUT", name));
      del.send(raw("DELETE", name));
      post.send(raw("POST", name, "data"));
      const [[made], [deleted], [appended]] = await Promise.all([put.statuses(1), del.statuses(1), post.statuses(1)]);
      expect(made).toBe(201);
      expect([204, 404]).toContain(deleted);
      expect([204, 404]).toContain(appended);
      const { status } = await served.fetch("HEAD", name);
      expect(status).toBe(deleted === 204 ? 404 : 200);
      expected.push(deleted === 204 ? "gone" : appended === 204 ? "data" : "");
    }
    expect(served.fatal).toEqual([]);
    await served.restart();
    const found = await Promise.all(
      expected.map(async (_, round) => {
        const response = await served.fetch("GET", `s/${round}?offset=-1`);
        const text = await response.text();
        return response.status === 404 ? "gone" : text;
      }),
    );
    expect(found).toEqual(expected);
    await served.untilHealth(({ segmentsToRoll }) => segmentsToRoll === 0);
    expect(served.fatal).toEqual([]);
  });

  test("DELETE and two PUTs: exactly one of them creates", async () => {
    await using served = await Served.start();
    const [del, first, second] = await Promise.all([served.connect(), served.connect(), served.connect()]);
    for (let round = 0; round < 40; round++) {
      const name = `t/${round}`;
      await served.fetch("PUT", name, { body: "old" });
      del.send(raw("DELETE", name));
      first.send(raw("PUT", name, "AAA"));
      second.send(raw("PUT", name, "BBBB"));
      const [[deleted], ...puts] = await Promise.all([del.statuses(1), first.statuses(1), second.statuses(1)]);
      expect(deleted).toBe(204);
      const created = puts.flat().filter((status) => status === 201).length;
      expect(created, `round ${round}: ${puts.flat().join(", ")}`).toBeLessThanOrEqual(1);
      expect(puts.flat().every((status) => [200, 201, 409].includes(status))).toBe(true);
      const { status } = await served.fetch("HEAD", name);
      expect(status).toBe(created === 1 ? 200 : 404);
    }
    expect(served.fatal).toEqual([]);
  });
});

describe("requests sent down one connection without waiting", () => {
  test("two PUTs of an expired stream: one creates, the other finds that", async () => {
    await using served = await Served.start();
    await served.fetch("PUT", "a", { headers: { ...TEXT, "stream-ttl": "1" }, body: "old" });
    served.nowMs += 1_003;
    const connection = await served.connect();
    connection.send(raw("PUT", "a"), raw("PUT", "a"));
    expect(await connection.statuses(2)).toEqual([201, 200]);
    await served.restart();
    expect(await served.text("a")).toBe("");
    expect(served.fatal).toEqual([]);
  });

  test("a GET behind POSTs sees them all; the POSTs keep their order and share commits", async () => {
    await using served = await Served.start();
    await served.fetch("PUT", "a");
    const parts = Array.from({ length: 40 }, (_, i) => `part ${i};`);
    const connection = await served.connect();
    const before = served.steps.filter((step) => step === "commit.write").length;
    connection.send(...parts.map((part) => raw("POST", "a", part)), raw("GET", "a?offset=-1"));
    const all = await connection.until((text) => text.endsWith(parts.at(-1)!));
    const commits = served.steps.filter((step) => step === "commit.write").length - before;
    expect(all.endsWith(`\r\n\r\n${parts.join("")}`)).toBe(true);
    expect(statusesIn(all)).toEqual([...parts.map(() => 204), 200]);
    const offsets = [...all.matchAll(/Stream-Next-Offset: (\S+)/gi)].map((match) => match[1]!);
    expect(offsets).toEqual([...offsets].sort());
    expect(new Set(offsets).size).toBe(parts.length);
    expect(commits).toBeLessThanOrEqual(parts.length / 4);
  });

  test("a GET behind a PUT finds the stream, and behind a DELETE does not", async () => {
    await using served = await Served.start();
    const connection = await served.connect();
    connection.send(raw("PUT", "a", "x"), raw("GET", "a"), raw("DELETE", "a"), raw("GET", "a"));
    expect(await connection.statuses(4)).toEqual([201, 200, 204, 404]);
  });

  test("a malformed request behind an SSE response that is under way writes nothing into it", async () => {
    await using served = await Served.start();
    await served.fetch("PUT", "a", { body: "hello" });
    const connection = await served.connect();
    connection.send(`GET ${ROOT}/a?offset=-1&live=sse HTTP/1.1\r\nHost: x\r\n\r\n`);
    await connection.until((text) => text.includes("event: control"));
    connection.send("THIS IS NO REQUEST\r\n\r\n");
    const all = await connection.ended();
    expect(statusesIn(all)).toEqual([200]);
    expect(all).not.toContain("400");
  });

  test("POSTs behind a PUT or a GET that waits its turn keep their order", async () => {
    await using served = await Served.start();
    const connection = await served.connect();
    const parts = Array.from({ length: 10 }, (_, i) => `${i}`);
    connection.send(raw("PUT", "a"), ...parts.map((part) => raw("POST", "a", part)));
    connection.send(raw("GET", "a"), raw("POST", "a", "x"), raw("POST", "a", "y"), raw("GET", "a?offset=-1"));
    expect(await connection.statuses(15)).toEqual([201, ...parts.map(() => 204), 200, 204, 204, 200]);
    expect(await served.text("a")).toBe(`${parts.join("")}xy`);
  });

  test("a producer's requests behind its create are taken in order", async () => {
    await using served = await Served.start();
    const connection = await served.connect();
    const by = (seq: number): string[] => ["Producer-Id: p", "Producer-Epoch: 0", `Producer-Seq: ${seq}`];
    connection.send(raw("PUT", "a"), raw("POST", "a", "A", by(0)), raw("POST", "a", "B", by(1)));
    expect(await connection.statuses(3)).toEqual([201, 200, 200]);
    expect(await served.text("a")).toBe("AB");
  });

  test("nothing behind a response that ends the connection takes effect", async () => {
    await using served = await Served.start();
    await served.fetch("PUT", "a");
    const connection = await served.connect();
    const bad = raw("POST", "a", "BAD").replace("text/plain", "no media type");
    connection.send(bad + raw("POST", "a", "AFTER"));
    expect(statusesIn(await connection.ended())).toEqual([400]);
    expect(await served.text("a")).toBe("");
  });

  test("a write that garbage follows is answered for what it did, and the garbage for what it is", async () => {
    await using served = await Served.start();
    await served.fetch("PUT", "a");
    const connection = await served.connect();
    connection.send(`${raw("POST", "a", "DATA")}GARBAGE\r\n\r\n`);
    expect(statusesIn(await connection.ended())).toEqual([204, 400]);
    expect(await served.text("a")).toBe("DATA");
  });

  test("a malformed request on a connection that nothing is answered on is told so", async () => {
    await using served = await Served.start();
    const connection = await served.connect();
    connection.send(raw("PUT", "a"));
    expect(await connection.statuses(1)).toEqual([201]);
    connection.send("THIS IS NO REQUEST\r\n\r\n");
    expect(statusesIn(await connection.ended())).toEqual([400]);
  });
});

describe("targets and encodings", () => {
  test("an absolute-form target names the same stream", async () => {
    await using served = await Served.start();
    await served.fetch("PUT", "a", { body: "x" });
    const connection = await served.connect();
    connection.send(raw("GET", "a").replace(`GET ${ROOT}`, `GET http://example.test${ROOT}`));
    expect(await connection.statuses(1)).toEqual([200]);
  });

  test.each([
    ["Content-Encoding: gzip", 415],
    ["Transfer-Encoding: gzip, chunked", 501],
  ])("a body with %s is refused with %i, and nothing is stored", async (header, status) => {
    await using served = await Served.start();
    await served.fetch("PUT", "a");
    const connection = await served.connect();
    const length = header.startsWith("Transfer") ? "" : "Content-Length: 1\r\n";
    const body = header.startsWith("Transfer") ? "1\r\nx\r\n0\r\n\r\n" : "x";
    connection.send(
      `POST ${ROOT}/a HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n${header}\r\n${length}\r\n${body}`,
    );
    expect(statusesIn(await connection.ended())).toEqual([status]);
    expect(await served.text("a")).toBe("");
  });

  test("a close without a body does not look at its content type, whatever announces the empty body", async () => {
    await using served = await Served.start();
    await served.fetch("PUT", "a");
    const connection = await served.connect();
    connection.send(
      `POST ${ROOT}/a HTTP/1.1\r\nHost: x\r\nContent-Type: garbage\r\nStream-Closed: true\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    );
    expect(await connection.statuses(1)).toEqual([204]);
  });
});

describe("a stream with a sliding TTL", () => {
  test("does not expire while a live reader waits on it", async () => {
    await using served = await Served.start({ longPollMs: 60_000 });
    await served.fetch("PUT", "a", { headers: { ...TEXT, "stream-ttl": "1" } });
    const offset = (await served.fetch("HEAD", "a")).headers.get("stream-next-offset")!;
    const connection = await served.connect();
    connection.send(raw("GET", `a?offset=${offset}&live=long-poll`));
    await served.untilHealth(({ waiters }) => waiters === 1);
    served.nowMs += 5_000;
    expect((await served.fetch("HEAD", "a")).status).toBe(200);
    expect((await served.fetch("POST", "a", { body: "x" })).status).toBe(204);
    expect(await connection.statuses(1)).toEqual([200]);
    served.nowMs += 5_000;
    expect((await served.fetch("HEAD", "a")).status).toBe(404);
  });
});

describe("header fields", () => {
  const filler = (count: number): string[] => Array.from({ length: count }, (_, i) => `X-${i}: a`);

  test(`${HEADER_COUNT_MAX + 1} of them are refused with 431, and nothing is stored`, async () => {
    await using served = await Served.start();
    const connection = await served.connect();
    connection.send(raw("PUT", "a", "hello", filler(HEADER_COUNT_MAX - 2)));
    expect(await connection.statuses(1)).toEqual([431]);
    expect((await served.fetch("GET", "a")).status).toBe(404);
  });

  test(`${HEADER_COUNT_MAX} of them are taken, the last one with the rest`, async () => {
    await using served = await Served.start();
    const connection = await served.connect();
    connection.send(raw("PUT", "a", "hello", filler(HEADER_COUNT_MAX - 3)));
    expect(await connection.statuses(1)).toEqual([201]);
    expect(await served.text("a")).toBe("hello");
  });
});

describe("request bodies that wait for their commit", () => {
  test("are counted in /health until they are durable, and no longer", async () => {
    await using served = await Served.start();
    await Promise.all(["a", "b", "c"].map((name) => served.fetch("PUT", name)));
    const release = holdSyncs();
    const waiting = ["a", "b", "c"].map((name) => served.fetch("POST", name, { body: Buffer.alloc(MIB, 65) }));
    try {
      await served.untilHealth(
        ({ bodiesHeldBytes, memoryTailBytes }) => bodiesHeldBytes === 3 * MIB && memoryTailBytes === 0,
      );
      // Received whole, and yet nobody is answered.
      for (let turn = 0; turn < 5; turn++) expect((await served.health())["bodiesHeldBytes"]).toBe(3 * MIB);
    } finally {
      release();
    }
    expect((await Promise.all(waiting)).map(({ status }) => status)).toEqual([204, 204, 204]);
    expect((await served.health())["bodiesHeldBytes"]).toBe(0);
  });

  test("leave no room for others past the bound, until they are released", async () => {
    const bodies = new BodyReceiver(REQUEST_BODIES_BYTES_MAX);
    const upload = Object.assign(new PassThrough(), {
      headers: { "content-length": "4" },
    }) as unknown as IncomingMessage;
    const large = { headers: { "content-length": `${REQUEST_BODIES_BYTES_MAX}` } } as unknown as IncomingMessage;
    expect(bodies.judge(large)).toBeNull();
    const receiving = bodies.receive(upload);
    (upload as unknown as PassThrough).end("body");
    const received = await receiving;
    expect(bodies.judge(large)).toMatchObject({ status: 503, code: "too-many-bodies" });
    if (received.kind === "body") received.release();
    expect(bodies.judge(large)).toBeNull();
  });
});

/** Bytes of array buffers that are still referred to. */
async function arrayBufferBytes(): Promise<number> {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  for (let turn = 0; turn < 5; turn++) {
    collect();
    await new Promise((resolve) => setImmediate(resolve));
  }
  return process.memoryUsage().arrayBuffers;
}

describe("SSE readers that left", () => {
  test.each([
    ["large", 16, MIB],
    ["small", 80, 200 * 1024],
  ])("leave no encoded events behind: %s ones", async (_, streams, bytes) => {
    await using served = await Served.start();
    const body = Buffer.alloc(bytes, 65);
    const before = await arrayBufferBytes();
    for (let i = 0; i < streams; i++) {
      await (await served.fetch("PUT", `s/${i}`, { body })).arrayBuffer();
      const connection = await served.connect();
      connection.send(`GET ${ROOT}/s/${i}?offset=-1&live=sse HTTP/1.1\r\nHost: x\r\n\r\n`);
      await connection.firstControlEvent();
      connection.socket.destroy();
    }
    await served.untilHealth(({ waiters }) => waiters === 0);
    const { memoryTailBytes } = await served.health();
    const kept = (await arrayBufferBytes()) - before - memoryTailBytes!;
    expect(kept, "bytes kept beyond the memory tail").toBeLessThan((streams * bytes) / 3);
  });
});

test("clients that leave while cold bytes are fetched leave nothing counted in flight", async () => {
  const inner = new MemoryObjectStore();
  let reads = 0;
  let gate: Promise<void> = Promise.resolve();
  const store: ObjectStore = new Proxy(inner, {
    get(target, name) {
      if (name === "read") {
        return async (key: string, from: number, to: number): Promise<Uint8Array> => {
          reads += 1;
          await gate;
          return target.read(key, from, to);
        };
      }
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
  await using served = await Served.start({ segmentAgeMs: 50, cacheBytesMax: 0 }, store);
  const streams = 3;
  for (let i = 0; i < streams; i++) await served.fetch("PUT", `s/${i}`, { body: Buffer.alloc(MIB, 65) });
  await served.untilHealth(({ hotExtents }) => hotExtents === 0);
  for (let i = 0; i < streams; i++) {
    let open!: () => void;
    gate = new Promise((resolve) => (open = resolve));
    const before = reads;
    const connection = await served.connect();
    connection.send(`GET ${ROOT}/s/${i}?offset=-1 HTTP/1.1\r\nHost: x\r\n\r\n`);
    await served.untilHealth(() => reads > before);
    connection.socket.resetAndDestroy();
    for (let turn = 0; turn < 3; turn++) await served.health();
    open();
    // Another reader of the same bytes ends after the one that left.
    expect((await served.text(`s/${i}`)).length).toBe(MIB);
  }
  expect(streams * MIB).toBeLessThan(BODIES_IN_FLIGHT_BYTES_MAX);
  await served.untilHealth(
    ({ bodiesInFlightBytes }) => bodiesInFlightBytes! <= 0 || bodiesInFlightBytes === streams * MIB,
  );
  expect((await served.health())["bodiesInFlightBytes"]).toBe(0);
});
