/** Stored messages one by one, as the stores hand them out. */
import { crc32 } from "node:zlib";
import { decodeFrameHeader, offsetAt, sourceRuns } from "@coldbrook/core";
import type { Position } from "@coldbrook/core";
import type { Engine } from "../engine/engine.ts";
import type { StreamReader } from "../engine/stream-reader.ts";
import type { OpenEngine } from "./engine-face.ts";
import type { Known } from "./stream-view.ts";
import type { StreamMessage } from "./types.ts";

/**
 * The messages from the one that holds `from` to the tail, in this very turn: where everything is in memory.
 * @throws StreamError
 */
export function messagesNow({ engine, reader }: OpenEngine, known: Known, from: Position): StreamMessage[] {
  const { stream, state } = known;
  const start = atOnce(reader.resolveStart(stream, from, state.tail));
  if (start >= state.tail) return [];
  const ends = atOnce(reader.messageEnds(stream, start, state.tail));
  return cut(known, start, ends, reader.readNow(stream, start, state.tail), timesOf(engine, known, start));
}

/** The same, wherever the bytes lie. @throws StreamError */
export async function messagesOf(reader: StreamReader, known: Known, from: Position): Promise<StreamMessage[]> {
  const { stream, state } = known;
  const start = await reader.resolveStart(stream, from, state.tail);
  if (start >= state.tail) return [];
  const ends = await reader.messageEnds(stream, start, state.tail);
  const parts: Uint8Array[] = [];
  for await (const piece of reader.pieces(stream, start, state.tail)) parts.push(piece);
  return cut(known, start, ends, Buffer.concat(parts), []);
}

/** When the messages that end at or before `end` were appended. */
interface AppendedAt {
  readonly end: Position;
  readonly atMs: number;
}

/** Of the bytes that only the WAL holds; the time of others is not kept. */
function timesOf(engine: Engine, { stream, state }: Known, from: Position): AppendedAt[] {
  const times: AppendedAt[] = [];
  for (const run of sourceRuns(state.identity, from, state.tail)) {
    for (const { segment, headerAt, headerBytes, end } of engine.index(stream, run).hot) {
      const header = decodeFrameHeader(engine.wal.readNow(segment, headerAt, headerBytes), 0, crc32);
      times.push({ end, atMs: header.atMs });
    }
  }
  return times;
}

function cut(
  { state }: Known,
  start: Position,
  ends: readonly Position[],
  bytes: Uint8Array,
  times: readonly AppendedAt[],
): StreamMessage[] {
  let at: number = start;
  let time = 0;
  return ends.map((end) => {
    // Copied, because the bytes are the engine's and the caller may write to what it gets.
    const data = Uint8Array.from(bytes.subarray(at - start, end - start));
    at = end;
    while (time < times.length - 1 && times[time]!.end < end) time += 1;
    return { data, offset: offsetAt(state.identity, end), timestamp: times[time]?.atMs ?? state.touchedAtMs };
  });
}

function atOnce<T>(value: T | Promise<T>): T {
  if (value instanceof Promise) throw new Error("a memory store's read was not done in its turn");
  return value;
}
