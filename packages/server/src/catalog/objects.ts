/** Key kinds `object key` → how many live extents it holds, and `(time of death, object key)`: the collector's queue. */
import { crc32 } from "node:zlib";
import { decodeCounted, encodeCounted } from "@coldbrook/core";
import type { ObjectCount } from "@coldbrook/core";
import { decodeValue, openStore } from "./environment.ts";
import type { CatalogEnvironment, ValueStore } from "./environment.ts";

const NOTHING = new Uint8Array(0);

export class ObjectRecords {
  readonly #environment: CatalogEnvironment;
  readonly #counts: ValueStore<string>;
  readonly #dead: ValueStore<[number, string]>;

  constructor(environment: CatalogEnvironment) {
    this.#environment = environment;
    this.#counts = openStore(environment, "objects");
    this.#dead = openStore(environment, "garbage");
  }

  /** @throws StreamError corrupt-catalog */
  load(key: string): ObjectCount | undefined {
    const bytes = this.#counts.get(key);
    if (bytes === undefined) return undefined;
    return decodeValue(this.#environment, `object ${key}`, () => decodeCounted(key, bytes, crc32));
  }

  /** To be called inside a batch. `before` is what `load` gave; an object without live extents joins the collector's queue. */
  put(key: string, before: ObjectCount | undefined, bytes: number, liveExtents: number, nowMs: number): void {
    const deadAtMs = liveExtents === 0 ? nowMs : null;
    if (before !== undefined && before.deadAtMs !== null) void this.#dead.remove([before.deadAtMs, key]);
    void this.#counts.put(key, encodeCounted(key, { bytes, liveExtents, deadAtMs }, crc32));
    if (deadAtMs !== null) void this.#dead.put([deadAtMs, key], NOTHING);
  }

  /** Keys of up to `limit` objects that died at or before `untilMs`. */
  due(untilMs: number, limit: number): string[] {
    const keys = this.#dead.getKeys({ start: [0, ""], end: [untilMs + 1, ""], limit });
    return [...keys].map(([, key]) => key);
  }

  /** To be called inside a batch: the object is gone from the store. `count` is what `load` gave. */
  forget(key: string, count: ObjectCount): void {
    if (count.deadAtMs !== null) void this.#dead.remove([count.deadAtMs, key]);
    void this.#counts.remove(key);
  }

  /** For the checker. */
  keys(): Iterable<string> {
    return this.#counts.getKeys({ snapshot: false });
  }
}
