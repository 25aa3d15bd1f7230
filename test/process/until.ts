/** Bounded polling: the one way in which these tests wait for something that has no event. */
import { setTimeout as pause } from "node:timers/promises";

/** Every bound is so many times as long: for a run of hours on a machine that has more to do. */
export const PATIENCE: number = Number(process.env["TEST_PATIENCE"] ?? "1");

/**
 * Calls `probe` until it returns something else than undefined, and returns that.
 * @throws Error naming `what` when `boundMs` passed; the bound is a limit on a hang, never an assertion on speed.
 */
export async function until<Value>(
  what: string,
  boundMs: number,
  probe: () => Promise<Value | undefined> | Value | undefined,
): Promise<Value> {
  const end = performance.now() + boundMs * PATIENCE;
  for (;;) {
    const value = await probe();
    if (value !== undefined) return value;
    if (performance.now() > end) throw new Error(`waited ${boundMs} ms for: ${what}`);
    await pause(20);
  }
}

/** Awaits `work`, but not for ever: @throws Error naming `what` after `boundMs`. */
export async function within<Value>(what: string, boundMs: number, work: Promise<Value>): Promise<Value> {
  let timer: NodeJS.Timeout | undefined;
  const bound = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${boundMs} ms for: ${what}`)), boundMs * PATIENCE);
  });
  try {
    return await Promise.race([work, bound]);
  } finally {
    clearTimeout(timer);
  }
}
