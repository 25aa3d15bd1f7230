import { createServer as createHttpServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { WebhookClient } from "./webhook-client.ts";
import type { WebhookAnswer, WebhookLimits } from "./webhook-client.ts";

interface Receiver extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /** Connections so far. */
  connections(): number;
}

/** A loopback server that plays with the raw socket once a request's head is there. */
async function hostile(play: (socket: Socket) => void): Promise<Receiver> {
  const sockets = new Set<Socket>();
  let connections = 0;
  const server = createServer((socket) => {
    connections++;
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.once("data", () => play(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const stop = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  };
  return { url: `http://127.0.0.1:${port}/hook`, port, connections: () => connections, [Symbol.asyncDispose]: stop };
}

async function receiver(
  answer: (request: IncomingMessage, response: ServerResponse, body: Buffer) => void,
): Promise<Receiver> {
  let connections = 0;
  const server = createHttpServer((request, response) => {
    const pieces: Buffer[] = [];
    request.on("data", (piece: Buffer) => pieces.push(piece));
    request.on("end", () => answer(request, response, Buffer.concat(pieces)));
  });
  server.on("connection", () => connections++);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const stop = async (): Promise<void> => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return { url: `http://127.0.0.1:${port}/hook`, port, connections: () => connections, [Symbol.asyncDispose]: stop };
}

class TestClient extends WebhookClient implements AsyncDisposable {
  constructor(limits: Partial<WebhookLimits> = {}, lookup?: (host: string) => Promise<readonly string[]>) {
    super({ allowLoopback: true, limits, ...(lookup === undefined ? {} : { lookup }) });
  }

  send(url: string, signal?: AbortSignal): Promise<WebhookAnswer> {
    const headers = { "content-type": "application/json", "webhook-signature": "secret-signature" };
    return this.post({ url, headers, body: Buffer.from('{"wake":1}'), ...(signal === undefined ? {} : { signal }) });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Writes a piece again and again for as long as the other side listens. */
function drip(socket: Socket, piece: string, everyMs: number): void {
  const timer = setInterval(() => socket.write(piece), everyMs);
  socket.on("close", () => clearInterval(timer));
}

/** Writes without end, as fast as the other side takes it. */
function flood(socket: Socket, piece: string): void {
  const pour = (): void => {
    while (!socket.destroyed && socket.write(piece));
  };
  socket.on("drain", pour);
  pour();
}

const HEAD = "HTTP/1.1 200 OK\r\n";
const SMALL: Partial<WebhookLimits> = { connectMs: 300, headersMs: 10_000, totalMs: 300 };

const HOSTILE: readonly (readonly [
  what: string,
  reason: string,
  play: (socket: Socket) => void,
  Partial<WebhookLimits>,
])[] = [
  ["never answers", "timeout", () => undefined, { headersMs: 100, totalMs: 10_000 }],
  [
    "drips one header",
    "timeout",
    (socket) => {
      socket.write(`${HEAD}X`);
      drip(socket, "X", 5);
    },
    SMALL,
  ],
  [
    "drips header fields without end",
    "timeout",
    (socket) => {
      socket.write(HEAD);
      drip(socket, "X-A: b\r\n", 20);
    },
    SMALL,
  ],
  ["answers 103 without end", "timeout", (socket) => drip(socket, "HTTP/1.1 103 Early Hints\r\n\r\n", 5), SMALL],
  [
    "stops in the middle of its body",
    "timeout",
    (socket) => socket.write(`${HEAD}Content-Length: 10\r\n\r\n12345`),
    { headersMs: 100, totalMs: 10_000 },
  ],
  [
    "drips its body",
    "timeout",
    (socket) => {
      socket.write(`${HEAD}Content-Length: 60000\r\n\r\n`);
      drip(socket, "x", 5);
    },
    SMALL,
  ],
  [
    "drips chunks",
    "timeout",
    (socket) => {
      socket.write(`${HEAD}Transfer-Encoding: chunked\r\n\r\n`);
      drip(socket, "1\r\nx\r\n", 5);
    },
    SMALL,
  ],
  [
    "sends an endless chunked body",
    "too-large",
    (socket) => {
      socket.write(`${HEAD}Transfer-Encoding: chunked\r\n\r\n`);
      flood(socket, `4000\r\n${"x".repeat(0x4000)}\r\n`);
    },
    {},
  ],
  [
    "sends an endless body up to the connection's end",
    "too-large",
    (socket) => {
      socket.write(`${HEAD}Connection: close\r\n\r\n`);
      flood(socket, "x".repeat(0x4000));
    },
    {},
  ],
  [
    "announces a terabyte and sends it",
    "too-large",
    (socket) => {
      socket.write(`${HEAD}Content-Length: 1099511627776\r\n\r\n`);
      flood(socket, "x".repeat(0x4000));
    },
    {},
  ],
  ["sends one huge header", "too-large", (socket) => flood(socket, `${HEAD}X: ${"x".repeat(0x4000)}`), {}],
  [
    "sends headers without end",
    "too-large",
    (socket) => {
      socket.write(HEAD);
      flood(socket, `X-A: ${"x".repeat(1000)}\r\n`);
    },
    {},
  ],
  [
    "sends trailers without end",
    "too-large",
    (socket) => {
      socket.write(`${HEAD}Transfer-Encoding: chunked\r\n\r\n0\r\n`);
      flood(socket, `X-A: ${"x".repeat(1000)}\r\n`);
    },
    {},
  ],
  ["resets the connection", "connect", (socket) => socket.resetAndDestroy(), {}],
  ["closes the connection", "connect", (socket) => socket.end(), {}],
  ["closes in the middle of its body", "connect", (socket) => socket.end(`${HEAD}Content-Length: 10\r\n\r\n12345`), {}],
  ["speaks another protocol", "protocol", (socket) => socket.end("-ERR unknown command\r\n"), {}],
  [
    "sends two lengths",
    "protocol",
    (socket) => socket.end(`${HEAD}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx`),
    {},
  ],
  [
    "switches protocols",
    "connect",
    (socket) => socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    {},
  ],
];

describe("webhook client", () => {
  test("a webhook is a POST of exactly these bytes and headers, and its answer comes back", async () => {
    const seen: unknown[] = [];
    await using server = await receiver((request, response, body) => {
      const { host, "content-type": type, "accept-encoding": coding, "content-length": length } = request.headers;
      seen.push([request.method, request.url, host, type, coding, length, body.toString()]);
      response.end('{"done":true}');
    });
    await using client = new TestClient();
    const answer = await client.send(`${server.url}?a=b%20c`);
    expect(answer).toEqual({ kind: "answered", status: 200, body: new Uint8Array(Buffer.from('{"done":true}')) });
    const host = `127.0.0.1:${server.port}`;
    expect(seen).toEqual([["POST", "/hook?a=b%20c", host, "application/json", "identity", "10", '{"wake":1}']]);
    expect(await client.send(server.url.replace("127.0.0.1", "localhost"))).toMatchObject({ kind: "answered" });
  });

  test.each([201, 204, 400, 404, 429, 500, 503])(
    "a %s is an answer, and only the body of a 2xx is read",
    async (status) => {
      await using server = await receiver((_request, response) =>
        response.writeHead(status).end(status === 204 ? "" : "text"),
      );
      await using client = new TestClient();
      const body = new Uint8Array(Buffer.from(status === 201 ? "text" : ""));
      expect(await client.send(server.url)).toEqual({ kind: "answered", status, body });
    },
  );

  test.each(HOSTILE)("a receiver that %s ends as %s", async (_what, reason, play, limits) => {
    await using server = await hostile(play);
    await using client = new TestClient(limits);
    const answer = await client.send(server.url);
    expect(answer).toEqual({ kind: "failed", reason, detail: expect.stringMatching(/^the /) as string });
    expect(JSON.stringify(answer)).not.toContain("secret");
    expect([client.count, client.hosts, server.connections()]).toEqual([0, 0, 1]);
  });

  test.each([301, 302, 303, 307, 308, 304])(
    "a %s to a private address is a failure that names it, and is not followed",
    async (status) => {
      await using inside = await receiver((_request, response) => response.end("secret"));
      await using server = await receiver((_request, response) =>
        response.writeHead(status, { location: inside.url }).end(),
      );
      await using client = new TestClient();
      const detail = `the receiver answered ${status}; redirects are not followed`;
      expect(await client.send(server.url)).toEqual({ kind: "failed", reason: "redirect", detail });
      expect(inside.connections()).toBe(0);
    },
  );

  test("a gzip bomb is taken as the bytes it is", async () => {
    const bomb = gzipSync(Buffer.alloc(32 * 1024 * 1024));
    await using server = await receiver((_request, response) => {
      response.writeHead(200, { "content-encoding": "gzip" }).end(bomb.subarray(0, 60_000));
    });
    await using client = new TestClient();
    const answer = await client.send(server.url);
    expect(answer).toMatchObject({ kind: "answered", status: 200 });
    expect(answer.kind === "answered" && Buffer.compare(answer.body, bomb.subarray(0, 60_000))).toBe(0);
  });

  test("a body of exactly the limit is read, and one byte more is too large", async () => {
    await using server = await receiver((request, response) => response.end("x".repeat(Number(request.url?.slice(1)))));
    await using client = new TestClient();
    const base = `http://127.0.0.1:${server.port}`;
    const answer = await client.send(`${base}/65536`);
    expect(answer.kind === "answered" && answer.body.length).toBe(65_536);
    expect(await client.send(`${base}/65537`)).toMatchObject({ kind: "failed", reason: "too-large" });
  });

  test("an endless error page is given up, not read", async () => {
    await using server = await hostile((socket) => {
      socket.write("HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n");
      flood(socket, `4000\r\n${"x".repeat(0x4000)}\r\n`);
    });
    await using client = new TestClient();
    expect(await client.send(server.url)).toMatchObject({ kind: "answered", status: 500 });
  });

  test("a receiver that accepts and never speaks TLS is given up", async () => {
    await using server = await hostile(() => undefined);
    await using client = new TestClient({ connectMs: 100 });
    const answer = await client.send(`https://127.0.0.1:${server.port}/`);
    expect(answer).toEqual({
      kind: "failed",
      reason: "timeout",
      detail: "no connection to the receiver within 100 ms",
    });
  });

  test("a port that nobody listens on is a failed connection", async () => {
    const server = await hostile(() => undefined);
    await server[Symbol.asyncDispose]();
    await using client = new TestClient();
    const answer = await client.send(server.url);
    expect(answer).toEqual({
      kind: "failed",
      reason: "connect",
      detail: "the connection to the receiver failed (ECONNREFUSED)",
    });
  });

  test.each([
    ["has no address", "dns", (): Promise<readonly string[]> => Promise.resolve([])],
    [
      "is unknown",
      "dns",
      (): Promise<readonly string[]> => Promise.reject(Object.assign(new Error("secret"), { code: "ENOTFOUND" })),
    ],
    ["is never resolved", "timeout", (): Promise<readonly string[]> => new Promise(() => undefined)],
  ])("a host that %s ends as %s", async (_what, reason, lookup) => {
    await using client = new TestClient({ connectMs: 100 }, lookup);
    const answer = await client.send("https://hook.example.com/secret?token=secret");
    expect(answer).toMatchObject({ kind: "failed", reason });
    expect(JSON.stringify(answer)).not.toContain("secret");
  });

  test.each([
    "http://10.0.0.1/",
    "https://10.0.0.1/",
    "https://[::ffff:127.0.0.1]/",
    "http://example.com/",
    "nonsense",
  ])("%s is refused without asking or connecting to anyone", async (url) => {
    await using client = new TestClient({}, () => Promise.reject(new Error("asked")));
    expect(await client.send(url)).toMatchObject({ kind: "failed", reason: "rejected" });
  });

  test("loopback is refused where it is not allowed, whatever was allowed at PUT", async () => {
    await using server = await receiver((_request, response) => response.end());
    const client = new WebhookClient({ allowLoopback: false });
    for (const url of [server.url, `https://localhost:${server.port}/`]) {
      const answer = await client.post({ url, headers: {}, body: new Uint8Array() });
      expect(answer).toMatchObject({ kind: "failed", reason: "rejected" });
    }
    await client.close();
    expect(server.connections()).toBe(0);
  });

  test("the environment's proxy is not used", async () => {
    await using proxy = await hostile((socket) => socket.end());
    await using server = await receiver((_request, response) => response.end());
    const names = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "NODE_USE_ENV_PROXY"];
    const before = names.map((name) => [name, process.env[name]] as const);
    try {
      for (const name of names)
        process.env[name] = name === "NODE_USE_ENV_PROXY" ? "1" : `http://127.0.0.1:${proxy.port}`;
      await using client = new TestClient();
      expect(await client.send(server.url)).toMatchObject({ kind: "answered", status: 200 });
    } finally {
      for (const [name, value] of before) {
        if (value === undefined) delete process.env[name];
        else process.env[name] = value;
      }
    }
    expect(proxy.connections()).toBe(0);
  });

  test("a header that would break out of its line is not sent", async () => {
    await using server = await receiver((_request, response) => response.end());
    await using client = new TestClient();
    const answer = await client.post({ url: server.url, headers: { "x-a": "b\r\nx-c: d" }, body: new Uint8Array() });
    expect(answer).toMatchObject({ kind: "failed", reason: "protocol" });
    expect(server.connections()).toBe(0);
  });
});

/** A receiver whose answers wait until they are let go. */
async function gated(): Promise<
  Receiver & { readonly waiting: ServerResponse[]; arrived(count: number): Promise<void> }
> {
  const waiting: ServerResponse[] = [];
  let noticed = (): void => undefined;
  const server = await receiver((_request, response) => {
    waiting.push(response);
    noticed();
  });
  const arrived = (count: number): Promise<void> =>
    new Promise((resolve) => {
      noticed = () => {
        if (waiting.length >= count) resolve();
      };
      noticed();
    });
  return { ...server, waiting, arrived };
}

describe("webhook client's bounds", () => {
  test("one host has so many deliveries under way, so many waiting, and the next is refused at once", async () => {
    await using server = await gated();
    await using client = new TestClient({ perHostConcurrency: 2, perHostQueueMax: 1 });
    const answers = [client.send(server.url), client.send(server.url), client.send(server.url)];
    expect(await client.send(server.url)).toEqual({
      kind: "failed",
      reason: "busy",
      detail: "too many deliveries to this host wait",
    });
    await server.arrived(2);
    expect([server.waiting.length, client.count, client.hosts]).toEqual([2, 3, 1]);
    server.waiting[0]?.end();
    await server.arrived(3);
    for (const response of server.waiting) response.end();
    expect((await Promise.all(answers)).map((answer) => answer.kind)).toEqual(["answered", "answered", "answered"]);
    expect([server.connections(), client.count, client.hosts]).toEqual([2, 0, 0]);
  });

  test("a host with all its places taken does not hold up another", async () => {
    await using slow = await gated();
    await using client = new TestClient({ perHostConcurrency: 1, concurrency: 2 });
    const held = [client.send(slow.url), client.send(slow.url), client.send(slow.url)];
    await slow.arrived(1);
    await using quick = await receiver((_request, response) => response.end());
    const other = quick.url.replace("127.0.0.1", "localhost");
    expect(await client.send(other)).toMatchObject({ kind: "answered" });
    await client.close();
    expect((await Promise.all(held)).map((answer) => answer.kind === "failed" && answer.reason)).toEqual([
      "aborted",
      "aborted",
      "aborted",
    ]);
  });

  test("hosts and deliveries in all are bounded", async () => {
    await using server = await gated();
    await using client = new TestClient({ hostsMax: 1, concurrency: 1, queueMax: 1 });
    const held = [client.send(server.url), client.send(server.url)];
    const local = server.url.replace("127.0.0.1", "localhost");
    expect(await client.send(local)).toMatchObject({ reason: "busy", detail: "too many deliveries wait" });
    await server.arrived(1);
    await using other = new TestClient({ hostsMax: 1 });
    const first = other.send(server.url);
    await server.arrived(2);
    expect(await other.send(local)).toMatchObject({
      reason: "busy",
      detail: expect.stringContaining("hosts") as string,
    });
    await other.close();
    await client.close();
    await Promise.all([first, ...held]);
  });

  test("a delivery that waits too long is given up before it starts", async () => {
    await using server = await gated();
    await using client = new TestClient({ perHostConcurrency: 1, queueMs: 50 });
    const first = client.send(server.url);
    expect(await client.send(server.url)).toMatchObject({ kind: "failed", reason: "busy" });
    expect(server.waiting).toHaveLength(1);
    server.waiting[0]?.end();
    expect(await first).toMatchObject({ kind: "answered" });
  });

  test("a delivery ends when its caller says so: before, while it waits and while it is under way", async () => {
    await using server = await gated();
    await using client = new TestClient({ perHostConcurrency: 1 });
    expect(await client.send(server.url, AbortSignal.abort("secret"))).toEqual({
      kind: "failed",
      reason: "aborted",
      detail: "the delivery was called off",
    });
    const [under, waits] = [new AbortController(), new AbortController()];
    const answers = [client.send(server.url, under.signal), client.send(server.url, waits.signal)];
    await server.arrived(1);
    waits.abort();
    expect(await answers[1]).toMatchObject({ kind: "failed", reason: "aborted" });
    under.abort();
    expect(await answers[0]).toMatchObject({ kind: "failed", reason: "aborted" });
    expect(server.waiting).toHaveLength(1);
  });

  test("closing ends a delivery while its name is being resolved, and nothing starts after it", async () => {
    let asked = (): void => undefined;
    const asking = new Promise<void>((resolve) => (asked = resolve));
    const client = new TestClient({}, () => {
      asked();
      return new Promise(() => undefined);
    });
    const answer = client.send("https://hook.example.com/");
    await asking;
    await client.close();
    expect(await answer).toMatchObject({ kind: "failed", reason: "aborted" });
    expect(await client.send("https://hook.example.com/")).toMatchObject({ kind: "failed", reason: "aborted" });
    await client.close();
  });
});
