/**
 * Which streams have forks: the catalog's record, and what it lacks of the pending state. A stream with forks is soft-deleted
 * rather than deleted, and goes with the last of them (protocol section 4.2).
 */
import { forkedFrom } from "@coldbrook/core";
import type { Generation, StreamIdentity } from "@coldbrook/core";
import type { Catalog } from "../catalog/catalog.ts";
import type { Stream } from "./stream.ts";

/** Forks of one look into the catalog. */
const SEARCHED_AT_ONCE = 16;

export class ForkLinks {
  readonly #catalog: Catalog;
  /** `unsaved` says whether the catalog lacks a change of the stream. */
  readonly #unsaved: (stream: Stream) => boolean;
  /** By source: forks that the catalog may not have yet. */
  readonly #added = new Map<Generation, Set<Generation>>();
  /** By source: deleted forks that the catalog may still have. */
  readonly #removed = new Map<Generation, Set<Generation>>();
  /**
   * By source with such forks: below this id, all that the catalog lists are deleted. Ids only grow, so the search for one that
   * is left goes on where the last one ended, and a source that loses its forks one by one is not searched anew for each.
   */
  readonly #searched = new Map<Generation, Generation>();

  constructor(catalog: Catalog, unsaved: (stream: Stream) => boolean) {
    this.#catalog = catalog;
    this.#unsaved = unsaved;
  }

  add(fork: StreamIdentity): void {
    const source = forkedFrom(fork);
    if (source !== null) insert(this.#added, source, fork.id);
  }

  remove(fork: StreamIdentity): void {
    const source = forkedFrom(fork);
    if (source === null) return;
    drop(this.#added, source, fork.id);
    insert(this.#removed, source, fork.id);
  }

  hasForks(source: Generation): boolean {
    if (this.#added.has(source)) return true;
    const removed = this.#removed.get(source);
    if (removed === undefined) return this.#catalog.forks.some(source, 1).length > 0;
    let from = this.#searched.get(source) ?? (0 as Generation);
    for (;;) {
      const listed = this.#catalog.forks.some(source, SEARCHED_AT_ONCE, from);
      const left = listed.find((fork) => !removed.has(fork));
      from = left ?? listed.at(-1) ?? from;
      this.#searched.set(source, from);
      if (left !== undefined) return true;
      if (listed.length < SEARCHED_AT_ONCE) return false;
    }
  }

  count(source: Generation): number {
    const forks = new Set(this.#catalog.forks.some(source, Number.MAX_SAFE_INTEGER));
    for (const fork of this.#added.get(source) ?? []) forks.add(fork);
    for (const fork of this.#removed.get(source) ?? []) forks.delete(fork);
    return forks.size;
  }

  /** The catalog has been brought up to a durable state of the stream. */
  saved(stream: Stream): void {
    const { id } = stream.pending.identity;
    const source = forkedFrom(stream.pending.identity);
    if (source === null) return;
    drop(this.#added, source, id);
    if (stream.durable?.deleted !== true || this.#unsaved(stream)) return;
    drop(this.#removed, source, id);
    if (!this.#removed.has(source)) this.#searched.delete(source);
  }
}

function insert(links: Map<Generation, Set<Generation>>, source: Generation, fork: Generation): void {
  const forks = links.get(source);
  if (forks === undefined) links.set(source, new Set([fork]));
  else forks.add(fork);
}

function drop(links: Map<Generation, Set<Generation>>, source: Generation, fork: Generation): void {
  const forks = links.get(source);
  if (forks?.delete(fork) === true && forks.size === 0) links.delete(source);
}
