import { expect, test } from "vitest";
import { formatBytes, progressLine } from "./progress.ts";

test.each([
  [0, "0 bytes"],
  [1, "1 byte"],
  [1023, "1023 bytes"],
  [1536, "1.5 KiB"],
  [5 * 1024 ** 3, "5.0 GiB"],
])("%i is %s", (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

test("the time left is told only when the size is known", () => {
  expect(progressLine("writing", 1024, 4096, 1000)).toBe("writing 1.0 KiB of 4.0 KiB (25%), 1.0 KiB/s, 00:03 left");
  expect(progressLine("reading", 1024, undefined, 500)).toBe("reading 1.0 KiB, 2.0 KiB/s");
});
