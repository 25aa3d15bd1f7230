/**
 * The server of a world: one incarnation after another over the same data directory and bucket, each started by the product's own
 * code, ended by a crash, a fault that it gave up at, or a graceful close.
 */
import type { Product } from "./product.ts";
import type { Plan } from "./plan.ts";
import { Frozen } from "./world/process.ts";
import type { Process } from "./world/process.ts";
import { Random } from "./world/random.ts";
import { Flips } from "./world/flips.ts";
import { bucketOf, NO_STORE_FAULTS } from "./world/object-store.ts";
import type { StoreFaults } from "./world/object-store.ts";
import type { World } from "./world/world.ts";
import type { Shard } from "../../packages/server/dist/shard.js";

export const DATA_DIR = "/srv/data";
const quiet = (): void => undefined;
const SILENT_LOG = { info: quiet, warn: quiet, error: quiet, fatal: quiet };
/** A refused start is tried again; where nothing has failed, so many refusals in a row are too many. */
const CALM_REFUSALS_MAX = 3;
/** Between two looks at whether a check has ended. */
const RESTART_MS = 100;

type ServerSettings = Parameters<Product["check"]>[0];

export interface Running {
  readonly process: Process;
  readonly shard: Shard;
  readonly service: ReturnType<Shard["engine"]["subscriptions"]["service"]>;
  /** Ends waiting readers, as a server that drains does. */
  readonly waits: Set<() => void>;
  readonly release: () => void;
}

export class Server {
  up: Running | null = null;
  /** No request is let in. */
  closing = false;
  inFlight = 0;
  readonly settings: ServerSettings;
  readonly flips: Flips;
  readonly #world: World;
  readonly #product: Product;
  readonly #plan: Plan;
  readonly #died: (process: Process) => void;
  readonly #random: Random;
  #incarnations = 0;
  #calmRefusals = 0;
  #waiting: (() => void)[] = [];
  #isChecked = false;

  constructor(world: World, product: Product, plan: Plan, died: (process: Process) => void) {
    this.#world = world;
    this.flips = new Flips(world);
    this.#product = product;
    this.#plan = plan;
    this.#died = died;
    this.#random = new Random(plan.seed, "restarts");
    const store = plan.settings.store === "s3" ? "s3://simulated" : "file:objects";
    this.settings = { ...plan.settings, dataDir: DATA_DIR, store } as unknown as ServerSettings;
    bucketOf(world).faults = storeFaults(plan);
    for (const fault of plan.faults) if (fault.kind === "stranger") bucketOf(world).strangerAt = fault.upload;
  }

