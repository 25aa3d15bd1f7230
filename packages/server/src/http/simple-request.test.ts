import http from "node:http";
import type { IncomingHttpHeaders } from "node:http";
import * as fc from "fast-check";
import { HEADER_BYTES_MAX, HEADER_COUNT_MAX, SIMPLE_BODY_BYTES_MAX } from "@coldbrook/core";
import { describe, expect, test } from "vitest";
import { InProcessSocket } from "./in-process-socket.ts";
import { HeaderMemory, readSimpleRequest } from "./simple-request.ts";
import type { SimpleRequest } from "./simple-request.ts";

const REQUEST = "POST /v1/stream/a HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nabc";

function read(text: string, at = 0, memory = new HeaderMemory()): ReturnType<typeof readSimpleRequest> {
  return readSimpleRequest(Buffer.from(text, "latin1"), at, memory);
}

function withHeader(line: string): string {
  return REQUEST.replace("\r\n\r\n", `\r\n${line}\r\n\r\n`);
}

describe("a simple request", () => {
  test("is read with its headers by lower-case name, its body, and its length", () => {
    const request = read(`${REQUEST}POST`);
    expect(request).toMatchObject({
      target: "/v1/stream/a",
      headers: { host: "x", "content-type": "text/plain", "content-length": "3" },
      bytes: REQUEST.length,
    });
    expect(Buffer.from((request as { body: Uint8Array }).body).toString()).toBe("abc");
  });

  test.each(["POST", "PUT", "DELETE", "HEAD"])("is a %s, with or without a body", (method) => {
    expect(read(REQUEST.replace("POST", method))).toMatchObject({ method, bytes: REQUEST.length - 4 + method.length });
    const bare = `${method} /v1/stream/a HTTP/1.1\r\nHost: x\r\n\r\n`;
    const request = read(`${bare}abc`);
    expect(request).toMatchObject({ method, bytes: bare.length });
    expect((request as { body: Uint8Array }).body.length).toBe(0);
  });

  test("is read from wherever it begins", () => {
    expect(read(`skipped${REQUEST}`, 7)).toMatchObject({ target: "/v1/stream/a", bytes: REQUEST.length });
  });

  test("is incomplete with each of its bytes but the last", () => {
    for (let bytes = 0; bytes < REQUEST.length; bytes++) expect(read(REQUEST.slice(0, bytes))).toBe("incomplete");
  });

  test.each([
    ["white space in and around a value", "X-A:  b \t c  ", "b \t c"],
    ["no value", "X-A:", ""],
    ["no white space", "X-A:b", "b"],
    ["a colon in its value", "X-A: b:c", "b:c"],
  ])("may have a header with %s", (_what, line, value) => {
    expect(read(withHeader(line))).toMatchObject({ headers: { "x-a": value } });
  });

  test("names no property that objects have by themselves", () => {
    expect(read(withHeader("__proto__: x"))).toBe("other");
    const { headers } = read(REQUEST) as { headers: Record<string, string> };
    expect(headers["constructor"]).toBeUndefined();
  });
});

describe("on a connection that brought requests before, a request", () => {
  test("with the same header lines shares their headers, whatever else differs", () => {
    const memory = new HeaderMemory();
    const first = read(REQUEST, 0, memory) as SimpleRequest;
    const second = read(REQUEST.replace("POST", "PUT").replace("/a ", "/b ").replace("abc", "def"), 0, memory);
    expect(second).toMatchObject({ method: "PUT", target: "/v1/stream/b" });
    expect((second as SimpleRequest).headers).toBe(first.headers);
  });

  test("is read as it would be on a new one", () => {
    const lines = fc.array(
      fc.constantFrom("Host: x", "X-A: b", "X-A: c", "Connection: close", "Content-Length: 3", "X:\t"),
    );
    fc.assert(
      fc.property(fc.array(lines, { maxLength: 6 }), (requests) => {
        const memory = new HeaderMemory();
        for (const request of requests) {
          const text = `POST /v1/stream/a HTTP/1.1\r\n${request.map((line) => `${line}\r\n`).join("")}\r\nabc`;
          expect(read(text, 0, memory)).toEqual(read(text));
        }
      }),
    );
  });
});

