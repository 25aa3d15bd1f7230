/** Rounds of kill -9 under load against one data directory, each followed by the oracle. */
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { COLDBROOK_BIN, ServerProcess, runCheck, startServer, type ServerOptions } from "../process/coldbrook.ts";
import { StreamClient } from "../process/http.ts";
import { until, within } from "../process/until.ts";
import { ACK_WEIGHTS } from "./ack-bell.ts";
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

/** A server that lives for two seconds would spend a quarter of its CPU on optimising code that it soon takes down with it. */
const BRIEF_LIFE: readonly string[] = ["--no-opt"];

const SLOTS = 40;
const RECOVERY_KILL_EVERY = 4;
/** Of so many rounds one begins with a pause in which every subscription comes to every tail. */
const DRAIN_EVERY = 3;
const LOAD_BOUND_MS = 60_000;
/** Acknowledgements under load before a kill. */
const ACKS_MIN = 100;
const ACKS_MAX = 1_800;
/** So long a kill waits for the acknowledgement that it is to come with. */
const ACK_BOUND_MS = 2_000;
/** A long run tells how far it is. */
const TOLD_EVERY = 25;
/** Of so many rounds one is on a slow disk. */
const SLOW_EVERY = 2;
const SLOW_DISK_ENTRY: string = fileURLToPath(new URL("./slow-disk-server.js", import.meta.url));

export interface CrashSetup {
  readonly dataDir: string;
  /** `--store` and the like. */
  readonly storeArgs: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly seed: number;
  readonly entry?: string;
  /** Most acknowledgements under load before a kill. */
  readonly acksMax?: number;
}

export interface CrashReport extends SubscriptionCounts {
  readonly kills: number;
  readonly killsInRecovery: number;
  /** Kills that came with an acknowledgement, in the same turn. */
  readonly killsAtAcks: number;
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
  killsAtAcks = 0;

  constructor(setup: CrashSetup) {
    this.#setup = setup;
    this.history = new History(SLOTS, `crash-${setup.seed}`);
    this.random = new SeededRandom(setup.seed);
  }

  /** From here on subscriptions are part of the load and of what is checked; the caller closes them. */
  async withSubscriptions(book?: SubscriptionBook): Promise<SubscriptionRig> {
    const { seed } = this.#setup;
    this.subscriptions = await SubscriptionRig.open(`woken-${seed}`, seed, this.history.violations, book);
    this.subscriptions.book.onAck = (kind): void => this.history.bell.ring(kind);
    return this.subscriptions;
  }

  options(extra: { entry?: string; env?: Readonly<Record<string, string>> } = {}): ServerOptions {
    const { dataDir, storeArgs, env, entry } = this.#setup;
    return {
      args: ["--data-dir", dataDir, ...storeArgs, ...ROLLING_ARGS, ...SUBSCRIPTION_ARGS],
      env: { ...env, ...extra.env },
      nodeArgs: BRIEF_LIFE,
      entry: extra.entry ?? entry ?? COLDBROOK_BIN,
    };
  }

  async start(extra: { entry?: string } = {}): Promise<ServerProcess> {
    const before = performance.now();
    const server = await startServer(this.options(extra));
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

  /**
   * Load until some more writes are acknowledged, then kill -9 with requests in flight: at once, or in the turn in which the next
   * acknowledgement of some kind arrives.
   */
  async killUnderLoad(server: ServerProcess, seed: number): Promise<void> {
    using client = new StreamClient(server.url);
    const acksMax = this.#setup.acksMax ?? ACKS_MAX;
    const goal = this.history.acks + this.random.integer(Math.min(ACKS_MIN, Math.ceil(acksMax / 6)), acksMax);
    const load = new Load(this.history, client, seed, { readers: true, lossExpected: false });
    const others = this.subscriptions === null ? null : new SubscriptionLoad(this.subscriptions, client, seed, false);
    try {
      await until(
        `${goal} acknowledgements`,
        LOAD_BOUND_MS,
        () => this.#reached(goal) || server.exit !== undefined || undefined,
      );
      if (this.random.chance(0.75)) await this.#killAtAck(server, load, others);
    } finally {
      load.expectLoss();
      others?.expectLoss();
      await server.kill9();
      this.subscriptions?.detach();
      await within("the end of writers, readers and workers", 30_000, Promise.all([load.stop(), others?.stop()]));
    }
    this.#throwViolations();
  }

  async #killAtAck(server: ServerProcess, load: Load, others: SubscriptionLoad | null): Promise<void> {
    const { bell } = this.history;
    const kind = this.random.weighted(ACK_WEIGHTS);
    if (others !== null) others.hurry = kind;
    let killed: Promise<unknown> | null = null;
    bell.await(kind, () => {
      load.expectLoss();
      others?.expectLoss();
      this.killsAtAcks += 1;
      killed = server.kill9();
    });
    const end = performance.now() + ACK_BOUND_MS;
    while (killed === null && server.exit === undefined && performance.now() < end) await pause(5);
    bell.silence();
    await killed;
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
  async drain(forgets = false): Promise<void> {
    await this.subscriptions?.drain(forgets);
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
      if (round % TOLD_EVERY === 0)
        process.stdout.write(`round ${round} of ${rounds}, ${run.history.acks} acks so far\n`);
      if (round % RECOVERY_KILL_EVERY === 0) {
        await run.killInRecovery();
        killsInRecovery += 1;
        continue;
      }
      server = await run.start(round % SLOW_EVERY === 0 ? { entry: SLOW_DISK_ENTRY } : {});
      await run.verify(server);
      if (round % DRAIN_EVERY === 0) await run.drain(true);
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
  const { history, happened, absent, killsAtAcks } = run;
  return {
    kills: rounds,
    killsInRecovery,
    killsAtAcks,
    acks: history.acks,
    happened,
    absent,
    ...history.counts,
    ...subscriptions.book.counts,
  };
}
