/**
 * Server-sent events of live reads (protocol section 5.8). No payload can end its event early: JSON and base64 are one line,
 * and text is cut wherever a parser would see a line end.
 */
import type { Offset } from "./brand.ts";

export interface ControlEvent {
  readonly nextOffset: Offset;
  /** Left out of the event when the stream is closed: nobody reconnects. */
  readonly cursor: string | null;
  readonly upToDate: boolean;
  /** The stream is closed and all of it has been sent. */
  readonly closed: boolean;
}

const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const COMMA = 0x2c;
const PAD = 0x3d;

const ENCODER: TextEncoder = new TextEncoder();
const EVENT: Uint8Array = ENCODER.encode("event: data\n");
const FIELD: Uint8Array = ENCODER.encode("data:");
const BASE64: Uint8Array = ENCODER.encode("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");

/** How an event carries its payload. */
export type DataKind = "json" | "text" | "literal-text" | "base64";

/**
 * One `data` event. For `json`, `payload` is whole messages as stored, each with its comma, and becomes an array; for
 * `text`, line ends of any kind reach the reader as LF, and `literal-text` lets the reader's parser take the space that a line
 * starts with; for `base64`, the bytes are encoded as in RFC 4648 section 4.
 */
export function encodeDataEvent(kind: DataKind, payload: Uint8Array): Uint8Array {
  switch (kind) {
    case "json":
      return encodeJson(payload);
    case "text":
      return encodeText(payload, true);
    case "literal-text":
      return encodeText(payload, false);
    case "base64":
      return encodeBase64(payload);
  }
}

/** The `control` event that follows every data event. */
export function encodeControlEvent(control: ControlEvent): Uint8Array {
  const fields = {
    streamNextOffset: control.nextOffset,
    ...(control.cursor !== null && !control.closed ? { streamCursor: control.cursor } : {}),
    ...(control.upToDate || control.closed ? { upToDate: true } : {}),
    ...(control.closed ? { streamClosed: true } : {}),
  };
  return ENCODER.encode(`event: control\ndata:${JSON.stringify(fields)}\n\n`);
}

/** An event with room for `bodyBytes` after its first field name; the two line ends are in place. */
function frame(bodyBytes: number): Uint8Array {
  const bytes = new Uint8Array(EVENT.length + FIELD.length + bodyBytes + 2);
  bytes.set(EVENT);
  bytes.set(FIELD, EVENT.length);
  bytes[bytes.length - 2] = LF;
  bytes[bytes.length - 1] = LF;
  return bytes;
}

const BODY_AT: number = EVENT.length + FIELD.length;

function encodeJson(payload: Uint8Array): Uint8Array {
  const messagesBytes = payload.at(-1) === COMMA ? payload.length - 1 : payload.length;
  const bytes = frame(messagesBytes + 2);
  bytes[BODY_AT] = 0x5b;
  bytes.set(payload.subarray(0, messagesBytes), BODY_AT + 1);
  bytes[BODY_AT + 1 + messagesBytes] = 0x5d;
  return bytes;
}

function encodeText(payload: Uint8Array, keepsSpaces: boolean): Uint8Array {
  // An upper bound: it takes every line to start with a space, and a CRLF to be two line ends.
  let lines = 1;
  for (let i = 0; i < payload.length; i += 1) if (payload[i] === LF || payload[i] === CR) lines += 1;
  const bytes = new Uint8Array(EVENT.length + lines * (FIELD.length + 1) + payload.length + 2);
  bytes.set(EVENT);
  let at = EVENT.length;
  let lineAt = 0;
  while (lineAt <= payload.length) {
    let lineEnd = lineAt;
    while (lineEnd < payload.length && payload[lineEnd] !== LF && payload[lineEnd] !== CR) lineEnd += 1;
    bytes.set(FIELD, at);
    at += FIELD.length;
    // A parser takes one space off each line; one is added for it where the line has its own.
    if (keepsSpaces && payload[lineAt] === SPACE) {
      bytes[at] = SPACE;
      at += 1;
    }
    bytes.set(payload.subarray(lineAt, lineEnd), at);
    at += lineEnd - lineAt;
    bytes[at] = LF;
    at += 1;
    lineAt = payload[lineEnd] === CR && payload[lineEnd + 1] === LF ? lineEnd + 2 : lineEnd + 1;
  }
  bytes[at] = LF;
  return bytes.subarray(0, at + 1);
}

function encodeBase64(payload: Uint8Array): Uint8Array {
  const bytes = frame(Math.ceil(payload.length / 3) * 4);
  const wholeBytes = payload.length - (payload.length % 3);
  let at = BODY_AT;
  for (let i = 0; i < wholeBytes; i += 3) {
    const triple = (payload[i]! << 16) | (payload[i + 1]! << 8) | payload[i + 2]!;
    bytes[at] = BASE64[triple >> 18]!;
    bytes[at + 1] = BASE64[(triple >> 12) & 63]!;
    bytes[at + 2] = BASE64[(triple >> 6) & 63]!;
    bytes[at + 3] = BASE64[triple & 63]!;
    at += 4;
  }
  if (wholeBytes < payload.length) {
    const second = payload[wholeBytes + 1];
    const pair = (payload[wholeBytes]! << 8) | (second ?? 0);
    bytes[at] = BASE64[pair >> 10]!;
    bytes[at + 1] = BASE64[(pair >> 4) & 63]!;
    bytes[at + 2] = second === undefined ? PAD : BASE64[(pair << 2) & 63]!;
    bytes[at + 3] = PAD;
  }
  return bytes;
}
