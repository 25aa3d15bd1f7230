/** Stream paths as names of directories: base64url, and for long paths a prefix of it with a hash. */
import { createHash } from "node:crypto";

const ENCODED_CHARS_MAX = 200;
const PREFIX_CHARS = 180;
const HASH_CHARS = 16;
/** `~` is not in the base64url alphabet. */
const HASHED = /~[0-9a-f]{16}$/;

/** `/stream/users:created` gives `L3N0cmVhbS91c2VyczpjcmVhdGVk`. A path too long for one name cannot be decoded whole. */
export function encodeStreamPath(path: string): string {
  const encoded = Buffer.from(path, "utf8").toString("base64url");
  if (encoded.length <= ENCODED_CHARS_MAX) return encoded;
  const hash = createHash("sha256").update(path).digest("hex").slice(0, HASH_CHARS);
  return `${encoded.slice(0, PREFIX_CHARS)}~${hash}`;
}

/** The path, or as much of a hashed one as its name holds. */
export function decodeStreamPath(encoded: string): string {
  return Buffer.from(encoded.replace(HASHED, ""), "base64url").toString("utf8");
}
