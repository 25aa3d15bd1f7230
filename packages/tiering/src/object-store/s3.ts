import { setMaxListeners } from "node:events";
import { Agent as HttpAgent } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from "@aws-sdk/client-s3";
import { ObjectStoreError, type Clock, type ObjectStore, type Random } from "@coldbrook/core";
import { AnsweredHandler, WholeBody, type AnsweredOptions } from "./answered-handler.ts";
import { contentMd5, exactBody, type ObjectBody } from "./body.ts";
import { checkKey, checkListPrefix, checkRange } from "./key.ts";
import { RangeGets } from "./range-gets.ts";
import { withRetry, type Attempt, type RetryPolicy } from "./retry.ts";
import { SignedGets } from "./signed-gets.ts";
import { isTaken, judgeS3Fault, WrongLength } from "./s3-fault.ts";

/** Times in milliseconds. What is left out comes from the SDK's standard chain: environment, profile, role. */
export interface S3ObjectStoreOptions {
  readonly bucket: string;
  /** Without slashes at its ends; empty for the whole bucket. */
  readonly prefix: string;
  readonly endpoint?: string;
  readonly region?: string;
  /** Connections at once that read ranges, and at most as many for everything else. Default 64. */
  readonly socketsMax?: number;
  /** Default 3,000. */
  readonly connectTimeoutMs?: number;
  /** Longest silence, and longest request apart from the time its bytes take. Default 10,000. */
  readonly requestTimeoutMs?: number;
  /** Default 5. */
  readonly attemptsMax?: number;
  /** Default 20,000. */
  readonly retryBudgetMs?: number;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly sleep?: (ms: number) => Promise<void>;
}

/** A transfer slower than this is given up. */
const TRANSFER_BYTES_PER_MS_MIN = 512;

const ignore = (): void => {};
/** Left to itself the SDK writes a line to the console whenever an upload fails; callers get errors instead. */
const QUIET = { debug: ignore, info: ignore, warn: ignore, error: ignore };

/** Not the store's fault: the caller's body threw, and the caller gets its error back as it was. */
class BodyFault {
  readonly error: unknown;
  constructor(error: unknown) {
    this.error = error;
  }
}

/**
 * Objects in an S3 bucket. Every request has a deadline, every response body is read to its end or destroyed, and
 * no key is ever written without `If-None-Match: *`.
 */
export class S3ObjectStore implements ObjectStore {
  readonly name: string;
  readonly #options: S3ObjectStoreOptions;
  readonly #prefix: string;
  readonly #retry: RetryPolicy;
  readonly #requestTimeoutMs: number;
  readonly #closing: AbortController = new AbortController();
  readonly #handler: AnsweredHandler;
  readonly #ranges: RangeGets;
  readonly #gets: SignedGets;
  #client: Promise<S3Client> | undefined;

