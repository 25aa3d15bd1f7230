import { fileURLToPath } from "node:url";
import { expect, inject, test } from "vitest";
import { startServer } from "../process/coldbrook.ts";
import { ConnectionLost, StreamClient } from "../process/http.ts";
import { until, within } from "../process/until.ts";
import { CrashRun } from "./rounds.ts";
import { withStore } from "./stores.ts";
import { HOOK_STEPS, PULL_STEPS, scriptBook, SubscriptionScript, type ScriptStep } from "./subscriptions/script.ts";

const ARMED_SERVER = fileURLToPath(new URL("subscriptions/armed-server.js", import.meta.url));
const SEED = Number(process.env["CRASH_SEED"] ?? `${Date.now() % 1_000_000}`);
/** A lease that runs out in the middle is a commit of its own, and the script then ends at an earlier step. */
const TRIES_MAX = 4;

const STEPS: readonly ScriptStep[] = ["wake", "claim", "ack", "last ack and next wake", "delete", "done of a webhook"];

function commitsOf(step: ScriptStep): readonly ScriptStep[] {
  return (PULL_STEPS as readonly ScriptStep[]).includes(step) ? PULL_STEPS : HOOK_STEPS;
}

/**
 * Checks what the last end left and leaves nothing to do, then plays the script until the server ends itself at that commit
 * of it; returns the step that was under way.
 */
async function dieIn(run: CrashRun, name: string, wanted: ScriptStep): Promise<ScriptStep | null> {
  const { subscriptions } = run;
  if (subscriptions === null) throw new Error("there are no subscriptions");
  const hit = commitsOf(wanted).indexOf(wanted) + 1;
  await using server = await startServer(run.options({ entry: ARMED_SERVER, env: { FAULT_POINT: `${name}:${hit}` } }));
  await run.verify(server);
  using client = new StreamClient(server.url);
  const script = new SubscriptionScript(subscriptions);
  await script.prepare(client);
  await run.drain();
  process.kill(server.pid, "SIGUSR2");
  await until("the armed fault point", 30_000, () => server.stderr.includes("armed") || undefined);
  const play =
    commitsOf(wanted) === PULL_STEPS ? script.pull(client) : script.hook(client, () => server.exit !== undefined);
  await play.catch((error: unknown) => {
    if (!(error instanceof ConnectionLost)) throw error;
  });
  const exit = await within(`the end at ${name}`, 60_000, server.exited);
  subscriptions.detach();
  expect(exit, `the end at ${name}${server.tailOfLog()}`).toEqual({ code: null, signal: "SIGKILL" });
  return script.step;
}

for (const name of ["commit.write", "commit.sync", "commit.ack"]) {
  test(
    `no wake, claim, ack or delete is lost, half done or held twice when the server ends at its ${name}`,
    { timeout: 240_000 },
    async () => {
      await withStore("directory", inject("s3"), async (setup) => {
        const run = new CrashRun({ ...setup, seed: SEED });
        await using subscriptions = await run.withSubscriptions(scriptBook(`scripted-${SEED}`));
        subscriptions.isDiligent = true;
        try {
          for (const step of STEPS) {
            let reached: ScriptStep | null = null;
            for (let tries = 0; reached !== step && tries < TRIES_MAX; tries += 1) {
              reached = await dieIn(run, name, step);
            }
            expect(reached).toBe(step);
          }
          await using last = await run.start();
          await run.verify(last);
          await run.finish(last);
        } catch (error) {
          throw new Error(`seed ${SEED}, ${name}, data in ${setup.dataDir}: ${(error as Error).message}`, {
            cause: error,
          });
        }
      });
    },
  );
}
