/** `node:fs/promises` of the simulated world: the calls that the server makes, on the simulated disk. */
import { theWorld } from "../world/current.ts";
import type { Entry, Stats } from "../world/files.ts";
import { diskMs, syncMs } from "./latency.ts";

interface Mode {
  readonly recursive?: boolean;
  readonly force?: boolean;
  readonly withFileTypes?: boolean;
}

function later<T>(name: string, effect: () => T): Promise<T> {
  return theWorld().later(name, diskMs(), effect);
}

export class FileHandle {
  readonly #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  async write(
    data: Uint8Array,
    from = 0,
    length?: number,
    at: number | null = null,
  ): Promise<{ bytesWritten: number }> {
    const part = data.subarray(from, from + (length ?? data.length - from));
    return { bytesWritten: await later("write", () => theWorld().files.write(this.#fd, part, at)) };
  }

  async read(into: Uint8Array, from: number, length: number, at: number): Promise<{ bytesRead: number }> {
    return { bytesRead: await later("read", () => theWorld().files.read(this.#fd, into, from, length, at)) };
  }

  truncate(size: number): Promise<void> {
    return later("truncate", () => theWorld().files.truncate(this.#fd, size));
  }

  stat(): Promise<Stats> {
    return later("stat", () => theWorld().files.statOf(this.#fd));
  }

  sync(): Promise<void> {
    const { files } = theWorld();
    const covered = files.syncs(this.#fd);
    return theWorld().later("fsync", syncMs(), () => files.sync(this.#fd, covered));
  }

  close(): Promise<void> {
    return later("close", () => theWorld().files.close(this.#fd));
  }
}

export async function open(path: string, flags = "r"): Promise<FileHandle> {
  return new FileHandle(await later("open", () => theWorld().files.open(path, flags)));
}

export function readdir(path: string, mode: Mode = {}): Promise<(string | Entry)[]> {
  return later("readdir", () => {
    const entries = theWorld().files.list(path);
    return mode.withFileTypes === true ? entries : entries.map(({ name }) => name);
  });
}

export function stat(path: string): Promise<Stats> {
  return later("stat", () => theWorld().files.stat(path));
}

export function readFile(path: string): Promise<Buffer> {
  return later("readFile", () => theWorld().files.readFile(path));
}

export function writeFile(path: string, data: Uint8Array | readonly Uint8Array[]): Promise<void> {
  return later("writeFile", () => theWorld().files.writeFile(path, data instanceof Uint8Array ? [data] : data));
}

export function mkdir(path: string, mode: Mode = {}): Promise<string | undefined> {
  return later("mkdir", () => theWorld().files.makeDirectory(path, mode.recursive === true));
}

export function unlink(path: string): Promise<void> {
  return later("unlink", () => theWorld().files.unlink(path));
}

export function link(from: string, to: string): Promise<void> {
  return later("link", () => theWorld().files.link(from, to));
}

export function rename(from: string, to: string): Promise<void> {
  return later("rename", () => theWorld().files.rename(from, to));
}

export function rm(path: string, mode: Mode = {}): Promise<void> {
  return later("rm", () => {
    const { files } = theWorld();
    if (mode.force !== true || files.exists(path)) files.unlink(path);
  });
}

// oxlint-disable-next-line import/no-default-export -- it stands in for a module that has one
export default { open, readdir, stat, readFile, writeFile, mkdir, unlink, link, rename, rm };
