import { open, type Key } from "lmdb";
import {
  generation,
  lsn,
  newStreamState,
  position,
  StreamError,
  type ColdExtent,
  type StreamState,
} from "@coldbrook/core";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../test-support/shard.ts";
import { Catalog } from "./catalog.ts";
import { recordedSize } from "./environment-lmdb.ts";

const [ONE, TWO] = [generation(1), generation(2)];

function stateOf(id: number, path: string, more: Partial<StreamState> = {}): StreamState {
  const config = { contentType: "application/json", ttlSeconds: 60, expiresAtMs: null };
  const lineage = [{ generation: generation(id), first: position(0), source: null }];
  const identity = { id: generation(id), path, config, createdAtMs: 5, lineage };
  const fresh = newStreamState({ identity, tail: position(77), closed: true, touchedAtMs: 9, lsn: lsn(400) });
  return { ...fresh, closedBy: { id: "p", epoch: 1, seq: 2 }, streamSeq: "\u00ff7", ...more };
}

function extentOf(stream: number, start: number, end: number): ColdExtent {
  return {
    stream: generation(stream),
    start: position(start),
    end: position(end),
    object: "objects/0000000000000000-0000.cbo",
    offset: 16,
    blocks: [{ payloadBytes: end - start, tableBytes: 2, crc: 0xdeadbeef }],
  };
}

async function withCatalog(run: (catalog: Catalog, directory: string) => Promise<void>): Promise<void> {
  await using directory = await temporaryDirectory();
  const catalog = Catalog.open(directory.path);
  try {
    await run(catalog, directory.path);
  } finally {
    await catalog.close();
  }
}

describe("each key kind gives back what was put, after a reopening too", () => {
  test("stream states by id, and ids by name", async () => {
    await using directory = await temporaryDirectory();
    const states = [stateOf(1, "a"), stateOf(2, "b/%C3%BC", { closed: false, closedBy: null, streamSeq: null })];
    const first = Catalog.open(directory.path);
    await first.batch(() => states.forEach((state) => first.streams.put(state, true)));
    await first.flushed();
    await first.close();
    const catalog = Catalog.open(directory.path);
    expect([...catalog.streams.all()]).toEqual(states);
    expect([...catalog.streams.ids()]).toEqual([1, 2]);
    expect([...catalog.streams.paths()]).toEqual(["a", "b/%C3%BC"]);
    expect([catalog.streams.find("a"), catalog.streams.find("b/%C3%BC"), catalog.streams.find("c")]).toEqual([
      1,
      2,
      undefined,
    ]);
    expect(catalog.streams.newest()).toBe(2);
    await catalog.close();
  });

  test("producers of one stream, whatever their ids look like, apart from another stream's", () =>
    withCatalog(async (catalog) => {
      const ids = ["p", "", "__proto__", "ü".repeat(128), "p\u0000q"].filter((id) => id !== "");
      await catalog.batch(() => {
        for (const [i, id] of ids.entries()) catalog.producers.put(ONE, id, { epoch: i, seq: 2 ** 53 - 1 }, lsn(7));
        catalog.producers.put(TWO, "p", { epoch: 9, seq: 9 }, lsn(8));
      });
      expect(ids.map((id) => catalog.producers.load(ONE, id))).toMatchObject(
        ids.map((_, epoch) => ({ epoch, seq: 2 ** 53 - 1 })),
      );
      expect(catalog.producers.load(TWO, "p")).toMatchObject({ epoch: 9, seq: 9 });
      expect(catalog.producers.load(TWO, "__proto__")).toBeUndefined();
      expect(catalog.producers.some(ONE, 99).sort()).toEqual([...ids].sort());
      expect(catalog.producers.some(ONE, 2).length).toBe(2);
      await catalog.batch(() => ids.forEach((id) => catalog.producers.remove(ONE, id)));
      expect([...catalog.producers.all()]).toEqual([{ stream: 2, id: "p" }]);
    }));

  test("extents, and their starts in order", () =>
    withCatalog(async (catalog) => {
      const extents = [extentOf(1, 0, 100), extentOf(1, 100, 2 ** 40), extentOf(2, 0, 5), extentOf(2 ** 40, 0, 9)];
      await catalog.batch(() => extents.toReversed().forEach((extent) => catalog.extents.put(extent)));
      expect(extents.map(({ stream, start }) => catalog.extents.load(stream, start))).toEqual(extents);
      expect([...catalog.extents.keys()]).toEqual(extents.map(({ stream, start }) => ({ stream, start })));
      expect(catalog.extents.starts(ONE, 9)).toEqual([0, 100]);
      expect(catalog.extents.starts(ONE, 1)).toEqual([0]);
      await catalog.batch(() => catalog.extents.remove(ONE, position(0)));
      expect(catalog.extents.load(ONE, position(0))).toBeUndefined();
    }));

  test("object counts, and the queue of the dead in order of their death", () =>
    withCatalog(async (catalog) => {
      const put = async (key: string, live: number, nowMs: number): Promise<void> => {
        const before = catalog.objects.load(key);
        await catalog.batch(() => catalog.objects.put(key, before, 10, live, nowMs));
      };
      await put("b", 0, 20);
      await put("a", 0, 30);
      await put("c", 1, 5);
      expect(catalog.objects.load("b")).toEqual({ bytes: 10, liveExtents: 0, deadAtMs: 20 });
      expect(catalog.objects.load("c")).toEqual({ bytes: 10, liveExtents: 1, deadAtMs: null });
      expect([19, 20, 30].map((now) => catalog.objects.due(now, 9))).toEqual([[], ["b"], ["b", "a"]]);
      expect(catalog.objects.due(30, 1)).toEqual(["b"]);
      await put("b", 2, 40);
      expect(catalog.objects.due(99, 9)).toEqual(["a"]);
      await put("b", 0, 50);
      const count = catalog.objects.load("a")!;
      await catalog.batch(() => catalog.objects.forget("a", count));
      expect(catalog.objects.due(99, 9)).toEqual(["b"]);
      expect([...catalog.objects.keys()]).toEqual(["b", "c"]);
    }));

  test("reminders come due in order of time", () =>
    withCatalog(async (catalog) => {
      const reminders = [30, 10, 20, 10].map((atMs, i) => ({ atMs, stream: generation(i + 1) }));
      await catalog.batch(() => reminders.forEach((reminder) => catalog.expiry.put(reminder)));
      expect(catalog.expiry.due(9, 9)).toEqual([]);
      expect(catalog.expiry.due(20, 9).map(({ stream }) => stream)).toEqual([2, 4, 3]);
      expect(catalog.expiry.due(99, 2).map(({ stream }) => stream)).toEqual([2, 4]);
      await catalog.batch(() => catalog.expiry.remove(reminders[1]!));
      expect(catalog.expiry.due(20, 9).map(({ stream }) => stream)).toEqual([4, 3]);
    }));

  test("deleted streams, and the named numbers", () =>
    withCatalog(async (catalog) => {
      await catalog.batch(() => {
        for (const id of [3, 1, 2]) catalog.deleted.put(generation(id));
        catalog.setMeta("generation", 2 ** 53 - 1);
      });
      await catalog.batch(() => catalog.deleted.remove(TWO));
      expect(catalog.deleted.some(9)).toEqual([1, 3]);
      expect(catalog.deleted.some(1)).toEqual([1]);
      expect([catalog.meta("generation"), catalog.meta("rolledLsn")]).toEqual([2 ** 53 - 1, undefined]);
    }));
});

