/** Key kind `(stream id, first position)` → where those bytes lie in the object store. */
import { crc32 } from "node:zlib";
import { LRUCache } from "lru-cache";
import { decodeExtent, encodeExtent } from "@coldbrook/core";
import type { ColdExtent, Generation, Position } from "@coldbrook/core";
import { decodeValue, openStore } from "./environment.ts";
import type { CatalogEnvironment, ValueStore } from "./environment.ts";

/** Decoded extents kept; one of 64 MiB has a thousand blocks. */
const DECODED_MAX = 512;

export class ExtentRecords {
  readonly #environment: CatalogEnvironment;
  readonly #values: ValueStore<[number, number]>;
  readonly #decoded = new LRUCache<string, ColdExtent>({ max: DECODED_MAX });

  constructor(environment: CatalogEnvironment) {
    this.#environment = environment;
    this.#values = openStore(environment, "extents");
  }

  /** The extent that holds byte `at` of the stream. @throws StreamError corrupt-catalog */
  find(stream: Generation, at: number): ColdExtent | undefined {
    const found = this.#values.getKeys({ start: [stream, at], end: [stream, -1], reverse: true, limit: 1 });
    for (const [, start] of found) {
      const extent = this.load(stream, start as Position);
      return extent !== undefined && at < extent.end ? extent : undefined;
    }
    return undefined;
  }

  /** @throws StreamError corrupt-catalog */
  load(stream: Generation, start: Position): ColdExtent | undefined {
    const name = `${stream}:${start}`;
    const known = this.#decoded.get(name);
    if (known !== undefined) return known;
    const bytes = this.#values.get([stream, start]);
    if (bytes === undefined) return undefined;
    const extent = decodeValue(this.#environment, `extent ${start} of stream ${stream}`, () =>
      decodeExtent(stream, start, bytes, crc32),
    );
    this.#decoded.set(name, extent);
    return extent;
  }

  /** To be called inside a batch. */
  put(extent: ColdExtent): void {
    this.#decoded.delete(`${extent.stream}:${extent.start}`);
    void this.#values.put([extent.stream, extent.start], encodeExtent(extent, crc32));
  }

  /** First positions of up to `limit` extents of the stream. */
  starts(stream: Generation, limit: number): Position[] {
    const keys = this.#values.getKeys({ start: [stream, 0], end: [stream + 1, 0], limit });
    return [...keys].map(([, start]) => start as Position);
  }

  /** To be called inside a batch. */
  remove(stream: Generation, start: Position): void {
    this.#decoded.delete(`${stream}:${start}`);
    void this.#values.remove([stream, start]);
  }

  /** For the checker: all keys in order. */
  *keys(): Generator<{ stream: Generation; start: Position }> {
    for (const [stream, start] of this.#values.getKeys({ snapshot: false })) {
      yield { stream: stream as Generation, start: start as Position };
    }
  }
}
