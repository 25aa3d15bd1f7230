import http from "node:http";
import { DurableStreamTestServer } from "@coldbrook/server";
import type { InjectedFault } from "@coldbrook/server";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";

const JSON_TYPE = { "content-type": "application/json" };
const BODY = '[{"a":1},{"b":2}]';

let server: DurableStreamTestServer;
beforeAll(async () => {
  server = new DurableStreamTestServer({ port: 0, longPollTimeout: 50 });
  await server.start();
  await fetch(`${server.url}/s`, { method: "PUT", headers: JSON_TYPE, body: BODY });
});
afterAll(() => server.stop());
beforeEach(() => server.clearInjectedFaults());

interface Answer {
  readonly status: number;
  readonly length: string | undefined;
  readonly body: string;
}

/** The bytes as they come: `fetch` hides a Content-Length that is wrong. */
function get(path: string, method = "GET", headers: http.OutgoingHttpHeaders = {}): Promise<Answer | "broken off"> {
  return new Promise((resolve) => {
    const request = http.request(server.url + path, { method, headers, agent: false }, (response) => {
      const parts: Buffer[] = [];
      response.on("data", (part: Buffer) => parts.push(part));
      response.on("error", () => resolve("broken off"));
      response.on("end", () => {
        const body = Buffer.concat(parts).toString("latin1");
        resolve({ status: response.statusCode!, length: response.headers["content-length"], body });
      });
    });
    request.on("error", () => resolve("broken off"));
    request.end();
  });
}

function order(config: unknown): Promise<Response> {
  return fetch(`${server.url}/_test/inject-error`, { method: "POST", body: JSON.stringify(config) });
}

const WHOLE: Answer = { status: 200, length: String(BODY.length), body: BODY };

type Fault = Omit<InjectedFault, "count"> & { count?: number };

const cases: [string, Fault, (answer: Answer | "broken off") => void][] = [
  [
    "status",
    { status: 418 },
    (answer) => expect(answer).toMatchObject({ status: 418, body: "Injected error for testing" }),
  ],
  ["status without a body", { status: 204 }, (answer) => expect(answer).toMatchObject({ status: 204, body: "" })],
  ["dropConnection", { dropConnection: true }, (answer) => expect(answer).toBe("broken off")],
  [
    "dropConnection before status",
    { dropConnection: true, status: 500 },
    (answer) => expect(answer).toBe("broken off"),
  ],
  [
    "status before the body",
    { status: 500, corruptBody: true },
    (answer) => expect(answer).toMatchObject({ status: 500 }),
  ],
  [
    "truncateBodyBytes",
    { truncateBodyBytes: 5 },
    (answer) => expect(answer).toEqual({ status: 200, length: "5", body: BODY.slice(0, 5) }),
  ],
  [
    "truncateBodyBytes of nothing",
    { truncateBodyBytes: 0 },
    (answer) => expect(answer).toEqual({ status: 200, length: "0", body: "" }),
  ],
  ["truncateBodyBytes past the end", { truncateBodyBytes: 500 }, (answer) => expect(answer).toEqual(WHOLE)],
  [
    "corruptBody",
    { corruptBody: true },
    (answer) => {
      expect(answer).toMatchObject({ status: 200, length: String(BODY.length) });
      expect(() => JSON.parse((answer as Answer).body) as unknown).toThrow(SyntaxError);
    },
  ],
  [
    "truncated and corrupted",
    { corruptBody: true, truncateBodyBytes: 3 },
    (answer) => expect(answer).toMatchObject({ status: 200, length: "3" }),
  ],
  [
    "injectSseEvent on a plain read",
    { injectSseEvent: { eventType: "x", data: "y" } },
    (answer) => expect(answer).toEqual(WHOLE),
  ],
];

describe("one request meets the fault, and the next does not", () => {
  test.each(cases)("%s, by method", async (_, fault, check) => {
    server.injectFault("/s", fault);
    check(await get("/s"));
    expect(await get("/s")).toEqual(WHOLE);
  });

  test.each(cases)("%s, by HTTP", async (_, fault, check) => {
    const ordered = await order({ path: "/s", ...fault });
    expect([ordered.status, await ordered.json()]).toEqual([200, { ok: true }]);
    check(await get("/s"));
    expect(await get("/s")).toEqual(WHOLE);
  });
});

