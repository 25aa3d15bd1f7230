import { ObjectStoreError, type ObjectStore } from "@coldbrook/core";
import { expect, test } from "vitest";
import { MemoryObjectStore } from "./memory.ts";
import { probeStore } from "./probe.ts";

const KEY = "probe/start";

async function leftovers(store: ObjectStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const key of store.list("")) keys.push(key);
  return keys;
}

class Overwriting extends MemoryObjectStore {
  override async create(...[key, bytes, body]: Parameters<MemoryObjectStore["create"]>): Promise<"created" | "exists"> {
    await super.remove(key);
    return await super.create(key, bytes, body);
  }
}

/** Says "exists" as it should, with the second bytes in place. */
class Lying extends Overwriting {
  #seen = false;
  override async create(...args: Parameters<MemoryObjectStore["create"]>): Promise<"created" | "exists"> {
    const outcome = await super.create(...args);
    const again = this.#seen;
    this.#seen = true;
    return again ? "exists" : outcome;
  }
}

class FromTheStart extends MemoryObjectStore {
  override async read(key: string, from: number, to: number): Promise<Uint8Array> {
    return await super.read(key, 0, to - from);
  }
}

class Keeping extends MemoryObjectStore {
  override async remove(): Promise<void> {}
}

class ReadOnly extends MemoryObjectStore {
  override async create(): Promise<"created" | "exists"> {
    throw new ObjectStoreError("denied", "AccessDenied (HTTP 403)");
  }
}

test.each([
  { store: new Overwriting(), promise: "does not refuse a key that is taken" },
  { store: new Lying(), promise: "does not keep the first bytes of a key" },
  { store: new FromTheStart(), promise: "does not answer a range with that range" },
  { store: new ReadOnly(), promise: "does not accept a write: AccessDenied" },
])("a store that $promise is refused by name, and left clean", async ({ store, promise }) => {
  await expect(probeStore(store, { unique: "start" })).rejects.toThrow(`memory: ${promise}`);
  expect(await leftovers(store)).toEqual([]);
});

test("a store that does not remove is refused", async () => {
  await expect(probeStore(new Keeping(), { unique: "start" })).rejects.toThrow("does not remove an object");
});

test("the first create may find its own lost attempt, but not other bytes", async () => {
  const store = new MemoryObjectStore();
  const own = new TextEncoder().encode("first of start");
  await store.create(KEY, own.byteLength, async function* body() {
    yield own;
  });
  await probeStore(store, { unique: "start" });
  expect(await leftovers(store)).toEqual([]);
  await store.create(KEY, own.byteLength, async function* body() {
    yield new Uint8Array(own.byteLength);
  });
  await expect(probeStore(store, { unique: "start" })).rejects.toThrow("give back what was written");
});
