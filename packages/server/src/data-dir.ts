/** The data directory: its lock, its identity, and where everything in it lies. */
import fs from "node:fs";
import path from "node:path";
import { randomBytes } from "node:crypto";
import { syncDirectoryNow } from "./wal/segment-file.ts";

export interface DataDir {
  readonly root: string;
  readonly wal: string;
  readonly catalog: string;
  readonly cache: string;
  /** This shard's id: 16 hexadecimal digits, in every WAL segment, object and roll record that it writes. */
  readonly shard: string;
  /** The directory held no shard before. */
  readonly isNew: boolean;
  release(): void;
}

interface Holder {
  readonly pid: number;
  /** Start time of the process in clock ticks since boot, where the system tells: a reused pid has another. */
  readonly startedAt: string | null;
}

/** @throws Error that names the process holding the directory, or the damaged file */
export function openDataDir(root: string): DataDir {
  fs.mkdirSync(path.join(root, "wal"), { recursive: true, mode: 0o700 });
  const release = lock(path.join(root, "lock"));
  try {
    const { shard, isNew } = identify(root);
    return { root, wal: path.join(root, "wal"), catalog: path.join(root, "catalog"), cache: path.join(root, "cache"), shard, isNew, release };
  } catch (error) {
    release();
    throw error;
  }
}

function identify(root: string): { shard: string; isNew: boolean } {
  const file = path.join(root, "shard.json");
  if (fs.existsSync(file)) {
    const text = fs.readFileSync(file, "utf8");
    const shard = /^\{"version":1,"shard":"([0-9a-f]{16})"\}\n$/.exec(text)?.[1];
    if (shard === undefined) throw new Error(`${file} is damaged: it must hold {"version":1,"shard":"<16 hexadecimal digits>"}`);
    return { shard, isNew: false };
  }
  if (fs.readdirSync(path.join(root, "wal")).length > 0) {
    throw new Error(`${file} is missing, but ${path.join(root, "wal")} holds segments: restore it, its id is in each segment's header`);
  }
  const shard = randomBytes(8).toString("hex");
  const fd = fs.openSync(`${file}.new`, "w", 0o600);
  fs.writeSync(fd, `{"version":1,"shard":"${shard}"}\n`);
  fs.fsyncSync(fd);
  fs.closeSync(fd);
  fs.renameSync(`${file}.new`, file);
  syncDirectoryNow(root);
  return { shard, isNew: true };
}

/** Takes the lock file, or throws naming the live process that holds it. */
function lock(file: string): () => void {
  const own = `${file}.${process.pid}.${randomBytes(4).toString("hex")}`;
  fs.writeFileSync(own, JSON.stringify({ pid: process.pid, startedAt: startedAt(process.pid) } satisfies Holder), { mode: 0o600 });
  try {
    for (let attempt = 0; attempt < 10; attempt++) {
      try {
        // A link either makes the name or fails: two processes cannot both succeed.
        fs.linkSync(own, file);
        return () => fs.rmSync(file, { force: true });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      }
      const holder = readHolder(file);
      if (holder !== null && isAlive(holder)) {
        throw new Error(`data directory ${path.dirname(file)} is in use by process ${holder.pid} (lock file ${file}); stop it, or choose another --data-dir`);
      }
      takeAway(file, own, holder);
    }
    throw new Error(`lock file ${file} changes hands too quickly; start again`);
  } finally {
    fs.rmSync(own, { force: true });
  }
}

/** Moves a dead holder's lock aside; if it turns out to be another one's by now, puts it back. */
function takeAway(file: string, own: string, dead: Holder | null): void {
  const aside = `${own}.stale`;
  try {
    fs.renameSync(file, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  const taken = readHolder(aside);
  if (taken !== null && (taken.pid !== dead?.pid || taken.startedAt !== dead.startedAt) && isAlive(taken)) {
    fs.linkSync(aside, file);
  }
  fs.rmSync(aside, { force: true });
}

function readHolder(file: string): Holder | null {
  try {
    const value: unknown = JSON.parse(fs.readFileSync(file, "utf8"));
    if (typeof value !== "object" || value === null || !("pid" in value) || typeof value.pid !== "number") return null;
    return { pid: value.pid, startedAt: "startedAt" in value && typeof value.startedAt === "string" ? value.startedAt : null };
  } catch {
    // A lock that vanished or was cut short by a crash has no live holder.
    return null;
  }
}

function isAlive(holder: Holder): boolean {
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
  }
  const started = startedAt(holder.pid);
  return started === null || holder.startedAt === null || started === holder.startedAt;
}

function startedAt(pid: number): string | null {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    // A zombie holds nothing any more.
    return fields[0] === "Z" ? "ended" : (fields[19] ?? null);
  } catch {
    // Not every system has /proc.
    return null;
  }
}
