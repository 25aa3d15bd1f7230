import http from "node:http";
import type { Server } from "node:http";
import {
  BODIES_IN_FLIGHT_BYTES_MAX,
  DEFAULT_CURSOR_SCHEDULE,
  StreamError,
  STALLED_READER_MS,
  type StreamState,
} from "@coldbrook/core";
import { afterEach, describe, expect, test, vi } from "vitest";
import { ask, START_MS } from "../../test-support/shard.ts";
import type { Stream } from "../engine/stream.ts";
import { openMemoryEngine, type MemoryEngine } from "../memory-engine.ts";
import { Exchange } from "./exchange.ts";
import { InProcessSocket } from "./in-process-socket.ts";
import { startOf, type ReadContext } from "./read-context.ts";
import { sse } from "./sse.ts";

const KIB = 1024;

afterEach(() => vi.restoreAllMocks());

/** The handler alone, over connections inside of this process: what a client does not read waits in the server. */
class Served implements AsyncDisposable {
  readonly memory: MemoryEngine = openMemoryEngine({ clock: () => this.nowMs, segmentAgeMs: 86_400_000 });
  readonly logged: object[] = [];
  readonly failed: unknown[] = [];
  readonly draining = new AbortController();
  nowMs: number = START_MS;
  readonly #server: Server;
  readonly #ends: InProcessSocket[] = [];

  constructor(sseMs = 60_000) {
    const { engine, reader } = this.memory;
    const context: ReadContext = {
      engine,
      reader,
      clock: () => this.nowMs,
      random: () => 0,
      streamRoot: "",
      longPollMs: 1_000,
      sseMs,
      textEvents: "text",
      cursorSchedule: DEFAULT_CURSOR_SCHEDULE,
      compressor: null,
      draining: this.draining.signal,
      log: { error: (facts) => this.logged.push(facts) },
    };
    const serve = async (exchange: Exchange): Promise<void> => {
      const start = await startOf(context, exchange);
      if ("status" in start) exchange.problem(start);
      else await sse(context, exchange, start);
    };
    this.#server = http.createServer((request, response) => {
      const [path = "", search = ""] = request.url!.slice(1).split("?");
      serve(new Exchange(request, response, path, search)).catch((error: unknown) => this.failed.push(error));
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const end of this.#ends) end.destroy();
    this.#server.close();
    await this.memory.close();
  }

  create(contentType = "text/plain"): Stream {
    this.memory.engine.createNow("s", ask({ contentType }), Buffer.alloc(0));
    return this.memory.engine.find("s")!.stream;
  }

  append(body: string | Buffer, close = false): void {
    const { contentType } = this.memory.engine.find("s")!.state.identity.config;
    const bytes = typeof body === "string" ? Buffer.from(body) : body;
    const result = this.memory.engine.appendNow("s", {
      contentType,
      body: bytes,
      close,
      producer: null,
      streamSeq: null,
    });
    expect(result.kind).toBe("decided");
  }

  get waiters(): number {
    return this.memory.engine.stats.waiters;
  }

  connect(): Client {
    const [client, end] = InProcessSocket.pair();
    this.#ends.push(client, end);
    this.#server.emit("connection", end);
    return new Client(client, end);
  }

  /** Subscribers that have their first event. */
  async subscribe(count: number, query = "offset=now", version = "1.1"): Promise<Client[]> {
    const clients = Array.from({ length: count }, () => this.connect());
    for (const client of clients) client.ask(query, version);
    for (const client of clients) await until(() => client.received.includes("event: control"));
    return clients;
  }
}

class Client {
  readonly socket: InProcessSocket;
  /** The server's end. */
  readonly end: InProcessSocket;
  received = "";
  ended = false;

  constructor(socket: InProcessSocket, end: InProcessSocket) {
    this.socket = socket.setEncoding("latin1");
    this.end = end;
    socket.on("data", (text: string) => (this.received += text)).on("error", () => undefined);
    socket.on("close", () => (this.ended = true)).on("end", () => (this.ended = true));
  }

  ask(query: string, version = "1.1"): void {
    this.socket.write(`GET /s?live=sse&${query} HTTP/${version}\r\nHost: x\r\n\r\n`);
  }

