import { fileURLToPath } from "node:url";
import { expect, inject, test } from "vitest";
import { startServer } from "../process/coldbrook.ts";
import { ConnectionLost, StreamClient } from "../process/http.ts";
import { within } from "../process/until.ts";
import { FAMILY_STEPS, ForkFamily, type FamilyStep } from "./fork-family.ts";
import type { StreamKind } from "./messages.ts";
import { CrashRun } from "./rounds.ts";
import { withStore } from "./stores.ts";

const FAULTING_SERVER = fileURLToPath(new URL("../process/faulting-server.js", import.meta.url));
const SEED = Number(process.env["CRASH_SEED"] ?? `${Date.now() % 1_000_000}`);
const KINDS: readonly StreamKind[] = ["octet", "text", "json"];

/** The frames that only forks have, or that mean more with them. */
const STEPS: readonly FamilyStep[] = [
  "fork at the tail",
  "fork the fork inside of a write",
  "soft-delete the source",
  "soft-delete the fork",
  "delete the last fork",
];

/** Plays a family on a server that ends itself at that commit; returns the step that it did not answer. */
async function dieIn(run: CrashRun, name: string, hit: number, family: ForkFamily): Promise<FamilyStep> {
  await using server = await startServer(
    run.options({ entry: FAULTING_SERVER, env: { FAULT_POINT: `${name}:${hit}` } }),
  );
  using client = new StreamClient(server.url);
  await family.play(client, "delete the last fork").catch((error: unknown) => {
    if (!(error instanceof ConnectionLost)) throw error;
  });
  const exit = await within(`the end at ${name}`, 60_000, server.exited);
  expect(exit, `the end at ${name}${server.tailOfLog()}`).toEqual({ code: null, signal: "SIGKILL" });
  return family.step;
}

for (const name of ["commit.write", "commit.ack"]) {
  test(
    `a fork, a soft delete and a cascade happen whole or not at all when the server ends at ${name}`,
    { timeout: 240_000 },
    async () => {
      await withStore("directory", inject("s3"), async (setup) => {
        const run = new CrashRun({ ...setup, seed: SEED });
        const free = [...run.history.slots];
        try {
          for (const [index, step] of STEPS.entries()) {
            const [root, child, leaf] = free.splice(0, 3);
            if (root === undefined || child === undefined || leaf === undefined) throw new Error("too few slots");
            const kind = KINDS[index % KINDS.length] ?? "octet";
            const family = new ForkFamily(run.history, [root, child, leaf], kind, run.random);
            expect(await dieIn(run, name, FAMILY_STEPS.indexOf(step) + 1, family)).toBe(step);
            await using server = await run.start();
            await run.verify(server);
            if (step === STEPS.at(-1)) await run.finish(server);
          }
        } catch (error) {
          throw new Error(`seed ${SEED}, ${name}, data in ${setup.dataDir}: ${(error as Error).message}`, {
            cause: error,
          });
        }
      });
    },
  );
}
