import { generation, lsn, newStreamState, position } from "@coldbrook/core";
import { describe, expect, test } from "vitest";
import { Batch } from "../wal/group-commit.ts";
import { Residents } from "./residents.ts";
import { Stream } from "./stream.ts";

function streamOf(id: number, path = `s/${id}`): Stream {
  const config = { contentType: "text/plain", ttlSeconds: null, expiresAtMs: null };
  const lineage = [{ generation: generation(id), first: position(0), source: null }];
  const identity = { id: generation(id), path, config, createdAtMs: 1, lineage };
  const state = newStreamState({ identity, tail: position(0), closed: false, touchedAtMs: 1, lsn: lsn(0) });
  return new Stream(state, state, "catalog");
}

describe("residents", () => {
  test("a resting stream is found by its name until others push it out, the one used longest ago first", () => {
    const residents = new Residents(2, () => false);
    const [a, b, c] = [streamOf(1), streamOf(2), streamOf(3)];
    residents.rest(a);
    residents.rest(b);
    expect(residents.find("s/1")).toBe(a);
    residents.rest(c);
    expect([residents.find("s/1"), residents.find("s/2"), residents.find("s/3")]).toEqual([a, undefined, c]);
    expect(residents.restingCount).toBe(2);
    expect(residents.byId(generation(1))).toBeUndefined();
  });

  test("the last resting stream leaves nothing behind when it is pinned", () => {
    const residents = new Residents(4, () => false);
    for (let id = 1; id < 4; id++) {
      residents.rest(streamOf(id));
      residents.pin(residents.find(`s/${id}`)!);
      expect([residents.restingCount, residents.pinnedCount, residents.find("")]).toEqual([0, id, undefined]);
    }
    expect(residents.paths()).toEqual(["s/1", "s/2", "s/3"]);
    for (let id = 4; id < 12; id++) residents.rest(streamOf(id));
    expect([residents.restingCount, residents.paths().length]).toEqual([4, 7]);
  });

  test("a pinned stream stays, however many others come", () => {
    const residents = new Residents(2, () => false);
    const pinned = streamOf(1);
    residents.rest(pinned);
    residents.pin(pinned);
    residents.pin(pinned);
    for (let id = 2; id < 10; id++) residents.rest(streamOf(id));
    expect(residents.find("s/1")).toBe(pinned);
    expect(residents.byId(generation(1))).toBe(pinned);
    expect([residents.pinnedCount, residents.restingCount]).toEqual([1, 2]);
  });

  test.each([
    ["a batch with a frame of it is under way", (stream: Stream): unknown => (stream.lastBatch = new Batch())],
    [
      "bytes of it are only in the WAL",
      (stream: Stream): unknown =>
        stream.hot.push({
          stream: generation(1),
          start: position(0),
          end: position(1),
          segment: lsn(0),
          headerAt: 40,
          headerBytes: 50,
          messages: 1,
          memory: null,
        }),
    ],
    ["someone waits for it", (stream: Stream): unknown => stream.waiters.add(() => undefined)],
  ])("a stream is not let go while %s", (_why, hold) => {
    const residents = new Residents(2, () => false);
    const stream = streamOf(1);
    residents.pin(stream);
    hold(stream);
    residents.unpin(stream);
    expect(residents.pinnedCount).toBe(1);
    stream.lastBatch = null;
    stream.hot = [];
    stream.waiters.clear();
    residents.unpin(stream);
    expect([residents.pinnedCount, residents.restingCount]).toEqual([0, 1]);
    expect(residents.find("s/1")).toBe(stream);
  });

  test("a stream is not let go while the catalog lacks a change of it", () => {
    let unsaved = true;
    const residents = new Residents(2, () => unsaved);
    const stream = streamOf(1);
    residents.pin(stream);
    residents.unpin(stream);
    expect(residents.byId(generation(1))).toBe(stream);
    unsaved = false;
    residents.unpin(stream);
    expect(residents.byId(generation(1))).toBeUndefined();
  });

  test("a deleted stream loses its name at once, is known by its id until it is saved, and never rests", () => {
    const residents = new Residents(2, () => false);
    const stream = streamOf(1);
    residents.pin(stream);
    stream.pending = { ...stream.pending, deleted: true };
    residents.unname(stream);
    expect(residents.find("s/1")).toBeUndefined();
    expect(residents.byId(generation(1))).toBe(stream);
    residents.unpin(stream);
    expect(residents.byId(generation(1))).toBeUndefined();
    expect(residents.restingCount).toBe(0);
  });

  test("a deleted stream does not take the name from its successor", () => {
    const residents = new Residents(2, () => false);
    const [old, next] = [streamOf(1, "name"), streamOf(2, "name")];
    residents.pin(old);
    old.pending = { ...old.pending, deleted: true };
    residents.pin(next);
    residents.unname(old);
    residents.unpin(old);
    expect(residents.find("name")).toBe(next);
    expect([residents.byId(generation(1)), residents.byId(generation(2))]).toEqual([undefined, next]);
  });
});
