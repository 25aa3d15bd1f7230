/**
 * Programs that people write against `@durable-streams/server`, one for each part of its documentation. Each gives a
 * transcript of what it saw. They are typed by `@coldbrook/server`, so that they compile with only the import changed.
 */
import type * as coldbrook from "@coldbrook/server";

export type Library = typeof coldbrook;
type Server = coldbrook.DurableStreamTestServer;

export interface Place {
  readonly library: Library;
  /** An empty directory for this program alone. */
  readonly directory: string;
}

export type Program = (place: Place) => Promise<unknown>;

const text = new TextDecoder();
const bytes = (given: string): Uint8Array => new TextEncoder().encode(given);

async function running<T>(server: Server, use: (url: string) => Promise<T>): Promise<T> {
  const url = await server.start();
  try {
    return await use(url);
  } finally {
    await server.stop();
  }
}

function put(url: string, contentType: string, body?: string): Promise<Response> {
  return fetch(url, {
    method: "PUT",
    headers: { "content-type": contentType },
    ...(body === undefined ? {} : { body }),
  });
}

function post(url: string, contentType: string, body: string): Promise<Response> {
  return fetch(url, { method: "POST", headers: { "content-type": contentType }, body });
}

async function seen(response: Response): Promise<unknown> {
  return [response.status, response.headers.get("content-type"), await response.text()];
}

/** Statuses and bodies of the life of one stream over HTTP. */
export const quickStart: Program = ({ library }) => {
  const server = new library.DurableStreamTestServer({ port: 0, host: "127.0.0.1" });
  return running(server, async (url) => [
    url === server.url,
    url.endsWith("/"),
    (await put(`${url}/v1/stream/hello`, "text/plain")).status,
    (await post(`${url}/v1/stream/hello`, "text/plain", "Hello, ")).status,
    (await post(`${url}/v1/stream/hello`, "text/plain", "world")).status,
    await seen(await fetch(`${url}/v1/stream/hello`)),
    (await put(`${url}/anything/at/all`, "application/json", '[{"a":1}]')).status,
    await seen(await fetch(`${url}/anything/at/all?offset=-1`)),
    (await fetch(`${url}/health`)).status,
    (await fetch(`${url}/v1/stream/hello`, { method: "DELETE" })).status,
    (await fetch(`${url}/v1/stream/hello`)).status,
  ]);
};

/** What is in a directory is there for the next server on it. */
export const persistentStorage: Program = async ({ library, directory }) => {
  const first = new library.DurableStreamTestServer({ port: 0, dataDir: directory });
  await running(first, async (url) => {
    await put(`${url}/v1/stream/kept`, "application/json", '{"n":1}');
    await first.store.append("/v1/stream/kept", bytes('{"n":2}'));
  });
  const second = new library.DurableStreamTestServer({ port: 0, dataDir: directory });
  return running(second, async (url) => {
    const { messages } = await second.store.read("/v1/stream/kept");
    return [
      await seen(await fetch(`${url}/v1/stream/kept`)),
      second.store.has("/v1/stream/kept"),
      second.store.get("/v1/stream/kept")?.contentType,
      messages.map(({ data }) => text.decode(data)),
    ];
  });
};

/** Each create and delete by HTTP is told once, in order, and before its response. */
export const lifecycleHooks: Program = ({ library }) => {
  const told: unknown[] = [];
  const server = new library.DurableStreamTestServer({
    port: 0,
    onStreamCreated: (event) => void told.push([event.type, event.path, event.contentType, typeof event.timestamp]),
    onStreamDeleted: async (event) => {
      await new Promise((resolve) => setImmediate(resolve));
      told.push([event.type, event.path, event.contentType, typeof event.timestamp]);
    },
  });
  return running(server, async (url) => {
    await put(`${url}/v1/stream/one`, "text/plain");
    await put(`${url}/v1/stream/one`, "text/plain");
    told.push("put twice");
    server.store.create("/v1/stream/two", { contentType: "text/plain" });
    told.push("stores tell nothing");
    await fetch(`${url}/v1/stream/one`, { method: "DELETE" });
    told.push("deleted");
    await fetch(`${url}/v1/stream/one`, { method: "DELETE" });
    return told;
  });
};

async function registered(server: Server, url: string): Promise<unknown> {
  await put(`${url}/v1/stream/notes`, "text/plain");
  await fetch(`${url}/v1/stream/notes`, { method: "DELETE" });
  const events = (await (await fetch(`${url}/v1/stream/__registry__`)).json()) as {
    type: string;
    key: string;
    value?: { path: string; contentType: string; createdAt: number };
    headers: { operation: string };
  }[];
  return [
    server.store.has("/v1/stream/__registry__"),
    ...events.map(({ type, key, value, headers }) => [
      headers.operation,
      type,
      key,
      value?.path,
      value?.contentType,
      typeof value?.createdAt,
    ]),
  ];
}

