import { ObjectStoreError } from "@coldbrook/core";

const KEY = /^[A-Za-z0-9._-]+(?:\/[A-Za-z0-9._-]+)*$/;
/** S3 ends at 1,024 bytes, the store's own prefix included. */
const KEY_BYTES_MAX = 512;

function isPlain(path: string): boolean {
  return KEY.test(path) && path.split("/").every((segment) => segment !== "." && segment !== "..");
}

/** True for a prefix that keys may be put under: the alphabet of keys, no `.` or `..`, no slash at either end. */
export function isStorePrefix(prefix: string): boolean {
  return prefix.length <= KEY_BYTES_MAX && isPlain(prefix);
}

/** Every adapter refuses the same keys, so that none can name something outside its store. @throws ObjectStoreError denied */
export function checkKey(store: string, key: string): void {
  if (key.length <= KEY_BYTES_MAX && isPlain(key)) return;
  throw new ObjectStoreError("denied", `${store}: ${JSON.stringify(key.slice(0, 80))} is not an object key`);
}

/** A list prefix is the beginning of a key, or empty. @throws ObjectStoreError denied */
export function checkListPrefix(store: string, prefix: string): void {
  if (prefix === "" || isStorePrefix(prefix.endsWith("/") ? prefix.slice(0, -1) : prefix)) return;
  throw new ObjectStoreError(
    "denied",
    `${store}: ${JSON.stringify(prefix.slice(0, 80))} is not the beginning of a key`,
  );
}

/** @throws ObjectStoreError short when [from, to) is not a range of bytes */
export function checkRange(store: string, key: string, from: number, to: number): void {
  if (Number.isSafeInteger(from) && Number.isSafeInteger(to) && from >= 0 && to >= from) return;
  throw new ObjectStoreError("short", `${store}/${key}: [${from}, ${to}) is not a range of bytes`);
}
