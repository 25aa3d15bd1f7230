import { crc32 } from "node:zlib";
import {
  BLOCK_BYTES,
  ByteWriter,
  ObjectStoreError,
  StreamError,
  cutBlocks,
  encodeLengths,
  generation,
  lsn,
  position,
  type Block,
  type ColdExtent,
  type ExtentIndex,
  type HotExtent,
  type HotReader,
  type ObjectStore,
  type Position,
} from "@coldbrook/core";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ChunkCache } from "./chunk-cache.ts";
import { MergedReader } from "./merged-reader.ts";
import { MemoryObjectStore } from "./object-store/memory.ts";

const STREAM = generation(7);
const nothing = { warn: (): void => undefined };

/** A store that counts its reads and lets a test spoil them. */
class SpyStore extends MemoryObjectStore {
  reads = 0;
  bytesRead = 0;
  spoil: (bytes: Uint8Array) => Uint8Array = (bytes) => bytes;

  override async read(key: string, from: number, to: number): Promise<Uint8Array> {
    this.reads += 1;
    this.bytesRead += to - from;
    return this.spoil(await super.read(key, from, to));
  }
}

interface Message {
  readonly bytes: number;
}

/** A stream cut into extents at the given message counts. */
class Stream {
  readonly lengths: number[];
  readonly bytes: Uint8Array;
  readonly extents: { start: number; end: number; lengths: number[] }[] = [];

  constructor(messages: readonly Message[], messagesPerExtent: readonly number[]) {
    this.lengths = messages.map((message) => message.bytes);
    this.bytes = new Uint8Array(this.lengths.reduce((sum, length) => sum + length, 0));
    for (let at = 0; at < this.bytes.length; at++) this.bytes[at] = (at * 31 + (at >>> 8)) & 0xff;
    let message = 0;
    let start = 0;
    for (let index = 0; message < this.lengths.length; index++) {
      const count = messagesPerExtent[index % messagesPerExtent.length]!;
      const lengths = this.lengths.slice(message, message + count);
      const end = start + lengths.reduce((sum, length) => sum + length, 0);
      this.extents.push({ start, end, lengths });
      message += count;
      start = end;
    }
  }

  get tail(): Position {
    return position(this.bytes.length);
  }

  /** Message boundaries from 0 to the tail. */
  boundaries(): number[] {
    const all = [0];
    for (const length of this.lengths) all.push(all.at(-1)! + length);
    return all;
  }
}

/** Writes extents [from, to) of `stream`, joined by `join`, into objects behind some foreign bytes. */
async function cold(stream: Stream, from: number, to: number, store: ObjectStore, join = 1): Promise<ColdExtent[]> {
  const extents: ColdExtent[] = [];
  for (let first = from; first < to; first += join) {
    const parts = stream.extents.slice(first, Math.min(first + join, to));
    const start = parts[0]!.start;
    const writer = new ByteWriter();
    writer.bytes(new Uint8Array(first % 50).fill(0xee));
    const offset = writer.length;
    const blocks: Block[] = [];
    let at = start;
    for (const cut of cutBlocks(
      start,
      parts.flatMap((part) => part.lengths),
      BLOCK_BYTES,
    )) {
      const block = new ByteWriter();
      block.bytes(stream.bytes.subarray(at, at + cut.payloadBytes));
      encodeLengths(block, cut.lengths);
      const bytes = block.take();
      writer.bytes(bytes);
      blocks.push({
        payloadBytes: cut.payloadBytes,
        tableBytes: bytes.length - cut.payloadBytes,
        crc: crc32(bytes),
      });
      at += cut.payloadBytes;
    }
    const object = `objects/${start}-${at}`;
    const body = writer.take();
    await store.create(object, body.length, async function* () {
      yield body;
    });
    extents.push({ stream: STREAM, start: position(start), end: position(at), object, offset, blocks });
  }
  return extents;
}

function hot(stream: Stream, from: number): HotExtent[] {
  return stream.extents.slice(from).map(({ start, end, lengths }, index) => ({
    stream: STREAM,
    start: position(start),
    end: position(end),
    segment: lsn(0),
    headerAt: index,
    headerBytes: 50,
    messages: lengths.length,
    memory: null,
  }));
}

/** Hot extents that start below `releasedTo()` are gone. */
function hotReader(stream: Stream, releasedTo: () => number = () => 0): HotReader {
  const check = (extent: HotExtent): void => {
    if (extent.start < releasedTo()) throw new StreamError("gone", "released");
  };
  return {
    lengths: async (extent) => {
      check(extent);
      return stream.extents.find((one) => one.start === extent.start)!.lengths;
    },
    read: async (extents, from, to) => {
      for (const extent of extents) check(extent);
      if (extents[0]!.start > from || extents.at(-1)!.end < to) throw new Error("outside the extents");
      return stream.bytes.slice(from, to);
    },
  };
}

