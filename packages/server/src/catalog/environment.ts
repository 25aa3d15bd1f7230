/**
 * Where the catalog's values are kept: named stores of small values, each in order of key. It holds nothing that is not also
 * in the WAL or in an object (invariant 5); its commits trail the WAL. A resolved commit is atomic but not yet on disk:
 * `flushed` is what lets a WAL segment go.
 */
import { DecodeError, StreamError } from "@coldbrook/core";

/**
 * Keys of one store are all of one shape. Numbers are ordered by value, strings by their UTF-8 bytes, pairs by their first and
 * then by their second part.
 */
export type StoreKey = number | string | [number, string] | [number, number];

/** Keys from `start`, itself included, to `end`, itself not; `reverse` goes from a larger start down to a smaller end. */
export interface KeyRange<K extends StoreKey> {
  readonly start?: K;
  readonly end?: K;
  readonly reverse?: boolean;
  readonly limit?: number;
  /** False: changes made while the keys are taken may be seen or not, and a long walk holds nothing up. */
  readonly snapshot?: boolean;
}

export interface ValueStore<K extends StoreKey> {
  /** The committed value; nobody else has its bytes. */
  get(key: K): Uint8Array | undefined;
  /** To be called inside a batch: takes effect when that is committed. */
  put(key: K, value: Uint8Array): void;
  /** To be called inside a batch. A missing key is no error. */
  remove(key: K): void;
  /** Committed keys. To be walked through at once: what is committed meanwhile may be seen or not. */
  getKeys(range?: KeyRange<K>): Iterable<K>;
}

export interface CatalogEnvironment {
  /** What it is called in messages: its directory, or `memory:`. */
  readonly file: string;
  store<K extends StoreKey>(name: string): ValueStore<K>;
  /**
   * All changes that `change` makes, at once. Resolves when they are committed, not when they are on disk; look-ups see them
   * from then on, and not within `change`. It must not throw: some of what it put may be kept. Batches are committed in the order
   * in which they are asked for; one for which the disk has no room waits for some, and those behind it.
   */
  batch(change: () => void): Promise<void>;
  /** A batch waits for room on the disk. */
  readonly waitsForRoom: boolean;
  /** From now on a batch for which there is no room is refused. */
  stopWaiting(): void;
  /** Resolves when all that was committed is on disk. */
  flushed(): Promise<void>;
  /** Notes the size of its file, so that a start can tell when that was cut short. */
  recordSize(): void;
  close(): Promise<void>;
}

export function openStore<K extends StoreKey>(environment: CatalogEnvironment, name: string): ValueStore<K> {
  return environment.store<K>(name);
}

/** Runs a decoder; damage becomes a corrupt-catalog fault that names the value. */
export function decodeValue<T>(environment: CatalogEnvironment, what: string, decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    throw new StreamError(
      "corrupt-catalog",
      `catalog ${environment.file}: the value of ${what} fails its check (${error.message}); stop the server and run "coldbrook rebuild"`,
      { cause: error },
    );
  }
}