  constructor(options: S3ObjectStoreOptions) {
    this.#options = options;
    this.#prefix = options.prefix === "" ? "" : `${options.prefix}/`;
    this.name = `s3://${options.bucket}${options.prefix === "" ? "" : `/${options.prefix}`}`;
    this.#requestTimeoutMs = options.requestTimeoutMs ?? 10_000;
    const { socketsMax = 64, connectTimeoutMs = 3_000 } = options;
    const silenceMs = this.#requestTimeoutMs;
    const sockets = { keepAlive: true, maxSockets: socketsMax, scheduling: "lifo" } as const;
    const agents = { httpAgent: new HttpAgent(sockets), httpsAgent: new HttpsAgent(sockets) };
    this.#handler = new AnsweredHandler({ ...agents, connectionTimeout: connectTimeoutMs, socketTimeout: silenceMs });
    this.#ranges = new RangeGets({ socketsMax, connectTimeoutMs, silenceMs, agents: Object.values(agents) });
    this.#gets = new SignedGets(this.#ranges, options.clock ?? Date.now);
    // One for each request under way.
    setMaxListeners(0, this.#closing.signal);
    this.#retry = {
      attemptsMax: options.attemptsMax ?? 5,
      budgetMs: options.retryBudgetMs ?? 20_000,
      waitMs: 100,
      waitMsMax: 5_000,
      clock: options.clock ?? Date.now,
      random: options.random ?? Math.random,
      sleep: options.sleep ?? ((ms) => delay(ms, undefined, { signal: this.#closing.signal })),
    };
  }

  async create(key: string, bytes: number, body: ObjectBody): Promise<"created" | "exists"> {
    checkKey(this.name, key);
    const what = `create ${this.name}/${key}`;
    const md5 = await contentMd5(what, bytes, body);
    return await this.#request(what, bytes, async (client, controller) => {
      let broken: BodyFault | undefined;
      const source = Readable.from(exactBody(what, bytes, body), { objectMode: false });
      // The SDK only pipes the body: an error in it would otherwise leave the request waiting for the rest.
      source.on("error", (error) => {
        broken = new BodyFault(error);
        controller.abort();
      });
      try {
        const command = new PutObjectCommand({
          ...this.#object(key),
          Body: source,
          ContentLength: bytes,
          ContentMD5: md5,
          IfNoneMatch: "*",
        });
        await client.send(command, { abortSignal: controller.signal });
        return "created";
      } catch (error) {
        if (broken !== undefined) throw broken;
        if (isTaken(error)) return "exists";
        throw error;
      } finally {
        source.destroy();
      }
    });
  }

  async read(key: string, from: number, to: number): Promise<Uint8Array> {
    checkKey(this.name, key);
    checkRange(this.name, key, from, to);
    if (from === to) return new Uint8Array(0);
    const what = `read ${this.name}/${key}`;
    return await this.#request(what, to - from, async (client, { signal }) => {
      const early = await this.#gets.get(client, { ...this.#object(key), from, to }, signal);
      if (early?.status === 206) {
        checkRangeHonoured(what, 206, early.headers["content-range"], from, to);
        if (early.body.length === to - from) return early.body;
      }
      const command = new GetObjectCommand({ ...this.#object(key), Range: `bytes=${from}-${to - 1}` });
      const options: AnsweredOptions = { abortSignal: signal, ...(early === undefined ? {} : { answered: early }) };
      const answer = await client.send(command, options);
      const body = answer.Body;
      if (!(body instanceof Readable)) throw new Error("the answer has no body");
      try {
        checkRangeHonoured(what, answer.$metadata.httpStatusCode, answer.ContentRange, from, to);
        return await readWhole(body, to - from);
      } finally {
        // A body that is left half read keeps its connection from everyone else.
        body.destroy();
      }
    });
  }

  async size(key: string): Promise<number | undefined> {
    checkKey(this.name, key);
    const what = `size of ${this.name}/${key}`;
    return await missingAs(undefined, () =>
      this.#request(what, 0, async (client, { signal }) => {
        const answer = await client.send(new HeadObjectCommand(this.#object(key)), { abortSignal: signal });
        if (answer.ContentLength === undefined) throw new ObjectStoreError("denied", `${what}: no Content-Length`);
        return answer.ContentLength;
      }),
    );
  }

  async remove(key: string): Promise<void> {
    checkKey(this.name, key);
    await missingAs(undefined, () =>
      this.#request(`remove ${this.name}/${key}`, 0, async (client, { signal }) => {
        await client.send(new DeleteObjectCommand(this.#object(key)), { abortSignal: signal });
      }),
    );
  }

  async *list(prefix: string): AsyncGenerator<string> {
    checkListPrefix(this.name, prefix);
    let token: string | undefined;
    do {
      const page = await this.#request(`list ${this.name}/${prefix}`, 0, (client, { signal }) => {
        const command = new ListObjectsV2Command({
          Bucket: this.#options.bucket,
          Prefix: this.#prefix + prefix,
          ContinuationToken: token,
        });
        return client.send(command, { abortSignal: signal });
      });
      for (const { Key } of page.Contents ?? []) {
        if (Key !== undefined) yield Key.slice(this.#prefix.length);
      }
      token = page.IsTruncated === true ? page.NextContinuationToken : undefined;
    } while (token !== undefined);
  }

  /** Ends what is under way: its callers get "unavailable". */
  async close(): Promise<void> {
    this.#closing.abort();
    const client = this.#client;
    this.#client = undefined;
    await this.#ranges.destroy();
    await client?.then(
      (opened) => opened.destroy(),
      () => undefined,
    );
  }

  #object(key: string): { Bucket: string; Key: string } {
    return { Bucket: this.#options.bucket, Key: this.#prefix + key };
  }