describe("the extent that holds a byte", () => {
  test("is found at its first and last byte, not past them, and never in another stream", () =>
    withCatalog(async (catalog) => {
      const [low, high, other] = [extentOf(2, 10, 20), extentOf(2, 30, 40), extentOf(1, 0, 1_000)];
      await catalog.batch(() => [low, high, other, extentOf(3, 0, 9)].forEach((extent) => catalog.extents.put(extent)));
      const starts = [0, 9, 10, 15, 19, 20, 29, 30, 39, 40, 2 ** 53 - 1].map(
        (at) => catalog.extents.find(TWO, at)?.start,
      );
      const none = undefined;
      expect(starts).toEqual([none, none, 10, 10, 10, none, none, 30, 30, none, none]);
      expect(catalog.extents.find(generation(4), 0)).toBeUndefined();
    }));

  test("changes with a new commit", () =>
    withCatalog(async (catalog) => {
      await catalog.batch(() => catalog.extents.put(extentOf(1, 0, 10)));
      expect(catalog.extents.find(ONE, 0)!.end).toBe(10);
      await catalog.batch(() => catalog.extents.put(extentOf(1, 0, 20)));
      expect(catalog.extents.find(ONE, 15)?.end).toBe(20);
      await catalog.batch(() => catalog.extents.remove(ONE, position(0)));
      expect(catalog.extents.find(ONE, 15)).toBeUndefined();
    }));
});

