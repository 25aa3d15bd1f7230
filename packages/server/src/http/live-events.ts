/**
 * The events of SSE subscribers as the bytes that go out: made once for all subscribers of a stream at the same position,
 * with the frame of the chunked transfer around them, so that each of them costs one write of bytes that are there.
 */
import { encodeControlEvent, encodeDataEvent, offsetAt, responseCursor, StreamError } from "@coldbrook/core";
import type { DataKind, Position, StreamState } from "@coldbrook/core";
import type { Stream } from "../engine/stream.ts";
import type { ReadContext } from "./read-context.ts";

/** Larger events are catch-up reads, which nobody else asks for at the same moment. */
const SHARED_BYTES_MAX: number = 256 * 1024;

/** A data event, unless there is no data, and the control event behind it. Never changed once it is made. */
export interface LiveEvent {
  readonly from: Position;
  readonly to: Position;
  readonly state: StreamState;
  readonly kind: DataKind;
  /** Of the control event, unless the stream is closed there. */
  readonly cursor: number;
  /** The data event alone; empty when there is no data. */
  readonly data: Uint8Array;
  /** Both events as they are. */
  readonly bytes: Uint8Array;
  /** Both events as one chunk of a chunked transfer (RFC 9112 section 7.1). */
  readonly chunk: Uint8Array;
}

/** What a subscriber has and may get. */
export interface Wanted {
  readonly stream: Stream;
  readonly kind: DataKind;
  /** What it has so far. */
  readonly from: Position;
  /** The event's cursor is not below this one. */
  readonly cursorMin: number;
}

interface Data {
  readonly to: Position;
  readonly data: Uint8Array;
}

interface Loading {
  readonly from: Position;
  readonly state: StreamState;
  readonly kind: DataKind;
  readonly event: Promise<LiveEvent>;
}

const NO_DATA: Uint8Array = new Uint8Array(0);

export class LiveEvents {
  readonly #context: ReadContext;
  /** The newest event of each stream that has several subscribers. */
  readonly #newest = new WeakMap<Stream, LiveEvent>();
  /** Reads under way, the newest of each stream. */
  readonly #loading = new WeakMap<Stream, Loading>();

  constructor(context: ReadContext) {
    this.#context = context;
  }

  /**
   * The events from the wanted position to the end of its chunk, as `state` shows it: in this very turn when the bytes are in
   * memory. @throws StreamError
   */
  next(wanted: Wanted, state: StreamState): LiveEvent | Promise<LiveEvent> {
    const { stream, kind, from, cursorMin } = wanted;
    const newest = this.#newest.get(stream);
    if (newest !== undefined && newest.state === state && newest.from === from && newest.kind === kind) {
      return newest.cursor >= cursorMin ? newest : this.#event(wanted, state, newest);
    }
    if (from >= state.tail) return this.#event(wanted, state, { to: state.tail, data: NO_DATA });
    const to = this.#context.reader.eventEnd(stream, from, state.tail);
    if (typeof to !== "number") return this.#later(wanted, state, to);
    const payload = this.#context.reader.fromMemory(stream, from, to);
    if (payload === null) return this.#later(wanted, state, to);
    return this.#event(wanted, state, { to, data: encodeDataEvent(kind, payload) });
  }

  /** Nobody subscribes to the stream any more. */
  forget(stream: Stream): void {
    this.#newest.delete(stream);
    this.#loading.delete(stream);
  }

  async #later(wanted: Wanted, state: StreamState, to: Position | Promise<Position>): Promise<LiveEvent> {
    const { stream, kind, from } = wanted;
    const under = this.#loading.get(stream);
    if (under !== undefined && under.state === state && under.from === from && under.kind === kind) {
      const event = await under.event;
      return event.cursor >= wanted.cursorMin ? event : this.#event(wanted, state, event);
    }
    const loading = { from, state, kind, event: this.#load(wanted, state, to) };
    this.#loading.set(stream, loading);
    try {
      return await loading.event;
    } finally {
      if (this.#loading.get(stream) === loading) this.#loading.delete(stream);
    }
  }

  async #load(wanted: Wanted, state: StreamState, end: Position | Promise<Position>): Promise<LiveEvent> {
    const { stream, kind, from } = wanted;
    const to = await end;
    return this.#event(wanted, state, { to, data: encodeDataEvent(kind, await this.#read(stream, from, to)) });
  }

  async #read(stream: Stream, from: Position, to: Position): Promise<Uint8Array> {
    const { reader } = this.#context;
    const near = reader.fromMemory(stream, from, to);
    if (near !== null) return near;
    const whole = await reader.whole(stream, from, to);
    if (whole !== null) {
      whole.done();
      return whole.bytes;
    }
    const parts: Uint8Array[] = [];
    for await (const piece of reader.pieces(stream, from, to)) parts.push(piece);
    if (parts.length === 0) throw new StreamError("gone", "the bytes were taken away while being read");
    return Buffer.concat(parts);
  }

  #event({ stream, kind, from, cursorMin }: Wanted, state: StreamState, { to, data }: Data): LiveEvent {
    const { clock, random, cursorSchedule } = this.#context;
    const current = Number(responseCursor(null, clock(), random, cursorSchedule));
    const cursor = Math.max(current, cursorMin);
    const atTail = to >= state.tail;
    const control = encodeControlEvent({
      nextOffset: offsetAt(state.identity, to),
      cursor: String(cursor),
      upToDate: atTail,
      closed: atTail && state.closed,
    });
    const event = { from, to, state, kind, cursor, ...framed(data, control) };
    // A cursor of the subscriber's own is of no use to the others.
    const isShared = stream.waiters.size > 1 && cursor === current && event.bytes.length <= SHARED_BYTES_MAX;
    if (isShared) this.#newest.set(stream, event);
    return event;
  }
}

/** One buffer, and the parts of it. Not from a pool: what keeps an event would keep the pool. */
function framed(data: Uint8Array, control: Uint8Array): Pick<LiveEvent, "data" | "bytes" | "chunk"> {
  const length = data.length + control.length;
  const size = `${length.toString(16)}\r\n`;
  const chunk = Buffer.allocUnsafeSlow(size.length + length + 2);
  chunk.write(size, 0, "latin1");
  chunk.set(data, size.length);
  chunk.set(control, size.length + data.length);
  chunk.write("\r\n", size.length + length, "latin1");
  const bytes = chunk.subarray(size.length, size.length + length);
  return { data: bytes.subarray(0, data.length), bytes, chunk };
}
