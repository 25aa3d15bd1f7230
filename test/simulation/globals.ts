/** The globals by which code tells time and chance, replaced by those of the world that is running, if one is. */
import { current } from "./world/current.ts";
import type { Event } from "./world/scheduler.ts";
import type { World } from "./world/world.ts";

/** Between two turns of the event loop. */
const TURN_MS = 0.002;

class Timer {
  event: Event;

  constructor(event: Event) {
    this.event = event;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }
}

function inWorld(delayMs: number, run: () => void): Timer {
  const world = current.world!;
  return new Timer(world.scheduler.after(delayMs, world.owner, run));
}

function stop(timer: unknown): void {
  if (timer instanceof Timer) current.world?.scheduler.cancel(timer.event);
}

/** Must run before the server's modules are loaded. What is not asked for within a world is answered by the real thing. */
export function replaceGlobals(): void {
  const real = { setTimeout, setImmediate, clearTimeout, now: Date.now, kill: process.kill, pid: process.pid };
  const timers = {
    setTimeout: (run: (...args: unknown[]) => void, delayMs = 1, ...args: unknown[]): unknown =>
      current.world === null
        ? real.setTimeout(run, delayMs, ...args)
        : inWorld(Math.max(1, delayMs), () => run(...args)),
    setImmediate: (run: (...args: unknown[]) => void, ...args: unknown[]): unknown =>
      current.world === null ? real.setImmediate(run, ...args) : inWorld(TURN_MS, () => run(...args)),
    setInterval: (run: () => void, delayMs = 1): Timer => {
      const again = (): void => {
        const { world } = current;
        timer.event = world!.scheduler.after(Math.max(1, delayMs), world!.owner, again);
        run();
      };
      const timer = inWorld(Math.max(1, delayMs), again);
      return timer;
    },
    clearTimeout: (timer: unknown): void =>
      timer instanceof Timer ? stop(timer) : real.clearTimeout(timer as NodeJS.Timeout),
    clearInterval: stop,
    clearImmediate: stop,
  };
  Object.assign(globalThis, timers);
  const serverRandom = Math.random;
  Math.random = () => current.world?.serverRandom.next() ?? serverRandom();
  Date.now = () => (current.world === null ? real.now() : Math.floor(current.world.nowMs));
  const realPerformance = performance.now.bind(performance);
  performance.now = () => current.world?.stopwatch() ?? realPerformance();
  replaceProcess(real);
}

function replaceProcess(real: { readonly kill: typeof process.kill; readonly pid: number }): void {
  Object.defineProperty(process, "pid", { get: () => current.world?.owner?.pid ?? real.pid });
  process.kill = (pid: number, signal?: string | number): true => {
    const { world } = current;
    if (world === null) return real.kill(pid, signal);
    if (signal !== 0) throw new Error(`process.kill(${pid}, ${signal}) is not simulated`);
    if (world.processOf(pid, world.owner?.namespace ?? "") !== undefined) return true;
    throw Object.assign(new Error("kill ESRCH"), { code: "ESRCH" });
  };
  process.on("unhandledRejection", (error) => {
    const { world } = current;
    // What a world that is over left behind is nobody's any more; a worker that fails itself is found by its silence.
    if (world !== null) failed(world, error);
  });
}

/** What nobody caught ends the process whose event it was. */
export function failed(world: World, error: unknown): void {
  world.fatal(world.owner, error instanceof Error ? error : new Error(String(error)));
}
