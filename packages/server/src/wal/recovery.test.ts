import fs from "node:fs";
import path from "node:path";
import { crc32 } from "node:zlib";
import {
  decodeBatchHeader,
  encodeBatch,
  encodeSegmentHeader,
  generation,
  lsn,
  position,
  readBatch,
  SEGMENT_HEADER_BYTES,
  StreamError,
  type Frame,
} from "@coldbrook/core";
import { describe, expect, test } from "vitest";
import { SHARD, Shard, START_MS } from "../../test-support/shard.ts";
import type { Recovery } from "./recovery.ts";

/** Where each batch of a segment file starts, and where the file ends. */
function batchStarts(bytes: Uint8Array): number[] {
  const starts = [SEGMENT_HEADER_BYTES];
  for (;;) {
    const batch = readBatch(bytes, starts.at(-1)!, crc32);
    if (batch.kind !== "batch") return starts;
    starts.push(batch.end);
  }
}

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at]! ^= 1 << (at % 8);
  return copy;
}

/** What recovery made of the streams, comparable. */
function picture(recovery: Recovery): unknown {
  return recovery.streams.map(({ pending, hot, producers }) => ({ pending, hot, producers }));
}

async function faultOf(recovering: Promise<unknown>): Promise<StreamError> {
  const error: unknown = await recovering.then(
    () => null,
    (reason: unknown) => reason,
  );
  if (!(error instanceof StreamError)) throw new Error(`no StreamError but ${String(error)}`);
  return error;
}

/** Recovery must refuse, name the file and the position, and leave every file as it is. */
async function expectStop(shard: Shard, files: ReadonlyMap<string, Buffer>, ...named: string[]): Promise<void> {
  shard.restoreWal(files);
  const fault = await faultOf(shard.recover(true));
  expect(fault.code).toBe("corrupt-wal");
  for (const what of named) expect(fault.message).toContain(what);
  const after = shard.walFiles();
  expect([...after.keys()]).toEqual([...files.keys()]);
  for (const [name, bytes] of files) expect(Buffer.compare(after.get(name)!, bytes)).toBe(0);
}

/** Two sealed segments and a newest one, each of several batches; the catalog has applied nothing. */
async function filled(): Promise<{ shard: Shard; files: Map<string, Buffer>; names: [string, string, string] }> {
  const shard = await Shard.create();
  const producer = (seq: number): { producer: { id: string; epoch: number; seq: number } } => ({
    producer: { id: "p", epoch: 1, seq },
  });
  await shard.create("a", "first");
  await Promise.all([shard.append("a", "second", producer(0)), shard.create("b", "x".repeat(40), { ttlSeconds: 60 })]);
  await shard.engine.wal.seal();
  await Promise.all([shard.append("a", "third", producer(1)), shard.append("b", "y", { streamSeq: "07" })]);
  await shard.engine.remove("b");
  await shard.engine.wal.seal();
  await shard.append("a", "fourth", producer(2));
  await Promise.all([shard.create("b", "again"), shard.append("a", "fifth", { close: true, ...producer(3) })]);
  await shard.append("b", "last but one");
  await Promise.all([shard.append("b", "last"), shard.create("c", "new")]);
  const files = shard.walFiles();
  const names = [...files.keys()];
  expect(names.length).toBe(3);
  return { shard, files, names: names as [string, string, string] };
}

describe("recovery of an undamaged log", () => {
  test("brings back exactly what was durable", async () => {
    const { shard } = await filled();
    await using _ = shard;
    const durable = ["a", "b", "c"].map((name) => shard.engine.find(name)!.state);
    await shard.restart();
    expect(shard.recovery.torn).toBeNull();
    expect(["a", "b", "c"].map((name) => shard.engine.find(name)!.state)).toEqual(durable);
    const again = await shard.append("a", "fifth", { close: true, producer: { id: "p", epoch: 1, seq: 3 } });
    expect(again).toMatchObject({ kind: "decided", outcome: { kind: "duplicate" } });
  });

  test("is idempotent: a second recovery finds the same", async () => {
    const { shard, files } = await filled();
    await using _ = shard;
    const first = await shard.recover(true);
    const second = await shard.recover(true);
    expect(picture(second)).toEqual(picture(first));
    expect(second).toMatchObject({ generation: first.generation, wal: first.wal, torn: null, released: [] });
    expect(shard.walFiles()).toEqual(files);
  });

  test("gives the same when the catalog has applied all of it", async () => {
    const { shard } = await filled();
    await using _ = shard;
    const before = await shard.recover(true);
    await shard.engine.sync.save();
    const after = await shard.recover(true);
    expect(after.streams.map(({ pending }) => pending)).toEqual(before.streams.map(({ pending }) => pending));
    expect(after.streams.map(({ hot }) => hot)).toEqual(before.streams.map(({ hot }) => hot));
    expect(after.streams.every(({ inCatalog }) => inCatalog)).toBe(true);
  });

  test("appends go on behind it, over any number of restarts", async () => {
    await using shard = await Shard.create();
    await shard.create("a");
    for (let round = 0; round < 4; round++) {
      await shard.append("a", `${round}`);
      await shard.restart();
    }
    expect(shard.engine.find("a")!.state.tail).toBe(4);
    expect(shard.recovery.wal.segments.length).toBe(4);
    expect(shard.fatal).toEqual([]);
  });
});

