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
  type ObjectTrailer,
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

/** The same, of an object whose footer may be the one that was just written: then it need not be decoded. */
export interface FooterBytes extends Omit<StoredFooter, "footer"> {
  readonly isSame: boolean;
  /** Null when it is the same. */
  readonly footer: ObjectFooter | null;
}

/**
 * The footer of a sealed object, or undefined when there is no object.
 * @throws StreamError corrupt-object when it is not a whole sealed object
 * @throws ObjectStoreError
 */
export async function readFooter(store: ObjectStore, crc: Crc32, key: string): Promise<StoredFooter | undefined> {
  return untilRight(store, key, async () => {
    const found = await readBytes(store, key);
    if (found === undefined) return undefined;
    const { trailer, bytes } = found;
    return { footer: decodeFooter(bytes, trailer, crc), ...placeOf(trailer) };
  });
}

/**
 * As `readFooter`, and whether it is byte for byte `written`.
 * @throws StreamError corrupt-object when it is not a whole sealed object
 * @throws ObjectStoreError
 */
export async function compareFooter(
  store: ObjectStore,
  crc: Crc32,
  key: string,
  written: { readonly footerBytes: Uint8Array; readonly footerCrc: number },
): Promise<FooterBytes | undefined> {
  return untilRight(store, key, async () => {
    const found = await readBytes(store, key);
    if (found === undefined) return undefined;
    const { trailer, bytes } = found;
    const isSame = trailer.footerCrc === written.footerCrc && Buffer.compare(bytes, written.footerBytes) === 0;
    return { isSame, footer: isSame ? null : decodeFooter(bytes, trailer, crc), ...placeOf(trailer) };
  });
}

function placeOf({ objectBytes, footerCrc, footerAt }: ObjectTrailer): Omit<StoredFooter, "footer"> {
  return { bytes: objectBytes, footerCrc, footerAt };
}

async function readBytes(
  store: ObjectStore,
  key: string,
): Promise<{ trailer: ObjectTrailer; bytes: Uint8Array } | undefined> {
  const size = await store.size(key);
  if (size === undefined) return undefined;
  if (size < OBJECT_TRAILER_BYTES) throw new DecodeError(`only ${size} bytes`, 0);
  const trailerAt = size - OBJECT_TRAILER_BYTES;
  const trailer = decodeTrailer(await store.read(key, trailerAt, size));
  if (trailer.objectBytes !== size) throw new DecodeError(`${size} bytes, not ${trailer.objectBytes}`, trailerAt);
  const { footerAt, footerBytes } = trailer;
  return { trailer, bytes: await store.read(key, footerAt, footerAt + footerBytes) };
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
