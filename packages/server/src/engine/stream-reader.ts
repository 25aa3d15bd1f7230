/**
 * The one port that reads go through: handlers name a stream and positions, and cannot tell hot from cold. Bytes come from
 * the memory tail, from whole chunks kept in memory, or in verified pieces from the merged reader.
 */
import { LRUCache } from "lru-cache";
import { BODIES_IN_FLIGHT_BYTES_MAX, CHUNK_MEMORY_BYTES_MAX, chunkTarget } from "@coldbrook/core";
import type { Position } from "@coldbrook/core";
import type { MergedReader } from "@coldbrook/tiering";
import type { Engine } from "./engine.ts";
import type { Stream } from "./stream.ts";

/** What a reader holds when many others hold much already. */
const SMALL_PIECE_BYTES = 64 * 1024;
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
    const uses = this.#uses.get(buffer);
    if (uses === undefined) {
      if (!this.fits(buffer.length)) return false;
      this.#bytes += buffer.length;
    }
    this.#uses.set(buffer, (uses ?? 0) + 1);
    return true;
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
    return this.#merged.resolveStart(this.#engine.index(stream, at, at + 1), at, tail);
  }

  /** Where a catch-up response from `from` ends (DESIGN "Chunks"). @throws StreamError */
  chunkEnd(stream: Stream, from: Position, tail: Position): Position | Promise<Position> {
    const target = chunkTarget(from, this.#chunkBytes);
    if (target >= tail) return tail;
    return this.#merged.chunkEnd(this.#engine.index(stream, target - 1, target), from, tail, this.#chunkBytes);
  }

  /** The range, if all of it is in the memory tail. */
  fromMemory(stream: Stream, from: Position, to: Position): Uint8Array | null {
    const extents = stream.hotBetween(from, to);
    if (extents.length === 0 || extents[0]!.start > from) return null;
    const parts: Uint8Array[] = [];
    for (const { start, end, memory } of extents) {
      if (memory === null) return null;
      parts.push(memory.subarray(Math.max(0, from - start), Math.min(end, to) - start));
    }
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
  }

  /** The range as one buffer, or null when too much is in flight: then it is to be read in pieces. @throws StreamError */
  async whole(stream: Stream, from: Position, to: Position): Promise<WholeRange | null> {
    const { id } = stream.pending.identity;
    const key = `${id}:${from}:${to}`;
    const kept = this.#chunks.get(key);
    const bytes = kept ?? this.fromMemory(stream, from, to) ?? (await this.#load(stream, from, to));
    if (bytes === null || !this.#inFlight.take(bytes)) return null;
    // Only ranges that end at a chunk boundary are asked for again by others. A slice would keep more than it counts for.
    const isSlice = bytes.buffer.byteLength > 2 * bytes.length;
    if (kept === undefined && !isSlice && to - from >= this.#chunkBytes / 2) this.#chunks.set(key, bytes);
    return { bytes, done: () => this.#inFlight.give(bytes) };
  }

  /** The range in small verified pieces, each read when it is asked for. @throws StreamError */
  pieces(stream: Stream, from: Position, to: Position): AsyncGenerator<Uint8Array, void, undefined> {
    return this.#merged.read(this.#engine.index(stream, from, to), from, to, SMALL_PIECE_BYTES);
  }

  async #load(stream: Stream, from: Position, to: Position): Promise<Uint8Array | null> {
    const length = to - from;
    if (length > WHOLE_BYTES_MAX || !this.#inFlight.fits(length)) return null;
    const parts: Uint8Array[] = [];
    for await (const piece of this.#merged.read(this.#engine.index(stream, from, to), from, to, length))
      parts.push(piece);
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
  }
}
