import { EventEmitter, once } from "node:events";
import { crc32 } from "node:zlib";
import {
  BLOCK_BYTES,
  ObjectStoreError,
  SEGMENT_OBJECT_BYTES_MIN,
  StreamError,
  coldExtents,
  encodeBatch,
  encodeSegmentHeader,
  generation,
  lsn,
  objectKey,
  position,
  rollKey,
  type ExtentIndex,
  type Frame,
  type HotReader,
  type Lsn,
  type ObjectStore,
  type RollRecord,
  type SealedSegment,
} from "@coldbrook/core";
import { describe, expect, it } from "vitest";
import { ChunkCache } from "./chunk-cache.ts";
import { MergedReader } from "./merged-reader.ts";
import { MemoryObjectStore } from "./object-store/memory.ts";
import { readRolls } from "./read-roll.ts";
import { Roller, type RollerOptions } from "./roller.ts";
import { verifyObject } from "./verify-object.ts";

const STEPS = ["roll.plan", "roll.upload", "roll.verify", "roll.record", "roll.publish", "roll.release"] as const;
const noHot: HotReader = {
  lengths: () => Promise.reject(new StreamError("gone", "nothing is hot")),
  read: () => Promise.reject(new StreamError("gone", "nothing is hot")),
};

/** Writes WAL segments as the server does, and remembers every stream's bytes. */
class Wal {
  readonly content = new Map<number, Uint8Array[]>();
  #end: Lsn = lsn(0);

  bytesOf(stream: number): Buffer {
    return Buffer.concat(this.content.get(stream) ?? []);
  }

