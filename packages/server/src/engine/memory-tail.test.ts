import { generation, lsn, position, type HotExtent } from "@coldbrook/core";
import { expect, test } from "vitest";
import { MemoryTail } from "./memory-tail.ts";

function extentOf(bytes: number, start = 0): HotExtent {
  return {
    stream: generation(1),
    start: position(start),
    end: position(start + bytes),
    segment: lsn(0),
    headerAt: 40,
    headerBytes: 50,
    messages: 1,
    memory: new Uint8Array(bytes),
  };
}

function held(extents: readonly HotExtent[]): number[] {
  return extents.flatMap(({ memory }, i) => (memory === null ? [] : [i]));
}

test("the newest payloads stay within the bound, the oldest go first", () => {
  const tail = new MemoryTail(3_000);
  const extents = Array.from({ length: 10 }, (_, i) => extentOf(700, i * 700));
  for (const extent of extents) {
    tail.add(extent);
    expect(tail.bytes).toBeLessThanOrEqual(3_000);
  }
  expect(held(extents)).toEqual([7, 8, 9]);
});

test("a payload beyond the bound is not kept, and leaves nothing counted", () => {
  const tail = new MemoryTail(1_000);
  const [small, large] = [extentOf(10), extentOf(1_000)];
  tail.add(small);
  tail.add(large);
  expect(held([small, large])).toEqual([]);
  expect(tail.bytes).toBe(0);
});

test("an extent without a payload costs nothing", () => {
  const tail = new MemoryTail(1_000);
  tail.add({ ...extentOf(10), memory: null });
  expect(tail.bytes).toBe(0);
});

test("tiny payloads are bounded too: each costs more than its bytes", () => {
  const tail = new MemoryTail(100_000);
  const extents = Array.from({ length: 20_000 }, () => extentOf(1));
  for (const extent of extents) tail.add(extent);
  const kept = held(extents);
  expect(kept.length).toBeGreaterThan(100);
  expect(kept.length).toBeLessThan(1_000);
  expect(kept.at(-1)).toBe(19_999);
  expect(kept[0]).toBe(20_000 - kept.length);
});
