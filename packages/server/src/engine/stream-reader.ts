/**
 * The one port that reads go through: handlers name a stream and positions, and cannot tell hot from cold. Bytes come from
 * the memory tail, from whole chunks kept in memory, or in verified pieces from the merged reader.
 */
import { LRUCache } from "lru-cache";
import {
  BODIES_IN_FLIGHT_BYTES_MAX,
  CHUNK_MEMORY_BYTES_MAX,
  chunkTarget,
  forkAnchor,
  isJson,
  position,
  runAt,
  sourceRuns,
} from "@coldbrook/core";
import type { ForkRequest, Position, SourceRun, StreamState } from "@coldbrook/core";
import { runSteps, wait } from "@coldbrook/tiering";
import type { MergedReader, Steps } from "@coldbrook/tiering";
import type { Engine } from "./engine.ts";
import type { Stream } from "./stream.ts";
import type { ForkPoint } from "./write-path.ts";

/** What a reader holds when many others hold much already. */
const SMALL_PIECE_BYTES = 64 * 1024;
/** A stored JSON message has a digit and its comma at least. */
const JSON_MESSAGE_BYTES_MIN = 2;
/** A larger range is never taken whole. */
const WHOLE_BYTES_MAX = 4 * 1024 * 1024;

/** Bytes that responses under way refer to; a buffer that several of them share counts once. */
class InFlight {
  readonly #uses = new Map<Uint8Array, number>();
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  fits(bytes: number): boolean {
    return this.#bytes + bytes <= BODIES_IN_FLIGHT_BYTES_MAX;
  }

