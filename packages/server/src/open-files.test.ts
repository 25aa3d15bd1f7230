import { expect, test } from "vitest";
import { connectionsWithin, openFilesMax } from "./open-files.ts";

test.each([
  ["no limit that is known", 16_384, null, 16_384],
  ["a limit far above", 16_384, 1_048_576, 16_384],
  ["a limit just above", 16_384, 16_400, 15_888],
  ["a small limit", 16_384, 256, 128],
  ["next to nothing", 16_384, 1, 1],
])("with %s, connections leave descriptors to the log and the store", (_name, wanted, limit, connections) => {
  expect(connectionsWithin(wanted, limit)).toBe(connections);
});

test.runIf(process.platform === "linux")("this process's limit is a number", () => {
  expect(openFilesMax()).toBeGreaterThan(0);
});
