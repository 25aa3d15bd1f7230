/**
 * Says where JSON goes wrong, in words and byte positions that do not depend on an engine's messages. It runs only after
 * framing has refused a body, and finds a fault exactly when that and `JSON.parse` do; nothing recurses.
 */

const QUOTE = 0x22;
const COMMA = 0x2c;
const MINUS = 0x2d;
const DOT = 0x2e;
const ZERO = 0x30;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const SMALL_U = 0x75;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

const ESCAPES = '"\\/bfnrtu';

/** Unwinds a scan; never leaves this file. */
class Fault {
  readonly at: number;
  readonly wanted: string;

  constructor(at: number, wanted: string) {
    this.at = at;
    this.wanted = wanted;
  }
}

/** The first fault of `bytes` as one JSON value, e.g. `invalid JSON at byte 3: expected a value, found "]"`, or null. */
export function jsonFault(bytes: Uint8Array): string | null {
  try {
    scanDocument(bytes);
    return null;
  } catch (thrown) {
    if (!(thrown instanceof Fault)) throw thrown;
    return `invalid JSON at byte ${thrown.at}: expected ${thrown.wanted}, found ${described(bytes[thrown.at])}`;
  }
}

function described(byte: number | undefined): string {
  if (byte === undefined) return "the end";
  if (byte > 0x20 && byte < 0x7f && byte !== QUOTE) return `"${String.fromCharCode(byte)}"`;
  if (byte === QUOTE) return "a quotation mark";
  return `byte 0x${byte.toString(16).padStart(2, "0")}`;
}

function scanDocument(bytes: Uint8Array): void {
  /** The closing byte of each open array and object. */
  const open: number[] = [];
  let at = skipSpace(bytes, 0);
  for (;;) {
    const first = bytes[at];
    if (first === OPEN_BRACKET || first === OPEN_BRACE) {
      const close = first === OPEN_BRACKET ? CLOSE_BRACKET : CLOSE_BRACE;
      at = skipSpace(bytes, at + 1);
      if (bytes[at] !== close) {
        open.push(close);
        if (close === CLOSE_BRACE) at = scanKey(bytes, at, 'a key or "}"');
        continue;
      }
      at += 1;
    } else {
      at = scanScalar(bytes, at);
    }
    at = skipSpace(bytes, at);
    while (open.length > 0 && bytes[at] === open.at(-1)) {
      open.pop();
      at = skipSpace(bytes, at + 1);
    }
    const close = open.at(-1);
    if (close === undefined) {
      if (at < bytes.length) throw new Fault(at, "the end");
      return;
    }
    if (bytes[at] !== COMMA) throw new Fault(at, `"," or "${String.fromCharCode(close)}"`);
    at = skipSpace(bytes, at + 1);
    if (close === CLOSE_BRACE) at = scanKey(bytes, at, "a key");
  }
}

/** From an object key to the start of its value. */
function scanKey(bytes: Uint8Array, from: number, wanted: string): number {
  if (bytes[from] !== QUOTE) throw new Fault(from, wanted);
  const colon = skipSpace(bytes, scanString(bytes, from + 1));
  if (bytes[colon] !== COLON) throw new Fault(colon, '":"');
  return skipSpace(bytes, colon + 1);
}

function scanScalar(bytes: Uint8Array, at: number): number {
  const first = bytes[at];
  if (first === QUOTE) return scanString(bytes, at + 1);
  if (first === MINUS || isDigit(first)) return scanNumber(bytes, at);
  for (const word of ["true", "false", "null"]) {
    if (first === word.charCodeAt(0)) return scanWord(bytes, at, word);
  }
  throw new Fault(at, "a value");
}

function scanWord(bytes: Uint8Array, from: number, word: string): number {
  for (let i = 0; i < word.length; i += 1) {
    if (bytes[from + i] !== word.charCodeAt(i)) throw new Fault(from + i, `"${word}"`);
  }
  return from + word.length;
}

function scanNumber(bytes: Uint8Array, from: number): number {
  let at = bytes[from] === MINUS ? from + 1 : from;
  at = bytes[at] === ZERO ? at + 1 : scanDigits(bytes, at);
  if (bytes[at] === DOT) at = scanDigits(bytes, at + 1);
  if (bytes[at] === 0x65 || bytes[at] === 0x45) {
    const sign = bytes[at + 1];
    at = scanDigits(bytes, sign === MINUS || sign === 0x2b ? at + 2 : at + 1);
  }
  return at;
}

function scanDigits(bytes: Uint8Array, from: number): number {
  let at = from;
  while (isDigit(bytes[at])) at += 1;
  if (at === from) throw new Fault(at, "a digit");
  return at;
}

/** From inside a string to just past its closing quote. */
function scanString(bytes: Uint8Array, from: number): number {
  let at = from;
  for (;;) {
    const byte = bytes[at];
    if (byte === QUOTE) return at + 1;
    if (byte === undefined) throw new Fault(at, "a closing quotation mark");
    if (byte < 0x20) throw new Fault(at, "an escape, for a control character inside a string");
    at = byte === BACKSLASH ? scanEscape(bytes, at + 1) : at + 1;
  }
}

function scanEscape(bytes: Uint8Array, at: number): number {
  const byte = bytes[at];
  if (byte === undefined || !ESCAPES.includes(String.fromCharCode(byte))) {
    throw new Fault(at, "one of the escapes of JSON");
  }
  if (byte !== SMALL_U) return at + 1;
  for (let digit = at + 1; digit <= at + 4; digit += 1) {
    if (!isHexDigit(bytes[digit])) throw new Fault(digit, "a hexadecimal digit");
  }
  return at + 5;
}

function skipSpace(bytes: Uint8Array, from: number): number {
  let at = from;
  while (bytes[at] === 0x20 || bytes[at] === 0x0a || bytes[at] === 0x0d || bytes[at] === 0x09) at += 1;
  return at;
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= ZERO && byte <= 0x39;
}

function isHexDigit(byte: number | undefined): boolean {
  if (byte === undefined) return false;
  const lower = byte | 0x20;
  return isDigit(byte) || (lower >= 0x61 && lower <= 0x66);
}
