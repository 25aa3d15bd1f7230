/**
 * Compressed bodies of reads: which variant of a response a client gets, and the coding of its bytes. A body is coded piece
 * by piece as its reader takes it, so that one that stalls holds an encoder and a piece, and never the whole.
 */
import type { ServerResponse } from "node:http";
import { createDeflate, createGzip } from "node:zlib";
import type { Deflate, Gzip, ZlibOptions } from "node:zlib";
import PQueue from "p-queue";
import {
  COMPRESSED_BYTES_MIN,
  COMPRESSED_RESPONSES_MAX,
  COMPRESSION_THREADS_MAX,
  encodedEtag,
  ifNoneMatch,
  isCompressible,
  negotiateEncoding,
} from "@coldbrook/core";
import type { ContentCoding } from "@coldbrook/core";
import type { Exchange } from "./exchange.ts";

/** Higher levels take twice the time for a few per cent of what messages of one shape come to. */
const OPTIONS: ZlibOptions = { level: 3 };

export class Compressor {
  readonly #threads = new PQueue({ concurrency: COMPRESSION_THREADS_MAX });
  #responses = 0;

  /** Compressed responses under way. */
  get responses(): number {
    return this.#responses;
  }

  /** Whether one more response may be compressed. Its place is free again when it closes. */
  admit(response: ServerResponse): boolean {
    if (this.#responses >= COMPRESSED_RESPONSES_MAX || response.destroyed) return false;
    this.#responses += 1;
    response.once("close", () => (this.#responses -= 1));
    return true;
  }

  /** The coded bytes of `parts`; each part is asked for when the coded bytes of the one before are taken. Throws what `parts` throws. */
  async *encode(coding: ContentCoding, parts: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
    const encoder = coding === "gzip" ? createGzip(OPTIONS) : createDeflate(OPTIONS);
    const coded: Uint8Array[] = [];
    encoder.on("data", (bytes: Uint8Array) => coded.push(bytes));
    // The step under way fails with it; a fault without a listener would end the process.
    encoder.on("error", () => undefined);
    try {
      for await (const part of parts) {
        await this.#threads.add(() => codePart(encoder, part));
        yield* coded.splice(0);
      }
      await this.#threads.add(() => codeEnd(encoder));
      yield* coded.splice(0);
    } finally {
      encoder.destroy();
    }
  }
}

/** Resolves when the encoder has taken the part; what comes of it is handed out by then, or with the next. */
function codePart(encoder: Gzip | Deflate, part: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    encoder.write(part, (error) => (error ? reject(error) : resolve()));
  });
}

function codeEnd(encoder: Gzip | Deflate): Promise<void> {
  return new Promise((resolve, reject) => {
    encoder.once("error", reject).once("end", resolve).end();
  });
}

/** How the bytes of one response are coded. */
export interface Coder {
  readonly coding: ContentCoding;
  readonly compressor: Compressor;
}

/** What decides between the variants of a response. */
export interface VariantRange {
  readonly contentType: string;
  /** Length of the body, uncoded. */
  readonly bodyBytes: number;
  /** The URL will never have a body of another length. */
  readonly isSettled: boolean;
  /** Tag of the uncoded body. */
  readonly etag: string;
}

/** One of a response's variants: the one that this client gets. */
export interface Variant {
  readonly etag: string;
  /** Null when the bytes go out as they are. */
  readonly coder: Coder | null;
  /** For the 200 and the 304 alike. */
  readonly headers: readonly string[];
  /** The client has this variant: 304. */
  readonly isKnown: boolean;
}

const NO_HEADERS: readonly string[] = [];
const VARY: readonly string[] = ["Vary", "Accept-Encoding"];

/**
 * Chooses by Accept-Encoding, size and type. Each variant of a URL that may have several says `Vary`, the uncoded one as well,
 * or a cache would hand out one for the other. With `compressor` null there is one variant and nothing is negotiated.
 */
export function chooseVariant(compressor: Compressor | null, exchange: Exchange, range: VariantRange): Variant {
  const { headers } = exchange.request;
  const known = headers["if-none-match"];
  const { etag } = range;
  if (compressor === null || !isCompressible(range.contentType)) {
    return { etag, coder: null, headers: NO_HEADERS, isKnown: ifNoneMatch(known, etag) };
  }
  if (range.bodyBytes < COMPRESSED_BYTES_MIN) {
    const vary = range.isSettled ? NO_HEADERS : VARY;
    return { etag, coder: null, headers: vary, isKnown: ifNoneMatch(known, etag) };
  }
  const coding = negotiateEncoding(headers["accept-encoding"]);
  if (coding !== null) {
    const coded = { etag: encodedEtag(etag, coding), coder: { coding, compressor }, headers: VARY };
    if (ifNoneMatch(known, coded.etag)) return { ...coded, isKnown: true };
    if (compressor.admit(exchange.response)) return { ...coded, isKnown: false };
  }
  return { etag, coder: null, headers: VARY, isKnown: ifNoneMatch(known, etag) };
}
