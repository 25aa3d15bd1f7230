import { mkdir, mkdtemp, open, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { DirectoryObjectStore } from "./directory.ts";

let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "coldbrook-directory-"));
});

afterEach(async () => {
  await rm(root, { recursive: true });
});

async function* bodyOf(...chunks: string[]): AsyncGenerator<Uint8Array> {
  for (const chunk of chunks) yield new TextEncoder().encode(chunk);
}

test("opening sweeps what dead processes left half written, and nothing else", async () => {
  const dead = 2 ** 31 - 1;
  await mkdir(join(root, "~tmp"));
  // This process's own pid with another mark: a process before a restart in the same container.
  for (const name of [`${dead}_x_1`, `${process.pid}_x_1`, `${process.ppid}_x_1`]) {
    await writeFile(join(root, "~tmp", name), "half");
  }
  await writeFile(join(root, "kept"), "whole");
  const store = new DirectoryObjectStore({ root });
  await store.open();
  expect(await readdir(join(root, "~tmp"))).toEqual([`${process.ppid}_x_1`]);
  expect(await store.size("kept")).toBe(5);
});

test("a second store on the same directory does not sweep a create under way", async () => {
  const store = new DirectoryObjectStore({ root });
  const other = new DirectoryObjectStore({ root });
  const outcome = await store.create("a/b", 2, async function* body() {
    yield* bodyOf("x");
    await other.open();
    yield* bodyOf("y");
  });
  expect(outcome).toBe("created");
  expect(await other.size("a/b")).toBe(2);
  expect(await readdir(join(root, "~tmp"))).toEqual([]);
});

test("no temp file stays behind, whether a create ends well or not", async () => {
  const store = new DirectoryObjectStore({ root });
  expect(await store.create("k", 1, () => bodyOf("a"))).toBe("created");
  expect(await store.create("k", 1, () => bodyOf("b"))).toBe("exists");
  await expect(store.create("l", 2, () => bodyOf("a"))).rejects.toMatchObject({ code: "short" });
  expect(await readdir(join(root, "~tmp"))).toEqual([]);
  expect(await readdir(root)).toEqual(["k", "~tmp"]);
});

test("a key that would need a file to be a directory is refused", async () => {
  const store = new DirectoryObjectStore({ root });
  await store.create("a", 1, () => bodyOf("a"));
  await store.create("b/c", 1, () => bodyOf("a"));
  await expect(store.create("a/b", 1, () => bodyOf("b"))).rejects.toMatchObject({ code: "denied" });
  await expect(store.create("b", 1, () => bodyOf("b"))).rejects.toMatchObject({ code: "denied" });
});

test("a root that cannot be a directory is refused", async () => {
  await writeFile(join(root, "file"), "");
  const store = new DirectoryObjectStore({ root: join(root, "file") });
  await expect(store.open()).rejects.toMatchObject({ code: "denied" });
  await expect(store.size("k")).rejects.toMatchObject({ code: "denied" });
});

test("a store whose directory went away is unavailable, and none of its objects is taken for missing", async () => {
  const store = new DirectoryObjectStore({ root });
  expect(await store.create("a/b", 1, () => bodyOf("x"))).toBe("created");
  await rm(root, { recursive: true });
  await writeFile(root, "not a directory");
  await expect(store.read("a/b", 0, 1)).rejects.toMatchObject({ code: "unavailable" });
  await expect(store.size("a/b")).rejects.toMatchObject({ code: "unavailable" });
});

/** Syncs of directories from the one of that number on, counted from 0, fail once. */
async function failSync(number: number): Promise<void> {
  const handle = await open(root, "r");
  const prototype = Object.getPrototypeOf(handle) as { sync: () => Promise<void> };
  await handle.close();
  const { sync } = prototype;
  let count = 0;
  vi.spyOn(prototype, "sync").mockImplementation(async function failing(this: { stat: typeof handle.stat }) {
    const isDirectory = (await this.stat()).isDirectory();
    if (isDirectory && count++ === number) throw Object.assign(new Error("EIO"), { code: "EIO" });
    await sync.call(this);
  });
}

test("a new object's directory whose name failed to sync takes nothing: the next sync would say nothing of it", async () => {
  const store = new DirectoryObjectStore({ root });
  await store.open();
  await failSync(0);
  const denied = { code: "denied", message: expect.stringContaining("could not be synced") as string };
  await expect(store.create("a/b", 1, () => bodyOf("x"))).rejects.toMatchObject(denied);
  await expect(store.create("a/b", 1, () => bodyOf("x"))).rejects.toMatchObject(denied);
  vi.restoreAllMocks();
});

test("a store whose own name failed to sync takes nothing", async () => {
  const store = new DirectoryObjectStore({ root: join(root, "new") });
  await failSync(1);
  await expect(store.open()).rejects.toMatchObject({ code: "denied" });
  await expect(store.create("a", 1, () => bodyOf("x"))).rejects.toMatchObject({ code: "denied" });
  vi.restoreAllMocks();
});
