import fs from "node:fs";
import path from "node:path";
import { BLOCK_BYTES, StreamError, type HotExtent } from "@coldbrook/core";
import { afterEach, describe, expect, test, vi } from "vitest";
import { Shard } from "../../test-support/shard.ts";
import { WalReader } from "./wal-reader.ts";

function patterned(bytes: number, seed: number): Buffer {
  return Buffer.from(Uint8Array.from({ length: bytes }, (_, at) => (at * 7 + seed + (at >>> 8)) & 0xff));
}

/** The stream's extents, out of the memory tail. */
function onDisk(shard: Shard, name: string): HotExtent[] {
  const { hot } = shard.engine.find(name)!.stream;
  for (const extent of hot) extent.memory = null;
  return hot;
}

/** Stream `a` in frames of the given sizes, one commit each, with frames of other streams between them. */
async function frames(shard: Shard, sizes: readonly number[], between = 1): Promise<Buffer> {
  const pieces = sizes.map(patterned);
  await shard.create("other", "o");
  await shard.create("a");
  for (const piece of pieces) {
    for (let i = 0; i < between; i++) await shard.append("other", `between ${i}`);
    await shard.append("a", "", { body: piece });
  }
  return Buffer.concat(pieces);
}

function flip(shard: Shard, extent: HotExtent, at: number): () => void {
  const file = path.join(shard.walDirectory, `${String(extent.segment).padStart(16, "0")}.wal`);
  const bytes = fs.readFileSync(file);
  const change = (): void => {
    bytes[at]! ^= 0x10;
    fs.writeFileSync(file, bytes);
  };
  change();
  return change;
}

afterEach(() => vi.restoreAllMocks());

describe("a read of the WAL", () => {
  test("returns any range across frames, whatever other streams wrote between them", async () => {
    await using shard = await Shard.create();
    const whole = await frames(shard, [1, 30, 2, 500, 3, 90, 4]);
    const reader = new WalReader(shard.engine.wal);
    const extents = onDisk(shard, "a");
    expect(extents.length).toBe(7);
    for (let from = 0; from < whole.length; from += 13) {
      for (const to of [from + 1, from + 40, whole.length]) {
        if (to > whole.length) continue;
        expect(Buffer.compare(await reader.read(extents, from, to), whole.subarray(from, to))).toBe(0);
      }
    }
    expect(await reader.read(extents, 5, 5)).toHaveLength(0);
  });

  test("returns any range inside a frame of several blocks, by itself and with its neighbours", async () => {
    await using shard = await Shard.create();
    const large = 3 * BLOCK_BYTES + 100;
    const whole = await frames(shard, [10, large, 20]);
    const reader = new WalReader(shard.engine.wal);
    const extents = onDisk(shard, "a");
    const edges = [0, 9, 10, 11, 10 + BLOCK_BYTES - 1, 10 + BLOCK_BYTES, 10 + BLOCK_BYTES + 1];
    edges.push(10 + 2 * BLOCK_BYTES + 7, 10 + 3 * BLOCK_BYTES, 10 + large - 1, 10 + large, whole.length);
    for (const from of edges) {
      for (const to of edges.filter((edge) => edge > from)) {
        expect(Buffer.compare(await reader.read(extents, from, to), whole.subarray(from, to))).toBe(0);
      }
    }
  });

  test("takes a few blocks of a large frame, not all of it", async () => {
    await using shard = await Shard.create();
    await frames(shard, [40 * BLOCK_BYTES]);
    const extents = onDisk(shard, "a");
    const read = vi.spyOn(shard.engine.wal, "read");
    await new WalReader(shard.engine.wal).read(extents, 20 * BLOCK_BYTES + 5, 21 * BLOCK_BYTES + 5);
    const bytes = read.mock.calls.reduce((sum, [, , count]) => sum + count, 0);
    expect(bytes).toBe(2 * BLOCK_BYTES + extents[0]!.headerBytes);
  });

  test("fetches frames that lie close together at once, and distant ones apart", async () => {
    await using shard = await Shard.create();
    const whole = await frames(shard, [10, 20, 30], 2);
    await shard.append("other", "", { body: patterned(20_000, 1) });
    await shard.append("a", "far");
    const extents = onDisk(shard, "a");
    const read = vi.spyOn(shard.engine.wal, "read");
    const reader = new WalReader(shard.engine.wal);
    expect(Buffer.compare(await reader.read(extents, 0, 60), whole)).toBe(0);
    expect(read).toHaveBeenCalledTimes(1);
    expect(Buffer.from(await reader.read(extents, 55, 63)).toString("latin1")).toBe(
      `${whole.subarray(55).toString("latin1")}far`,
    );
    expect(read).toHaveBeenCalledTimes(3);
  });

  test("goes across segments", async () => {
    await using shard = await Shard.create();
    await shard.create("a", "one");
    await shard.engine.wal.seal();
    await shard.append("a", "two");
    await shard.engine.wal.seal();
    await shard.append("a", "three");
    const bytes = await new WalReader(shard.engine.wal).read(onDisk(shard, "a"), 1, 9);
    expect(Buffer.from(bytes).toString()).toBe("netwothr");
  });

  test("of what the memory tail holds touches no file", async () => {
    await using shard = await Shard.create();
    const whole = await frames(shard, [10, 20]);
    const { hot } = shard.engine.find("a")!.stream;
    const read = vi.spyOn(shard.engine.wal, "read");
    const reader = new WalReader(shard.engine.wal);
    expect(Buffer.compare(await reader.read(hot, 3, 25), whole.subarray(3, 25))).toBe(0);
    expect(Buffer.compare(await reader.read(hot, 12, 25), whole.subarray(12, 25))).toBe(0);
    expect(read).not.toHaveBeenCalled();
    hot[0]!.memory = null;
    expect(Buffer.compare(await reader.read(hot, 3, 25), whole.subarray(3, 25))).toBe(0);
    expect(read).toHaveBeenCalledTimes(1);
  });

  test("of the message lengths gives what was framed", async () => {
    await using shard = await Shard.create();
    await shard.create("j", "", { contentType: "application/json" });
    await shard.append("j", "[1, 22, 333]");
    const [extent] = onDisk(shard, "j");
    expect(await new WalReader(shard.engine.wal).lengths(extent!)).toEqual([2, 3, 4]);
  });

  test("of more than the extents hold is gone, not short", async () => {
    await using shard = await Shard.create();
    const whole = await frames(shard, [10]);
    const reading = new WalReader(shard.engine.wal).read(onDisk(shard, "a"), 0, whole.length + 1);
    await expect(reading).rejects.toMatchObject({ name: "StreamError", code: "gone" });
  });

  test("of a released segment is gone", async () => {
    await using shard = await Shard.create();
    await frames(shard, [10, 20]);
    const extents = [...onDisk(shard, "a")];
    await shard.roll();
    const reader = new WalReader(shard.engine.wal);
    await expect(reader.read(extents, 0, 30)).rejects.toMatchObject({ name: "StreamError", code: "gone" });
    await expect(reader.lengths(extents[0]!)).rejects.toMatchObject({ code: "gone" });
  });

  test("that is under way when its segment is released still gets its bytes", async () => {
    await using shard = await Shard.create();
    const whole = await frames(shard, [10, 20]);
    const extents = [...onDisk(shard, "a")];
    await shard.engine.wal.seal();
    const reading = new WalReader(shard.engine.wal).read(extents, 0, 30);
    await shard.engine.wal.release(extents[0]!.segment);
    expect(Buffer.compare(await reading, whole)).toBe(0);
  });
});

