/** System calls on the simulated disk, each done at once. When they are made, and by whom, is the shims' affair. */
import { DirectoryNode, FileNode } from "./disk.ts";
import type { DiskNode } from "./disk.ts";
import { Frozen } from "./process.ts";
import type { World } from "./world.ts";

export interface OpenFile {
  readonly fd: number;
  readonly path: string;
  readonly node: DiskNode;
}

export interface Stats {
  readonly size: number;
  readonly mtimeMs: number;
  isFile(): boolean;
  isDirectory(): boolean;
}

export interface Entry {
  readonly name: string;
  isFile(): boolean;
  isDirectory(): boolean;
}

export class Errno extends Error {
  readonly code: string;
  constructor(code: string, call: string, path: string) {
    super(`${code}: ${call} '${path}'`);
    this.code = code;
  }
}

const FIRST_FD = 10;
const FREE_BLOCKS = 1_000_000;

export class Files {
  readonly #world: World;
  /** Of the harness, which is no process. */
  readonly #ownFiles = new Map<number, OpenFile>();
  #nextFd = FIRST_FD;

  constructor(world: World) {
    this.#world = world;
  }

  open(path: string, flags: string): number {
    let node = this.#world.disk.find(path);
    const isNew = flags.startsWith("w") && (node === undefined || flags.includes("x"));
    if (node !== undefined && flags.includes("x")) throw new Errno("EEXIST", "open", path);
    if (node === undefined && !flags.startsWith("w")) throw new Errno("ENOENT", "open", path);
    if (isNew) {
      const { directory, name } = this.#parent(path, "open");
      this.#space("open", path);
      node = new FileNode();
      node.modifiedMs = this.#world.nowMs;
      directory.change([[name, node]]);
    } else if (flags.startsWith("w")) {
      (node as FileNode).truncate(0);
    }
    const fd = this.#nextFd++;
    this.#open.set(fd, { fd, path, node: node! });
    return fd;
  }

  close(fd: number): void {
    if (!this.#open.delete(fd)) throw new Errno("EBADF", "close", String(fd));
  }

  write(fd: number, bytes: Uint8Array, at: number | null): number {
    const { node, path } = this.#file(fd, "write");
    const { owner, random } = this.#world;
    // What still fits is written, and only the next attempt is told.
    const isShort = owner?.isDiskFull === true && bytes.length > 1 && random.chance(0.3);
    if (!isShort) this.#space("write", path);
    else owner.excuses.push(`the disk was full in the middle of a write of ${path}`);
    const copy = Buffer.from(isShort ? bytes.subarray(0, random.int(1, bytes.length - 1)) : bytes);
    node.write(at ?? node.data.length, copy);
    node.modifiedMs = this.#world.nowMs;
    return copy.length;
  }

  /** Appends all of it, however short single writes fall. */
  writeAll(fd: number, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length;) at += this.write(fd, bytes.subarray(at), null);
  }

  read(fd: number, into: Uint8Array, from: number, length: number, at: number): number {
    const { data } = this.#file(fd, "read").node;
    return at >= data.length ? 0 : data.copy(into, from, at, Math.min(data.length, at + length));
  }

  truncate(fd: number, size: number): void {
    this.#file(fd, "truncate").node.truncate(size);
  }

  /** Up to which change a sync that is asked for now goes. */
  syncs(fd: number): number {
    const { node } = this.#handle(fd, "fsync");
    return node.settled + node.changes.length;
  }

  /** Makes all changes up to that one durable, or loses them. */
  sync(fd: number, until: number): void {
    const { node, path } = this.#handle(fd, "fsync");
    const count = Math.max(0, until - node.settled);
    const { owner, counts } = this.#world;
    if (owner !== null) owner.syncs += 1;
    if (owner?.failingSyncs.includes(owner.syncs) === true) {
      counts.failedSyncs += 1;
      owner.excuses.push(`the sync of ${path} failed`);
      node.drop(count);
      throw new Errno("EIO", "fsync", path);
    }
    node.sync(count);
    this.#world.witness?.synced(path);
  }

