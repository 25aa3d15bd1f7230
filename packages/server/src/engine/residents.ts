/**
 * Which streams are in memory. A stream is pinned while something refers to it (an operation under way, bytes that only the
 * WAL holds, a waiter, a change that the catalog lacks); otherwise it rests in an LRU and may go at any time.
 */
import { LRUCache } from "lru-cache";
import type { Generation } from "@coldbrook/core";
import type { Stream } from "./stream.ts";

/**
 * Rests beside the streams, under a name that none has: an LRU that gives up its last entry clears itself whole, which costs as
 * much as it has room for.
 */
const PLACE = "";

export class Residents {
  readonly #pinned = new Map<string, Stream>();
  readonly #pinnedById = new Map<Generation, Stream>();
  readonly #resting: LRUCache<string, Stream | typeof PLACE>;
  readonly #unsaved: (stream: Stream) => boolean;

  /** `unsaved` says whether the catalog lacks a change of the stream. */
  constructor(restingMax: number, unsaved: (stream: Stream) => boolean) {
    this.#resting = new LRUCache({ max: restingMax });
    this.#unsaved = unsaved;
  }

  get pinnedCount(): number {
    return this.#pinned.size;
  }

  get restingCount(): number {
    return this.#resting.size - (this.#resting.has(PLACE) ? 1 : 0);
  }

  find(path: string): Stream | undefined {
    const stream = this.#pinned.get(path) ?? this.#resting.get(path);
    return stream === PLACE ? undefined : stream;
  }

  paths(): string[] {
    return [...this.#pinned.keys(), ...this.#resting.keys()].filter((path) => path !== PLACE);
  }

  /** A pinned stream; deleted ones stay until their deletion is saved. */
  byId(id: Generation): Stream | undefined {
    return this.#pinnedById.get(id);
  }

  /** Adds a stream that was just loaded. */
  rest(stream: Stream): void {
    this.#resting.set(stream.pending.identity.path, stream);
  }

  pin(stream: Stream): void {
    const { path, id } = stream.pending.identity;
    if (this.#pinnedById.has(id)) return;
    if (this.#resting.size === 1 && this.#resting.max > 1) this.#resting.set(PLACE, PLACE);
    this.#resting.delete(path);
    this.#pinned.set(path, stream);
    this.#pinnedById.set(id, stream);
  }

  /** Frees the name of a deleted stream. */
  unname(stream: Stream): void {
    const { path } = stream.pending.identity;
    if (this.#pinned.get(path) === stream) this.#pinned.delete(path);
  }

  /** Lets the stream rest when nothing pins it any more. */
  unpin(stream: Stream): void {
    if (stream.lastBatch !== null || stream.hot.length > 0 || stream.waiters.size > 0 || this.#unsaved(stream)) return;
    const { path, id } = stream.pending.identity;
    if (!this.#pinnedById.delete(id)) return;
    this.unname(stream);
    if (!stream.pending.deleted) this.#resting.set(path, stream);
  }
}
