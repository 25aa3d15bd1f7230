/** What someone was told of a stream's expiry stays so, and what renews a stream is not lost, though memory and processes go. */
import { describe, expect, test, vi } from "vitest";
import { ask, microtasks, Shard } from "../../test-support/shard.ts";

const RESIDENT_MAX = 32;
const NOTHING = new Uint8Array(0);

vi.mock("@coldbrook/core", async (original) => ({ ...(await original()), RESIDENT_STREAMS_MAX: 32 }));

/** Pushes all that is not needed out of memory. */
async function crowd(shard: Shard): Promise<void> {
  await Promise.all(Array.from({ length: 2 * RESIDENT_MAX }, (_, i) => shard.create(`s/${shard.nowMs}/${i}`)));
  await shard.roll();
  await shard.engine.sync.save();
}

/** A stream that has just expired, and would have a tenth of its time left once it is read back from disk. */
async function expired(path = "a"): Promise<Shard> {
  const shard = await Shard.create();
  await shard.create(path, "bytes", { ttlSeconds: 10 });
  await shard.roll();
  await shard.engine.sync.save();
  shard.nowMs += 10_000;
  return shard;
}

function fork(shard: Shard, source: string, name: string): Promise<{ kind: string }> {
  const request = { source, offset: "tail", subOffset: 0 } as const;
  return shard.engine.fork(name, { create: ask({ contentType: null }), fork: request }, NOTHING);
}

const append = { contentType: "text/plain", body: Buffer.from("x"), close: false, producer: null, streamSeq: null };

const tellings: Record<string, (shard: Shard) => Promise<unknown>> = {
  "a read": (shard) => (expect(shard.engine.find("a")).toBeUndefined(), shard.engine.absent("a")),
  "an append": async (shard) => (await shard.engine.append("a", append)).kind,
  "a delete": async (shard) => (await shard.engine.remove("a")) === "missing" && "not-found",
  "a fork of it": async (shard) => (await fork(shard, "a", "f")).kind === "no-source" && "not-found",
};

describe("a stream that someone was told has expired", () => {
  // Seed 3886 of the simulation.
  test.each(Object.keys(tellings))("stays so after a crash, when %s was told", async (who) => {
    await using shard = await expired();
    expect(await tellings[who]!(shard)).toBe("not-found");
    await shard.restart();
    expect(shard.engine.find("a")).toBeUndefined();
    expect(await shard.append("a", "x")).toEqual({ kind: "not-found" });
  });

  test.each(Object.keys(tellings))("is deleted before the answer, when %s is told", async (who) => {
    await using shard = await expired();
    let answered = false;
    const telling = tellings[who]!(shard).then(() => (answered = true));
    await microtasks();
    expect([answered, shard.engine.wal.open.frames.map(({ kind }) => kind)]).toEqual([false, ["delete"]]);
    await telling;
  });

  // Seed 8375 of the simulation.
  test("stays so when it was pushed out of memory", async () => {
    await using shard = await expired();
    expect(shard.engine.find("a")).toBeUndefined();
    await crowd(shard);
    expect(shard.engine.find("a")).toBeUndefined();
  });

  test("is kept for its forks, and so after a crash", async () => {
    await using shard = await Shard.create();
    await shard.create("a", "bytes", { ttlSeconds: 10 });
    expect(
      (
        await shard.engine.fork(
          "f",
          { create: ask({ contentType: null, ttlSeconds: 60 }), fork: { source: "a", offset: "tail", subOffset: 0 } },
          NOTHING,
        )
      ).kind,
    ).toBe("created");
    shard.nowMs += 10_000;
    expect(shard.engine.find("a")).toBeUndefined();
    expect([shard.engine.absence("a"), shard.engine.known("a")?.state.softDeleted]).toEqual(["gone", true]);
    expect(await shard.engine.absent("a")).toBe("gone");
    await shard.restart();
    expect([shard.engine.find("a"), shard.engine.absence("a")]).toEqual([undefined, "gone"]);
  });

  test("needs no delete for that when it has expired beyond doubt", async () => {
    await using shard = await expired();
    shard.nowMs += 1_000;
    expect(shard.engine.find("a")).toBeUndefined();
    expect(await shard.engine.absent("a")).toBe("not-found");
    expect((await shard.engine.append("a", append)).kind).toBe("not-found");
    expect(shard.engine.wal.open.frames).toEqual([]);
  });

  test("is told of once the disk has room for that", async () => {
    await using shard = await expired();
    const waits = vi.spyOn(shard.engine.wal, "waitsForRoom", "get").mockReturnValue(true);
    expect(shard.engine.find("a")).toBeUndefined();
    await expect(shard.engine.absent("a")).rejects.toMatchObject({ code: "disk-full" });
    await expect(shard.engine.append("a", append)).rejects.toMatchObject({ code: "disk-full" });
    expect(shard.engine.wal.open.frames).toEqual([]);
    waits.mockRestore();
    expect(await shard.engine.absent("a")).toBe("not-found");
  });
});

test("a stream does not expire under an append that is on its way", async () => {
  await using shard = await Shard.create();
  await shard.create("a", "", { ttlSeconds: 10 });
  shard.nowMs += 9_999;
  const appending = shard.append("a", "x");
  await microtasks();
  shard.nowMs += 1;
  expect(shard.engine.find("a")).toBeDefined();
  await appending;
  expect(shard.engine.find("a")!.state.tail).toBe(1);
});

describe("a read that the WAL has no room to record", () => {
  /** Its first stream was read 5 s after its creation. */
  async function full(): Promise<Shard> {
    const shard = await Shard.create({ walBytesMax: 64 * 1024 });
    await shard.create("a", "", { ttlSeconds: 10 });
    await shard.roll();
    await shard.create("b", "x".repeat(80_000));
    await shard.engine.sync.save();
    shard.nowMs += 5_000;
    shard.engine.touch(shard.engine.find("a")!.stream);
    expect(shard.engine.wal.open.frames).toEqual([]);
    return shard;
  }

  // Seed 7291 of the simulation.
  test("renews the stream though that is pushed out of memory", async () => {
    await using shard = await full();
    const { stream } = shard.engine.find("a")!;
    await shard.roll();
    await crowd(shard);
    expect(shard.engine.find("a")!.stream).not.toBe(stream);
    shard.nowMs += 9_999;
    expect(shard.engine.find("a")).toBeDefined();
    shard.nowMs += 1_001;
    expect(shard.engine.find("a")).toBeUndefined();
  });

  test("keeps the stream in memory until the catalog has it, and no longer", async () => {
    await using shard = await full();
    expect(shard.engine.stats.unsaved).toBe(1);
    await shard.engine.sync.save();
    expect(shard.engine.stats.unsaved).toBe(0);
    await shard.restart();
    shard.nowMs += 9_999;
    expect(shard.engine.find("a")).toBeDefined();
  });

  test("asks nothing more of a catalog that is far behind", async () => {
    await using shard = await full();
    await shard.engine.sync.save();
    vi.spyOn(shard.engine.sync, "isCrowded", "get").mockReturnValue(true);
    shard.nowMs += 5_000;
    const { stream, state } = shard.engine.find("a")!;
    shard.engine.touch(stream);
    expect(shard.engine.stats.unsaved).toBe(0);
    expect(shard.engine.expiresInMs(stream, state)).toBe(10_000);
  });
});
