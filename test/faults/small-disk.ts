/** A disk of its own, small enough to be filled: a tmpfs, which only root may mount. */
import { execFileSync } from "node:child_process";
import { closeSync, ftruncateSync, openSync, rmSync, statfsSync, writeSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PIECE: Uint8Array = new Uint8Array(64 * 1024);

export class SmallDisk {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** @throws Error where this process may not mount */
  static async mount(bytes: number): Promise<SmallDisk> {
    const path = await mkdtemp(join(tmpdir(), "coldbrook-small-disk-"));
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", `size=${bytes}`, "tmpfs", path], { stdio: "pipe" });
    } catch (error) {
      await rm(path, { recursive: true });
      throw error;
    }
    return new SmallDisk(path);
  }

  get freeBytes(): number {
    const { bsize, bavail } = statfsSync(this.path);
    return bsize * bavail;
  }

  /** Another program writes until so many bytes are left. */
  fill(leftBytes: number): void {
    const fd = openSync(join(this.path, "filler"), "a");
    try {
      while (this.freeBytes > leftBytes) {
        writeSync(fd, PIECE, 0, Math.min(PIECE.length, Math.max(4096, this.freeBytes - leftBytes)));
      }
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "ENOSPC")) throw error;
    } finally {
      closeSync(fd);
    }
  }

  /** Of what the other program wrote, so many bytes stay. */
  shrinkFiller(bytes: number): void {
    const fd = openSync(join(this.path, "filler"), "r+");
    ftruncateSync(fd, bytes);
    closeSync(fd);
  }

  removeFiller(): void {
    rmSync(join(this.path, "filler"), { force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Whoever was killed may hold it for a moment still.
    execFileSync("umount", ["-l", this.path], { stdio: "pipe" });
    await rm(this.path, { recursive: true });
  }
}

/** Whether this process may mount. Where it may not, that is said aloud; in CI it is a failure. */
export async function mayMount(): Promise<boolean> {
  try {
    await using _ = await SmallDisk.mount(1024 * 1024);
    return true;
  } catch (error) {
    if ((process.env["CI"] ?? "") !== "") throw error;
    process.stderr.write(
      `FULL DISKS ARE NOT TESTED: mounting a tmpfs failed (${String(error)}); run the suite as root with CAP_SYS_ADMIN\n`,
    );
    return false;
  }
}
