/**
 * Opens the catalog, or finds out that it must be made anew from the bucket and the WAL: it is missing, was never finished, or
 * its file is shorter than it once was. A damaged catalog is moved aside, never removed.
 */
import fs from "node:fs";
import path from "node:path";
import { StreamError } from "@coldbrook/core";
import { Catalog, CATALOG_VERSION } from "./catalog.ts";
import { recordedSize } from "./environment-lmdb.ts";

const MAGIC = 0xbeefc0de;
const MAGIC_AT = 24;
const PAGE_BYTES_AT = 48;
const META_BYTES = 64;

export interface OpenedCatalog {
  readonly catalog: Catalog;
  /** It is empty, and to be filled by `rebuildCatalog`. */
  readonly isEmpty: boolean;
  /** Why an existing one could not be used. */
  readonly damage: string | null;
  /** Where the damaged one went. */
  readonly movedTo: string | null;
}

/** @throws when the catalog is of a later version */
export async function openCatalog(directory: string): Promise<OpenedCatalog> {
  const damage = fs.existsSync(directory) ? (fileDamage(directory) ?? (await unusable(directory))) : null;
  const movedTo = damage === null ? null : setAside(directory);
  fs.mkdirSync(directory, { recursive: true, mode: 0o700 });
  const catalog = Catalog.open(directory);
  return { catalog, isEmpty: catalog.meta("version") === undefined, damage, movedTo };
}

/** Moves the catalog's files to a new name beside it. */
export function setAside(directory: string): string {
  for (let number = 1; ; number++) {
    const aside = `${directory}.damaged-${number}`;
    if (fs.existsSync(aside)) continue;
    fs.renameSync(directory, aside);
    return aside;
  }
}

/**
 * What is wrong with the catalog's file before LMDB touches it, or null. LMDB maps the file and trusts its head: one that was cut
 * short or overwritten there would end the process.
 */
export function fileDamage(directory: string): string | null {
  const file = path.join(directory, "data.mdb");
  if (!fs.existsSync(file)) return fs.readdirSync(directory).length > 0 ? `${file} is missing` : null;
  const { size } = fs.statSync(file);
  const known = recordedSize(directory);
  if (known !== null && size < known) return `${file} has ${size} bytes, it had ${known}`;
  return size === 0 || hasMetaPages(file) ? null : `${file} does not start with LMDB's two meta pages`;
}

/** Both meta pages hold LMDB's magic number behind their page header; the first also tells the page size. */
function hasMetaPages(file: string): boolean {
  const head = Buffer.alloc(META_BYTES);
  const fd = fs.openSync(file, "r");
  try {
    if (fs.readSync(fd, head, 0, META_BYTES, 0) < META_BYTES || head.readUInt32LE(MAGIC_AT) !== MAGIC) return false;
    const pageBytes = head.readUInt32LE(PAGE_BYTES_AT);
    if (pageBytes < 512 || pageBytes > 65_536) return false;
    return fs.readSync(fd, head, 0, META_BYTES, pageBytes) === META_BYTES && head.readUInt32LE(MAGIC_AT) === MAGIC;
  } finally {
    fs.closeSync(fd);
  }
}

async function unusable(directory: string): Promise<string | null> {
  let catalog: Catalog | null = null;
  try {
    catalog = Catalog.open(directory);
    const version = catalog.meta("version");
    if (version === undefined) return fs.existsSync(path.join(directory, "data.mdb")) ? "it was never finished" : null;
    if (version <= CATALOG_VERSION) {
      if (version < CATALOG_VERSION) await catalog.batch(() => catalog?.setMeta("version", CATALOG_VERSION));
      catalog.meta("appliedLsn");
      catalog.meta("rolledLsn");
      catalog.meta("generation");
      return null;
    }
  } catch (error) {
    if (error instanceof StreamError) return error.message;
    return `LMDB cannot open it: ${(error as Error).message}`;
  } finally {
    await catalog?.close();
  }
  throw new Error(`catalog ${directory} was written by a later version of this program: use that one`);
}
