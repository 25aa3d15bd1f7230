/**
 * GET with `live=sse`: protocol section 5.8. A subscriber holds a position and, while the socket takes no more, nothing else:
 * what it missed is read again from its position. Subscribers at the same position share the encoded bytes of an event.
 */
import {
  cachePolicy,
  encodeControlEvent,
  encodeDataEvent,
  isJson,
  isText,
  offsetAt,
  responseCursor,
  RESPONSE_HEADER,
  StreamError,
} from "@coldbrook/core";
import type { DataKind, Position, StreamState } from "@coldbrook/core";
import type { Stream } from "../engine/stream.ts";
import type { Exchange } from "./exchange.ts";
import { drained, dropWhenStalled } from "./range-body.ts";
import { tagHeaders, waiterProblem } from "./read-context.ts";
import type { ReadContext, Start } from "./read-context.ts";

interface SharedEvent {
  readonly from: Position;
  readonly to: Position;
  readonly control: string;
  readonly bytes: Uint8Array;
}

/** Larger events are catch-up reads, which nobody else asks for at the same moment. */
const SHARED_BYTES_MAX: number = 256 * 1024;

/** The newest event of each stream that has subscribers. */
const shared = new WeakMap<Stream, SharedEvent>();

export async function sse(context: ReadContext, exchange: Exchange, start: Start): Promise<void> {
  const refused = waiterProblem(context, start.stream);
  if (refused !== null) return exchange.problem(refused);
  await new Subscriber(context, exchange, start).run();
}

class Subscriber {
  readonly #context: ReadContext;
  readonly #exchange: Exchange;
  readonly #stream: Stream;
  readonly #start: Start;
  readonly #kind: DataKind;
  #at: Position;
  #cursor: string | null;
  #cursorAnswered = false;
  #wake: (() => void) | null = null;
  #ending = false;

  constructor(context: ReadContext, exchange: Exchange, start: Start) {
    this.#context = context;
    this.#exchange = exchange;
    this.#start = start;
    this.#stream = start.stream;
    this.#at = start.from;
    this.#cursor = start.query.cursor;
    const { contentType } = start.state.identity.config;
    this.#kind = isJson(contentType) ? "json" : isText(contentType) ? context.textEvents : "base64";
  }

  async run(): Promise<void> {
    const { response } = this.#exchange;
    const unwatch = this.#context.engine.watch(this.#stream, () => this.#wake?.());
    const end = (): void => {
      this.#ending = true;
      this.#wake?.();
    };
    const deadline = setTimeout(end, this.#context.sseMs);
    this.#context.draining.addEventListener("abort", end, { once: true });
    response.once("close", end);
    try {
      const first = await this.#next(this.#start.state);
      this.#sendHead();
      response.write(first);
      await this.#follow();
    } catch (error) {
      // The bytes of a stream that is deleted meanwhile may go: its readers are ended, not cut.
      const isDeleted = isGone(this.#stream.durable!);
      if (!(error instanceof StreamError) || error.code !== "gone" || !isDeleted || !response.headersSent) throw error;
      response.end();
    } finally {
      clearTimeout(deadline);
      unwatch();
      if (this.#stream.waiters.size === 0) shared.delete(this.#stream);
      response.off("close", end);
      this.#context.draining.removeEventListener("abort", end);
    }
  }

  #sendHead(): void {
    const headers = ["Content-Type", "text/event-stream", "Cache-Control", cachePolicy({ kind: "sse" }).cacheControl];
    headers.push("X-Accel-Buffering", "no", ...tagHeaders(this.#start.state.identity));
    if (this.#kind === "base64") headers.push(RESPONSE_HEADER.streamSseDataEncoding, "base64");
    this.#exchange.head(200, headers);
    this.#exchange.response.flushHeaders();
    dropWhenStalled(this.#exchange);
  }

  async #follow(): Promise<void> {
    const { response } = this.#exchange;
    let state = this.#start.state;
    for (;;) {
      if (this.#at >= state.tail && (state.closed || isGone(state))) break;
      if (response.destroyed) return;
      await drained(this.#exchange);
      const latest = this.#stream.durable!;
      const news = latest.tail > this.#at || latest.closed !== state.closed || isGone(latest);
      state = latest;
      if (isGone(latest)) break;
      if (news) {
        response.write(await this.#next(latest));
        if (!this.#ending) continue;
      }
      if (this.#ending) break;
      await this.#woken();
    }
    response.end();
  }

  #woken(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = null;
        resolve();
      };
    });
  }

  /** The events from the subscriber's position to the end of its chunk, which may be nothing but a control event. */
  async #next(state: StreamState): Promise<Uint8Array> {
    const from = this.#at;
    const to = from >= state.tail ? state.tail : await this.#context.reader.chunkEnd(this.#stream, from, state.tail);
    const control = this.#control(state, to);
    this.#at = to;
    const known = shared.get(this.#stream);
    if (known !== undefined && known.from === from && known.to === to && known.control === control) return known.bytes;
    const event = Buffer.from(control, "latin1");
    const bytes = to === from ? event : Buffer.concat([encodeDataEvent(this.#kind, await this.#read(from, to)), event]);
    if (bytes.length <= SHARED_BYTES_MAX) shared.set(this.#stream, { from, to, control, bytes });
    return bytes;
  }

  #control(state: StreamState, to: Position): string {
    const atTail = to >= state.tail;
    this.#cursor = this.#nextCursor();
    const event = encodeControlEvent({
      nextOffset: offsetAt(state.identity, to),
      cursor: this.#cursor,
      upToDate: atTail,
      closed: atTail && state.closed,
    });
    return Buffer.from(event).toString("latin1");
  }

  /** Greater than what the client sent; then the same for all subscribers of an interval, so that they share events. */
  #nextCursor(): string {
    const { clock, random, cursorSchedule } = this.#context;
    if (!this.#cursorAnswered) {
      this.#cursorAnswered = true;
      return responseCursor(this.#cursor, clock(), random, cursorSchedule);
    }
    const current = responseCursor(null, clock(), random, cursorSchedule);
    return this.#cursor !== null && Number(current) <= Number(this.#cursor) ? this.#cursor : current;
  }

  async #read(from: Position, to: Position): Promise<Uint8Array> {
    const { reader } = this.#context;
    const near = reader.fromMemory(this.#stream, from, to);
    if (near !== null) return near;
    const whole = await reader.whole(this.#stream, from, to);
    if (whole !== null) {
      whole.done();
      return whole.bytes;
    }
    const parts: Uint8Array[] = [];
    for await (const piece of reader.pieces(this.#stream, from, to)) parts.push(piece);
    if (parts.length === 0) throw new StreamError("gone", "the bytes were taken away while being read");
    return Buffer.concat(parts);
  }
}

/** Nobody reads the stream by its name any more. */
function isGone(state: StreamState): boolean {
  return state.deleted || state.softDeleted;
}
