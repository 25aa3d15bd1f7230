/**
 * Streams in memory, by method calls instead of HTTP: a face of an engine whose WAL and catalog are in memory, so that every
 * call is done, and visible to everyone, when it returns.
 */
import { openMemoryEngine } from "../memory-engine.ts";
import type { MemoryEngine } from "../memory-engine.ts";
import { generateKeys } from "../subscriptions/server-keys.ts";
import type { ServerKeys } from "../subscriptions/server-keys.ts";
import { CHUNK_BYTES, EngineFace } from "./engine-face.ts";
import type { OpenEngine } from "./engine-face.ts";
import {
  appended,
  appendInput,
  closed,
  closeInput,
  created,
  createRequest,
  forkRequest,
  pathFor,
  producerClosed,
} from "./store-outcomes.ts";
import { SUBSCRIPTION_PREFIX } from "./store-path.ts";
import { messagesNow } from "./stored-messages.ts";
import type { Known } from "./stream-view.ts";
import type {
  AppendOptions,
  AppendResult,
  CloseResult,
  CreateOptions,
  ProducerCloseOptions,
  ProducerCloseResult,
  ReadResult,
  Stream,
  StreamMessage,
  WaitResult,
} from "./types.ts";

export class StreamStore extends EngineFace {
  readonly #memory: MemoryEngine = openMemoryEngine({
    chunkBytes: CHUNK_BYTES,
    subscriptionPrefix: SUBSCRIPTION_PREFIX,
  });
  #keys: ServerKeys | null = null;

  /** The engine behind the store, for a server of its own. */
  get memory(): MemoryEngine {
    return this.#memory;
  }

  /** A server's keys, made for the first one: tokens stay good while the streams do. */
  get keys(): ServerKeys {
    this.#keys ??= generateKeys();
    return this.#keys;
  }

  protected override get open(): OpenEngine {
    return this.#memory;
  }

  protected override messagesOfView(known: Known): StreamMessage[] {
    return messagesNow(this.#memory, known, known.state.horizon);
  }

  /** The new stream, or the one that is there when it was asked for alike. @throws Error for one that is there otherwise, and for a fork that cannot be made */
  create(path: string, options: CreateOptions = {}): Stream {
    const { engine } = this.#memory;
    const target = pathFor(path);
    const request = createRequest(options);
    const fork = forkRequest(options);
    const facts = this.createFacts(path, options);
    const body = Uint8Array.from(options.initialData ?? []);
    const result =
      fork === null ? engine.createNow(target, request, body) : engine.forkNow(target, { create: request, fork }, body);
    return this.viewOfNew(path, created(path, options, result, facts));
  }

  /** Whether there was a stream. One with forks is kept for them under its name. */
  delete(path: string): boolean {
    if (this.presence(path) === "none") return false;
    return this.#memory.engine.removeNow(pathFor(path)) !== "missing";
  }

  /**
   * The message, or with a producer or `close` what became of it.
   * @throws Error when there is no such stream, for another content type, a Stream-Seq that does not grow, and data that the stream cannot hold
   */
  append(path: string, data: Uint8Array, options: AppendOptions = {}): StreamMessage | AppendResult {
    const facts = this.appendFacts(path, appendInput(data, options, this.contentTypeOf(path)));
    return appended(facts, this.#memory.engine.appendNow(pathFor(path), facts.input));
  }

  // oxlint-disable-next-line require-await -- what `append` throws must reject.
  async appendWithProducer(path: string, data: Uint8Array, options: AppendOptions): Promise<AppendResult> {
    const result = this.append(path, data, options);
    return "message" in result ? result : { message: result };
  }

  /** Null when there is no such stream. @throws Error when it is soft-deleted */
  closeStream(path: string): CloseResult | null {
    if (this.presence(path) === "none") return null;
    return closed(path, this.#memory.engine.appendNow(pathFor(path), closeInput(null)));
  }

  // oxlint-disable-next-line require-await -- what is thrown must reject.
  async closeStreamWithProducer(path: string, options: ProducerCloseOptions): Promise<ProducerCloseResult | null> {
    if (this.presence(path) === "none") return null;
    const facts = this.appendFacts(path, closeInput(options));
    return producerClosed(facts, this.#memory.engine.appendNow(pathFor(path), facts.input));
  }

  /** All messages past the offset, which is the start when it is missing. @throws Error when there is no such stream */
  read(path: string, offset?: string): ReadResult {
    const known = this.needed(path);
    return { messages: messagesNow(this.#memory, known, this.positionOf(known, offset)), upToDate: true };
  }

  /** The messages past the offset as soon as there are any. @throws Error when there is no such stream */
  async waitForMessages(path: string, offset: string, timeoutMs: number): Promise<WaitResult> {
    const { messages } = this.read(path, offset);
    if (messages.length > 0) return { messages, timedOut: false };
    return this.waitPast(path, offset, timeoutMs, () => this.read(path, offset).messages);
  }

  /** Deletes all streams. */
  clear(): void {
    this.cancelAllWaits();
    // A stream that is kept for its forks goes with the last of them.
    for (const path of this.list()) this.delete(path);
  }
}
