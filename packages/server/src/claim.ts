/** One shard owns a bucket prefix. The claim is a create-only object that holds the owner's id. */
import type { ObjectStore } from "@coldbrook/core";

const KEY = "shard";

/**
 * Claims the store's prefix for the shard. `mustBeOurs` when the data directory refers to objects in it.
 * @throws Error that says whose the prefix is
 */
export async function claimPrefix(store: ObjectStore, shard: string, mustBeOurs: boolean): Promise<void> {
  const own = Buffer.from(`${shard}\n`, "latin1");
  async function* body(): AsyncGenerator<Uint8Array> {
    yield own;
  }
  const size = await store.size(KEY);
  if (size === undefined) {
    if (mustBeOurs) {
      throw new Error(
        `${store.name} holds nothing of this data directory, whose streams are partly there: is --store the right one?`,
      );
    }
    if ((await store.create(KEY, own.length, body)) === "created") return;
  }
  const holder = Buffer.from(await store.read(KEY, 0, own.length))
    .toString("latin1")
    .trim();
  if (holder !== shard) {
    throw new Error(
      `${store.name} belongs to another server (shard ${holder}; this data directory is shard ${shard}): choose another --store prefix or the data directory of that shard`,
    );
  }
}