describe("which requests meet a fault", () => {
  test("those of its exact path, whatever their query", async () => {
    server.injectFault("/s", { status: 500 });
    expect(await get("/s2")).toMatchObject({ status: 404 });
    expect(await get("/s/")).toMatchObject({ status: 400 });
    expect(await get("/s?offset=-1")).toMatchObject({ status: 500 });
  });

  test("those of its method, if it has one; OPTIONS never", async () => {
    server.injectFault("/s", { status: 500, method: "head" });
    expect(await get("/s")).toEqual(WHOLE);
    expect(await get("/s", "HEAD")).toMatchObject({ status: 500, body: "" });
    server.injectFault("/s", { status: 500 });
    expect(await get("/s", "OPTIONS")).toMatchObject({ status: 204 });
    expect(await get("/s")).toMatchObject({ status: 500 });
  });

  test("as many as its count says, and a new fault replaces the old", async () => {
    server.injectFault("/s", { status: 500, count: 3 });
    server.injectFault("/s", { status: 503, count: 2 });
    expect([await get("/s"), await get("/s"), await get("/s")]).toMatchObject([
      { status: 503 },
      { status: 503 },
      WHOLE,
    ]);
  });

  test("none of probability 0, which is not used up, and all of probability 1", async () => {
    server.injectFault("/s", { status: 500, probability: 0 });
    expect(await get("/s")).toEqual(WHOLE);
    server.injectFault("/s", { status: 500, probability: 1 });
    expect(await get("/s")).toMatchObject({ status: 500 });
  });

  test("writes meet a status before anything is written", async () => {
    server.injectFault("/s", { status: 500, method: "POST" });
    const refused = await fetch(`${server.url}/s`, { method: "POST", headers: JSON_TYPE, body: '{"c":3}' });
    expect(refused.status).toBe(500);
    expect(await get("/s")).toEqual(WHOLE);
  });

  test("a write whose body would be changed goes through unchanged", async () => {
    server.injectFault("/w", { truncateBodyBytes: 1, corruptBody: true });
    expect((await fetch(`${server.url}/w`, { method: "PUT" })).status).toBe(201);
    await fetch(`${server.url}/w`, { method: "DELETE" });
  });
});

describe("live reads", () => {
  test("an SSE event comes before the normal ones, as it was given", async () => {
    await fetch(`${server.url}/closed`, {
      method: "PUT",
      headers: { ...JSON_TYPE, "stream-closed": "true" },
      body: BODY,
    });
    server.injectFault("/closed", {
      injectSseEvent: { eventType: "control", data: "{not json" },
      truncateBodyBytes: 3,
    });
    const text = await (await fetch(`${server.url}/closed?offset=-1&live=sse`)).text();
    expect(text.startsWith("event: control\ndata: {not json\n\nevent: data\n")).toBe(true);
    expect(text).toContain('"streamClosed":true');
    const next = await (await fetch(`${server.url}/closed?offset=-1&live=sse`)).text();
    expect(next.startsWith("event: data\n")).toBe(true);
  });

  test("a long-poll's 204 has no body to change", async () => {
    server.injectFault("/s", { corruptBody: true });
    expect(await get("/s?offset=now&live=long-poll")).toMatchObject({ status: 204, body: "" });
  });

  test("a compressed body is cut as it goes over the wire", async () => {
    await fetch(`${server.url}/big`, {
      method: "PUT",
      headers: { "content-type": "text/plain" },
      body: "x".repeat(50_000),
    });
    server.injectFault("/big", { truncateBodyBytes: 20 });
    const cut = await get("/big", "GET", { "accept-encoding": "gzip" });
    expect(cut).toMatchObject({ status: 200, length: "20" });
    expect((cut as Answer).body.startsWith("\u001f\u008b")).toBe(true);
  });
});

describe("a delay", () => {
  test("holds back only its own request", async () => {
    server.injectFault("/s", { delayMs: 300, jitterMs: 10 });
    const answered: string[] = [];
    const slow = get("/s").then((answer) => {
      answered.push("slow");
      return answer;
    });
    // Its own connection was accepted before, since this one is answered after it.
    await get("/closed");
    answered.push("quick");
    expect(await slow).toEqual(WHOLE);
    expect(answered).toEqual(["quick", "slow"]);
  });

  test("comes before the status, and ends with the client", async () => {
    server.injectFault("/s", { delayMs: 60_000, status: 500 });
    const abort = new AbortController();
    const gone = fetch(`${server.url}/s`, { signal: abort.signal });
    await get("/closed");
    abort.abort();
    await expect(gone).rejects.toMatchObject({ name: "AbortError" });
  });
});

describe("orders that say nothing useful are refused", () => {
  test.each([
    ["no JSON", "{", 400],
    ["no object", "[]", 400],
    ["no path", '{"status":500}', 400],
    ["no fault", '{"path":"/s"}', 400],
    ["nothing but switched-off faults", '{"path":"/s","corruptBody":false}', 400],
    ["a status that is none", '{"path":"/s","status":99}', 400],
    ["a number that is none", '{"path":"/s","delayMs":"1"}', 400],
    ["half an event", '{"path":"/s","injectSseEvent":{"data":"x"}}', 400],
  ])("%s", async (_, body, status) => {
    const response = await fetch(`${server.url}/_test/inject-error`, { method: "POST", body });
    expect(response.status).toBe(status);
    expect(await get("/s")).toEqual(WHOLE);
  });

  test("with another method than POST and DELETE", async () => {
    expect(await get("/_test/inject-error")).toMatchObject({ status: 405 });
    await order({ path: "/s", status: 500 });
    expect(await get("/_test/inject-error", "DELETE")).toMatchObject({ status: 200, body: '{"ok":true}' });
    expect(await get("/s")).toEqual(WHOLE);
  });
});
