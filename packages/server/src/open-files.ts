/** How many descriptors this process may have open: connections must leave some to the log, the catalog and the store. */
import fs from "node:fs";

/** For WAL segments, the catalog, objects, cache files and connections to the store. */
const KEPT_MAX = 512;

/** Connections that leave enough descriptors to everything else, at most `wanted`. */
export function connectionsWithin(wanted: number, openFilesMax: number | null): number {
  if (openFilesMax === null) return wanted;
  return Math.max(1, Math.min(wanted, openFilesMax - Math.min(KEPT_MAX, Math.ceil(openFilesMax / 2))));
}

/** The limit of this process, or null where the system does not tell or sets none. */
export function openFilesMax(): number | null {
  try {
    const limit = /^Max open files\s+(\d+)/m.exec(fs.readFileSync("/proc/self/limits", "utf8"))?.[1];
    return limit === undefined ? null : Number(limit);
  } catch {
    // Not every system has /proc.
    return null;
  }
}