/** Hooks made for a server that runs are set on it, as the reference's own example does. */
export const registryHooks: Program = ({ library }) => {
  const server = new library.DurableStreamTestServer({ port: 0 });
  return running(server, async (url) => {
    const hooks = library.createRegistryHooks(server.store, url);
    const { options } = server as unknown as { options: coldbrook.TestServerOptions };
    options.onStreamCreated = hooks.onStreamCreated;
    options.onStreamDeleted = hooks.onStreamDeleted;
    return registered(server, url);
  });
};

/** The form of the older documentation, which only Coldbrook has. */
export const registryHooksByPath: Program = ({ library }) => {
  const server = new library.DurableStreamTestServer({
    port: 0,
    store: new library.StreamStore(),
    hooks: library.createRegistryHooks({ registryPath: "__registry__" }),
  });
  return running(server, (url) => registered(server, url));
};

/** A long-poll ends when the server was told, and cursors count as the server was told. */
export const customTimeouts: Program = ({ library }) => {
  const epoch = new Date(Date.now() - 10_500);
  const server = new library.DurableStreamTestServer({
    port: 0,
    longPollTimeout: 50,
    cursorIntervalSeconds: 1000,
    cursorEpoch: epoch,
    compression: false,
  });
  return running(server, async (url) => {
    await put(`${url}/slow`, "text/plain", "x".repeat(5000));
    const waited = await fetch(`${url}/slow?offset=now&live=long-poll`);
    const plain = await fetch(`${url}/slow`, { headers: { "accept-encoding": "gzip" } });
    return [
      waited.status,
      waited.headers.get("stream-cursor"),
      waited.headers.get("stream-up-to-date"),
      plain.headers.get("content-encoding"),
      library.calculateCursor({ intervalSeconds: 1000, epoch }),
      Number(library.generateResponseCursor("5", { intervalSeconds: 1000, epoch })) > 5,
      Number(library.handleCursorCollision("0", "7", { intervalSeconds: 1000, epoch })) > 7,
      library.generateResponseCursor("not a number", { intervalSeconds: 1000, epoch }),
    ];
  });
};

/** Errors and faults, by method and by HTTP. */
export const faultInjection: Program = ({ library }) => {
  const server = new library.DurableStreamTestServer({ port: 0 });
  return running(server, async (url) => {
    await put(`${url}/f`, "application/json", '[{"a":1},{"b":2}]');
    const get = async (): Promise<unknown> => {
      try {
        const response = await fetch(`${url}/f`);
        const body = await response.text();
        return [response.status, response.headers.get("retry-after"), body.length, isJson(body)];
      } catch {
        return "broken off";
      }
    };
    const order = async (config: unknown): Promise<unknown> =>
      seen(await fetch(`${url}/_test/inject-error`, { method: "POST", body: JSON.stringify(config) }));
    const log: unknown[] = [];
    server.injectError("/f", 503, 2, 7);
    log.push(await get(), await get(), await get());
    server.injectFault("/f", { dropConnection: true });
    log.push(await get(), await get());
    server.injectFault("/f", { truncateBodyBytes: 5 });
    log.push(await get(), await get());
    server.injectFault("/f", { corruptBody: true, method: "get" });
    log.push(await get(), await get());
    server.injectFault("/f", { status: 500, method: "POST" });
    log.push(await get());
    server.clearInjectedFaults();
    log.push((await post(`${url}/f`, "application/json", "3")).status);
    log.push(await order({ path: "/f", status: 429, retryAfter: 1, count: 1 }), await get(), await get());
    log.push(await order({ status: 429 }), await order({ path: "/f" }));
    log.push(await order({ path: "/f", status: 500 }));
    log.push(await seen(await fetch(`${url}/_test/inject-error`, { method: "DELETE" })), await get());
    log.push(await seen(await fetch(`${url}/_test/inject-error`)));
    return log;
  });
};

function isJson(body: string): boolean {
  try {
    JSON.parse(body);
    return true;
  } catch {
    return false;
  }
}

function attempt(work: () => unknown): unknown {
  try {
    return work();
  } catch (error) {
    return (error as Error).message.split(":", 1)[0];
  }
}

