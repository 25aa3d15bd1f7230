/** `node:timers/promises` by the simulated clock. */
export function setTimeout<T>(delayMs?: number, value?: T): Promise<T> {
  return new Promise((resolve) => globalThis.setTimeout(() => resolve(value as T), delayMs));
}

export function setImmediate<T>(value?: T): Promise<T> {
  return new Promise((resolve) => globalThis.setImmediate(() => resolve(value as T)));
}
