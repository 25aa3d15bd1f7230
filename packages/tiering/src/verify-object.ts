import {
  DecodeError,
  OBJECT_HEADER_BYTES,
  ObjectStoreError,
  StreamError,
  checkObjectHeader,
  decodeBlock,
  type Block,
  type Crc32,
  type FooterExtent,
  type ObjectStore,
  type RollRecord,
} from "@coldbrook/core";
import { isDeepStrictEqual } from "node:util";
import { storeFault } from "./cold-ranges.ts";
import { readFooter, type StoredFooter } from "./object-footer.ts";

/** Blocks are read in ranges of about this many bytes. */
const RANGE_BYTES = 8 * 1024 * 1024;

/**
 * Reads all of the sealed object `key` and compares it with the roll record that names it; returns what is wrong in
 * sentences, nothing when it is sound.
 * @throws StreamError store-unavailable when the store does not let it be read
 */
export async function verifyObject(store: ObjectStore, crc: Crc32, key: string, record: RollRecord): Promise<string[]> {
  try {
    const stored = await readFooter(store, crc, key);
    if (stored === undefined) return [`${key} is missing from ${store.name}`];
    return [...againstRecord(key, stored, record), ...(await blockProblems(store, crc, key, stored))];
  } catch (error) {
    if (error instanceof StreamError && error.code === "corrupt-object") return [error.message];
    if (error instanceof ObjectStoreError) throw storeFault(error, store, key);
    throw error;
  }
}

function againstRecord(key: string, stored: StoredFooter, record: RollRecord): string[] {
  const number = record.objects.findIndex((object) => object.key === key);
  const listed = record.objects[number];
  if (listed === undefined) return [`${key} is not in the roll record of ${record.base}`];
  const problems: string[] = [];
  const { footer, bytes, footerCrc } = stored;
  if (bytes !== listed.bytes) problems.push(`${key} has ${bytes} bytes; its roll record says ${listed.bytes}`);
  if (footerCrc !== listed.footerCrc) problems.push(`${key} has another footer than its roll record says`);
  if (footer.writerId !== record.writerId || footer.base !== record.base || footer.end !== record.end) {
    problems.push(
      `${key} was written by "${footer.writerId}" for WAL [${footer.base}, ${footer.end}); its roll record says ` +
        `"${record.writerId}" and [${record.base}, ${record.end})`,
    );
  }
  const wanted = record.extents
    .filter((extent) => extent.object === number)
    .map(({ stream, start, end, offset, blocks }) => ({ stream, start, end, offset, blocks }));
  const found = footer.extents.map(({ identity, start, end, offset, blocks }) => ({
    stream: identity.id,
    start,
    end,
    offset,
    blocks,
  }));
  if (!isDeepStrictEqual(found, wanted)) problems.push(`${key} has other extents than its roll record says`);
  return problems;
}

async function blockProblems(store: ObjectStore, crc: Crc32, key: string, stored: StoredFooter): Promise<string[]> {
  const problems: string[] = [];
  let at = OBJECT_HEADER_BYTES;
  const head = await store.read(key, 0, OBJECT_HEADER_BYTES);
  attempt(problems, `${key}, header`, () => checkObjectHeader(head));
  for (const extent of stored.footer.extents) {
    if (extent.offset !== at)
      problems.push(`${key}: stream ${extent.identity.id} starts at byte ${extent.offset}, not ${at}`);
    at = extent.offset;
    for (const range of ranges(extent)) {
      const bytes = await store.read(key, at, at + range.bytes);
      let from = 0;
      for (const block of range.blocks) {
        const to = from + block.payloadBytes + block.tableBytes;
        attempt(problems, `${key}, byte ${at + from}, stream ${extent.identity.id}`, () =>
          decodeBlock(bytes.subarray(from, to), block, crc),
        );
        from = to;
      }
      at += range.bytes;
    }
  }
  if (at !== stored.footerAt)
    problems.push(`${key}: its blocks end at byte ${at}, its footer starts at ${stored.footerAt}`);
  return problems;
}

/** An extent's blocks, in runs of about RANGE_BYTES. */
function* ranges(extent: FooterExtent): Generator<{ blocks: Block[]; bytes: number }, void, undefined> {
  let blocks: Block[] = [];
  let bytes = 0;
  for (const block of extent.blocks) {
    blocks.push(block);
    bytes += block.payloadBytes + block.tableBytes;
    if (bytes < RANGE_BYTES) continue;
    yield { blocks, bytes };
    blocks = [];
    bytes = 0;
  }
  if (blocks.length > 0) yield { blocks, bytes };
}

function attempt(problems: string[], where: string, check: () => unknown): void {
  try {
    check();
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    problems.push(`${where}: ${error.message}`);
  }
}
