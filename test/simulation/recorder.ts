/** Writes down what clients ask and are told, as the model's judge wants it. */
import type { Instant, Operation, Outcome, Request } from "../model/history.ts";
import type { World } from "./world/world.ts";

interface Draft {
  readonly id: number;
  readonly client: string;
  readonly path: string;
  readonly request: Request;
  readonly call: Instant;
  return: Instant | null;
  endedBy: Instant | null;
  outcome: Outcome | null;
}

export class Recorder {
  readonly operations: Draft[] = [];
  readonly crashes: Instant[] = [];
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  instant(): Instant {
    this.#world.step += 1;
    return { step: this.#world.step, ms: Math.floor(this.#world.nowMs) };
  }

  call(client: string, path: string, request: Request): Draft {
    const draft: Draft = {
      id: this.operations.length + 1,
      client,
      path,
      request,
      call: this.instant(),
      return: null,
      endedBy: null,
      outcome: null,
    };
    this.operations.push(draft);
    this.#world.counts.operations += 1;
    return draft;
  }

  answer(operation: Draft, outcome: Outcome): void {
    operation.return = this.instant();
    operation.outcome = outcome;
    this.#world.note(outcome.kind, operation.id);
    if (outcome.kind === "refused") this.#world.counts.refused += 1;
    else this.#world.counts.acks += 1;
  }

  /** It has ended without an answer that says what it did. */
  giveUp(operation: Draft): void {
    operation.endedBy = this.instant();
  }

  crash(): void {
    const at = this.instant();
    this.crashes.push(at);
    for (const operation of this.operations) {
      if (operation.outcome !== null || operation.endedBy !== null) continue;
      operation.endedBy = at;
      this.#world.counts.ambiguous += 1;
    }
  }
}

export type { Draft, Operation };
