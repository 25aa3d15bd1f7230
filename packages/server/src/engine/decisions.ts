/**
 * Runs decisions on streams. A decision is made once no create or delete of its stream is under way, and its answer waits for
 * the batch that it rests on: later, or in this very turn where commits are immediate.
 */
import type { Clock } from "@coldbrook/core";
import { Batch } from "../wal/group-commit.ts";
import type { Stream } from "./stream.ts";
import type { StreamTable } from "./stream-table.ts";

/** What was decided, and the batch that must be durable before anyone hears of it. */
export interface Decision<T> {
  readonly batch: Batch | null;
  readonly answer: () => T;
}

export type Decide<T> = (stream: Stream | undefined, now: number) => Decision<T>;

export interface DecisionPorts {
  readonly table: StreamTable;
  /** Commits the open batch in this very turn. @throws Error where commits must be awaited */
  readonly commitNow: () => void;
  readonly clock: Clock;
}

/** Runs things in this turn of the event loop, behind what is being done. */
const SOON: Promise<void> = Promise.resolve();

export class Decisions {
  readonly #ports: DecisionPorts;

  constructor(ports: DecisionPorts) {
    this.#ports = ports;
  }

  /** One promise an operation and little else that must be collected: this is the way of every append. */
  later<T>(path: string, decide: Decide<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const answer = (decision: Decision<T>): void => {
        try {
          resolve(decision.answer());
        } catch (error) {
          reject(error as Error);
        }
      };
      const attempt = (): void => {
        try {
          const attempted = this.#attempt(path, decide);
          // Not inside of the commit that it waited for: what it enqueues could be committed there and then, and so on.
          if (attempted instanceof Batch) attempted.whenDurable(() => void SOON.then(attempt));
          else if (attempted.batch === null) answer(attempted);
          else attempted.batch.whenDurable(() => answer(attempted));
        } catch (error) {
          reject(error as Error);
        }
      };
      attempt();
    });
  }

  /** @throws Error where commits must be awaited */
  now<T>(path: string, decide: Decide<T>): T {
    for (;;) {
      const attempt = this.#attempt(path, decide);
      if (attempt instanceof Batch) {
        this.#commit(attempt);
        continue;
      }
      if (attempt.batch !== null) this.#commit(attempt.batch);
      return attempt.answer();
    }
  }

  /** The stream of that name, once no create or delete of it is under way. */
  async settled(path: string): Promise<Stream | undefined> {
    for (;;) {
      const stream = this.#ports.table.lookUp(path);
      if (stream === undefined || !isUnsettled(stream)) return stream;
      await durable(stream.lastBatch!);
    }
  }

  /** @throws Error where commits must be awaited */
  settledNow(path: string): Stream | undefined {
    this.#ports.commitNow();
    return this.#ports.table.lookUp(path);
  }

  /**
   * The look-up, the decision and what it enqueues happen in one turn: nobody else can come between them. A batch is what must be
   * durable before there can be a decision.
   */
  #attempt<T>(path: string, decide: Decide<T>): Decision<T> | Batch {
    const stream = this.#ports.table.lookUp(path);
    if (stream !== undefined && isUnsettled(stream)) return stream.lastBatch!;
    return decide(stream, this.#ports.clock());
  }

  #commit(batch: Batch): void {
    if (batch.durable) return;
    this.#ports.commitNow();
    if (!batch.durable) throw new Error("a batch was not durable after its commit");
  }
}

/** A create or delete of the stream is not durable yet. */
export function isUnsettled(stream: Stream): boolean {
  return stream.durable === null || (stream.pending.deleted && stream.lastBatch !== null);
}

/** Resolves when the batch is on disk. */
export function durable(batch: Batch): Promise<void> {
  return new Promise((resolve) => batch.whenDurable(resolve));
}
