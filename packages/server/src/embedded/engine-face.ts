/** What the two stores have in common: look-ups in the engine, which never wait, and the wait for new messages. */
import { parseOffset, resolveOffset } from "@coldbrook/core";
import type { Clock, Position, StreamState } from "@coldbrook/core";
import type { Engine } from "../engine/engine.ts";
import { Stream as EngineStream } from "../engine/stream.ts";
import type { StreamReader } from "../engine/stream-reader.ts";
import type { AppendInput } from "../engine/write-path.ts";
import { formatMessages } from "./store-outcomes.ts";
import type { AppendFacts, CreateFacts, Presence } from "./store-outcomes.ts";
import { enginePath, storePath } from "./store-path.ts";
import { StoreWaits } from "./store-waits.ts";
import { viewOf } from "./stream-view.ts";
import type { Known } from "./stream-view.ts";
import type { CreateOptions, Stream, StreamMessage, WaitResult } from "./types.ts";

/** The longest wait of a Node timer. */
const TIMEOUT_MS_MAX = 2_147_483_647;

/** A catch-up response is cut here. Clients that take one response for the whole stream find a stream of usual size in it. */
export const CHUNK_BYTES: number = 16 * 1024 * 1024;

/** An engine that is open. */
export interface OpenEngine {
  readonly engine: Engine;
  readonly reader: StreamReader;
  readonly clock: Clock;
}

export abstract class EngineFace {
  readonly #waits = new StoreWaits();

  /** @throws Error while there is no engine to ask */
  protected abstract get open(): OpenEngine;

  /** What a stream object lists as its messages. */
  protected abstract messagesOfView(known: Known): StreamMessage[];

  /** The stream, or undefined when there is none. A stream that is kept for its forks alone says so by `softDeleted`. */
  get(path: string): Stream | undefined {
    const known = this.known(path);
    return known === undefined ? undefined : this.view(path, known);
  }

  has(path: string): boolean {
    return this.presence(path) === "there";
  }

  /** Paths of all streams, those that are kept for their forks included. */
  list(): Array<string> {
    return this.open.engine.paths().map(storePath);
  }

  /** Offset of the tail, or undefined when there is no such stream. */
  getCurrentOffset(path: string): string | undefined {
    return this.get(path)?.currentOffset;
  }

  /** The producer's epoch in force, or undefined. */
  getProducerEpoch(path: string, producerId: string): number | undefined {
    const known = this.known(path);
    return known === undefined ? undefined : this.open.engine.producersOf(known.stream).get(producerId)?.epoch;
  }

  /** Renews a sliding TTL. */
  touchAccess(path: string): void {
    const known = this.known(path);
    if (known !== undefined) this.open.engine.touch(known.stream);
  }

  /** The messages as the body of a response. @throws Error when there is no such stream */
  formatResponse(path: string, messages: Array<StreamMessage>): Uint8Array {
    return formatMessages(this.needed(path).state.identity.config.contentType, messages);
  }

  /** Ends all waits; they resolve without messages. */
  cancelAllWaits(): void {
    this.#waits.cancelAll();
  }

  protected known(path: string): Known | undefined {
    const parsed = enginePath(path);
    return parsed.kind === "bad" ? undefined : this.open.engine.known(parsed.path);
  }

  /** @throws Error */
  protected needed(path: string): Known {
    const known = this.known(path);
    if (known === undefined) throw new Error(`Stream not found: ${path}`);
    return known;
  }

  protected view(path: string, known: Known): Stream {
    const { engine, clock } = this.open;
    return viewOf({ engine, clock, messages: (at) => this.messagesOfView(at) }, path, known);
  }

  /** Of a stream that was just made, which may have expired since. */
  protected viewOfNew(path: string, state: StreamState): Stream {
    return this.view(path, this.known(path) ?? { stream: new EngineStream(state, state, "new"), state });
  }

  protected presence(path: string): Presence {
    const known = this.known(path);
    if (known === undefined) return "none";
    return known.state.softDeleted ? "gone" : "there";
  }

  protected createFacts(path: string, { forkedFrom }: CreateOptions): CreateFacts {
    return { target: this.presence(path), source: forkedFrom === undefined ? "none" : this.presence(forkedFrom) };
  }

  protected appendFacts(path: string, input: AppendInput): AppendFacts {
    const { engine, clock } = this.open;
    const known = input.producer === null ? undefined : this.known(path);
    const producer = known === undefined ? undefined : engine.producersOf(known.stream).get(input.producer!.id);
    return { path, input, producer, nowMs: clock() };
  }

  /** The stream's own content type, for appends that name none. */
  protected contentTypeOf(path: string): string {
    return this.known(path)?.state.identity.config.contentType ?? "application/octet-stream";
  }

  /** The position that an offset names in the stream; it may lie inside of a message. @throws Error for an offset that is not the stream's */
  protected positionOf({ state }: Known, offset: string | undefined): Position {
    const at = parseOffset(offset === undefined || offset === "" ? null : offset);
    if (at.kind === "start") return state.horizon;
    if (at.kind === "now") return state.tail;
    if (at.kind === "malformed") throw new Error(`Invalid offset "${offset}": ${at.detail}`);
    const resolved = resolveOffset(state.identity, state.tail, state.horizon, at);
    if (resolved.kind === "position") return resolved.position;
    throw new Error(`Invalid offset "${offset}": ${resolved.detail}`);
  }

  /** Waits for messages past `offset`, of which there are none; `read` gives them once there are. */
  protected async waitPast(
    path: string,
    offset: string,
    timeoutMs: number,
    read: () => StreamMessage[] | Promise<StreamMessage[]>,
  ): Promise<WaitResult> {
    const { stream, state } = this.needed(path);
    const from = this.positionOf({ stream, state }, offset);
    if (state.closed) return { messages: [], timedOut: false, streamClosed: true };
    const isOver = (): boolean => {
      const latest = stream.durable;
      return latest === null || latest.deleted || latest.softDeleted || latest.closed || latest.tail > from;
    };
    const end = await this.#waits.wait(this.open.engine, stream, isOver, Math.min(timeoutMs, TIMEOUT_MS_MAX));
    if (end === "cancelled") return { messages: [], timedOut: false };
    const latest = stream.durable;
    const closed = latest?.closed === true && !latest.deleted;
    if (end === "timed-out") return { messages: [], timedOut: true, streamClosed: closed };
    const isThere = latest !== null && !latest.deleted && latest.tail > from;
    const messages = isThere ? await read() : [];
    return { messages, timedOut: false, ...(closed && messages.length === 0 ? { streamClosed: true } : {}) };
  }
}
