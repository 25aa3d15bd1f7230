/** Faults (not expected outcomes) carry one of these codes; the server's problem table maps each to an HTTP status. */
export type StreamErrorCode =
  /** The shard cannot take writes now: WAL budget reached. */
  | "wal-full"
  /** The shard cannot take writes now: what is free on its disk is kept for deletes, rolls and the catalog. */
  | "disk-full"
  /** The process is stopping. */
  | "draining"
  /** A bound of limits.ts was reached (waiters, connections). */
  | "too-many-waiters"
  /** The object store did not answer usefully in time. */
  | "store-unavailable"
  /** Bytes came back that fail their checksum, after retries. */
  | "corrupt-object"
  /** A WAL frame fails its checksum. */
  | "corrupt-wal"
  /** A catalog value fails its checksum or does not decode. */
  | "corrupt-catalog"
  /** The bytes were taken away while being read (delete, release). */
  | "gone";

/** The one fault type. `message` says what is wrong, where, and what to do; it holds no secrets. */
export class StreamError extends Error {
  override readonly name = "StreamError";
  readonly code: StreamErrorCode;

  constructor(code: StreamErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
