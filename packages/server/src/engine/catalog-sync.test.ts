import { afterEach, describe, expect, test, vi } from "vitest";
import { Shard } from "../../test-support/shard.ts";

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

function producerOf(id: string, seq = 0): { producer: { id: string; epoch: number; seq: number } } {
  return { producer: { id, epoch: 0, seq } };
}

describe("the catalog's copy", () => {
  test("says nothing of what is durable until it is saved, and then all of it with the LSN it includes", async () => {
    await using shard = await Shard.create();
    await shard.create("a", "one", { ttlSeconds: 60 });
    await shard.append("a", "two", producerOf("p"));
    expect(shard.catalog.streams.find("a")).toBeUndefined();
    expect(shard.engine.stats.unsaved).toBe(1);
    await shard.engine.sync.save();
    const { state } = shard.engine.find("a")!;
    const { id } = state.identity;
    expect(shard.catalog.streams.find("a")).toBe(id);
    expect(shard.catalog.streams.load(id)).toEqual(state);
    expect(shard.catalog.producers.load(id, "p")).toMatchObject({ epoch: 0, seq: 0 });
    expect(shard.catalog.expiry.due(shard.nowMs + 60_000, 9)).toEqual([{ atMs: shard.nowMs + 60_000, stream: id }]);
    expect(shard.catalog.meta("appliedLsn")).toBe(shard.engine.wal.end);
    expect(shard.catalog.meta("generation")).toBe(id);
    expect(shard.engine.stats.unsaved).toBe(0);
  });

  test("is written in order of neighbourhood, whatever order the streams changed in", async () => {
    await using shard = await Shard.create();
    const names = Array.from({ length: 1_000 }, (_, i) => `s/${i}`);
    for (const name of names) await shard.create(name, "x");
    await shard.engine.sync.save();
    const put = vi.spyOn(shard.catalog.streams, "put");
    await Promise.all(names.map((_, i) => shard.append(names[(i * 389) % names.length]!, "y")));
    await shard.engine.sync.save();
    const hoods = put.mock.calls.map(([state]) => Math.floor(state.identity.id / 256));
    expect(hoods).toHaveLength(names.length);
    expect(hoods).toEqual(hoods.toSorted((a, b) => a - b));
  });

  test("knows a name's new stream, though others near it changed before the old one was deleted", async () => {
    await using shard = await Shard.create();
    await shard.create("a", "old");
    for (let i = 0; i < 300; i++) await shard.create(`s/${i}`, "x");
    await shard.engine.sync.save();
    await shard.append("s/299", "y");
    await shard.engine.remove("a");
    await shard.create("a", "new");
    await shard.engine.sync.save();
    expect(shard.catalog.streams.find("a")).toBe(shard.engine.find("a")!.state.identity.id);
  });

  test("holds no pending state", async () => {
    await using shard = await Shard.create();
    await shard.create("a", "one");
    const { id } = shard.engine.find("a")!.state.identity;
    const applied = shard.engine.wal.end;
    const appending = shard.append("a", "two", { close: true, ...producerOf("p") });
    const saving = shard.engine.sync.save();
    expect(shard.engine.find("a")!.stream.pending.closed).toBe(true);
    await Promise.all([appending, saving]);
    expect(shard.catalog.streams.load(id)).toMatchObject({ tail: 3, closed: false });
    expect(shard.catalog.producers.load(id, "p")).toBeUndefined();
    expect(shard.catalog.meta("appliedLsn")).toBe(applied);
    await shard.engine.sync.save();
    expect(shard.catalog.streams.load(id)).toMatchObject({ tail: 6, closed: true });
    expect(shard.catalog.producers.load(id, "p")).toMatchObject({ seq: 0 });
  });

  test("names an LSN whose frames it has, whenever it is looked at during a save", async () => {
    await using shard = await Shard.create();
    const names = Array.from({ length: 1_000 }, (_, i) => `s/${i}`);
    await Promise.all(names.map((name) => shard.create(name, "x")));
    const seen: boolean[] = [];
    const batch = shard.catalog.batch.bind(shard.catalog);
    vi.spyOn(shard.catalog, "batch").mockImplementation(async (change) => {
      await batch(change);
      const applied = shard.catalog.meta("appliedLsn") ?? 0;
      seen.push(
        names.every((n) => shard.engine.find(n)!.state.lsn > applied || shard.catalog.streams.find(n) !== undefined),
      );
    });
    await shard.engine.sync.save();
    expect(seen.length).toBeGreaterThan(3);
    expect(seen.every(Boolean)).toBe(true);
    expect([...shard.catalog.streams.paths()].length).toBe(1_000);
  });

  test("is saved after a while without anyone asking", async () => {
    await using shard = await Shard.create();
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    await shard.create("a");
    const save = vi.spyOn(shard.engine.sync, "save");
    vi.advanceTimersByTime(60_000);
    expect(save).toHaveBeenCalledTimes(1);
    await save.mock.results[0]!.value;
    expect(shard.catalog.streams.find("a")).toBeDefined();
  });

  test("forgets the name of a deleted stream and keeps it for the reaper", async () => {
    await using shard = await Shard.create();
    const { identity } = await shard.create("a");
    await shard.engine.sync.save();
    await shard.engine.remove("a");
    await shard.engine.sync.save();
    expect(shard.catalog.streams.find("a")).toBeUndefined();
    expect(shard.catalog.deleted.some(9)).toEqual([identity.id]);
    expect(shard.catalog.streams.load(identity.id)!.deleted).toBe(true);
    expect(shard.engine.stats.resident).toBe(0);
  });

  test("knows the newer of two streams of one name that were saved together", async () => {
    await using shard = await Shard.create();
    await shard.create("a", "old");
    await shard.engine.sync.save();
    await shard.append("a", "!");
    await shard.engine.remove("a");
    const next = await shard.create("a", "new");
    await shard.engine.sync.save();
    expect(shard.catalog.streams.find("a")).toBe(next.identity.id);
  });
});

