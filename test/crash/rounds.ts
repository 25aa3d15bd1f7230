/** Rounds of kill -9 under load against one data directory, each followed by the oracle. */
import { setTimeout as pause } from "node:timers/promises";
import { COLDBROOK_BIN, ServerProcess, runCheck, startServer, type ServerOptions } from "../process/coldbrook.ts";
import { StreamClient } from "../process/http.ts";
import { until, within } from "../process/until.ts";
import { History } from "./history.ts";
import { checkAfterRestart } from "./oracle.ts";
import { SeededRandom } from "./random.ts";
import type { SubscriptionBook, SubscriptionCounts } from "./subscriptions/book.ts";
import { SubscriptionLoad } from "./subscriptions/load.ts";
import { SUBSCRIPTION_ARGS, SubscriptionRig } from "./subscriptions/rig.ts";
import { Load } from "./workload.ts";

/** Everything rolls: small segments, small chunks, short ages. */
export const ROLLING_ARGS: readonly string[] = [
  "--segment-bytes",
  "65536",
  "--segment-age-ms",
  "200",
  "--chunk-bytes",
  "4096",
];

const SLOTS = 40;
const RECOVERY_KILL_EVERY = 4;
/** Of so many rounds one begins with a pause in which every subscription comes to every tail. */
const DRAIN_EVERY = 3;
const LOAD_BOUND_MS = 60_000;

export interface CrashSetup {
  readonly dataDir: string;
  /** `--store` and the like. */
  readonly storeArgs: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly seed: number;
  readonly entry?: string;
}

export interface CrashReport extends SubscriptionCounts {
  readonly kills: number;
  readonly killsInRecovery: number;
  readonly acks: number;
  readonly happened: number;
  readonly absent: number;
  /** Forks acknowledged; those at least three forks deep; deletes that left a stream for its forks; such streams gone with them. */
  readonly forks: number;
  readonly chains: number;
  readonly softDeletes: number;
  readonly cascades: number;
}

/** One data directory, its history, and the server that runs on it now. */
export class CrashRun {
  readonly history: History;
  readonly random: SeededRandom;
  readonly #setup: CrashSetup;
  #startMs = 500;
  /** The subscriptions of a run that has some. */
  subscriptions: SubscriptionRig | null = null;
  happened = 0;
  absent = 0;

  constructor(setup: CrashSetup) {
    this.#setup = setup;
    this.history = new History(SLOTS, `crash-${setup.seed}`);
    this.random = new SeededRandom(setup.seed);
  }

  /** From here on subscriptions are part of the load and of what is checked; the caller closes them. */
  async withSubscriptions(book?: SubscriptionBook): Promise<SubscriptionRig> {
    const { seed } = this.#setup;
    this.subscriptions = await SubscriptionRig.open(`woken-${seed}`, seed, this.history.violations, book);
    return this.subscriptions;
  }

  options(extra: { entry?: string; env?: Readonly<Record<string, string>> } = {}): ServerOptions {
    const { dataDir, storeArgs, env, entry } = this.#setup;
    return {
      args: ["--data-dir", dataDir, ...storeArgs, ...ROLLING_ARGS, ...SUBSCRIPTION_ARGS],
      env: { ...env, ...extra.env },
      entry: extra.entry ?? entry ?? COLDBROOK_BIN,
    };
  }

  async start(): Promise<ServerProcess> {
    const before = performance.now();
    const server = await startServer(this.options());
    this.#startMs = performance.now() - before;
    return server;
  }

  async verify(server: ServerProcess): Promise<void> {
    await this.subscriptions?.attach(server.url);
    using client = new StreamClient(server.url);
    const report = await checkAfterRestart(this.history, client, this.random);
    this.happened += report.happened;
    this.absent += report.absent;
  }

