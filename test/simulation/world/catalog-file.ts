/**
 * What LMDB keeps in its file: tables of values, changed by atomic commits that trail on their way to the disk. After a power
 * loss it is what any one of the commits since the last flush left, and never something between two.
 */
import type { Attachment } from "./disk.ts";
import type { Counts } from "./counts.ts";
import { compareKeys, lowerBound } from "./key-order.ts";
import type { Key } from "./key-order.ts";
import type { Random } from "./random.ts";

export interface Put {
  readonly table: string;
  readonly key: Key;
  /** Null removes. */
  readonly value: Uint8Array | null;
}

export interface Range {
  readonly start?: Key;
  readonly end?: Key;
  readonly reverse?: boolean;
  readonly limit?: number;
}

class Table {
  readonly keys: Key[] = [];
  readonly values: Uint8Array[] = [];

  get(key: Key): Uint8Array | undefined {
    const at = this.#find(key);
    return at < 0 ? undefined : Uint8Array.from(this.values[at]!);
  }

  set(key: Key, value: Uint8Array | null): void {
    const at = lowerBound(this.keys, key);
    const isThere = at < this.keys.length && compareKeys(this.keys[at]!, key) === 0;
    if (value === null) {
      if (isThere) {
        this.keys.splice(at, 1);
        this.values.splice(at, 1);
      }
    } else if (isThere) this.values[at] = value;
    else {
      this.keys.splice(at, 0, key);
      this.values.splice(at, 0, value);
    }
  }

  range({ start, end, reverse = false, limit = Infinity }: Range): Key[] {
    const keys = reverse ? this.keys.toReversed() : this.keys;
    const sign = reverse ? -1 : 1;
    return keys
      .filter((key) => start === undefined || sign * compareKeys(key, start) >= 0)
      .filter((key) => end === undefined || sign * compareKeys(key, end) < 0)
      .slice(0, limit);
  }

  #find(key: Key): number {
    const at = lowerBound(this.keys, key);
    return at < this.keys.length && compareKeys(this.keys[at]!, key) === 0 ? at : -1;
  }
}

/** A state of all tables. */
export class Tables {
  readonly #tables = new Map<string, Table>();

  table(name: string): Table {
    let table = this.#tables.get(name);
    if (table === undefined) {
      table = new Table();
      this.#tables.set(name, table);
    }
    return table;
  }

  apply(commit: readonly Put[]): void {
    for (const { table, key, value } of commit) this.table(table).set(key, value);
  }

  copy(): Tables {
    const copy = new Tables();
    for (const [name, table] of this.#tables) {
      copy.table(name).keys.push(...table.keys);
      copy.table(name).values.push(...table.values);
    }
    return copy;
  }
}

export class CatalogFile implements Attachment {
  /** As look-ups see it. */
  committed = new Tables();
  /** As it is after the worst power loss. */
  durable = new Tables();
  readonly #counts: Counts;
  #trailing: (readonly Put[])[] = [];
  #commits = 0;

  constructor(counts: Counts) {
    this.#counts = counts;
  }

  /** Number of the newest commit. */
  get commits(): number {
    return this.#commits;
  }

  commit(changes: readonly Put[]): void {
    this.committed.apply(changes);
    this.#trailing.push(changes);
    this.#commits += 1;
  }

  /** Commits up to that one are on disk. */
  flush(until: number): void {
    const flushed = this.#commits - this.#trailing.length;
    for (const changes of this.#trailing.splice(0, Math.max(0, until - flushed))) this.durable.apply(changes);
  }

  /** A sync of the file says nothing: which pages belong to which commit is LMDB's affair. */
  sync(): void {}

  crash(random: Random): void {
    const kept = random.pick([0, this.#trailing.length, random.int(0, this.#trailing.length)]);
    this.#counts.commitsLost += this.#trailing.length - kept;
    for (const changes of this.#trailing.slice(0, kept)) this.durable.apply(changes);
    this.#commits -= this.#trailing.length - kept;
    this.#trailing = [];
    this.committed = this.durable.copy();
  }
}
