/** The catalog in memory, for as long as the value lives. Its commits are immediate, and it never shares bytes with a caller. */
import type { CatalogEnvironment, KeyRange, StoreKey, ValueStore } from "./environment.ts";
import { compareKeys, SortedValues } from "./sorted-values.ts";

type Change = () => void;

export function openMemory(): CatalogEnvironment {
  return new MemoryEnvironment();
}

class MemoryEnvironment implements CatalogEnvironment {
  readonly file: string = "memory:";
  readonly waitsForRoom = false;
  readonly #stores = new Map<string, MemoryStore<never>>();
  /** What the batch under way has changed so far; null outside of one. */
  #changes: Change[] | null = null;

  store<K extends StoreKey>(name: string): ValueStore<K> {
    let store = this.#stores.get(name);
    if (store === undefined) {
      store = new MemoryStore((change) => this.#enlist(change));
      this.#stores.set(name, store);
    }
    return store as unknown as MemoryStore<K>;
  }

  batch(change: () => void): Promise<void> {
    if (this.#changes !== null) throw new Error("a batch of the catalog was begun inside another one");
    const changes: Change[] = [];
    this.#changes = changes;
    try {
      change();
    } catch (error) {
      return Promise.reject(error as Error);
    } finally {
      this.#changes = null;
    }
    for (const apply of changes) apply();
    return Promise.resolve();
  }

  flushed(): Promise<void> {
    return Promise.resolve();
  }

  stopWaiting(): void {}

  recordSize(): void {}

  close(): Promise<void> {
    this.#stores.clear();
    return Promise.resolve();
  }

  #enlist(change: Change): void {
    if (this.#changes === null) change();
    else this.#changes.push(change);
  }
}

class MemoryStore<K extends StoreKey> implements ValueStore<K> {
  readonly #values = new SortedValues<K>();
  readonly #enlist: (change: Change) => void;

  constructor(enlist: (change: Change) => void) {
    this.#enlist = enlist;
  }

  get(key: K): Uint8Array | undefined {
    return this.#values.get(key)?.slice();
  }

  put(key: K, value: Uint8Array): void {
    const [ownKey, ownValue] = [copyKey(key), new Uint8Array(value)];
    this.#enlist(() => this.#values.set(ownKey, ownValue));
  }

  remove(key: K): void {
    const ownKey = copyKey(key);
    this.#enlist(() => this.#values.delete(ownKey));
  }

  *getKeys(range: KeyRange<K> = {}): Generator<K> {
    const { start, end, reverse = false, limit = Infinity } = range;
    let left = limit;
    for (const key of reverse ? this.#values.downwards(start) : this.#values.upwards(start)) {
      if (left <= 0 || (end !== undefined && isPast(key, end, reverse))) return;
      left -= 1;
      yield copyKey(key);
    }
  }
}

/** Whether a walk that must not reach `end` is over at `key`. */
function isPast(key: StoreKey, end: StoreKey, reverse: boolean): boolean {
  const order = compareKeys(key, end);
  return reverse ? order <= 0 : order >= 0;
}

function copyKey<K extends StoreKey>(key: K): K {
  return (typeof key === "object" ? [...key] : key) as K;
}
