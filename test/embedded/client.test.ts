/** The official client against the embeddable server, in memory and in a directory. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { DurableStreamTestServer } from "@coldbrook/server";
import { DurableStream, IdempotentProducer, stream } from "@durable-streams/client";
import type { LiveMode } from "@durable-streams/client";
import { afterEach, describe, expect, test } from "vitest";
import { retryingFetch } from "../clients/retrying-fetch.ts";
import { within } from "../process/until.ts";

const BOUND_MS = 30_000;
const MODES: readonly LiveMode[] = [true, "long-poll", "sse"];
const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

async function temporary(): Promise<string> {
  const directory = await mkdtemp(path.join(tmpdir(), "coldbrook-embedded-"));
  cleanups.push(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

async function served(kind: string): Promise<DurableStreamTestServer> {
  const dataDir = kind === "in memory" ? undefined : await temporary();
  const server = new DurableStreamTestServer({ port: 0, longPollTimeout: 500, dataDir });
  await server.start();
  cleanups.push(() => server.stop());
  return server;
}

describe.each(["in memory", "in a directory"])("%s", (kind) => {
  test.each(MODES)("what the store appends arrives once and in order with live: %s", async (live) => {
    const server = await served(kind);
    const url = `${server.url}/v1/stream/news`;
    const handle = await DurableStream.create({ url, contentType: "application/json" });
    await handle.append('{"n":0}');
    const seen: unknown[] = [];
    const reader = await stream<{ n: number }>({ url, offset: "-1", live, json: true });
    const ended = new Promise<void>((resolve) => {
      reader.subscribeJson((batch) => {
        seen.push(...batch.items);
        if (batch.streamClosed) resolve();
      });
    });
    for (let n = 1; n < 20; n++) await server.store.append("/v1/stream/news", Buffer.from(`{"n":${n}}`));
    await server.store.closeStream("/v1/stream/news");
    await within("the stream's end", BOUND_MS, ended);
    expect(seen).toEqual(Array.from({ length: 20 }, (_, n) => ({ n })));
  });

  test("an idempotent producer gets through dropped connections, each item once", async () => {
    const server = await served(kind);
    const url = `${server.url}/v1/stream/orders`;
    const handle = await DurableStream.create({ url, contentType: "application/json" });
    server.injectFault("/v1/stream/orders", { dropConnection: true, count: 2, method: "POST" });
    const producer = new IdempotentProducer(handle, "worker", { lingerMs: 0, maxBatchBytes: 16, fetch: retryingFetch });
    for (let n = 0; n < 10; n++) producer.append(JSON.stringify({ n }));
    await within("the producer's flush", BOUND_MS, producer.flush());
    await producer.detach();
    const { messages } = await server.store.read("/v1/stream/orders");
    const items = messages.map(({ data }) => JSON.parse(Buffer.from(data).toString().slice(0, -1)) as unknown);
    expect(items).toEqual(Array.from({ length: 10 }, (_, n) => ({ n })));
    expect(server.store.getProducerEpoch("/v1/stream/orders", "worker")).toBe(0);
  });
});
