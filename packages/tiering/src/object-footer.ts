import {
  DecodeError,
  OBJECT_TRAILER_BYTES,
  ObjectStoreError,
  StreamError,
  decodeFooter,
  decodeTrailer,
  type Crc32,
  type ObjectFooter,
  type ObjectStore,
} from "@coldbrook/core";

/** Reads of bytes that came back wrong, all together. */
const READS_MAX = 3;

/** What a stored object says of itself. */
export interface StoredFooter {
  readonly footer: ObjectFooter;
  /** Size of the whole object. */
  readonly bytes: number;
  readonly footerCrc: number;
  /** Where the footer starts, which is where the blocks end. */
  readonly footerAt: number;
}

/**
 * The footer of a sealed object, or undefined when there is no object.
 * @throws StreamError corrupt-object when it is not a whole sealed object
 * @throws ObjectStoreError
 */
export async function readFooter(store: ObjectStore, crc: Crc32, key: string): Promise<StoredFooter | undefined> {
  return untilRight(store, key, async () => {
    const size = await store.size(key);
    if (size === undefined) return undefined;
    if (size < OBJECT_TRAILER_BYTES) throw new DecodeError(`only ${size} bytes`, 0);
    const trailerAt = size - OBJECT_TRAILER_BYTES;
    const trailer = decodeTrailer(await store.read(key, trailerAt, size));
    if (trailer.objectBytes !== size) throw new DecodeError(`${size} bytes, not ${trailer.objectBytes}`, trailerAt);
    const { footerAt, footerBytes, footerCrc } = trailer;
    const bytes = await store.read(key, footerAt, footerAt + footerBytes);
    return { footer: decodeFooter(bytes, trailer, crc), bytes: size, footerCrc, footerAt };
  });
}

/**
 * A whole small object, decoded by `decode`, or undefined when there is none.
 * @throws StreamError corrupt-object when `decode` keeps throwing DecodeError
 * @throws ObjectStoreError
 */
export async function readWhole<Value>(
  store: ObjectStore,
  key: string,
  decode: (bytes: Uint8Array) => Value,
): Promise<Value | undefined> {
  return untilRight(store, key, async () => {
    const size = await store.size(key);
    return size === undefined ? undefined : decode(await store.read(key, 0, size));
  });
}

/** A read may be cut or damaged on its way: only what is wrong several times is wrong in the store. */
async function untilRight<Value>(store: ObjectStore, key: string, read: () => Promise<Value>): Promise<Value> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await read();
    } catch (error) {
      const wrong = error instanceof DecodeError || (error instanceof ObjectStoreError && error.code === "short");
      if (!wrong) throw error;
      if (attempt < READS_MAX) continue;
      throw new StreamError(
        "corrupt-object",
        `${key} in ${store.name} does not decode: ${error.message}; it is damaged, or another program wrote it`,
        { cause: error },
      );
    }
  }
}
