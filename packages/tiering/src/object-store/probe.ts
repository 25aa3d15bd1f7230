import { ObjectStoreError, type ObjectStore } from "@coldbrook/core";

export interface ProbeOptions {
  /** Names this start among all starts of all servers: `[A-Za-z0-9._-]+`. */
  readonly unique: string;
}

/**
 * Asks the store, once at start, to keep each promise that the roller's safety rests on: some S3 servers take
 * `If-None-Match` or `Range` and ignore it without a word. Leaves nothing behind.
 * @throws Error with the store's name, the broken promise and what to do
 */
export async function probeStore(store: ObjectStore, options: ProbeOptions): Promise<void> {
  const key = `probe/${options.unique}`;
  const encoder = new TextEncoder();
  const first = encoder.encode(`first of ${options.unique}`);
  // Of another length, so that a size tells the two apart as well.
  const second = encoder.encode(`second of ${options.unique}`);
  try {
    // "exists" may be this call's own earlier attempt, so the bytes decide.
    await step(store, "accept a write", () => store.create(key, first.byteLength, () => once(first)));
    await expectBytes(store, key, 0, first, "give back what was written");
    const again = await step(store, "refuse a key that is taken", () =>
      store.create(key, second.byteLength, () => once(second)),
    );
    if (again !== "exists") throw broken(store, "refuse a key that is taken", CREATE_ONLY);
    await expectBytes(store, key, 0, first, "keep the first bytes of a key", CREATE_ONLY);
    await expectBytes(store, key, 3, first.subarray(3, 7), "answer a range with that range", RANGES);
    const size = await step(store, "tell an object's size", () => store.size(key));
    if (size !== first.byteLength) throw broken(store, "tell an object's size", `it says ${size ?? "missing"}`);
    await step(store, "remove an object", () => store.remove(key));
    const left = await step(store, "remove an object", () => store.size(key));
    if (left !== undefined) throw broken(store, "remove an object", "allow s3:DeleteObject on its prefix");
  } catch (error) {
    // Best effort: the first failure is the one to tell.
    await store.remove(key).catch(() => undefined);
    throw error;
  }
}

const CREATE_ONLY =
  "it ignores If-None-Match, so two servers could overwrite each other; use a store with conditional writes (AWS S3, MinIO, R2, Tigris)";
const RANGES = "use a store, or a proxy before it, that honours Range";

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

async function expectBytes(
  store: ObjectStore,
  key: string,
  from: number,
  expected: Uint8Array,
  promise: string,
  advice = "another server writes to this prefix, or the store is damaged",
): Promise<void> {
  const got = await step(store, promise, () => store.read(key, from, from + expected.byteLength));
  if (got.byteLength !== expected.byteLength || got.some((byte, at) => byte !== expected[at])) {
    throw broken(store, promise, advice);
  }
}

async function step<T>(store: ObjectStore, promise: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof ObjectStoreError)) throw error;
    throw broken(store, promise, error.message, error);
  }
}

function broken(store: ObjectStore, promise: string, detail: string, cause?: Error): Error {
  return new Error(`The object store ${store.name} does not ${promise}: ${detail}.`, { cause });
}
