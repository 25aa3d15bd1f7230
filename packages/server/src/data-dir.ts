/** The data directory: its lock, its identity, and where everything in it lies. */
import fs from "node:fs";
import path from "node:path";
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { syncDirectoryNow } from "./wal/storage-directory.ts";

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
  /** The pid's namespace and the machine's boot, where the system tells: elsewhere the pid means nothing. */
  readonly realm: string | null;
}

/** A holder shows that it lives by touching its lock this often. */
const HEARTBEAT_MS = 1_000;
/** How long a starter watches a lock whose pid it cannot judge. */
const WATCH_MS = 4_000;

/** @throws Error that names the process holding the directory, or the damaged file */
export async function openDataDir(root: string): Promise<DataDir> {
  fs.mkdirSync(path.join(root, "wal"), { recursive: true, mode: 0o700 });
  const release = await lock(path.join(root, "lock"));
  try {
    const { shard, isNew } = identify(root);
    // Also of an old one: a start that was killed in time may have left its names to the page cache.
    syncDirectoryNow(root);
    return {
      root,
      wal: path.join(root, "wal"),
      catalog: path.join(root, "catalog"),
      cache: path.join(root, "cache"),
      shard,
      isNew,
      release,
    };
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
    if (shard === undefined)
      throw new Error(`${file} is damaged: it must hold {"version":1,"shard":"<16 hexadecimal digits>"}`);
    return { shard, isNew: false };
  }
  if (fs.readdirSync(path.join(root, "wal")).length > 0) {
    throw new Error(
      `${file} is missing, but ${path.join(root, "wal")} holds segments: restore it, its id is in each segment's header`,
    );
  }
  syncAbove(root);
  const shard = randomBytes(8).toString("hex");
  const fd = fs.openSync(`${file}.new`, "w", 0o600);
  // All of it, or an error: one write may stop where the disk is full.
  fs.writeFileSync(fd, `{"version":1,"shard":"${shard}"}\n`);
  fs.fsyncSync(fd);
  fs.closeSync(fd);
  fs.renameSync(`${file}.new`, file);
  return { shard, isNew: true };
}

/**
 * Makes the names durable that lead to a new data directory: this start or one before it may have made them, and what is
 * acknowledged below a name that a power loss takes is gone with it.
 */
function syncAbove(root: string): void {
  for (let at = path.resolve(root); at !== path.dirname(at);) {
    at = path.dirname(at);
    try {
      syncDirectoryNow(at);
    } catch (error) {
      // What this user may not open, it has not made.
      if (["EACCES", "EPERM"].includes((error as NodeJS.ErrnoException).code ?? "")) return;
      throw error;
    }
  }
}

/** Takes the lock file, or throws naming the live process that holds it. */
async function lock(file: string): Promise<() => void> {
  const own = `${file}.${process.pid}.${randomBytes(4).toString("hex")}`;
  const self: Holder = { pid: process.pid, startedAt: startedAt(process.pid), realm: realm() };
  fs.writeFileSync(own, JSON.stringify(self), { mode: 0o600 });
  try {
    for (let attempt = 0; attempt < 10; attempt++) {
      try {
        // A link either makes the name or fails: two processes cannot both succeed.
        fs.linkSync(own, file);
        return hold(file);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      }
      const holder = readHolder(file);
      if (holder !== null && (await isAlive(holder, file))) {
        throw new Error(
          `data directory ${path.dirname(file)} is in use by process ${holder.pid} (lock file ${file}); stop it, or choose another --data-dir`,
        );
      }
      await takeAway(file, own, holder);
    }
    throw new Error(`lock file ${file} changes hands too quickly; start again`);
  } finally {
    fs.rmSync(own, { force: true });
  }
}

/** Moves a dead holder's lock aside; if it turns out to be another one's by now, puts it back. */
async function takeAway(file: string, own: string, dead: Holder | null): Promise<void> {
  const aside = `${own}.stale`;
  try {
    fs.renameSync(file, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  const taken = readHolder(aside);
  const isAnother =
    taken !== null && (taken.pid !== dead?.pid || taken.startedAt !== dead.startedAt || taken.realm !== dead.realm);
  if (isAnother && (await isAlive(taken, aside))) {
    fs.linkSync(aside, file);
  }
  fs.rmSync(aside, { force: true });
}

function readHolder(file: string): Holder | null {
  try {
    const value: unknown = JSON.parse(fs.readFileSync(file, "utf8"));
    if (typeof value !== "object" || value === null || !("pid" in value) || typeof value.pid !== "number") return null;
    const text = (name: "startedAt" | "realm"): string | null => {
      const found = (value as Record<string, unknown>)[name];
      return typeof found === "string" ? found : null;
    };
    return { pid: value.pid, startedAt: text("startedAt"), realm: text("realm") };
  } catch {
    // A lock that vanished or was cut short by a crash has no live holder.
    return null;
  }
}

async function isAlive(holder: Holder, file: string): Promise<boolean> {
  // In another container or on another machine that shares the directory, only its heartbeat tells.
  if (holder.realm !== realm()) return beats(file);
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
  }
  const started = startedAt(holder.pid);
  return started === null || holder.startedAt === null || started === holder.startedAt;
}

/** Keeps the lock fresh until it is released. */
function hold(file: string): () => void {
  const beat = setInterval(() => {
    const now = new Date();
    // A lock that cannot be touched is still ours; the next beat tries again.
    fs.utimes(file, now, now, () => undefined);
  }, HEARTBEAT_MS);
  beat.unref();
  return () => {
    clearInterval(beat);
    fs.rmSync(file, { force: true });
  };
}

/** Whether the lock is touched while we watch it. */
async function beats(file: string): Promise<boolean> {
  const before = fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs;
  await sleep(WATCH_MS);
  const after = fs.statSync(file, { throwIfNoEntry: false })?.mtimeMs;
  return after !== undefined && after !== before;
}

function realm(): string | null {
  try {
    return `${fs.readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()} ${fs.readlinkSync("/proc/self/ns/pid")}`;
  } catch {
    // Not every system has /proc.
    return null;
  }
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
