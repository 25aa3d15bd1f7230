import { ObjectStoreError, UPLOAD_CONCURRENCY, type ObjectStore } from "@coldbrook/core";
import PQueue from "p-queue";

/** Objects asked for and deleted at a time. */
const SWEEP_BATCH = 256;
/** Most batches of one sweep; what is left waits for the next one. */
const SWEEP_BATCHES_MAX = 64;

export interface CollectorOptions {
  readonly store: ObjectStore;
  /** Keys of objects without a live extent whose grace period has ended at `nowMs`; at most `limit`. */
  readonly due: (nowMs: number, limit: number) => readonly string[];
  /** Called only with keys that are gone from the store: drops them from the catalog. */
  readonly forget: (keys: readonly string[]) => Promise<void>;
  readonly log: { warn(facts: object, message: string): void };
}

/** Deletes objects whose last extent is gone. An object is forgotten only after its deletion, so a crash repeats it. */
export class Collector {
  readonly #options: CollectorOptions;
  #sweep: Promise<number> | undefined;

  constructor(options: CollectorOptions) {
    this.#options = options;
  }

  /**
   * Deletes what is due at `nowMs` (milliseconds since 1970) and resolves with the number of objects deleted. A store
   * that fails ends the sweep: what is left stays due. A sweep asked for during another one is that other one.
   */
  sweep(nowMs: number): Promise<number> {
    this.#sweep ??= this.#run(nowMs).finally(() => {
      this.#sweep = undefined;
    });
    return this.#sweep;
  }

  async #run(nowMs: number): Promise<number> {
    let deleted = 0;
    for (let batch = 0; batch < SWEEP_BATCHES_MAX; batch++) {
      const keys = this.#options.due(nowMs, SWEEP_BATCH);
      if (keys.length === 0) break;
      const { removed, failure } = await this.#remove(keys);
      if (removed.length > 0) await this.#options.forget(removed);
      deleted += removed.length;
      if (failure !== undefined) {
        this.#options.log.warn(
          { store: this.#options.store.name, left: keys.length - removed.length, cause: failure.message },
          "objects without live extents could not be deleted; the next sweep tries again",
        );
        break;
      }
    }
    return deleted;
  }

  async #remove(keys: readonly string[]): Promise<{ removed: string[]; failure: ObjectStoreError | undefined }> {
    const removed: string[] = [];
    let failure: ObjectStoreError | undefined;
    const queue = new PQueue({ concurrency: UPLOAD_CONCURRENCY });
    await queue.addAll(
      keys.map((key) => async () => {
        if (failure !== undefined) return;
        try {
          await this.#options.store.remove(key);
          removed.push(key);
        } catch (error) {
          if (!(error instanceof ObjectStoreError)) throw error;
          failure = error;
        }
      }),
    );
    return { removed, failure };
  }
}
