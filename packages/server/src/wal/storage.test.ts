import fs from "node:fs";
import { generation, lsn, position, StreamError, type Frame } from "@coldbrook/core";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../test-support/shard.ts";
import { GroupCommit, type CommittedFrame } from "./group-commit.ts";
import type { SegmentFile, WalStorage } from "./storage.ts";
import { DirectoryWalStorage } from "./storage-directory.ts";
import { MemoryWalStorage } from "./storage-memory.ts";

const HEADER = Buffer.from("the header of a segment");
const BASE = lsn(4_096);

async function withDirectory(run: (storage: WalStorage) => Promise<void>): Promise<void> {
  await using directory = await temporaryDirectory();
  await run(new DirectoryWalStorage(directory.path));
}

const ADAPTERS: { name: string; using: typeof withDirectory }[] = [
  { name: "a directory", using: withDirectory },
  { name: "memory", using: (run) => run(new MemoryWalStorage()) },
];

function write(file: SegmentFile, buffers: readonly Uint8Array[], at: number): Promise<void> {
  const bytes = buffers.reduce((sum, buffer) => sum + buffer.length, 0);
  return new Promise((resolve, reject) => {
    file.write(buffers, bytes, at, (error) => (error === null ? resolve() : reject(error)));
  });
}

function read(file: SegmentFile, at: number, bytes: number): Promise<Buffer> {
  const into = Buffer.alloc(bytes);
  return new Promise((resolve, reject) => {
    file.read(into, at, (error) => (error === null ? resolve(into) : reject(error)));
  });
}

function patterned(bytes: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: bytes }, (_, at) => (at * 7 + (at >>> 8)) & 0xff));
}

for (const { name, using } of ADAPTERS) {
  describe(`WAL segments in ${name}`, () => {
    test("a new one holds its header, and is listed in order of base", () =>
      using(async (storage) => {
        const later = storage.create(lsn(9_000), HEADER, false);
        const first = storage.create(BASE, HEADER, false);
        expect(await storage.list()).toEqual([
          { base: BASE, bytes: HEADER.length },
          { base: 9_000, bytes: HEADER.length },
        ]);
        expect(Buffer.from(await storage.readWhole(BASE)).equals(HEADER)).toBe(true);
        expect(first.name).toBe(storage.name(BASE));
        expect(first.name.endsWith("0000000000004096.wal")).toBe(true);
        first.close();
        later.close();
      }));

    test("what was written is read back, small and large, at once and later, through any opening", () =>
      using(async (storage) => {
        const file = storage.create(BASE, HEADER, false);
        const parts = [patterned(5), patterned(700_000), patterned(3), patterned(100)];
        await write(file, parts.slice(0, 1), HEADER.length);
        await write(file, parts.slice(1, 3), HEADER.length + 5);
        await new Promise<void>((resolve, reject) => {
          file.sync((error) => (error === null ? resolve() : reject(error)));
        });
        await write(file, parts.slice(3), HEADER.length + 700_008);
        file.syncNow();
        const whole = Buffer.concat([HEADER, ...parts]);
        const other = storage.open(BASE);
        for (const [at, bytes] of [
          [0, whole.length],
          [HEADER.length + 3, 10],
          [HEADER.length + 699_999, 50],
          [7, 0],
        ] as const) {
          const expected = whole.subarray(at, at + bytes);
          expect((await read(file, at, bytes)).equals(expected)).toBe(true);
          const now = Buffer.alloc(bytes);
          other.readNow(now, at);
          expect(now.equals(expected)).toBe(true);
        }
        expect(Buffer.from(await storage.readWhole(BASE)).equals(whole)).toBe(true);
        other.close();
        file.close();
      }));

    test("nobody shares the bytes that were written or read", () =>
      using(async (storage) => {
        const file = storage.create(BASE, HEADER, false);
        const mine = Buffer.from("mine");
        await write(file, [mine], HEADER.length);
        mine.fill(0);
        (await storage.readWhole(BASE)).fill(0);
        expect(String(await read(file, HEADER.length, 4))).toBe("mine");
        file.close();
      }));

    test("a read past the end is damage that names the segment and the place", () =>
      using(async (storage) => {
        const file = storage.create(BASE, HEADER, false);
        const fault = await read(file, 10, 100).catch((error: unknown) => error);
        expect(fault).toBeInstanceOf(StreamError);
        expect(fault).toMatchObject({
          code: "corrupt-wal",
          message: `${file.name}: ends at ${HEADER.length}, ${110 - HEADER.length} bytes early`,
        });
        expect(() => file.readNow(new Uint8Array(1), HEADER.length)).toThrow("1 bytes early");
        file.close();
      }));

    test("an existing segment is created over only when recovery found it empty", () =>
      using(async (storage) => {
        storage.create(BASE, Buffer.from("an older and longer header, cut off"), false).close();
        expect(() => storage.create(BASE, HEADER, false)).toThrow(/EEXIST|there already/);
        expect(() => storage.create(lsn(1), HEADER, true)).toThrow(/ENOENT|missing/);
        storage.create(BASE, HEADER, true).close();
        expect(await storage.list()).toEqual([{ base: BASE, bytes: HEADER.length }]);
      }));

    test("a settled segment holds what was whole of it and nothing else", () =>
      using(async (storage) => {
        const file = storage.create(BASE, HEADER, false);
        await write(file, [Buffer.from("whole, torn")], HEADER.length);
        file.close();
        const whole = (await storage.readWhole(BASE)).subarray(0, HEADER.length + 5);
        await storage.settle(BASE, whole);
        expect(Buffer.from(await storage.readWhole(BASE)).equals(Buffer.concat([HEADER, Buffer.from("whole")]))).toBe(
          true,
        );
      }));

    test("a removed segment is gone for everyone but those who have it open", () =>
      using(async (storage) => {
        const file = storage.create(BASE, HEADER, false);
        await storage.remove(BASE);
        expect(await storage.list()).toEqual([]);
        expect(() => storage.open(BASE)).toThrow(/ENOENT|no such/);
        await expect(storage.readWhole(BASE)).rejects.toThrow(/ENOENT|no such/);
        await expect(storage.remove(BASE)).rejects.toThrow(/ENOENT|no such/);
        expect((await read(file, 0, HEADER.length)).equals(HEADER)).toBe(true);
        file.close();
      }));
  });
}

