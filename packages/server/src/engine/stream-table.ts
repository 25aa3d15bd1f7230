/** Finds streams by name and by id, in memory or else in the catalog, which trails. */
import { forkedFrom } from "@coldbrook/core";
import type { Generation, StreamIdentity, StreamState } from "@coldbrook/core";
import type { Catalog } from "../catalog/catalog.ts";
import { Residents } from "./residents.ts";
import { Stream } from "./stream.ts";

export class StreamTable {
  readonly #catalog: Catalog;
  readonly #residents: Residents;

  /** `unsaved` says whether the catalog lacks a change of the stream. */
  constructor(catalog: Catalog, unsaved: (stream: Stream) => boolean, restingMax: number) {
    this.#catalog = catalog;
    this.#residents = new Residents(restingMax, unsaved);
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

  /** Names of the streams in memory, of deleted ones perhaps as well: all that the catalog lacks are among them. */
  residentPaths(): string[] {
    return this.#residents.paths();
  }

  /** Names of all streams, of deleted ones perhaps as well. */
  paths(): string[] {
    return [...new Set([...this.#residents.paths(), ...this.#catalog.streams.paths()])];
  }

  /** A pinned stream. */
  pinned(id: Generation): Stream | undefined {
    return this.#residents.byId(id);
  }

  /** The stream that this one was forked from. It keeps its name for as long as it has forks. */
  sourceOf(stream: Stream): Stream | undefined {
    const id = forkedFrom(stream.pending.identity);
    const path = id === null ? undefined : this.identity(id)?.path;
    const source = path === undefined ? undefined : this.lookUp(path);
    return source?.pending.identity.id === id ? source : undefined;
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
