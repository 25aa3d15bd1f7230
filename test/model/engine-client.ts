/** Puts a history's requests to a real engine, and says what it answered in the history's words. Chunks and waits are as over HTTP. */
import { DEFAULT_CONTENT_TYPE, offsetAt, parseOffset, resolveOffset } from "@coldbrook/core";
import type { CreateRequest as EngineCreate, ForkRequest, StreamState } from "@coldbrook/core";
import type { Engine } from "../../packages/server/src/engine/engine.ts";
import type { StreamReader } from "../../packages/server/src/engine/stream-reader.ts";
import type { AppendRequest, CreateRequest, ForkFrom, Outcome, ReadRequest, Request, Shown } from "./history.ts";
import { isJson } from "./world.ts";

export interface ServedEngine {
  readonly engine: Engine;
  readonly reader: StreamReader;
}

export async function ask(served: ServedEngine, path: string, request: Request): Promise<Outcome> {
  const { engine } = served;
  switch (request.kind) {
    case "create":
      return create(engine, path, request);
    case "append":
      return append(engine, path, request);
    case "delete": {
      const removed = await engine.remove(path);
      return { kind: removed === "missing" ? "not-found" : removed };
    }
    case "head": {
      const found = engine.find(path);
      if (found === undefined) return { kind: engine.absence(path) };
      return { kind: "metadata", contentType: found.state.identity.config.contentType, shown: shownBy(found.state) };
    }
    case "read":
      return read(served, path, request);
  }
}

function shownBy(state: StreamState): Shown {
  return { tail: offsetAt(state.identity, state.tail), closed: state.closed };
}

function bodyOf({ contentType, messages }: CreateRequest | AppendRequest): Buffer {
  if (messages === null) return Buffer.from("[");
  const stored = messages.join("");
  const isList = isJson(contentType ?? DEFAULT_CONTENT_TYPE) && stored !== "";
  return Buffer.from(isList ? `[${stored.slice(0, -1)}]` : stored, "latin1");
}

function forkRequest({ source, offset, subOffset }: ForkFrom): ForkRequest {
  if (offset === "tail" || offset === "start") return { source, offset, subOffset };
  const at = parseOffset(offset);
  if (at.kind === "start") return { source, offset: "start", subOffset };
  if (at.kind !== "at") throw new Error(`not an offset to fork at: ${offset}`);
  return { source, offset: at, subOffset };
}

async function create(engine: Engine, path: string, request: CreateRequest): Promise<Outcome> {
  const { contentType, ttlSeconds, expiresAtMs, closed, fork } = request;
  const asked: EngineCreate = { contentType, ttlSeconds, expiresAtMs, closed };
  const body = bodyOf(request);
  const result =
    fork === null
      ? await engine.create(path, asked, body)
      : await engine.fork(path, { create: asked, fork: forkRequest(fork) }, body);
  if (result.kind !== "created" && result.kind !== "exists") return { kind: result.kind };
  return { kind: result.kind, shown: shownBy(result.state) };
}

async function append(engine: Engine, path: string, request: AppendRequest): Promise<Outcome> {
  const { contentType, close, producer, streamSeq } = request;
  const result = await engine.append(path, { contentType, close, producer, streamSeq, body: bodyOf(request) });
  if (result.kind !== "decided") return { kind: result.kind };
  const { outcome } = result;
  const shown = shownBy(result.state);
  switch (outcome.kind) {
    case "append":
      return { kind: "appended", shown };
    case "duplicate":
      return { kind: "duplicate", ...outcome.producer, shown };
    case "already-closed":
    case "closed":
      return { kind: outcome.kind, shown };
    case "stale-epoch":
      return { kind: "stale-epoch", epoch: outcome.epoch };
    case "gap":
      return { kind: "gap", expected: outcome.expected };
    case "too-long":
      throw new Error("a stream of a test passed 2^53 bytes");
    default:
      return { kind: outcome.kind };
  }
}

async function read(served: ServedEngine, path: string, request: ReadRequest): Promise<Outcome> {
  const { engine, reader } = served;
  const offset = parseOffset(request.offset === "start" ? null : request.offset);
  if (offset.kind === "malformed") return { kind: "bad" };
  const found = engine.find(path);
  if (found === undefined) return { kind: engine.absence(path) };
  const { stream } = found;
  engine.touch(stream);
  let { state } = found;
  let from = offset.kind === "now" ? state.tail : state.horizon;
  if (offset.kind === "at") {
    const resolved = resolveOffset(state.identity, state.tail, state.horizon, offset);
    if (resolved.kind !== "position") return { kind: resolved.kind === "gone" ? "offset-gone" : "bad" };
    from = await reader.resolveStart(stream, resolved.position, state.tail);
  }
  if (request.wait && from >= state.tail && !state.closed) {
    await new Promise<void>((resolve) => {
      const unwatch = engine.watch(stream, () => {
        unwatch();
        resolve();
      });
    });
    const latest = stream.durable;
    if (latest === null || latest.deleted || latest.softDeleted) return { kind: engine.absence(path) };
    state = latest;
  }
  const to = from >= state.tail ? from : await reader.chunkEnd(stream, from, state.tail);
  const parts: Uint8Array[] = [];
  if (to > from) for await (const piece of reader.pieces(stream, from, to)) parts.push(piece);
  return {
    kind: "data",
    bytes: Buffer.concat(parts).toString("latin1"),
    next: offsetAt(state.identity, to),
    upToDate: to >= state.tail,
    closed: to >= state.tail && state.closed,
  };
}