describe("a damaged byte", () => {
  test("in any batch but the last, or in any segment header, stops recovery with file and position", async () => {
    const { shard, files, names } = await filled();
    await using _ = shard;
    for (const name of names) {
      const bytes = files.get(name)!;
      const starts = batchStarts(bytes);
      const until = name === names[2] ? starts.at(-2)! : bytes.length;
      for (let at = 0; at < until; at++) {
        const start = at < SEGMENT_HEADER_BYTES ? 0 : starts.findLast((from) => from <= at)!;
        await expectStop(shard, new Map([...files, [name, flipped(bytes, at)]]), name, `position ${start}`);
      }
    }
  });

  test("in the last batch cuts that batch off, exactly there, and keeps all before it", async () => {
    const { shard, files, names } = await filled();
    await using _ = shard;
    const bytes = files.get(names[2])!;
    const cutAt = batchStarts(bytes).at(-2)!;
    shard.restoreWal(new Map([...files, [names[2], bytes.subarray(0, cutAt)]]));
    const kept = picture(await shard.recover(true));
    for (let at = cutAt; at < bytes.length; at++) {
      shard.restoreWal(new Map([...files, [names[2], flipped(bytes, at)]]));
      const recovery = await shard.recover(true);
      expect(recovery.torn).toEqual({
        file: path.join(shard.walDirectory, names[2]),
        at: cutAt,
        bytes: bytes.length - cutAt,
      });
      expect(picture(recovery)).toEqual(kept);
      expect(Buffer.compare(shard.walFiles().get(names[2])!, bytes.subarray(0, cutAt))).toBe(0);
    }
  });

  test("in a batch that the catalog has applied stops recovery: it was acknowledged", async () => {
    const { shard, files, names } = await filled();
    await using _ = shard;
    await shard.engine.sync.save();
    const bytes = files.get(names[2])!;
    const start = batchStarts(bytes).at(-2)!;
    for (const at of [start, start + 50, bytes.length - 1]) {
      await expectStop(shard, new Map([...files, [names[2], flipped(bytes, at)]]), names[2], `position ${start}`);
    }
  });
});

