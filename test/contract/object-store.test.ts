import type { ObjectStore } from "@coldbrook/core";
import { describe, expect, inject, test } from "vitest";
import { probeStore } from "../../packages/tiering/src/object-store/probe.ts";
import { adapters, bodyOf, bytesOf, put } from "./object-store-adapters.ts";

async function keysOf(store: ObjectStore, prefix: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const key of store.list(prefix)) keys.push(key);
  return keys;
}

describe.each(adapters(inject("s3")))("the object store port, on $adapter", ({ open }) => {
  test("gives back exactly what was created, whole and in ranges", async () => {
    await using opened = await open();
    const { store } = opened;
    const bytes = bytesOf(700_001);
    const chunks = [bytes.subarray(0, 1), new Uint8Array(0), bytes.subarray(1, 300_000), bytes.subarray(300_000)];
    expect(await store.create("objects/0001-0000.cbo", bytes.byteLength, bodyOf(...chunks))).toBe("created");
    expect(await store.size("objects/0001-0000.cbo")).toBe(bytes.byteLength);
    for (const [from, to] of [
      [0, 700_001],
      [0, 1],
      [700_000, 700_001],
      [262_143, 262_145],
      [5, 5],
    ] as const) {
      const got = await store.read("objects/0001-0000.cbo", from, to);
      expect(Buffer.compare(got, bytes.subarray(from, to))).toBe(0);
    }
  });

  test("a key that is taken keeps its first bytes", async () => {
    await using opened = await open();
    const { store } = opened;
    expect(await put(store, "k", bytesOf(10, 1))).toBe("created");
    expect(await put(store, "k", bytesOf(20, 2))).toBe("exists");
    expect(await store.size("k")).toBe(10);
    expect([...(await store.read("k", 0, 10))]).toEqual([...bytesOf(10, 1)]);
  });

  test("of many creates of one key at once, one wins and its bytes are there whole", async () => {
    await using opened = await open();
    const { store } = opened;
    const outcomes = await Promise.all(
      Array.from({ length: 8 }, (_, at) => put(store, "race", bytesOf(5_000, at + 1))),
    );
    const winner = outcomes.indexOf("created");
    expect(outcomes.filter((outcome) => outcome === "created")).toHaveLength(1);
    expect(Buffer.compare(await store.read("race", 0, 5_000), bytesOf(5_000, winner + 1))).toBe(0);
  });

  test("an empty object exists", async () => {
    await using opened = await open();
    const { store } = opened;
    expect(await store.create("empty", 0, bodyOf())).toBe("created");
    expect(await store.size("empty")).toBe(0);
    expect((await store.read("empty", 0, 0)).byteLength).toBe(0);
    expect(await store.create("empty", 0, bodyOf())).toBe("exists");
  });

  test.each([
    ["short", 9],
    ["long", 11],
  ])("a body that is too %s is an error and leaves nothing", async (_, given) => {
    await using opened = await open();
    const { store } = opened;
    await expect(store.create("k", 10, bodyOf(bytesOf(given)))).rejects.toMatchObject({ code: "short" });
    expect(await store.size("k")).toBeUndefined();
    expect(await keysOf(store, "")).toEqual([]);
    expect(await put(store, "k", bytesOf(10))).toBe("created");
  });

  test("an error of the body comes back as it was and leaves nothing", async () => {
    await using opened = await open();
    const { store } = opened;
    const error = new Error("the segment file is gone");
    const failing = async function* body(): AsyncGenerator<Uint8Array> {
      yield bytesOf(4);
      throw error;
    };
    await expect(store.create("k", 10, failing)).rejects.toBe(error);
    expect(await store.size("k")).toBeUndefined();
  });

  test("reads of what is not there say so", async () => {
    await using opened = await open();
    const { store } = opened;
    await put(store, "a/b", bytesOf(10));
    await expect(store.read("none", 0, 1)).rejects.toMatchObject({ code: "missing" });
    await expect(store.read("a", 0, 1)).rejects.toMatchObject({ code: "missing" });
    expect(await store.size("a")).toBeUndefined();
    expect(await store.size("a/b/c")).toBeUndefined();
    await expect(store.read("a/b", 5, 11)).rejects.toMatchObject({ code: "short" });
    await expect(store.read("a/b", 10, 11)).rejects.toMatchObject({ code: "short" });
    await expect(store.read("a/b", 3, 2)).rejects.toMatchObject({ code: "short" });
  });

  test("a removed key is free again, and removing nothing is no error", async () => {
    await using opened = await open();
    const { store } = opened;
    await store.remove("x/y");
    await put(store, "x/y", bytesOf(3, 1));
    await store.remove("x");
    expect(await store.size("x/y")).toBe(3);
    await store.remove("x/y");
    expect(await store.size("x/y")).toBeUndefined();
    expect(await put(store, "x/y", bytesOf(4, 2))).toBe("created");
  });

  test("lists keys below a prefix in lexicographic order, over directories", async () => {
    await using opened = await open();
    const { store } = opened;
    const keys = ["a-b", "a.b", "a/b", "a/c/d", "a0", "b/1", "objects/2", "objects/10", "objects-x"];
    for (const key of keys) await put(store, key, bytesOf(1));
    expect(await keysOf(store, "")).toEqual([...keys].sort());
    expect(await keysOf(store, "a/")).toEqual(["a/b", "a/c/d"]);
    expect(await keysOf(store, "objects")).toEqual(["objects-x", "objects/10", "objects/2"]);
    expect(await keysOf(store, "objects/1")).toEqual(["objects/10"]);
    expect(await keysOf(store, "none/")).toEqual([]);
  });

  test("no key reaches outside the store", async () => {
    await using opened = await open();
    const { store } = opened;
    for (const key of [
      "",
      "/etc/passwd",
      "../x",
      "a/../../x",
      "a//b",
      "a/",
      ".",
      "a/./b",
      "a\\b",
      "a\0b",
      "é",
      "~tmp/x",
    ]) {
      await expect(put(store, key, bytesOf(1)), key).rejects.toMatchObject({ code: "denied" });
      await expect(store.read(key, 0, 1), key).rejects.toMatchObject({ code: "denied" });
      await expect(store.size(key), key).rejects.toMatchObject({ code: "denied" });
      await expect(store.remove(key), key).rejects.toMatchObject({ code: "denied" });
    }
    await expect(keysOf(store, "../")).rejects.toMatchObject({ code: "denied" });
  });

  test("keeps every promise that the probe asks for, and keeps nothing of the probe", async () => {
    await using opened = await open();
    await probeStore(opened.store, { unique: "start-1" });
    await probeStore(opened.store, { unique: "start-2" });
    expect(await keysOf(opened.store, "")).toEqual([]);
  });
});
