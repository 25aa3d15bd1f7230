import http from "node:http";
import type { AddressInfo } from "node:net";
import { createPublicKey, verify } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../test-support/shard.ts";
import { REFUSED } from "../../test-support/webhook-urls.ts";
import { check } from "../cli/check.ts";
import { startColdbrook, type Coldbrook } from "../compose.ts";
import { readSettings, type Settings } from "../settings.ts";

let directory: { path: string } & AsyncDisposable;
let settings: Settings;
let server: Coldbrook;

beforeAll(async () => {
  directory = await temporaryDirectory();
  settings = readSettings(["--data-dir", directory.path, "--port", "0", "--webhook-loopback", "on"], {});
  server = await startColdbrook(settings);
});

afterAll(async () => {
  await server.close();
  await directory[Symbol.asyncDispose]();
});

const control = (rest: string): string => `${server.url}/v1/stream/__ds/${rest}`;
const stream = (path: string): string => `${server.url}/v1/stream/${path}`;

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // oxlint-disable-next-line no-explicit-any -- what a response holds is what these tests look at
  readonly body: any;
}

async function ask(
  method: string,
  rest: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const text = body === undefined || typeof body === "string" ? (body ?? null) : JSON.stringify(body);
  const response = await fetch(control(rest), { method, body: text, headers });
  const received = await response.text();
  return { status: response.status, headers: response.headers, body: received === "" ? null : JSON.parse(received) };
}

async function append(path: string, text: string): Promise<void> {
  const response = await fetch(stream(path), { method: "PUT", headers: { "content-type": "text/plain" }, body: text });
  expect(response.status).toBe(201);
}

interface Received {
  readonly signature: string;
  readonly body: string;
}

