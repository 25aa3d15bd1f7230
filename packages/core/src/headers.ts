/** Names and values of the protocol's headers. Every parser takes untrusted text and answers with a value or `{error}`, which is a 400. */
import { CONTENT_TYPE_BYTES_MAX, PRODUCER_ID_BYTES_MAX, STREAM_SEQ_BYTES_MAX } from "./limits.ts";
import type { ProducerTuple } from "./stream-state.ts";

export interface HeaderError {
  readonly error: string;
}

/** Request headers by lower-case name, as HTTP servers hand them out. */
export interface RequestHeaders {
  readonly [name: string]: string | readonly string[] | undefined;
}

/** Lower-case names, to look up in requests. */
export const REQUEST_HEADER = {
  contentType: "content-type",
  streamTtl: "stream-ttl",
  streamExpiresAt: "stream-expires-at",
  streamClosed: "stream-closed",
  streamSeq: "stream-seq",
  streamForkedFrom: "stream-forked-from",
  streamForkOffset: "stream-fork-offset",
  streamForkSubOffset: "stream-fork-sub-offset",
  producerId: "producer-id",
  producerEpoch: "producer-epoch",
  producerSeq: "producer-seq",
  ifNoneMatch: "if-none-match",
} as const;

/** Names as the protocol writes them, for responses. */
export const RESPONSE_HEADER = {
  contentType: "Content-Type",
  streamNextOffset: "Stream-Next-Offset",
  streamCursor: "Stream-Cursor",
  streamUpToDate: "Stream-Up-To-Date",
  streamClosed: "Stream-Closed",
  streamTtl: "Stream-TTL",
  streamExpiresAt: "Stream-Expires-At",
  streamSseDataEncoding: "Stream-SSE-Data-Encoding",
  producerEpoch: "Producer-Epoch",
  producerSeq: "Producer-Seq",
  producerExpectedSeq: "Producer-Expected-Seq",
  producerReceivedSeq: "Producer-Received-Seq",
} as const;

const DIGITS = /^[0-9]+$/;
const MEDIA_TYPE = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+\/[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*;[\t\x20-\x7e]*)?$/;

/** The one value of a header; a list (only some servers make one) is joined as HTTP joins lines. */
export function headerValue(headers: RequestHeaders, name: string): string | undefined {
  const value = headers[name];
  return value === undefined || typeof value === "string" ? value : value.join(", ");
}

/** A non-negative integer of digits only, at most 2^53-1; null for anything else. */
export function parseCount(text: string): number | null {
  if (!DIGITS.test(text)) return null;
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : null;
}

/** Producer headers (protocol section 5.2.1): all three or none; null for none. */
export function parseProducer(
  id: string | undefined,
  epoch: string | undefined,
  seq: string | undefined,
): ProducerTuple | HeaderError | null {
  if (id === undefined && epoch === undefined && seq === undefined) return null;
  if (id === undefined || epoch === undefined || seq === undefined) {
    return { error: "Producer-Id, Producer-Epoch and Producer-Seq belong together: send all three or none" };
  }
  if (id === "") return { error: "Producer-Id must not be empty" };
  if (id.length > PRODUCER_ID_BYTES_MAX) return { error: `Producer-Id is longer than ${PRODUCER_ID_BYTES_MAX} bytes` };
  const epochNumber = parseCount(epoch);
  if (epochNumber === null) return { error: "Producer-Epoch must be an integer of 0 to 2^53-1" };
  const seqNumber = parseCount(seq);
  if (seqNumber === null) return { error: "Producer-Seq must be an integer of 0 to 2^53-1" };
  return { id, epoch: epochNumber, seq: seqNumber };
}

/** Stream-Closed counts only with the value `true`, in any case (protocol section 4.1). */
export function isTrue(value: string | undefined): boolean {
  return value !== undefined && value.length === 4 && value.toLowerCase() === "true";
}

/** Stream-Seq (protocol section 5.2): an opaque string; null when absent. */
export function parseStreamSeq(value: string | undefined): string | HeaderError | null {
  if (value === undefined) return null;
  if (value === "") return { error: "Stream-Seq must not be empty" };
  if (value.length > STREAM_SEQ_BYTES_MAX) return { error: `Stream-Seq is longer than ${STREAM_SEQ_BYTES_MAX} bytes` };
  return value;
}

/** Content-Type as given, trimmed; null when absent or empty. */
export function parseContentType(value: string | undefined): string | HeaderError | null {
  if (value === undefined) return null;
  const text = value.trim();
  if (text === "") return null;
  if (text.length > CONTENT_TYPE_BYTES_MAX) {
    return { error: `Content-Type is longer than ${CONTENT_TYPE_BYTES_MAX} bytes` };
  }
  return MEDIA_TYPE.test(text) ? text : { error: "Content-Type is not a media type" };
}

function essence(contentType: string): string {
  const end = contentType.indexOf(";");
  return (end < 0 ? contentType : contentType.slice(0, end)).trim().toLowerCase();
}

/** Whether type and subtype are the same. Parameters do not count: HTTP clients add `charset` to text by themselves. */
export function sameMediaType(a: string, b: string): boolean {
  return a === b || essence(a) === essence(b);
}

/** Whether the stream is in JSON mode (protocol section 9.1). */
export function isJson(contentType: string): boolean {
  return contentType === "application/json" || essence(contentType) === "application/json";
}

/** Whether SSE carries the stream's bytes as text rather than base64, JSON aside (protocol section 5.8). */
export function isText(contentType: string): boolean {
  return essence(contentType).startsWith("text/");
}