test("a stream that is deleted loses its name, but not to a newer stream of that name", () =>
  withCatalog(async (catalog) => {
    await catalog.batch(() => catalog.streams.put(stateOf(1, "a"), true));
    await catalog.batch(() => {
      catalog.streams.put(stateOf(1, "a", { deleted: true }), false);
      catalog.streams.put(stateOf(2, "a"), true);
    });
    expect(catalog.streams.find("a")).toBe(2);
    await catalog.batch(() => catalog.streams.put(stateOf(1, "a", { deleted: true }), false));
    expect(catalog.streams.find("a")).toBe(2);
    await catalog.batch(() => catalog.streams.put(stateOf(2, "a", { deleted: true }), false));
    expect(catalog.streams.find("a")).toBeUndefined();
    expect(catalog.streams.load(TWO)!.deleted).toBe(true);
  }));

describe("a flipped byte", () => {
  const kinds: readonly (readonly [store: string, key: Key, name: string, read: (catalog: Catalog) => unknown])[] = [
    ["streams", 1, "stream 1", (catalog) => catalog.streams.load(ONE)],
    ["paths", "a", 'path "a"', (catalog) => catalog.streams.find("a")],
    ["producers", [1, "p"], 'producer "p" of stream 1', (catalog) => catalog.producers.load(ONE, "p")],
    ["extents", [1, 0], "extent 0 of stream 1", (catalog) => catalog.extents.find(ONE, 3)],
    ["objects", "o", "object o", (catalog) => catalog.objects.load("o")],
    ["meta", "appliedLsn", "appliedLsn", (catalog) => catalog.meta("appliedLsn")],
  ];

  test.each(kinds)(
    "anywhere in a value of %s is a corrupt-catalog fault that names it",
    async (store, key, name, read) => {
      await using directory = await temporaryDirectory();
      const made = Catalog.open(directory.path);
      await made.batch(() => {
        made.streams.put(stateOf(1, "a"), true);
        made.producers.put(ONE, "p", { epoch: 3, seq: 4 }, lsn(5));
        made.extents.put(extentOf(1, 0, 10));
        made.objects.put("o", undefined, 10, 1, 5);
        made.setMeta("appliedLsn", 12_345);
      });
      await made.close();
      const raw = open<Uint8Array, string>({ path: directory.path, encoding: "binary", maxDbs: 16 });
      const values = raw.openDB<Uint8Array, Key>({ name: store, encoding: "binary" });
      const good = Buffer.from(values.get(key)!);
      const catalog = Catalog.open(directory.path);
      expect(read(catalog)).toBeDefined();
      await catalog.close();
      for (let at = 0; at < good.length; at++) {
        const bad = Buffer.from(good);
        bad[at]! ^= 1 << (at % 8);
        await values.put(key, bad);
        const damaged = Catalog.open(directory.path);
        const fault = ((): unknown => {
          try {
            return read(damaged);
          } catch (error) {
            return error;
          }
        })();
        if (!(fault instanceof StreamError)) throw new Error(`byte ${at} of ${name}: ${JSON.stringify(fault)}`);
        expect(fault.code).toBe("corrupt-catalog");
        expect(fault.message).toContain(name);
        await damaged.close();
      }
      await raw.close();
    },
  );

  test("or a value under another key is no value", async () => {
    await using directory = await temporaryDirectory();
    const made = Catalog.open(directory.path);
    await made.batch(() => {
      made.streams.put(stateOf(1, "a"), true);
      made.extents.put(extentOf(1, 0, 10));
    });
    await made.close();
    const raw = open<Uint8Array, string>({ path: directory.path, encoding: "binary", maxDbs: 16 });
    const states = raw.openDB<Uint8Array, Key>({ name: "streams", encoding: "binary" });
    await states.put(2, Buffer.from(states.get(1)!));
    const extents = raw.openDB<Uint8Array, Key>({ name: "extents", encoding: "binary" });
    await extents.put([2, 0], Buffer.from(extents.get([1, 0])!));
    const catalog = Catalog.open(directory.path);
    expect(() => catalog.streams.load(TWO)).toThrow("stream 2 holds stream 1");
    expect(() => catalog.extents.find(TWO, 0)).toThrow("extent 0 of stream 2");
    await catalog.close();
    await raw.close();
  });
});

test("the recorded size is the file's, and a size file that makes no sense says nothing", () =>
  withCatalog(async (catalog, directory) => {
    expect(recordedSize(directory)).toBeNull();
    await catalog.batch(() => catalog.setMeta("version", 1));
    catalog.recordSize();
    const fs = await import("node:fs");
    expect(recordedSize(directory)).toBe(fs.statSync(`${directory}/data.mdb`).size);
    fs.writeFileSync(`${directory}/size`, "12x");
    expect(recordedSize(directory)).toBeNull();
  }));
