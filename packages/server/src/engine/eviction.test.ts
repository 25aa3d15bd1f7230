import { expect, test, vi } from "vitest";
import { Shard } from "../../test-support/shard.ts";

const RESIDENT_MAX = 32;

vi.mock("@coldbrook/core", async (original) => ({ ...(await original()), RESIDENT_STREAMS_MAX: 32 }));

function by(epoch: number, seq: number): { producer: { id: string; epoch: number; seq: number } } {
  return { producer: { id: "p", epoch, seq } };
}

async function crowd(shard: Shard, round: number): Promise<void> {
  await Promise.all(Array.from({ length: 2 * RESIDENT_MAX }, (_, i) => shard.create(`s/${round}/${i}`)));
  await shard.engine.sync.save();
}

test("a stream pushed out of memory by others comes back with its state and its producers", async () => {
  await using shard = await Shard.create();
  await shard.create("a", "", { ttlSeconds: 60 });
  await shard.append("a", "one", { streamSeq: "07", ...by(2, 0) });
  await shard.append("a", "two", by(2, 1));
  await shard.roll();
  const { stream, state } = shard.engine.find("a")!;
  await crowd(shard, 1);
  expect(shard.engine.stats.resident).toBe(RESIDENT_MAX);
  const again = shard.engine.find("a")!;
  expect(again.stream).not.toBe(stream);
  expect(again.state).toEqual(state);
  const outcomes: unknown[] = [];
  for (const tuple of [by(2, 1), by(1, 5), by(2, 3), by(2, 2)]) outcomes.push(await shard.append("a", "x", tuple));
  expect(outcomes).toMatchObject(["duplicate", "stale-epoch", "gap", "append"].map((kind) => ({ outcome: { kind } })));
  expect(await shard.append("a", "x", { streamSeq: "07" })).toMatchObject({ outcome: { kind: "stream-seq" } });
});

test("what is only in the WAL, waited for or under way is never pushed out", async () => {
  await using shard = await Shard.create();
  await shard.create("waited");
  await shard.roll();
  await shard.create("hot", "bytes");
  const before = ["waited", "hot"].map((name) => shard.engine.find(name)!.stream);
  const stop = shard.engine.watch(before[0]!, () => undefined);
  await crowd(shard, 1);
  expect(["waited", "hot"].map((name) => shard.engine.find(name)!.stream)).toEqual(before);
  expect(shard.engine.find("hot")!.stream).toBe(before[1]);
  stop();
  await crowd(shard, 2);
  expect(shard.engine.find("waited")!.stream).not.toBe(before[0]);
});

test("a deleted stream does not come back from the catalog", async () => {
  await using shard = await Shard.create();
  await shard.create("a", "bytes");
  await shard.roll();
  await crowd(shard, 1);
  await shard.engine.remove("a");
  expect(shard.engine.find("a")).toBeUndefined();
  await crowd(shard, 2);
  expect(shard.engine.find("a")).toBeUndefined();
  expect(await shard.engine.remove("a")).toBe("missing");
});
