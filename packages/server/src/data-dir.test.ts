import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import { describe, expect, test, vi } from "vitest";
import { temporaryDirectory } from "../test-support/shard.ts";
import { openDataDir } from "./data-dir.ts";

/** What happens while a starter watches a lock: no test waits for that long. */
let whileWatching: () => void = () => undefined;
vi.mock("node:timers/promises", async (original) => ({
  ...(await original()),
  setTimeout: async (): Promise<void> => whileWatching(),
}));

async function messageOf(opening: Promise<{ release: () => void }>): Promise<string> {
  return opening.then(
    ({ release }) => {
      release();
      return "opened";
    },
    (error: Error) => error.message,
  );
}

/** The lock that this process writes, to be changed. */
async function lockOf(root: string): Promise<{ pid: number; startedAt: string | null }> {
  const { release } = await openDataDir(root);
  const lock = JSON.parse(fs.readFileSync(path.join(root, "lock"), "utf8")) as {
    pid: number;
    startedAt: string | null;
  };
  release();
  return lock;
}

function leave(root: string, lock: unknown): void {
  fs.writeFileSync(path.join(root, "lock"), typeof lock === "string" ? lock : JSON.stringify(lock));
}

const onLinux = fs.existsSync("/proc/self/stat");

describe("the lock of a data directory", () => {
  test("keeps a second one out and names the process, the file and what to do", async () => {
    await using root = await temporaryDirectory();
    const first = await openDataDir(root.path);
    const message = await messageOf(openDataDir(root.path));
    expect(message).toContain(`in use by process ${process.pid} `);
    expect(message).toContain(path.join(root.path, "lock"));
    expect(message).toContain("--data-dir");
    first.release();
    expect(await messageOf(openDataDir(root.path))).toBe("opened");
    expect(fs.readdirSync(root.path).sort()).toEqual(["shard.json", "wal"]);
  });

  test("of two openings at once lets one through", async () => {
    await using root = await temporaryDirectory();
    const opened = await Promise.allSettled(Array.from({ length: 5 }, () => openDataDir(root.path)));
    expect(opened.filter(({ status }) => status === "fulfilled").length).toBe(1);
    for (const result of opened) if (result.status === "fulfilled") result.value.release();
  });

  test("of a process that has ended is taken over", async () => {
    await using root = await temporaryDirectory();
    const lock = await lockOf(root.path);
    leave(root.path, { ...lock, pid: spawnSync(process.execPath, ["--version"]).pid, startedAt: "1" });
    expect(await messageOf(openDataDir(root.path))).toBe("opened");
  });

  test("of a process that lives is not taken over", async () => {
    await using root = await temporaryDirectory();
    const lock = await lockOf(root.path);
    const child = spawn("sleep", ["60"]);
    await once(child, "spawn");
    leave(root.path, { ...lock, pid: child.pid, startedAt: null });
    expect(await messageOf(openDataDir(root.path))).toContain(`in use by process ${child.pid} `);
    child.kill("SIGKILL");
    await once(child, "exit");
    expect(await messageOf(openDataDir(root.path))).toBe("opened");
  });

  test.skipIf(!onLinux)("whose pid another process has by now is taken over", async () => {
    await using root = await temporaryDirectory();
    const lock = await lockOf(root.path);
    expect(lock.startedAt).toMatch(/^\d+$/);
    leave(root.path, lock);
    expect(await messageOf(openDataDir(root.path))).toContain(`process ${process.pid}`);
    leave(root.path, { ...lock, startedAt: `${Number(lock.startedAt) - 1}` });
    expect(await messageOf(openDataDir(root.path))).toBe("opened");
  });

  test.each(["", "{", "null", '{"pid":"1"}', "[]"])(
    "that was cut short by a crash (%j) is taken over",
    async (text) => {
      await using root = await temporaryDirectory();
      leave(root.path, text);
      expect(await messageOf(openDataDir(root.path))).toBe("opened");
    },
  );

  test.skipIf(!onLinux)("from another container is taken over unless it is touched meanwhile", async () => {
    await using root = await temporaryDirectory();
    const lock = await lockOf(root.path);
    const foreign = { ...lock, pid: 1, realm: "another-boot pid:[1]" };
    leave(root.path, foreign);
    whileWatching = (): void => fs.utimesSync(path.join(root.path, "lock"), 1, 1);
    expect(await messageOf(openDataDir(root.path))).toContain("in use by process 1 ");
    whileWatching = (): void => undefined;
    expect(await messageOf(openDataDir(root.path))).toBe("opened");
  });
});

