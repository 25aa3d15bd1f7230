/** Worker processes that share the seeds of a run. One that hangs is ended, and its seed has failed. */
import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import type { Plan } from "./plan.ts";
import type { Report } from "./run-plan.ts";
import { newCounts } from "./world/counts.ts";

const BATCH = 10;
/**
 * A run takes milliseconds; one that takes this long turns in circles, or the machine had no time for it. What turns in circles does
 * so whenever it is run, so only a seed that is silent twice, the second time first in a new process, has failed.
 */
const SILENCE_MS_MAX = 30_000;

const WORKER = new URL("./worker.js", import.meta.url);

class Worker {
  readonly #plant: string;
  #process: ChildProcess | null = null;

  constructor(plant: string) {
    this.#plant = plant;
  }

  /** The reports of these plans, in order, each when it is there. */
  async *run(plans: readonly (number | Plan)[]): AsyncGenerator<Report> {
    let silent = -1;
    for (let from = 0; from < plans.length;) {
      const process = await this.#started();
      process.send({ plans: plans.slice(from) });
      let report = (await messageOf(process)) as Report | "silent";
      for (; report !== "silent"; report = (await messageOf(process)) as Report | "silent") {
        yield report;
        from += 1;
        if (from === plans.length) return;
      }
      this.end();
      const isSecond = silent === from;
      silent = from;
      if (isSecond) yield hung(plans[from++]!);
    }
  }

  end(): void {
    this.#process?.kill("SIGKILL");
    this.#process = null;
  }

  async #started(): Promise<ChildProcess> {
    if (this.#process !== null) return this.#process;
    this.#process = fork(WORKER, [this.#plant], { serialization: "advanced" });
    // More than one message may come in one turn: each is kept until it is asked for.
    if ((await messageOf(this.#process)) === "silent") throw new Error("a worker does not start");
    return this.#process;
  }
}

export class Pool {
  readonly #workers: readonly Worker[];

  constructor(count: number, plant: string) {
    this.#workers = Array.from({ length: count }, () => new Worker(plant));
  }

  /** Runs the plans of `count` seeds from `from` on, in batches, until `tell` says that it is enough. */
  async run(from: number, count: number, tell: (report: Report) => boolean): Promise<void> {
    let next = from;
    let isEnough = false;
    await Promise.all(
      this.#workers.map(async (worker) => {
        while (!isEnough && next < from + count) {
          const seeds = Array.from({ length: Math.min(BATCH, from + count - next) }, (_, i) => next + i);
          next += seeds.length;
          for await (const report of worker.run(seeds)) if (tell(report)) isEnough = true;
        }
      }),
    );
  }

  async one(plan: number | Plan): Promise<Report> {
    for await (const report of this.#workers[0]!.run([plan])) return report;
    throw new Error("a worker gave no report");
  }

  [Symbol.dispose](): void {
    for (const worker of this.#workers) worker.end();
  }
}

function hung(plan: number | Plan): Report {
  const seed = typeof plan === "number" ? plan : plan.seed;
  const violations = [`the server turns in circles: no event ended for ${SILENCE_MS_MAX} ms, twice`];
  return { seed, violations, counts: newCounts(), trace: "" };
}

const inboxes = new WeakMap<ChildProcess, { readonly messages: unknown[]; wake: () => void }>();

/** The next message. @throws Error when the worker ends without one */
async function messageOf(process: ChildProcess): Promise<unknown> {
  let inbox = inboxes.get(process);
  if (inbox === undefined) {
    const made = { messages: [] as unknown[], wake: (): void => undefined };
    inboxes.set(process, made);
    process.on("message", (message) => {
      made.messages.push(message);
      made.wake();
    });
    inbox = made;
  }
  if (inbox.messages.length === 0) {
    const ended = new AbortController();
    const box = inbox;
    const arrived = new Promise<void>((resolve) => (box.wake = resolve));
    const silence = setTimeout(() => {
      box.messages.push("silent");
      box.wake();
    }, SILENCE_MS_MAX);
    const exit = once(process, "exit", { signal: ended.signal }).then(([code]) => {
      throw new Error(`a worker ended with code ${String(code)}`);
    });
    try {
      await Promise.race([arrived, exit]);
    } finally {
      clearTimeout(silence);
      exit.catch(() => undefined);
      ended.abort();
    }
  }
  return inbox.messages.shift();
}
