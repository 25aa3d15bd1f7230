/**
 * JSON mode (protocol section 9.1): a body becomes messages, each the exact tokens that were received, without the
 * insignificant white space, followed by a comma. One level of array is flattened. One pass over a copy of the body checks
 * that it is JSON (RFC 8259), finds where messages end and closes the gaps, so that nothing is parsed into values.
 */
import { jsonFault } from "./json-fault.ts";
import { JsonNesting } from "./json-nesting.ts";
import { NOT_JSON, SCAN_PADDING, scanNumber, scanString, scanWord } from "./json-scan.ts";
import { JSON_MESSAGES_MAX } from "./limits.ts";

export type FramedJson =
  /** `lengths` are in bytes, each with its comma; they add up to `stored.length`. */
  | { readonly kind: "messages"; readonly stored: Uint8Array; readonly lengths: number[] }
  /** `detail` says what is wrong and at which byte. */
  | { readonly kind: "bad"; readonly detail: string };

const SPACE = 1;
const QUOTE = 2;
const NUMBER = 3;
const WORD = 4;
const OPEN = 5;
const CLOSE = 6;
const COMMA = 7;
const COLON = 8;

/** What each byte means outside of a string. */
const BYTE_CLASS: Uint8Array = byteClasses();

/** What may come next besides white space, as a set. */
const A_VALUE = 1;
const A_KEY = 2;
const A_COLON = 4;
const A_COMMA = 8;
const A_CLOSE = 16;
const THE_END = 32;
/** By the class of a byte, where it may stand. */
const ALLOWED: Uint8Array = allowedPlaces();

const COMMA_BYTE = 0x2c;
const CLOSE_BRACKET = 0x5d;
const COLON_BYTE = 0x3a;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/** Runs shorter than this are moved byte by byte, which beats a call for them. */
const SHORT_RUN_BYTES = 64;

/** Small bodies are framed, and their messages stay, in memory that they share: a buffer for each cost as much as its scan. */
const SLAB_BYTES = 8192;

interface Room {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Of the same bytes. */
  readonly view: DataView;
  /** Messages that were framed before; they are never written again. */
  used: number;
}

let slab: Room = newRoom(SLAB_BYTES);

/**
 * Validates and frames one body, which is UTF-8 (its owner has checked) and is neither changed nor kept. An empty array is
 * zero messages on create and refused on append (section 9.1.3). Never throws, however deep the nesting.
 */
export function frameJson(bytes: Uint8Array, mode: "create" | "append"): FramedJson {
  const room = roomFor(bytes.length + SCAN_PADDING);
  const end = room.used + bytes.length;
  room.bytes.set(bytes, room.used);
  room.view.setInt32(end, 0);
  const framed = frameInPlace(room, end);
  if (framed === null) return { kind: "bad", detail: faultOf(bytes) };
  const { from, to, lengths } = framed;
  if (lengths.length === 0 && mode === "append") {
    const emptyAt = from - room.used - 1;
    return { kind: "bad", detail: `empty array at byte ${emptyAt}: an append must hold at least one message` };
  }
  if (framed.surplusAt > 0) {
    const surplusAt = framed.surplusAt - room.used;
    return { kind: "bad", detail: `more than ${JSON_MESSAGES_MAX} messages in one request, from byte ${surplusAt}` };
  }
  return { kind: "messages", stored: taken(room, from, to), lengths };
}

function faultOf(bytes: Uint8Array): string {
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) {
    return "byte order mark at byte 0: JSON must start with a value";
  }
  const fault = jsonFault(bytes);
  if (fault === null) throw new Error(`JSON of ${bytes.length} bytes was refused, but has no fault`);
  return fault;
}

/** Framed messages and where they are: the bytes [from, to) of the room. All positions are the room's. */
class InPlace {
  readonly lengths: number[] = [];
  readonly nesting: JsonNesting = new JsonNesting();
  from: number;
  to: number;
  /** Where the first message past JSON_MESSAGES_MAX starts; 0 without one. */
  surplusAt = 0;
  readonly #bytes: Uint8Array;
  #isFlat = false;
  #messageAt: number;
  /** All from here on is kept as it stands, and moved down to `to` once white space ends it. */
  #runAt: number;

  constructor(bytes: Uint8Array, from: number) {
    this.#bytes = bytes;
    this.from = from;
    this.to = from;
    this.#messageAt = from;
    this.#runAt = from;
  }

