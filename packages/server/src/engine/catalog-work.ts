/** Changes to extents and object counts happen one after another: a roll is never published while a stream is given back. */
import PQueue from "p-queue";

export class CatalogWork {
  readonly #queue = new PQueue({ concurrency: 1 });

  add(work: () => Promise<void>): Promise<void> {
    return this.#queue.add(work);
  }

  idle(): Promise<void> {
    return this.#queue.onIdle();
  }
}
