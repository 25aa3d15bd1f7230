import { DurableStream, IdempotentProducer, StaleEpochError, stream } from "@durable-streams/client";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { until, within } from "../process/until.ts";
import { Backend } from "./backend.ts";
import { retryingFetch } from "./retrying-fetch.ts";

const BOUND_MS = 60_000;

let backend: Backend;
beforeAll(async () => {
  backend = await Backend.start();
});
afterEach(() => backend.relay.loseNothing());
afterAll(async () => {
  await backend[Symbol.asyncDispose]();
});

async function items(url: string): Promise<unknown[]> {
  return (await stream({ url, live: false, json: true })).json();
}

function upTo(end: number): number[] {
  return Array.from({ length: end }, (_, n) => n);
}

/** Loses the answer to every `nth` POST. */
function losesEvery(nth: number): (method: string) => boolean {
  let posts = 0;
  return (method) => {
    if (method !== "POST") return false;
    posts += 1;
    return posts % nth === 0;
  };
}

test("a thousand messages are batched, five batches in flight, and arrive once and in order", async () => {
  const url = backend.streamUrl("producer/batched");
  const handle = await DurableStream.create({ url, contentType: "application/json" });
  const errors: Error[] = [];
  const producer = new IdempotentProducer(handle, "batching", {
    lingerMs: 1,
    maxBatchBytes: 64,
    onError: (error) => void errors.push(error),
  });
  const posts = backend.relay.passed.get("POST") ?? 0;
  for (const n of upTo(1_000)) producer.append(`${n}`);
  await within("the flush", BOUND_MS, producer.flush());
  expect((backend.relay.passed.get("POST") ?? 0) - posts).toBeLessThan(1_000);
  expect(errors).toEqual([]);
  expect(await items(url)).toEqual(upTo(1_000));
});

test("messages whose answers are lost arrive exactly once, in order", async () => {
  const url = backend.streamUrl("producer/lost");
  const handle = await DurableStream.create({ url, contentType: "application/json" });
  const errors: Error[] = [];
  const lost = backend.relay.lost;
  backend.relay.lose(losesEvery(3));
  const producer = new IdempotentProducer(handle, "unlucky", {
    lingerMs: 1,
    maxBatchBytes: 32,
    fetch: retryingFetch,
    onError: (error) => void errors.push(error),
  });
  for (const n of upTo(300)) producer.append(`${n}`);
  await within("the flush", BOUND_MS, producer.flush());
  expect(backend.relay.lost - lost).toBeGreaterThan(5);
  expect(errors).toEqual([]);
  expect(await items(url)).toEqual(upTo(300));
});

test("bytes whose answers are lost arrive exactly once, in order", async () => {
  const url = backend.streamUrl("producer/lost-bytes");
  const handle = await DurableStream.create({ url, contentType: "application/octet-stream" });
  backend.relay.lose(losesEvery(2));
  const producer = new IdempotentProducer(handle, "unlucky", {
    lingerMs: 1,
    maxBatchBytes: 50,
    maxInFlight: 1,
    fetch: retryingFetch,
  });
  const parts = upTo(60).map((n) => Uint8Array.from({ length: 17 }, (_, index) => (n * 17 + index) % 256));
  for (const part of parts) producer.append(part);
  await within("the flush", BOUND_MS, producer.flush());
  const body = await (await stream({ url, live: false })).body();
  expect(Buffer.from(body).equals(Buffer.concat(parts))).toBe(true);
});

test("a close with a last message whose answer is lost closes once, with the message once", async () => {
  const url = backend.streamUrl("producer/lost-close");
  const handle = await DurableStream.create({ url, contentType: "application/json" });
  const producer = new IdempotentProducer(handle, "closing", { fetch: retryingFetch });
  producer.append('"first"');
  await producer.flush();
  let left = 2;
  const lost = backend.relay.lost;
  backend.relay.lose((method) => method === "POST" && left-- > 0);
  const { finalOffset } = await within("the close", BOUND_MS, producer.close('"last"'));
  expect(backend.relay.lost - lost).toBe(2);
  expect(await handle.head()).toMatchObject({ exists: true, streamClosed: true, offset: finalOffset });
  expect(await items(url)).toEqual(["first", "last"]);
});

test("what is produced while the server is killed and comes back arrives exactly once, in order", async () => {
  const url = backend.streamUrl("producer/crash");
  const handle = await DurableStream.create({ url, contentType: "application/json" });
  const errors: Error[] = [];
  const producer = new IdempotentProducer(handle, "survivor", {
    lingerMs: 1,
    maxBatchBytes: 40,
    fetch: retryingFetch,
    onError: (error) => void errors.push(error),
  });
  let next = 0;
  const produce = (count: number): void => {
    for (let n = 0; n < count; n += 1) producer.append(`${next++}`);
  };
  for (let round = 0; round < 3; round += 1) {
    const posts = backend.relay.passed.get("POST") ?? 0;
    produce(200);
    await until("some batches have left", BOUND_MS, () =>
      (backend.relay.passed.get("POST") ?? 0) - posts >= 4 ? true : undefined,
    );
    await backend.crash();
    produce(50);
  }
  await within("the flush", BOUND_MS, producer.flush());
  expect(errors).toEqual([]);
  expect(await items(url)).toEqual(upTo(next));
});

test("a claimed epoch fences the producer before, and a restarted one goes on", async () => {
  const url = backend.streamUrl("producer/fenced");
  const handle = await DurableStream.create({ url, contentType: "application/json" });
  const errors: Error[] = [];
  const old = new IdempotentProducer(handle, "shared", { onError: (error) => void errors.push(error) });
  old.append('"old"');
  await old.flush();
  const claiming = new IdempotentProducer(handle, "shared", { epoch: 1 });
  claiming.append('"new"');
  await claiming.flush();
  old.append('"zombie"');
  await old.flush().catch(() => undefined);
  expect(errors).toHaveLength(1);
  expect(errors[0]).toBeInstanceOf(StaleEpochError);
  expect((errors[0] as StaleEpochError).currentEpoch).toBe(1);
  await claiming.restart();
  claiming.append('"restarted"');
  await claiming.flush();
  const auto = new IdempotentProducer(handle, "shared", { autoClaim: true });
  auto.append('"auto"');
  await auto.flush();
  expect(auto.epoch).toBe(3);
  expect(await items(url)).toEqual(["old", "new", "restarted", "auto"]);
});
