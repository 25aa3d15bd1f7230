/** Runs a plan from the first start to the last check, and says what was wrong. */
import { checkHistory } from "../model/checker.ts";
import type { Outcome, Request } from "../model/history.ts";
import { Client } from "./client/client.ts";
import type { Shared } from "./client/client.ts";
import { EngineCalls, isRefusal } from "./client/engine-calls.ts";
import { Workers } from "./client/workers.ts";
import { failed } from "./globals.ts";
import { DurableLog } from "./oracle/durable-log.ts";
import type { Plan, Step } from "./plan.ts";
import type { Product } from "./product.ts";
import { Recorder } from "./recorder.ts";
import { DATA_DIR, Server } from "./server.ts";
import type { Counts } from "./world/counts.ts";
import { current } from "./world/current.ts";
import { Random } from "./world/random.ts";
import { World } from "./world/world.ts";

/** More events than any run needs that comes to an end. */
const EVENTS_MAX = 400_000;
const PLACES_MAX = 200_000;
/** Reads that are refused in a row, with nothing failing. */
const LAST_READS_MAX = 3;
/** How often, and at which distance, is looked whether what was under way has ended. */
const LOOKS_MAX = 200;
const LOOK_MS = 50;

export interface Report {
  readonly seed: number;
  /** Empty when all held. */
  readonly violations: readonly string[];
  readonly counts: Counts;
  /** Two runs with the same trace did the same. */
  readonly trace: string;
}

export async function runPlan(plan: Plan, product: Product): Promise<Report> {
  const world = new World(plan.seed);
  current.world = world;
  try {
    const run = new Run(world, plan, product);
    await run.all();
    world.counts.events = world.scheduler.count;
    return { seed: plan.seed, violations: world.violations, counts: world.counts, trace: world.trace };
  } finally {
    for (const process of world.processes.values()) process.dead = true;
    current.world = null;
  }
}

class Run {
  readonly #world: World;
  readonly #plan: Plan;
  readonly #recorder: Recorder;
  readonly #server: Server;
  readonly #calls: EngineCalls;
  readonly #durable: DurableLog;
  readonly #workers: Workers;
  readonly #net: Random;
  readonly #shared: Shared = { tokens: new Map(), types: new Map() };

  constructor(world: World, plan: Plan, product: Product) {
    this.#world = world;
    this.#plan = plan;
    this.#recorder = new Recorder(world);
    this.#server = new Server(world, product, plan, () => this.#recorder.crash());
    this.#calls = new EngineCalls(product.core);
    this.#durable = new DurableLog(world, product.core, () => this.#server.flips.file !== null);
    this.#workers = new Workers(world, product.core, (act) => this.#ask(act));
    this.#net = new Random(plan.seed, "net");
    world.witness = this.#durable;
  }

  async all(): Promise<void> {
    const { files, disk } = this.#world;
    files.makeDirectory(this.#plan.settings.madeBefore ? DATA_DIR : "/srv", true);
    disk.root.sync(disk.root.changes.length);
    const srv = disk.find("/srv");
    if (srv?.kind === "directory") srv.sync(srv.changes.length);
    let isDone = false;
    let fault: unknown = null;
    this.#whole().then(
      () => (isDone = true),
      (error: unknown) => {
        fault = error;
        isDone = true;
      },
    );
    const { scheduler, violations } = this.#world;
    await scheduler.run(
      () => isDone || violations.length > 0,
      EVENTS_MAX,
      () => undefined,
    );
    if (fault !== null) violations.push(`the run itself failed: ${(fault as Error).stack ?? String(fault)}`);
    if (!isDone && violations.length === 0) violations.push(`nothing ends: ${scheduler.count} events were run`);
    if (violations.length === 0) this.#judge();
  }