describe("the identity of a data directory", () => {
  test("is made once and kept", async () => {
    await using root = await temporaryDirectory();
    const first = await openDataDir(root.path);
    first.release();
    const second = await openDataDir(root.path);
    second.release();
    expect(first.shard).toMatch(/^[0-9a-f]{16}$/);
    expect([first.isNew, second.isNew, second.shard]).toEqual([true, false, first.shard]);
  });

  test("that is damaged stops the start, frees the lock, and is left as it is", async () => {
    await using root = await temporaryDirectory();
    const file = path.join(root.path, "shard.json");
    const good = await openDataDir(root.path).then(({ release }) => {
      release();
      return fs.readFileSync(file, "utf8");
    });
    const bad = [
      good.slice(0, -1),
      "",
      good.replace("1,", "2,"),
      good.toUpperCase(),
      `${good}\n`,
      good.replace(/"[0-9a-f]{16}"/, '"0"'),
    ];
    for (const text of bad) {
      fs.writeFileSync(file, text);
      expect(await messageOf(openDataDir(root.path))).toContain(`${file} is damaged`);
      expect(fs.readFileSync(file, "utf8")).toBe(text);
      expect(fs.existsSync(path.join(root.path, "lock"))).toBe(false);
    }
    fs.writeFileSync(file, good);
    expect(await messageOf(openDataDir(root.path))).toBe("opened");
  });

  test("that is missing beside WAL segments is not made anew", async () => {
    await using root = await temporaryDirectory();
    fs.mkdirSync(path.join(root.path, "wal"));
    fs.writeFileSync(path.join(root.path, "wal", "0000000000000000.wal"), "");
    expect(await messageOf(openDataDir(root.path))).toContain("shard.json is missing");
    expect(fs.readdirSync(root.path)).toEqual(["wal"]);
  });
});

/** Names of the directories that are synced while `act` runs. */
async function syncedDuring(act: () => Promise<unknown>): Promise<string[]> {
  const names = new Map<number, string>();
  const synced: string[] = [];
  const { openSync, fsyncSync } = fs;
  const spies = [
    vi.spyOn(fs, "openSync").mockImplementation((file, ...more) => {
      const fd = openSync(file, ...more);
      names.set(fd, String(file));
      return fd;
    }),
    vi.spyOn(fs, "fsyncSync").mockImplementation((fd) => {
      fsyncSync(fd);
      synced.push(names.get(fd) ?? "?");
    }),
  ];
  try {
    await act();
    return synced;
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}

/** Each write takes this many bytes at most, as on a disk that is nearly full. */
async function withShortWrites(bytesMax: number, act: () => Promise<unknown>): Promise<void> {
  const { writeSync } = fs;
  const short = vi.spyOn(fs, "writeSync").mockImplementation(((
    fd: number,
    data: string | Uint8Array,
    from?: number,
  ) => {
    const bytes = Buffer.from(data);
    return writeSync(fd, bytes, from ?? 0, Math.min(bytesMax, bytes.length - (from ?? 0)));
  }) as typeof fs.writeSync);
  try {
    await act();
  } finally {
    short.mockRestore();
  }
}

test("an identity is written whole where a write stops short", async () => {
  await using root = await temporaryDirectory();
  await withShortWrites(9, async () => (await openDataDir(root.path)).release());
  expect(await messageOf(openDataDir(root.path))).toBe("opened");
});

describe("the names of a data directory", () => {
  test("are durable up to the root before anything is kept in a new one", async () => {
    await using parent = await temporaryDirectory();
    const root = path.join(parent.path, "made", "here");
    const synced = await syncedDuring(async () => (await openDataDir(root)).release());
    const id = synced.indexOf(path.join(root, "shard.json.new"));
    const above = [path.join(parent.path, "made"), parent.path, path.dirname(parent.path), "/"];
    expect(synced.slice(0, id)).toEqual(above);
    expect(synced.at(-1)).toBe(root);
  });

  test("are synced again by the next start, which cannot know how the one before it ended", async () => {
    await using root = await temporaryDirectory();
    (await openDataDir(root.path)).release();
    expect(await syncedDuring(async () => (await openDataDir(root.path)).release())).toEqual([root.path]);
  });
});
