/** Values in order of key, in memory: blocks of bounded length, so that a look-up is a binary search and an insertion moves little. */
import type { StoreKey } from "./environment.ts";

/** A fuller block is cut in two. */
const BLOCK_ENTRIES_MAX = 512;

interface Block<K> {
  readonly keys: K[];
  readonly values: Uint8Array[];
}

/** Where a key is, or would be: `index` may be just past the last entry of the last block. */
interface Place {
  readonly block: number;
  readonly index: number;
  readonly found: boolean;
}

export class SortedValues<K extends StoreKey> {
  /** Never an empty block. */
  readonly #blocks: Block<K>[] = [];
  #version = 0;

  get(key: K): Uint8Array | undefined {
    const { block, index, found } = this.#place(key);
    return found ? this.#blocks[block]!.values[index] : undefined;
  }

  set(key: K, value: Uint8Array): void {
    const { block, index, found } = this.#place(key);
    const into = this.#blocks[block];
    if (into === undefined) {
      this.#append(key, value);
      return;
    }
    if (found) {
      into.values[index] = value;
      return;
    }
    this.#version += 1;
    into.keys.splice(index, 0, key);
    into.values.splice(index, 0, value);
    if (into.keys.length > BLOCK_ENTRIES_MAX) this.#cut(block);
  }

  delete(key: K): void {
    const { block, index, found } = this.#place(key);
    if (!found) return;
    this.#version += 1;
    const { keys, values } = this.#blocks[block]!;
    keys.splice(index, 1);
    values.splice(index, 1);
    if (keys.length === 0) this.#blocks.splice(block, 1);
  }

  /** Keys at and above `start`. Keys may come and go meanwhile. */
  *upwards(start: K | undefined): Generator<K> {
    let { block, index } = start === undefined ? { block: 0, index: 0 } : this.#place(start);
    for (;;) {
      const keys = this.#blocks[block]?.keys;
      if (keys === undefined) return;
      if (index >= keys.length) {
        block += 1;
        index = 0;
        continue;
      }
      const key = keys[index]!;
      const version = this.#version;
      yield key;
      if (version === this.#version) index += 1;
      else {
        const now = this.#place(key);
        block = now.block;
        index = now.index + (now.found ? 1 : 0);
      }
    }
  }

  /** Keys at and below `start`, the largest first. Keys may come and go meanwhile. */
  *downwards(start: K | undefined): Generator<K> {
    let { block, index } = this.#atOrBelow(start);
    for (;;) {
      if (index < 0) {
        block -= 1;
        if (block < 0) return;
        index = this.#blocks[block]!.keys.length - 1;
        continue;
      }
      const key = this.#blocks[block]!.keys[index]!;
      const version = this.#version;
      yield key;
      if (version === this.#version) index -= 1;
      else {
        const now = this.#place(key);
        block = now.block;
        index = now.index - 1;
      }
    }
  }

  /** The largest key at or below `start`; `index` is -1 when its block has none, and the block before may have one. */
  #atOrBelow(start: K | undefined): { block: number; index: number } {
    if (start === undefined) return { block: this.#blocks.length, index: -1 };
    const { block, index, found } = this.#place(start);
    return { block, index: found ? index : index - 1 };
  }

  /** Behind everything else: keys that only grow fill their blocks. */
  #append(key: K, value: Uint8Array): void {
    this.#version += 1;
    const last = this.#blocks.at(-1);
    if (last === undefined || last.keys.length >= BLOCK_ENTRIES_MAX)
      this.#blocks.push({ keys: [key], values: [value] });
    else {
      last.keys.push(key);
      last.values.push(value);
    }
  }

  #cut(at: number): void {
    const { keys, values } = this.#blocks[at]!;
    const middle = keys.length >>> 1;
    this.#blocks.splice(at + 1, 0, { keys: keys.splice(middle), values: values.splice(middle) });
  }

  /** The first block whose last key is not below `key`, and the first such key in it. */
  #place(key: K): Place {
    const block = firstIndex(this.#blocks.length, (i) => compareKeys(this.#blocks[i]!.keys.at(-1)!, key) >= 0);
    const keys = this.#blocks[block]?.keys;
    if (keys === undefined) return { block, index: 0, found: false };
    const index = firstIndex(keys.length, (i) => compareKeys(keys[i]!, key) >= 0);
    return { block, index, found: compareKeys(keys[index]!, key) === 0 };
  }
}

/** Index of the first of `count` for which `holds`, which holds for all after it too; `count` when for none. */
function firstIndex(count: number, holds: (index: number) => boolean): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Order of two keys of one store. */
export function compareKeys(a: StoreKey, b: StoreKey): number {
  if (typeof a === "object" && typeof b === "object") return comparePart(a[0], b[0]) || comparePart(a[1], b[1]);
  return comparePart(a as number | string, b as number | string);
}

function comparePart(a: number | string, b: number | string): number {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === "string" && typeof b === "string") return compareStrings(a, b);
  throw new TypeError(`keys of one store differ in shape: ${typeof a} and ${typeof b}`);
}

/** By code point, as their UTF-8 bytes are ordered: JavaScript's own order puts surrogate pairs below U+E000. */
function compareStrings(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const [x, y] = [a.charCodeAt(i), b.charCodeAt(i)];
    if (x !== y) return rank(x) - rank(y);
  }
  return a.length - b.length;
}

function rank(unit: number): number {
  if (unit < 0xd800) return unit;
  return unit < 0xe000 ? unit + 0x2000 : unit - 0x800;
}
