import { afterEach, beforeEach, describe, expect, inject, test, vi } from "vitest";
import type { S3ObjectStore, S3ObjectStoreOptions } from "../../packages/tiering/src/object-store/s3.ts";
import { makeBucket, type Bucket } from "../s3/buckets.ts";
import { startFaultProxy, type FaultProxy } from "../s3/fault-proxy.ts";
import { bodyOf, bytesOf, put, s3Store } from "./object-store-adapters.ts";

const s3 = inject("s3");

describe.skipIf(s3 === null)("the S3 adapter, when the network or the server misbehaves", () => {
  let bucket: Bucket;
  let proxy: FaultProxy;
  let stores: S3ObjectStore[];
  let waits: number[];

  beforeEach(async () => {
    if (s3 === null) return;
    bucket = await makeBucket(s3);
    proxy = await startFaultProxy(s3.endpoint);
    stores = [];
    waits = [];
  });

  afterEach(async () => {
    for (const store of stores) await store.close();
    await proxy[Symbol.asyncDispose]();
    await bucket[Symbol.asyncDispose]();
    vi.unstubAllEnvs();
  });

  /** Waits pass at once, on a clock of their own. */
  function open(options: Partial<S3ObjectStoreOptions> = {}): S3ObjectStore {
    let now = 0;
    const store = s3Store(bucket, {
      endpoint: proxy.url,
      clock: () => now,
      random: () => 0.5,
      sleep: async (ms) => {
        waits.push(ms);
        now += ms;
      },
      ...options,
    });
    stores.push(store);
    return store;
  }

  test("a throttled create is tried again with doubling, jittered waits", async () => {
    proxy.inject({ on: "put", fault: { kind: "status", status: 503, code: "SlowDown" }, times: 3 });
    expect(await put(open(), "k", bytesOf(100))).toBe("created");
    expect(proxy.counts.put).toBe(4);
    expect(waits).toEqual([50, 100, 200]);
  });

  test("attempts are bounded, and what is left is unavailable", async () => {
    proxy.inject({ on: "any", fault: { kind: "status", status: 500, code: "InternalError" } });
    const store = open({ attemptsMax: 4 });
    await expect(put(store, "k", bytesOf(1))).rejects.toMatchObject({ code: "unavailable" });
    await expect(store.read("k", 0, 1)).rejects.toMatchObject({ code: "unavailable" });
    await expect(store.size("k")).rejects.toMatchObject({ code: "unavailable" });
    await expect(store.remove("k")).rejects.toMatchObject({ code: "unavailable" });
    await expect(store.list("").next()).rejects.toMatchObject({ code: "unavailable" });
    expect(proxy.counts).toMatchObject({ put: 4, get: 4, head: 4, delete: 4, list: 4 });
  });

  test("no attempt starts after the budget", async () => {
    proxy.inject({ on: "get", fault: { kind: "status", status: 503, code: "SlowDown" } });
    const store = open({ attemptsMax: 100, retryBudgetMs: 1_000 });
    await expect(store.read("k", 0, 1)).rejects.toMatchObject({ code: "unavailable" });
    expect(waits).toEqual([50, 100, 200, 400]);
  });

  test("a conflict of two conditional writes is tried again", async () => {
    proxy.inject({ on: "put", fault: { kind: "status", status: 409, code: "ConditionalRequestConflict" }, times: 2 });
    expect(await put(open(), "k", bytesOf(100))).toBe("created");
    expect(proxy.counts.put).toBe(3);
  });

  test("a create whose answer was lost finds its own object", async () => {
    proxy.inject({ on: "put", fault: { kind: "reset-after" }, times: 1 });
    const store = open();
    expect(await put(store, "k", bytesOf(100_000))).toBe("exists");
    expect(Buffer.compare(await store.read("k", 0, 100_000), bytesOf(100_000))).toBe(0);
    expect(proxy.counts.put).toBe(2);
  });

  test("a server without conditional writes is refused for good, in words", async () => {
    proxy.inject({ on: "put", fault: { kind: "status", status: 501, code: "NotImplemented" } });
    await expect(put(open(), "k", bytesOf(1))).rejects.toMatchObject({
      code: "denied",
      message: expect.stringContaining("create-only"),
    });
    expect(proxy.counts.put).toBe(1);
  });

  test("a body that breaks off is fetched again", async () => {
    const store = open();
    await put(store, "k", bytesOf(200_000));
    proxy.inject({ on: "get", fault: { kind: "truncate", bytes: 1_000 }, times: 1 });
    proxy.inject({ on: "get", fault: { kind: "shorten", bytes: 1_000 }, times: 1 });
    proxy.inject({ on: "get", fault: { kind: "reset" }, times: 1 });
    expect(Buffer.compare(await store.read("k", 50, 200_000), bytesOf(200_000).subarray(50))).toBe(0);
    expect(proxy.counts.get).toBe(4);
  });

  test("a body that is always short is an error, never fewer bytes", async () => {
    const store = open({ attemptsMax: 2 });
    await put(store, "k", bytesOf(2_000));
    proxy.inject({ on: "get", fault: { kind: "shorten", bytes: 1_000 } });
    await expect(store.read("k", 0, 2_000)).rejects.toMatchObject({ code: "short" });
  });

  test("a server that ignores Range is refused for good", async () => {
    const store = open();
    await put(store, "k", bytesOf(2_000));
    proxy.inject({ on: "get", fault: { kind: "ignore-range" } });
    await expect(store.read("k", 10, 20)).rejects.toMatchObject({
      code: "denied",
      message: expect.stringContaining("range not honoured"),
    });
    expect(proxy.counts.get).toBe(1);
  });

  test("a range past the object's end costs one request", async () => {
    const store = open();
    await put(store, "k", bytesOf(100));
    await expect(store.read("k", 90, 101)).rejects.toMatchObject({ code: "short" });
    expect(proxy.counts.get).toBe(1);
  });

  test("a server that refuses connections is unavailable until it comes back", async () => {
    const store = open({ attemptsMax: 2 });
    await put(store, "k", bytesOf(100));
    await proxy.goDark();
    await expect(store.read("k", 0, 100)).rejects.toMatchObject({ code: "unavailable" });
    await expect(put(store, "l", bytesOf(100))).rejects.toMatchObject({ code: "unavailable" });
    await proxy.comeBack();
    expect(Buffer.compare(await store.read("k", 0, 100), bytesOf(100))).toBe(0);
    expect(await put(store, "l", bytesOf(100))).toBe("created");
  });

  test("a server that says nothing is given up at the deadline", async () => {
    const store = open({ attemptsMax: 2, requestTimeoutMs: 100 });
    proxy.inject({ on: "any", fault: { kind: "silence" } });
    await expect(store.size("k")).rejects.toMatchObject({ code: "unavailable" });
    await expect(put(store, "k", bytesOf(10))).rejects.toMatchObject({ code: "unavailable" });
    expect(proxy.counts).toMatchObject({ head: 2, put: 2 });
  });

  test("a failed upload lets go of its body", async () => {
    let living = 0;
    const chunk = bytesOf(16_384);
    const body = async function* body(): AsyncGenerator<Uint8Array> {
      living += 1;
      try {
        for (let at = 0; at < 512; at += 1) yield chunk;
      } finally {
        living -= 1;
      }
    };
    const store = open({ attemptsMax: 3 });
    proxy.inject({ on: "put", fault: { kind: "reset" } });
    await expect(store.create("k", 512 * 16_384, body)).rejects.toMatchObject({ code: "unavailable" });
    await vi.waitFor(() => expect(living).toBe(0));
  });

  test("after 200 failed reads of every kind, four sockets still serve", async () => {
    const whole = bytesOf(300_000);
    const patient = open({ socketsMax: 4, attemptsMax: 1 });
    const hasty = open({ socketsMax: 4, attemptsMax: 1, requestTimeoutMs: 500 });
    await put(patient, "k", whole);
    // A socket that is not given back would show as a later read that waits for one until its deadline: unavailable.
    const failures = [
      { store: patient, times: 60, code: "denied", fault: { kind: "ignore-range" } },
      { store: patient, times: 60, code: "short", fault: { kind: "shorten", bytes: 100_000 } },
      { store: patient, times: 60, code: "unavailable", fault: { kind: "truncate", bytes: 100_000 } },
      { store: hasty, times: 20, code: "unavailable", fault: { kind: "silence" } },
    ] as const;
    for (const { store, times, code, fault } of failures) {
      proxy.inject({ on: "get", fault, times });
      for (let at = 0; at < times; at += 4) {
        const reads = Array.from({ length: 4 }, () => store.read("k", 0, 300_000));
        const rejected = { status: "rejected", reason: { code } };
        expect(await Promise.allSettled(reads)).toMatchObject([rejected, rejected, rejected, rejected]);
      }
    }
    expect(proxy.counts.get).toBe(200);
    for (const store of [patient, hasty]) {
      const reads = Array.from({ length: 16 }, () => store.read("k", 0, 300_000));
      for (const read of await Promise.all(reads)) expect(Buffer.compare(read, whole)).toBe(0);
    }
    expect(proxy.connections).toBeLessThanOrEqual(8);
  });

  test("closing ends what is under way", async () => {
    proxy.inject({ on: "head", fault: { kind: "silence" } });
    const store = open();
    const size = store.size("k");
    await vi.waitFor(() => expect(proxy.counts.head).toBe(1));
    await store.close();
    await expect(size).rejects.toMatchObject({ code: "unavailable" });
    await expect(store.read("k", 0, 1)).rejects.toMatchObject({ code: "unavailable" });
  });

  test("wrong credentials and a missing bucket are refused for good, without a secret in the message", async () => {
    const missing = open({ bucket: "coldbrook-no-such-bucket" });
    await expect(put(missing, "k", bytesOf(1))).rejects.toMatchObject({ code: "denied" });
    await expect(missing.read("k", 0, 1)).rejects.toMatchObject({ code: "denied" });
    const store = open();
    vi.stubEnv("AWS_SECRET_ACCESS_KEY", "not-the-secret");
    const error: unknown = await put(store, "k", bytesOf(1)).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "denied" });
    expect(String(error)).not.toContain("not-the-secret");
    expect(error).not.toHaveProperty("cause");
  });

  test("the environment alone names the server, and one other than AWS needs no region", async () => {
    const store = s3Store(bucket);
    stores.push(store);
    vi.stubEnv("AWS_ENDPOINT_URL_S3", proxy.url);
    vi.stubEnv("AWS_REGION", undefined);
    expect(await put(store, "k", bytesOf(10))).toBe("created");
    expect(proxy.counts.put).toBe(1);
  });

  test("a list goes on over pages", async () => {
    const store = open({ prefix: "p" });
    const keys = Array.from({ length: 1_003 }, (_, at) => `n/${String(at).padStart(5, "0")}`);
    for (let at = 0; at < keys.length; at += 64) {
      await Promise.all(keys.slice(at, at + 64).map((key) => store.create(key, 0, bodyOf())));
    }
    const listed: string[] = [];
    for await (const key of store.list("n/")) listed.push(key);
    expect(listed).toEqual(keys);
    expect(proxy.counts.list).toBe(2);
  });
});
