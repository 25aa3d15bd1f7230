/**
 * The parts of JSON that are many bytes long, scanned in a copy that ends in `SCAN_PADDING` zero bytes: a zero byte may
 * stand nowhere in JSON, so each scan stops there and none looks for the end. Each returns where its part ends, or
 * `NOT_JSON`; where exactly the fault lies and what it is says json-fault.ts.
 */

/** Zero bytes after the text: one to stop at, the others so that whole words may be read up to it. */
export const SCAN_PADDING = 4;
export const NOT_JSON = -1;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const MINUS = 0x2d;
const PLUS = 0x2b;
const DOT = 0x2e;
const ZERO = 0x30;
const SMALL_U = 0x75;

const IS_ESCAPE: Uint8Array = bytesOf('"\\/bfnrt');
const IS_HEX_DIGIT: Uint8Array = bytesOf("0123456789abcdefABCDEF");

/** From inside a string to just past its closing quote. `view` is of the same bytes. */
export function scanString(bytes: Uint8Array, view: DataView, from: number): number {
  let at = from;
  for (;;) {
    // Four bytes at a time; the high bit of a byte in `stops` is set where a string must not simply go on: at a control
    // character or a quote (less than 0x21 once 0x02 is flipped) or at a backslash. A borrow may set bits above the lowest.
    const word = view.getInt32(at, true);
    const stops = (((word ^ 0x02020202) - 0x21212121) | ((word ^ 0x5c5c5c5c) - 0x01010101)) & ~word & 0x80808080;
    if (stops === 0) {
      at += 4;
      continue;
    }
    at += (31 - Math.clz32(stops & -stops)) >> 3;
    const byte = bytes[at]!;
    if (byte === QUOTE) return at + 1;
    if (byte !== BACKSLASH) return NOT_JSON;
    const escaped = bytes[at + 1]!;
    if (IS_ESCAPE[escaped] === 1) at += 2;
    else if (escaped === SMALL_U && hasFourHexDigits(bytes, at + 2)) at += 6;
    else return NOT_JSON;
  }
}

/** From a minus or a digit to just past the number. */
export function scanNumber(bytes: Uint8Array, from: number): number {
  let at = bytes[from] === MINUS ? from + 1 : from;
  const whole = at;
  at = bytes[at] === ZERO ? at + 1 : skipDigits(bytes, at);
  if (at === whole) return NOT_JSON;
  if (bytes[at] === DOT) {
    const fraction = at + 1;
    at = skipDigits(bytes, fraction);
    if (at === fraction) return NOT_JSON;
  }
  // Either case of the letter e.
  if ((bytes[at]! | 0x20) === 0x65) {
    const sign = bytes[at + 1];
    const exponent = sign === MINUS || sign === PLUS ? at + 2 : at + 1;
    at = skipDigits(bytes, exponent);
    if (at === exponent) return NOT_JSON;
  }
  return at;
}

/** From the first letter of true, false or null to just past the word. */
export function scanWord(bytes: Uint8Array, view: DataView, from: number): number {
  switch (view.getInt32(from, true)) {
    case 0x65757274: // "true", last letter first
    case 0x6c6c756e: // "null"
      return from + 4;
    case 0x736c6166: // "fals"
      return bytes[from + 4] === 0x65 ? from + 5 : NOT_JSON;
    default:
      return NOT_JSON;
  }
}

/** The ten digits, and no other byte, differ from zero's character by less than ten. */
function skipDigits(bytes: Uint8Array, from: number): number {
  let at = from;
  while ((bytes[at]! ^ ZERO) < 10) at += 1;
  return at;
}

function hasFourHexDigits(bytes: Uint8Array, at: number): boolean {
  for (let digit = at; digit < at + 4; digit += 1) {
    if (IS_HEX_DIGIT[bytes[digit]!] !== 1) return false;
  }
  return true;
}

/** A table of 256 bytes with a 1 for each of these ASCII characters. */
function bytesOf(characters: string): Uint8Array {
  const table = new Uint8Array(256);
  for (const character of characters) table[character.charCodeAt(0)] = 1;
  return table;
}
