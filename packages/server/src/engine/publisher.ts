/**
 * A roll becomes the truth: its extents enter the catalog, flushed, before the WAL segment may go (invariant 6). Streams that
 * were deleted meanwhile get none; an object without a live extent is garbage from the start.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Generation, RollRecord } from "@coldbrook/core";
import type { Catalog } from "../catalog/catalog.ts";

/** Extents of one transaction. */
const SLICE = 512;

/** Puts the roll into the catalog; resolves when it is committed. Redoing it after a crash changes nothing. */
export async function publishRoll(
  catalog: Catalog,
  record: RollRecord,
  isLive: (stream: Generation) => boolean,
  nowMs: number,
): Promise<void> {
  const live = record.objects.map(() => 0);
  for (let from = 0; from < record.extents.length; from += SLICE) {
    const wanted = record.extents.slice(from, from + SLICE).filter((extent) => isLive(extent.stream));
    await catalog.batch(() => {
      for (const extent of wanted) {
        const object = record.objects[extent.object]!;
        catalog.extents.put({ ...extent, object: object.key });
        live[extent.object]! += 1;
      }
    });
    await nextTurn();
  }
  const before = record.objects.map(({ key }) => catalog.objects.load(key));
  await catalog.batch(() => {
    for (const [i, { key, bytes }] of record.objects.entries())
      catalog.objects.put(key, before[i], bytes, live[i]!, nowMs);
    catalog.setMeta("rolledLsn", record.end);
  });
}
