/** Waits for a stream to change: what the stores' `waitForMessages` is made of. */
import type { Engine } from "../engine/engine.ts";
import type { Stream } from "../engine/stream.ts";

export type WaitEnd = "changed" | "timed-out" | "cancelled";

export class StoreWaits {
  readonly #cancels = new Set<() => void>();

  /** Resolves when `isOver` holds, which only a change of the stream brings about, at the time-out, or when it is cancelled. */
  wait(engine: Engine, stream: Stream, isOver: () => boolean, timeoutMs: number): Promise<WaitEnd> {
    if (isOver()) return Promise.resolve("changed");
    return new Promise((resolve) => {
      const end = (how: WaitEnd): void => {
        clearTimeout(timer);
        unwatch();
        this.#cancels.delete(cancel);
        resolve(how);
      };
      const cancel = (): void => end("cancelled");
      const timer = setTimeout(() => end("timed-out"), timeoutMs);
      const unwatch = engine.watch(stream, () => {
        if (isOver()) end("changed");
      });
      this.#cancels.add(cancel);
    });
  }

  cancelAll(): void {
    for (const cancel of this.#cancels) cancel();
  }
}