describe("a stream with more producers than it keeps in memory", () => {
  const many = Array.from({ length: 1_500 }, (_, i) => `p${i}`);

  test("knows each of them at any moment of a save: no retry is taken for new", async () => {
    await using shard = await Shard.create();
    await shard.create("a");
    await Promise.all(many.map((id) => shard.append("a", "x", producerOf(id))));
    const saving = shard.engine.sync.save();
    const outcomes: string[] = [];
    for (let turn = 0; turn < 20; turn++) {
      const result = await shard.append("a", "x", producerOf(many[turn]!));
      outcomes.push(result.kind === "decided" ? result.outcome.kind : result.kind);
      await Promise.resolve();
    }
    await saving;
    expect(outcomes).toEqual(outcomes.map(() => "duplicate"));
    expect(shard.engine.find("a")!.state.tail).toBe(many.length);
  });

  test("keeps those that appended while the others were being saved", async () => {
    await using shard = await Shard.create();
    await shard.create("a");
    await Promise.all(many.map((id) => shard.append("a", "x", producerOf(id))));
    const batch = shard.catalog.batch.bind(shard.catalog);
    let late = 0;
    vi.spyOn(shard.catalog, "batch").mockImplementation(async (change) => {
      await batch(change);
      await shard.append("a", "x", producerOf(`late ${late}`));
      late += 1;
    });
    await shard.engine.sync.save();
    expect(late).toBeGreaterThan(0);
    for (let i = 0; i < late; i++) {
      expect(await shard.append("a", "x", producerOf(`late ${i}`))).toMatchObject({ outcome: { kind: "duplicate" } });
    }
  });

  test("lets them go when they are saved, and finds each in the catalog", async () => {
    await using shard = await Shard.create();
    await shard.create("a");
    await Promise.all(many.map((id) => shard.append("a", "x", producerOf(id))));
    await shard.engine.sync.save();
    expect(shard.engine.find("a")!.stream.producers).toBeNull();
    for (const id of [many[0]!, many.at(-1)!]) {
      expect(await shard.append("a", "x", producerOf(id))).toMatchObject({ outcome: { kind: "duplicate" } });
      expect(await shard.append("a", "y", producerOf(id, 1))).toMatchObject({ outcome: { kind: "append" } });
    }
  });
});