  /** One request with its attempts; `bytes` is what its body or its answer's body carries. @throws ObjectStoreError */
  async #request<T>(
    what: string,
    bytes: number,
    send: (client: S3Client, controller: AbortController) => Promise<T>,
  ): Promise<T> {
    const deadlineMs = this.#requestTimeoutMs + bytes / TRANSFER_BYTES_PER_MS_MIN;
    try {
      return await withRetry<T>(this.#retry, async (): Promise<Attempt<T>> => {
        this.#checkOpen(what);
        const controller = new AbortController();
        const stop = (): void => controller.abort();
        const timer = setTimeout(stop, deadlineMs);
        this.#closing.signal.addEventListener("abort", stop, { once: true });
        try {
          const client = await this.#connect();
          return { kind: "done", value: await send(client, controller) };
        } catch (error) {
          if (error instanceof BodyFault) throw error;
          this.#checkOpen(what);
          const fault = judgeS3Fault(what, error);
          if (!fault.again) throw fault.error;
          return { kind: "again", error: fault.error };
        } finally {
          clearTimeout(timer);
          this.#closing.signal.removeEventListener("abort", stop);
        }
      });
    } catch (error) {
      if (error instanceof BodyFault) throw error.error;
      this.#checkOpen(what);
      throw error;
    }
  }

  #checkOpen(what: string): void {
    if (this.#closing.signal.aborted) throw new ObjectStoreError("unavailable", `${what}: the store is closed`);
  }

  /** The client is made at first use, when it can be asked which endpoint the SDK's chain names. */
  #connect(): Promise<S3Client> {
    this.#client ??= this.#open().catch((error: unknown) => {
      this.#client = undefined;
      throw error;
    });
    return this.#client;
  }

  async #open(): Promise<S3Client> {
    const { endpoint, region } = await findServer(this.#options);
    const isAws = endpoint === undefined;
    return new S3Client({
      region,
      ...(isAws ? {} : { endpoint }),
      forcePathStyle: !isAws,
      logger: QUIET,
      maxAttempts: 1,
      // The SDK does not wait for the 100 on a pool of one's own, so the header would only cost servers that lack it.
      expectContinueHeader: false,
      // Several other servers refuse the checksums that AWS takes by default; Content-MD5 all of them know.
      requestChecksumCalculation: isAws ? "WHEN_SUPPORTED" : "WHEN_REQUIRED",
      responseChecksumValidation: isAws ? "WHEN_SUPPORTED" : "WHEN_REQUIRED",
      requestHandler: this.#handler,
    });
  }
}

/** Where the SDK's own chain leads. Servers other than AWS mostly do not mind the region, so they need not be given one. */
async function findServer(options: S3ObjectStoreOptions): Promise<{ endpoint: string | undefined; region: string }> {
  const scout = new S3Client(options.region === undefined ? {} : { region: options.region });
  try {
    const endpoint = options.endpoint ?? (await scout.config.serviceConfiguredEndpoint?.());
    const region = await scout.config.region().catch(() => undefined);
    if (region !== undefined) return { endpoint, region };
    if (endpoint !== undefined) return { endpoint, region: "us-east-1" };
  } finally {
    scout.destroy();
  }
  throw new ObjectStoreError("denied", `s3://${options.bucket}: no region; set AWS_REGION`);
}

/** A server that ignores Range sends the object from its start: other bytes than were asked for, and all of them. */
function checkRangeHonoured(
  what: string,
  status: number | undefined,
  range: string | undefined,
  from: number,
  to: number,
): void {
  const [, first, last] = /^bytes (\d+)-(\d+)\/(?:\d+|\*)$/.exec(range ?? "") ?? [];
  if (status !== 206 || first === undefined || Number(first) !== from) {
    const got = `HTTP ${status ?? "?"}, Content-Range ${JSON.stringify(range ?? "")}`;
    throw new ObjectStoreError("denied", `${what}: range not honoured: asked for [${from}, ${to}), got ${got}`);
  }
  if (Number(last) !== to - 1) {
    throw new ObjectStoreError("short", `${what}: asked for [${from}, ${to}), the object ends at ${Number(last) + 1}`);
  }
}

/** @throws WrongLength */
async function readWhole(body: Readable, bytes: number): Promise<Uint8Array> {
  if (body instanceof WholeBody && body.bytes.length === bytes) return body.bytes;
  const into = new Uint8Array(bytes);
  let at = 0;
  for await (const chunk of body) {
    if (!(chunk instanceof Uint8Array)) throw new Error("the answer's body is not bytes");
    if (at + chunk.byteLength > bytes) throw new WrongLength(`more than the ${bytes} bytes its Content-Range names`);
    into.set(chunk, at);
    at += chunk.byteLength;
  }
  if (at < bytes) throw new WrongLength(`${at} of the ${bytes} bytes its Content-Range names`);
  return into;
}

async function missingAs<T>(value: T, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ObjectStoreError && error.code === "missing") return value;
    throw error;
  }
}
