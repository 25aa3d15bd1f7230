import { once } from "node:events";
import { connect } from "node:net";
import { MemoryObjectStore } from "@coldbrook/tiering";
import { expect, test } from "vitest";
import { temporaryDirectory } from "../../test-support/shard.ts";
import { startColdbrook } from "../compose.ts";
import { readSettings } from "../settings.ts";

const POLL = "GET /v1/stream/a?offset=now&live=long-poll HTTP/1.1\r\nHost: x\r\n\r\n";
const BODY = "Host: x\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello";

/** Found by the fuzzer: the request's error had no listener any more when Node emitted it, which ended the process. */
test.each(["PUT", "POST"])(
  "a connection that breaks while a %s waits behind a long-poll takes nothing else with it",
  async (method) => {
    await using directory = await temporaryDirectory();
    const uncaught: unknown[] = [];
    const catches = (error: unknown): number => uncaught.push(error);
    process.on("uncaughtException", catches);
    const settings = readSettings(["--data-dir", directory.path, "--port", "0"], {});
    const coldbrook = await startColdbrook(settings, { store: new MemoryObjectStore(), onFatal: catches });
    try {
      const stream = `${coldbrook.url}/v1/stream`;
      await fetch(`${stream}/a`, { method: "PUT" });
      if (method === "POST") await fetch(`${stream}/b`, { method: "PUT", headers: { "content-type": "text/plain" } });
      for (let round = 0; round < 10; round++) {
        const socket = connect(Number(new URL(coldbrook.url).port), "127.0.0.1");
        await once(socket, "connect");
        socket.write(`${POLL}${method} /v1/stream/b HTTP/1.1\r\n${BODY}`);
        while ((await waitersOf(coldbrook.url)) === 0) await new Promise((resolve) => setImmediate(resolve));
        socket.resetAndDestroy();
        while ((await waitersOf(coldbrook.url)) > 0) await new Promise((resolve) => setImmediate(resolve));
      }
      expect(uncaught).toEqual([]);
      const bytes = await (await fetch(`${stream}/b`)).text();
      // It waited for its turn, and that never came.
      expect(bytes.includes("hello")).toBe(false);
    } finally {
      process.off("uncaughtException", catches);
      await coldbrook.close();
    }
  },
);

const GET = "GET /v1/stream/none HTTP/1.1\r\nHost: x\r\n\r\n";
const PATCH = "PATCH /v1/stream/none HTTP/1.1\r\nHost: x\r\n\r\n";
const BROKEN = "POST /v1/stream/a HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\nhel";

/** The client sends all of it, ends its half, and waits until the connection is over. */
test.each<[string, string, readonly number[]]>([
  ["a body that breaks off", BROKEN, []],
  ["a body that breaks off behind a good request", GET + BROKEN, [404]],
  [
    "a chunk that breaks off",
    BROKEN.replace("Content-Length: 9", "Transfer-Encoding: chunked").replace("hel", "7fffffff\r\nhel"),
    [400],
  ],
  ["no request behind a refusal", `${PATCH} /v1 HTTP/1.1\r\n\r\n`, [405]],
  // Seed 14: health had not said that its refusal ends the connection, and a second refusal followed it.
  ["no request behind a refusal by health", `PUT /health HTTP/1.1\r\nHost: x\r\n\r\n /v1 HTTP/1.1\r\n\r\n`, [405]],
  ["no request behind a good one", `${GET} /v1 HTTP/1.1\r\n\r\n`, [404]],
  ["a request for a tunnel behind a good one", `${GET}CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n`, [404]],
  [
    "too large a body behind a good one",
    `${GET}PUT /v1/stream/a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9007199254740991\r\n\r\n`,
    [404, 413],
  ],
  // Seed 52.
  ["a method of HTTP/2 alone", "PRI /v1/stream/b\n\r\n", [405]],
  ["a method of HTTP/2 behind a good request", `${GET}PRI /v1/stream/b\n\r\n`, [404, 405]],
  ["the beginning of HTTP/2 behind a good request", `${GET}PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n`, [404]],
  ["a request for a tunnel", "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", [400]],
])("a connection that carries %s ends, and the answers before that arrive", async (_name, text, statuses) => {
  await using directory = await temporaryDirectory();
  const settings = readSettings(["--data-dir", directory.path, "--port", "0"], {});
  const coldbrook = await startColdbrook(settings, { store: new MemoryObjectStore(), onFatal: () => undefined });
  try {
    const socket = connect({ port: Number(new URL(coldbrook.url).port), host: "127.0.0.1", allowHalfOpen: true });
    let received = "";
    socket.on("data", (part: Buffer) => (received += part.toString("latin1")));
    socket.end(text);
    await once(socket, "close");
    const found = [...received.matchAll(/^HTTP\/1\.1 (\d+)/gm)].map((match) => Number(match[1]));
    // Whether a request that broke off is told so depends on what has left already, and nobody may be there to hear it.
    if (statuses.at(-1) !== 400 && found.at(-1) === 400) found.pop();
    expect(found).toEqual(statuses);
  } finally {
    await coldbrook.close();
  }
});

async function waitersOf(url: string): Promise<number> {
  return ((await (await fetch(`${url}/health`)).json()) as { waiters: number }).waiters;
}
