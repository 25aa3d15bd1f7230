import fs from "node:fs";
import path from "node:path";
import { crc32 } from "node:zlib";
import { generation, lsn, position, readBatch, type AppendFrame, type BatchFrame, type Frame } from "@coldbrook/core";
import { afterEach, describe, expect, test, vi } from "vitest";
import { temporaryDirectory, until } from "../../test-support/shard.ts";
import { GroupCommit, type CommittedFrame } from "./group-commit.ts";
import { DescriptorFile } from "./storage-directory.ts";

const BASE = lsn(4_000);
const FIRST = 40;

function frameOf(bytes: number | Uint8Array, stream = 1): AppendFrame {
  const payload = typeof bytes === "number" ? new Uint8Array(bytes).fill(stream + 64) : bytes;
  const lengths = payload.length === 0 ? [] : [payload.length];
  const common = { stream: generation(stream), atMs: 5, start: position(0), lengths, payload: [payload] };
  return { kind: "append", ...common, producers: [], streamSeq: null, closed: false, closedBy: null };
}

/** A log file with a commit loop, and what happened in which order. */
class Log {
  readonly events: string[] = [];
  readonly fatal: Error[] = [];
  readonly settled: CommittedFrame[][] = [];
  readonly commit: GroupCommit;
  readonly file: string;
  fd: number;
  bytes = FIRST;
  noSpace: Error | null = null;

  constructor(directory: string) {
    this.file = path.join(directory, "log");
    fs.writeFileSync(this.file, Buffer.alloc(FIRST));
    this.fd = fs.openSync(this.file, "r+");
    this.commit = new GroupCommit({
      target: () => {
        if (this.noSpace !== null) throw this.noSpace;
        return { file: new DescriptorFile(this.fd, this.file), base: BASE, bytes: this.bytes };
      },
      settle: (frames, bytes) => {
        this.events.push("settle");
        this.settled.push([...frames]);
        this.bytes += bytes;
      },
      stalled: () => this.events.push("stalled"),
      fatal: (error) => this.fatal.push(error),
      fault: (step) => this.events.push(step),
      clock: () => 7,
      isImmediate: false,
    });
  }

  add(frame: Frame, name = "ack"): void {
    const batch = this.commit.open;
    batch.frames.push(frame);
    batch.whenDurable(() => this.events.push(name));
    this.commit.schedule();
  }

  get acknowledged(): string[] {
    return this.events.filter((event) => event.startsWith("ack"));
  }

  readOnly(): void {
    fs.closeSync(this.fd);
    this.fd = fs.openSync(this.file, "r");
  }

  /** The frames of each batch in the file; every checksum is verified. */
  batches(): { lsn: number; frames: (BatchFrame & { payload: Buffer })[] }[] {
    const bytes = fs.readFileSync(this.file);
    const found: ReturnType<Log["batches"]> = [];
    for (let at = FIRST; ;) {
      const batch = readBatch(bytes, at, crc32);
      if (batch.kind === "end") return found;
      if (batch.kind === "invalid") throw new Error(`at ${at}: ${batch.reason}`);
      const frames = batch.frames.map((frame) => ({
        ...frame,
        payload: bytes.subarray(frame.payloadAt, frame.payloadAt + frame.header.payloadBytes),
      }));
      found.push({ lsn: batch.header.lsn, frames });
      at = batch.end;
    }
  }
}

async function withLog(run: (log: Log) => Promise<void>): Promise<void> {
  await using directory = await temporaryDirectory();
  const log = new Log(directory.path);
  try {
    await run(log);
  } finally {
    fs.closeSync(log.fd);
  }
}

/** Keeps syncs back until they are let go. */
function holdSyncs(): { held: (() => void)[] } {
  const real = fs.fdatasync;
  const held: (() => void)[] = [];
  vi.spyOn(fs, "fdatasync").mockImplementation((fd, done) => void held.push(() => real(fd, done)));
  return { held };
}

/** Several turns of the event loop, in which a commit would have begun. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve));
}

afterEach(() => vi.restoreAllMocks());

/** Frames that come after the failure change nothing: no write, no sync, no acknowledgement, no second report. */
async function expectDead(log: Log, message: RegExp): Promise<void> {
  await until(() => log.fatal.length > 0);
  const sync = vi.mocked(fs.fdatasync).mock.calls.length;
  const bytes = fs.readFileSync(log.file);
  log.add(frameOf(10), "ack later");
  await turns();
  expect(log.fatal.map((error) => error.message)).toEqual([expect.stringMatching(message)]);
  expect(log.fatal[0]!.cause).toBeInstanceOf(Error);
  expect(vi.mocked(fs.fdatasync).mock.calls.length).toBe(sync);
  expect(Buffer.compare(fs.readFileSync(log.file), bytes)).toBe(0);
  expect(log.acknowledged.filter((event) => event !== "ack before")).toEqual([]);
}

