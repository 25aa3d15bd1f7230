import { ObjectStoreError, type ObjectStore } from "@coldbrook/core";
import { describe, expect, it } from "vitest";
import { Collector } from "./collector.ts";
import { MemoryObjectStore } from "./object-store/memory.ts";

async function storeWith(keys: Iterable<string>): Promise<MemoryObjectStore> {
  const store = new MemoryObjectStore();
  for (const key of keys) {
    await store.create(key, 1, async function* () {
      yield new Uint8Array(1);
    });
  }
  return store;
}

function collector(store: ObjectStore, due: Set<string>, warnings: string[]): Collector {
  return new Collector({
    store,
    due: (_nowMs, limit) => [...due].slice(0, limit),
    forget: async (keys) => {
      for (const key of keys) due.delete(key);
    },
    log: { warn: (_facts, message) => void warnings.push(message) },
  });
}

async function listed(store: ObjectStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const key of store.list("")) keys.push(key);
  return keys;
}

const names = (count: number): string[] => Array.from({ length: count }, (_, index) => `objects/${index}`);

describe("Collector", () => {
  it("deletes all that is due, batch after batch, and forgets it", async () => {
    const store = await storeWith(["objects/kept", ...names(600)]);
    const due = new Set(names(600));
    expect(await collector(store, due, []).sweep(1)).toBe(600);
    expect(due.size).toBe(0);
    expect(await listed(store)).toEqual(["objects/kept"]);
  });

  it("an object that is gone already is forgotten all the same", async () => {
    const due = new Set(["objects/a"]);
    await collector(new MemoryObjectStore(), due, []).sweep(1);
    expect(due.size).toBe(0);
  });

  it("what a failing store does not delete stays due for the next sweep", async () => {
    const store = await storeWith(names(10));
    const remove = store.remove.bind(store);
    let failing = true;
    store.remove = async (key) => {
      if (failing && key >= "objects/5") throw new ObjectStoreError("unavailable", "no route");
      await remove(key);
    };
    const due = new Set(names(10));
    const warnings: string[] = [];
    const swept = collector(store, due, warnings);
    expect(await swept.sweep(1)).toBe(5);
    expect(warnings).toHaveLength(1);
    expect([...due].sort()).toEqual(names(10).slice(5));
    failing = false;
    expect(await swept.sweep(2)).toBe(5);
    expect(await listed(store)).toEqual([]);
  });

  it("sweeps that overlap are one", async () => {
    const store = await storeWith(names(3));
    const swept = collector(store, new Set(names(3)), []);
    expect(await Promise.all([swept.sweep(1), swept.sweep(1)])).toEqual([3, 3]);
  });
});
