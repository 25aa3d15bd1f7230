import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { PIPELINED_REQUESTS_MAX } from "@coldbrook/core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startColdbrook } from "../compose.ts";
import type { Coldbrook } from "../compose.ts";
import { readSettings } from "../settings.ts";
import { SimpleConnection } from "./simple-connection.ts";
import type { SimplePorts } from "./simple-connection.ts";

const PATH = "/v1/stream/a";

let coldbrook: Coldbrook;
const sockets: Socket[] = [];

beforeAll(async () => {
  coldbrook = await start();
});

afterAll(async () => {
  for (const socket of sockets) socket.destroy();
  await coldbrook.close();
});

function start(): Promise<Coldbrook> {
  return startColdbrook(readSettings(["--port", "0", "--data-dir", "/nowhere"], {}), { storage: "memory" });
}

async function created(path = PATH, server = coldbrook): Promise<void> {
  await fetch(`${server.url}${path}`, { method: "DELETE" });
  await fetch(`${server.url}${path}`, { method: "PUT", headers: { "content-type": "text/plain" } });
}

async function stored(path = PATH): Promise<string> {
  return (await fetch(`${coldbrook.url}${path}?offset=-1`)).text();
}

function post(body: string, { path = PATH, headers = [] }: { path?: string; headers?: string[] } = {}): string {
  const lines = [`POST ${path} HTTP/1.1`, "Host: x", "Content-Type: text/plain", `Content-Length: ${body.length}`];
  return `${[...lines, ...headers].join("\r\n")}\r\n\r\n${body}`;
}

class Connection {
  text = "";
  ended = false;
  readonly socket: Socket;

  constructor(url: string) {
    const { hostname, port } = new URL(url);
    this.socket = connect({ host: hostname, port: Number(port), noDelay: true, allowHalfOpen: true });
    this.socket.setEncoding("latin1").on("data", (part: string) => (this.text += part));
    this.socket.setMaxListeners(0);
    sockets.push(this.socket);
    this.socket.on("end", () => (this.ended = true)).on("error", () => (this.ended = true));
  }