test("a directory's other files are no segments", async () => {
  await using directory = await temporaryDirectory();
  fs.writeFileSync(`${directory.path}/notes.txt`, "x");
  fs.writeFileSync(`${directory.path}/12.wal`, "x");
  expect(await new DirectoryWalStorage(directory.path).list()).toEqual([]);
});

describe("a commit in the same turn", () => {
  function frameOf(text: string): Frame {
    const payload = [Buffer.from(text)];
    const common = { stream: generation(1), atMs: 5, start: position(0), lengths: [text.length], payload };
    return { kind: "append", ...common, producers: [], streamSeq: null, closed: false, closedBy: null };
  }

  function commitOn(storage: WalStorage): { commit: GroupCommit; settled: CommittedFrame[]; fatal: Error[] } {
    const file = storage.create(BASE, HEADER, false);
    const settled: CommittedFrame[] = [];
    const fatal: Error[] = [];
    let bytes = HEADER.length;
    const commit = new GroupCommit({
      target: () => ({ file, base: BASE, bytes }),
      settle: (frames, more) => {
        settled.push(...frames);
        bytes += more;
      },
      stalled: (error) => fatal.push(error),
      fatal: (error) => fatal.push(error),
      fault: () => undefined,
      clock: () => 7,
      isImmediate: storage.isImmediate,
    });
    return { commit, settled, fatal };
  }

  test("settles and acknowledges before it returns, and leaves the turn's end nothing to do", async () => {
    const { commit, settled } = commitOn(new MemoryWalStorage());
    const events: string[] = [];
    for (const text of ["one", "two"]) {
      commit.open.frames.push(frameOf(text));
      commit.open.whenDurable(() => events.push(text));
      commit.schedule();
    }
    expect([settled.length, events.length]).toEqual([0, 0]);
    commit.commitNow();
    expect([settled.length, events]).toEqual([2, ["one", "two"]]);
    commit.commitNow();
    await commit.drain();
    await new Promise((resolve) => setImmediate(resolve));
    expect(settled.length).toBe(2);
  });

  test("is still one at the end of the turn for who does not ask", async () => {
    const { commit, settled } = commitOn(new MemoryWalStorage());
    commit.open.frames.push(frameOf("one"));
    commit.schedule();
    await Promise.resolve();
    expect(settled.length).toBe(0);
    await commit.drain();
    expect(settled.length).toBe(1);
  });

  test("is refused where a sync takes its time", async () => {
    await using directory = await temporaryDirectory();
    const { commit, settled } = commitOn(new DirectoryWalStorage(directory.path));
    commit.open.frames.push(frameOf("one"));
    expect(() => commit.commitNow()).toThrow("can only be awaited");
    expect(settled.length).toBe(0);
  });

  test("is refused inside of another one", () => {
    const { commit } = commitOn(new MemoryWalStorage());
    const events: unknown[] = [];
    commit.open.frames.push(frameOf("one"));
    commit.open.whenDurable(() => {
      try {
        commit.commitNow();
      } catch (error) {
        events.push((error as Error).message);
      }
    });
    commit.commitNow();
    expect(events).toEqual(["a commit was asked for inside of another one"]);
  });

  test("throws once the log has failed, and acknowledges nobody", () => {
    const storage = new MemoryWalStorage();
    const { commit, settled, fatal } = commitOn(storage);
    const noSpace = new Error("no space");
    const broken = new GroupCommit({
      target: () => {
        throw noSpace;
      },
      settle: () => undefined,
      stalled: (error) => fatal.push(error),
      fatal: (error) => fatal.push(error),
      fault: () => undefined,
      clock: () => 7,
      isImmediate: true,
    });
    broken.open.frames.push(frameOf("one"));
    expect(() => broken.commitNow()).toThrow("has failed");
    expect(fatal[0]?.cause).toBe(noSpace);
    expect(() => broken.commitNow()).toThrow("has failed");
    expect([settled.length, commit.open.frames.length]).toEqual([0, 0]);
  });
});
