/** kill -9 under load, round after round, on one store. CRASH_ROUNDS, CRASH_SEED and CRASH_ACKS as in `torture.js`. */
import { expect, inject, test } from "vitest";
import { PATIENCE } from "../process/until.ts";
import { killRounds } from "./rounds.ts";
import { withStore, type StoreKind } from "./stores.ts";

/** Kills for each store; the acceptance runs a thousand. */
const ROUNDS = Number(process.env["CRASH_ROUNDS"] ?? "12");
/** A long run gets its acknowledgements by its many rounds: they may be short. */
const LONG_ROUNDS = 100;
const ACKS_MAX = Number(process.env["CRASH_ACKS"] ?? "0") || (ROUNDS > LONG_ROUNDS ? 600 : null);
/** What each round brings at least, however short it is. */
const FEW = ACKS_MAX === null || ACKS_MAX >= 600 ? ROUNDS : ROUNDS / 20;
const SEED = Number(process.env["CRASH_SEED"] ?? `${Date.now() % 1_000_000}`);
const BOUND_MS = 120_000 + ROUNDS * 30_000 * PATIENCE;

async function survive(store: StoreKind): Promise<void> {
  const report = await withStore(store, inject("s3"), async (setup) =>
    killRounds({ ...setup, seed: SEED, ...(ACKS_MAX === null ? {} : { acksMax: ACKS_MAX }) }, ROUNDS),
  );
  // The first violation ends a run, so whoever comes here met none.
  process.stdout.write(
    `kill -9 on ${store}, seed ${SEED}: ${report.kills} kills, ${report.acks} acknowledgements: ` +
      `0 lost, 0 torn, 0 resurrected, 0 duplicated; ${JSON.stringify(report)}\n`,
  );
  expect(report.kills).toBe(ROUNDS);
  expect(report.killsInRecovery).toBe(Math.floor(ROUNDS / 4));
  expect(report.killsAtAcks, "kills in the turn of an acknowledgement").toBeGreaterThan(ROUNDS / 6);
  expect(report.acks).toBeGreaterThan(FEW * 100);
  expect(report.forks, "forks").toBeGreaterThan(FEW);
  expect(report.chains, "forks of forks of forks").toBeGreaterThan(0);
  expect(report.softDeletes, "soft deletes").toBeGreaterThan(0);
  expect(report.cascades, "cascades").toBeGreaterThan(0);
  expect(report.wakes, "wakes").toBeGreaterThan(FEW);
  expect(report.claims, "claims").toBeGreaterThan(FEW);
  expect(report.acksOfSubscriptions, "acks of subscriptions").toBeGreaterThan(FEW);
  expect(report.webhooks, "webhooks").toBeGreaterThan(FEW);
  expect(report.retries, "webhooks delivered again").toBeGreaterThan(0);
}

/** The one test of a store. */
export function testKills(store: StoreKind): void {
  test.skipIf(store === "s3" && inject("s3") === null)(
    `${ROUNDS} kills under load lose, tear, double and undo nothing, ${store === "s3" ? "on S3" : "on a directory"}`,
    { timeout: BOUND_MS },
    async () => {
      await survive(store);
    },
  );
}
