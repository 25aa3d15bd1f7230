/** `node:fs` of the simulated world: the calls that the server makes, on the simulated disk. Any other one throws. */
import { theWorld } from "../world/current.ts";
import { Errno } from "../world/files.ts";
import type { Entry, Stats } from "../world/files.ts";
import { Frozen } from "../world/process.ts";
import { diskMs, syncMs } from "./latency.ts";

type Callback = (error: Error | null, result?: number) => void;

interface Mode {
  readonly recursive?: boolean;
  readonly force?: boolean;
  readonly throwIfNoEntry?: boolean;
}

export function existsSync(path: string): boolean {
  const { files } = theWorld();
  return theWorld().now("exists", () => files.exists(path));
}

function toBytes(data: string | Uint8Array): Uint8Array {
  return typeof data === "string" ? Buffer.from(data) : data;
}

/** Does `effect` some time later, as the process that asked, and tells it. */
function calledBack(name: string, delayMs: number, effect: () => number, done: Callback): void {
  const world = theWorld();
  if (world.owner?.dead === true) return;
  world.scheduler.after(delayMs, world.owner, () => {
    const process = world.enter(name);
    let result: number;
    try {
      result = effect();
    } catch (error) {
      if (error instanceof Frozen) throw error;
      return done(error as Error);
    }
    world.leave(process);
    done(null, result);
  });
}

const simulated = {
  existsSync,
  openSync(path: string, flags: string): number {
    return theWorld().now("open", () => theWorld().files.open(path, flags));
  },
  closeSync(fd: number): void {
    theWorld().now("close", () => theWorld().files.close(fd));
  },
  writeSync(fd: number, data: string | Uint8Array, from = 0, length?: number, at: number | null = null): number {
    const bytes = toBytes(data);
    const part = bytes.subarray(from, from + (length ?? bytes.length - from));
    return theWorld().now("write", () => theWorld().files.write(fd, part, at));
  },
  readSync(fd: number, into: Uint8Array, from: number, length: number, at: number): number {
    return theWorld().now("read", () => theWorld().files.read(fd, into, from, length, at));
  },
  ftruncateSync(fd: number, size: number): void {
    theWorld().now("truncate", () => theWorld().files.truncate(fd, size));
  },
  fsyncSync(fd: number): void {
    const { files } = theWorld();
    theWorld().now("fsync", () => files.sync(fd, files.syncs(fd)));
  },
  fdatasyncSync(fd: number): void {
    const { files } = theWorld();
    theWorld().now("fsync", () => files.sync(fd, files.syncs(fd)));
  },
  fdatasync(fd: number, done: Callback): void {
    const { files, owner } = theWorld();
    if (owner?.dead === true) return;
    const covered = files.syncs(fd);
    calledBack("fsync", syncMs(), () => (files.sync(fd, covered), 0), done);
  },
  read(fd: number, into: Uint8Array, from: number, length: number, at: number, done: Callback): void {
    calledBack("read", diskMs(), () => theWorld().files.read(fd, into, from, length, at), done);
  },
  writev(fd: number, buffers: readonly Uint8Array[], at: number, done: Callback): void {
    calledBack("write", diskMs(), () => theWorld().files.write(fd, Buffer.concat(buffers), at), done);
  },
  mkdirSync(path: string, mode: Mode = {}): string | undefined {
    return theWorld().now("mkdir", () => theWorld().files.makeDirectory(path, mode.recursive === true));
  },
  readFileSync(path: string, encoding?: string): string | Buffer {
    const bytes = theWorld().now("readFile", () => theWorld().files.readFile(path));
    return encoding === undefined ? bytes : bytes.toString("utf8");
  },
  /** As Node does it: written on until all is there. */
  writeFileSync(file: string | number, data: string | Uint8Array): void {
    const { files } = theWorld();
    const bytes = toBytes(data);
    theWorld().now("writeFile", () => {
      if (typeof file === "string") files.writeFile(file, [bytes]);
      else files.writeAll(file, bytes);
    });
  },
  readdirSync(path: string): string[] {
    return theWorld().now("readdir", () =>
      theWorld()
        .files.list(path)
        .map(({ name }: Entry) => name),
    );
  },
  statSync(path: string, mode: Mode = {}): Stats | undefined {
    return theWorld().now("stat", () => {
      const { files } = theWorld();
      return mode.throwIfNoEntry === false && !files.exists(path) ? undefined : files.stat(path);
    });
  },
  linkSync(from: string, to: string): void {
    theWorld().now("link", () => theWorld().files.link(from, to));
  },
  renameSync(from: string, to: string): void {
    theWorld().now("rename", () => theWorld().files.rename(from, to));
  },
  rmSync(path: string, mode: Mode = {}): void {
    theWorld().now("rm", () => {
      const { files } = theWorld();
      if (mode.force !== true || files.exists(path)) files.unlink(path);
    });
  },
  unlinkSync(path: string): void {
    theWorld().now("unlink", () => theWorld().files.unlink(path));
  },
  statfsSync(path: string): { bsize: number; bavail: number; blocks: number } {
    return theWorld().now("statfs", () => theWorld().files.space(path));
  },
  readlinkSync(path: string): string {
    return theWorld().now("readlink", () => theWorld().files.readLink(path));
  },
  utimes(path: string, _accessed: unknown, _modified: unknown, done: Callback): void {
    calledBack("utimes", diskMs(), () => (theWorld().files.touch(path), 0), done);
  },
};

/** Whatever is not simulated is told so, in place of reaching the real disk. */
const files: typeof simulated = new Proxy(simulated, {
  get(target, name) {
    const found: unknown = Reflect.get(target, name);
    if (found === undefined && typeof name === "string") throw new Errno("ENOSYS", `fs.${name}`, "not simulated");
    return found;
  },
});

// oxlint-disable-next-line import/no-default-export -- it stands in for a module that has one
export default files;