function indexOf(hotExtents: readonly HotExtent[], coldExtents: readonly ColdExtent[]): ExtentIndex {
  return { hot: hotExtents, cold: (at) => coldExtents.find((extent) => extent.start <= at && at < extent.end) };
}

async function reader(store: ObjectStore, hot: HotReader, cache?: ChunkCache): Promise<MergedReader> {
  return new MergedReader({
    store,
    crc: crc32,
    hot,
    cache: cache ?? (await ChunkCache.open({ directory: "", bytesMax: 0, log: nothing })),
    chunkMemoryBytesMax: 4 * 1024 * 1024,
    random: () => 0,
    sleep: () => Promise.resolve(),
  });
}

async function collect(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const piece of pieces) all.push(piece);
  return Buffer.concat(all);
}

/** Reads the stream chunk by chunk; the bytes and the boundaries. */
async function readAll(
  merged: MergedReader,
  index: ExtentIndex,
  stream: Stream,
  chunkBytes: number,
  pieceBytes: number,
): Promise<{ bytes: Buffer; ends: number[] }> {
  const ends: number[] = [];
  const parts: Uint8Array[] = [];
  let at = position(0);
  while (at < stream.tail) {
    const end = await merged.chunkEnd(index, at, stream.tail, chunkBytes);
    parts.push(await collect(merged.read(index, at, end, pieceBytes)));
    ends.push(end);
    at = end;
  }
  return { bytes: Buffer.concat(parts), ends };
}

/** The rule itself: the first boundary at or after the next multiple, or the tail. */
function expectedEnds(stream: Stream, chunkBytes: number): number[] {
  const boundaries = stream.boundaries();
  const ends: number[] = [];
  for (let at = 0; at < stream.tail; at = ends.at(-1)!) {
    const target = (Math.floor(at / chunkBytes) + 1) * chunkBytes;
    ends.push(boundaries.find((boundary) => boundary >= target) ?? stream.tail);
  }
  return ends;
}

const streams = fc
  .record({
    messages: fc.array(
      fc.record({
        bytes: fc.oneof(
          { weight: 6, arbitrary: fc.integer({ min: 1, max: 3000 }) },
          { weight: 2, arbitrary: fc.constantFrom(BLOCK_BYTES, BLOCK_BYTES - 1, BLOCK_BYTES / 2) },
          { weight: 1, arbitrary: fc.integer({ min: 1, max: 200_000 }) },
        ),
      }),
      { minLength: 1, maxLength: 60 },
    ),
    cuts: fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 5 }),
  })
  .map(({ messages, cuts }) => new Stream(messages, cuts));

const flip = (bytes: Uint8Array): Uint8Array => bytes.with(bytes.length >> 1, bytes[bytes.length >> 1]! ^ 1);