describe("group commit", () => {
  test("nobody is acknowledged, and nothing is settled, before the sync has ended", () =>
    withLog(async (log) => {
      const { held } = holdSyncs();
      log.add(frameOf(10));
      await until(() => held.length === 1);
      await turns();
      expect(log.events).toEqual(["commit.write", "commit.sync"]);
      held[0]!();
      await log.commit.drain();
      expect(log.events).toEqual(["commit.write", "commit.sync", "settle", "commit.ack", "ack"]);
    }));

  test("frames that arrive during a commit share the next batch", () =>
    withLog(async (log) => {
      const { held } = holdSyncs();
      log.add(frameOf(10, 1), "ack 1");
      await until(() => held.length === 1);
      for (const stream of [2, 3, 4]) {
        log.add(frameOf(10, stream), `ack ${stream}`);
        await turns();
      }
      expect(held.length).toBe(1);
      held[0]!();
      await until(() => held.length === 2);
      expect(log.acknowledged).toEqual(["ack 1"]);
      held[1]!();
      await log.commit.drain();
      expect(log.acknowledged).toEqual(["ack 1", "ack 2", "ack 3", "ack 4"]);
      expect(log.batches().map(({ frames }) => frames.map(({ header }) => header.stream))).toEqual([[1], [2, 3, 4]]);
    }));

  test("frames of one turn of the event loop share a batch", () =>
    withLog(async (log) => {
      log.add(frameOf(1, 1));
      await Promise.resolve();
      log.add(frameOf(1, 2));
      await log.commit.drain();
      expect(log.batches().map(({ frames }) => frames.length)).toEqual([2]);
    }));

  test("a batch carries its LSN, and settle names where each of its frames lies", () =>
    withLog(async (log) => {
      for (const sizes of [[3], [0, 100_000, 5]]) {
        for (const [i, size] of sizes.entries()) log.add(frameOf(size, i + 1));
        await log.commit.drain();
      }
      const batches = log.batches();
      expect(batches.map((batch) => batch.lsn)).toEqual([BASE + FIRST, BASE + batches[0]!.frames[0]!.payloadAt + 3]);
      const placed = batches.map(({ frames }) =>
        frames.map(({ headerAt, header }) => [headerAt, header.headerBytes, header.payloadBytes, header.stream]),
      );
      expect(
        log.settled.map((frames) => frames.map((f) => [f.headerAt, f.headerBytes, f.payloadBytes, f.frame.stream])),
      ).toEqual(placed);
      expect(log.settled.flat().every((frame) => frame.segment === BASE)).toBe(true);
    }));

  test("drain resolves at once when nothing is enqueued, and else when all of it is acknowledged", () =>
    withLog(async (log) => {
      await log.commit.drain();
      const { held } = holdSyncs();
      log.add(frameOf(1), "ack 1");
      await until(() => held.length === 1);
      // Two frames: a batch of one behind a batch of one may be synced on the calling thread.
      log.add(frameOf(1), "ack 2");
      log.add(frameOf(1), "ack 3");
      let drained = 0;
      const drains = [log.commit.drain(), log.commit.drain()].map((drain) => drain.then(() => (drained += 1)));
      held[0]!();
      await until(() => held.length === 2);
      expect(drained).toBe(0);
      held[1]!();
      await Promise.all(drains);
      expect(log.acknowledged).toEqual(["ack 1", "ack 2", "ack 3"]);
    }));

  test("an acknowledgement asked for after the fact is given at once", () =>
    withLog(async (log) => {
      const batch = log.commit.open;
      log.add(frameOf(1), "ack 1");
      await log.commit.drain();
      batch.whenDurable(() => log.events.push("ack 2"));
      expect(log.acknowledged).toEqual(["ack 1", "ack 2"]);
    }));

  test("lone writers are synced too, each before its acknowledgement", () =>
    withLog(async (log) => {
      vi.spyOn(performance, "now").mockReturnValue(0);
      const order: string[] = [];
      const sync = vi.spyOn(fs, "fdatasync");
      const syncNow = vi.spyOn(fs, "fdatasyncSync");
      for (let i = 0; i < 5; i++) {
        log.commit.open.whenDurable(() => order.push(`${sync.mock.calls.length + syncNow.mock.calls.length}`));
        log.add(frameOf(1));
        await log.commit.drain();
      }
      expect(order).toEqual(["1", "2", "3", "4", "5"]);
      expect(log.batches().length).toBe(5);
    }));
});

