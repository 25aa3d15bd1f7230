import { createColdbrook, createFetchHandler, SettingError } from "@coldbrook/server";
import type { Coldbrook } from "@coldbrook/server";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { until, within } from "../process/until.ts";

const BOUND_MS = 30_000;
const STREAM = "http://app.example/v1/stream/s";
const PLAIN = { "content-type": "text/plain" };

let coldbrook: Coldbrook;
let handle: (request: Request) => Promise<Response>;
beforeEach(async () => {
  coldbrook = await createColdbrook({ port: 0, bodyBytesMax: 8 * 1024 * 1024 }, { storage: "memory" });
  handle = createFetchHandler(coldbrook);
});
afterEach(() => coldbrook.close());

function ask(url: string, init: RequestInit = {}): Promise<Response> {
  return handle(new Request(url, init));
}

/** All that a client sees, but for what no two responses share. */
async function shown(response: Response): Promise<unknown> {
  const headers = [...response.headers].filter(([name]) => !["date", "connection", "keep-alive"].includes(name));
  return [response.status, headers, await response.text()];
}

describe("the fetch handler", () => {
  test("answers as the port does, header for header", async () => {
    await ask(STREAM, { method: "PUT", headers: PLAIN, body: "first" });
    const known = (await ask(STREAM)).headers.get("etag")!;
    const requests: [string, RequestInit][] = [
      ["", {}],
      ["?offset=-1", {}],
      ["?offset=now", {}],
      ["?offset=nonsense", {}],
      ["", { method: "HEAD" }],
      ["", { method: "OPTIONS" }],
      ["", { method: "PUT", headers: PLAIN }],
      ["", { method: "PUT", headers: { "content-type": "application/json" } }],
      ["", { method: "PATCH", body: "x" }],
      ["/none", {}],
      ["", { headers: { "if-none-match": known } }],
      ["?offset=now&live=sse", { method: "HEAD" }],
    ];
    for (const [suffix, init] of requests) {
      const overPort = await fetch(`${coldbrook.url}/v1/stream/s${suffix}`, init);
      expect(await shown(await ask(STREAM + suffix, init))).toEqual(await shown(overPort));
    }
  });

  test("names the caller's own scheme and host in Location", async () => {
    const created = await ask("https://app.example:8443/v1/stream/named", { method: "PUT" });
    expect([created.status, created.headers.get("location")]).toEqual([
      201,
      "https://app.example:8443/v1/stream/named",
    ]);
  });

  test("streams a request's body, and refuses one that is too large without taking all of it", async () => {
    let asked = 0;
    const pieces = (count: number): ReadableStream<Uint8Array> =>
      new ReadableStream({
        pull(controller) {
          if (asked++ < count) controller.enqueue(new Uint8Array(64 * 1024).fill(97));
          else controller.close();
        },
      });
    await ask(STREAM, { method: "PUT", headers: PLAIN });
    const init = { method: "POST", headers: PLAIN, duplex: "half" } as const;
    expect((await ask(STREAM, { ...init, body: pieces(32) })).status).toBe(204);
    expect((await (await ask(STREAM)).text()).length).toBeGreaterThan(0);
    asked = 0;
    expect((await ask(STREAM, { ...init, body: pieces(100_000) })).status).toBe(413);
    await until("the body's source to be left alone", BOUND_MS, async () => {
      const before = asked;
      await new Promise((resolve) => setTimeout(resolve, 20));
      return asked === before ? true : undefined;
    });
    expect(asked).toBeLessThan(100_000);
  });

  test("a response that nobody reads holds up neither the stream nor the close", async () => {
    await ask(STREAM, { method: "PUT", headers: PLAIN, body: "x".repeat(4 * 1024 * 1024) });
    const unread = await Promise.all(Array.from({ length: 8 }, () => ask(STREAM)));
    expect((await (await ask(STREAM)).text()).length).toBe(4 * 1024 * 1024);
    await within("the close", 5_000, coldbrook.close());
    expect((await unread[0]!.text()).length).toBe(4 * 1024 * 1024);
    coldbrook = await createColdbrook({}, { storage: "memory", listen: false });
  });

  test("delivers live events as they come, and lets go of the reader when its request is aborted", async () => {
    await ask(STREAM, { method: "PUT", headers: PLAIN });
    const abort = new AbortController();
    const live = await ask(`${STREAM}?offset=now&live=sse`, { signal: abort.signal });
    expect(live.headers.get("content-type")).toBe("text/event-stream");
    const reader = live.body!.pipeThrough(new TextDecoderStream()).getReader();
    let seen = "";
    const readUntil = async (text: string): Promise<void> => {
      while (!seen.includes(text)) seen += (await within(text, BOUND_MS, reader.read())).value ?? "";
    };
    await readUntil("upToDate");
    expect(coldbrook.engine.stats.waiters).toBe(1);
    await ask(STREAM, { method: "POST", headers: PLAIN, body: "news" });
    await readUntil("data:news");
    abort.abort();
    await expect(reader.read()).rejects.toMatchObject({ name: "AbortError" });
    await until("the waiter to be gone", BOUND_MS, () => (coldbrook.engine.stats.waiters === 0 ? true : undefined));
  });

  test("lets go of a reader that cancels its body, and of a long-poll that is aborted", async () => {
    await ask(STREAM, { method: "PUT", headers: PLAIN });
    const live = await ask(`${STREAM}?offset=now&live=sse`);
    await live.body!.cancel();
    const abort = new AbortController();
    const poll = ask(`${STREAM}?offset=now&live=long-poll`, { signal: abort.signal });
    await until("the long-poll to wait", BOUND_MS, () => (coldbrook.engine.stats.waiters === 1 ? true : undefined));
    abort.abort();
    await expect(poll).rejects.toMatchObject({ name: "AbortError" });
    await until("the waiters to be gone", BOUND_MS, () => (coldbrook.engine.stats.waiters === 0 ? true : undefined));
    await expect(ask(STREAM, { signal: abort.signal })).rejects.toMatchObject({ name: "AbortError" });
  });

  test("a close ends live readers, and what comes later is refused", async () => {
    await ask(STREAM, { method: "PUT", headers: PLAIN });
    const live = await ask(`${STREAM}?offset=now&live=sse`);
    const poll = ask(`${STREAM}?offset=now&live=long-poll`);
    await until("the long-poll to wait", BOUND_MS, () => (coldbrook.engine.stats.waiters === 2 ? true : undefined));
    const text = live.text();
    await within("the close", BOUND_MS, coldbrook.close());
    expect((await poll).status).toBe(204);
    expect(await text).toContain("event: control");
    const late = await ask(STREAM);
    expect([late.status, late.headers.get("retry-after")]).toEqual([503, "1"]);
    coldbrook = await createColdbrook({}, { storage: "memory", listen: false });
  });
});

describe("createColdbrook", () => {
  test("without a port it serves the handler alone", async () => {
    const quiet = await createColdbrook({}, { storage: "memory", listen: false });
    expect(quiet.url).toBe("");
    const health = await createFetchHandler(quiet)(new Request("http://app.example/health"));
    expect([health.status, ((await health.json()) as { status: string }).status]).toEqual([200, "ok"]);
    await quiet.close();
  });

  test.each([
    [{ port: 70_000 }, "--port must be 0 to 65535, not 70000"],
    [{ chunkBytes: 1.5 }, "--chunk-bytes must be a size"],
    [{ streamRoot: "no" }, "--stream-root must be a path"],
    [{ prot: 1 } as object, "prot is not a setting (known: port, host, "],
  ])("%j is refused by name", async (settings, message) => {
    const refused = createColdbrook(settings, { storage: "memory" });
    await expect(refused).rejects.toThrow(SettingError);
    await expect(refused).rejects.toThrow(message);
  });
});
