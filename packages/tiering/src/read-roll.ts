import {
  ObjectStoreError,
  StreamError,
  decodeRollRecord,
  lsn,
  rollKey,
  type Crc32,
  type Lsn,
  type ObjectStore,
  type RollRecord,
} from "@coldbrook/core";
import { storeFault } from "./cold-ranges.ts";
import { readWhole } from "./object-footer.ts";

/**
 * The bucket's roll records from the one of the WAL segment that starts at `from`, in WAL order: each names the next by
 * its end, so nothing is listed. Ends where no next record exists.
 * @throws StreamError corrupt-object, store-unavailable
 */
export async function* readRolls(
  store: ObjectStore,
  crc: Crc32,
  from: Lsn = lsn(0),
): AsyncGenerator<RollRecord, void, undefined> {
  for (let base = from; ;) {
    const key = rollKey(base);
    const record = await readRecord(store, crc, key);
    if (record === undefined) return;
    if (record.base !== base || record.end <= base) {
      throw new StreamError(
        "corrupt-object",
        `${key} in ${store.name} is the record of [${record.base}, ${record.end})`,
      );
    }
    yield record;
    base = record.end;
  }
}

async function readRecord(store: ObjectStore, crc: Crc32, key: string): Promise<RollRecord | undefined> {
  try {
    return await readWhole(store, key, (bytes) => decodeRollRecord(bytes, crc));
  } catch (error) {
    throw error instanceof ObjectStoreError ? storeFault(error, store, key) : error;
  }
}
