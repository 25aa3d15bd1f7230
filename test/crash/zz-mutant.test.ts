import { test } from "vitest";
import { killRounds } from "./rounds.ts";
import { withStore } from "./stores.ts";
test("mutant", { timeout: 200_000 }, async () => {
  await withStore("directory", null, async (setup) =>
    killRounds({ ...setup, seed: Number(process.env["CRASH_SEED"] ?? "5"), entry: process.env["MUT_ENTRY"]! }, 5),
  );
});
