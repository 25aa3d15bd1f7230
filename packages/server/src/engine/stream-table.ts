/** Finds streams by name and by id, in memory or else in the catalog, which trails. */
import { RESIDENT_STREAMS_MAX } from "@coldbrook/core";
import type { Generation, StreamIdentity, StreamState } from "@coldbrook/core";
import type { Catalog } from "../catalog/catalog.ts";
import { Residents } from "./residents.ts";
import { Stream } from "./stream.ts";

export class StreamTable {
  readonly #catalog: Catalog;
  readonly #residents: Residents;

  /** `unsaved` says whether the catalog lacks a change of the stream. */
  constructor(catalog: Catalog, unsaved: (stream: Stream) => boolean) {
    this.#catalog = catalog;
    this.#residents = new Residents(RESIDENT_STREAMS_MAX, unsaved);
  }

  get residentCount(): number {
    return this.#residents.pinnedCount + this.#residents.restingCount;
  }

  /** The newest stream of that name, pending or durable. @throws StreamError corrupt-catalog */
  lookUp(path: string): Stream | undefined {
    const resident = this.#residents.find(path);
    if (resident !== undefined) return resident;
    const id = this.#catalog.streams.find(path);
    // The catalog trails: a stream that memory knows by its id, but not by this name, was deleted.
    if (id !== undefined && this.#residents.byId(id) !== undefined) return undefined;
    const state = id === undefined ? undefined : this.#catalog.streams.load(id);
    if (state === undefined || state.deleted) return undefined;
    const stream = new Stream(state, state, "catalog");
    this.#residents.rest(stream);
    return stream;
  }

  /** A pinned stream. */
  pinned(id: Generation): Stream | undefined {
    return this.#residents.byId(id);
  }

  pin(stream: Stream): void {
    this.#residents.pin(stream);
  }

  unpin(stream: Stream): void {
    this.#residents.unpin(stream);
  }

  /** Frees the name of a deleted stream. */
  unname(stream: Stream): void {
    this.#residents.unname(stream);
  }

  /** The identity of any stream that has one still, for object footers. */
  identity(id: Generation): StreamIdentity | undefined {
    return (this.#residents.byId(id)?.pending ?? this.#catalog.streams.load(id))?.identity;
  }

  /** Whether the stream's bytes are still wanted. A delete that is not durable yet may not have happened. */
  isLive(id: Generation): boolean {
    const state: StreamState | undefined = this.#residents.byId(id)?.durable ?? this.#catalog.streams.load(id);
    return state !== undefined && !state.deleted;
  }
}