  take(buffer: Uint8Array): boolean {
    if (!this.#uses.has(buffer) && !this.fits(buffer.length)) return false;
    this.add(buffer);
    return true;
  }

  /** Counts what is there already, whether it fits or not. */
  add(buffer: Uint8Array): void {
    const uses = this.#uses.get(buffer) ?? 0;
    if (uses === 0) this.#bytes += buffer.length;
    this.#uses.set(buffer, uses + 1);
  }

  give(buffer: Uint8Array): void {
    const uses = this.#uses.get(buffer)!;
    if (uses > 1) {
      this.#uses.set(buffer, uses - 1);
      return;
    }
    this.#uses.delete(buffer);
    this.#bytes -= buffer.length;
  }
}

/** A whole range in memory. `done` must be called once it is sent or given up. */
export interface WholeRange {
  readonly bytes: Uint8Array;
  readonly done: () => void;
}

export class StreamReader {
  readonly #engine: Engine;
  readonly #merged: MergedReader;
  readonly #chunkBytes: number;
  readonly #inFlight = new InFlight();
  /** Ranges that are being read. */
  readonly #loads = new Map<string, Promise<Uint8Array | null>>();
  readonly #chunks = new LRUCache<string, Uint8Array>({
    maxSize: CHUNK_MEMORY_BYTES_MAX,
    sizeCalculation: (bytes) => bytes.length + 256,
  });

  constructor(engine: Engine, merged: MergedReader, chunkBytes: number) {
    this.#engine = engine;
    this.#merged = merged;
    this.#chunkBytes = chunkBytes;
  }

  get inFlightBytes(): number {
    return this.#inFlight.bytes;
  }

  /** Start of the message that holds byte `at`. @throws StreamError */
  resolveStart(stream: Stream, at: Position, tail: Position): Position | Promise<Position> {
    if (at === 0 || at >= tail) return at >= tail ? tail : at;
    const { run, end } = runOf(stream, at, tail);
    return this.#merged.resolveStart(this.#engine.index(stream, run), at, end);
  }

  /** Where a catch-up response from `from` ends (DESIGN "Chunks"). @throws StreamError */
  chunkEnd(stream: Stream, from: Position, tail: Position): Position | Promise<Position> {
    return this.#end(stream, from, tail, this.#chunkBytes);
  }

  /** Where an event of a live read from `from` ends: as a chunk does, or earlier when much is in flight. @throws StreamError */
  eventEnd(stream: Stream, from: Position, tail: Position): Position | Promise<Position> {
    const isRoomy = this.#inFlight.fits(2 * this.#chunkBytes);
    return this.#end(stream, from, tail, isRoomy ? this.#chunkBytes : Math.min(SMALL_PIECE_BYTES, this.#chunkBytes));
  }

  /** Counts the bytes as in flight until the returned function is called, once. */
  hold(bytes: Uint8Array): () => void {
    this.#inFlight.add(bytes);
    return () => this.#inFlight.give(bytes);
  }

  #end(stream: Stream, from: Position, tail: Position, chunkBytes: number): Position | Promise<Position> {
    const target = chunkTarget(from, chunkBytes);
    if (target >= tail) return tail;
    return runSteps(this.#boundary(stream, from, target - 1, tail, chunkBytes));
  }

  /** Where a fork that asks so parts from its source (protocol section 4.2). @throws StreamError */
  forkPoint(source: Stream, state: StreamState, request: ForkRequest): ForkPoint | Promise<ForkPoint> {
    return runSteps(this.#forkPoint(source, state, request));
  }

  *#forkPoint(source: Stream, state: StreamState, request: ForkRequest): Steps<ForkPoint> {
    const anchor = forkAnchor(state, request);
    if (anchor.kind === "bad") return anchor;
    const from = yield* wait(this.resolveStart(source, anchor.position, state.tail));
    if (request.subOffset === 0) return { kind: "point", position: from };
    if (isJson(state.identity.config.contentType))
      return yield* this.#afterMessages(source, from, request.subOffset, state.tail);
    const end = from >= state.tail ? from : yield* this.#boundary(source, from, from, state.tail, 1);
    const at = from + request.subOffset;
    if (at <= end) return { kind: "point", position: position(at) };
    return {
      kind: "bad",
      detail: `Stream-Fork-Sub-Offset passes the message at that offset, which has ${end - from} bytes`,
    };
  }

  /** Where a chunk from `from` ends, whose last byte before the target is `last`. A message that the fork point cuts ends there. */
  *#boundary(stream: Stream, from: Position, last: number, tail: Position, chunkBytes: number): Steps<Position> {
    const { run, end } = runOf(stream, last, tail);
    const found = yield* wait(this.#merged.chunkEnd(this.#engine.index(stream, run), from, end, chunkBytes));
    return found < end ? found : end;
  }

  *#afterMessages(stream: Stream, from: Position, count: number, tail: Position): Steps<ForkPoint> {
    // What cannot be there is not looked for through the whole stream.
    if (count > (tail - from) / JSON_MESSAGE_BYTES_MIN) {
      return { kind: "bad", detail: "Stream-Fork-Sub-Offset passes the end: fewer messages follow that offset" };
    }
    let left = count;
    let at = from;
    for (const run of sourceRuns(stream.pending.identity, from, tail)) {
      const index = this.#engine.index(stream, run);
      const skipped = yield* wait(this.#merged.skipMessages(index, run.from, run.to, left));
      left -= skipped.messages;
      at = skipped.at;
      if (left === 0) return { kind: "point", position: at };
    }
    return {
      kind: "bad",
      detail: `Stream-Fork-Sub-Offset passes the end: ${count - left} messages follow that offset`,
    };
  }

  /** The range, if all of it is in the memory tail. */
  fromMemory(stream: Stream, from: Position, to: Position): Uint8Array | null {
    const parts: Uint8Array[] = [];
    for (const run of sourceRuns(stream.pending.identity, from, to)) {
      const extents = this.#engine.holder(stream, run)?.hotBetween(run.from, run.to) ?? [];
      if (extents.length === 0 || extents[0]!.start > run.from) return null;
      for (const { start, end, memory } of extents) {
        if (memory === null) return null;
        parts.push(memory.subarray(Math.max(0, run.from - start), Math.min(end, run.to) - start));
      }
    }
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
  }

  /** Where each message of [from, to) ends; `from` is a message start, and a message that passes `to` ends there. @throws StreamError */
  messageEnds(stream: Stream, from: Position, to: Position): Position[] | Promise<Position[]> {
    return runSteps(this.#messageEnds(stream, from, to));
  }

  *#messageEnds(stream: Stream, from: Position, to: Position): Steps<Position[]> {
    const ends: Position[] = [];
    for (const run of sourceRuns(stream.pending.identity, from, to)) {
      const index = this.#engine.index(stream, run);
      let at: number = run.from;
      while (at < run.to) {
        const { start, lengths } = yield* wait(this.#merged.lengthsAt(index, at));
        let end = start;
        for (const length of lengths) {
          end += length;
          if (end <= at) continue;
          at = Math.min(end, run.to);
          ends.push(position(at));
          if (at === run.to) break;
        }
      }
    }
    return ends;
  }

  /**
   * The range as one buffer, in this very turn when it is in memory; null when too much is in flight: then it is to be read
   * in pieces. @throws StreamError
   */
  whole(stream: Stream, from: Position, to: Position): WholeRange | null | Promise<WholeRange | null> {
    // Forks share what they inherit whole.
    const { identity } = stream.pending;
    const first = runAt(identity, from);
    const key = `${to <= first.to ? first.stream : identity.id}:${from}:${to}`;
    const kept = this.#chunks.get(key);
    if (kept !== undefined) return this.#taken(kept);
    const near = this.fromMemory(stream, from, to);
    if (near !== null) return this.#keptAndTaken(key, near);
    return this.#loaded(key, stream, from, to);
  }

  /** Readers that ask for the same range while it is read get the same buffer. */
  async #loaded(key: string, stream: Stream, from: Position, to: Position): Promise<WholeRange | null> {
    const others = this.#loads.get(key);
    if (others !== undefined) {
      const bytes = await others;
      return bytes === null ? null : this.#taken(bytes);
    }
    const load = this.#load(stream, from, to);
    this.#loads.set(key, load);
    try {
      const bytes = await load;
      return bytes === null ? null : this.#keptAndTaken(key, bytes);
    } finally {
      this.#loads.delete(key);
    }
  }

  #keptAndTaken(key: string, bytes: Uint8Array): WholeRange | null {
    const range = this.#taken(bytes);
    // Only ranges that end at a chunk boundary are asked for again by others. A slice would keep more than it counts for.
    const isSlice = bytes.buffer.byteLength > 2 * bytes.length;
    if (range !== null && !isSlice && bytes.length >= this.#chunkBytes / 2) this.#chunks.set(key, bytes);
    return range;
  }

  #taken(bytes: Uint8Array): WholeRange | null {
    return this.#inFlight.take(bytes) ? { bytes, done: () => this.#inFlight.give(bytes) } : null;
  }

  /** The range in this very turn, where the WAL and the store are in memory. @throws StreamError; Error where they are not */
  readNow(stream: Stream, from: Position, to: Position): Uint8Array {
    const inTail = this.fromMemory(stream, from, to);
    if (inTail !== null) return inTail;
    const parts: Uint8Array[] = [];
    for (const run of sourceRuns(stream.pending.identity, from, to))
      parts.push(this.#merged.readNow(this.#engine.index(stream, run), run.from, run.to));
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
  }

  /** The range in small verified pieces, each read when it is asked for. @throws StreamError */
  pieces(stream: Stream, from: Position, to: Position): AsyncGenerator<Uint8Array, void, undefined> {
    return this.#read(stream, from, to, SMALL_PIECE_BYTES);
  }

  /** A stream's bytes lie in its own extents and in those of the streams that it inherits from, run by run. */
  async *#read(
    stream: Stream,
    from: Position,
    to: Position,
    pieceBytes: number,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    for (const run of sourceRuns(stream.pending.identity, from, to)) {
      yield* this.#merged.read(this.#engine.index(stream, run), run.from, run.to, pieceBytes);
    }
  }

  async #load(stream: Stream, from: Position, to: Position): Promise<Uint8Array | null> {
    const length = to - from;
    if (length > WHOLE_BYTES_MAX || !this.#inFlight.fits(length)) return null;
    const parts: Uint8Array[] = [];
    for await (const piece of this.#read(stream, from, to, length)) parts.push(piece);
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
  }
}

/** The run that holds byte `at`, as far as that byte needs it, and where the run ends below the tail. */
function runOf(stream: Stream, at: number, tail: Position): { run: SourceRun; end: Position } {
  const { stream: holder, to } = runAt(stream.pending.identity, at);
  return {
    run: { stream: holder, from: position(at), to: position(at + 1) },
    end: to < tail ? position(to) : tail,
  };
}
