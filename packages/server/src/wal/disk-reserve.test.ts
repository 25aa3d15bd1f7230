import { expect, test } from "vitest";
import { DiskReserve } from "./disk-reserve.ts";

const MIB = 1024 * 1024;

function reserveOf(reserveBytes: number, totalBytes = 8 * 1024 * MIB): { reserve: DiskReserve; disk: Disk } {
  const disk: Disk = { freeBytes: totalBytes, totalBytes, nowMs: 1_000, asked: 0, shortages: 0 };
  const reserve = new DiskReserve({
    space: () => {
      disk.asked += 1;
      return disk;
    },
    reserveBytes,
    clock: () => disk.nowMs,
    onShort: () => (disk.shortages += 1),
  });
  return { reserve, disk };
}

interface Disk {
  freeBytes: number;
  readonly totalBytes: number;
  nowMs: number;
  asked: number;
  shortages: number;
}

test.each([
  ["a large disk", 256 * MIB, 8 * 1024 * MIB, 256 * MIB],
  ["a disk of 64 MiB", 256 * MIB, 64 * MIB, 8 * MIB],
  ["no reserve", 0, 64 * MIB, 0],
])("of %s keeps what was asked for, and an eighth at most", (_name, asked, total, kept) => {
  expect(reserveOf(asked, total).reserve.bytes).toBe(kept);
});

test("refuses what would come out of it, to the byte, and takes what would not", () => {
  const { reserve, disk } = reserveOf(256 * MIB);
  disk.freeBytes = 256 * MIB + 10;
  disk.nowMs += 1_000;
  expect([reserve.isShort(10), reserve.isShort(11)]).toEqual([false, true]);
});

test("counts what we write ourselves, and asks the system again when that is much", () => {
  const { reserve, disk } = reserveOf(256 * MIB);
  disk.freeBytes = 300 * MIB;
  disk.nowMs += 1_000;
  expect(reserve.isShort(44 * MIB)).toBe(false);
  const { asked } = disk;
  reserve.written(MIB);
  expect([reserve.isShort(43 * MIB), reserve.isShort(44 * MIB)]).toEqual([false, true]);
  expect(disk.asked).toBe(asked);
  reserve.written(16 * MIB);
  // A roll has given back as much meanwhile.
  expect(reserve.isShort(44 * MIB)).toBe(false);
  expect(disk.asked).toBe(asked + 1);
});

test("notices within a moment what others write and remove, and does not ask for each request", () => {
  const { reserve, disk } = reserveOf(256 * MIB);
  const { asked } = disk;
  disk.freeBytes = 0;
  for (let request = 0; request < 1_000; request++) reserve.isShort(100);
  expect(disk.asked).toBe(asked);
  disk.nowMs += 200;
  expect(reserve.isShort(100)).toBe(true);
  disk.freeBytes = disk.totalBytes;
  disk.nowMs += 200;
  expect(reserve.isShort(100)).toBe(false);
  // Also when the clock was set back.
  disk.freeBytes = 0;
  disk.nowMs -= 3_600_000;
  expect(reserve.isShort(100)).toBe(true);
});

test("tells of a shortage now and then, not at each refusal", () => {
  const { reserve, disk } = reserveOf(256 * MIB);
  disk.freeBytes = 0;
  disk.nowMs += 1_000;
  for (let request = 0; request < 100; request++) reserve.isShort(1);
  expect(disk.shortages).toBe(1);
  disk.nowMs += 10_000;
  reserve.isShort(1);
  expect(disk.shortages).toBe(2);
});

test("is no concern where there is no disk", () => {
  const ports = { space: undefined, reserveBytes: 256 * MIB, clock: () => 0, onShort: () => undefined };
  const reserve = new DiskReserve(ports);
  expect([reserve.bytes, reserve.freeBytes, reserve.isShort(Number.MAX_SAFE_INTEGER)]).toEqual([0, null, false]);
});
