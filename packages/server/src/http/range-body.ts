/**
 * Sends stored bytes as a response body with back-pressure. In JSON mode the body is an array: the stored bytes without
 * their last comma between brackets, so nothing is parsed. A reader that takes nothing for too long is dropped.
 */
import { STALLED_READER_MS } from "@coldbrook/core";
import type { Position } from "@coldbrook/core";
import type { ServerResponse } from "node:http";
import type { Stream } from "../engine/stream.ts";
import type { StreamReader, WholeRange } from "../engine/stream-reader.ts";
import type { Coder } from "./compression.ts";
import { endAfterResponse } from "./connection-order.ts";
import type { Exchange } from "./exchange.ts";

/** What a compressed body is cut to before it is coded. */
const CODED_PART_BYTES: number = 64 * 1024;

const OPEN: Buffer = Buffer.from("[");
const CLOSE: Buffer = Buffer.from("]");

export interface RangeBody {
  readonly stream: Stream;
  readonly from: Position;
  readonly to: Position;
  readonly json: boolean;
}

export function bodyBytes({ from, to, json }: RangeBody): number {
  if (!json) return to - from;
  return to === from ? 2 : to - from + 1;
}

/**
 * Sends status, headers and body, which `coder` compresses: then no Content-Length says where it ends, but the chunked
 * transfer, or the end of the connection to an HTTP/1.0 client. Nothing is sent before the first bytes are verified.
 * @throws StreamError until then
 */
export function sendRange(
  exchange: Exchange,
  reader: StreamReader,
  status: number,
  headers: readonly string[],
  body: RangeBody,
  coder: Coder | null = null,
): void | Promise<void> {
  if (coder !== null) return sendCoded(exchange, reader, status, headers, body, coder);
  const { stream, from, to, json } = body;
  const all = [...headers, "Content-Length", String(bodyBytes(body))];
  if (from === to) {
    exchange.head(status, all);
    exchange.response.end(json ? "[]" : undefined);
    return;
  }
  const send = (whole: WholeRange | null): void | Promise<void> =>
    whole === null
      ? sendPieces(exchange, status, all, reader.pieces(stream, from, to), { json, hasLength: true })
      : sendWhole(exchange, status, all, whole.bytes, json, whole.done);
  const whole = reader.whole(stream, from, to);
  return whole instanceof Promise ? whole.then(send) : send(whole);
}

function sendWhole(
  exchange: Exchange,
  status: number,
  headers: readonly string[],
  bytes: Uint8Array,
  json: boolean,
  done: () => void,
): void {
  const { response } = exchange;
  // The client may have left while the bytes were fetched: then "close" has been.
  if (response.destroyed) return done();
  response.once("close", done);
  exchange.head(status, headers);
  if (json) {
    response.cork();
    response.write(OPEN);
    response.write(bytes.subarray(0, -1));
    response.end(CLOSE);
    response.uncork();
  } else {
    response.end(bytes);
  }
  if (response.writableLength > 0) dropWhenStalled(response);
}

async function sendCoded(
  exchange: Exchange,
  reader: StreamReader,
  status: number,
  headers: readonly string[],
  { stream, from, to, json }: RangeBody,
  { coding, compressor }: Coder,
): Promise<void> {
  const { response } = exchange;
  const whole = await reader.whole(stream, from, to);
  if (whole !== null) {
    if (response.destroyed) return whole.done();
    response.once("close", whole.done);
  }
  const pieces = whole === null ? reader.pieces(stream, from, to) : cut(whole.bytes);
  const coded = compressor.encode(coding, framed(pieces, json));
  await sendPieces(exchange, status, [...headers, "Content-Encoding", coding], coded, {
    json: false,
    hasLength: false,
  });
}

function* cut(bytes: Uint8Array): Generator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.length; at += CODED_PART_BYTES) yield bytes.subarray(at, at + CODED_PART_BYTES);
}

/** The body's bytes; none before the first piece is read and verified. */
async function* framed(
  pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  json: boolean,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (!json) return yield* pieces;
  let held: Uint8Array | null = null;
  for await (const piece of pieces) {
    yield held ?? OPEN;
    held = piece;
  }
  if (held !== null) yield held.subarray(0, -1);
  yield CLOSE;
}

async function sendPieces(
  exchange: Exchange,
  status: number,
  headers: readonly string[],
  pieces: AsyncGenerator<Uint8Array, void, undefined>,
  { json, hasLength }: { readonly json: boolean; readonly hasLength: boolean },
): Promise<void> {
  const { request, response } = exchange;
  // The first piece is verified before the status goes out, so that a fault can still be said cleanly.
  let next = await pieces.next();
  if (response.destroyed) {
    await pieces.return();
    return;
  }
  // The end of the connection is the end of the body: nothing that the client sent ahead may take effect.
  if (!hasLength && request.httpVersion === "1.0") endAfterResponse(request.socket);
  exchange.head(status, headers);
  dropWhenStalled(response);
  if (json) response.write(OPEN);
  while (next.done !== true) {
    const piece = next.value;
    next = await pieces.next();
    const isLast = next.done === true;
    const flowing = response.write(json && isLast ? piece.subarray(0, -1) : piece);
    if (response.destroyed) {
      await pieces.return();
      return;
    }
    if (!flowing && !isLast) await drained(response);
  }
  response.end(json ? CLOSE : undefined);
}

/** Resolves when the response takes more, or is gone. */
function drained(response: ServerResponse): Promise<void> {
  if (response.destroyed || !response.writableNeedDrain) return Promise.resolve();
  return new Promise((resolve) => {
    const settle = (): void => {
      response.off("drain", settle).off("close", settle);
      resolve();
    };
    response.on("drain", settle).on("close", settle);
  });
}

/** Ends the connection when nothing of the response has moved for the deadline. */
export function dropWhenStalled(response: ServerResponse): void {
  response.setTimeout(STALLED_READER_MS, () => {
    if (response.writableLength > 0) response.destroy();
  });
}
