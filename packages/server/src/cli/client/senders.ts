/** How pieces of content become requests: plain appends, or those of an idempotent producer (protocol 5.2.1). */
import { IdempotentProducer } from "@durable-streams/client";
import type { DurableStream } from "@durable-streams/client";
import type { Connection } from "./connection.ts";

export interface Sender {
  /** Resolves when the server has acknowledged the bytes. @throws Failure */
  send(bytes: Uint8Array): Promise<void>;
  /** Closes the stream, with its last bytes in the same request if there are any. @throws Failure */
  close(bytes: Uint8Array | undefined): Promise<void>;
  /** Every piece had been stored by an earlier run. */
  readonly wasDuplicate: boolean;
}

export class PlainSender implements Sender {
  readonly wasDuplicate: boolean = false;
  readonly #stream: DurableStream;

  constructor(stream: DurableStream) {
    this.#stream = stream;
  }

  async send(bytes: Uint8Array): Promise<void> {
    await this.#stream.append(bytes);
  }

  async close(bytes: Uint8Array | undefined): Promise<void> {
    await this.#stream.close(bytes === undefined ? {} : { body: bytes });
  }
}

/** Timers of the client package that must never fire. */
const NEVER_MS = 2 ** 31 - 1;

/** One request at a time and one piece each, so that a repeated command gives each piece the same sequence. */
export class ProducerSender implements Sender {
  readonly #connection: Connection;
  readonly #producer: IdempotentProducer;
  #error: Error | undefined;
  #sent = 0;
  #duplicates = 0;

  constructor(
    connection: Connection,
    stream: DurableStream,
    producer: { readonly id: string; readonly epoch: number },
  ) {
    this.#connection = connection;
    this.#producer = new IdempotentProducer(stream, producer.id, {
      epoch: producer.epoch,
      maxBatchBytes: 1,
      maxInFlight: 1,
      lingerMs: NEVER_MS,
      fetch: connection.fetch,
      onError: (error) => (this.#error ??= error),
    });
  }

  get wasDuplicate(): boolean {
    return this.#sent > 0 && this.#duplicates === this.#sent;
  }

  async send(bytes: Uint8Array): Promise<void> {
    this.#producer.append(bytes);
    await this.#producer.flush();
    if (this.#error !== undefined) throw this.#error;
    this.#sent += 1;
    // New content is 200, content that was there already is 204 (protocol 5.2.1).
    if (this.#connection.lastAnswer?.status === 204) this.#duplicates += 1;
  }

  async close(bytes: Uint8Array | undefined): Promise<void> {
    await this.#producer.close(bytes);
  }
}
