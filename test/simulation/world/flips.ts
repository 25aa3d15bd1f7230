/**
 * Bits that turn over in stored bytes. Whoever reads them must refuse and name the file; then the bit is turned back, as an
 * operator who restores a copy would do.
 */
import type { FileNode } from "./disk.ts";
import { bucketOf } from "./object-store.ts";
import type { World } from "./world.ts";

interface Flip {
  /** What a refusal must name. */
  readonly file: string;
  turn(): void;
}

const MASK = 0x10;

export class Flips {
  readonly #world: World;
  #active: Flip | null = null;

  constructor(world: World) {
    this.#world = world;
  }

  /** What is damaged at the moment. */
  get file(): string | null {
    return this.#active?.file ?? null;
  }

  /** Flips a bit of a sealed WAL segment in `directory`, or of an object; of nothing when there is none. `part` of all says which. */
  flip(where: "wal" | "object", directory: string, part: number): void {
    if (this.#active !== null) return;
    this.#active = where === "wal" ? this.#inSegment(directory, part) : this.#inObject(part);
    if (this.#active === null) return;
    this.#active.turn();
    this.#world.counts.bitFlips += 1;
  }

  /** Somebody refused, saying `message`. */
  found(message: string): void {
    if (this.#active === null) return;
    if (!message.includes(this.#active.file))
      this.#world.violations.push(
        `a bit of ${this.#active.file} was flipped, and the refusal does not say so: ${message}`,
      );
    this.#world.counts.bitFlipsFound += 1;
    this.heal();
  }

  heal(): void {
    this.#active?.turn();
    this.#active = null;
  }

  /** The last segment may end in a batch that was never acknowledged: damage in it cannot be told from a torn write. */
  #inSegment(directory: string, part: number): Flip | null {
    const found = this.#world.disk.find(directory);
    if (found?.kind !== "directory") return null;
    const names = [...found.entries.keys()].filter((name) => name.endsWith(".wal")).sort();
    const name = names[Math.floor(part * (names.length - 1))];
    const node = name === undefined || names.length < 2 ? undefined : found.entries.get(name);
    if (node?.kind !== "file" || node.changes.length > 0 || node.data.length === 0) return null;
    const at = Math.floor(((part * 997) % 1) * node.data.length);
    return { file: name!, turn: () => turnOver(node, at) };
  }

  #inObject(part: number): Flip | null {
    const { objects } = bucketOf(this.#world);
    const keys = [...objects.keys()].filter((key) => key.startsWith("objects/"));
    const key = keys[Math.floor(part * keys.length)];
    const bytes = key === undefined ? undefined : objects.get(key);
    if (bytes === undefined || bytes.length === 0) return null;
    const at = Math.floor(((part * 997) % 1) * bytes.length);
    return { file: key!, turn: () => void (bytes[at]! ^= MASK) };
  }
}

function turnOver(node: FileNode, at: number): void {
  for (const image of [node.data, node.durable]) if (at < image.length) image[at]! ^= MASK;
}
