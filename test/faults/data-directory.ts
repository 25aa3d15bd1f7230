/** A stopped server's files, looked at and damaged from outside. Paths are relative to the data directory. */
import { createHash } from "node:crypto";
import { cp, mkdtemp, open, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";

export class DataDirectory implements AsyncDisposable {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  static async empty(): Promise<DataDirectory> {
    return new DataDirectory(await mkdtemp(join(tmpdir(), "coldbrook-faults-")));
  }

  /** A copy to damage, of a directory that no process uses. */
  async copy(): Promise<DataDirectory> {
    const other = await DataDirectory.empty();
    await cp(this.path, other.path, { recursive: true });
    return other;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
  }

  /** All files whose name ends in `suffix`, sorted. */
  async files(suffix = ""): Promise<string[]> {
    const entries = await readdir(this.path, { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => entry.isFile() && entry.name.endsWith(suffix))
      .map((entry) => relative(this.path, join(entry.parentPath, entry.name)))
      .sort();
  }

  async bytes(file: string): Promise<Buffer> {
    return readFile(join(this.path, file));
  }

  /** Every file with a digest of its bytes: to show that nothing was removed or changed. */
  async digests(suffix: string): Promise<Record<string, string>> {
    const digests: Record<string, string> = {};
    for (const file of await this.files(suffix)) {
      digests[file] = createHash("sha256")
        .update(await this.bytes(file))
        .digest("hex");
    }
    return digests;
  }

  async flipBit(file: string, at: number, bit = 3): Promise<void> {
    const handle = await open(join(this.path, file), "r+");
    try {
      const byte = Buffer.alloc(1);
      const { bytesRead } = await handle.read(byte, 0, 1, at);
      if (bytesRead !== 1) throw new Error(`${file} has no byte ${at}`);
      byte[0] = (byte[0] ?? 0) ^ (1 << bit);
      await handle.write(byte, 0, 1, at);
    } finally {
      await handle.close();
    }
  }

  async writeAt(file: string, at: number, bytes: Uint8Array): Promise<void> {
    const handle = await open(join(this.path, file), "r+");
    try {
      await handle.write(bytes, 0, bytes.length, at);
    } finally {
      await handle.close();
    }
  }

  async truncate(file: string, bytes: number): Promise<void> {
    const handle = await open(join(this.path, file), "r+");
    try {
      await handle.truncate(bytes);
    } finally {
      await handle.close();
    }
  }

  async remove(file: string): Promise<void> {
    await rm(join(this.path, file));
  }
}
