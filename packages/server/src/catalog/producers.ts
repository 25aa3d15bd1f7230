/** Key kind `(stream id, producer id)` → producer state (protocol section 5.2.1). */
import { crc32 } from "node:zlib";
import { decodeProducer, encodeProducer } from "@coldbrook/core";
import type { Generation, Lsn, ProducerState } from "@coldbrook/core";
import { decodeValue, openStore } from "./environment.ts";
import type { CatalogEnvironment, ValueStore } from "./environment.ts";

export class ProducerRecords {
  readonly #environment: CatalogEnvironment;
  readonly #values: ValueStore<[number, string]>;

  constructor(environment: CatalogEnvironment) {
    this.#environment = environment;
    this.#values = openStore(environment, "producers");
  }

  /** @throws StreamError corrupt-catalog */
  load(stream: Generation, id: string): ProducerState | undefined {
    const bytes = this.#values.get([stream, id]);
    if (bytes === undefined) return undefined;
    return decodeValue(this.#environment, `producer "${id}" of stream ${stream}`, () =>
      decodeProducer(stream, id, bytes, crc32),
    );
  }

  /** To be called inside a batch. */
  put(stream: Generation, id: string, state: ProducerState, lsn: Lsn): void {
    void this.#values.put([stream, id], encodeProducer(stream, id, { epoch: state.epoch, seq: state.seq, lsn }, crc32));
  }

  /** Ids of up to `limit` producers of the stream. */
  some(stream: Generation, limit: number): string[] {
    return [...this.#values.getKeys({ start: [stream, ""], end: [stream + 1, ""], limit })].map(([, id]) => id);
  }

  /** To be called inside a batch. */
  remove(stream: Generation, id: string): void {
    void this.#values.remove([stream, id]);
  }

  /** For the checker. */
  *all(): Generator<{ stream: Generation; id: string }> {
    for (const key of this.#values.getKeys({ snapshot: false })) yield { stream: key[0] as Generation, id: key[1] };
  }
}
