/**
 * A simulated world: one clock, one disk, one object store, and the processes that use them. Every call that a process makes
 * passes through `enter` and `leave`, and there it may die.
 */
import { newCounts } from "./counts.ts";
import type { Counts } from "./counts.ts";
import { Disk } from "./disk.ts";
import { Files } from "./files.ts";
import { Frozen, Process } from "./process.ts";
import { Random } from "./random.ts";
import { Scheduler } from "./scheduler.ts";

const START_MS = 1_700_000_000_000;
/** Between two looks at the stopwatch. */
const COMPUTED_MS_MAX = 0.5;

/** Told of what happens on the disk, to compare with what was promised. */
export interface DiskWitness {
  /** A file or directory was synced. */
  synced(path: string): void;
  /** About to be unlinked. */
  unlinking(path: string): void;
}

export class World {
  readonly seed: number;
  readonly counts: Counts = newCounts();
  readonly scheduler = new Scheduler(START_MS);
  readonly disk = new Disk();
  readonly files: Files;
  readonly random: Random;
  readonly latency: Random;
  /** For what the server itself draws. */
  readonly serverRandom: Random;
  readonly processes = new Map<number, Process>();
  witness: DiskWitness | null = null;
  /** What went wrong with the world itself: a process that gave up without a reason, say. */
  readonly violations: string[] = [];
  /** Orders calls, answers and crashes. */
  step = 0;
  boots = 1;
  #hash = 0x811c9dc5;
  #processCount = 0;
  #stopwatchMs = 0;

  constructor(seed: number) {
    this.seed = seed;
    this.random = new Random(seed, "faults");
    this.latency = new Random(seed, "latency");
    this.serverRandom = new Random(seed, "server");
    this.files = new Files(this);
  }

  get nowMs(): number {
    return this.scheduler.nowMs;
  }

  /** The clock that work is timed by: computing takes time as well, though no event comes later for it. */
  stopwatch(): number {
    this.#stopwatchMs = Math.max(this.#stopwatchMs, this.nowMs) + this.latency.next() * COMPUTED_MS_MAX;
    return this.#stopwatchMs;
  }

  get owner(): Process | null {
    return this.scheduler.owner;
  }

  /** Eight hexadecimal digits that stand for all that has happened. */
  get trace(): string {
    return (this.#hash >>> 0).toString(16).padStart(8, "0");
  }

  note(what: string, number = 0): void {
    let hash = this.#hash;
    for (let i = 0; i < what.length; i++) hash = Math.imul(hash ^ what.charCodeAt(i), 0x01000193);
    this.#hash = Math.imul(hash ^ number ^ Math.trunc(this.nowMs * 1000), 0x01000193);
  }

  spawn(pid: number, namespace: string): Process {
    this.#processCount += 1;
    const process = new Process({ id: this.#processCount, pid, startedAt: 1000 + this.#processCount, namespace });
    this.processes.set(process.id, process);
    return process;
  }

  /** The live process of that pid, as one of `namespace` sees it. */
  processOf(pid: number, namespace: string): Process | undefined {
    for (const process of this.processes.values())
      if (!process.dead && process.pid === pid && process.namespace === namespace) return process;
    return undefined;
  }

  /** To be called before a call takes effect. @throws Frozen */
  enter(name: string, number = 0): Process | null {
    const { owner } = this;
    if (owner === null) return null;
    if (owner.dead) throw new Frozen();
    owner.count();
    this.note(name, number);
    if (owner.isAtCrash && owner.crash?.side === "before") this.#crash(owner, owner.crash.mode);
    return owner;
  }

  /** To be called when it has. @throws Frozen */
  leave(process: Process | null): void {
    if (process?.isAtCrash === true && process.crash?.side === "after") this.#crash(process, process.crash.mode);
  }

  /** A call that takes effect some time after it is made, and then answers. */
  later<T>(name: string, delayMs: number, effect: () => T): Promise<T> {
    const { owner } = this;
    return new Promise((resolve, reject) => {
      this.scheduler.after(delayMs, owner, () => {
        const process = this.enter(name);
        let result: T;
        try {
          result = effect();
        } catch (error) {
          return reject(error as Error);
        }
        this.leave(process);
        resolve(result);
      });
    });
  }

  /** A call that has taken effect when it returns. */
  now<T>(name: string, effect: () => T): T {
    const process = this.enter(name);
    const result = effect();
    this.leave(process);
    return result;
  }

  /** Ends a process; what it wrote stays. */
  kill(process: Process, why: string): void {
    if (process.dead) return;
    this.note(`died:${why}`, process.id);
    this.disk.root.remount();
    process.die(why);
  }

  powerLoss(): void {
    this.counts.powerLosses += 1;
    this.boots += 1;
    for (const process of this.processes.values()) this.kill(process, "power");
    this.disk.powerLoss(this.random, this.counts);
  }

  /** A process cannot go on and says so. It must have met a fault. */
  fatal(process: Process | null, error: Error): void {
    if (error instanceof Frozen || process?.dead === true) return;
    if (process === null) {
      this.violations.push(`the simulation itself failed: ${error.stack ?? error.message}`);
      return;
    }
    this.counts.fatalExits += 1;
    if (process.excuses.length === 0)
      this.violations.push(`a process ended though nothing had failed: ${error.stack ?? error.message}`);
    this.kill(process, "fatal");
  }

  #crash(process: Process, mode: "kill" | "power"): never {
    this.counts.crashes += 1;
    if (mode === "power") this.powerLoss();
    else this.kill(process, "kill");
    throw new Frozen();
  }
}
