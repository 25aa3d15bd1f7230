import fs from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { temporaryDirectory, until } from "../test-support/shard.ts";
import { openDataDir } from "./data-dir.ts";

/** What the world does while a starter watches a lock. */
const whileWatching = vi.hoisted(() => ({ run: (): void => undefined, count: 0 }));

vi.mock("node:timers/promises", async (load) => ({
  ...(await load<typeof import("node:timers/promises")>()),
  setTimeout: (): Promise<void> => {
    whileWatching.count += 1;
    whileWatching.run();
    return Promise.resolve();
  },
}));

beforeEach(() => {
  whileWatching.run = () => undefined;
  whileWatching.count = 0;
});
afterEach(() => vi.useRealTimers());

/** A lock as a process of another pid namespace leaves it; its pid means something else here. */
function lockOfElsewhere(root: string, pid: number): string {
  const file = path.join(root, "lock");
  fs.mkdirSync(root, { recursive: true });
  fs.writeFileSync(file, JSON.stringify({ pid, startedAt: "1", realm: "another-boot pid:[1]" }));
  const longAgo = new Date(1_000_000);
  fs.utimesSync(file, longAgo, longAgo);
  return file;
}

test.each([
  ["is a live one here", process.pid],
  ["is nobody's here", 2 ** 22 + 1],
])("a lock from another pid namespace that is touched is held, though its pid %s", async (_, pid) => {
  await using directory = await temporaryDirectory();
  const file = lockOfElsewhere(directory.path, pid);
  const before = fs.readFileSync(file);
  whileWatching.run = () => fs.utimesSync(file, new Date(2_000_000), new Date(2_000_000));
  await expect(openDataDir(directory.path)).rejects.toThrow(`is in use by process ${pid}`);
  expect(fs.readFileSync(file)).toEqual(before);
  expect(fs.readdirSync(directory.path).sort()).toEqual(["lock", "wal"]);
});

test.each([
  ["is a live one here", process.pid],
  ["is nobody's here", 2 ** 22 + 1],
])("a lock from another pid namespace that nobody touches is taken over, though its pid %s", async (_, pid) => {
  await using directory = await temporaryDirectory();
  const file = lockOfElsewhere(directory.path, pid);
  const { release } = await openDataDir(directory.path);
  expect(JSON.parse(fs.readFileSync(file, "utf8"))).toMatchObject({ pid: process.pid });
  expect(whileWatching.count).toBe(1);
  release();
  expect(fs.existsSync(file)).toBe(false);
});

test("a lock from another pid namespace that its holder gives up meanwhile is taken", async () => {
  await using directory = await temporaryDirectory();
  const file = lockOfElsewhere(directory.path, 7);
  whileWatching.run = () => fs.rmSync(file);
  const { release } = await openDataDir(directory.path);
  expect(JSON.parse(fs.readFileSync(file, "utf8"))).toMatchObject({ pid: process.pid });
  release();
});

test("a live process of our own namespace holds its lock without being watched", async () => {
  await using directory = await temporaryDirectory();
  const { release } = await openDataDir(directory.path);
  await expect(openDataDir(directory.path)).rejects.toThrow(`is in use by process ${process.pid}`);
  expect(whileWatching.count).toBe(0);
  release();
  (await openDataDir(directory.path)).release();
});

test("a holder touches its lock until it releases it", async () => {
  await using directory = await temporaryDirectory();
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  const { release } = await openDataDir(directory.path);
  const file = path.join(directory.path, "lock");
  const longAgo = new Date(1_000_000);
  const touched = (): boolean => fs.statSync(file).mtimeMs > longAgo.getTime();
  for (let beat = 0; beat < 2; beat++) {
    fs.utimesSync(file, longAgo, longAgo);
    vi.advanceTimersByTime(2_000);
    await until(touched);
  }
  release();
  expect(vi.getTimerCount()).toBe(0);
});
