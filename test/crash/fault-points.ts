/** The server ended by itself at each named step, and the oracle after it. */
import { fileURLToPath } from "node:url";
import { expect, inject, test } from "vitest";
import { startServer } from "../process/coldbrook.ts";
import { StreamClient } from "../process/http.ts";
import { within } from "../process/until.ts";
import { ForkFamily } from "./fork-family.ts";
import { CrashRun } from "./rounds.ts";
import { withStore, type StoreKind } from "./stores.ts";
import { Load } from "./workload.ts";

const FAULTING_SERVER = fileURLToPath(new URL("../process/faulting-server.js", import.meta.url));
const SEED = Number(process.env["CRASH_SEED"] ?? `${Date.now() % 1_000_000}`);
const DEATH_BOUND_MS = 60_000;
/** The first of three slots whose streams come and go. */
const FAMILY_SLOT = 4;

/** Each named step, and the hits of it at which the process ends. */
export const FAULT_POINTS: readonly (readonly [name: string, hits: readonly number[]])[] = [
  ["append.enqueue", [1, 400]],
  ["commit.write", [1, 150]],
  ["commit.sync", [1, 150]],
  ["commit.ack", [1, 150]],
  ["catalog.commit", [1, 10]],
  ["catalog.flushed", [1, 3]],
  ["segment.create", [1, 4]],
  ["segment.seal", [1, 4]],
  ["roll.plan", [1, 4]],
  ["roll.upload", [1, 4]],
  ["roll.verify", [1, 4]],
  ["roll.record", [1, 4]],
  ["roll.publish", [1, 4]],
  ["roll.release", [1, 4]],
];

/** Those that say something else on another store. */
export const STORE_FAULT_POINTS: typeof FAULT_POINTS = FAULT_POINTS.filter(([name]) => name.startsWith("roll."));

/** Dies at each of the hits in turn, and checks after each of them and after a graceful end that nothing is amiss. */
async function dieAt(store: StoreKind, name: string, hits: readonly number[]): Promise<void> {
  await withStore(store, inject("s3"), async (setup) => {
    const run = new CrashRun({ ...setup, seed: SEED });
    try {
      await plantFamily(run);
      for (const hit of hits) {
        await dieOnce(run, `${name}:${hit}`);
        await using server = await run.start();
        await run.verify(server);
        if (hit === hits.at(-1)) await run.finish(server);
        else expect(await server.stop(), "exit code after SIGTERM").toBe(0);
      }
    } catch (error) {
      throw new Error(`seed ${SEED}, ${name} on ${store}, data in ${setup.dataDir}: ${(error as Error).message}`, {
        cause: error,
      });
    }
  });
}

/** Puts into the data a stream and a fork of it, both deleted and kept for a third that is there. */
async function plantFamily(run: CrashRun): Promise<void> {
  const [root, child, leaf] = run.history.slots.slice(FAMILY_SLOT);
  if (root === undefined || child === undefined || leaf === undefined) throw new Error("too few slots");
  await using server = await run.start();
  using client = new StreamClient(server.url);
  await new ForkFamily(run.history, [root, child, leaf], "json", run.random).play(client, "soft-delete the fork");
}

/** Load on a server that ends itself at the fault point; it may do so before it listens. */
async function dieOnce(run: CrashRun, faultPoint: string): Promise<void> {
  const options = run.options({ entry: FAULTING_SERVER, env: { FAULT_POINT: faultPoint } });
  let server;
  try {
    server = await startServer(options);
  } catch (error) {
    if (/signal SIGKILL/.test(String(error))) return;
    throw error;
  }
  await using dying = server;
  using client = new StreamClient(dying.url);
  const load = new Load(run.history, client, SEED, { readers: true, lossExpected: true });
  try {
    const exit = await within(`the end at ${faultPoint}`, DEATH_BOUND_MS, dying.exited);
    expect(exit, `the end at ${faultPoint}${dying.tailOfLog()}`).toEqual({ code: null, signal: "SIGKILL" });
  } finally {
    await dying[Symbol.asyncDispose]();
    await within("the end of writers and readers", 30_000, load.stop());
  }
}

/** One test for each of `points`. */
export function testFaultPoints(store: StoreKind, points: typeof FAULT_POINTS): void {
  const where = store === "s3" ? "on S3" : "on a directory";
  for (const [name, hits] of points) {
    test.skipIf(store === "s3" && inject("s3") === null)(
      `a crash at ${name} loses, tears, doubles and undoes nothing, ${where}`,
      { timeout: 240_000 },
      async () => {
        await dieAt(store, name, hits);
      },
    );
  }
}