  async #whole(): Promise<void> {
    this.#server.launch();
    const byClient = new Map<number, Step[]>();
    for (const step of this.#plan.steps) byClient.set(step.client, [...(byClient.get(step.client) ?? []), step]);
    await Promise.all([...byClient].map(([client, steps]) => this.#client(client, steps)));
    await this.#end();
  }

  async #client(number: number, steps: readonly Step[]): Promise<void> {
    const client = new Client(`c${number}`, (...request) => this.#send(...request), this.#shared);
    for (const step of steps) {
      await this.#server.sleep(step.pauseMs);
      if (step.action.kind === "compact") await this.#compact();
      else if (step.action.kind === "restart") await this.#server.close();
      else if (step.action.kind === "rival") await this.#server.rival();
      else if ("name" in step.action) await this.#workers.take(`c${number}`, step.action);
      else await client.take(step);
    }
  }

  /** Nothing fails any more: everything acknowledged must be there, be given back as it should be, and survive a restart. */
  async #end(): Promise<void> {
    this.#server.calm();
    const last = new Client("end", (...request) => this.#send(...request), this.#shared);
    const paths = new Set(this.#recorder.operations.map(({ path }) => path));
    await this.#readAll(last, paths);
    await this.#compact();
    await this.#readAll(last, paths);
    await this.#workers.end();
    // What failed before may still end a process now.
    while (!(await this.#server.close()));
    for (const line of await this.#server.check()) this.#world.violations.push(`check: ${line}`);
    await this.#readAll(last, paths);
    await this.#server.ready();
    await this.#checkHandles();
  }

  /** A roll or a collection under way has files of the directory store open, and ends (seed 4868); what leaks stays. */
  async #checkHandles(): Promise<void> {
    const running = this.#server.up!;
    const { engine } = running.shard;
    for (let look = 0; look < LOOKS_MAX && running.process.files.size > engine.wal.segmentCount + 1; look++)
      await this.#server.sleep(LOOK_MS);
    if (running.process.files.size > engine.wal.segmentCount + 1)
      this.#world.violations.push(
        `${running.process.files.size} files are open for ${engine.wal.segmentCount} segments`,
      );
  }

  /** What expires while it is read is refused once, and is not there then. */
  async #readAll(last: Client, paths: ReadonlySet<string>): Promise<void> {
    for (const path of paths) {
      for (let attempt = 1; ((await last.follow(path))?.kind ?? "refused") === "refused"; attempt++) {
        if (attempt < LAST_READS_MAX) continue;
        this.#world.violations.push(`with all faults over, ${path} cannot be read`);
        break;
      }
    }
  }

  #send(client: string, path: string, request: Request): Promise<Outcome | null> {
    return this.#request((running, answer) => {
      const operation = this.#recorder.call(client, path, request);
      running.process.onDeath(() => answer(null, () => undefined));
      const isWrite = request.kind !== "read" && request.kind !== "head";
      const arrive = async (): Promise<void> => {
        if (isWrite) running.process.writesUnderWay += 1;
        const full = this.#fullFrom(running);
        const outcome = await this.#calls
          .perform(running, path, request)
          .catch((error: unknown) => this.#damaged(error));
        if (isWrite) running.process.writesUnderWay -= 1;
        if (request.kind === "read" && outcome.kind === "refused") {
          // One that damaged bytes have ended was a use of the stream for all that, or was not yet (seed 6409).
          answer(null, () => this.#recorder.giveUp(operation));
          return;
        }
        answer(outcome, () => {
          this.#recorder.answer(operation, outcome);
          this.#durable.acknowledged(path, request, outcome);
          this.#checkBudget();
          if (outcome.kind === "appended" && full !== null && full === this.#fullFrom(running))
            this.#world.violations.push(`an append to ${path} was taken while the WAL was over its budget`);
        });
      };
      return arrive;
    });
  }

  /** Anything else that a client asks of the server; a refusal that promises that nothing happened counts as no answer. */
  #ask<T>(act: (running: NonNullable<Server["up"]>) => Promise<T>): Promise<T | null> {
    return this.#request<T>((running, answer) => {
      running.process.onDeath(() => answer(null, () => undefined));
      return async () => {
        const result = await act(running).catch((error: unknown) => {
          if (isRefusal(error)) return null;
          this.#damaged(error);
          return null;
        });
        answer(result, () => undefined);
      };
    });
  }

  async #compact(): Promise<void> {
    await this.#request<void>((running, answer) => {
      running.process.onDeath(() => answer(null, () => undefined));
      return async () => {
        // Rolls that a dead store holds up would hold up the one who waits for them.
        void running.shard.compact().catch((error: unknown) => failed(this.#world, error));
        answer(undefined, () => undefined);
      };
    });
  }

  /** Runs what `prepare` gives as the server's, once there is one; resolves as nobody's event. */
  async #request<T>(
    prepare: (
      running: NonNullable<Server["up"]>,
      answer: (value: T | null, told: () => void) => void,
    ) => () => Promise<void>,
  ): Promise<T | null> {
    const running = await this.#server.ready();
    const { scheduler } = this.#world;
    const server = this.#server;
    return new Promise((resolve) => {
      let isAnswered = false;
      server.inFlight += 1;
      const answer = (value: T | null, told: () => void): void => {
        if (isAnswered || (value !== null && running.process.dead)) return;
        isAnswered = true;
        server.inFlight -= 1;
        told();
        scheduler.after(this.#net.between(0, 3), null, () => resolve(value));
      };
      const arrive = prepare(running, answer);
      scheduler.after(this.#net.between(0, 3), running.process, () => {
        arrive().catch((error: unknown) => this.#faulted(running, error as Error));
      });
    });
  }

  /** The server answers with a fault that is none of those that clients expect: 500 and its kin. */
  #faulted(running: NonNullable<Server["up"]>, error: Error): void {
    if (running.process.dead) return;
    this.#world.violations.push(`a request failed: ${error.stack ?? error.message}`);
  }

  /** Damage that is refused is what is asked of the server, if there is any. Nothing has happened then. @throws what else it is */
  #damaged(error: unknown): Outcome {
    const isDamage = error instanceof Error && "code" in error && String(error.code).startsWith("corrupt-");
    const isStoreWrong = this.#plan.faults.some((fault) => fault.kind === "store" && fault.what === "wrong");
    // Who read the flipped bit may say so after another one had it turned back.
    if (!isDamage || (this.#world.counts.bitFlips === 0 && !isStoreWrong)) throw error;
    if (!isStoreWrong) this.#server.flips.found(error.message);
    return { kind: "refused" };
  }

  /** Where the log begins, if it holds all that it may: nothing is given back for as long as that stays the same. */
  #fullFrom({ shard }: NonNullable<Server["up"]>): number | null {
    const { end, unrolledBytes } = shard.engine.wal;
    return unrolledBytes >= this.#plan.settings.walBytesMax ? end - unrolledBytes : null;
  }

  #checkBudget(): void {
    const { up } = this.#server;
    if (up === null) return;
    const { walBytesMax } = this.#plan.settings;
    const { unrolledBytes } = up.shard.engine.wal;
    // One batch may pass the budget, and reads may renew TTLs beyond it.
    if (unrolledBytes > walBytesMax * 1.125 + 300_000)
      this.#world.violations.push(`the WAL holds ${unrolledBytes} bytes, its budget is ${walBytesMax}`);
  }

  #judge(): void {
    const { operations, crashes } = this.#recorder;
    const verdict = checkHistory({ operations, crashes }, { placesMax: PLACES_MAX });
    if (verdict.kind === "violation") this.#world.violations.push(verdict.text);
    if (verdict.kind === "undecided")
      this.#world.violations.push(`the history is too long to judge: ${verdict.places}`);
  }
}
