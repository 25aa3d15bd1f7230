import { MemoryObjectStore } from "@coldbrook/tiering";
import { describe, expect, test, vi } from "vitest";
import { claimPrefix } from "./claim.ts";

const [OURS, THEIRS] = ["0123456789abcdef", "fedcba9876543210"];

async function keysOf(store: MemoryObjectStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const key of store.list("")) keys.push(key);
  return keys;
}

describe("a bucket prefix", () => {
  test("is the first shard's that claims it, and stays so", async () => {
    const store = new MemoryObjectStore();
    await claimPrefix(store, OURS, false);
    await claimPrefix(store, OURS, false);
    await claimPrefix(store, OURS, true);
    expect((await keysOf(store)).length).toBe(1);
  });

  test("of another shard is refused, with both named", async () => {
    const store = new MemoryObjectStore();
    await claimPrefix(store, THEIRS, false);
    for (const mustBeOurs of [false, true]) {
      const claiming = claimPrefix(store, OURS, mustBeOurs);
      await expect(claiming).rejects.toThrow(
        new RegExp(`^memory: belongs to another server \\(shard ${THEIRS}; .*${OURS}`),
      );
    }
    await claimPrefix(store, THEIRS, true);
  });

  test("that two shards claim at once goes to one of them", async () => {
    const store = new MemoryObjectStore();
    const claims = await Promise.allSettled([claimPrefix(store, OURS, false), claimPrefix(store, THEIRS, false)]);
    expect(claims.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
  });

  test("that is empty although the data directory refers to objects in it is refused and left empty", async () => {
    const store = new MemoryObjectStore();
    await expect(claimPrefix(store, OURS, true)).rejects.toThrow("is --store the right one?");
    expect(await keysOf(store)).toEqual([]);
  });

  test("whose claim landed although its answer was lost is ours", async () => {
    const store = new MemoryObjectStore();
    const create = store.create.bind(store);
    vi.spyOn(store, "create").mockImplementation(async (key, bytes, body) => {
      await create(key, bytes, body);
      return "exists";
    });
    await claimPrefix(store, OURS, false);
  });
});
