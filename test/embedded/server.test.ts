import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import {
  createDurableStreamServer,
  DurableStreamTestServer,
  FileBackedStreamStore,
  StreamStore,
} from "@coldbrook/server";
import type { StreamLifecycleEvent, TestServerOptions } from "@coldbrook/server";
import { afterEach, describe, expect, test, vi } from "vitest";
import { within } from "../process/until.ts";

const BOUND_MS = 30_000;
const PLAIN = { "content-type": "text/plain" };

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

async function started(options: TestServerOptions = {}): Promise<DurableStreamTestServer> {
  const server = new DurableStreamTestServer({ port: 0, ...options });
  await server.start();
  cleanups.push(() => server.stop());
  return server;
}

async function temporary(): Promise<string> {
  const directory = await mkdtemp(path.join(tmpdir(), "coldbrook-embedded-"));
  cleanups.push(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

describe("start and stop", () => {
  test("a server in memory keeps its streams from a stop to the next start", async () => {
    const server = new DurableStreamTestServer({ port: 0 });
    const first = await server.start();
    await fetch(`${first}/a`, { method: "PUT", headers: PLAIN, body: "kept" });
    await server.stop();
    expect(() => server.url).toThrow("Server not started");
    const second = await server.start();
    expect(await (await fetch(`${second}/a`)).text()).toBe("kept");
    await server.stop();
    await server.stop();
  });

  test("a server in a directory gives it free when it stops, and takes it again", async () => {
    const dataDir = await temporary();
    const server = new DurableStreamTestServer({ port: 0, dataDir });
    await fetch(`${await server.start()}/a`, { method: "PUT", headers: PLAIN, body: "kept" });
    await server.stop();
    const other = await started({ dataDir });
    expect(await (await fetch(`${other.url}/a`)).text()).toBe("kept");
    await other.stop();
    expect(await (await fetch(`${await server.start()}/a`)).text()).toBe("kept");
    await server.stop();
  });

  test("a server that runs is not started again", async () => {
    const server = await started();
    await expect(server.start()).rejects.toThrow("Server already started");
    expect(server.baseUrl).toBe(server.url);
    expect(server.url).toBe(`http://127.0.0.1:${server.port}`);
  });

  test("a port that is taken is refused with the system's code, and the server can be started later", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await once(taken, "listening");
    const { port } = taken.address() as AddressInfo;
    const server = new DurableStreamTestServer({ port });
    await expect(server.start()).rejects.toMatchObject({ code: "EADDRINUSE" });
    await new Promise((resolve) => taken.close(resolve));
    await server.start();
    expect(server.port).toBe(port);
    await server.stop();
  });

  test("many servers live side by side", async () => {
    const servers = await Promise.all(Array.from({ length: 20 }, () => started()));
    await Promise.all(
      servers.map(({ url }, i) => fetch(`${url}/s`, { method: "PUT", headers: PLAIN, body: String(i) })),
    );
    const bodies = await Promise.all(servers.map(async ({ url }) => (await fetch(`${url}/s`)).text()));
    expect(bodies).toEqual(servers.map((_, i) => String(i)));
  });

  test("a stop ends live readers", async () => {
    const server = await started();
    await fetch(`${server.url}/s`, { method: "PUT", headers: PLAIN });
    const poll = fetch(`${server.url}/s?offset=now&live=long-poll`);
    const sse = await fetch(`${server.url}/s?offset=now&live=sse`);
    await within("the server's stop", BOUND_MS, server.stop());
    expect((await poll).status).toBe(204);
    expect(await sse.text()).toContain("event: control");
  });

  test("a server and stores that were only made, and one that was stopped, let the process end", async () => {
    const program = `
      import { DurableStreamTestServer, StreamStore } from "@coldbrook/server";
      new DurableStreamTestServer();
      new StreamStore().create("/s");
      const server = new DurableStreamTestServer({ port: 0 });
      const url = await server.start();
      await fetch(url + "/s", { method: "PUT" });
      await server.stop();
      console.log("stopped");`;
    // The package as it is built: this Node may not read TypeScript.
    const args = ["--input-type=module", "--eval", program];
    const cwd = fileURLToPath(new URL("..", import.meta.url));
    const child = spawn(process.execPath, args, { cwd, stdio: ["ignore", "pipe", "inherit"] });
    let output = "";
    child.stdout.on("data", (part: Buffer) => (output += part.toString()));
    const [code] = (await within("the process's end", BOUND_MS, once(child, "close"))) as [number];
    expect([code, output]).toEqual([0, "stopped\n"]);
  });
});

test("a store in memory that nobody holds any more is given back", async () => {
  const program = `
    import { DurableStreamTestServer } from "@coldbrook/server";
    const used = async () => {
      const server = new DurableStreamTestServer({ port: 0 });
      await fetch(await server.start());
      await server.stop();
      return new WeakRef(server.store.memory.engine);
    };
    const refs = [await used(), await used(), await used()];
    // What a turn has seen of a weak reference it keeps.
    for (let turn = 0; turn < 10; turn += 1) await new Promise((resolve) => setTimeout(resolve, 10));
    globalThis.gc();
    console.log(refs.filter((ref) => ref.deref() !== undefined).length < refs.length);`;
  const args = ["--expose-gc", "--input-type=module", "--eval", program];
  const cwd = fileURLToPath(new URL("..", import.meta.url));
  const child = spawn(process.execPath, args, { cwd, stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  child.stdout.on("data", (part: Buffer) => (output += part.toString()));
  await within("the process's end", BOUND_MS, once(child, "close"));
  expect(output).toBe("true\n");
});

describe("options", () => {
  test("a hook that fails breaks nothing", async () => {
    const reported = vi.spyOn(process, "emitWarning").mockReturnValue(undefined);
    const server = await started({
      onStreamCreated: () => {
        throw new Error("no");
      },
      onStreamDeleted: () => Promise.reject(new Error("no")),
    });
    expect((await fetch(`${server.url}/s`, { method: "PUT" })).status).toBe(201);
    expect((await fetch(`${server.url}/s`, { method: "DELETE" })).status).toBe(204);
    expect(reported).toHaveBeenCalledTimes(2);
    reported.mockRestore();
  });

  test("several hooks are told one after the other", async () => {
    const told: string[] = [];
    const tell = (who: string) => (event: StreamLifecycleEvent) => void told.push(`${who} ${event.type} ${event.path}`);
    const server = await started({
      onStreamCreated: tell("option"),
      hooks: [tell("function"), { onStreamCreated: tell("pair"), onStreamDeleted: tell("pair") }],
    });
    await fetch(`${server.url}/s`, { method: "PUT" });
    await fetch(`${server.url}/s`, { method: "DELETE" });
    expect(told).toEqual([
      "option created /s",
      "function created /s",
      "pair created /s",
      "function deleted /s",
      "pair deleted /s",
    ]);
  });

  test("forks by HTTP are told as created", async () => {
    const told: unknown[] = [];
    const server = await started({ onStreamCreated: (event) => void told.push([event.path, event.contentType]) });
    await fetch(`${server.url}/a`, { method: "PUT", headers: PLAIN });
    await fetch(`${server.url}/b`, { method: "PUT", headers: { "stream-forked-from": "/a" } });
    expect(told).toEqual([
      ["/a", "text/plain"],
      ["/b", "text/plain"],
    ]);
  });

  test.each([true, false])("cors: %s", async (cors) => {
    const server = await started({ cors });
    const created = await fetch(`${server.url}/s`, { method: "PUT" });
    const missing = await fetch(`${server.url}/none`);
    const preflight = await fetch(`${server.url}/s`, { method: "OPTIONS" });
    const named = [created, missing, preflight].map(({ headers }) => headers.get("access-control-allow-origin"));
    expect(named).toEqual(cors ? ["*", "*", "*"] : [null, null, null]);
    expect(created.headers.get("x-content-type-options")).toBe("nosniff");
  });

  test.each([
    [{}, "gzip"],
    [{ compression: false }, null],
  ])("compression with %j", async (options, coding) => {
    const server = await started(options);
    await fetch(`${server.url}/s`, { method: "PUT", headers: PLAIN, body: "x".repeat(5000) });
    const response = await fetch(`${server.url}/s`, { headers: { "accept-encoding": "gzip" } });
    expect(response.headers.get("content-encoding")).toBe(coding);
    expect(await response.text()).toBe("x".repeat(5000));
  });

  test("cursorOptions count cursors, and the options of their own win", async () => {
    const epoch = new Date(Date.now() - 2_500_000);
    const both = await started({
      cursorOptions: { epoch, intervalSeconds: 1_000_000 },
      cursorIntervalSeconds: 1000,
      longPollTimeout: 1,
    });
    await fetch(`${both.url}/s`, { method: "PUT" });
    const response = await fetch(`${both.url}/s?offset=now&live=long-poll`);
    expect(response.headers.get("stream-cursor")).toBe("2");
    expect(() => new DurableStreamTestServer({ cursorIntervalSeconds: 0 })).toThrow(RangeError);
  });

  test.each([
    [{}, 400],
    [{ webhooks: true }, 201],
  ])("a webhook subscription with %j", async (options, status) => {
    const server = await started(options);
    const made = await fetch(`${server.url}/v1/stream/__ds/subscriptions/hook`, {
      method: "PUT",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ type: "webhook", pattern: "events/*", webhook: { url: "http://127.0.0.1:9/hook" } }),
    });
    expect(made.status).toBe(status);
  });

  test("a pull-wake subscription sees what the store appends below /v1/stream, in the subscription's own words", async () => {
    const server = await started();
    const base = `${server.url}/v1/stream/__ds/subscriptions/worker`;
    const json = { "content-type": "application/json" };
    const body = JSON.stringify({ type: "pull-wake", pattern: "events/*", wake_stream: "wakes" });
    await fetch(`${server.url}/v1/stream/wakes`, { method: "PUT", headers: json });
    expect((await fetch(base, { method: "PUT", headers: json, body })).status).toBe(201);
    await server.store.create("/v1/stream/events/a", { contentType: "text/plain" });
    await server.store.append("/v1/stream/events/a", Buffer.from("x"));
    const wakes = await fetch(`${server.url}/v1/stream/wakes?offset=-1&live=long-poll`);
    expect(await wakes.text()).toContain("worker");
    const claimed = await fetch(`${base}/claim`, { method: "POST", headers: json, body: '{"worker":"w"}' });
    const wake = (await claimed.json()) as { streams: { path: string }[] };
    expect([claimed.status, wake.streams.map(({ path: name }) => name)]).toEqual([200, ["events/a"]]);
  });

  test("a store given by the program is served, and left open when it is in memory", async () => {
    const store = new StreamStore();
    store.create("/s", { contentType: "text/plain", initialData: Buffer.from("mine") });
    const server = await started({ store });
    expect(server.store).toBe(store);
    expect(await (await fetch(`${server.url}/s`)).text()).toBe("mine");
    await server.stop();
    expect(store.has("/s")).toBe(true);
  });

  test("createDurableStreamServer makes the same", async () => {
    const server = createDurableStreamServer({ port: 0 });
    expect(server).toBeInstanceOf(DurableStreamTestServer);
    await server.start();
    expect((await fetch(`${server.url}/s`, { method: "PUT" })).status).toBe(201);
    await server.stop();
  });

  test("clear deletes every stream, forks and their sources too, and wakes who waits", async () => {
    for (const options of [{}, { dataDir: await temporary() }]) {
      const server = await started(options);
      await fetch(`${server.url}/a`, { method: "PUT", headers: PLAIN, body: "a" });
      await fetch(`${server.url}/b`, { method: "PUT", headers: { "stream-forked-from": "/a" } });
      await fetch(`${server.url}/b`, { method: "PUT", headers: { "stream-forked-from": "/a" } });
      const poll = fetch(`${server.url}/a?offset=now&live=long-poll`);
      await server.clear();
      expect(server.store.list()).toEqual([]);
      expect((await fetch(`${server.url}/a`, { method: "PUT" })).status).toBe(201);
      await poll;
    }
  });
});

describe("the store in a directory", () => {
  test("look-ups before it is open say what to wait for", async () => {
    const store = new FileBackedStreamStore({ path: await temporary() });
    cleanups.push(() => store.close());
    expect(() => store.has("/s")).toThrow(/still opening: await its ready\(\)/);
    await store.create("/s", { contentType: "text/plain", initialData: Buffer.from("x") });
    expect([store.has("/s"), store.list(), store.get("/s")?.messages]).toEqual([true, ["/s"], []]);
    expect((await store.read("/s")).messages).toHaveLength(1);
    await store.close();
    expect(() => store.has("/s")).toThrow(/not open: open it with ready\(\)/);
    await store.ready();
    expect(store.get("/s")?.contentType).toBe("text/plain");
  });

  test("a directory that cannot be used is said by every call, and by the server's start", async () => {
    const file = path.join(await temporary(), "file");
    await writeFile(file, "");
    const store = new FileBackedStreamStore({ dataDir: file });
    await expect(store.create("/s")).rejects.toThrow(file);
    await expect(new DurableStreamTestServer({ port: 0, dataDir: file }).start()).rejects.toThrow(file);
    expect(() => new FileBackedStreamStore({ dataDir: "" })).toThrow("needs a dataDir or a path");
  });

  test("its messages come back one by one, forks across, with producers and close, after a restart", async () => {
    const dataDir = await temporary();
    const store = new FileBackedStreamStore({ dataDir });
    await store.create("/j", { contentType: "application/json", initialData: Buffer.from("[1,2]") });
    const tuple = { producerId: "p", producerEpoch: 3, producerSeq: 0 };
    const at = (await store.append("/j", Buffer.from("[3,4]"), tuple)) as { message: { offset: string } };
    await store.create("/f", { forkedFrom: "/j", forkOffset: at.message.offset });
    await store.append("/f", Buffer.from('"own"'), { close: true });
    await store.append("/j", Buffer.from("5"));
    await store.close();
    const again = new FileBackedStreamStore({ path: dataDir });
    cleanups.push(() => again.close());
    const read = async (name: string): Promise<string[]> =>
      (await again.read(name)).messages.map(({ data }) => Buffer.from(data).toString());
    expect(await read("/j")).toEqual(["1,", "2,", "3,", "4,", "5,"]);
    expect(await read("/f")).toEqual(["1,", "2,", "3,", "4,", '"own",']);
    const fork = again.get("/f");
    expect([fork?.closed, fork?.forkedFrom, fork?.forkOffset, again.get("/j")?.refCount]).toEqual([
      true,
      "/j",
      at.message.offset,
      1,
    ]);
    expect(again.getProducerEpoch("/j", "p")).toBe(3);
    expect(await again.append("/j", Buffer.from("9"), tuple)).toEqual({
      message: null,
      producerResult: { status: "duplicate", lastSeq: 0 },
    });
    expect(await again.waitForMessages("/f", fork!.currentOffset, 60_000)).toEqual({
      messages: [],
      timedOut: false,
      streamClosed: true,
    });
    expect(await again.closeStream("/f")).toMatchObject({ alreadyClosed: true });
  });
});

describe("paths", () => {
  test.each(["/plain", "no-slash", "/with space", "/ü/é", "/a%20b", "/q?x#y", "/日本/1"])(
    "%s is one stream, however it is reached",
    async (name) => {
      const server = await started();
      const store = server.store as StreamStore;
      store.create(name, { contentType: "text/plain", initialData: Buffer.from("x") });
      const listed = store.list();
      expect(listed).toHaveLength(1);
      expect(await (await fetch(server.url + listed[0]!)).text()).toBe("x");
      expect(store.get(name)?.path).toBe(name);
      expect(store.has(listed[0]!)).toBe(true);
    },
  );

  test.each(["", "/", "/a//b", "/a/../b", "/__ds/x", "/a%zz", "/a\u0000b"])(
    "%j is refused clearly, and looks as if it were not there",
    (name) => {
      const store = new StreamStore();
      expect(() => store.create(name)).toThrow("Invalid stream path");
      expect([store.has(name), store.get(name), store.delete(name)]).toEqual([false, undefined, false]);
    },
  );
});
