/**
 * JSON mode (protocol section 9.1): a body becomes messages, each the exact tokens that were received, without the
 * insignificant white space, followed by a comma. One level of array is flattened.
 */
import { jsonFault } from "./json-fault.ts";
import { JSON_MESSAGES_MAX } from "./limits.ts";

export type FramedJson =
  /** `lengths` are in bytes, each with its comma; they add up to `stored.length`. */
  | { readonly kind: "messages"; readonly stored: Uint8Array; readonly lengths: number[] }
  /** `detail` says what is wrong and at which byte. */
  | { readonly kind: "bad"; readonly detail: string };

const PLAIN = 0;
const QUOTE = 1;
const SPACE = 2;
const OPEN = 3;
const CLOSE = 4;
const SEPARATOR = 5;

const QUOTE_BYTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN_BRACKET = 0x5b;

/** What each byte means outside of a string. */
const BYTE_CLASS: Uint8Array = byteClasses();

/** Runs shorter than this are copied byte by byte, which beats making a view for them. */
const SHORT_RUN_BYTES = 64;

/**
 * Validates and frames one body. `text` is the strict UTF-8 decoding of `bytes`; neither is changed or kept. An empty
 * array is zero messages on create and refused on append (section 9.1.3). Never throws, however deep the nesting.
 */
export function frameJson(bytes: Uint8Array, text: string, mode: "create" | "append"): FramedJson {
  const fault = faultOf(bytes, text);
  if (fault !== null) return { kind: "bad", detail: fault };
  let first = 0;
  while (BYTE_CLASS[bytes[first]!] === SPACE) first += 1;
  // Depth counts from the flattened array's inside, so a comma at depth 0 ends a message, and without an array none does.
  const framed = bytes[first] === OPEN_BRACKET ? copyMessages(bytes, first + 1, 0) : copyMessages(bytes, first, 1);
  if (framed.kind === "messages" && framed.lengths.length === 0 && mode === "append") {
    return { kind: "bad", detail: `empty array at byte ${first}: an append must hold at least one message` };
  }
  return framed;
}

function faultOf(bytes: Uint8Array, text: string): string | null {
  // A decoder may have taken the mark off `text`, so only the bytes can tell.
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) {
    return "byte order mark at byte 0: JSON must start with a value";
  }
  try {
    JSON.parse(text);
    return null;
  } catch {
    return jsonFault(bytes) ?? "the JSON value cannot be parsed: it is too deep or too large";
  }
}

/** Copies valid JSON from `at` to the end of the bytes, or to the bracket that closes depth 0. */
function copyMessages(bytes: Uint8Array, from: number, startDepth: number): FramedJson {
  // An array gives back its two brackets, and either form takes one last comma: exact when there is no white space.
  const stored = new Uint8Array(startDepth === 0 ? bytes.length - 1 : bytes.length + 1);
  const lengths: number[] = [];
  const end = bytes.length;
  let depth = startDepth;
  let written = 0;
  let messageAt = 0;
  let runAt = from;
  let at = from;
  for (; at < end; at += 1) {
    const meaning = BYTE_CLASS[bytes[at]!];
    if (meaning === PLAIN) continue;
    if (meaning === QUOTE) {
      // To the closing quote; in place, because a call for each string made the scan a quarter slower.
      at += 1;
      while (at < end && bytes[at] !== QUOTE_BYTE) at += bytes[at] === BACKSLASH ? 2 : 1;
    } else if (meaning === SPACE) {
      written = copyRun(bytes, runAt, at, stored, written);
      runAt = at + 1;
    } else if (meaning === OPEN) {
      depth += 1;
    } else if (meaning === CLOSE) {
      depth -= 1;
      if (depth < 0) break;
    } else if (depth === 0) {
      const messageEnd = written + at + 1 - runAt;
      lengths.push(messageEnd - messageAt);
      messageAt = messageEnd;
      if (lengths.length === JSON_MESSAGES_MAX) {
        return { kind: "bad", detail: `more than ${JSON_MESSAGES_MAX} messages in one request, from byte ${at + 1}` };
      }
    }
  }
  written = copyRun(bytes, runAt, at, stored, written);
  if (written > messageAt) {
    stored[written] = COMMA;
    written += 1;
    lengths.push(written - messageAt);
  }
  return { kind: "messages", stored: trimmed(stored, written), lengths };
}

/** What is kept in memory is counted by its length, so a view must not hold on to much more than that. */
function trimmed(bytes: Uint8Array, length: number): Uint8Array {
  if (length === bytes.length) return bytes;
  return length * 2 < bytes.length ? bytes.slice(0, length) : bytes.subarray(0, length);
}

/** Copies [from, to) to `target` at `at`; returns where the copy ends. */
function copyRun(bytes: Uint8Array, from: number, to: number, target: Uint8Array, at: number): number {
  const length = to - from;
  if (length >= SHORT_RUN_BYTES) {
    target.set(length === bytes.length ? bytes : bytes.subarray(from, to), at);
  } else {
    for (let i = 0; i < length; i += 1) target[at + i] = bytes[from + i]!;
  }
  return at + length;
}

function byteClasses(): Uint8Array {
  const classes = new Uint8Array(256);
  classes[QUOTE_BYTE] = QUOTE;
  for (const space of [0x20, 0x09, 0x0a, 0x0d]) classes[space] = SPACE;
  for (const open of [OPEN_BRACKET, 0x7b]) classes[open] = OPEN;
  for (const close of [0x5d, 0x7d]) classes[close] = CLOSE;
  classes[COMMA] = SEPARATOR;
  return classes;
}
