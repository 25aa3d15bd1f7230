/**
 * GET with `live=sse`: protocol section 5.8. A subscriber holds a position and, while the socket takes no more, nothing else:
 * what it missed is read again from its position. One that has all there is waits without a promise or a timer of its own,
 * and gets what comes in the turn that wakes it, as bytes that it shares with all others at its position.
 */
import type { ServerResponse } from "node:http";
import { cachePolicy, isJson, isText, responseCursor, RESPONSE_HEADER, StreamError } from "@coldbrook/core";
import type { DataKind, Position, StreamIdentity, StreamState } from "@coldbrook/core";
import type { Stream } from "../engine/stream.ts";
import type { Exchange } from "./exchange.ts";
import { logFailure } from "./failure.ts";
import { LiveEnds } from "./live-ends.ts";
import type { LiveRead } from "./live-ends.ts";
import { LiveEvents } from "./live-events.ts";
import type { LiveEvent, Wanted } from "./live-events.ts";
import { dropWhenStalled } from "./range-body.ts";
import { tagHeaders, waiterProblem } from "./read-context.ts";
import type { ReadContext, Start } from "./read-context.ts";

/** What all subscribers of a server share. */
interface Shared {
  readonly context: ReadContext;
  readonly events: LiveEvents;
  readonly ends: LiveEnds;
}

/** An event of this size is counted as in flight while its socket holds it. */
const HELD_BYTES_MIN: number = 64 * 1024;

const sharedOf = new WeakMap<ReadContext, Shared>();

/** Resolves when the subscriber has its first event; what goes wrong later is its own to report. */
export async function sse(context: ReadContext, exchange: Exchange, start: Start): Promise<void> {
  const refused = waiterProblem(context, start.stream);
  if (refused !== null) return exchange.problem(refused);
  let shared = sharedOf.get(context);
  if (shared === undefined) {
    shared = { context, events: new LiveEvents(context), ends: new LiveEnds(context.draining, context.sseMs) };
    sharedOf.set(context, shared);
  }
  const { contentType } = start.state.identity.config;
  const kind = isJson(contentType) ? "json" : isText(contentType) ? context.textEvents : "base64";
  const subscriber = new Subscriber(shared, exchange.response, start, kind);
  const first = await subscriber.begin(start.state);
  if (first === null) return;
  sendHead(exchange, start.state.identity, kind);
  subscriber.follow(first);
}

function sendHead(exchange: Exchange, identity: StreamIdentity, kind: DataKind): void {
  const headers = ["Content-Type", "text/event-stream", "Cache-Control", cachePolicy({ kind: "sse" }).cacheControl];
  headers.push("X-Accel-Buffering", "no", ...tagHeaders(identity));
  if (kind === "base64") headers.push(RESPONSE_HEADER.streamSseDataEncoding, "base64");
  exchange.head(200, headers);
}

class Subscriber implements LiveRead, Wanted {
  readonly stream: Stream;
  readonly kind: DataKind;
  from: Position;
  cursorMin: number;
  readonly #shared: Shared;
  readonly #response: ServerResponse;
  readonly #unwatch: () => void;
  readonly #close: () => void;
  /** The stream was closed when the last event was made. */
  #closed: boolean;
  /** Bytes are being read, or the socket takes no more: a wake changes nothing. */
  #busy = true;
  #ending = false;
  #left = false;
  /** Events go to the socket as chunks that are framed already. */
  #framed = false;
  /** Of the last event, if it counts as in flight. */
  #release: (() => void) | null = null;
  /** A stall ends the connection. */
  #watchesStalls = false;

