import { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { gunzipSync, inflateSync, type Gzip } from "node:zlib";
import { STALLED_READER_MS, StreamError } from "@coldbrook/core";
import { MemoryObjectStore } from "@coldbrook/tiering";
import { afterEach, describe, expect, test, vi } from "vitest";
import { MIB, random, RawReads, repetitive, requestText, turn } from "../../test-support/raw-reads.ts";
import { Compressor } from "./compression.ts";

const { encoders } = vi.hoisted(() => ({ encoders: [] as Gzip[] }));
vi.mock("node:zlib", async (original) => {
  const zlib = await original<typeof import("node:zlib")>();
  const kept =
    <Arguments extends unknown[], Encoder>(create: (...given: Arguments) => Encoder) =>
    (...given: Arguments): Encoder => {
      const encoder = create(...given);
      encoders.push(encoder as Gzip);
      return encoder;
    };
  return { ...zlib, createGzip: kept(zlib.createGzip), createDeflate: kept(zlib.createDeflate) };
});

afterEach(() => {
  vi.restoreAllMocks();
  encoders.length = 0;
});

const LARGE_CHUNKS = { chunkBytes: 64 * MIB, bodyBytesMax: 64 * MIB };

describe("readers that do not read", () => {
  /** Connections that ask for 32 MiB which do not compress, and take nothing; resolves when each one's response is stuck. */
  async function stalled(served: RawReads, count: number): Promise<{ sockets: Socket[]; responses: ServerResponse[] }> {
    const responses: ServerResponse[] = [];
    vi.spyOn(ServerResponse.prototype, "setTimeout").mockImplementation(function (this: ServerResponse, ms, callback) {
      expect(ms).toBe(STALLED_READER_MS);
      responses.push(this.once("deadline", callback!));
      return this;
    });
    await served.write("PUT", "large", random(32 * MIB));
    const sockets: Socket[] = [];
    for (let i = 0; i < count; i++) {
      const socket = await served.connect();
      socket.pause().write(requestText("GET large?offset=-1 HTTP/1.1", ["Accept-Encoding: gzip"]));
      sockets.push(socket);
    }
    while (responses.length < count || !responses.every((response) => response.writableNeedDrain)) await turn();
    return { sockets, responses };
  }

  test("are sent nothing more, hold little, and are dropped at the deadline with their encoders", async () => {
    await using served = await RawReads.start(LARGE_CHUNKS);
    const { responses } = await stalled(served, 2);
    for (const { writableLength } of responses) expect(writableLength).toBeLessThan(512 * 1024);
    expect((await served.health())["compressedResponses"]).toBe(2);
    expect(encoders.map(({ destroyed }) => destroyed)).toEqual([false, false]);
    for (const response of responses) response.emit("deadline");
    await served.untilHealth(({ compressedResponses }) => compressedResponses === 0);
    while (!encoders.every(({ closed }) => closed)) await turn();
  });

  test("and leave: their encoders go with them", async () => {
    await using served = await RawReads.start(LARGE_CHUNKS);
    const { sockets } = await stalled(served, 2);
    for (const socket of sockets) socket.resetAndDestroy();
    await served.untilHealth(({ compressedResponses }) => compressedResponses === 0);
    while (!encoders.every(({ closed }) => closed)) await turn();
    expect(encoders).toHaveLength(2);
  });
});

describe("a read that fails", () => {
  /** A store that fails its reads when none is left. */
  class FailingStore extends MemoryObjectStore {
    readsLeft = Infinity;

    override async read(key: string, from: number, to: number): Promise<Uint8Array> {
      this.readsLeft -= 1;
      if (this.readsLeft < 0) throw new StreamError("gone", "the object is not there");
      return super.read(key, from, to);
    }
  }

  async function cold(store: FailingStore): Promise<RawReads> {
    const served = await RawReads.start({ ...LARGE_CHUNKS, segmentAgeMs: 50, cacheBytesMax: 0 }, store);
    await served.fill("a", random(12 * MIB));
    await served.untilHealth(({ hotExtents }) => hotExtents === 0);
    return served;
  }

  test("midway cuts the connection: the body has no end", async () => {
    const store = new FailingStore();
    await using served = await cold(store);
    store.readsLeft = 20;
    const answer = await served.get("a?offset=-1");
    expect([answer.status, answer.headers.get("content-encoding"), answer.isWhole]).toEqual([200, "gzip", false]);
    expect(answer.body.length).toBeGreaterThan(MIB);
    await served.untilHealth(({ compressedResponses }) => compressedResponses === 0);
    while (!encoders.every(({ closed }) => closed)) await turn();
  });

  test("at its first bytes is still told with a status", async () => {
    const store = new FailingStore();
    await using served = await cold(store);
    store.readsLeft = 0;
    const answer = await served.get("a?offset=-1");
    expect([answer.status, answer.headers.get("content-encoding")]).toEqual([502, undefined]);
    await served.untilHealth(({ compressedResponses }) => compressedResponses === 0);
  });
});

describe("coding a body", () => {
  test("asks for a part only when what came of the one before is taken, and lets go of its source", async () => {
    let asked = 0;
    let isLetGo = false;
    async function* parts(): AsyncGenerator<Uint8Array> {
      try {
        for (;;) {
          asked += 1;
          yield random(64 * 1024);
        }
      } finally {
        isLetGo = true;
      }
    }
    const coded = new Compressor().encode("gzip", parts());
    await coded.next();
    expect(asked).toBe(1);
    for (let taken = 0; taken < 4 * 64 * 1024;) taken += ((await coded.next()).value as Uint8Array).length;
    expect(asked).toBeLessThanOrEqual(6);
    await coded.return();
    expect([isLetGo, encoders.length, encoders[0]!.destroyed]).toEqual([true, 1, true]);
  });

  test("many bodies at once each come out right", async () => {
    const compressor = new Compressor();
    const bodies = Array.from({ length: 12 }, (_, i) => repetitive(100_000 + i));
    const coded = await Promise.all(
      bodies.map(async (body, i) => {
        const made: Uint8Array[] = [];
        const source = (async function* (): AsyncGenerator<Uint8Array> {
          for (let at = 0; at < body.length; at += 10_000) yield body.subarray(at, at + 10_000);
        })();
        for await (const piece of compressor.encode(i % 2 === 0 ? "gzip" : "deflate", source)) made.push(piece);
        return (i % 2 === 0 ? gunzipSync : inflateSync)(Buffer.concat(made));
      }),
    );
    expect(coded.map((body, i) => body.equals(bodies[i]!))).toEqual(bodies.map(() => true));
  });
});
