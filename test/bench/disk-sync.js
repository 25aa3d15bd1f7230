// @ts-check
/** What one small durable write costs on a disk: the floor that no single writer can get below. */
import { closeSync, fdatasyncSync, openSync, unlinkSync, writeSync } from "node:fs";
import { join } from "node:path";
import { performance } from "node:perf_hooks";

const RECORD = Buffer.alloc(128, 1);
const TIMES = 200;

/**
 * Median in µs of appending 128 B to a file in `directory` and calling fdatasync, one after the other, 200 times.
 * @param {string} directory
 * @returns {number}
 */
export function measureDiskSync(directory) {
  const path = join(directory, "disk-sync.dat");
  const descriptor = openSync(path, "a");
  /** @type {number[]} */
  const micros = [];
  try {
    for (let time = 0; time < TIMES; time += 1) {
      const from = performance.now();
      writeSync(descriptor, RECORD);
      fdatasyncSync(descriptor);
      micros.push((performance.now() - from) * 1000);
    }
  } finally {
    closeSync(descriptor);
    unlinkSync(path);
  }
  return micros.sort((left, right) => left - right)[TIMES / 2] ?? Number.NaN;
}