describe("a newest segment that was cut short", () => {
  test("anywhere in its last batch loses that batch alone", async () => {
    const { shard, files, names } = await filled();
    await using _ = shard;
    const bytes = files.get(names[2])!;
    const cutAt = batchStarts(bytes).at(-2)!;
    for (let end = cutAt + 1; end < bytes.length; end++) {
      shard.restoreWal(new Map([...files, [names[2], bytes.subarray(0, end)]]));
      const { torn, wal } = await shard.recover(true);
      expect([torn?.at, torn?.bytes, wal.segments.at(-1)!.bytes]).toEqual([cutAt, end - cutAt, cutAt]);
      expect(shard.walFiles().get(names[2])!.length).toBe(cutAt);
    }
    expect((await shard.recover(true)).torn).toBeNull();
  });

  test("takes appends behind the cut, and they survive the next restart", async () => {
    const { shard, files, names } = await filled();
    await using _ = shard;
    await shard.stop();
    shard.restoreWal(new Map([...files, [names[2], files.get(names[2])!.subarray(0, -1)]]));
    await shard.start();
    expect(shard.engine.find("c")).toBeUndefined();
    await shard.append("b", "!");
    const { tail } = shard.engine.find("b")!.state;
    expect(tail).toBe("againlast but one!".length);
    await shard.restart();
    expect(shard.engine.find("b")!.state.tail).toBe(tail);
  });

  test("is reported and left alone by a check", async () => {
    const { shard, files, names } = await filled();
    await using _ = shard;
    const torn = new Map([...files, [names[2], files.get(names[2])!.subarray(0, -3)]]);
    shard.restoreWal(torn);
    const recovery = await shard.recover(false);
    expect(recovery.torn).not.toBeNull();
    expect(shard.walFiles()).toEqual(torn);
  });

  test.each([0, 1, 39])("to %i bytes of its header counts as empty and is used again", async (length) => {
    const { shard, files, names } = await filled();
    await using _ = shard;
    await shard.stop();
    shard.restoreWal(new Map([...files, [names[2], files.get(names[2])!.subarray(0, length)]]));
    await shard.start();
    expect(shard.recovery.wal).toMatchObject({ next: Number.parseInt(names[2], 10), reuseNext: true });
    await shard.create("d", "in it");
    await shard.restart();
    expect(shard.engine.find("d")!.state.tail).toBe(5);
    expect(shard.walFiles().has(names[2])).toBe(true);
  });

  test.each([
    ["its first bytes are missing", 0, 17],
    ["its middle is missing", 8, 20],
    ["its end is missing", 30, SEGMENT_HEADER_BYTES],
  ])("to a header of which %s counts as empty", async (_what, from, to) => {
    const { shard, files, names } = await filled();
    await using _ = shard;
    const torn = Buffer.from(files.get(names[2])!.subarray(0, SEGMENT_HEADER_BYTES)).fill(0, from, to);
    shard.restoreWal(new Map([...files, [names[2], torn]]));
    expect((await shard.recover(true)).wal).toMatchObject({ next: Number.parseInt(names[2], 10), reuseNext: true });
  });

  test("with a header of zeros counts as empty", async () => {
    const { shard, files, names } = await filled();
    await using _ = shard;
    shard.restoreWal(new Map([...files, [names[2], Buffer.alloc(SEGMENT_HEADER_BYTES)]]));
    expect((await shard.recover(true)).wal.reuseNext).toBe(true);
  });

  test("below what the catalog has applied stops recovery: acknowledged bytes are gone", async () => {
    const { shard, files, names } = await filled();
    await using _ = shard;
    await shard.engine.sync.save();
    const bytes = files.get(names[2])!;
    for (const end of [0, SEGMENT_HEADER_BYTES, batchStarts(bytes)[1]!, bytes.length - 1]) {
      await expectStop(shard, new Map([...files, [names[2], bytes.subarray(0, end)]]), names[2]);
    }
    const others = new Map([...files].filter(([name]) => name !== names[2]));
    await expectStop(shard, others, names[1]);
  });

  test("behind bytes of a client that look like a later version's batch is cut all the same", async () => {
    await using shard = await Shard.create();
    await shard.create("a", "kept");
    const forged = Buffer.from(
      encodeBatch({ lsn: lsn(7), atMs: 1, frames: [{ kind: "touch", stream: generation(1), atMs: 1 }], crc: crc32 })
        .buffers[0]!,
    );
    forged.writeUInt16LE(2, 4);
    forged.writeUInt32LE(crc32(forged.subarray(0, 40)), 40);
    expect(() => decodeBatchHeader(forged, 0, crc32)).toThrow("version 2");
    const type = { contentType: "text/plain", close: false, producer: null, streamSeq: null };
    await shard.engine.append("a", { ...type, body: Buffer.concat([forged, Buffer.alloc(100)]) });
    const [[name, bytes]] = [...shard.walFiles()] as [[string, Buffer]];
    shard.restoreWal(new Map([[name, bytes.subarray(0, -1)]]));
    const recovery = await shard.recover(true);
    expect(recovery.torn?.at).toBe(batchStarts(bytes)[1]);
    expect(recovery.streams[0]!.pending.tail).toBe(4);
  });
});

