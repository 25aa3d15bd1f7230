/**
 * What clients saw: a list of operations, each with its request, when it was sent, when its answer came (or that none came)
 * and what the answer said. The recorder writes it, the checker reads it, and it is plain JSON, so that it can be kept.
 */

/** Bytes as text, one character (0 to 255) for each byte: `buffer.toString("latin1")`. */
export type Bytes = string;

/** A token as the server gave it out: `<generation>_<position>`, 16 decimal digits each. */
export type OffsetToken = string;

/** One point of a run. Steps order all calls, answers and crashes of a run; no two of them need the same one. */
export interface Instant {
  readonly step: number;
  /** The clock that the server lives by, in milliseconds. */
  readonly ms: number;
}

export interface Producer {
  readonly id: string;
  readonly epoch: number;
  readonly seq: number;
}

export interface ForkFrom {
  readonly source: string;
  /** Any token, "start" (the zero offset), or "tail" when the request names none. */
  readonly offset: OffsetToken | "start" | "tail";
  /** Messages (JSON mode) or bytes past the offset. */
  readonly subOffset: number;
}

/**
 * `messages` are as they are stored: in JSON mode each value with its comma, otherwise the body as one message, and none for
 * an empty body. Null is a JSON body that cannot be framed.
 */
export type Messages = readonly Bytes[] | null;

export interface CreateRequest {
  readonly kind: "create";
  readonly contentType: string | null;
  readonly ttlSeconds: number | null;
  readonly expiresAtMs: number | null;
  readonly closed: boolean;
  readonly messages: Messages;
  readonly fork: ForkFrom | null;
}

/** Append, append-and-close, and close-only when `messages` is empty. */
export interface AppendRequest {
  readonly kind: "append";
  readonly contentType: string | null;
  readonly messages: Messages;
  readonly close: boolean;
  readonly producer: Producer | null;
  readonly streamSeq: string | null;
}

export interface DeleteRequest {
  readonly kind: "delete";
}

export interface HeadRequest {
  readonly kind: "head";
}

export interface ReadRequest {
  readonly kind: "read";
  readonly offset: OffsetToken | "start" | "now";
  /** A long-poll, or one event of an SSE connection: what comes after the tail is waited for. */
  readonly wait: boolean;
}

export type Request = CreateRequest | AppendRequest | DeleteRequest | HeadRequest | ReadRequest;

/** What an answer shows of a stream. */
export interface Shown {
  /** Stream-Next-Offset; null when the answer does not say. */
  readonly tail: OffsetToken | null;
  readonly closed: boolean;
}

/**
 * What the answer said. `shown` of "exists", "duplicate", "already-closed" and "closed" may be of a later moment than the
 * decision, but never of an earlier one.
 */
export type Outcome =
  /** PUT 201, 200. */
  | { readonly kind: "created" | "exists"; readonly shown: Shown }
  /** PUT 409. */
  | { readonly kind: "conflict" }
  /** PUT of a fork, 404. */
  | { readonly kind: "no-source" }
  /** 400: a fork point that is not there, an offset that was never minted. */
  | { readonly kind: "bad" }
  /** 400: JSON that cannot be framed. */
  | { readonly kind: "bad-body" }
  /** POST 200 or 204. */
  | { readonly kind: "appended"; readonly shown: Shown }
  /** POST 204 of a producer's repeated request; `seq` is the highest one accepted. */
  | { readonly kind: "duplicate"; readonly epoch: number; readonly seq: number; readonly shown: Shown }
  /** POST: 204 of a close-only, 409. */
  | { readonly kind: "already-closed" | "closed"; readonly shown: Shown }
  /** POST: 409, 400, 400, 400. */
  | { readonly kind: "content-type" | "missing-content-type" | "empty-body" | "epoch-start" }
  /** POST 403. */
  | { readonly kind: "stale-epoch"; readonly epoch: number }
  /** POST 409. */
  | { readonly kind: "gap"; readonly expected: number }
  /** POST 409 of a Stream-Seq that is not greater. */
  | { readonly kind: "stream-seq" }
  | { readonly kind: "deleted" }
  /** 404, and 410 of a soft-deleted stream. */
  | { readonly kind: "not-found" | "gone" }
  /** HEAD 200. */
  | { readonly kind: "metadata"; readonly contentType: string; readonly shown: Shown }
  /** GET 200, or the 204 of a wait that ended without data: stored bytes up to `next`. */
  | {
      readonly kind: "data";
      readonly bytes: Bytes;
      readonly next: OffsetToken;
      readonly upToDate: boolean;
      readonly closed: boolean;
    }
  /** GET 410: the offset is of a stream that is no more. */
  | { readonly kind: "offset-gone" }
  /** 429, 503 and the like, where the server promises that nothing happened. It says nothing about the stream. */
  | { readonly kind: "refused" };

export interface Operation {
  /** Unique in its history. */
  readonly id: number;
  readonly client: string;
  readonly path: string;
  readonly request: Request;
  readonly call: Instant;
  /** When the whole answer was there. Null together with `outcome`: lost, timed out, reset, or a 500, which says nothing. */
  readonly return: Instant | null;
  /**
   * Without an answer: when the process that the request went to was dead. The request may have its effect between its call
   * and then, or never; null when that process is still alive at the end. Not looked at when there is an answer.
   */
  readonly endedBy: Instant | null;
  readonly outcome: Outcome | null;
}

export interface History {
  /** In any order. */
  readonly operations: readonly Operation[];
  /** When a process died: a read's renewal of a TTL may be forgotten then. */
  readonly crashes: readonly Instant[];
}

export interface ParsedToken {
  readonly generation: number;
  readonly position: number;
}

/** Null for what no server gives out. */
export function parseToken(token: string): ParsedToken | null {
  const match = /^([0-9]{16})_([0-9]{16})$/.exec(token);
  return match === null ? null : { generation: Number(match[1]), position: Number(match[2]) };
}

export function formatToken(generation: number, position: number): OffsetToken {
  return `${String(generation).padStart(16, "0")}_${String(position).padStart(16, "0")}`;
}
