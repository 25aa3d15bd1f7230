import { MemoryObjectStore } from "@coldbrook/tiering";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../test-support/shard.ts";
import { startColdbrook, type Coldbrook } from "../compose.ts";
import { readSettings } from "../settings.ts";

const JSON_TYPE = { "content-type": "application/json" };

let directory: { path: string } & AsyncDisposable;
let server: Coldbrook;
let serial = 0;

beforeAll(async () => {
  directory = await temporaryDirectory();
  const settings = readSettings(["--data-dir", directory.path, "--port", "0"], {});
  server = await startColdbrook(settings, { store: new MemoryObjectStore() });
});

afterAll(async () => {
  await server.close();
  await directory[Symbol.asyncDispose]();
});

async function newStream(): Promise<string> {
  const url = `${server.url}/v1/stream/json/${serial++}`;
  expect((await fetch(url, { method: "PUT", headers: JSON_TYPE })).status).toBe(201);
  return url;
}

async function append(url: string, body: string | Uint8Array<ArrayBuffer>): Promise<number> {
  return (await fetch(url, { method: "POST", headers: JSON_TYPE, body })).status;
}

async function readAll(url: string): Promise<string> {
  return (await fetch(url)).text();
}

describe("JSON over HTTP", () => {
  test("numbers, escapes, key order and repeated keys come back as they were sent, without the white space", async () => {
    const url = await newStream();
    expect(await append(url, String.raw`[9007199254740993, 1.0, 1e400, {"a": "\u00e9", "a": 2}]`)).toBe(204);
    expect(await readAll(url)).toBe(String.raw`[9007199254740993,1.0,1e400,{"a":"\u00e9","a":2}]`);
  });

  test("200 levels of nesting are one message", async () => {
    const url = await newStream();
    const nested = `${'{"a":['.repeat(200)}1${"]}".repeat(200)}`;
    expect(await append(url, nested)).toBe(204);
    expect(await readAll(url)).toBe(`[${nested}]`);
  });

  test("an array of 3 MiB comes back whole, chunk by chunk", async () => {
    const url = await newStream();
    const messages = Array.from({ length: 30_000 }, (_, i) => JSON.stringify({ i, pad: "x".repeat(90) }));
    const body = `[${messages.join(", ")}]`;
    expect(body.length).toBeGreaterThan(3 * 1024 * 1024);
    expect(await append(url, body)).toBe(204);
    const found: unknown[] = [];
    let next = url;
    for (let done = false; !done;) {
      const response = await fetch(next);
      found.push(...((await response.json()) as unknown[]));
      done = response.headers.get("stream-up-to-date") === "true";
      next = `${url}?offset=${response.headers.get("stream-next-offset")}`;
    }
    expect(found.map((message) => JSON.stringify(message)).join()).toBe(messages.join());
  });

  test.each<[string, string | Uint8Array<ArrayBuffer>]>([
    ["an empty array", "[]"],
    ["an array of nothing but white space", " [ \n ] "],
    ["a trailing comma", "[1,]"],
    ["a second value", "1 2"],
    ["a bare word", "undefined"],
    ["invalid UTF-8", Uint8Array.of(0x22, 0xff, 0x22)],
    ["a byte order mark", "\ufeff1"],
    ["100,000 levels that never close", "[".repeat(100_000)],
  ])("%s is refused with 400 and stores nothing", async (_what, body) => {
    const url = await newStream();
    expect(await append(url, "1")).toBe(204);
    expect(await append(url, body)).toBe(400);
    expect(await readAll(url)).toBe("[1]");
  });

  test("a create with a bad body creates nothing", async () => {
    const url = `${server.url}/v1/stream/json/bad`;
    expect((await fetch(url, { method: "PUT", headers: JSON_TYPE, body: "[1," })).status).toBe(400);
    expect((await fetch(url)).status).toBe(404);
  });
});
