import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { LiveEnds } from "./live-ends.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Reads that write down when they end. */
function ended(): { read: (name: string) => { end: () => void }; names: string[] } {
  const names: string[] = [];
  return { names, read: (name) => ({ end: () => void names.push(name) }) };
}

test("each read ends at its own deadline, by one timer", () => {
  const ends = new LiveEnds(new AbortController().signal, 1000);
  const { read, names } = ended();
  ends.add(read("a"));
  vi.advanceTimersByTime(400);
  ends.add(read("b"));
  ends.add(read("c"));
  expect(vi.getTimerCount()).toBe(1);
  vi.advanceTimersByTime(599);
  expect(names).toEqual([]);
  vi.advanceTimersByTime(1);
  expect(names).toEqual(["a"]);
  expect(vi.getTimerCount()).toBe(1);
  vi.advanceTimersByTime(400);
  expect(names).toEqual(["a", "b", "c"]);
  expect([ends.size, vi.getTimerCount()]).toEqual([0, 0]);
});

test("a read that has ended by itself is not ended again, and the last one takes the timer with it", () => {
  const ends = new LiveEnds(new AbortController().signal, 1000);
  const { read, names } = ended();
  const [a, b] = [read("a"), read("b")];
  ends.add(a);
  vi.advanceTimersByTime(500);
  ends.add(b);
  ends.delete(a);
  vi.advanceTimersByTime(500);
  expect(names).toEqual([]);
  vi.advanceTimersByTime(500);
  expect(names).toEqual(["b"]);
  ends.add(a);
  ends.delete(a);
  ends.delete(a);
  expect(vi.getTimerCount()).toBe(0);
});

test("a drain ends all of them, and those that come later at once", () => {
  const draining = new AbortController();
  const ends = new LiveEnds(draining.signal, 1000);
  const { read, names } = ended();
  ends.add(read("a"));
  ends.add(read("b"));
  draining.abort();
  expect(names).toEqual(["a", "b"]);
  ends.add(read("c"));
  expect(names).toEqual(["a", "b", "c"]);
  expect([ends.size, vi.getTimerCount()]).toEqual([0, 0]);
});

test("reads that leave and come while others are ended are neither lost nor ended twice", () => {
  const ends = new LiveEnds(new AbortController().signal, 1000);
  const { read, names } = ended();
  const b = read("b");
  const a = {
    end: (): void => {
      names.push("a");
      ends.delete(b);
      ends.add(read("c"));
    },
  };
  ends.add(a);
  ends.add(b);
  vi.advanceTimersByTime(1000);
  expect(names).toEqual(["a"]);
  vi.advanceTimersByTime(1000);
  expect(names).toEqual(["a", "c"]);
});
