/** What the object store is asked for, counted by a proxy before it: cost follows bytes, not streams (invariant 10). */
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { startServer, type ServerProcess } from "../process/coldbrook.ts";
import { expectStatus, header, nextOffset, StreamClient } from "../process/http.ts";
import { until } from "../process/until.ts";
import { makeBucket, type Bucket } from "../s3/buckets.ts";
import { startFaultProxy, type FaultProxy } from "../s3/fault-proxy.ts";
import { DataDirectory } from "../faults/data-directory.ts";
import { figuresOf, forEachOf, patternBytes, untilAllRolled } from "./served.ts";

const s3 = inject("s3");
const contentType = "application/octet-stream";

/** How long an idle server is watched; the acceptance takes 60 s. */
const IDLE_MS = process.env["SCALE_FULL"] === "1" ? 60_000 : 10_000;
const STREAMS = 5_000;
const ROLL_PUTS_MAX = 20;
const STREAM_BYTES = 64 * 1024 * 1024;
const FETCHED_PER_SERVED_MAX = 1.05;
const READERS = 50;
/** From a few bytes to more than a chunk. */
const MESSAGE_BYTES = [64 * 1024, 100, 300_001, 7, 65_537, 1_500_000, 4_096, 512 * 1024, 33, 1024 * 1024];

interface Rig {
  readonly data: DataDirectory;
  readonly bucket: Bucket;
  readonly proxy: FaultProxy;
  start(args: readonly string[]): Promise<ServerProcess>;
}

async function rig(): Promise<Rig & AsyncDisposable> {
  if (s3 === null) throw new Error("no S3 server in this run");
  const data = await DataDirectory.empty();
  const bucket = await makeBucket(s3);
  const proxy = await startFaultProxy(s3.endpoint);
  return {
    data,
    bucket,
    proxy,
    start: (args) =>
      startServer({
        args: ["--data-dir", data.path, "--store", bucket.spec, ...args],
        env: { ...bucket.environmentVia(proxy.url) },
      }),
    [Symbol.asyncDispose]: async () => {
      await proxy[Symbol.asyncDispose]();
      await bucket[Symbol.asyncDispose]();
      await data[Symbol.asyncDispose]();
    },
  };
}

const body = (index: number): string => `<small stream number ${index}>`;
const small = (index: number): string => `scale/small/${index}`;

