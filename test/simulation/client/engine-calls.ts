/** One request to an incarnation, done as the HTTP handlers do it, and what a client is told. */
import type { AppendRequest, CreateRequest, Outcome, Request, Shown } from "../../model/history.ts";
import type { Product } from "../product.ts";
import type { Running } from "../server.ts";
import type { StreamState } from "@coldbrook/core";
import type { AppendInput, AppendResult, ForkResult } from "../../../packages/server/dist/engine/write-path.js";

/** A long-poll's end. */
const WAIT_MS = 3_000;

/** Faults that promise that nothing has happened. */
const REFUSALS: ReadonlySet<string> = new Set([
  "wal-full",
  "draining",
  "too-many-waiters",
  "store-unavailable",
  "disk-full",
]);

export function isRefusal(error: unknown): boolean {
  return error instanceof Error && "code" in error && REFUSALS.has(String(error.code));
}

type Core = Product["core"];

export class EngineCalls {
  readonly #core: Core;

  constructor(core: Core) {
    this.#core = core;
  }

  /** @throws StreamError that is neither a refusal nor expected */
  async perform(running: Running, path: string, request: Request): Promise<Outcome> {
    try {
      return await this.#perform(running, path, request);
    } catch (error) {
      if (isRefusal(error)) return { kind: "refused" };
      throw error;
    }
  }

  #perform(running: Running, path: string, request: Request): Promise<Outcome> | Outcome {
    switch (request.kind) {
      case "create":
        return this.#create(running, path, request);
      case "append":
        return this.#append(running, path, request);
      case "delete":
        return this.#remove(running, path);
      case "head":
        return this.#head(running, path);
      case "read":
        return this.#readOnce(running, path, request.offset, request.wait);
    }
  }

  /** Bytes of a stream that is deleted or replaced meanwhile may go; those of a live one may not. */
  async #readOnce(running: Running, path: string, offset: string, wait: boolean): Promise<Outcome> {
    const idNow = (): number | undefined => running.shard.engine.find(path)?.state.identity.id;
    const id = idNow();
    try {
      return await this.#read(running, path, offset, wait);
    } catch (error) {
      const isGone = error instanceof Error && "code" in error && error.code === "gone";
      if (isGone && idNow() !== id) return { kind: "refused" };
      throw error;
    }
  }

  async #create({ shard }: Running, path: string, request: CreateRequest): Promise<Outcome> {
    const { contentType, ttlSeconds, expiresAtMs, closed, fork } = request;
    const create = { contentType, ttlSeconds, expiresAtMs, closed };
    const body = bodyOf(request.messages);
    const result: ForkResult = await (fork === null
      ? shard.engine.create(path, create, body)
      : shard.engine.fork(
          path,
          { create, fork: { source: fork.source, offset: this.#forkOffset(fork.offset), subOffset: fork.subOffset } },
          body,
        ));
    if (result.kind === "created" || result.kind === "exists")
      return { kind: result.kind, shown: this.#shown(result.state) };
    return { kind: result.kind };
  }

  #forkOffset(token: string): Parameters<Running["shard"]["engine"]["fork"]>[1]["fork"]["offset"] {
    if (token === "tail") return "tail";
    const parsed = this.#core.parseOffset(token === "start" ? null : token);
    if (parsed.kind === "start") return "start";
    if (parsed.kind !== "at") throw new Error(`${token} is no offset to fork at`);
    return parsed;
  }

  async #append({ shard }: Running, path: string, request: AppendRequest): Promise<Outcome> {
    const input: AppendInput = {
      contentType: request.contentType,
      body: bodyOf(request.messages),
      close: request.close,
      producer: request.producer,
      streamSeq: request.streamSeq,
    };
    return this.#appended(await shard.engine.append(path, input));
  }

  #appended(result: AppendResult): Outcome {
    if (result.kind !== "decided") return { kind: result.kind };
    const { outcome, state } = result;
    const shown = this.#shown(state);
    switch (outcome.kind) {
      case "append":
        return { kind: "appended", shown };
      case "duplicate":
        return { kind: "duplicate", epoch: outcome.producer.epoch, seq: outcome.producer.seq, shown };
      case "already-closed":
      case "closed":
        return { kind: outcome.kind, shown };
      case "stale-epoch":
        return { kind: "stale-epoch", epoch: outcome.epoch };
      case "gap":
        return { kind: "gap", expected: outcome.expected };
      case "too-long":
        throw new Error("a stream of 2^53 bytes");
      default:
        return { kind: outcome.kind };
    }
  }

  async #remove({ shard }: Running, path: string): Promise<Outcome> {
    const result = await shard.engine.remove(path);
    return { kind: result === "missing" ? "not-found" : result };
  }

  async #head({ shard }: Running, path: string): Promise<Outcome> {
    const found = shard.engine.find(path);
    if (found === undefined) return { kind: await shard.engine.absent(path) };
    const { contentType } = found.state.identity.config;
    return { kind: "metadata", contentType, shown: this.#shown(found.state) };
  }

  /** As `startOf`, `catchUp` and `longPoll` do it. */
  async #read(running: Running, path: string, offset: string, wait: boolean): Promise<Outcome> {
    const { engine, reader } = running.shard;
    const parsed = this.#core.parseOffset(offset === "start" ? null : offset);
    if (parsed.kind === "malformed") return { kind: "bad" };
    const found = engine.find(path);
    if (found === undefined) return { kind: await engine.absent(path) };
    engine.touch(found.stream);
    let { stream, state } = found;
    let from: number = parsed.kind === "now" ? state.tail : state.horizon;
    if (parsed.kind === "at") {
      const resolved = this.#core.resolveOffset(state.identity, state.tail, state.horizon, parsed);
      if (resolved.kind === "gone") return { kind: "offset-gone" };
      if (resolved.kind === "malformed") return { kind: "bad" };
      from = await reader.resolveStart(stream, resolved.position, state.tail);
      const again = engine.find(path);
      if (again === undefined || again.state.identity.id !== state.identity.id)
        return { kind: await engine.absent(path) };
      ({ stream, state } = again);
    }
    if (wait && state.tail <= from && !state.closed) {
      await changed(running, stream, from);
      const latest = stream.durable;
      if (latest === null || latest.deleted || latest.softDeleted) return { kind: await engine.absent(path) };
      state = latest;
    }
    const position = this.#core.position(from);
    const to = state.tail <= from ? state.tail : await reader.chunkEnd(stream, position, state.tail);
    return {
      kind: "data",
      bytes: to <= from ? "" : await bytesOf(reader, stream, position, to),
      next: this.#core.offsetAt(state.identity, to),
      upToDate: to >= state.tail,
      closed: to >= state.tail && state.closed,
    };
  }

  #shown(state: StreamState): Shown {
    return { tail: this.#core.offsetAt(state.identity, state.tail), closed: state.closed };
  }
}