describe("MergedReader", () => {
  it("gives the same bytes and the same chunk boundaries hot, cold, mixed and while hot extents are released", async () => {
    await fc.assert(
      fc.asyncProperty(
        streams,
        fc.constantFrom(BLOCK_BYTES, 2 * BLOCK_BYTES, 1000, 100_000, 1024 * 1024),
        fc.constantFrom(3000, BLOCK_BYTES, 300_000),
        fc.nat(),
        fc.nat(),
        fc.integer({ min: 1, max: 4 }),
        async (stream, chunkBytes, pieceBytes, a, b, join) => {
          const count = stream.extents.length;
          const coldTo = a % (count + 1);
          const hotFrom = b % (coldTo + 1);
          const store = new SpyStore();
          const everywhere = await cold(stream, 0, count, store, join);
          const some = await cold(stream, 0, coldTo, new MemoryObjectStore(), join);
          for (const extent of some) {
            if (!everywhere.some((one) => one.object === extent.object)) await cold(stream, 0, coldTo, store, join);
          }
          const released = coldTo === 0 ? 0 : some.at(-1)!.end;
          const indexes: [ExtentIndex, HotReader][] = [
            [indexOf(hot(stream, 0), []), hotReader(stream)],
            [indexOf([], everywhere), hotReader(stream)],
            [indexOf(hot(stream, hotFrom), some), hotReader(stream)],
            [indexOf(hot(stream, hotFrom), some), hotReader(stream, () => released)],
          ];
          const ends = expectedEnds(stream, chunkBytes);
          for (const [index, hotTier] of indexes) {
            const merged = await reader(store, hotTier);
            const all = await readAll(merged, index, stream, chunkBytes, pieceBytes);
            expect(all.ends).toEqual(ends);
            expect(all.bytes.equals(stream.bytes)).toBe(true);
          }
        },
      ),
      { numRuns: 40 },
    );
  });

  it("resolves any position to the start of its message, and reads any range", async () => {
    await fc.assert(
      fc.asyncProperty(streams, fc.nat(), fc.nat(), fc.nat(), async (stream, a, b, c) => {
        const store = new SpyStore();
        const coldTo = a % (stream.extents.length + 1);
        const index = indexOf(hot(stream, coldTo), await cold(stream, 0, coldTo, store, 2));
        const merged = await reader(store, hotReader(stream));
        const at = position(b % (stream.tail + 1));
        const start = await merged.resolveStart(index, at, stream.tail);
        expect(start).toBe(stream.boundaries().findLast((boundary) => boundary <= at));
        const from = position(c % (at + 1));
        const bytes = await collect(merged.read(index, from, at, 10_000));
        expect(bytes.equals(stream.bytes.subarray(from, at))).toBe(true);
      }),
      { numRuns: 40 },
    );
  });

  it("fetches at most 5 % more than it serves, from an extent of 64 MiB in chunks of 1 MiB", async () => {
    const messages: Message[] = [];
    for (let bytes = 0, seed = 1; bytes < 64 * 1024 * 1024; bytes += messages.at(-1)!.bytes) {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      messages.push({ bytes: 100 + (seed % 3997) });
    }
    const stream = new Stream(messages, [messages.length]);
    const store = new SpyStore();
    const index = indexOf([], await cold(stream, 0, 1, store));
    const merged = await reader(store, hotReader(stream));
    store.bytesRead = 0;
    const all = await readAll(merged, index, stream, 1024 * 1024, 1024 * 1024);
    expect(all.bytes.equals(stream.bytes)).toBe(true);
    expect(store.bytesRead / stream.tail).toBeLessThan(1.05);
    expect(store.reads).toBe(all.ends.length);
  });

  it("holds about a piece at a time: no GET is larger than the piece, its last block and their tables", async () => {
    const stream = new Stream(
      Array.from({ length: 3000 }, () => ({ bytes: 1000 })),
      [3000],
    );
    const store = new SpyStore();
    const index = indexOf([], await cold(stream, 0, 1, store));
    const merged = await reader(store, hotReader(stream));
    const sizes: number[] = [];
    store.spoil = (bytes) => {
      sizes.push(bytes.length);
      return bytes;
    };
    const pieceBytes = 4 * BLOCK_BYTES;
    await collect(merged.read(index, position(1234), stream.tail, pieceBytes));
    expect(Math.max(...sizes)).toBeLessThan(pieceBytes + 1000 + 100);
    const pieces = merged.read(indexOf(hot(stream, 0), []), position(1234), stream.tail, pieceBytes);
    for await (const piece of pieces) expect(piece.length).toBeLessThanOrEqual(pieceBytes);
  });

  it("fifty readers of a chunk cost one GET", async () => {
    const stream = new Stream(
      Array.from({ length: 300 }, () => ({ bytes: 1000 })),
      [300],
    );
    const store = new SpyStore();
    const index = indexOf([], await cold(stream, 0, 1, store));
    const merged = await reader(store, hotReader(stream));
    const all = await Promise.all(
      Array.from({ length: 50 }, () => collect(merged.read(index, position(0), stream.tail))),
    );
    expect(all.every((bytes) => bytes.equals(stream.bytes))).toBe(true);
    expect(store.reads).toBe(1);
    expect(merged.stats.gets).toBe(1);
  });

  it("finds chunk ends and starts at block boundaries without I/O", async () => {
    const stream = new Stream(
      Array.from({ length: 3000 }, () => ({ bytes: 1000 })),
      [3000],
    );
    const store = new SpyStore();
    const index = indexOf([], await cold(stream, 0, 1, store));
    const merged = await reader(store, hotReader(stream));
    const end = await merged.chunkEnd(index, position(0), stream.tail, 1024 * 1024);
    expect(end).toBe(1_049_000);
    expect(await merged.resolveStart(index, end, stream.tail)).toBe(end);
    expect(await merged.resolveStart(index, stream.tail, stream.tail)).toBe(stream.tail);
    expect(store.reads).toBe(0);
  });

  const faults: [string, (bytes: Uint8Array) => Uint8Array][] = [
    ["flipped", flip],
    ["short", (bytes) => bytes.subarray(1)],
    ["empty", () => new Uint8Array(0)],
    ["long", (bytes) => Buffer.concat([bytes, bytes])],
    [
      "refused as short",
      () => {
        throw new ObjectStoreError("short", "cut off");
      },
    ],
  ];

  it.each(faults)("a GET that comes back %s is never shown: retried, then corrupt-object", async (_name, spoil) => {
    const stream = new Stream(
      Array.from({ length: 300 }, () => ({ bytes: 1000 })),
      [300],
    );
    const store = new SpyStore();
    const index = indexOf([], await cold(stream, 0, 1, store));
    const merged = await reader(store, hotReader(stream));
    let left = 3;
    store.spoil = (bytes) => (left-- > 0 ? spoil(bytes) : bytes);
    expect(
      (await collect(merged.read(index, position(0), position(5000)))).equals(stream.bytes.subarray(0, 5000)),
    ).toBe(true);
    store.spoil = spoil;
    let shown = 0;
    const reading = (async () => {
      for await (const piece of merged.read(index, position(100_000), stream.tail)) shown += piece.length;
    })();
    await expect(reading).rejects.toMatchObject({ code: "corrupt-object" });
    expect(shown).toBe(0);
  });

  it("says store-unavailable and gone for what the store says", async () => {
    const stream = new Stream([{ bytes: 100 }], [1]);
    const store = new SpyStore();
    const extents = await cold(stream, 0, 1, store);
    const merged = await reader(store, hotReader(stream));
    store.spoil = () => {
      throw new ObjectStoreError("unavailable", "no route");
    };
    await expect(collect(merged.read(indexOf([], extents), position(0), stream.tail))).rejects.toMatchObject({
      code: "store-unavailable",
    });
    await store.remove(extents[0]!.object);
    await expect(collect(merged.read(indexOf([], extents), position(0), stream.tail))).rejects.toMatchObject({
      code: "gone",
    });
    await expect(collect(merged.read(indexOf([], []), position(0), stream.tail))).rejects.toMatchObject({
      code: "gone",
    });
  });

  it("asks the hot tier once, not for every frame, when it was released meanwhile", async () => {
    const stream = new Stream(
      Array.from({ length: 100 }, () => ({ bytes: 1000 })),
      [1],
    );
    const store = new SpyStore();
    const released = hotReader(stream, () => Infinity);
    let asked = 0;
    const merged = await reader(store, {
      ...released,
      read: (extents, from, to) => {
        asked += 1;
        return released.read(extents, from, to);
      },
    });
    const index = indexOf(hot(stream, 0), await cold(stream, 0, 100, store, 100));
    const bytes = await collect(merged.read(index, position(0), stream.tail));
    expect(bytes.equals(stream.bytes)).toBe(true);
    expect(asked).toBe(1);
    expect(store.reads).toBe(1);
  });

  it("goes on in the object that replaced the one it was reading", async () => {
    const stream = new Stream(
      Array.from({ length: 400 }, () => ({ bytes: 1000 })),
      [100],
    );
    const store = new SpyStore();
    const parts = await cold(stream, 0, 4, store);
    let now = parts;
    const merged = await reader(store, hotReader(stream));
    const index: ExtentIndex = { hot: [], cold: (at) => indexOf([], now).cold(at) };
    const pieces: Uint8Array[] = [];
    for await (const piece of merged.read(index, position(0), stream.tail, BLOCK_BYTES)) {
      pieces.push(piece);
      if (pieces.length > 1) continue;
      now = await cold(stream, 0, 4, store, 4);
      for (const part of parts) await store.remove(part.object);
    }
    expect(Buffer.concat(pieces).equals(stream.bytes)).toBe(true);
  });

  it("a rotten file of the disk cache is dropped and fetched again", async () => {
    const stream = new Stream(
      Array.from({ length: 30 }, () => ({ bytes: 1000 })),
      [30],
    );
    const store = new SpyStore();
    const index = indexOf([], await cold(stream, 0, 1, store));
    const kept = new Map<string, Uint8Array>();
    const cache = {
      get: async (key: string) => kept.get(key),
      put: async (key: string, bytes: Uint8Array) => void kept.set(key, flip(bytes)),
      drop: (key: string) => void kept.delete(key),
    } as unknown as ChunkCache;
    const read = async (): Promise<Buffer> =>
      collect((await reader(store, hotReader(stream), cache)).read(index, position(0), stream.tail));
    await read();
    expect(kept.size).toBe(1);
    expect((await read()).equals(stream.bytes)).toBe(true);
    expect(store.reads).toBe(2);
  });
});
