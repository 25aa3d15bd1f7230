/**
 * Streams in a directory, by method calls instead of HTTP: a face of an engine with the real WAL, catalog and object
 * directory. Whatever changes a stream resolves when it is durable; look-ups answer at once.
 */
import path from "node:path";
import { EngineFace } from "./engine-face.ts";
import type { OpenEngine } from "./engine-face.ts";
import { DirectoryEngine } from "./directory-engine.ts";
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
import { messagesOf } from "./stored-messages.ts";
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

export type FileBackedStreamStoreOptions =
  | { readonly dataDir: string; readonly path?: undefined; readonly maxFileHandles?: number | undefined }
  | { readonly path: string; readonly dataDir?: undefined; readonly maxFileHandles?: number | undefined };

/** What is being asked of a store that is not open. */
type Phase = "opening" | "open" | "closed" | "failed";

export class FileBackedStreamStore extends EngineFace {
  readonly #dataDir: string;
  #phase: Phase = "closed";
  #engine: DirectoryEngine | null = null;
  #opening: Promise<DirectoryEngine> | null = null;
  /** The last close. */
  #ending: Promise<void> | null = null;

  /** Begins to open the directory, which is made if it is missing. `maxFileHandles` is of no use here: streams hold no files open. */
  constructor(options: FileBackedStreamStoreOptions) {
    super();
    const directory = options.dataDir ?? options.path;
    if (directory === undefined || directory === "") throw new Error("FileBackedStreamStore needs a dataDir or a path");
    this.#dataDir = path.resolve(directory);
    // Who needs the store hears of a failure; nobody else must.
    this.ready().catch(() => undefined);
  }

  /** Resolves when the streams of the directory can be used; a closed store opens again. @throws Error that says what stands in the way */
  async ready(): Promise<void> {
    await this.directory();
  }

  /** The engine behind the store, for a server of its own. */
  directory(): Promise<DirectoryEngine> {
    if (this.#opening !== null) return this.#opening;
    const opening = this.#openNow();
    this.#opening = opening;
    // After a failure the next call tries again.
    opening.catch(() => {
      if (this.#opening === opening) this.#opening = null;
    });
    return opening;
  }

  /** Resolves when everything is on disk and the directory is free. */
  async close(): Promise<void> {
    this.cancelAllWaits();
    const opening = this.#opening;
    if (opening !== null) {
      this.#opening = null;
      this.#ending = this.#end(opening);
    }
    await this.#ending;
  }

  /** A closed store is not opened again by a late call: the directory may be another one's by now. */
  #used(): Promise<DirectoryEngine> {
    if (this.#opening === null && this.#phase !== "failed") return Promise.reject(this.#notOpen());
    return this.directory();
  }

  protected override get open(): OpenEngine {
    if (this.#engine !== null) return this.#engine;
    throw this.#notOpen();
  }

  #notOpen(): Error {
    const advice =
      this.#phase === "opening" ? "await its ready() first, or the start() of its server" : "open it with ready()";
    return new Error(
      `The store in ${this.#dataDir} is ${this.#phase === "opening" ? "still opening" : "not open"}: ${advice}`,
    );
  }

  protected override messagesOfView(): StreamMessage[] {
    return [];
  }

  /** The new stream, or the one that is there when it was asked for alike. @throws Error for one that is there otherwise, and for a fork that cannot be made */
  async create(path: string, options: CreateOptions = {}): Promise<Stream> {
    const { engine } = await this.#used();
    const target = pathFor(path);
    const request = createRequest(options);
    const fork = forkRequest(options);
    const facts = this.createFacts(path, options);
    const body = Uint8Array.from(options.initialData ?? []);
    const result = await (fork === null
      ? engine.create(target, request, body)
      : engine.fork(target, { create: request, fork }, body));
    return this.viewOfNew(path, created(path, options, result, facts));
  }

  /** Whether there was a stream. One with forks is kept for them under its name. */
  async delete(path: string): Promise<boolean> {
    const { engine } = await this.#used();
    if (this.presence(path) === "none") return false;
    return (await engine.remove(pathFor(path))) !== "missing";
  }

  /**
   * The message, or with a producer or `close` what became of it.
   * @throws Error when there is no such stream, for another content type, a Stream-Seq that does not grow, and data that the stream cannot hold
   */
  async append(path: string, data: Uint8Array, options: AppendOptions = {}): Promise<StreamMessage | AppendResult> {
    // The caller may change its buffer while the store opens.
    const given = Uint8Array.from(data);
    const { engine } = await this.#used();
    const facts = this.appendFacts(path, appendInput(given, options, this.contentTypeOf(path)));
    return appended(facts, await engine.append(pathFor(path), facts.input));
  }

  async appendWithProducer(path: string, data: Uint8Array, options: AppendOptions): Promise<AppendResult> {
    const result = await this.append(path, data, options);
    return "message" in result ? result : { message: result };
  }

  /** Null when there is no such stream. @throws Error when it is soft-deleted */
  async closeStream(path: string): Promise<CloseResult | null> {
    const { engine } = await this.#used();
    if (this.presence(path) === "none") return null;
    return closed(path, await engine.append(pathFor(path), closeInput(null)));
  }

  async closeStreamWithProducer(path: string, options: ProducerCloseOptions): Promise<ProducerCloseResult | null> {
    const { engine } = await this.#used();
    if (this.presence(path) === "none") return null;
    const facts = this.appendFacts(path, closeInput(options));
    return producerClosed(facts, await engine.append(pathFor(path), facts.input));
  }

  /** All messages past the offset, which is the start when it is missing. @throws Error when there is no such stream */
  async read(path: string, offset?: string): Promise<ReadResult> {
    const { reader } = await this.#used();
    const known = this.needed(path);
    return { messages: await messagesOf(reader, known, this.positionOf(known, offset)), upToDate: true };
  }

  /** The messages past the offset as soon as there are any. @throws Error when there is no such stream */
  async waitForMessages(path: string, offset: string, timeoutMs: number): Promise<WaitResult> {
    const { messages } = await this.read(path, offset);
    if (messages.length > 0) return { messages, timedOut: false };
    return this.waitPast(path, offset, timeoutMs, async () => (await this.read(path, offset)).messages);
  }

  /** Deletes all streams. */
  async clear(): Promise<void> {
    await this.#used();
    this.cancelAllWaits();
    // A stream that is kept for its forks goes with the last of them.
    for (const path of this.list()) await this.delete(path);
  }

  async #end(opening: Promise<DirectoryEngine>): Promise<void> {
    const engine = await opening.catch(() => null);
    this.#engine = null;
    if (this.#opening === null) this.#phase = "closed";
    await engine?.close();
  }

  async #openNow(): Promise<DirectoryEngine> {
    this.#phase = "opening";
    try {
      // The directory is ours to take once the close before has given it free.
      await this.#ending?.catch(() => undefined);
      this.#engine = await DirectoryEngine.open(this.#dataDir);
      this.#phase = "open";
      return this.#engine;
    } catch (error) {
      this.#phase = "failed";
      throw error;
    }
  }
}
