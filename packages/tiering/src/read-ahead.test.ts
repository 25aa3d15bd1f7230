import { crc32 } from "node:zlib";
import {
  ObjectStoreError,
  READ_AHEAD_BYTES_MAX,
  READ_AHEAD_UNUSED_SHARE_MAX,
  READ_AHEAD_WINDOWS_MAX,
  generation,
  position,
  type Block,
  type ColdExtent,
} from "@coldbrook/core";
import { describe, expect, it } from "vitest";
import { ColdRanges } from "./cold-ranges.ts";
import { blocksOver } from "./extent-lookup.ts";
import { MemoryObjectStore } from "./object-store/memory.ts";
import { ReadAhead } from "./read-ahead.ts";

const STREAM = generation(7);
const KIB = 1024;
const CHUNK = 64 * KIB;
const TABLE_BYTES = 4;

/** A stream of one-chunk blocks, `chunks` of them in an extent. */
function extentsOf(chunks: readonly number[], stream = STREAM): ColdExtent[] {
  let start = 0;
  return chunks.map((count, index) => {
    const blocks: Block[] = Array.from({ length: count }, () => ({
      payloadBytes: CHUNK,
      tableBytes: TABLE_BYTES,
      crc: 0,
    }));
    const end = start + count * CHUNK;
    const extent = {
      stream,
      start: position(start),
      end: position(end),
      object: `o${stream}-${index}`,
      offset: 16,
      blocks,
    };
    start = end;
    return extent;
  });
}

class Rig {
  readonly fetches: { object: string; from: number; to: number }[] = [];
  readonly ahead: ReadAhead;
  gotBytes = 0;
  taken = 0;
  answer: (bytes: number) => Promise<Uint8Array> = (bytes) => Promise.resolve(new Uint8Array(bytes));

  constructor() {
    this.ahead = new ReadAhead({
      chunkBytes: CHUNK,
      fetch: (object, from, to) => {
        this.fetches.push({ object, from, to });
        return this.answer(to - from);
      },
    });
  }

  /** As a reader does: out of a window, or by a GET of its own. */
  async read(extents: readonly ColdExtent[], chunk: number): Promise<void> {
    const at = chunk * CHUNK;
    const holder = (byte: number): ColdExtent | undefined =>
      extents.find((extent) => extent.start <= byte && byte < extent.end);
    const range = blocksOver(holder(at)!, at, at + CHUNK);
    const bytes = await this.ahead.take(range);
    if (bytes === undefined) this.gotBytes += range.to - range.from;
    else {
      expect(bytes.length).toBe(range.to - range.from);
      this.taken += 1;
    }
    this.ahead.follow(range, holder);
  }

  get fetchedBytes(): number {
    return this.gotBytes + this.fetches.reduce((sum, { from, to }) => sum + to - from, 0);
  }
}

