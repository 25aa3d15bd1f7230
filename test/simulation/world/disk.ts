/**
 * What a disk holds, and what only the page cache does. A file has a durable image and changes that were not synced; a directory
 * has durable entries and changes of them. A power loss keeps, loses or tears each change by itself, in no order.
 */
import type { Counts } from "./counts.ts";
import type { Random } from "./random.ts";

/** A write, or a new size when `bytes` is null. */
interface Change {
  readonly at: number;
  readonly bytes: Buffer | null;
}

/** How much of what was not synced a power loss spares. */
export interface Mood {
  readonly keep: number;
  readonly tear: number;
}

/** State that a library keeps in a file beyond bytes, with a durability of its own. */
export interface Attachment {
  sync(): void;
  /** The power is gone; `random` says how much of what was not synced is left. */
  crash(random: Random): void;
}

export class FileNode {
  readonly kind = "file" as const;
  /** As every process sees it. */
  data: Buffer = Buffer.alloc(0);
  durable: Buffer = Buffer.alloc(0);
  changes: Change[] = [];
  modifiedMs = 0;
  attachment: Attachment | null = null;
  /** Changes that are no longer un-synced. */
  settled = 0;

  write(at: number, bytes: Buffer): void {
    this.data = written(this.data, at, bytes);
    this.changes.push({ at, bytes });
  }

  truncate(size: number): void {
    this.data = resized(this.data, size);
    this.changes.push({ at: size, bytes: null });
  }

  /** The first `count` changes are on disk. */
  sync(count: number): void {
    this.settled += count;
    for (const change of this.changes.splice(0, count)) this.durable = applied(this.durable, change);
    this.attachment?.sync();
  }

  /** The sync of the first `count` changes failed: their pages count as clean, and no later sync writes them. */
  drop(count: number): void {
    this.settled += count;
    this.changes.splice(0, count);
  }

  crash(random: Random, mood: Mood, counts: Counts): void {
    for (const change of this.changes) {
      if (!random.chance(mood.keep)) counts.lostWrites += 1;
      else if (change.bytes !== null && change.bytes.length > 1 && random.chance(mood.tear)) {
        counts.tornWrites += 1;
        for (const piece of torn(change.at, change.bytes, random)) this.durable = applied(this.durable, piece);
      } else this.durable = applied(this.durable, change);
    }
    this.changes = [];
    this.data = own(this.durable);
    this.attachment?.crash(random);
  }
}

/** Entries that change together: a rename within one directory is one. */
type EntryChange = readonly (readonly [name: string, node: DiskNode | null])[];

export class DirectoryNode {
  readonly kind = "directory" as const;
  readonly entries = new Map<string, DiskNode>();
  readonly durable = new Map<string, DiskNode>();
  changes: EntryChange[] = [];
  modifiedMs = 0;
  settled = 0;
  #isDoomed = false;

  change(change: EntryChange): void {
    apply(this.entries, change);
    this.changes.push(change);
  }

  sync(count: number): void {
    this.settled += count;
    for (const change of this.changes.splice(0, count)) apply(this.durable, change);
  }

  /**
   * The sync of the first `count` changes failed. No later one makes them durable, and a file system that has failed so is mounted
   * again before the next process uses it: then they are gone from sight as well.
   */
  drop(count: number): void {
    this.settled += count;
    this.changes.splice(0, count);
    this.#isDoomed = true;
  }

  remount(): void {
    if (this.#isDoomed) {
      this.#isDoomed = false;
      this.entries.clear();
      for (const [name, node] of this.durable) this.entries.set(name, node);
      for (const change of this.changes) apply(this.entries, change);
    }
    for (const node of this.entries.values()) if (node.kind === "directory") node.remount();
  }

  crash(random: Random, mood: Mood, counts: Counts): void {
    for (const change of this.changes) {
      if (random.chance(mood.keep)) apply(this.durable, change);
      else counts.lostEntries += 1;
    }
    this.changes = [];
    this.entries.clear();
    for (const [name, node] of this.durable) {
      this.entries.set(name, node);
      node.crash(random, mood, counts);
    }
  }
}

export type DiskNode = FileNode | DirectoryNode;

const MOODS: readonly Mood[] = [
  { keep: 0, tear: 0 },
  { keep: 1, tear: 0 },
  { keep: 0.5, tear: 0.3 },
  { keep: 0.8, tear: 0.6 },
  { keep: 1, tear: 1 },
];

export class Disk {
  readonly root = new DirectoryNode();

  powerLoss(random: Random, counts: Counts): void {
    this.root.crash(random, random.pick(MOODS), counts);
  }

  /** The node of an absolute path, or undefined. */
  find(path: string): DiskNode | undefined {
    let node: DiskNode | undefined = this.root;
    for (const name of path.split("/")) {
      if (name === "") continue;
      if (node?.kind !== "directory") return undefined;
      node = node.entries.get(name);
    }
    return node;
  }
}

function apply(entries: Map<string, DiskNode>, change: EntryChange): void {
  for (const [name, node] of change) {
    if (node === null) entries.delete(name);
    else entries.set(name, node);
  }
}

function applied(image: Buffer, change: Change): Buffer {
  return change.bytes === null ? resized(image, change.at) : written(image, change.at, change.bytes);
}

function written(image: Buffer, at: number, bytes: Buffer): Buffer {
  const end = at + bytes.length;
  const grown = end > image.length ? resized(image, end) : image;
  bytes.copy(grown, at);
  return grown;
}

/** A copy in memory of its own: one from Node's pool could not grow in place. */
function own(image: Buffer): Buffer {
  const copy = resized(Buffer.alloc(0), image.length);
  image.copy(copy);
  return copy;
}

/** Grows in doubling steps, with zeroes behind the end. */
function resized(image: Buffer, size: number): Buffer {
  if (size <= image.length) return image.subarray(0, size);
  const start = image.byteOffset;
  if (image.buffer.byteLength - start >= size && image.buffer.byteLength > 0) {
    const grown = Buffer.from(image.buffer, start, size);
    grown.fill(0, image.length);
    return grown;
  }
  const grown = Buffer.from(new ArrayBuffer(Math.max(256, size * 2)), 0, size);
  image.copy(grown);
  return grown;
}

/** What is left of a write that was under way: a piece from its start, to its end, or sectors here and there. */
function torn(at: number, bytes: Buffer, random: Random): Change[] {
  const cut = random.int(1, bytes.length - 1);
  const shape = random.int(0, 3);
  if (shape <= 1) return [{ at, bytes: bytes.subarray(0, cut) }];
  if (shape === 2) return [{ at: at + cut, bytes: bytes.subarray(cut) }];
  const pieces: Change[] = [];
  const sector = random.pick([16, 64, 512]);
  for (let from = 0; from < bytes.length; from += sector) {
    if (random.chance(0.5)) pieces.push({ at: at + from, bytes: bytes.subarray(from, from + sector) });
  }
  return pieces;
}
