/** The catalog on disk: one LMDB environment. */
import fs from "node:fs";
import path from "node:path";
import { open } from "lmdb";
import type { RootDatabase } from "lmdb";
import type { CatalogEnvironment, StoreKey, ValueStore } from "./environment.ts";

const DATA_FILE = "data.mdb";
const SIZE_FILE = "size";

/** @throws when LMDB cannot open the directory's files. */
export function openLmdb(directory: string): CatalogEnvironment {
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
  return new LmdbEnvironment(directory, root);
}

/** Size that the file of the catalog in that directory once had: it never shrinks by itself. */
export function recordedSize(directory: string): number | null {
  try {
    const text = fs.readFileSync(path.join(directory, SIZE_FILE), "utf8");
    return /^\d{1,15}$/.test(text) ? Number(text) : null;
  } catch {
    // Not recorded yet: then nothing is known against the file.
    return null;
  }
}

class LmdbEnvironment implements CatalogEnvironment {
  readonly file: string;
  readonly #root: RootDatabase<Uint8Array, string>;
  #recordedSize = 0;

  constructor(directory: string, root: RootDatabase<Uint8Array, string>) {
    this.file = directory;
    this.#root = root;
  }

  store<K extends StoreKey>(name: string): ValueStore<K> {
    return this.#root.openDB<Uint8Array, K>({ name, encoding: "binary" });
  }

  async batch(change: () => void): Promise<void> {
    await this.#root.batch(change);
  }

  async flushed(): Promise<void> {
    await this.#root.flushed;
  }

  recordSize(): void {
    const { size } = fs.statSync(path.join(this.file, DATA_FILE));
    if (size === this.#recordedSize) return;
    fs.writeFileSync(path.join(this.file, SIZE_FILE), String(size));
    this.#recordedSize = size;
  }

  async close(): Promise<void> {
    await this.#root.close();
  }
}