describe("a directory that is not whole", () => {
  test("a missing segment stops recovery, whichever but the newest it is", async () => {
    const { shard, files, names } = await filled();
    await using _ = shard;
    for (const name of names.slice(0, 2)) {
      await expectStop(shard, new Map([...files].filter(([other]) => other !== name)), name, "missing");
    }
  });

  test("no segment at all stops recovery when the catalog knows of one", async () => {
    const { shard } = await filled();
    await using _ = shard;
    await shard.engine.sync.save();
    await expectStop(shard, new Map(), "missing");
  });

  test("a sealed segment that is too short or too long stops recovery", async () => {
    const { shard, files, names } = await filled();
    await using _ = shard;
    const bytes = files.get(names[0])!;
    for (const wrong of [
      bytes.subarray(0, -1),
      bytes.subarray(0, batchStarts(bytes)[1]),
      Buffer.concat([bytes, bytes]),
    ]) {
      await expectStop(
        shard,
        new Map([...files, [names[0], wrong]]),
        names[0],
        "ends at LSN",
        "the next segment starts",
      );
    }
  });

  test.each([
    ["of another shard", { base: 0, shard: "ffffffffffffffff" }, "shard ffffffffffffffff"],
    ["with another base than its name", { base: 8, shard: SHARD }, "base LSN 8"],
  ] as const)("a segment %s stops recovery", async (_name, header, named) => {
    const { shard, files, names } = await filled();
    await using _ = shard;
    const bytes = Buffer.from(files.get(names[0])!);
    bytes.set(encodeSegmentHeader({ base: lsn(header.base), shard: header.shard }, crc32));
    await expectStop(shard, new Map([...files, [names[0], bytes]]), names[0], named);
  });

  test("a segment of a later version stops recovery", async () => {
    const { shard, files, names } = await filled();
    await using _ = shard;
    const bytes = Buffer.from(files.get(names[2])!);
    bytes.writeUInt16LE(2, 4);
    bytes.writeUInt32LE(crc32(bytes.subarray(0, 36)), 36);
    await expectStop(shard, new Map([...files, [names[2], bytes]]), names[2], "version 2");
  });

  test("a last batch of a later version stops recovery: it is no torn write", async () => {
    const { shard, files, names } = await filled();
    await using _ = shard;
    const bytes = Buffer.from(files.get(names[2])!);
    const start = batchStarts(bytes).at(-2)!;
    bytes.writeUInt16LE(2, start + 4);
    bytes.writeUInt32LE(crc32(bytes.subarray(start, start + 40)), start + 40);
    await expectStop(shard, new Map([...files, [names[2], bytes]]), names[2], `position ${start}`, "version 2");
  });

  test("a batch in the wrong place stops recovery", async () => {
    const { shard, files, names } = await filled();
    await using _ = shard;
    const bytes = files.get(names[2])!;
    const starts = batchStarts(bytes);
    const [second, third, fourth] = [starts[1]!, starts[2]!, starts[3]!];
    const swapped = Buffer.concat([
      bytes.subarray(0, second),
      bytes.subarray(third, fourth),
      bytes.subarray(second, third),
      bytes.subarray(fourth),
    ]);
    await expectStop(shard, new Map([...files, [names[2], swapped]]), names[2], `position ${second}`);
  });

  test("a frame that does not follow from the stream's state stops recovery", async () => {
    await using shard = await Shard.create();
    await shard.create("a", "four");
    const [[name, bytes]] = [...shard.walFiles()] as [[string, Buffer]];
    const frame: Frame = {
      kind: "append",
      stream: generation(1),
      atMs: START_MS,
      start: position(5),
      lengths: [1],
      payload: [Buffer.from("x")],
      producers: [],
      streamSeq: null,
      closed: false,
      closedBy: null,
    };
    const batch = encodeBatch({ lsn: lsn(bytes.length), atMs: START_MS, frames: [frame], crc: crc32 });
    const forged = Buffer.concat([bytes, ...batch.buffers]);
    await expectStop(shard, new Map([[name, forged]]), name, `position ${bytes.length + 44}`, "the tail is 4");
  });
});

describe("segments whose roll is published", () => {
  test("and whose file is still there are told apart, and are not replayed", async () => {
    const { shard, files, names } = await filled();
    await using _ = shard;
    await shard.roll();
    const left = shard.walFiles();
    shard.restoreWal(new Map([...files, ...left]));
    const recovery = await shard.recover(true);
    expect(recovery.released).toEqual(names.map((name) => Number.parseInt(name, 10)));
    expect(recovery.streams).toEqual([]);
    await shard.restart();
    expect([...shard.walFiles().keys()].some((name) => names.includes(name))).toBe(false);
    expect(shard.engine.find("a")!.state.closed).toBe(true);
  });

  test("and are gone are not missed", async () => {
    const { shard } = await filled();
    await using _ = shard;
    await shard.roll();
    await shard.append("b", "more");
    await shard.restart();
    expect(shard.recovery.released).toEqual([]);
    expect(shard.engine.find("b")!.state.tail).toBe("againlast but onelastmore".length);
  });

  test("frames of a stream that was given back since are passed over", async () => {
    const { shard } = await filled();
    await using _ = shard;
    await shard.engine.remove("c");
    await shard.engine.sync.save();
    const id = generation(shard.recovery.generation + 4);
    expect(shard.catalog.streams.load(id)).toMatchObject({ deleted: true, identity: { path: "c" } });
    await shard.catalog.batch(() => {
      shard.catalog.streams.remove(id);
      shard.catalog.deleted.remove(id);
    });
    const recovery = await shard.recover(true);
    expect(recovery.streams.map(({ pending }) => pending.identity.path)).not.toContain("c");
  });
});

test("an empty directory recovers to an empty log", async () => {
  await using shard = await Shard.create();
  fs.rmSync(path.join(shard.walDirectory, "0000000000000000.wal"));
  const recovery = await shard.recover(true);
  expect(recovery).toMatchObject({ streams: [], wal: { segments: [], next: 0, reuseNext: false }, torn: null });
});