  /** White space from `at` is left out; returns where it ends. */
  skipSpace(at: number): number {
    this.#moveRun(at);
    let next = at + 1;
    while (BYTE_CLASS[this.#bytes[next]!] === SPACE) next += 1;
    this.#runAt = next;
    return next;
  }

  /** An array or object opens at `at`. */
  open(at: number, isObject: boolean): void {
    if (this.nesting.depth === 0 && !isObject) {
      this.#isFlat = true;
      this.from = this.to = this.#messageAt = this.#runAt = at + 1;
    }
    this.nesting.enter(isObject);
  }

  /** The innermost array or object closes at `at`. */
  close(at: number): void {
    this.nesting.leave();
    if (!this.#isFlat || this.nesting.depth > 0) return;
    this.#moveRun(at);
    this.#runAt = at + 1;
  }

  /** A comma stands at `at`. */
  separate(at: number): void {
    if (!this.#isFlat || this.nesting.depth > 1 || this.surplusAt > 0) return;
    const messageEnd = this.to + at + 1 - this.#runAt;
    this.lengths.push(messageEnd - this.#messageAt);
    this.#messageAt = messageEnd;
    if (this.lengths.length === JSON_MESSAGES_MAX) this.surplusAt = at + 1;
  }

  /** The body ends at `at`. */
  end(at: number): void {
    this.#moveRun(at);
    if (this.to === this.#messageAt) return;
    this.#bytes[this.to] = COMMA_BYTE;
    this.to += 1;
    this.lengths.push(this.to - this.#messageAt);
  }

  #moveRun(end: number): void {
    const bytes = this.#bytes;
    const from = this.#runAt;
    const target = this.to;
    const length = end - from;
    this.to = target + length;
    if (target === from) return;
    if (length >= SHORT_RUN_BYTES) bytes.copyWithin(target, from, end);
    else for (let i = 0; i < length; i += 1) bytes[target + i] = bytes[from + i]!;
  }
}

/**
 * The body lies in `room` from what is used of it to `end`, and SCAN_PADDING zero bytes follow. Null when it is not JSON.
 * Nothing is written past what was read.
 */
function frameInPlace(room: Room, end: number): InPlace | null {
  const { bytes, view } = room;
  const framed = new InPlace(bytes, room.used);
  const { nesting } = framed;
  let expected = A_VALUE;
  let at = room.used;
  while (at < end) {
    const byte = bytes[at]!;
    const meaning = BYTE_CLASS[byte]!;
    if ((expected & ALLOWED[meaning]!) === 0) return null;
    switch (meaning) {
      case SPACE:
        at = framed.skipSpace(at);
        continue;
      case COLON:
        expected = A_VALUE;
        at += 1;
        continue;
      case COMMA:
        framed.separate(at);
        expected = nesting.inObject ? A_KEY : A_VALUE;
        at += 1;
        continue;
      case OPEN:
        framed.open(at, byte === OPEN_BRACE);
        expected = A_CLOSE | (byte === OPEN_BRACE ? A_KEY : A_VALUE);
        at += 1;
        continue;
      case CLOSE:
        if (byte !== (nesting.inObject ? CLOSE_BRACE : CLOSE_BRACKET)) return null;
        framed.close(at);
        at += 1;
        break;
      case QUOTE:
        at = scanString(bytes, view, at + 1);
        if (at === NOT_JSON) return null;
        if ((expected & A_KEY) === 0) break;
        // Mostly the colon follows at once; to take it here spares a turn of the loop for each member.
        expected = bytes[at] === COLON_BYTE ? A_VALUE : A_COLON;
        if (expected === A_VALUE) at += 1;
        continue;
      case NUMBER:
        at = scanNumber(bytes, at);
        break;
      default:
        at = scanWord(bytes, view, at);
    }
    if (at === NOT_JSON) return null;
    expected = nesting.depth === 0 ? THE_END : A_COMMA | A_CLOSE;
  }
  if (expected !== THE_END) return null;
  framed.end(end);
  return framed;
}

/** Room for a body of which `bytes` with its padding are needed. */
function roomFor(bytes: number): Room {
  if (bytes > SLAB_BYTES / 2) return newRoom(bytes);
  if (slab.used + bytes > SLAB_BYTES) slab = newRoom(SLAB_BYTES);
  return slab;
}

function newRoom(length: number): Room {
  const bytes = new Uint8Array(length);
  return { bytes, view: new DataView(bytes.buffer), used: 0 };
}

/** What is kept in memory is counted by its length, so a view must not hold on to much more than that. */
function taken(room: Room, from: number, to: number): Uint8Array {
  if (room !== slab && (to - from) * 2 < room.bytes.length) return room.bytes.slice(from, to);
  room.used = to;
  return new Uint8Array(room.bytes.buffer, from, to - from);
}

function byteClasses(): Uint8Array {
  const classes = new Uint8Array(256);
  for (const [characters, meaning] of [
    [" \t\n\r", SPACE],
    ['"', QUOTE],
    ["-0123456789", NUMBER],
    ["tfn", WORD],
    ["[{", OPEN],
    ["]}", CLOSE],
    [",", COMMA],
    [":", COLON],
  ] as const) {
    for (const character of characters) classes[character.charCodeAt(0)] = meaning;
  }
  return classes;
}

function allowedPlaces(): Uint8Array {
  const allowed = new Uint8Array(COLON + 1);
  allowed[SPACE] = 0xff;
  allowed[QUOTE] = A_VALUE | A_KEY;
  allowed[NUMBER] = A_VALUE;
  allowed[WORD] = A_VALUE;
  allowed[OPEN] = A_VALUE;
  allowed[CLOSE] = A_CLOSE;
  allowed[COMMA] = A_COMMA;
  allowed[COLON] = A_COLON;
  return allowed;
}