describe("left to the general parser is a request", () => {
  const others: readonly (readonly [string, string])[] = [
    ["without any header", "POST /v1/stream/a HTTP/1.1\r\n\r\n"],
    ["of another method", REQUEST.replace("POST", "GET")],
    ["of a method in lower case", REQUEST.replace("POST", "post")],
    ["of HTTP/1.0", REQUEST.replace("1.1", "1.0")],
    ["of another protocol", REQUEST.replace("HTTP/1.1", "HTTP/2.0")],
    ["in absolute form", REQUEST.replace("/v1", "http://x/v1")],
    ["with a fragment", REQUEST.replace("/a ", "/a#b ")],
    ["with a space in its target", REQUEST.replace("/a ", "/a b ")],
    ["with a byte above ASCII in its target", REQUEST.replace("/a ", "/\xe9 ")],
    ["with two spaces before its target", REQUEST.replace("POST ", "POST  ")],
    ["behind an empty line", `\r\n${REQUEST}`],
    ["without a Host", REQUEST.replace("Host", "Hest")],
    ["with two Hosts", withHeader("Host: y")],
    ["with two equal Content-Lengths", withHeader("Content-Length: 3")],
    ["with a signed Content-Length", REQUEST.replace(": 3", ": +3")],
    ["with a list of Content-Lengths", REQUEST.replace(": 3", ": 3, 3")],
    ["with an empty Content-Length", REQUEST.replace(": 3", ":")],
    ["with a hexadecimal Content-Length", REQUEST.replace(": 3", ": 0x3")],
    ["with a Transfer-Encoding", withHeader("Transfer-Encoding: chunked")],
    ["with a Content-Encoding", withHeader("Content-Encoding: gzip")],
    ["with an Expect", withHeader("Expect: 100-continue")],
    ["with an Upgrade", withHeader("Upgrade: h2c")],
    ["that ends its connection", withHeader("Connection: close")],
    ["with other options of its connection", withHeader("Connection: keep-alive, x")],
    ["with any header twice", withHeader("content-type: text/plain")],
    ["with a folded header", withHeader("X-A: b\r\n c")],
    ["with white space before a colon", withHeader("X-A : b")],
    ["with a header without a colon", withHeader("X-A")],
    ["with a header without a name", withHeader(": b")],
    ["with a bare line feed", withHeader("X-A: b\nX-B: c")],
    ["with a bare carriage return", withHeader("X-A: b\rX-B: c")],
    // Found by the property below: Node refuses a tab behind a Content-Length.
    ["with a tab behind a Content-Length", REQUEST.replace(": 3", ": 3\t")],
    ["with a tab before a value", withHeader("X-A:\tb")],
    ["with a NUL", withHeader("X-A: b\0")],
    ["with a byte above ASCII in a value", withHeader("X-A: \xe9")],
    ["with a byte above ASCII in a name", withHeader("X-\xe9: a")],
    [
      "with more headers than are counted",
      withHeader(Array.from({ length: HEADER_COUNT_MAX }, (_, i) => `X-${i}: a`).join("\r\n")),
    ],
    ["with a long head", withHeader(`X-A: ${"a".repeat(HEADER_BYTES_MAX)}`)],
    ["whose head is long and has no end yet", `POST /${"a".repeat(HEADER_BYTES_MAX + 1)}`],
    ["with a large body", REQUEST.replace(": 3", `: ${SIMPLE_BODY_BYTES_MAX + 1}`)],
  ];

  test.each(others)("%s", (_what, text) => {
    expect(read(text)).toBe("other");
  });
});

/** What Node's parser makes of the same bytes. */
function nodeReads(
  text: string,
): Promise<{ url: string; headers: IncomingHttpHeaders; body: string; method: string }[]> {
  return new Promise((resolve) => {
    const seen: Awaited<ReturnType<typeof nodeReads>> = [];
    const server = http.createServer((request, response) => {
      let body = "";
      request.setEncoding("latin1").on("data", (part: string) => (body += part));
      request.on("end", () => {
        seen.push({ method: request.method!, url: request.url!, headers: request.headers, body });
        response.end();
      });
    });
    server.on("clientError", (_error, socket) => socket.destroy());
    const [client, end] = InProcessSocket.pair();
    client.on("close", () => resolve(seen)).on("error", () => undefined);
    client.resume();
    server.emit("connection", end);
    client.end(Buffer.from(text, "latin1"));
  });
}

const PIECES = [
  "\r\n",
  "\n",
  "\r",
  " ",
  "\t",
  ":",
  ",",
  "\0",
  "\xe9",
  "0",
  "3",
  "abc",
  "Host: x",
  "Content-Length: 2",
].concat(
  ["Content-Length:3", "X-A", "X-A: b ; c", "Connection: Keep-Alive", "POST /a HTTP/1.1", "PUT /b HTTP/1.1", "HEAD"],
  ["\r\n\r\n", "Transfer-Encoding: chunked", "HTTP/1.0", "/a?b", "%00", "__proto__: 1", "\r\n X", "DELETE"],
);
const pieces = fc.constantFrom(...PIECES);

test("whatever is taken, Node's parser reads the same from it", async () => {
  let taken = 0;
  const mutated = fc.tuple(fc.nat(REQUEST.length), fc.nat(4), fc.array(pieces, { maxLength: 4 }));
  await fc.assert(
    fc.asyncProperty(fc.array(mutated, { minLength: 1, maxLength: 3 }), async (changes) => {
      let text = REQUEST;
      for (const [at, drop, added] of changes) text = text.slice(0, at) + added.join("") + text.slice(at + drop);
      const request = read(text);
      if (typeof request === "string") return;
      taken += 1;
      const [first] = await nodeReads(text.slice(0, request.bytes));
      expect(first).toEqual({
        method: request.method,
        url: request.target,
        headers: { ...request.headers },
        body: Buffer.from(request.body).toString("latin1"),
      });
    }),
    { numRuns: 3_000 },
  );
  expect(taken).toBeGreaterThan(100);
});
