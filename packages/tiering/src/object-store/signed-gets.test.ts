import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { S3ObjectStore } from "./s3.ts";

interface Seen {
  readonly range: string;
  readonly authorization: string;
  /** Whether the signature covers the range. */
  readonly isOwn: boolean;
}

let server: Server;
let store: S3ObjectStore;
let seen: Seen[];
let nowMs: number;
/** Attempts after the first. */
let waits: number;
/** Status of the next answers to ranges; 206 when it returns undefined. */
let refuse: (request: Seen) => number | undefined;

/** Instead of a status: the connection is closed. */
const CLOSE = 0;
const OBJECT = Buffer.from("the bytes of one object");

beforeEach(async () => {
  seen = [];
  nowMs = 1_000_000;
  waits = 0;
  refuse = () => undefined;
  server = createServer(answer);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  vi.stubEnv("AWS_ACCESS_KEY_ID", "key");
  vi.stubEnv("AWS_SECRET_ACCESS_KEY", "secret");
  store = new S3ObjectStore({
    bucket: "bucket",
    prefix: "",
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    region: "us-east-1",
    clock: () => nowMs,
    sleep: async () => {
      waits += 1;
    },
  });
});

afterEach(async () => {
  await store.close();
  server.close();
  await once(server, "close");
  vi.unstubAllEnvs();
});

function answer(request: IncomingMessage, response: ServerResponse): void {
  const { range = "", authorization = "" } = request.headers;
  const one = { range, authorization, isOwn: /SignedHeaders=[^,]*\brange\b/.test(authorization) };
  seen.push(one);
  const status = refuse(one) ?? 206;
  if (status === CLOSE) return void response.socket?.destroy();
  if (status !== 206) {
    const code = status === 404 ? "NoSuchKey" : "AccessDenied";
    const text = `<?xml version="1.0"?><Error><Code>${code}</Code><Message>no</Message></Error>`;
    response.writeHead(status, { "Content-Type": "application/xml", "Content-Length": text.length }).end(text);
    return;
  }
  const [, first = "0", last = "0"] = /^bytes=(\d+)-(\d+)$/.exec(range) ?? [];
  const bytes = OBJECT.subarray(Number(first), Number(last) + 1);
  const headers = { "Content-Length": bytes.length, "Content-Range": `bytes ${first}-${last}/${OBJECT.length}` };
  response.writeHead(206, headers).end(bytes);
}

async function read(key: string, from: number, to: number): Promise<string> {
  return Buffer.from(await store.read(key, from, to)).toString();
}

test("the ranges of an object are asked for under one signature, until it is a minute old", async () => {
  expect(await read("k", 4, 9)).toBe("bytes");
  nowMs += 59_999;
  expect(await read("k", 0, 3)).toBe("the");
  expect(await read("other", 0, 3)).toBe("the");
  expect(seen.map(({ range }) => range)).toEqual(["bytes=4-8", "bytes=0-2", "bytes=0-2"]);
  expect(seen.map(({ isOwn }) => isOwn)).toEqual([false, false, false]);
  expect(seen[1]!.authorization).toBe(seen[0]!.authorization);
  expect(seen[2]!.authorization).not.toBe(seen[0]!.authorization);
  nowMs += 1;
  // The SDK dates its requests to the second, by the machine's clock.
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 5_000 });
  try {
    expect(await read("k", 0, 3)).toBe("the");
  } finally {
    vi.useRealTimers();
  }
  expect(seen[3]!.authorization).not.toBe(seen[0]!.authorization);
});

test("a server that wants each range signed is asked so, and for a minute only so", async () => {
  refuse = ({ isOwn }) => (isOwn ? undefined : 403);
  expect(await read("k", 0, 3)).toBe("the");
  expect(await read("k", 4, 9)).toBe("bytes");
  expect(seen.map(({ isOwn }) => isOwn)).toEqual([false, true, true]);
  nowMs += 60_000;
  expect(await read("k", 0, 3)).toBe("the");
  expect(seen.slice(3).map(({ isOwn }) => isOwn)).toEqual([false, true]);
});

test("a signature that is no longer taken is made anew", async () => {
  expect(await read("k", 0, 3)).toBe("the");
  refuse = ({ isOwn }) => (isOwn ? undefined : 403);
  expect(await read("k", 0, 3)).toBe("the");
  refuse = () => undefined;
  expect(await read("k", 0, 3)).toBe("the");
  expect(seen.map(({ isOwn }) => isOwn)).toEqual([false, false, true, false]);
});

test("who is refused for good hears why, and a missing object costs one request", async () => {
  refuse = () => 403;
  await expect(store.read("k", 0, 3)).rejects.toMatchObject({ code: "denied", message: /AccessDenied/ });
  refuse = () => 404;
  nowMs += 60_000;
  const before = seen.length;
  await expect(store.read("k", 0, 3)).rejects.toMatchObject({ code: "missing" });
  expect(seen.length - before).toBe(1);
});

test("a range whose connection is closed before the answer is asked for in the SDK's way, at once", async () => {
  expect(await read("k", 0, 3)).toBe("the");
  refuse = ({ isOwn }) => (isOwn ? undefined : CLOSE);
  expect(await read("k", 4, 9)).toBe("bytes");
  expect(seen.map(({ isOwn }) => isOwn)).toEqual([false, false, true]);
  expect(waits).toBe(0);
});