  get statuses(): number[] {
    return [...this.text.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map((match) => Number(match[1]));
  }

  async until(what: (connection: this) => boolean): Promise<this> {
    while (!what(this) && !this.ended) await Promise.race([once(this.socket, "data"), once(this.socket, "close")]);
    return this;
  }

  answers(count: number): Promise<this> {
    return this.until(({ statuses }) => statuses.length >= count);
  }
}

describe("an append that arrives in pieces", () => {
  test("is the same append, wherever it is split in two", async () => {
    await created();
    const request = post("0123456789");
    const connection = new Connection(coldbrook.url);
    const places = Array.from({ length: request.length - 1 }, (_, i) => i + 1);
    for (const [i, at] of places.entries()) {
      connection.socket.write(request.slice(0, at));
      await sleep(1);
      connection.socket.write(request.slice(at));
      await connection.answers(i + 1);
    }
    expect(connection.statuses).toEqual(places.map(() => 204));
    expect(await stored()).toBe("0123456789".repeat(places.length));
  });

  test("is the same append in many pieces, alone and behind another", async () => {
    for (const before of ["", post("before;")]) {
      await created();
      const connection = new Connection(coldbrook.url);
      for (const byte of `${before}${post("DATA")}`) {
        connection.socket.write(byte);
        await sleep(0);
      }
      await connection.answers(before === "" ? 1 : 2);
      expect(await stored()).toBe(before === "" ? "DATA" : "before;DATA");
    }
  });
});

describe("appends sent down one connection without waiting", () => {
  test("are all taken in order, though there are more than may be under way", async () => {
    await created();
    const bodies = Array.from({ length: 4 * PIPELINED_REQUESTS_MAX }, (_, i) => `${i};`);
    const connection = new Connection(coldbrook.url);
    connection.socket.write(bodies.map((body) => post(body)).join(""));
    await connection.answers(bodies.length);
    expect(connection.statuses).toEqual(bodies.map(() => 204));
    const offsets = [...connection.text.matchAll(/Stream-Next-Offset: (\S+)/g)].map((match) => match[1]!);
    expect(offsets).toEqual([...offsets].sort());
    expect(await stored()).toBe(bodies.join(""));
  });

  test("are answered in order, though a refusal is known before an append is durable", async () => {
    await created();
    const connection = new Connection(coldbrook.url);
    connection.socket.write(post("a") + post("b", { path: "/v1/stream/missing" }) + post("c"));
    await connection.answers(3);
    expect(connection.statuses).toEqual([204, 404, 204]);
  });

  test("and requests of other kinds among them take effect in order", async () => {
    await created();
    const connection = new Connection(coldbrook.url);
    const get = `GET ${PATH}?offset=-1 HTTP/1.1\r\nHost: x\r\n\r\n`;
    connection.socket.write(post("a") + post("b") + get + post("c") + get);
    await connection.until(({ text }) => text.endsWith("\r\n\r\nabc"));
    expect(connection.statuses).toEqual([204, 204, 200, 204, 200]);
    expect(connection.text).toContain("\r\n\r\nabHTTP/1.1 204");
  });

  test("are answered to a client that has ended its side", async () => {
    await created();
    const connection = new Connection(coldbrook.url);
    connection.socket.end(post("a") + post("b"));
    await once(connection.socket, "end");
    expect(connection.statuses).toEqual([204, 204]);
    expect(await stored()).toBe("ab");
  });

  test("with a read at their end are answered to a client that has ended its side", async () => {
    await created();
    const connection = new Connection(coldbrook.url);
    connection.socket.end(`${post("a")}${post("b")}GET ${PATH}?offset=-1 HTTP/1.1\r\nHost: x\r\n\r\n`);
    await once(connection.socket, "end");
    expect(connection.statuses).toEqual([204, 204, 200]);
    expect(connection.text.endsWith("\r\n\r\nab")).toBe(true);
  });

  test("of which the last is cut short by the end of the client's side: it is refused, and nothing of it is done", async () => {
    await created();
    const connection = new Connection(coldbrook.url);
    connection.socket.end(post("a") + post("lost").slice(0, -1));
    await once(connection.socket, "end");
    expect(connection.statuses).toEqual([204, 400]);
    expect(await stored()).toBe("a");
  });

  test("of which one is malformed: those before it are done and answered, it is refused, nothing behind it is", async () => {
    await created();
    const connection = new Connection(coldbrook.url);
    connection.socket.write(`${post("a")}POST ${PATH} HTTP/1.1\r\nHost : x\r\n\r\n${post("c")}`);
    await once(connection.socket, "end");
    expect(connection.statuses).toEqual([204, 400]);
    expect(await stored()).toBe("a");
  });

  test("to a client that reads none of the answers are not taken without end", async () => {
    await created();
    const connection = new Connection(coldbrook.url);
    connection.socket.removeAllListeners("data").pause();
    const many = post("x").repeat(1_000);
    let sent = 0;
    while (sent < 200 && connection.socket.write(many)) sent += 1;
    while (
      sent < 200 &&
      (await Promise.race([once(connection.socket, "drain").then(() => true), sleep(300)])) === true
    ) {
      connection.socket.write(many);
      sent += 1;
    }
    expect(sent).toBeLessThan(200);
  });
});

describe("an answer has the status, headers and body that Node's server would give it:", () => {
  const requests: readonly (readonly [string, string])[] = [
    ["an append", post("a")],
    ["an append to a missing stream", post("a", { path: "/v1/stream/missing" })],
    ["an append of another type", post("a").replace("text/plain", "text/html")],
    ["a producer's append", post("a", { headers: ["Producer-Id: p", "Producer-Epoch: 0", "Producer-Seq: 0"] })],
    ["a producer's gap", post("a", { headers: ["Producer-Id: p", "Producer-Epoch: 0", "Producer-Seq: 7"] })],
    ["a close", post("", { headers: ["Stream-Closed: true"] })],
    ["a create", post("a", { path: "/v1/stream/new" }).replace("POST", "PUT")],
    ["a create of what is there", post("").replace("POST", "PUT")],
    ["a create of what is there otherwise", post("").replace("POST", "PUT").replace("text/plain", "text/html")],
    ["a create with a TTL of no sense", post("", { headers: ["Stream-TTL: 01"] }).replace("POST", "PUT")],
    ["a HEAD", `HEAD ${PATH} HTTP/1.1\r\nHost: x\r\n\r\n`],
    ["a HEAD of a missing stream", "HEAD /v1/stream/missing HTTP/1.1\r\nHost: x\r\n\r\n"],
    ["a delete", `DELETE ${PATH} HTTP/1.1\r\nHost: x\r\n\r\n`],
    ["a delete of a missing stream", "DELETE /v1/stream/missing HTTP/1.1\r\nHost: x\r\n\r\n"],
  ];

  test.each(requests)("%s", async (_what, request) => {
    const answers: (readonly string[])[] = [];
    for (const other of ["", "TE: trailers\r\n"]) {
      await created();
      await fetch(`${coldbrook.url}/v1/stream/new`, { method: "DELETE" });
      const connection = new Connection(coldbrook.url);
      connection.socket.write(request.replace("\r\n\r\n", `\r\n${other}\r\n`));
      connection.socket.write(post("", { path: "/v1/stream/missing" }));
      await connection.answers(2);
      connection.socket.destroy();
      const [first] = connection.text.split(/(?<=.)(?=HTTP\/1\.1)/s);
      const [head, body] = first!.replaceAll(/\d{16}_|\d\d:\d\d:\d\d/g, "N").split("\r\n\r\n");
      // A request that Node refused by its headers alone ends the connection there, as its body was not read.
      answers.push([...head!.split("\r\n").sort(), body!]);
    }
    expect(answers[0]).toEqual(answers[1]);
    expect(answers[0]!.length).toBeGreaterThan(8);
  });
});

test.each(["stays", "has ended its side"])(
  "creates, appends, HEADs and deletes of a client that %s take effect in order",
  async (client) => {
    await fetch(`${coldbrook.url}/v1/stream/b`, { method: "DELETE" });
    const path = "/v1/stream/b";
    const plain = (method: string): string => `${method} ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;
    const connection = new Connection(coldbrook.url);
    const session = [
      post("", { path }).replace("POST", "PUT"),
      post("a", { path }),
      post("b", { path }),
      plain("HEAD"),
    ];
    const text = [...session, plain("DELETE"), plain("HEAD"), post("c", { path })].join("");
    if (client === "stays") connection.socket.write(text);
    else connection.socket.end(text);
    await connection.answers(7);
    connection.socket.destroy();
    expect(connection.statuses).toEqual([201, 204, 204, 200, 204, 404, 404]);
  },
);

describe("a server that stops", () => {
  test("ends connections that are idle", async () => {
    const server = await start();
    const connection = new Connection(server.url);
    await created(PATH, server);
    connection.socket.write(post("a"));
    await connection.answers(1);
    const ended = once(connection.socket, "end");
    await server.close();
    await ended;
  });

  test("ends a connection that has sent half of an append", async () => {
    const server = await start();
    const connection = new Connection(server.url);
    await created(PATH, server);
    connection.socket.write(post("a") + post("half").slice(0, 30));
    await connection.answers(1);
    const closed = server.close();
    connection.socket.write(post("half").slice(30));
    await once(connection.socket, "end");
    await closed;
    expect(connection.statuses.slice(0, 1)).toEqual([204]);
    expect(connection.statuses.slice(1).every((status) => status === 503)).toBe(true);
  });
});

test("an answer's body leaves as UTF-8, as long as it says", async () => {
  const detail = "\u00e9 and \u20ac and \u{1f600}";
  const ports: SimplePorts = {
    serve: (_request, _socket, answer) => {
      queueMicrotask(() => answer({ status: 400, code: "bad-request", detail }));
      return true;
    },
    handOver: (socket) => socket.destroy(),
    keepAliveMs: 1000,
  };
  const server = createServer((socket) => new SimpleConnection(socket, ports, () => undefined)).listen(0, "127.0.0.1");
  await once(server, "listening");
  const connection = new Connection(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  connection.socket.write(post("x"));
  const { text } = await connection.answers(1);
  const body = Buffer.from(text.slice(text.indexOf("\r\n\r\n") + 4), "latin1");
  expect(JSON.parse(body.toString("utf8"))).toMatchObject({ detail });
  expect(text).toContain(`Content-Length: ${body.length}\r\n`);
  connection.socket.destroy();
  server.close();
});