  /** One segment of batches; a batch's appends are `[stream, message lengths]`; a stream's first one creates it. */
  segment(batches: readonly (readonly [number, readonly number[]])[][]): SealedSegment {
    const base = this.#end;
    const buffers: Uint8Array[] = [encodeSegmentHeader({ base, shard: "0a" }, crc32)];
    let end = base + buffers[0]!.length;
    for (const appends of batches) {
      const batch = encodeBatch({
        lsn: lsn(end),
        atMs: 5,
        crc: crc32,
        frames: appends.map(([stream, lengths]) => this.#frame(stream, lengths)),
      });
      buffers.push(...batch.buffers);
      end += batch.bytes;
    }
    this.#end = lsn(end);
    const bytes = Buffer.concat(buffers);
    return { base, end: this.#end, load: async () => bytes };
  }

  #frame(stream: number, lengths: readonly number[]): Frame {
    const known = this.content.get(stream);
    const start = position((known ?? []).reduce((sum, piece) => sum + piece.length, 0));
    const payload = new Uint8Array(lengths.reduce((sum, length) => sum + length, 0));
    for (let at = 0; at < payload.length; at++)
      payload[at] = (stream * 7 + (start + at) * 13 + ((start + at) >>> 9)) & 0xff;
    const id = generation(stream);
    const common = { stream: id, atMs: 5, start, lengths, payload: [payload], closed: false };
    this.content.set(stream, [...(known ?? []), payload]);
    if (known !== undefined) return { kind: "append", ...common, producers: [], streamSeq: null, closedBy: null };
    return {
      kind: "create",
      ...common,
      path: `s/${stream}`,
      config: { contentType: "text/plain", ttlSeconds: null, expiresAtMs: null },
      lineage: [{ generation: id, first: position(0), source: null }],
    };
  }
}

interface Bench {
  readonly roller: Roller;
  readonly published: RollRecord[];
  readonly released: number[];
  readonly fatal: Error[];
  readonly lines: string[];
}

function bench(store: ObjectStore, more: Partial<RollerOptions> = {}): Bench {
  const published: RollRecord[] = [];
  const released: number[] = [];
  const fatal: Error[] = [];
  const lines: string[] = [];
  const roller = new Roller({
    store,
    crc: crc32,
    writerId: "me",
    identities: () => undefined,
    publish: async (roll) => void published.push(roll),
    release: async (segment) => void released.push(segment.base),
    fault: () => undefined,
    clock: () => 0,
    random: () => 0.5,
    sleep: () => Promise.resolve(),
    log: {
      info: (_facts, message) => void lines.push(`info ${message}`),
      warn: (facts, message) => void lines.push(`warn ${message} ${JSON.stringify(facts)}`),
    },
    onFatal: (error) => void fatal.push(error),
    ...more,
  });
  return { roller, published, released, fatal, lines };
}

async function bucket(store: ObjectStore): Promise<Map<string, string>> {
  const all = new Map<string, string>();
  for await (const key of store.list("")) {
    const size = await store.size(key);
    all.set(key, Buffer.from(await store.read(key, 0, size!)).toString("base64"));
  }
  return all;
}

function twoSegments(): { wal: Wal; segments: SealedSegment[] } {
  const wal = new Wal();
  const big = Array.from({ length: 90 }, () => 1000 + BLOCK_BYTES);
  const segments = [
    wal.segment([
      [
        [3, [10, 20, 30]],
        [1, [5]],
      ],
      [
        [2, big],
        [3, [70_000, 1]],
      ],
    ]),
    wal.segment([
      [
        [3, [100]],
        [4, []],
      ],
      [[1, Array.from({ length: 2000 }, () => 99)]],
    ]),
  ];
  return { wal, segments };
}

async function rollAll(segments: readonly SealedSegment[], made: Bench): Promise<void> {
  for (const segment of segments) made.roller.enqueue(segment);
  await made.roller.idle();
}

async function createObject(store: ObjectStore, key: string, bytes: Uint8Array): Promise<void> {
  await store.create(key, bytes.length, async function* () {
    yield bytes;
  });
}

describe("Roller", () => {
  it("puts every byte of every stream where the published extents say", async () => {
    const { wal, segments } = twoSegments();
    expect(wal.bytesOf(2).length).toBeGreaterThan(SEGMENT_OBJECT_BYTES_MIN);
    const store = new MemoryObjectStore();
    const made = bench(store);
    await rollAll(segments, made);
    expect(made.fatal).toEqual([]);
    expect(made.released).toEqual(segments.map((segment) => segment.base));
    expect(made.roller.pendingSegments).toBe(0);
    const merged = new MergedReader({
      store,
      crc: crc32,
      hot: noHot,
      cache: await ChunkCache.open({ directory: "", bytesMax: 0, log: { warn: () => undefined } }),
      chunkMemoryBytesMax: 0,
    });
    const extents = made.published.flatMap(coldExtents);
    for (const stream of wal.content.keys()) {
      const index: ExtentIndex = {
        hot: [],
        cold: (at) => extents.find((one) => one.stream === stream && one.start <= at && at < one.end),
      };
      const pieces: Uint8Array[] = [];
      const wanted = wal.bytesOf(stream);
      for await (const piece of merged.read(index, position(0), position(wanted.length))) pieces.push(piece);
      expect(Buffer.concat(pieces).equals(wanted)).toBe(true);
    }
  });

  it("leaves records that are read back in order, and objects that check finds sound", async () => {
    const { segments } = twoSegments();
    const store = new MemoryObjectStore();
    const made = bench(store);
    await rollAll(segments, made);
    const records: RollRecord[] = [];
    for await (const record of readRolls(store, crc32)) records.push(record);
    expect(records.map((record) => [record.base, record.end])).toEqual(segments.map(({ base, end }) => [base, end]));
    for (const record of records) {
      for (const { key } of record.objects) expect(await verifyObject(store, crc32, key, record)).toEqual([]);
    }
    const [first] = records;
    const { key } = first!.objects[0]!;
    const bytes = await store.read(key, 0, (await store.size(key))!);
    await store.remove(key);
    expect(await verifyObject(store, crc32, key, first!)).toHaveLength(1);
    await createObject(store, key, bytes.with(100, bytes[100]! ^ 1));
    expect(await verifyObject(store, crc32, key, first!)).toHaveLength(1);
  });

  for (const step of STEPS) {
    it(`cut off at ${step} and redone, it gives the same bucket`, async () => {
      const { segments } = twoSegments();
      const whole = new MemoryObjectStore();
      await rollAll(segments, bench(whole));
      const store = new MemoryObjectStore();
      for (let after = 0; after < 6; after++) {
        let left = after;
        const cut = bench(store, {
          fault: (name) => {
            if (name === step && left-- === 0) throw new Error("crash");
          },
        });
        await rollAll(segments, cut);
        for (const base of cut.released) expect(cut.published.some((record) => record.base === base)).toBe(true);
      }
      const redone = bench(store);
      await rollAll(segments, redone);
      expect(redone.fatal).toEqual([]);
      expect(redone.released).toHaveLength(2);
      expect(await bucket(store)).toEqual(await bucket(whole));
    });
  }

  it("a redo that knows less of its streams adopts the objects of the first attempt", async () => {
    const { segments } = twoSegments();
    const store = new MemoryObjectStore();
    const crash = bench(store, {
      identities: (id) => ({
        id,
        path: "a/long/path",
        config: { contentType: "text/plain", ttlSeconds: 5, expiresAtMs: null },
        createdAtMs: 5,
        lineage: [{ generation: id, first: position(0), source: null }],
      }),
      fault: (name) => {
        if (name === "roll.record") throw new Error("crash");
      },
    });
    await rollAll(segments, crash);
    const redone = bench(store);
    await rollAll(segments, redone);
    expect(redone.fatal).toEqual([]);
    for (const { key } of redone.published[0]!.objects) {
      expect(await verifyObject(store, crc32, key, redone.published[0]!)).toEqual([]);
    }
  });

  it("another server's object or record under our key is fatal, and nothing is released", async () => {
    const { segments } = twoSegments();
    const theirs = new MemoryObjectStore();
    await rollAll(segments, bench(theirs, { writerId: "them" }));
    for (const key of [objectKey(lsn(0), 0), rollKey(lsn(0))]) {
      const store = new MemoryObjectStore();
      await createObject(store, key, await theirs.read(key, 0, (await theirs.size(key))!));
      const made = bench(store);
      await rollAll(segments, made);
      expect(made.fatal).toHaveLength(1);
      expect(made.fatal[0]).toMatchObject({ code: "corrupt-object" });
      expect(made.fatal[0]!.message).toContain("another server writes to this prefix");
      expect(made.published).toEqual([]);
      expect(made.released).toEqual([]);
      expect(made.roller.pendingSegments).toBe(2);
    }
    const store = new MemoryObjectStore();
    await createObject(store, objectKey(lsn(0), 0), new Uint8Array(500));
    const made = bench(store);
    await rollAll(segments, made);
    expect(made.fatal[0]).toMatchObject({ code: "corrupt-object" });
  });

  it("a corrupt sealed segment is fatal, with its file and position", async () => {
    const { segments } = twoSegments();
    const bytes = await segments[0]!.load();
    const made = bench(new MemoryObjectStore());
    await rollAll([{ ...segments[0]!, load: async () => bytes.with(60, bytes[60]! ^ 1) }], made);
    expect(made.fatal[0]).toMatchObject({ code: "corrupt-wal" });
    expect(made.fatal[0]!.message).toMatch(/0000000000000000\.wal, byte 40/);
    expect(made.released).toEqual([]);
  });

  it("an outage of the store is waited for, with one line at its start and one at its end", async () => {
    const { segments } = twoSegments();
    const store = new MemoryObjectStore();
    const waits: number[] = [];
    const create = store.create.bind(store);
    store.create = async (key, bytes, body) => {
      if (waits.length < 30) throw new ObjectStoreError("unavailable", "no route to host");
      return create(key, bytes, body);
    };
    const made = bench(store, {
      random: () => 1,
      sleep: async (ms) => void waits.push(ms),
    });
    await rollAll(segments, made);
    expect(made.released).toHaveLength(2);
    expect(Math.max(...waits)).toBe(2000);
    expect(made.lines).toHaveLength(2);
    expect(made.lines[0]).toMatch(/^warn .*memory:.*no route to host/);
    expect(made.lines[1]).toMatch(/^info /);
  });

  it("a store that acknowledges an object and does not have it is fatal", async () => {
    const { segments } = twoSegments();
    const store = new MemoryObjectStore();
    store.size = async () => undefined;
    const made = bench(store);
    await rollAll(segments, made);
    expect(made.fatal[0]).toMatchObject({ code: "corrupt-object" });
    expect(made.released).toEqual([]);
  });

  it("stop ends a roll that waits for its store, and keeps its segment", async () => {
    const { segments } = twoSegments();
    const store = new MemoryObjectStore();
    const waiting = new EventEmitter();
    const waits = once(waiting, "wait");
    store.create = () => Promise.reject(new ObjectStoreError("unavailable", "no route"));
    const made = bench(store, {
      sleep: () => {
        waiting.emit("wait");
        return new Promise(() => undefined);
      },
    });
    for (const segment of segments) made.roller.enqueue(segment);
    await waits;
    await made.roller.stop();
    expect(made.roller.pendingSegments).toBe(2);
    expect(made.fatal).toEqual([]);
    expect(made.released).toEqual([]);
  });

  it("refuses a segment that does not follow the one before", () => {
    const { segments } = twoSegments();
    const { roller } = bench(new MemoryObjectStore());
    roller.enqueue(segments[0]!);
    expect(() => roller.enqueue(segments[0]!)).toThrow(RangeError);
  });
});
