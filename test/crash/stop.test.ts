import { expect, test } from "vitest";
import { startServer } from "../process/coldbrook.ts";
import { DataDirectory } from "../faults/data-directory.ts";

test("a server that has just said that it listens ends gracefully at SIGTERM", { timeout: 60_000 }, async () => {
  await using data = await DataDirectory.empty();
  for (let round = 0; round < 5; round += 1) {
    await using server = await startServer({ args: ["--data-dir", data.path] });
    expect(await server.stop(), server.tailOfLog()).toBe(0);
  }
});
