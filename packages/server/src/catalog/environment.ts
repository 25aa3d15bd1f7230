/**
 * The LMDB environment. It holds nothing that is not also in the WAL or in an object (invariant 5); its commits trail the
 * WAL. A resolved commit is atomic but not yet on disk: `flushed` is what lets a WAL segment go.
 */
import { open } from "lmdb";
import type { Database, Key, RootDatabase } from "lmdb";
import { DecodeError, StreamError } from "@coldbrook/core";

export type ValueStore<K extends Key> = Database<Uint8Array, K>;

export interface CatalogEnvironment {
  readonly root: RootDatabase<Uint8Array, string>;
  readonly file: string;
}

export function openEnvironment(directory: string): CatalogEnvironment {
  const root = open<Uint8Array, string>({
    path: directory,
    encoding: "binary",
    maxDbs: 16,
    // A commit resolves before its flush; readers of the environment see it at once.
    overlappingSync: true,
    useWritemap: false,
    noMemInit: true,
    cache: false,
  });
  return { root, file: directory };
}

export function openStore<K extends Key>(environment: CatalogEnvironment, name: string): ValueStore<K> {
  return environment.root.openDB<Uint8Array, K>({ name, encoding: "binary" });
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