describe.skipIf(s3 === null)("what the store is asked for", () => {
  test(
    `${STREAMS} streams with one small append each take at most ${ROLL_PUTS_MAX} PUTs and no LIST, and an idle server asks for nothing`,
    { timeout: IDLE_MS + 180_000 },
    async () => {
      await using owned = await rig();
      const { proxy } = owned;
      await using server = await owned.start(["--segment-age-ms", "3000"]);
      using client = new StreamClient(server.url);
      proxy.resetCounts();
      await forEachOf(STREAMS, 64, async (index) => {
        expectStatus(await client.create(small(index), { contentType }), "create", 201);
        expectStatus(await client.append(small(index), body(index), { contentType }), "append", 204);
      });
      await untilAllRolled(server.url);
      await until("the catalog to be saved", 30_000, async () =>
        (await figuresOf(server.url)).unsaved === 0 ? true : undefined,
      );
      const { put, list, other } = proxy.counts;
      expect(put).toBeGreaterThan(0);
      expect({ put: put <= ROLL_PUTS_MAX, list, other }, `${put} PUTs`).toEqual({ put: true, list: 0, other: 0 });

      proxy.resetCounts();
      await pause(IDLE_MS);
      expect(proxy.counts, "requests of an idle server").toEqual(noRequests());

      await using again = await restart(owned, server, ["--cache-bytes-max", "0"]);
      using after = new StreamClient(again.url);
      for (let index = 0; index < STREAMS; index += 97) {
        const whole = await after.readAll(small(index));
        expect(whole.bytes.toString("utf8")).toBe(body(index));
      }
      expect(proxy.counts.list, "LISTs of a restart and cold reads").toBe(0);
    },
  );

  describe(`a stream of ${STREAM_BYTES} bytes, read cold`, () => {
    let owned: Awaited<ReturnType<typeof rig>>;
    let written: Buffer;
    /** Where a chunk in the middle begins. */
    let middle: string;
    const path = "scale/large";

    beforeAll(async () => {
      owned = await rig();
      // Without a disk cache, so that it is empty for whoever has one later.
      await using server = await owned.start(["--segment-age-ms", "1000", "--cache-bytes-max", "0"]);
      using client = new StreamClient(server.url);
      expectStatus(await client.create(path, { contentType }), "create", 201);
      const parts: Buffer[] = [];
      for (let at = 0, index = 0; at < STREAM_BYTES; index += 1) {
        const wanted = MESSAGE_BYTES[index % MESSAGE_BYTES.length] ?? 1;
        const message = patternBytes(Math.min(wanted, STREAM_BYTES - at), index);
        expectStatus(await client.append(path, message, { contentType }), "append", 204);
        parts.push(message);
        at += message.length;
      }
      written = Buffer.concat(parts);
      middle = await chunkAfter(client, path, 20);
      await untilAllRolled(server.url);
      expect(await server.stop()).toBe(0);
    });

    afterAll(async () => {
      await owned[Symbol.asyncDispose]();
    });

    test.each([
      ["without a disk cache", ["--cache-bytes-max", "0"]],
      ["with an empty disk cache", ["--cache-bytes-max", "1GiB"]],
    ])("it fetches at most 1.05 bytes for each that it serves, %s", async (_, args) => {
      await using server = await owned.start(args);
      using client = new StreamClient(server.url);
      owned.proxy.resetCounts();
      const whole = await client.readAll(path);
      expect(whole.bytes.equals(written), "the bytes that were written").toBe(true);
      const { getBytes, list, put } = owned.proxy.counts;
      expect(getBytes).toBeGreaterThanOrEqual(written.length);
      expect(getBytes / written.length).toBeLessThanOrEqual(FETCHED_PER_SERVED_MAX);
      expect({ list, put }).toEqual({ list: 0, put: 0 });
      expect(await server.stop()).toBe(0);
    });

    test(`${READERS} concurrent readers of one cold chunk cause one GET`, async () => {
      await using server = await owned.start(["--cache-bytes-max", "0"]);
      using client = new StreamClient(server.url);
      owned.proxy.resetCounts();
      // Held back, so that all of them ask while the first is under way.
      owned.proxy.inject({ on: "get", fault: { kind: "delay", ms: 1_000 } });
      const replies = await Promise.all(Array.from({ length: READERS }, () => client.read(path, { offset: middle })));
      owned.proxy.clear();
      const first = replies[0];
      if (first === undefined) throw new Error("no reply");
      for (const reply of replies) {
        expectStatus(reply, "a reader", 200);
        expect(reply.body.equals(first.body)).toBe(true);
        expect(header(reply, "etag")).toBe(header(first, "etag"));
      }
      expect(header(first, "stream-up-to-date")).toBe(undefined);
      expect(owned.proxy.counts.get).toBe(1);
      expect(owned.proxy.counts.getBytes / first.body.length).toBeLessThanOrEqual(FETCHED_PER_SERVED_MAX);
    });
  });
});

function noRequests(): Record<string, number> {
  return { put: 0, get: 0, head: 0, delete: 0, list: 0, other: 0, getBytes: 0, putBytes: 0 };
}

async function restart(owned: Rig, server: ServerProcess, args: readonly string[]): Promise<ServerProcess> {
  expect(await server.stop()).toBe(0);
  return owned.start(args);
}

/** The offset that the `count`th chunk ends at. */
async function chunkAfter(client: StreamClient, path: string, count: number): Promise<string> {
  let offset = "-1";
  for (let chunk = 0; chunk < count; chunk += 1) offset = nextOffset(await client.read(path, { offset }));
  return offset;
}
