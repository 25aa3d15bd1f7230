import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { link, mkdir, open, readdir, stat, unlink, type FileHandle } from "node:fs/promises";
import { dirname, join, resolve, sep } from "node:path";
import { ObjectStoreError, type ObjectStore } from "@coldbrook/core";
import { exactBody, type ObjectBody } from "./body.ts";
import { checkKey, checkListPrefix, checkRange } from "./key.ts";

/** Below the root, and in no key's alphabet. */
const TEMP_DIRECTORY = "~tmp";
/** Marks this process's temp files: after a restart in a container, a dead process had the same pid. */
const INSTANCE: string = randomUUID();
const SYNCED_DIRECTORIES_MAX = 4096;

let tempCount = 0;

export interface DirectoryObjectStoreOptions {
  /** Made when missing. Must be on a file system with hard links. */
  readonly root: string;
}

/**
 * Objects as files below one directory. A file gets its name by link(2) once all its bytes are on disk, so a name
 * always stands for a whole object, and link refuses a name that is taken.
 */
export class DirectoryObjectStore implements ObjectStore {
  readonly name: string;
  readonly #root: string;
  readonly #temp: string;
  /** Directories whose own entry, and that of each directory above up to the root, is on disk. */
  readonly #synced: Set<string> = new Set();
  #opened: Promise<void> | undefined;
  #broken: string | undefined;

  constructor(options: DirectoryObjectStoreOptions) {
    this.#root = resolve(options.root);
    this.#temp = join(this.#root, TEMP_DIRECTORY);
    this.name = `file:${this.#root}`;
  }

