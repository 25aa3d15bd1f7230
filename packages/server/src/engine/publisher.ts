/**
 * A roll becomes the truth: its extents enter the catalog, flushed, before the WAL segment may go (invariant 6). Streams that
 * were deleted meanwhile get none; an object without a live extent is garbage from the start.
 */
import type { Generation, RollRecord } from "@coldbrook/core";
import { TimeSlice } from "@coldbrook/tiering";
import type { Catalog } from "../catalog/catalog.ts";

/** Extents of one transaction: they enter it in one turn of the event loop, which appends wait for. */
const TRANSACTION_EXTENTS_MAX = 64;

/** Puts the roll into the catalog; resolves when it is committed. Redoing it after a crash changes nothing. */
export async function publishRoll(
  catalog: Catalog,
  record: RollRecord,
  isLive: (stream: Generation) => boolean,
  nowMs: number,
): Promise<void> {
  const live = record.objects.map(() => 0);
  const { extents, objects } = record;
  const slice = new TimeSlice();
  for (let from = 0; from < extents.length; from += TRANSACTION_EXTENTS_MAX) {
    const part = extents.slice(from, from + TRANSACTION_EXTENTS_MAX);
    const isWanted = part.map((extent) => isLive(extent.stream));
    await catalog.batch(() => {
      for (const [i, extent] of part.entries()) {
        if (isWanted[i]!) {
          catalog.extents.put({ ...extent, object: objects[extent.object]!.key });
          live[extent.object]! += 1;
        } else {
          // An attempt that was cut off may have put it while its stream lived. The object does not count it now, so it must not be
          // found, and counted off, when the stream is given back.
          catalog.extents.remove(extent.stream, extent.start);
        }
      }
    });
    if (slice.over) await slice.rest();
  }
  const before = record.objects.map(({ key }) => catalog.objects.load(key));
  await catalog.batch(() => {
    for (const [i, { key, bytes }] of record.objects.entries())
      catalog.objects.put(key, before[i], bytes, live[i]!, nowMs);
    catalog.setMeta("rolledLsn", record.end);
  });
}