describe("read-ahead", () => {
  it("serves most of a long stream from a few large fetches, across its extents", async () => {
    const rig = new Rig();
    const extents = extentsOf([300, 1, 299]);
    for (let chunk = 0; chunk < 600; chunk++) await rig.read(extents, chunk);
    expect(rig.taken).toBeGreaterThan(450);
    expect(rig.fetches.length).toBeLessThan(rig.taken / 3);
    expect(rig.fetchedBytes).toBe(600 * (CHUNK + TABLE_BYTES));
    expect(rig.ahead.stats).toMatchObject({ windows: 0, heldBytes: 0 });
  });

  it("costs at most the share that is allowed, wherever the reader stops", async () => {
    const extents = extentsOf([600]);
    for (const stop of [1, 2, 3, 10, 25, 50, 100, 333, 599]) {
      const rig = new Rig();
      for (let chunk = 0; chunk < stop; chunk++) await rig.read(extents, chunk);
      expect(rig.fetchedBytes / (stop * (CHUNK + TABLE_BYTES))).toBeLessThanOrEqual(1 + READ_AHEAD_UNUSED_SHARE_MAX);
    }
  });

  it("fetches nothing for readers that jump, whatever was read before", async () => {
    const rig = new Rig();
    const extents = extentsOf([600]);
    for (let chunk = 0; chunk < 600; chunk += 2) await rig.read(extents, chunk);
    expect(rig.fetches).toEqual([]);
  });

  it("fetches nothing behind the last byte that is cold", async () => {
    const rig = new Rig();
    const extents = extentsOf([60]);
    for (let pass = 0; pass < 5; pass++) for (let chunk = 0; chunk < 60; chunk++) await rig.read(extents, chunk);
    for (const { to } of rig.fetches) expect(to).toBeLessThanOrEqual(16 + 60 * (CHUNK + TABLE_BYTES));
    expect(rig.ahead.stats.heldBytes).toBe(0);
  });

  it("is bounded in number and bytes while nothing lands, for any number of readers", async () => {
    const rig = new Rig();
    const long = extentsOf(
      Array.from({ length: 40 }, () => 100),
      generation(1),
    );
    for (let chunk = 0; chunk < 4_000; chunk++) await rig.read(long, chunk);
    rig.answer = () => new Promise(() => undefined);
    for (let reader = 2; reader < 102; reader++) {
      const extents = extentsOf([200], generation(reader));
      for (const chunk of [0, 1]) await rig.read(extents, chunk);
    }
    expect(rig.ahead.stats.heldBytes).toBeGreaterThan(0);
    expect(rig.ahead.stats.heldBytes).toBeLessThanOrEqual(READ_AHEAD_BYTES_MAX);
    expect(rig.ahead.stats.windows).toBeLessThanOrEqual(READ_AHEAD_WINDOWS_MAX);
  });

  it("gives a reader nothing of a fetch that failed, and holds nothing of it", async () => {
    const rig = new Rig();
    const extents = extentsOf([600]);
    rig.answer = () => Promise.reject(new ObjectStoreError("missing", "the stream was deleted"));
    for (let chunk = 0; chunk < 100; chunk++) await rig.read(extents, chunk);
    expect(rig.fetches.length).toBeGreaterThan(0);
    expect(rig.taken).toBe(0);
    expect(rig.ahead.stats).toMatchObject({ windows: 0, heldBytes: 0 });
  });
});

describe("cold ranges that read ahead", () => {
  class Store extends MemoryObjectStore {
    spoilLarge = false;

    override async read(key: string, from: number, to: number): Promise<Uint8Array> {
      const bytes = await super.read(key, from, to);
      return this.spoilLarge && to - from > 2 * CHUNK ? bytes.map((byte) => byte ^ 1) : bytes;
    }
  }

  it("serves only what passes its checksum: a window with other bytes is fetched again as the range that was asked for", async () => {
    const store = new Store();
    const payload = new Uint8Array(CHUNK).map((_, index) => index & 0xff);
    const table = Uint8Array.from([1, 1, 0x80, 0x80, 0x04]);
    const sealed = new Uint8Array([...payload, ...table]);
    const block: Block = { payloadBytes: CHUNK, tableBytes: table.length, crc: crc32(sealed) };
    const count = 200;
    const whole = new Uint8Array(count * sealed.length);
    for (let index = 0; index < count; index++) whole.set(sealed, index * sealed.length);
    await store.create("object", whole.length, async function* () {
      yield whole;
    });
    const extent: ColdExtent = {
      stream: STREAM,
      start: position(0),
      end: position(count * CHUNK),
      object: "object",
      offset: 0,
      blocks: Array.from({ length: count }, () => block),
    };
    const ranges = new ColdRanges({
      store,
      crc: crc32,
      cache: null,
      chunkMemoryBytesMax: 0,
      readAheadChunkBytes: CHUNK,
      random: () => 0,
      sleep: () => Promise.resolve(),
    });
    for (let chunk = 0; chunk < count; chunk++) {
      store.spoilLarge = chunk >= 150;
      const [bytes] = await ranges.read(blocksOver(extent, chunk * CHUNK, (chunk + 1) * CHUNK), () => extent);
      expect(Buffer.compare(bytes!, payload)).toBe(0);
    }
    expect(ranges.stats.aheadTakenBytes).toBeGreaterThan(0);
    expect(ranges.stats.gets).toBeLessThan(count);
  });
});
