/**
 * Entity tags of reads (protocol section 10): equal tags mean equal bytes *and* equal headers, for a 304 freshens the
 * headers that a cache has stored.
 */
import type { Generation, Position } from "./brand.ts";
import type { ContentCoding } from "./content-encoding.ts";

/** What one response holds: bytes [start, end) of a stream, and what it said about the stream's end. */
export interface EtagRange {
  readonly id: Generation;
  /** The generation that minted `end`; the stream's id when absent. */
  readonly generation?: Generation;
  readonly start: Position;
  readonly end: Position;
  /** The stream is closed: what a tail response must not hide behind a 304. */
  readonly closed: boolean;
  /** The range reached the tail, so the response said Up-To-Date. */
  readonly atTail: boolean;
}

/**
 * The strong tag of a range, quoted: `"<id>:<generation>:<start>:<end>[:t[:c]]"`. Closure shows only at the tail: a range below it
 * says nothing of the stream's end, and its immutable response keeps its name when the stream is closed.
 */
export function rangeEtag(range: EtagRange): string {
  const reach = range.atTail ? (range.closed ? ":t:c" : ":t") : "";
  return `"${range.id}:${range.generation ?? range.id}:${range.start}:${range.end}${reach}"`;
}

/** The tag of the same range as a compressed body, which is other bytes: the coding is added inside the quotes. */
export function encodedEtag(etag: string, coding: ContentCoding): string {
  return `${etag.slice(0, -1)}:${coding}"`;
}

/** One member of the list, its opaque tag captured with the quotes; commas may stand inside them. */
const LIST_MEMBER = /[ \t,]*(?:W\/)?("[^"]*")[ \t]*(?=,|$)/y;

/**
 * Whether an If-None-Match header names `etag` (a quoted strong tag), by weak comparison, so that a tag that a proxy has
 * weakened still matches. `*` matches whatever exists; a malformed list matches up to where it breaks.
 */
export function ifNoneMatch(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  if (header.trim() === "*") return true;
  LIST_MEMBER.lastIndex = 0;
  for (let member = LIST_MEMBER.exec(header); member !== null; member = LIST_MEMBER.exec(header)) {
    if (member[1] === etag) return true;
  }
  return false;
}