  /** Load until some more writes are acknowledged, then kill -9 with requests in flight. */
  async killUnderLoad(server: ServerProcess, seed: number): Promise<void> {
    using client = new StreamClient(server.url);
    const goal = this.history.acks + this.random.integer(300, 2_500);
    const load = new Load(this.history, client, seed, { readers: true, lossExpected: false });
    const others = this.subscriptions === null ? null : new SubscriptionLoad(this.subscriptions, client, seed, false);
    try {
      await until(
        `${goal} acknowledgements`,
        LOAD_BOUND_MS,
        () => this.#reached(goal) || server.exit !== undefined || undefined,
      );
    } finally {
      load.expectLoss();
      others?.expectLoss();
      await server.kill9();
      this.subscriptions?.detach();
      await within("the end of writers, readers and workers", 30_000, Promise.all([load.stop(), others?.stop()]));
    }
    this.#throwViolations();
  }

  #reached(goal: number): boolean {
    return this.history.acks >= goal || this.history.violations.length > 0;
  }

  #throwViolations(): void {
    const { violations } = this.history;
    if (violations.length > 0)
      throw new AggregateError(
        violations,
        violations
          .map(({ message }) => message)
          .slice(0, 8)
          .join("\n"),
      );
  }

  /** Starts and kills at a random moment of the start, at the latest when it listens. */
  async killInRecovery(): Promise<boolean> {
    await using server = new ServerProcess(this.options());
    await Promise.race([
      pause(this.random.integer(1, Math.ceil(this.#startMs))),
      server.waitReady().catch(() => undefined),
    ]);
    const early = !server.listening;
    await server.kill9();
    return early;
  }

  /** Every subscription comes to every tail. */
  async drain(): Promise<void> {
    await this.subscriptions?.drain();
    this.#throwViolations();
  }

  /** Graceful end, `coldbrook check`, and one more start on what is left. */
  async finish(server: ServerProcess): Promise<void> {
    await this.drain();
    this.subscriptions?.detach();
    const code = await server.stop();
    if (code !== 0) throw new Error(`SIGTERM ended with exit code ${code}${server.tailOfLog()}`);
    const { dataDir, storeArgs, env } = this.#setup;
    const check = await runCheck({ args: ["--data-dir", dataDir, ...storeArgs], env });
    if (check.code !== 0) throw new Error(`coldbrook check: exit code ${check.code}\n${check.output}`);
    await using again = await this.start();
    await this.verify(again);
    this.subscriptions?.detach();
    if ((await again.stop()) !== 0) throw new Error(`the second SIGTERM did not end cleanly${again.tailOfLog()}`);
  }
}

/** `rounds` kills, one in four of them in recovery. @throws Error naming the seed, the round and the violations */
export async function killRounds(setup: CrashSetup, rounds: number): Promise<CrashReport> {
  const run = new CrashRun(setup);
  await using subscriptions = await run.withSubscriptions();
  let killsInRecovery = 0;
  let server: ServerProcess | undefined;
  let round = 0;
  try {
    for (round = 1; round <= rounds; round += 1) {
      if (round % RECOVERY_KILL_EVERY === 0) {
        await run.killInRecovery();
        killsInRecovery += 1;
        continue;
      }
      server = await run.start();
      await run.verify(server);
      if (round % DRAIN_EVERY === 0) await run.drain();
      await run.killUnderLoad(server, setup.seed + round);
    }
    server = await run.start();
    await run.verify(server);
    await run.finish(server);
  } catch (error) {
    const log = server?.tailOfLog() ?? "";
    throw new Error(`seed ${setup.seed}, round ${round}, data in ${setup.dataDir}: ${(error as Error).message}${log}`, {
      cause: error,
    });
  } finally {
    await server?.[Symbol.asyncDispose]();
  }
  const { history, happened, absent } = run;
  return {
    kills: rounds,
    killsInRecovery,
    acks: history.acks,
    happened,
    absent,
    ...history.counts,
    ...subscriptions.book.counts,
  };
}
