/** Key kinds `path` → stream id, and `stream id` → state. A deleted stream keeps its state until its bytes are given back. */
import { crc32 } from "node:zlib";
import {
  decodeMeta,
  decodeStreamRecord,
  encodeMeta,
  encodeStreamRecord,
  generation,
  StreamError,
} from "@coldbrook/core";
import type { Generation, StreamState } from "@coldbrook/core";
import { decodeValue, openStore } from "./environment.ts";
import type { CatalogEnvironment, ValueStore } from "./environment.ts";

export class StreamRecords {
  readonly #environment: CatalogEnvironment;
  readonly #paths: ValueStore<string>;
  readonly #states: ValueStore<number>;

  constructor(environment: CatalogEnvironment) {
    this.#environment = environment;
    this.#paths = openStore(environment, "paths");
    this.#states = openStore(environment, "streams");
  }

  /** The live stream of that name. @throws StreamError corrupt-catalog */
  find(path: string): Generation | undefined {
    const bytes = this.#paths.get(path);
    if (bytes === undefined) return undefined;
    return generation(decodeValue(this.#environment, `path "${path}"`, () => decodeMeta(`path:${path}`, bytes, crc32)));
  }

  /** @throws StreamError corrupt-catalog */
  load(id: Generation): StreamState | undefined {
    const bytes = this.#states.get(id);
    if (bytes === undefined) return undefined;
    const state = decodeValue(this.#environment, `stream ${id}`, () => decodeStreamRecord(bytes, crc32));
    if (state.identity.id !== id) {
      throw new StreamError(
        "corrupt-catalog",
        `catalog ${this.#environment.file}: stream ${id} holds stream ${state.identity.id}`,
      );
    }
    return state;
  }

  /** To be called inside a batch. */
  put(state: StreamState, isNew: boolean): void {
    const { id, path } = state.identity;
    void this.#states.put(id, encodeStreamRecord(state, crc32));
    if (state.deleted) this.#unname(id, path);
    else if (isNew) void this.#paths.put(path, encodeMeta(`path:${path}`, id, crc32));
  }

  /** To be called inside a batch: the stream's bytes were given back. */
  remove(id: Generation): void {
    void this.#states.remove(id);
  }

  /** Newest id of all streams that have a state. */
  newest(): number {
    for (const id of this.#states.getKeys({ reverse: true, limit: 1 })) return id;
    return 0;
  }

  /** For the checker: every state, in order of id. */
  *all(): Generator<StreamState> {
    for (const id of this.#states.getKeys({ snapshot: false })) {
      const state = this.load(generation(id));
      if (state !== undefined) yield state;
    }
  }

  /** For the checker: every id, readable or not. */
  ids(): Iterable<number> {
    return this.#states.getKeys({ snapshot: false });
  }

  /** Up to `limit` names, in order, from `from` on, itself included. */
  pathsFrom(from: string, limit: number): string[] {
    return [...this.#paths.getKeys({ start: from, limit })];
  }

  /** For the checker: every name. */
  paths(): Iterable<string> {
    return this.#paths.getKeys({ snapshot: false });
  }

  /** The name may belong to a newer stream by now. */
  #unname(id: Generation, path: string): void {
    if (this.find(path) === id) void this.#paths.remove(path);
  }
}