  /** Nothing fails any more, and nothing crashes. */
  calm(): void {
    bucketOf(this.#world).faults = NO_STORE_FAULTS;
    bucketOf(this.#world).dismissStranger();
    this.flips.heal();
    for (const process of this.#world.processes.values()) heal(process);
    this.#incarnations = Infinity;
  }

  /** Starts the next incarnation. */
  launch(): void {
    if (this.#isChecked) {
      // Whoever checks has stopped the server, and starts it again afterwards (seed 798).
      this.#world.scheduler.after(RESTART_MS, null, () => this.launch());
      return;
    }
    for (const fault of this.#plan.faults) {
      if (fault.kind === "flip" && fault.incarnation === this.#incarnations)
        this.flips.flip(fault.where, `${DATA_DIR}/wal`, fault.part);
    }
    const process = this.#spawn();
    this.#world.counts.starts += 1;
    process.onDeath(() => {
      const isCrash = process.endedBy === "kill" || process.endedBy === "power";
      if (isCrash && this.up === null) this.#world.counts.crashesInRecovery += 1;
      if (isCrash && this.closing) this.#world.counts.crashesInClose += 1;
      this.up = null;
      this.closing = false;
      this.#died(process);
      this.#world.scheduler.after(this.#random.skewed(1, 6_000), null, () => this.launch());
    });
    this.#world.scheduler.after(0, process, () => {
      this.#open(process).then(
        (running) => this.#opened(running),
        (error: unknown) => this.#refused(process, error as Error),
      );
    });
  }

  /** Resolves, as nobody's event, when requests are let in. */
  async ready(): Promise<Running> {
    while (this.up === null || this.closing) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return this.up;
  }

  /** Ends the server politely; the process that is left ends by itself. False when it died before it was done. */
  async close(): Promise<boolean> {
    const running = await this.ready();
    const { process } = running;
    this.closing = true;
    await this.#as(process, () => {
      for (const end of running.waits) end();
    });
    while (this.inFlight > 0 && !process.dead) await this.sleep(5);
    const closed = await this.#as(process, async () => {
      await running.shard.close();
      running.release();
    });
    if (closed === "died") return false;
    this.#world.counts.gracefulCloses += 1;
    this.#world.kill(process, "closed");
    return true;
  }

  /** A second process at the same data directory, while the first one lives. */
  async rival(): Promise<void> {
    const running = await this.ready();
    const rival = this.#world.spawn(
      running.process.pid + (this.#plan.settings.containers ? 0 : 1),
      this.#plan.settings.containers ? `pid:[rival-${this.#world.processes.size}]` : running.process.namespace,
    );
    const opened = await this.#as(rival, () =>
      this.#product.openDataDir(DATA_DIR).then(
        (dataDir) => (dataDir.release(), "taken" as const),
        () => "refused" as const,
      ),
    );
    if (opened === "refused") this.#world.counts.secondProcessesRefused += 1;
    if (opened === "taken" && !running.process.dead)
      this.#world.violations.push("a second process took the data directory from a living one");
    this.#world.kill(rival, "done");
  }

  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => void this.#world.scheduler.after(delayMs, null, resolve));
  }

  /** `coldbrook check`, by a process of its own. Returns what it found, nothing when all is sound. */
  async check(): Promise<string[]> {
    const lines: string[] = [];
    this.#isChecked = true;
    const process = this.#world.spawn(99, "pid:[check]");
    const ended = await this.#as(process, () => this.#product.check(this.settings, (line) => lines.push(line)));
    this.#world.kill(process, "done");
    this.#isChecked = false;
    // The cache promises nothing after a power loss, and is verified whenever it is read. The last line adds up the others.
    return ended === 0 ? [] : lines.slice(0, -1).filter((line) => !line.startsWith("cache file "));
  }

  /** Runs `act` as `process`, and resolves as nobody. "died" when the process did. */
  #as<T>(process: Process, act: () => T | Promise<T>): Promise<T | "died"> {
    const { scheduler } = this.#world;
    return new Promise((resolve, reject) => {
      const settle = (end: () => void): void => void scheduler.after(0, null, end);
      process.onDeath(() => settle(() => resolve("died")));
      if (process.dead) return resolve("died");
      scheduler.after(0, process, () => {
        Promise.resolve()
          .then(act)
          .then(
            (value) => settle(() => resolve(value)),
            (error: unknown) => {
              if (error instanceof Frozen || process.dead) return;
              this.#world.fatal(process, error as Error);
              if (process.excuses.length === 0) reject(error as Error);
            },
          );
      });
    });
  }

  #spawn(): Process {
    const { samePid, containers } = this.#plan.settings;
    const index = this.#incarnations++;
    const process = this.#world.spawn(
      samePid ? 1 : 100 + this.#world.processes.size,
      containers ? `pid:[${this.#world.processes.size}]` : "pid:[1]",
    );
    for (const fault of this.#plan.faults) {
      if (!("incarnation" in fault) || fault.incarnation !== index) continue;
      if (fault.kind === "crash") process.crash = fault;
      if (fault.kind === "sync") process.failingSyncs = [...process.failingSyncs, fault.number];
      if (fault.kind === "full") process.fullDisk = fault;
    }
    return process;
  }

  async #open(process: Process): Promise<Running> {
    const { openDataDir, openObjectStore, openKeys, openShard } = this.#product;
    const dataDir = await openDataDir(DATA_DIR);
    const store = await openObjectStore(this.settings.store, { dataDir: DATA_DIR });
    const keys = openKeys(DATA_DIR);
    const ports = {
      clock: Date.now,
      random: Math.random,
      faultPoint: (): void => undefined,
      log: SILENT_LOG,
      onFatal: (error: Error): void => this.#fatal(process, error),
    };
    const settings = { ...this.settings, restingStreamsMax: this.#plan.settings.restingStreamsMax };
    const shard = await openShard(settings, ports, dataDir, store);
    const service = shard.engine.subscriptions.service({ keys, signing: null });
    return { process, shard, service, waits: new Set(), release: () => dataDir.release() };
  }

  #fatal(process: Process, error: Error): void {
    if (this.flips.file !== null && !process.dead && process.excuses.length === 0) {
      process.excuses.push(`a bit of ${this.flips.file} was flipped`);
      this.flips.found(error.message);
    }
    this.#world.fatal(process, error);
  }

  #opened(running: Running): void {
    if (running.process.dead) return;
    this.up = running;
    this.#calmRefusals = 0;
    const waiting = this.#waiting.splice(0);
    this.#world.scheduler.after(0, null, () => {
      for (const go of waiting) go();
    });
  }

  #refused(process: Process, error: Error): void {
    if (process.dead || error instanceof Frozen) return;
    this.#world.counts.startsRefused += 1;
    if (this.flips.file !== null && process.excuses.length === 0) {
      process.excuses.push(`a bit of ${this.flips.file} was flipped`);
      this.flips.found(error.message);
    }
    this.#calmRefusals = process.excuses.length === 0 ? this.#calmRefusals + 1 : 0;
    if (this.#calmRefusals >= CALM_REFUSALS_MAX) {
      this.#world.violations.push(`the server does not start again: ${error.message}`);
      return;
    }
    this.#world.kill(process, "refused");
  }
}

function heal(process: Process): void {
  process.crash = null;
  process.failingSyncs = [];
  process.fullDisk = null;
}

function storeFaults(plan: Plan): StoreFaults {
  const rates: Record<string, number> = {};
  const dark: { fromMs: number; toMs: number }[] = [];
  for (const fault of plan.faults) {
    if (fault.kind === "store") rates[fault.what] = fault.rate;
    if (fault.kind === "dark") dark.push(fault);
  }
  return { ...NO_STORE_FAULTS, ...rates, dark };
}