describe("a large batch", () => {
  const pieces = [70_000, 100, 300_000, 65_536, 0, 7].map((size, i) =>
    Uint8Array.from({ length: size }, (_, at) => (at * 31 + i + (at >>> 8)) & 0xff),
  );

  async function expectWhole(log: Log): Promise<void> {
    for (const [i, piece] of pieces.entries()) log.add(frameOf(piece, i + 1));
    log.add({ kind: "touch", stream: generation(9), atMs: 1 });
    await log.commit.drain();
    const [batch, ...more] = log.batches();
    expect(more).toEqual([]);
    expect(batch!.frames.map(({ payload }, i) => Buffer.compare(payload, pieces[i] ?? new Uint8Array()))).toEqual(
      Array.from({ length: 7 }, () => 0),
    );
    expect(log.acknowledged.length).toBe(7);
    expect(fs.statSync(log.file).size).toBe(log.bytes);
  }

  test("is byte-exact in the file", () => withLog(expectWhole));

  test.each([1_000, 65_536, 100_001])("is byte-exact when the system takes %i bytes at a time", (most) =>
    withLog(async (log) => {
      const writev = vi.spyOn(fs, "writev").mockImplementation(((
        fd: number,
        buffers: readonly Uint8Array[],
        at: number,
        done: (error: Error | null, written: number) => void,
      ) => {
        const written = fs.writeSync(fd, Buffer.concat(buffers), 0, Math.min(most, Buffer.concat(buffers).length), at);
        setImmediate(() => done(null, written));
      }) as typeof fs.writev);
      await expectWhole(log);
      expect(writev.mock.calls.length).toBeGreaterThan(3);
    }),
  );

  test("a small one is byte-exact when the system takes 7 bytes at a time", () =>
    withLog(async (log) => {
      const real = fs.writeSync.bind(fs) as (fd: number, from: Uint8Array, a: number, n: number, at: number) => number;
      vi.spyOn(fs, "writeSync").mockImplementation(((
        fd: number,
        from: Uint8Array,
        offset: number,
        length: number,
        at: number,
      ) => real(fd, from, offset, Math.min(7, length), at)) as typeof fs.writeSync);
      const payload = Uint8Array.from({ length: 5_000 }, (_, at) => at & 0xff);
      log.add(frameOf(payload));
      log.add(frameOf(payload, 2));
      await log.commit.drain();
      expect(log.batches()[0]!.frames.map((frame) => Buffer.compare(frame.payload, payload))).toEqual([0, 0]);
    }));
});