  /** Body of the response so far, out of the chunked transfer; `(end)` is behind it when it has ended. */
  get events(): string {
    let rest = this.received.slice(this.received.indexOf("\r\n\r\n") + 4);
    let body = "";
    while (rest !== "") {
      const line = rest.indexOf("\r\n");
      const length = Number.parseInt(rest.slice(0, line), 16);
      if (length === 0) return `${body}(end)`;
      body += rest.slice(line + 2, line + 2 + length);
      if (rest.slice(line + 2 + length, line + 4 + length) !== "\r\n") return `${body}(cut)`;
      rest = rest.slice(line + 4 + length);
    }
    return body;
  }

  /** What the data events bring, one text after the other. */
  get data(): string {
    return [...this.events.matchAll(/event: data\ndata:(.*)\n\n/g)].map(([, text]) => text).join("");
  }
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await turn();
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Each chunk that goes to a server's end, in order. */
function chunksSent(): { end: InProcessSocket; bytes: unknown }[] {
  const sent: { end: InProcessSocket; bytes: unknown }[] = [];
  const { write } = InProcessSocket.prototype;
  vi.spyOn(InProcessSocket.prototype, "write").mockImplementation(function (
    this: InProcessSocket,
    ...given: unknown[]
  ) {
    sent.push({ end: this, bytes: given[0] });
    return write.apply(this, given as Parameters<typeof write>);
  });
  return sent;
}

describe("subscribers at the same position", () => {
  test("get one append in one turn, as one buffer that they share", async () => {
    await using served = new Served();
    served.create();
    const clients = await served.subscribe(5);
    const sent = chunksSent();
    served.append("hello");
    await until(() => sent.length === 5);
    expect(new Set(sent.map(({ bytes }) => bytes)).size).toBe(1);
    expect(new Set(sent.map(({ end }) => end))).toEqual(new Set(clients.map(({ end }) => end)));
    await until(() => clients.every(({ data }) => data === "hello"));
    for (const { events } of clients) expect(events).toMatch(/"upToDate":true\}\n\n$/);
  });

  test("share no cursor with one whose client is ahead of the clock", async () => {
    await using served = new Served();
    served.create();
    const [ahead] = await served.subscribe(1, "offset=now&cursor=999999999");
    const [other, another] = await served.subscribe(2);
    served.append("hello");
    await until(() => [ahead, other, another].every((client) => client!.data === "hello"));
    const cursors = [ahead!, other!, another!].map(({ events }) => [...events.matchAll(/Cursor":"(\d+)"/g)].at(-1)![1]);
    expect(cursors[0]).toBe("1000000000");
    expect(Number(cursors[1])).toBeLessThan(1_000_000_000);
    expect(cursors[2]).toBe(cursors[1]);
  });

  test("and one that leaves while the others are written to: they get the append all the same", async () => {
    await using served = new Served();
    served.create();
    const clients = await served.subscribe(4);
    const { write } = InProcessSocket.prototype;
    const spy = vi.spyOn(InProcessSocket.prototype, "write").mockImplementation(function (
      this: InProcessSocket,
      ...given: unknown[]
    ) {
      spy.mockRestore();
      // Both one whose turn has been and one whose turn comes.
      clients[0]!.end.destroy();
      clients[2]!.end.destroy();
      return write.apply(this, given as Parameters<typeof write>);
    });
    served.append("hello");
    await until(() => clients[1]!.data === "hello" && clients[3]!.data === "hello");
    await until(() => served.waiters === 2);
    served.append("again");
    await until(() => clients[1]!.data === "helloagain" && clients[3]!.data === "helloagain");
    expect(served.failed).toEqual([]);
    expect(served.logged).toEqual([]);
  });

  test("and one that comes while the others are written to: it gets everything once", async () => {
    await using served = new Served();
    const stream = served.create();
    const [first] = await served.subscribe(1);
    const late = served.connect();
    const unwatch = served.memory.engine.watch(stream, () => late.ask("offset=-1"));
    served.append("hello");
    await until(() => late.data === "hello");
    unwatch();
    served.append("again");
    await until(() => late.data === "helloagain" && first!.data === "helloagain");
  });
});

describe("a subscriber that lags", () => {
  test("is sent nothing more, holds one event past its socket's bound, and gets the rest when it reads", async () => {
    await using served = new Served();
    served.create();
    const [lagging, other] = await served.subscribe(2);
    lagging!.socket.pause();
    const text = (i: number): string => `${i}:${"x".repeat(16 * KIB)};`;
    let whole = "";
    for (let i = 0; i < 40; i += 1) {
      served.append(text(i));
      whole += text(i);
      await until(() => other!.data.length === whole.length);
      expect(lagging!.end.writableLength).toBeLessThan(64 * KIB + 17 * KIB);
    }
    expect(lagging!.end.writableNeedDrain).toBe(true);
    lagging!.socket.resume();
    await until(() => lagging!.data.length >= whole.length);
    expect(lagging!.data).toBe(whole);
    served.append("live again");
    await until(() => lagging!.data === `${whole}live again`);
  });

  test("and never reads again is dropped at the deadline, and the others are not", async () => {
    await using served = new Served();
    served.create();
    const deadlines: { response: http.ServerResponse; drop: () => void }[] = [];
    vi.spyOn(http.ServerResponse.prototype, "setTimeout").mockImplementation(function (
      this: http.ServerResponse,
      ms,
      callback,
    ) {
      expect(ms).toBe(STALLED_READER_MS);
      deadlines.push({ response: this, drop: callback! });
      return this;
    });
    const [lagging, other] = await served.subscribe(2);
    lagging!.socket.pause();
    for (let i = 0; i < 12; i += 1) {
      served.append("x".repeat(16 * KIB));
      await until(() => other!.data.length === (i + 1) * 16 * KIB);
    }
    expect(new Set(deadlines.map(({ response }) => response)).size).toBe(deadlines.length);
    expect(deadlines.some(({ response }) => response.socket === (lagging!.end as unknown))).toBe(true);
    for (const { drop } of deadlines) drop();
    await until(() => served.waiters === 1);
    expect([lagging!.end.destroyed, other!.end.destroyed]).toEqual([true, false]);
  });

  test("on a stream that is deleted meanwhile ends politely", async () => {
    await using served = new Served();
    served.create();
    const [lagging] = await served.subscribe(1);
    lagging!.socket.pause();
    for (let i = 0; i < 12; i += 1) {
      served.append("x".repeat(16 * KIB));
      await turn();
    }
    served.memory.engine.removeNow("s");
    lagging!.socket.resume();
    await until(() => lagging!.events.endsWith("(end)"));
    expect(served.waiters).toBe(0);
    expect(served.logged).toEqual([]);
  });

  test("whose bytes cannot be read is cut, the operator hears of it, and the others go on", async () => {
    await using served = new Served();
    const stream = served.create();
    const [lagging, other] = await served.subscribe(2);
    lagging!.socket.pause();
    for (let i = 0; i < 12; i += 1) {
      served.append("x".repeat(16 * KIB));
      await until(() => other!.data.length === (i + 1) * 16 * KIB);
    }
    for (const extent of stream.hot) extent.memory = null;
    vi.spyOn(served.memory.reader, "whole").mockRejectedValue(new StreamError("corrupt-wal", "it fails its checksum"));
    lagging!.socket.resume();
    await until(() => lagging!.end.destroyed);
    expect(served.logged).toEqual([{ code: "corrupt-wal", target: "/s" }]);
    served.append("on");
    await until(() => other!.data.endsWith("on"));
    expect(served.waiters).toBe(1);
  });
});

describe("many subscribers that lag from the start", () => {
  test("hold little more than responses may have in flight, and get all of it when they read", async () => {
    await using served = new Served();
    served.create();
    const message = "x".repeat(64 * KIB);
    const messages = 24;
    for (let i = 0; i < messages; i += 1) served.append(message);
    const clients = Array.from({ length: 48 }, () => served.connect());
    for (const client of clients) {
      client.socket.pause();
      client.ask("offset=-1");
    }
    await until(() => served.waiters === clients.length && clients.every(({ end }) => end.writableNeedDrain));
    const held = clients.reduce((sum, { end }) => sum + end.writableLength, 0);
    // As many whole chunks would be 48 MiB.
    expect(held).toBeLessThan(BODIES_IN_FLIGHT_BYTES_MAX + 4 * 1024 * KIB);
    expect(served.memory.reader.inFlightBytes).toBeGreaterThan(BODIES_IN_FLIGHT_BYTES_MAX / 2);
    const [first, last] = [clients[0]!, clients.at(-1)!];
    for (const client of clients) if (client !== first && client !== last) client.end.destroy();
    first.socket.resume();
    last.socket.resume();
    const length = message.length * messages;
    await until(() => [first, last].every(({ received }) => received.includes('"upToDate":true')));
    expect([first.data.length, last.data.length]).toEqual([length, length]);
    expect(served.memory.reader.inFlightBytes).toBe(0);
  });
});

describe("the end of a subscription", () => {
  test.each([["text/plain", '{"a":1}'] as const, ["application/json", '[{"a":1}]'] as const])(
    "of %s comes with the last message, and the connection takes the next request",
    async (contentType, seen) => {
      await using served = new Served();
      served.create(contentType);
      const clients = await served.subscribe(3);
      served.append('{"a":1}', true);
      await until(() => clients.every(({ events }) => events.endsWith("(end)")));
      for (const client of clients) {
        expect(client.data).toBe(seen);
        expect(client.events).toMatch(/"upToDate":true,"streamClosed":true\}\n\n\(end\)$/);
        client.received = "";
        client.ask("offset=-1");
      }
      await until(() => clients.every(({ events }) => events.endsWith("(end)")));
      for (const { data } of clients) expect(data).toBe(seen);
      expect(served.waiters).toBe(0);
    },
  );

  test("a close without a message is told by a control event alone", async () => {
    await using served = new Served();
    served.create();
    const [client] = await served.subscribe(1);
    served.append("", true);
    await until(() => client!.events.endsWith("(end)"));
    expect(client!.data).toBe("");
    expect(client!.events).toContain('"streamClosed":true');
  });

  test("at the deadline, once for each, with what came before it", async () => {
    await using served = new Served(1);
    served.create();
    const clients = await served.subscribe(3);
    await until(() => clients.every(({ events }) => events.endsWith("(end)")));
    expect(served.waiters).toBe(0);
  });

  test("when the server drains", async () => {
    await using served = new Served();
    served.create();
    const clients = await served.subscribe(3);
    served.append("last");
    served.draining.abort();
    await until(() => clients.every(({ events }) => events.endsWith("(end)")));
    for (const { data } of clients) expect(data).toBe("last");
    const late = served.connect();
    late.ask("offset=-1");
    await until(() => late.events.endsWith("(end)"));
    expect(late.data).toBe("last");
    expect(served.waiters).toBe(0);
  });

  test("by HTTP/1.0 is the end of the connection, and nothing is framed", async () => {
    await using served = new Served();
    served.create();
    const [client] = await served.subscribe(1, "offset=now", "1.0");
    served.append("hello", true);
    await until(() => client!.ended);
    const [, body] = client!.received.split("\r\n\r\n");
    expect(body).toMatch(/^event: control\ndata:\{.*\}\n\nevent: data\ndata:hello\n\nevent: control\n.*\n\n$/);
  });
});

test("a subscriber of a closed stream that has it all is told so and ended", async () => {
  await using served = new Served();
  served.create();
  served.append("all", true);
  const clients = await served.subscribe(2, "offset=now");
  await until(() => clients.every(({ events }) => events.endsWith("(end)")));
  expect(served.waiters).toBe(0);
});

test("many subscribers of bytes that are not in memory have them read once", async () => {
  await using served = new Served();
  const stream = served.create();
  served.append("x".repeat(64 * KIB));
  for (const extent of stream.hot) extent.memory = null;
  const reads = vi.spyOn(served.memory.reader, "whole");
  const clients = Array.from({ length: 20 }, () => served.connect());
  for (const client of clients) client.ask("offset=-1");
  await until(() => clients.every(({ data }) => data.length === 64 * KIB));
  expect(reads).toHaveBeenCalledTimes(1);
});

test("the state that a subscriber is shown is never older than the one before", async () => {
  await using served = new Served();
  const stream = served.create();
  const [client] = await served.subscribe(1);
  const seen: StreamState[] = [];
  const unwatch = served.memory.engine.watch(stream, () => seen.push(stream.durable!));
  for (let i = 0; i < 50; i += 1) {
    served.append(`${i},`);
    if (i % 7 === 0) await turn();
  }
  await until(() => client!.data.endsWith("49,"));
  unwatch();
  const offsets = [...client!.events.matchAll(/streamNextOffset":"([^"]+)"/g)].map(([, offset]) => offset!);
  expect(offsets).toEqual([...offsets].toSorted());
  expect(new Set(offsets).size).toBe(offsets.length);
  expect(client!.data).toBe(Array.from({ length: 50 }, (_, i) => `${i},`).join(""));
});