/** The memory store without a server. Offsets are compared, not shown: each server mints its own. */
export const storeMethods: Program = async ({ library }) => {
  const store = new library.StreamStore();
  const log: unknown[] = [];
  const made = store.create("/s", { contentType: "text/plain" });
  log.push(made.path, made.contentType, made.closed, made.refCount, store.has("/s"), store.has("/t"));
  const first = store.append("/s", bytes("one")) as coldbrook.StreamMessage;
  const second = store.append("/s", bytes("two")) as coldbrook.StreamMessage;
  log.push(text.decode(first.data), first.offset < second.offset, second.offset === store.getCurrentOffset("/s"));
  log.push(made.currentOffset === second.offset);
  const { messages, upToDate } = store.read("/s");
  log.push(
    messages.map(({ data }) => text.decode(data)),
    upToDate,
    messages[1]?.offset === second.offset,
  );
  log.push(store.read("/s", first.offset).messages.map(({ data }) => text.decode(data)));
  log.push(store.read("/s", second.offset).messages, store.read("/s", "-1").messages.length);
  log.push(text.decode(store.formatResponse("/s", messages)));
  log.push(attempt(() => store.create("/s", { contentType: "application/json" })));
  log.push(attempt(() => store.append("/none", bytes("x"))));
  log.push(attempt(() => store.append("/s", bytes("x"), { contentType: "application/json" })));
  store.append("/s", bytes("x"), { seq: "b" });
  log.push(
    store.get("/s")?.lastSeq,
    attempt(() => store.append("/s", bytes("x"), { seq: "a" })),
  );
  store.create("/j", { contentType: "application/json", initialData: bytes("[]") });
  log.push(
    attempt(() => store.append("/j", bytes("{"))),
    attempt(() => store.append("/j", bytes(" [ ] "))),
  );
  store.append("/j", bytes('{"a": 1}'));
  log.push(store.read("/j").messages.map(({ data }) => text.decode(data)));
  log.push(text.decode(store.formatResponse("/j", store.read("/j").messages)));
  log.push(store.list().toSorted(), store.closeStream("/j")?.alreadyClosed, store.closeStream("/j")?.alreadyClosed);
  log.push(store.closeStream("/none"), store.append("/j", bytes("1")), store.get("/j")?.closed);
  log.push(store.delete("/j"), store.delete("/j"), store.get("/j"), store.getCurrentOffset("/j"));
  log.push(attempt(() => store.read("/j")));
  store.clear();
  log.push(store.list());
  return log;
};

/** Producers and close through the store. */
export const storeProducers: Program = async ({ library }) => {
  const store = new library.StreamStore();
  store.create("/p", { contentType: "text/plain" });
  const tuple = (epoch: number, seq: number): coldbrook.AppendOptions => ({
    producerId: "w",
    producerEpoch: epoch,
    producerSeq: seq,
  });
  const shown = ({ message, producerResult, streamClosed }: coldbrook.AppendResult): unknown => [
    message === null ? null : text.decode(message.data),
    producerResult?.status,
    streamClosed ?? false,
  ];
  const send = async (options: coldbrook.AppendOptions, body: string = "x"): Promise<unknown> =>
    shown(await store.appendWithProducer("/p", bytes(body), options));
  const log: unknown[] = [
    await send(tuple(0, 1)),
    await send(tuple(0, 0), "a"),
    await send(tuple(0, 0), "a"),
    await send(tuple(0, 2)),
    await send(tuple(1, 1)),
    await send(tuple(1, 0), "b"),
    await send(tuple(0, 5)),
    await send({}),
    store.getProducerEpoch("/p", "w"),
    store.getProducerEpoch("/p", "other"),
    store.get("/p")?.producers?.get("w")?.lastSeq,
  ];
  const close = async (seq: number): Promise<unknown> => {
    const options = { producerId: "w", producerEpoch: 1, producerSeq: seq };
    const result = await store.closeStreamWithProducer("/p", options);
    return [
      result?.alreadyClosed,
      result?.producerResult?.status,
      result?.finalOffset === store.getCurrentOffset("/p"),
    ];
  };
  log.push(await close(1), await close(1), await close(2), await send(tuple(1, 1)), await send({}));
  log.push(
    store.get("/p")?.closedBy,
    await store.closeStreamWithProducer("/none", { producerId: "w", producerEpoch: 0, producerSeq: 0 }),
  );
  return log;
};

