/** A server, a counted way to it, a cache in front of that, and what every stream's bytes truly are. */
import { describe } from "vitest";
import { startServer, type ServerProcess } from "../process/coldbrook.ts";
import { describeReply, expectStatus, header, nextOffset, StreamClient } from "../process/http.ts";
import type { CreateOptions, ReadOptions, Reply } from "../process/http.ts";
import { parseOffset, storedBytes } from "../process/stored-bytes.ts";
import { DataDirectory } from "../faults/data-directory.ts";
import { missing, mustBeThere, startCache, type CacheName, type CacheProcess } from "./cache-process.ts";
import { CountedOrigin } from "./counted-origin.ts";

const octets = "application/octet-stream";
export const CACHES: readonly CacheName[] = ["Varnish", "nginx"];

/** Runs the same facts through each cache; says loudly which one is not there. */
export function throughEach(facts: (name: CacheName) => void): void {
  for (const name of CACHES) {
    const reason = missing(name);
    if (reason !== undefined && mustBeThere()) throw new Error(reason);
    if (reason !== undefined) process.stderr.write(`\n${reason}\n`);
    describe.skipIf(reason !== undefined)(`through ${name}`, () => {
      facts(name);
    });
  }
}

/** Bytes of one stream as its writer knows them; a generation's positions are never minted again. */
export class Truth {
  readonly path: string;
  readonly contentType: string;
  /** Offset of the first byte. */
  start = "";
  #bytes: Buffer;
  /** Positions at which a message ends. */
  readonly #ends: number[] = [0];
  #length = 0;

  constructor(path: string, contentType: string, capacity: number) {
    this.path = path;
    this.contentType = contentType;
    this.#bytes = Buffer.alloc(capacity);
  }

  get length(): number {
    return this.#length;
  }

  /** Before the append is sent: a reader may see it before its writer hears that it is there. */
  add(stored: Uint8Array): void {
    if (this.#length + stored.length > this.#bytes.length) throw new Error(`${this.path}: more than its capacity`);
    this.#bytes.set(stored, this.#length);
    this.#length += stored.length;
    this.#ends.push(this.#length);
  }

  bytes(from: number, to: number): Buffer {
    return this.#bytes.subarray(from, Math.min(to, this.#length));
  }

  /** Where a read from `from` ends below the tail: the first end of a message at or after the next multiple. */
  chunkEnd(from: number, chunkBytes: number): number | undefined {
    const target = (Math.floor(from / chunkBytes) + 1) * chunkBytes;
    return this.#ends.find((end) => end >= target);
  }

  /** @throws Error unless a 200 holds exactly the bytes between `position` and its next offset */
  verify(reply: Reply, position: number): { from: number; to: number } {
    const next = parseOffset(nextOffset(reply));
    const body = storedBytes(this.contentType, reply.body);
    const is = describeReply({ ...reply, body: body.subarray(0, 40) });
    if (next.position !== position + body.length) throw new Error(`${this.path} at ${position}: wrong length: ${is}`);
    if (!this.bytes(position, next.position).equals(body))
      throw new Error(`${this.path} at ${position}: wrong bytes: ${is}`);
    return { from: position, to: next.position };
  }
}

export class CdnRig implements AsyncDisposable {
  readonly cache: CacheProcess;
  readonly origin: CountedOrigin;
  /** Through the cache. */
  readonly reader: StreamClient;
  /** Beside the cache. Another server after a restart. */
  writer: StreamClient;
  #server: ServerProcess;
  readonly #data: DataDirectory;
  readonly #args: readonly string[];

  private constructor(
    data: DataDirectory,
    server: ServerProcess,
    origin: CountedOrigin,
    cache: CacheProcess,
    args: readonly string[],
  ) {
    this.#data = data;
    this.#server = server;
    this.#args = args;
    this.origin = origin;
    this.cache = cache;
    this.reader = new StreamClient(cache.url);
    this.writer = new StreamClient(server.url);
  }

  static async open(name: CacheName, args: readonly string[]): Promise<CdnRig> {
    const data = await DataDirectory.empty();
    const server = await startServer({ args: ["--data-dir", data.path, ...args] });
    const origin = await CountedOrigin.in(server.url);
    return new CdnRig(data, server, origin, await startCache(name, origin.url), args);
  }

  /** kill -9, and a new process on the same data. */
  async kill(): Promise<void> {
    await this.#server.kill9();
  }

  async restart(): Promise<void> {
    this.#server = await startServer({ args: ["--data-dir", this.#data.path, ...this.#args] });
    this.origin.moveTo(this.#server.url);
    this.writer[Symbol.dispose]();
    this.writer = new StreamClient(this.#server.url);
  }

  async create(path: string, options: CreateOptions & { capacity?: number } = {}): Promise<Truth> {
    const contentType = options.contentType ?? octets;
    const truth = new Truth(path, contentType, options.capacity ?? 1 << 20);
    const reply = expectStatus(await this.writer.create(path, { ...options, contentType }), `create ${path}`, 201);
    truth.start = nextOffset(reply);
    return truth;
  }

  async append(truth: Truth, bytes: Uint8Array | string): Promise<void> {
    const sent = typeof bytes === "string" ? Buffer.from(bytes) : bytes;
    truth.add(truth.contentType === "application/json" ? Buffer.concat([sent, Buffer.from(",")]) : sent);
    const { path, contentType } = truth;
    expectStatus(await this.writer.append(path, sent, { contentType }), `append to ${path}`, 204);
  }

  async close(truth: Truth): Promise<void> {
    expectStatus(await this.writer.close(truth.path), `close ${truth.path}`, 204);
  }

  /** One read through the cache, whose bytes are compared. `offset` must be one of `truth`'s, or `-1`. */
  async read(truth: Truth, offset: string, options: ReadOptions = {}): Promise<Reply> {
    const reply = await this.reader.read(truth.path, { ...options, offset });
    if (reply.status === 200) truth.verify(reply, offset === "-1" ? 0 : parseOffset(offset).position);
    return reply;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.reader[Symbol.dispose]();
    this.writer[Symbol.dispose]();
    await this.cache[Symbol.asyncDispose]();
    await this.origin[Symbol.asyncDispose]();
    await this.#server[Symbol.asyncDispose]();
    await this.#data[Symbol.asyncDispose]();
  }
}

export function isUpToDate(reply: Reply): boolean {
  return header(reply, "stream-up-to-date") === "true";
}

/** A line of measured figures among the results. */
export function say(line: string): void {
  process.stdout.write(`CDN: ${line}\n`);
}
