// @ts-check
/** Memory of a process as Linux counts it, and the WAL segments of a data directory. */
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";

/** Unit of `stat`'s `blocks`. */
const BLOCK_BYTES = 512;

/**
 * Resident memory in bytes, now and at its highest, and what of it is the process's own: the rest are pages of files, which the
 * system takes back when it needs them.
 * @param {number} pid
 * @returns {Promise<{now: number, peak: number, own: number}>}
 */
export async function readRss(pid) {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return { now: kibibytes(status, "VmRSS"), peak: kibibytes(status, "VmHWM"), own: kibibytes(status, "RssAnon") };
}

/** What the files of a directory take up on the disk, in bytes; files that go away meanwhile are not counted. @param {string} directory */
export async function diskBytes(directory) {
  let bytes = 0;
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const found = await stat(join(entry.parentPath, entry.name)).catch(() => null);
    bytes += (found?.blocks ?? 0) * BLOCK_BYTES;
  }
  return bytes;
}

/** @param {string} status @param {string} name @returns {number} */
function kibibytes(status, name) {
  const value = new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)?.[1];
  if (value === undefined) throw new Error(`no ${name} in the process status`);
  return Number(value) * 1024;
}

/** @param {string} directory @param {string} ending @returns {Promise<{path: string, name: string}[]>} sorted by name */
export async function findFiles(directory, ending) {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && entry.name.endsWith(ending))
    .map((entry) => ({ path: join(entry.parentPath, entry.name), name: entry.name }))
    .sort((left, right) => (left.name < right.name ? -1 : 1));
}

/**
 * Waits until no sealed WAL segment is left: one segment at most, and the same one for three times the age at which
 * the server seals one that holds anything.
 * @param {string} dataDir
 * @param {{segmentAgeMs: number, withinMs: number}} options
 * @returns {Promise<number>} seconds waited
 */
export async function waitUntilRolled(dataDir, { segmentAgeMs, withinMs }) {
  const from = Date.now();
  let only = "";
  let since = Date.now();
  while (Date.now() - from < withinMs) {
    // A segment may be removed while the directory is read.
    const segments = await findFiles(dataDir, ".wal").catch(() => null);
    const name = segments === null || segments.length > 1 ? "" : (segments[0]?.name ?? "none");
    if (name !== only || name === "") {
      only = name;
      since = Date.now();
    } else if (Date.now() - since > Math.max(1000, 3 * segmentAgeMs)) {
      return (Date.now() - from) / 1000;
    }
    await wait(100);
  }
  throw new Error(`not everything was rolled within ${withinMs / 1000} s: ${dataDir} still has sealed WAL segments`);
}
