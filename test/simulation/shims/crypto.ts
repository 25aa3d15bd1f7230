/** `node:crypto`, with what it draws taken from the seed. */
import { createPrivateKey as createRealPrivateKey } from "node:crypto";
import type { KeyObject, PrivateKeyInput } from "node:crypto";
import { theWorld } from "../world/current.ts";

export * from "node:crypto";

/** An Ed25519 private key in PKCS #8 is this and its 32 bytes. */
const PKCS8_HEAD = Buffer.from("302e020100300506032b657004220420", "hex");

export function randomBytes(count: number): Buffer {
  return theWorld().serverRandom.bytes(count);
}

/** Also asked for when a module is loaded, before there is a world. */
export function randomUUID(): string {
  return "00000000-0000-4000-8000-000000000000";
}

/** The one signing key of all worlds: nothing is signed, and making one takes milliseconds. */
const KEY = createRealPrivateKey({
  key: Buffer.concat([PKCS8_HEAD, Buffer.alloc(32, 7)]),
  format: "der",
  type: "pkcs8",
});
const KEY_BYTES = KEY.export({ format: "der", type: "pkcs8" });

export function generateKeyPairSync(): { privateKey: KeyObject } {
  return { privateKey: KEY };
}

export function createPrivateKey(input: PrivateKeyInput): KeyObject {
  return Buffer.isBuffer(input.key) && input.key.equals(KEY_BYTES) ? KEY : createRealPrivateKey(input);
}