/** A receiver on loopback that answers 200 and nothing else. */
async function receiver(): Promise<{ url: string; next: Promise<Received> } & AsyncDisposable> {
  let resolve: (received: Received) => void;
  const next = new Promise<Received>((given) => (resolve = given));
  const listener = http.createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      response.end();
      resolve({ signature: String(request.headers["webhook-signature"]), body: Buffer.concat(parts).toString() });
    });
  });
  await new Promise<void>((listening) => listener.listen(0, "127.0.0.1", listening));
  const { port } = listener.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/hook`,
    next,
    [Symbol.asyncDispose]: async () => {
      listener.closeAllConnections();
      await new Promise((closed) => listener.close(closed));
    },
  };
}

describe("subscriptions over HTTP", () => {
  test("every webhook URL of the table is refused as such, and leaves nothing behind", async () => {
    const taken: string[] = [];
    for (const [url] of REFUSED.filter(([given]) => given !== "")) {
      const answer = await ask("PUT", "subscriptions/unsafe", { type: "webhook", pattern: "w/*", webhook: { url } });
      if (answer.status !== 400 || answer.body.error.code !== "WEBHOOK_URL_REJECTED") taken.push(url.slice(0, 80));
    }
    expect(taken).toEqual([]);
    expect(REFUSED.length).toBeGreaterThan(40);
    expect((await ask("GET", "subscriptions/unsafe")).status).toBe(404);
  });

  test("a webhook is signed, calls back where it says, and its key is published", async () => {
    await using hook = await receiver();
    const created = await ask("PUT", "subscriptions/a%20b", {
      type: "webhook",
      pattern: "w/*",
      webhook: { url: hook.url },
    });
    expect([created.status, created.headers.get("cache-control")]).toEqual([201, "no-store"]);
    expect(created.body).toMatchObject({ id: "a b", status: "active", wake_stream: null, webhook: { url: hook.url } });
    await append("w/1", "one");
    const { signature, body } = await hook.next;
    const [, at, kid, value] = /^t=(\d+),kid=(ds_[\w-]+),ed25519=([\w-]+)$/.exec(signature)!;
    const jwks = await ask("GET", "jwks.json");
    expect(jwks.headers.get("content-type")).toBe("application/jwk-set+json");
    expect(jwks.headers.get("cache-control")).toBe("public, max-age=300");
    const jwk = jwks.body.keys.find((key: { kid: string }) => key.kid === kid);
    const key = createPublicKey({ key: jwk, format: "jwk" });
    expect(verify(null, Buffer.from(`${at}.${body}`), key, Buffer.from(value!, "base64url"))).toBe(true);
    const wake = JSON.parse(body);
    expect(wake.callback_url).toBe(control("subscriptions/a%20b/callback"));
    const ack = {
      wake_id: wake.wake_id,
      generation: 1,
      acks: [{ stream: "w/1", offset: wake.streams[0].tail_offset }],
      done: true,
    };
    const authorization = `Bearer ${wake.callback_token}`;
    expect((await ask("POST", "subscriptions/a%20b/callback", ack)).body.error.code).toBe("TOKEN_INVALID");
    const wrong = await ask("POST", "subscriptions/a%20b/callback", ack, { authorization: `${authorization}x` });
    expect([wrong.status, wrong.body.error.code]).toEqual([401, "TOKEN_INVALID"]);
    const done = await ask("POST", "subscriptions/a%20b/callback", ack, { authorization });
    expect([done.status, done.body]).toEqual([200, { ok: true, next_wake: false }]);
    const stale = await ask("POST", "subscriptions/a%20b/callback", ack, { authorization });
    expect([stale.status, stale.body.error.code]).toEqual([409, "FENCED"]);
  });

  test.each([
    ["PUT", "subscriptions/x", "{", 400, "INVALID_REQUEST"],
    ["PUT", "subscriptions/x", { type: "other" }, 400, "INVALID_REQUEST"],
    [
      "PUT",
      "subscriptions/x",
      { type: "webhook", pattern: "*", webhook: { url: "http://10.0.0.1" } },
      400,
      "WEBHOOK_URL_REJECTED",
    ],
    ["PUT", `subscriptions/${"x".repeat(300)}`, {}, 400, "INVALID_REQUEST"],
    ["PUT", "subscriptions/x", `"${"x".repeat(300_000)}"`, 413, "INVALID_REQUEST"],
    ["GET", "subscriptions/none", undefined, 404, "SUBSCRIPTION_NOT_FOUND"],
    ["GET", "nothing", undefined, 404, "SUBSCRIPTION_NOT_FOUND"],
    ["GET", "subscriptions/%zz", undefined, 400, "INVALID_REQUEST"],
    ["POST", "subscriptions/none/streams", { streams: ["a"] }, 404, "SUBSCRIPTION_NOT_FOUND"],
    ["POST", "subscriptions/none/streams", {}, 400, "INVALID_REQUEST"],
    ["DELETE", "subscriptions/none/streams/a", undefined, 404, "SUBSCRIPTION_NOT_FOUND"],
    ["POST", "subscriptions/none/claim", { worker: "w" }, 404, "SUBSCRIPTION_NOT_FOUND"],
    ["POST", "subscriptions/none/claim", {}, 400, "INVALID_REQUEST"],
    ["POST", "subscriptions/none/ack", {}, 401, "TOKEN_INVALID"],
    ["PATCH", "subscriptions/x", undefined, 405, "INVALID_REQUEST"],
    ["GET", "subscriptions/x/claim", undefined, 405, "INVALID_REQUEST"],
    ["POST", "jwks.json", "{}", 405, "INVALID_REQUEST"],
  ])("%s %s with %j is refused", async (method, rest, body, status, code) => {
    const answer = await ask(method, rest, body);
    expect([answer.status, answer.body.error.code]).toEqual([status, code]);
    expect(answer.body.error.message).toEqual(expect.any(String));
    expect(answer.headers.get("cache-control")).toBe("no-store");
    if (status === 405) expect(answer.headers.get("allow")).toContain("OPTIONS");
  });

  test.each(["Bearer", "Bearer ", "Basic abc", "Bearer a b", "Bearer a,b", "abc"])(
    "%j is no token",
    async (authorization) => {
      const answer = await ask("POST", "subscriptions/none/release", {}, { authorization });
      expect([answer.status, answer.body.error.code]).toEqual([401, "TOKEN_INVALID"]);
    },
  );

  test("a subscription is deleted once and for all, and deleting what is not there is no error", async () => {
    const config = { type: "pull-wake", wake_stream: "wake", streams: ["s"] };
    expect((await ask("PUT", "subscriptions/d", config)).status).toBe(201);
    expect((await ask("PUT", "subscriptions/d", config)).status).toBe(200);
    expect((await ask("PUT", "subscriptions/d", { ...config, description: "x" })).status).toBe(409);
    expect((await ask("DELETE", "subscriptions/d")).status).toBe(204);
    expect((await ask("DELETE", "subscriptions/d")).status).toBe(204);
    expect((await ask("GET", "subscriptions/d")).status).toBe(404);
  });

  test("what was subscribed is there after a restart, keys included, and the checker finds it sound", async () => {
    await append("c/1", "one");
    await ask("PUT", "subscriptions/kept", {
      type: "pull-wake",
      wake_stream: "wake",
      pattern: "c/*",
      streams: ["c/x"],
    });
    await append("c/2", "two");
    const claim = await ask("POST", "subscriptions/kept/claim", { worker: "me" });
    const kept = await ask("GET", "subscriptions/kept");
    const keys = await ask("GET", "jwks.json");
    await server.close();
    const lines: string[] = [];
    expect(await check(settings, (line) => lines.push(line))).toBe(0);
    expect(lines.at(-1)).toMatch(/ 2 subscriptions,/);
    server = await startColdbrook(settings);
    expect((await ask("GET", "subscriptions/kept")).body).toEqual(kept.body);
    expect((await ask("GET", "jwks.json")).body).toEqual(keys.body);
    const { wake_id, generation, token, streams } = claim.body;
    const acks = streams.map((each: { path: string; tail_offset: string }) => ({
      stream: each.path,
      offset: each.tail_offset,
    }));
    const authorization = `bearer ${token}`;
    const done = await ask(
      "POST",
      "subscriptions/kept/ack",
      { wake_id, generation, acks, done: true },
      { authorization },
    );
    expect([done.status, done.body]).toEqual([200, { ok: true, next_wake: false }]);
  });
});