describe("a damaged byte of the WAL", () => {
  test("anywhere in a frame is a corrupt-wal fault with file and position, and is never returned", async () => {
    await using shard = await Shard.create();
    await frames(shard, [10, 40, 20], 0);
    const reader = new WalReader(shard.engine.wal);
    const extents = onDisk(shard, "a");
    const { headerAt, headerBytes, start, end } = extents[1]!;
    for (let at = headerAt; at < headerAt + headerBytes + 40; at++) {
      const restore = flip(shard, extents[1]!, at);
      for (const [from, to] of [
        [start, end],
        [0, 70],
        [start + 3, start + 4],
      ] as const) {
        const error: unknown = await reader.read(extents, from, to).catch((reason: unknown) => reason);
        if (!(error instanceof StreamError)) throw new Error(`byte ${at} of [${from}, ${to}): ${String(error)}`);
        expect(error.code).toBe("corrupt-wal");
        expect(error.message).toContain("0000000000000000.wal");
        expect(error.message).toContain(`position ${headerAt}`);
      }
      if (at < headerAt + headerBytes) await expect(reader.lengths(extents[1]!)).rejects.toThrow("fails its checksum");
      restore();
    }
    expect(await reader.read(extents, 0, 70)).toHaveLength(70);
  });

  test("of a large frame spoils its own block alone", async () => {
    await using shard = await Shard.create();
    const whole = await frames(shard, [4 * BLOCK_BYTES]);
    const reader = new WalReader(shard.engine.wal);
    const extents = onDisk(shard, "a");
    const { headerAt, headerBytes } = extents[0]!;
    flip(shard, extents[0]!, headerAt + headerBytes + 2 * BLOCK_BYTES + 9);
    for (const [from, to] of [
      [0, 4 * BLOCK_BYTES],
      [2 * BLOCK_BYTES, 2 * BLOCK_BYTES + 1],
      [3 * BLOCK_BYTES - 1, 3 * BLOCK_BYTES + 1],
    ] as const) {
      await expect(reader.read(extents, from, to)).rejects.toMatchObject({ code: "corrupt-wal" });
    }
    expect(Buffer.compare(await reader.read(extents, 0, 2 * BLOCK_BYTES), whole.subarray(0, 2 * BLOCK_BYTES))).toBe(0);
    expect(
      Buffer.compare(await reader.read(extents, 3 * BLOCK_BYTES, whole.length), whole.subarray(3 * BLOCK_BYTES)),
    ).toBe(0);
  });

  test("a file that ends early is a corrupt-wal fault", async () => {
    await using shard = await Shard.create();
    await frames(shard, [10, 40]);
    const extents = onDisk(shard, "a");
    fs.truncateSync(path.join(shard.walDirectory, "0000000000000000.wal"), extents[1]!.headerAt + 20);
    await expect(new WalReader(shard.engine.wal).read(extents, 0, 50)).rejects.toMatchObject({ code: "corrupt-wal" });
  });
});