  statOf(fd: number): Stats {
    return stats(this.#handle(fd, "fstat").node);
  }

  stat(path: string): Stats {
    return stats(this.#existing(path, "stat"));
  }

  exists(path: string): boolean {
    return this.#world.disk.find(path) !== undefined;
  }

  readFile(path: string): Buffer {
    const special = this.#special(path);
    if (special !== null) return Buffer.from(special);
    const node = this.#existing(path, "open");
    if (node.kind === "directory") throw new Errno("EISDIR", "read", path);
    return Buffer.from(node.data);
  }

  writeFile(path: string, pieces: readonly Uint8Array[]): void {
    const fd = this.open(path, "w");
    try {
      for (const piece of pieces) this.writeAll(fd, piece);
    } finally {
      this.close(fd);
    }
  }

  /** Room on the disk, as statfs(2) tells it. */
  space(path: string): { bsize: number; bavail: number; blocks: number } {
    this.#existing(path, "statfs");
    const { owner } = this.#world;
    const isFull = owner?.isDiskFull === true;
    if (isFull) owner.excuses.push("the disk was full");
    return { bsize: 4096, bavail: isFull ? 0 : FREE_BLOCKS, blocks: 2 * FREE_BLOCKS };
  }

  readLink(path: string): string {
    const { owner } = this.#world;
    if (path === "/proc/self/ns/pid" && owner !== null) return owner.namespace;
    throw new Errno("ENOENT", "readlink", path);
  }

  list(path: string): Entry[] {
    const node = this.#existing(path, "scandir");
    if (node.kind === "file") throw new Errno("ENOTDIR", "scandir", path);
    return [...node.entries].map(([name, each]) => ({
      name,
      isFile: () => each.kind === "file",
      isDirectory: () => each.kind === "directory",
    }));
  }

  /** The first directory made, if any. */
  makeDirectory(path: string, recursive: boolean): string | undefined {
    const found = this.#world.disk.find(path);
    if (found !== undefined) {
      if (recursive && found.kind === "directory") return undefined;
      throw new Errno("EEXIST", "mkdir", path);
    }
    const above = path.slice(0, path.lastIndexOf("/"));
    const made = recursive && above !== "" ? this.makeDirectory(above, true) : undefined;
    const { directory, name } = this.#parent(path, "mkdir");
    this.#space("mkdir", path);
    directory.change([[name, new DirectoryNode()]]);
    return made ?? path;
  }

  unlink(path: string): void {
    const { directory, name } = this.#parent(path, "unlink");
    const node = directory.entries.get(name);
    if (node === undefined) throw new Errno("ENOENT", "unlink", path);
    if (node.kind === "directory") throw new Errno("EISDIR", "unlink", path);
    this.#world.witness?.unlinking(path);
    directory.change([[name, null]]);
  }

  link(from: string, to: string): void {
    const node = this.#existing(from, "link");
    const { directory, name } = this.#parent(to, "link");
    if (directory.entries.has(name)) throw new Errno("EEXIST", "link", to);
    this.#space("link", to);
    directory.change([[name, node]]);
  }

  rename(from: string, to: string): void {
    const node = this.#existing(from, "rename");
    const source = this.#parent(from, "rename");
    const target = this.#parent(to, "rename");
    if (source.directory === target.directory) {
      source.directory.change([
        [source.name, null],
        [target.name, node],
      ]);
      return;
    }
    target.directory.change([[target.name, node]]);
    source.directory.change([[source.name, null]]);
  }

  touch(path: string): void {
    this.#existing(path, "utime").modifiedMs = this.#world.nowMs;
  }

  get #open(): Map<number, OpenFile> {
    return this.#world.owner?.files ?? this.#ownFiles;
  }

  #handle(fd: number, call: string): OpenFile {
    const open = this.#open.get(fd);
    if (open !== undefined) return open;
    if (this.#world.owner?.dead === true) throw new Frozen();
    throw new Errno("EBADF", call, String(fd));
  }

  #file(fd: number, call: string): { node: FileNode; path: string } {
    const { node, path } = this.#handle(fd, call);
    if (node.kind === "directory") throw new Errno("EISDIR", call, path);
    return { node, path };
  }

  #existing(path: string, call: string): DiskNode {
    const node = this.#world.disk.find(path);
    if (node === undefined) throw new Errno("ENOENT", call, path);
    return node;
  }

  #parent(path: string, call: string): { directory: DirectoryNode; name: string } {
    const slash = path.lastIndexOf("/");
    const directory = this.#world.disk.find(path.slice(0, slash));
    if (directory === undefined) throw new Errno("ENOENT", call, path);
    if (directory.kind === "file") throw new Errno("ENOTDIR", call, path);
    return { directory, name: path.slice(slash + 1) };
  }

  #space(call: string, path: string): void {
    const { owner, counts } = this.#world;
    if (owner?.isDiskFull !== true) return;
    counts.diskFull += 1;
    owner.excuses.push(`the disk was full at ${call} ${path}`);
    throw new Errno("ENOSPC", call, path);
  }

  /** What a process reads of itself and others in /proc. */
  #special(path: string): string | null {
    if (!path.startsWith("/proc/")) return null;
    const { owner } = this.#world;
    if (path === "/proc/sys/kernel/random/boot_id") return `boot-${this.#world.boots}\n`;
    const pid = /^\/proc\/(\d+)\/stat$/.exec(path)?.[1];
    const process = pid === undefined ? undefined : this.#world.processOf(Number(pid), owner?.namespace ?? "");
    if (process === undefined) throw new Errno("ENOENT", "open", path);
    return `${process.pid} (node) S ${"0 ".repeat(18)}${process.startedAt} 0\n`;
  }
}

function stats(node: DiskNode): Stats {
  return {
    size: node.kind === "file" ? node.data.length : 4096,
    mtimeMs: node.modifiedMs,
    isFile: () => node.kind === "file",
    isDirectory: () => node.kind === "directory",
  };
}