/** Waiting readers of the store. */
export const storeWaits: Program = async ({ library }) => {
  const store = new library.StreamStore();
  store.create("/w", { contentType: "text/plain" });
  const at = (): string => store.getCurrentOffset("/w")!;
  const shown = (result: {
    messages: coldbrook.StreamMessage[];
    timedOut: boolean;
    streamClosed?: boolean;
  }): unknown => [result.messages.map(({ data }) => text.decode(data)), result.timedOut, result.streamClosed ?? false];
  const start = at();
  const waiting = store.waitForMessages("/w", start, 60_000);
  store.append("/w", bytes("a"));
  const log: unknown[] = [shown(await waiting), shown(await store.waitForMessages("/w", start, 60_000))];
  log.push(shown(await store.waitForMessages("/w", at(), 1)));
  const cancelled = store.waitForMessages("/w", at(), 60_000);
  await new Promise((resolve) => setImmediate(resolve));
  store.cancelAllWaits();
  log.push(shown(await cancelled));
  const ended = store.waitForMessages("/w", at(), 60_000);
  await new Promise((resolve) => setImmediate(resolve));
  store.closeStream("/w");
  log.push(shown(await ended), shown(await store.waitForMessages("/w", at(), 60_000)));
  log.push(await store.waitForMessages("/none", start, 1).catch((error: Error) => error.message.split(":", 1)[0]));
  return log;
};

/** Forks through the store. */
export const storeForks: Program = async ({ library }) => {
  const store = new library.StreamStore();
  store.create("/source", { contentType: "text/plain" });
  const first = store.append("/source", bytes("one")) as coldbrook.StreamMessage;
  store.append("/source", bytes("two"));
  const fork = store.create("/fork", { forkedFrom: "/source", forkOffset: first.offset });
  store.append("/fork", bytes("three"));
  store.append("/source", bytes("four"));
  const body = (path: string): string => text.decode(store.formatResponse(path, store.read(path).messages));
  const log: unknown[] = [fork.contentType, fork.forkedFrom, body("/fork"), body("/source")];
  log.push(store.get("/source")?.refCount, store.read("/fork", first.offset).messages.length);
  log.push(attempt(() => store.create("/f2", { forkedFrom: "/none" })));
  log.push(attempt(() => store.create("/f2", { forkedFrom: "/source", contentType: "application/json" })));
  log.push(
    attempt(() => store.create("/f2", { forkedFrom: "/source", forkOffset: "9999999999999999_9999999999999999" })),
  );
  log.push(attempt(() => store.create("/f2", { forkedFrom: "/source", forkOffset: first.offset, forkSubOffset: 99 })));
  store.create("/part", { forkedFrom: "/source", forkOffset: first.offset, forkSubOffset: 2 });
  log.push(body("/part"), store.delete("/part"), store.get("/source")?.refCount);
  log.push(store.delete("/source"), store.has("/source"), store.get("/source")?.softDeleted, body("/fork"));
  log.push(
    attempt(() => store.append("/source", bytes("x"))),
    attempt(() => store.create("/f3", { forkedFrom: "/source" })),
  );
  log.push(String(attempt(() => store.create("/source"))).startsWith("Stream has active forks"));
  log.push(store.delete("/fork"), store.get("/source"), store.list());
  return log;
};

/** Names, patterns and webhook URLs. */
export const smallFunctions: Program = ({ library }) => {
  const long = `/stream/${"x".repeat(250)}`;
  const paths = ["/stream/users:created", "/", "/ü/ ", `/stream/${"a".repeat(120)}_test_value_data`];
  const globs = [
    ["events/*", "events/a"],
    ["events/*", "events/a/b"],
    ["events/**", "events"],
    ["events/**", "events/a/b"],
    ["**/z", "a/b/z"],
    ["**/a/**/b/**", "x/a/y/b"],
    ["/a/b/", "a/b"],
    ["a", "b"],
    ["%2A", "*"],
    ["%2A", "x"],
    ["*", ""],
    ["**", ""],
  ] as const;
  const urls = [
    "https://example.com/hook",
    "http://127.0.0.1:9/hook",
    "http://localhost/hook",
    "https://localhost/hook",
    "http://example.com/hook",
    "https://10.0.0.1/",
    "https://169.254.169.254/",
    "https://[::1]/",
    "ftp://example.com",
    "nonsense",
  ];
  return Promise.resolve([
    paths.map((path) => [library.encodeStreamPath(path), library.decodeStreamPath(library.encodeStreamPath(path))]),
    library.encodeStreamPath(long),
    library.decodeStreamPath(library.encodeStreamPath(long)),
    globs.map(([pattern, path]) => library.globMatch(pattern, path)),
    // Ours is as strict or stricter, and allows the loopback by https as well.
    urls.map(
      (url) =>
        url.startsWith("https://localhost") || url.startsWith("https://[::1]") || library.validateWebhookUrl(url).ok,
    ),
    library.DEFAULT_CURSOR_EPOCH.toISOString(),
    library.DEFAULT_CURSOR_INTERVAL_SECONDS,
  ]);
};