  /** Makes the directory and sweeps what a crash left half written. Every method does it when nobody did before. */
  async open(): Promise<void> {
    this.#opened ??= this.#open().catch((error: unknown) => {
      this.#opened = undefined;
      throw this.#fault("open", "", error);
    });
    await this.#opened;
  }

  async create(key: string, bytes: number, body: ObjectBody): Promise<"created" | "exists"> {
    const path = await this.#enter(key);
    if (this.#broken !== undefined) throw new ObjectStoreError("denied", this.#broken);
    tempCount += 1;
    const temp = join(this.#temp, `${process.pid}_${INSTANCE}_${tempCount}`);
    try {
      await this.#write(key, temp, bytes, body);
      await this.#attempt("create", key, () => this.#ensureDirectory(dirname(path)));
      const outcome = await this.#attempt("create", key, () => linkNew(temp, path));
      // Also after "exists": whoever made the entry may not have synced it yet, and the caller relies on it now.
      await this.#syncEntries(dirname(path));
      return outcome;
    } finally {
      await unlink(temp).catch(ignoreMissing);
    }
  }

  async read(key: string, from: number, to: number): Promise<Uint8Array> {
    const path = await this.#enter(key);
    checkRange(this.name, key, from, to);
    if (from === to) return new Uint8Array(0);
    return await this.#attempt("read", key, async () => {
      const file = await open(path, "r");
      try {
        const { size } = await file.stat();
        if (to > size) {
          throw new ObjectStoreError("short", `${this.#at(key)}: holds ${size} bytes, asked for [${from}, ${to})`);
        }
        return await readExactly(file, from, to - from, this.#at(key));
      } finally {
        await file.close();
      }
    });
  }

  async size(key: string): Promise<number | undefined> {
    const path = await this.#enter(key);
    try {
      const found = await stat(path);
      return found.isFile() ? found.size : undefined;
    } catch (error) {
      if (isMissing(error) && existsSync(this.#temp)) return undefined;
      throw this.#fault("size", key, error);
    }
  }

  async remove(key: string): Promise<void> {
    const path = await this.#enter(key);
    if ((await this.size(key)) === undefined) return;
    await this.#attempt("remove", key, () => unlink(path).catch(ignoreMissing));
    await this.#syncEntries(dirname(path));
  }

  async *list(prefix: string): AsyncGenerator<string> {
    checkListPrefix(this.name, prefix);
    await this.open();
    const slash = prefix.lastIndexOf("/");
    yield* this.#walk(slash < 0 ? "" : prefix.slice(0, slash + 1), prefix);
  }

  async close(): Promise<void> {}

  async #open(): Promise<void> {
    const made = await mkdir(this.#temp, { recursive: true });
    // An earlier process may have made them and ended before it synced them.
    await this.#syncNames(made === undefined ? dirname(this.#root) : dirname(made), this.#temp);
    for (const name of await readdir(this.#temp)) {
      if (isAbandoned(name)) await unlink(join(this.#temp, name)).catch(ignoreMissing);
    }
  }

  async #enter(key: string): Promise<string> {
    checkKey(this.name, key);
    await this.open();
    return join(this.#root, ...key.split("/"));
  }

  /** The body's own errors pass through as they are; those of the file are the store's. */
  async #write(key: string, temp: string, bytes: number, body: ObjectBody): Promise<void> {
    const file = await this.#attempt("create", key, () => open(temp, "wx", 0o644));
    try {
      for await (const chunk of exactBody(this.#at(key), bytes, body)) {
        await this.#attempt("create", key, () => writeAll(file, chunk));
      }
      await this.#attempt("create", key, () => file.sync());
    } finally {
      await file.close();
    }
  }

  async #ensureDirectory(directory: string): Promise<void> {
    if (this.#synced.has(directory)) return;
    await mkdir(directory, { recursive: true });
    // Whatever made these directories may have ended before it synced them: once in a process, all of them are.
    await this.#syncNames(this.#root, directory);
    if (this.#synced.size >= SYNCED_DIRECTORIES_MAX) this.#synced.clear();
    this.#synced.add(directory);
  }

  #syncEntries(directory: string): Promise<void> {
    return this.#syncNames(directory, directory);
  }

  /**
   * Syncs `from`, `to` and every directory between. One that failed to sync may sync "well" the next time with its change gone, so
   * there is no next time.
   */
  async #syncNames(from: string, to: string): Promise<void> {
    try {
      await syncChain(from, to, dirname(this.#root));
    } catch (error) {
      this.#broken = `${this.name}: ${to} could not be synced (${codeOf(error)}); check the disk, then restart`;
      throw new ObjectStoreError("denied", this.#broken, { cause: error });
    }
  }

  /** Keys in order: a directory sorts as its name with the slash, as it does in the keys below it. */
  async *#walk(parent: string, prefix: string): AsyncGenerator<string> {
    const entries = await readdir(join(this.#root, ...parent.split("/")), { withFileTypes: true }).catch(
      (error: unknown) => {
        if (isMissing(error)) return [];
        throw this.#fault("list", parent, error);
      },
    );
    const names = entries
      .filter((entry) => entry.name !== TEMP_DIRECTORY)
      .map((entry) => `${parent}${entry.name}${entry.isDirectory() ? "/" : ""}`)
      .sort();
    for (const name of names) {
      if (!name.startsWith(prefix) && !prefix.startsWith(name)) continue;
      if (name.endsWith("/")) yield* this.#walk(name, prefix);
      else if (name.startsWith(prefix)) yield name;
    }
  }

  #at(key: string): string {
    return key === "" ? this.name : `${this.name}${sep}${key}`;
  }

  async #attempt<T>(action: string, key: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw this.#fault(action, key, error);
    }
  }

  #fault(action: string, key: string, error: unknown): ObjectStoreError {
    if (error instanceof ObjectStoreError) return error;
    const code = codeOf(error);
    const at = `${action} ${this.#at(key)}`;
    const refused = (advice: string): ObjectStoreError =>
      new ObjectStoreError("denied", `${at}: ${code}; ${advice}`, { cause: error });
    // The store makes this directory at its start; without it, the whole store is away, not one object.
    if ((action === "read" || action === "size") && isMissing(error) && !existsSync(this.#temp)) {
      const detail = "the store's directory is gone: is its volume mounted?";
      return new ObjectStoreError("unavailable", `${at}: ${detail}`, { cause: error });
    }
    if (action === "read" && (isMissing(error) || code === "EISDIR")) {
      return new ObjectStoreError("missing", `${at}: no such object`, { cause: error });
    }
    switch (code) {
      case "EACCES":
      case "EROFS":
        return refused("the server's user must be able to write there");
      case "EPERM":
      case "ENOTSUP":
      case "EXDEV":
        return refused("the directory must be on one file system that has hard links");
      case "EEXIST":
      case "EISDIR":
      case "ENOTDIR":
        return refused("a file and a directory want the same name");
      case "ENAMETOOLONG":
        return refused("choose a shorter path");
      default:
        return new ObjectStoreError("unavailable", `${at}: ${code}`, { cause: error });
    }
  }
}

function codeOf(error: unknown): string {
  if (error instanceof Error) return "code" in error && typeof error.code === "string" ? error.code : error.message;
  return String(error);
}

function isMissing(error: unknown): boolean {
  const code = codeOf(error);
  return code === "ENOENT" || code === "ENOTDIR";
}

function ignoreMissing(error: unknown): void {
  if (!isMissing(error)) throw error;
}

async function linkNew(from: string, to: string): Promise<"created" | "exists"> {
  try {
    await link(from, to);
    return "created";
  } catch (error) {
    // A directory of that name is no object; link says EEXIST for it as well.
    if (codeOf(error) !== "EEXIST" || !(await stat(to)).isFile()) throw error;
    return "exists";
  }
}

async function writeAll(file: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < chunk.byteLength;) {
    const { bytesWritten } = await file.write(chunk, at, chunk.byteLength - at);
    at += bytesWritten;
  }
}

async function readExactly(file: FileHandle, from: number, bytes: number, what: string): Promise<Uint8Array> {
  const into = new Uint8Array(bytes);
  for (let at = 0; at < bytes;) {
    const { bytesRead } = await file.read(into, at, bytes - at, from + at);
    if (bytesRead === 0) throw new ObjectStoreError("short", `${what}: ended after ${at} of ${bytes} bytes`);
    at += bytesRead;
  }
  return into;
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Syncs `from`, `to` and every directory between; `to` lies below `from` or is it. `foreign` need not be ours to open. */
async function syncChain(from: string, to: string, foreign: string): Promise<void> {
  for (let at = to; ; at = dirname(at)) {
    try {
      await syncDirectory(at);
    } catch (error) {
      if (at !== foreign || !["EACCES", "EPERM"].includes(codeOf(error))) throw error;
    }
    if (at === from || at === dirname(at)) return;
  }
}

/** True when the process that was writing this temp file is gone. */
function isAbandoned(name: string): boolean {
  const [pid, instance] = name.split("_");
  if (instance === INSTANCE) return false;
  if (Number(pid) === process.pid || !/^[1-9]\d*$/.test(pid ?? "")) return true;
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return codeOf(error) === "ESRCH";
  }
}
