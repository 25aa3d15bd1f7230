import { createHash } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import { ObjectStoreError } from "@coldbrook/core";

export type ObjectBody = () => AsyncIterable<Uint8Array>;

/** Hashing this much takes well under a millisecond; appends wait no longer than that for their turn. */
const HASH_SLICE_BYTES = 256 * 1024;

/**
 * The chunks of `body`, which must add up to `bytes`; what would pass that sum is not yielded.
 * @throws ObjectStoreError short, or whatever the body throws
 */
export async function* exactBody(what: string, bytes: number, body: ObjectBody): AsyncGenerator<Uint8Array> {
  let seen = 0;
  for await (const chunk of body()) {
    seen += chunk.byteLength;
    if (seen > bytes) throw new ObjectStoreError("short", `${what}: the body yields more than its ${bytes} bytes`);
    if (chunk.byteLength > 0) yield chunk;
  }
  if (seen < bytes) throw new ObjectStoreError("short", `${what}: the body ends after ${seen} of its ${bytes} bytes`);
}

/** Base64 MD5 of the body, as Content-MD5 wants it; gives the event loop a turn after every slice. */
export async function contentMd5(what: string, bytes: number, body: ObjectBody): Promise<string> {
  const hash = createHash("md5");
  let sinceTurn = 0;
  for await (const chunk of exactBody(what, bytes, body)) {
    for (let at = 0; at < chunk.byteLength; at += HASH_SLICE_BYTES) {
      const slice = chunk.subarray(at, at + HASH_SLICE_BYTES);
      hash.update(slice);
      sinceTurn += slice.byteLength;
      if (sinceTurn >= HASH_SLICE_BYTES) {
        sinceTurn = 0;
        await nextTurn();
      }
    }
  }
  return hash.digest("base64");
}