  constructor(shared: Shared, response: ServerResponse, start: Start, kind: DataKind) {
    const { clock, random, cursorSchedule, engine } = shared.context;
    this.stream = start.stream;
    this.kind = kind;
    this.from = start.from;
    this.cursorMin = Number(responseCursor(start.query.cursor, clock(), random, cursorSchedule));
    this.#closed = start.state.closed;
    this.#shared = shared;
    this.#response = response;
    this.#close = () => this.#leave();
    response.once("close", this.#close);
    this.#unwatch = engine.watch(start.stream, () => this.#wake());
    shared.ends.add(this);
  }

  /** The first event, or null when the client has left. @throws StreamError */
  async begin(state: StreamState): Promise<LiveEvent | null> {
    try {
      const next = this.#shared.events.next(this, state);
      const first = next instanceof Promise ? await next : next;
      this.#hold(first);
      // The client may have left before anyone listened for it.
      if (this.#response.destroyed) this.#leave();
      return this.#left ? null : first;
    } catch (error) {
      this.#leave();
      throw error;
    }
  }

  /** Sends the first event behind the head, and from then on what comes. */
  follow(first: LiveEvent): void {
    const response = this.#response;
    const { socket } = response;
    this.#framed = socket !== null && response.chunkedEncoding && !Object.hasOwn(response, "write");
    socket?.cork();
    response.flushHeaders();
    this.#send(first);
    socket?.uncork();
    this.#watchStalls();
    this.#resume();
  }

  /** At the deadline, or when the server drains. */
  end(): void {
    this.#ending = true;
    this.#wake();
  }

  #wake(): void {
    if (!this.#busy && !this.#left) this.#resume();
  }

  #resume(): void {
    this.#busy = true;
    try {
      this.#advance();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Sends what there is, until it is all sent or has to be waited for. */
  #advance(): void {
    while (!this.#left) {
      const state = this.stream.durable!;
      if (isGone(state)) return this.#finish();
      const { socket } = this.#response;
      const sink = this.#framed ? socket! : this.#response;
      if (sink.writableNeedDrain) return void sink.once("drain", () => this.#left || this.#resume());
      this.#released();
      if (state.tail <= this.from && state.closed === this.#closed) {
        this.#busy = false;
        return state.closed || this.#ending ? this.#finish() : undefined;
      }
      const next = this.#shared.events.next(this, state);
      if (next instanceof Promise) return void this.#sendLater(next, state);
      this.#closed = state.closed;
      this.#hold(next);
      this.#send(next);
      this.#watchStalls();
      if (this.#ending) return this.#finish();
      // Others have their turn before more of what is not new.
      if (next.to < state.tail) return void setImmediate(() => this.#left || this.#resume());
    }
  }

  async #sendLater(later: Promise<LiveEvent>, state: StreamState): Promise<void> {
    try {
      const next = await later;
      if (this.#left) return;
      this.#closed = state.closed;
      this.#hold(next);
      this.#send(next);
      this.#watchStalls();
    } catch (error) {
      return this.#fail(error);
    }
    if (this.#ending) this.#finish();
    else this.#resume();
  }

  #send(event: LiveEvent): void {
    this.from = event.to;
    this.cursorMin = event.cursor;
    // The response would frame it in three more writes, and join them in the next tick.
    if (this.#framed) this.#response.socket!.write(event.chunk);
    else this.#response.write(event.bytes);
  }

  /** What the socket does not take at once has a deadline. */
  #watchStalls(): void {
    if (this.#response.writableLength === 0 || this.#watchesStalls) return;
    this.#watchesStalls = true;
    dropWhenStalled(this.#response);
  }

  /** Until the socket takes more; smaller events are shared, or no more than its buffer may be. */
  #hold({ chunk }: LiveEvent): void {
    if (chunk.length >= HELD_BYTES_MIN && !this.#left) this.#release = this.#shared.context.reader.hold(chunk);
  }

  #released(): void {
    this.#release?.();
    this.#release = null;
  }

  #finish(): void {
    this.#leave();
    this.#response.end();
    this.#watchStalls();
  }

  #fail(error: unknown): void {
    if (this.#left) return;
    this.#leave();
    const isRemoved = error instanceof StreamError && error.code === "gone";
    // The bytes of a stream that is deleted meanwhile may go: its readers are ended, not cut. Those of a live one may not.
    if (isRemoved && isGone(this.stream.durable!)) return void this.#response.end();
    const fault = isRemoved ? new StreamError("corrupt-object", error.message, { cause: error }) : error;
    logFailure(this.#shared.context.log, this.#response.req, fault);
    this.#response.destroy();
  }

  #leave(): void {
    if (this.#left) return;
    this.#left = true;
    this.#released();
    this.#unwatch();
    this.#response.off("close", this.#close);
    this.#shared.ends.delete(this);
    if (this.stream.waiters.size === 0) this.#shared.events.forget(this.stream);
  }
}

/** Nobody reads the stream by its name any more. */
function isGone(state: StreamState): boolean {
  return state.deleted || state.softDeleted;
}
