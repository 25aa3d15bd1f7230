/** The part of `lmdb` that the catalog uses, over a file of the simulated disk. */
import { CatalogFile } from "../world/catalog-file.ts";
import type { Put, Range } from "../world/catalog-file.ts";
import { theWorld } from "../world/current.ts";
import { FileNode } from "../world/disk.ts";
import type { Key } from "../world/key-order.ts";
import type { World } from "../world/world.ts";

const PAGE_BYTES = 4096;
/** LMDB gives the system's numbers. */
const ENOSPC = 28;
const MAGIC = 0xbeefc0de;

export interface Database {
  get(key: Key): Uint8Array | undefined;
  put(key: Key, value: Uint8Array): Promise<boolean>;
  remove(key: Key): Promise<boolean>;
  getKeys(range?: Range): Iterable<Key>;
}

class Root {
  readonly #world: World;
  readonly #file: CatalogFile;
  readonly #path: string;
  #batch: Put[] | null = null;
  /** Commits happen one after another, and so do flushes. */
  #lastCommit: Promise<unknown> = Promise.resolve();
  #flushed: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(world: World, path: string, file: CatalogFile) {
    this.#world = world;
    this.#path = path;
    this.#file = file;
  }

  openDB({ name }: { name: string }): Database {
    const enlist = (key: Key, value: Uint8Array | null): Promise<boolean> => {
      if (this.#batch === null) throw new Error("a put outside of a batch is not simulated");
      this.#batch.push({ table: name, key: copied(key), value });
      return Promise.resolve(true);
    };
    return {
      get: (key) => this.#file.committed.table(name).get(key),
      put: (key, value) => enlist(key, Uint8Array.from(value)),
      remove: (key) => enlist(key, null),
      getKeys: (range = {}) => this.#file.committed.table(name).range(range).map(copied),
    };
  }

  batch(change: () => void): Promise<boolean> {
    if (this.#closed) return Promise.reject(new Error("the database is closed"));
    const changes: Put[] = [];
    this.#batch = changes;
    try {
      change();
    } finally {
      this.#batch = null;
    }
    const before = this.#lastCommit;
    const committed = before.then(() => this.#commit(changes));
    this.#lastCommit = committed.catch(() => undefined);
    return committed;
  }

  get flushed(): Promise<void> {
    return this.#flushed;
  }

  async close(): Promise<void> {
    await this.#lastCommit;
    await this.#flushed;
    this.#closed = true;
  }

  async #commit(changes: readonly Put[]): Promise<boolean> {
    const { latency } = this.#world;
    await this.#world.later("lmdb.commit", latency.between(0.02, latency.chance(0.05) ? 100 : 1), () => {
      const { owner, counts } = this.#world;
      if (owner?.isDiskFull === true) {
        counts.diskFull += 1;
        owner.excuses.push("the disk was full at a commit of the catalog");
        throw Object.assign(new Error(`no space left for a commit of ${this.#path}`), { code: ENOSPC });
      }
      this.#file.commit(changes);
    });
    this.#flushed = this.#flushed.then(() => this.#flush());
    return true;
  }

  #flush(): Promise<void> {
    const { latency } = this.#world;
    const until = this.#file.commits;
    return this.#world.later("lmdb.flush", latency.between(0.1, latency.chance(0.1) ? 2_000 : 5), () => {
      const node = this.#world.disk.find(this.#path);
      if (node?.kind === "file") node.sync(node.changes.length);
      this.#file.flush(until);
    });
  }
}

export function open({ path }: { path: string }): Root {
  const world = theWorld();
  const file = `${path}/data.mdb`;
  return world.now("lmdb.open", () => {
    if (!world.files.exists(file)) world.files.writeFile(file, [metaPages()]);
    const node = world.disk.find(file);
    if (!(node instanceof FileNode)) throw new Error(`${file} is no file`);
    if (node.attachment === null) node.attachment = new CatalogFile(world.counts);
    return new Root(world, file, node.attachment as CatalogFile);
  });
}

/** What a start looks for in the file before it trusts LMDB with it. */
function metaPages(): Buffer {
  const pages = Buffer.alloc(2 * PAGE_BYTES);
  for (const at of [0, PAGE_BYTES]) pages.writeUInt32LE(MAGIC, at + 24);
  pages.writeUInt32LE(PAGE_BYTES, 48);
  return pages;
}

function copied(key: Key): Key {
  return typeof key === "object" ? [...key] : key;
}