type Reader = Running["shard"]["reader"];
type Stream = Parameters<Reader["whole"]>[0];
type Position = Parameters<Reader["whole"]>[1];

async function bytesOf(reader: Reader, stream: Stream, from: Position, to: Position): Promise<string> {
  const whole = await reader.whole(stream, from, to);
  if (whole !== null) {
    const text = Buffer.from(whole.bytes).toString("latin1");
    whole.done();
    return text;
  }
  const pieces: string[] = [];
  for await (const piece of reader.pieces(stream, from, to)) pieces.push(Buffer.from(piece).toString("latin1"));
  return pieces.join("");
}

/** Resolves at data past `from`, a close, a delete, the deadline, or when the server drains. */
function changed({ shard, waits }: Running, stream: Stream, from: number): Promise<void> {
  return new Promise((resolve) => {
    const settle = (): void => {
      waits.delete(settle);
      clearTimeout(deadline);
      unwatch();
      resolve();
    };
    const deadline = setTimeout(settle, WAIT_MS);
    const unwatch = shard.engine.watch(stream, () => {
      const state = stream.durable!;
      if (state.tail > from || state.closed || state.deleted || state.softDeleted) settle();
    });
    waits.add(settle);
  });
}

/** The body whose messages these are. Those of JSON mode are known by their commas, which a body does not end with. */
function bodyOf(messages: readonly string[] | null): Buffer {
  if (messages === null) return Buffer.from("{not json");
  const isJson = messages.length > 0 && messages.every((each) => each.startsWith("{") && each.endsWith("},"));
  if (!isJson) return Buffer.from(messages.join(""), "latin1");
  return Buffer.from(`[${messages.map((each) => each.slice(0, -1)).join(", ")}]`, "latin1");
}
