/**
 * Which responses may be kept, by whom and for how long (protocol section 10). The one rule: `immutable` only where the
 * URL can never again mean other bytes or other headers.
 */

const YEAR_SECONDS = 31_536_000;
const SHARED_SECONDS_MAX = 60;
/** One cursor interval: afterwards the URL is asked for by nobody. */
const LONG_POLL_SECONDS_MAX = 20;

export type CacheableResponse =
  | {
      /** A 200 or 304 to a read without a live mode, but for `offset=now`. */
      readonly kind: "catch-up";
      /** The offset of the request was minted: not `-1`, absent or zero. */
      readonly realOffset: boolean;
      /** The range reached the tail; otherwise it ends at a chunk boundary. */
      readonly atTail: boolean;
      readonly closed: boolean;
      /** Time until the stream may expire, or null when it never does. */
      readonly expiresInMs: number | null;
      /** The request was authorised, and nothing in front of the server does that again. */
      readonly authorized: boolean;
    }
  | {
      /** A long-poll 200 with data. */
      readonly kind: "long-poll";
      readonly realOffset: boolean;
      readonly expiresInMs: number | null;
      readonly authorized: boolean;
    }
  /** 204, HEAD, `offset=now` in every mode, and errors. */
  | { readonly kind: "no-store" }
  | { readonly kind: "sse" };

export interface CachePolicy {
  readonly cacheControl: string;
  /** The response must name its canonical range in Content-Location. */
  readonly contentLocation: boolean;
}

const NO_STORE: CachePolicy = { cacheControl: "no-store", contentLocation: false };
const SSE: CachePolicy = { cacheControl: "no-cache, no-transform", contentLocation: false };

/** The Cache-Control of a response, and whether it needs a Content-Location. */
export function cachePolicy(response: CacheableResponse): CachePolicy {
  switch (response.kind) {
    case "no-store":
      return NO_STORE;
    case "sse":
      return SSE;
    case "long-poll": {
      // From the start, the URL names whatever stream has the name now, and a cursor does not change that.
      if (!response.realOffset) return NO_STORE;
      const seconds = secondsWithin(LONG_POLL_SECONDS_MAX, response.expiresInMs);
      return { cacheControl: `${scope(response.authorized)}, max-age=${seconds}`, contentLocation: false };
    }
    case "catch-up": {
      const shared = scope(response.authorized);
      if (response.atTail && !response.closed) {
        return { cacheControl: `${shared}, no-cache`, contentLocation: false };
      }
      if (response.realOffset && response.expiresInMs === null) {
        return { cacheControl: `${shared}, max-age=${YEAR_SECONDS}, immutable`, contentLocation: false };
      }
      const seconds = secondsWithin(SHARED_SECONDS_MAX, response.expiresInMs);
      return { cacheControl: `${shared}, max-age=${seconds}`, contentLocation: !response.realOffset };
    }
  }
}

function scope(authorized: boolean): "private" | "public" {
  return authorized ? "private" : "public";
}

/** Whole seconds, rounded down so that no copy outlives its stream. */
function secondsWithin(limitSeconds: number, expiresInMs: number | null): number {
  if (expiresInMs === null) return limitSeconds;
  return Math.max(0, Math.min(limitSeconds, Math.floor(expiresInMs / 1000)));
}
