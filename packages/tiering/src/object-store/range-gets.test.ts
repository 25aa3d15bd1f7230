import { once } from "node:events";
import { setImmediate } from "node:timers/promises";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { HandlerRequest } from "./answered-handler.ts";
import { RangeGets, type Answer } from "./range-gets.ts";

/** What a connection is sent for its nth request. */
type Script = (socket: Socket, request: string, nth: number) => void;

describe("a ranged GET", () => {
  let server: Server;
  let port: number;
  let script: Script;
  let requests: string[];
  let connections: Set<Socket>;
  let opened: number;
  let opens: RangeGets[];

  beforeEach(async () => {
    requests = [];
    connections = new Set();
    opened = 0;
    opens = [];
    server = createServer((socket) => {
      opened += 1;
      connections.add(socket);
      let text = "";
      socket.on("error", () => {}).on("close", () => connections.delete(socket));
      socket.on("data", (bytes) => {
        text += bytes.toString("latin1");
        for (let end = text.indexOf("\r\n\r\n"); end >= 0; end = text.indexOf("\r\n\r\n")) {
          requests.push(text.slice(0, end));
          script(socket, text.slice(0, end), requests.length);
          text = text.slice(end + 4);
        }
      });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    port = (server.address() as AddressInfo).port;
  });

  afterEach(async () => {
    for (const gets of opens) await gets.destroy();
    for (const socket of connections) socket.destroy();
    server.close();
    await once(server, "close");
  });

  function open(socketsMax = 4, silenceMs = 10_000): RangeGets {
    const gets = new RangeGets({ socketsMax, connectTimeoutMs: 3_000, silenceMs, agents: [] });
    opens.push(gets);
    return gets;
  }

  /** The first `bytes` of the object. */
  async function ask(gets: RangeGets, bytes: number, signal?: AbortSignal): Promise<Answer | undefined> {
    const request = {
      method: "GET",
      protocol: "http:",
      hostname: "127.0.0.1",
      port,
      path: "/b/k%20",
      query: { "x-id": "GetObject" },
      headers: { host: "bucket.example" },
    };
    const answer = await gets.get(
      request as unknown as HandlerRequest,
      0,
      bytes,
      signal ?? new AbortController().signal,
    );
    // The connection is free again in the turn after its answer.
    await setImmediate();
    return answer;
  }

  async function text(gets: RangeGets, bytes: number): Promise<string | undefined> {
    const answer = await ask(gets, bytes);
    return answer === undefined ? undefined : Buffer.from(answer.body).toString("latin1");
  }

  const partial = (body: string): string =>
    `HTTP/1.1 206 Partial Content\r\nContent-Length: ${body.length}\r\nContent-Range: bytes 0-${body.length - 1}/99\r\n\r\n${body}`;

  test("comes whole from whatever parts it is sent in, after a provisional answer as well", async () => {
    const gets = open();
    const answer = `HTTP/1.1 103 Early Hints\r\n\r\n${partial("0123456789")}`;
    for (const cut of [1, 20, 30, answer.length - 11, answer.length - 3]) {
      script = (socket) => {
        socket.write(answer.slice(0, cut), "latin1", () =>
          setTimeout(() => socket.write(answer.slice(cut), "latin1"), 1),
        );
      };
      const taken = await ask(gets, 10);
      expect(taken).toMatchObject({ status: 206, headers: { "content-range": "bytes 0-9/99" } });
      expect(Buffer.from(taken!.body).toString()).toBe("0123456789");
      // Nothing else lies in its memory.
      expect(taken!.body.buffer.byteLength).toBe(10);
    }
    expect(opened).toBe(1);
    const [line, ...headers] = requests[0]!.toLowerCase().split("\r\n");
    expect(line).toBe("get /b/k%20?x-id=getobject http/1.1");
    expect(headers).toEqual(expect.arrayContaining(["host: bucket.example", "range: bytes=0-9"]));
  });

  test("keeps its bytes when the next answer arrives", async () => {
    const gets = open();
    script = (socket, _request, nth) => socket.write(partial(String(nth % 10).repeat(100_000)), "latin1");
    const first = await ask(gets, 100_000);
    const second = await ask(gets, 100_000);
    expect(opened).toBe(1);
    expect(Buffer.from(first!.body).toString()).toBe("1".repeat(100_000));
    expect(Buffer.from(second!.body).toString()).toBe("2".repeat(100_000));
  });

  test("needs no Content-Length, nor does an error", async () => {
    const gets = open();
    script = (socket, _request, nth) => {
      const status = nth === 1 ? "206 Partial Content" : "503 Slow Down";
      const head = `HTTP/1.1 ${status}\r\nTransfer-Encoding: chunked\r\n\r\n`;
      socket.write(`${head}2\r\nab\r\n1\r\nc\r\n0\r\n\r\n`, "latin1");
    };
    expect(await text(gets, 4)).toBe("abc");
    const refused = await ask(gets, 4);
    expect(refused!.status).toBe(503);
    expect(Buffer.from(refused!.body).toString()).toBe("abc");
    expect(opened).toBe(1);
  });

  test("gives no body when more comes than was asked for, and its connection is closed", async () => {
    const gets = open();
    const large = `HTTP/1.1 200 OK\r\nContent-Length: ${10 ** 9}\r\n\r\n0123`;
    const long = "HTTP/1.1 206 Partial Content\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n";
    for (const answer of [large, partial("01234"), long]) {
      let used: Socket | undefined;
      script = (socket) => {
        used = socket;
        socket.write(answer, "latin1");
      };
      const taken = await ask(gets, 4);
      expect(taken!.status).toBe(answer === large ? 200 : 206);
      expect(taken!.body).toHaveLength(0);
      await vi.waitFor(() => expect(connections).not.toContain(used));
    }
    expect(requests).toHaveLength(3);
  });

  test("is left to the SDK when the answer is not HTTP, or has an endless head", async () => {
    const gets = open();
    const head = `HTTP/1.1 206 Partial Content\r\nX: ${"x".repeat(70_000)}`;
    for (const answer of ["SSH-2.0-OpenSSH_9.6\r\n", `HTTP/1.1 100 Continue\r\n\r\n${partial("0123")}`, head]) {
      script = (socket) => void socket.write(answer, "latin1");
      expect(await ask(gets, 4)).toBeUndefined();
    }
  });

  test("is left to the SDK when its connection is closed before the answer", async () => {
    const gets = open();
    script = (socket, _request, nth) => {
      if (nth === 2) socket.destroy();
      else socket.write(partial(`${nth}`), "latin1");
    };
    expect(await text(gets, 1)).toBe("1");
    expect(await text(gets, 1)).toBeUndefined();
    expect(await text(gets, 1)).toBe("3");
    expect(opened).toBe(2);
  });

  test("that breaks off fails, on a new connection and on a kept one", async () => {
    const gets = open();
    script = (socket, _request, nth) => {
      if (nth === 2) socket.write(partial("0123456789"), "latin1");
      else socket.end(partial("0123456789").slice(0, -5), "latin1");
    };
    await expect(ask(gets, 10)).rejects.toMatchObject({ code: "ECONNRESET" });
    expect(await text(gets, 10)).toBe("0123456789");
    await expect(ask(gets, 10)).rejects.toMatchObject({ code: "ECONNRESET" });
    expect(requests).toHaveLength(3);
  });

  test("finds nobody listening", async () => {
    server.close();
    await expect(ask(open(), 4)).rejects.toMatchObject({ code: "ECONNREFUSED" });
  });

  test("whose answer has bytes too many is the last of its connection", async () => {
    const gets = open();
    script = (socket) => void socket.write(`${partial("0123")}HTTP/1.1 206`, "latin1");
    expect(await text(gets, 4)).toBe("0123");
    expect(await text(gets, 4)).toBe("0123");
    expect(opened).toBe(2);
  });

  test("whose answer says that it closes is the last of its connection", async () => {
    const gets = open();
    const closing = partial("0123").replace("\r\n", "\r\nConnection: Close\r\n");
    script = (socket) => void socket.write(closing, "latin1");
    await ask(gets, 4);
    await ask(gets, 4);
    expect(opened).toBe(2);
  });

  test("that is not answered times out", async () => {
    script = () => {};
    await expect(ask(open(4, 20), 4)).rejects.toMatchObject({ name: "TimeoutError" });
  });

  test("waits for one of so many connections, and leaves the line when it is aborted", async () => {
    const gets = open(1);
    let answerFirst = (): void => {};
    script = (socket, _request, nth) => {
      const send = (): void => void socket.write(partial(`${nth}`), "latin1");
      if (nth === 1) answerFirst = send;
      else send();
    };
    const first = text(gets, 1);
    const aborting = new AbortController();
    const second = ask(gets, 1, aborting.signal);
    const third = text(gets, 1);
    await vi.waitFor(() => expect(requests).toHaveLength(1));
    aborting.abort();
    await expect(second).rejects.toMatchObject({ name: "AbortError" });
    answerFirst();
    expect(await first).toBe("1");
    expect(await third).toBe("2");
    expect(requests).toHaveLength(2);
  });

  test("that is aborted while it is answered ends its connection", async () => {
    const gets = open();
    const aborting = new AbortController();
    let used: Socket | undefined;
    script = (socket) => {
      used = socket;
      socket.write(partial("0123").slice(0, -2), "latin1");
      aborting.abort();
    };
    await expect(ask(gets, 4, aborting.signal)).rejects.toMatchObject({ name: "AbortError" });
    await vi.waitFor(() => expect(connections).not.toContain(used));
    script = (socket) => void socket.write(partial("0123"), "latin1");
    expect(await text(gets, 4)).toBe("0123");
  });

  test("fails when everything is ended", async () => {
    const gets = open();
    script = () => {};
    const waiting = Promise.allSettled([ask(gets, 4)]);
    await vi.waitFor(() => expect(requests).toHaveLength(1));
    await gets.destroy();
    expect(await waiting).toMatchObject([{ status: "rejected", reason: { code: "ECONNRESET" } }]);
    await expect(ask(gets, 4)).rejects.toMatchObject({ code: "ECONNRESET" });
  });
});
