/** A store whose answers are lost: what was asked of it is done, the connection is reset, and the server is killed in between. */
import { expect, inject, test } from "vitest";
import { makeBucket } from "../s3/buckets.ts";
import { startFaultProxy } from "../s3/fault-proxy.ts";
import { DataDirectory } from "../faults/data-directory.ts";
import { CrashRun } from "./rounds.ts";

const ROUNDS = 3;
const SEED = Number(process.env["CRASH_SEED"] ?? `${Date.now() % 1_000_000}`);

const s3 = inject("s3");

test.skipIf(s3 === null)(
  "a store that resets connections after it has done as it was told loses and doubles nothing over kills, and holds nothing unknown",
  { timeout: 240_000 },
  async () => {
    if (s3 === null) throw new Error("no S3 server in this run");
    await using bucket = await makeBucket(s3);
    await using proxy = await startFaultProxy(s3.endpoint);
    await using data = await DataDirectory.empty();
    for (const [on, every] of [
      ["put", 2],
      ["delete", 2],
      ["get", 5],
      ["head", 3],
    ] as const) {
      proxy.inject({ on, every, fault: { kind: "reset-after" } });
    }
    const run = new CrashRun({
      dataDir: data.path,
      // Objects go as soon as nobody needs them: their removal is among what is answered by a reset.
      storeArgs: ["--store", bucket.spec, "--object-grace-ms", "0"],
      env: { ...bucket.environmentVia(proxy.url) },
      seed: SEED,
      acksMax: 800,
    });
    try {
      for (let round = 1; round <= ROUNDS; round += 1) {
        await using server = await run.start();
        await run.verify(server);
        const { put } = proxy.counts;
        await run.killUnderLoad(server, SEED + round);
        expect(proxy.counts.put, "uploads under load").toBeGreaterThan(put);
      }
      await using last = await run.start();
      await run.verify(last);
      await run.finish(last);
    } catch (error) {
      throw new Error(`seed ${SEED}: ${(error as Error).message}`, { cause: error });
    }
    expect(proxy.faulted).toBeGreaterThan(10);
    expect(proxy.counts.delete, "removals of objects").toBeGreaterThan(0);
  },
);