describe("a failure", () => {
  test.each([100, 300_000])("to write %i bytes is fatal once, and nothing is synced or acknowledged", (bytes) =>
    withLog(async (log) => {
      const sync = vi.spyOn(fs, "fdatasync");
      log.readOnly();
      log.add(frameOf(bytes));
      await expectDead(log, /^WAL write failed, nothing of its batch was acknowledged: EBADF/);
      expect(sync).not.toHaveBeenCalled();
      expect(log.events).toEqual(["commit.write"]);
    }),
  );

  test("to write the rest of a large batch is fatal once", () =>
    withLog(async (log) => {
      vi.spyOn(fs, "fdatasync");
      let calls = 0;
      vi.spyOn(fs, "writev").mockImplementation(((
        fd: number,
        buffers: readonly Uint8Array[],
        at: number,
        done: (error: Error | null, written: number) => void,
      ) => {
        calls += 1;
        if (calls === 1) return done(null, fs.writeSync(fd, buffers[0]!, 0, 20, at));
        done(new Error("ENOSPC: no space left on device"), 0);
      }) as typeof fs.writev);
      log.add(frameOf(300_000));
      await expectDead(log, /^WAL write failed, .*ENOSPC/);
      expect(vi.mocked(fs.fdatasync)).not.toHaveBeenCalled();
    }));

  test("to sync is fatal once; those that wait for this batch or the next are never acknowledged, and no sync follows", () =>
    withLog(async (log) => {
      const failures: ((error: Error) => void)[] = [];
      vi.spyOn(fs, "fdatasync").mockImplementation((_fd, done) => void failures.push(done as (error: Error) => void));
      log.add(frameOf(10));
      await until(() => failures.length === 1);
      log.add(frameOf(10, 2), "ack next");
      failures[0]!(new Error("EIO: i/o error"));
      await expectDead(log, /^WAL sync failed, nothing of its batch was acknowledged: EIO/);
      expect(failures.length).toBe(1);
      expect(log.settled).toEqual([]);
    }));

  test("to sync on the calling thread is fatal once", () =>
    withLog(async (log) => {
      vi.spyOn(performance, "now").mockReturnValue(0);
      vi.spyOn(fs, "fdatasync");
      log.add(frameOf(1), "ack before");
      await log.commit.drain();
      const sync = vi.spyOn(fs, "fdatasyncSync").mockImplementation(() => {
        throw new Error("EIO: i/o error");
      });
      log.add(frameOf(1));
      await expectDead(log, /^WAL sync failed, .*EIO/);
      expect(sync).toHaveBeenCalledTimes(1);
    }));

  test("to find a place for the batch is fatal once", () =>
    withLog(async (log) => {
      vi.spyOn(fs, "fdatasync");
      log.noSpace = new Error("ENOSPC: no space for a segment");
      log.add(frameOf(1));
      await expectDead(log, /ENOSPC/);
      expect(log.events).toEqual([]);
    }));
});

describe("a disk without room", () => {
  const noRoom = (): Error => Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });

  /** Writes find no room until there is some; of each that fails, a part is written. */
  function withoutRoom(): { hasRoom: boolean; attempts: number } {
    const disk = { hasRoom: false, attempts: 0 };
    const real = fs.writeSync;
    vi.spyOn(fs, "writeSync").mockImplementation(((
      fd: number,
      bytes: Uint8Array,
      from: number,
      count: number,
      at: number,
    ) => {
      disk.attempts += 1;
      if (disk.hasRoom) return real(fd, bytes, from, count, at);
      real(fd, Buffer.alloc(5, 0xee), 0, 5, at);
      throw noRoom();
    }) as typeof fs.writeSync);
    return disk;
  }

  test("holds a batch up, syncs and acknowledges nothing, and then takes it whole at its place, and those behind it", () =>
    withLog(async (log) => {
      vi.useFakeTimers({ toFake: ["setTimeout"] });
      try {
        const disk = withoutRoom();
        vi.spyOn(fs, "fdatasync");
        log.add(frameOf(10), "ack one");
        await turns();
        log.add(frameOf(20, 2), "ack two");
        await vi.advanceTimersByTimeAsync(1_000);
        expect(disk.attempts).toBeGreaterThan(5);
        expect([log.commit.waitsForRoom, log.acknowledged, log.fatal]).toEqual([true, [], []]);
        expect(vi.mocked(fs.fdatasync)).not.toHaveBeenCalled();
        expect(log.events).toEqual(["commit.write", "stalled"]);
        disk.hasRoom = true;
        await vi.advanceTimersByTimeAsync(100);
        await log.commit.drain();
        expect([log.commit.waitsForRoom, log.acknowledged]).toEqual([false, ["ack one", "ack two"]]);
        expect(log.batches().map(({ lsn: at, frames }) => [at, frames.length])).toEqual([
          [BASE + FIRST, 1],
          [BASE + log.settled[0]![0]!.headerAt + log.settled[0]![0]!.headerBytes + 10, 1],
        ]);
      } finally {
        vi.useRealTimers();
      }
    }));

  test("is fatal once nobody may wait any longer", () =>
    withLog(async (log) => {
      withoutRoom();
      vi.spyOn(fs, "fdatasync");
      log.add(frameOf(10));
      await until(() => log.commit.waitsForRoom);
      log.commit.stopWaiting();
      await expectDead(log, /^WAL write failed, .*ENOSPC/);
    }));

  test("is fatal when a sync says so: what it covered may be gone", () =>
    withLog(async (log) => {
      const sync = vi.spyOn(fs, "fdatasync").mockImplementation((_fd, done) => done(noRoom()));
      log.add(frameOf(10));
      await expectDead(log, /^WAL sync failed, .*ENOSPC/);
      expect(sync).toHaveBeenCalledTimes(1);
    }));
});
