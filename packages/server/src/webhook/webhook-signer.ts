/**
 * The key that signs webhooks (protocol 6.5, 7.1 and 12.10): Ed25519 over `<timestamp>.<raw body>`, named in the header
 * by `kid`, which is derived from the key's own bytes (RFC 7638) and so is the same after every restart.
 */
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, sign } from "node:crypto";
import type { KeyObject } from "node:crypto";

/** One entry of the JWK Set that receivers verify with. */
export interface WebhookJwk {
  readonly kty: "OKP";
  readonly crv: "Ed25519";
  readonly kid: string;
  readonly use: "sig";
  readonly alg: "EdDSA";
  /** The public key, base64url. */
  readonly x: string;
}

/** The private part is not an own property, so that logging or serialising a key shows its public part only. */
export class SigningKey {
  /** `ds_` and the RFC 7638 SHA-256 thumbprint, base64url. */
  readonly kid: string;
  /** The public key's 32 bytes, base64url. */
  readonly publicKeyX: string;
  readonly #privateKey: KeyObject;

  /** @throws Error when the key is not an Ed25519 private key */
  constructor(privateKey: KeyObject) {
    if (privateKey.type !== "private" || privateKey.asymmetricKeyType !== "ed25519") {
      throw new Error("The webhook signing key is not an Ed25519 private key");
    }
    const { x } = createPublicKey(privateKey).export({ format: "jwk" });
    if (x === undefined) throw new Error("The webhook signing key has no public part");
    const thumbprint = createHash("sha256").update(`{"crv":"Ed25519","kty":"OKP","x":"${x}"}`).digest("base64url");
    this.kid = `ds_${thumbprint}`;
    this.publicKeyX = x;
    this.#privateKey = privateKey;
  }

  /** The private key as PKCS #8 DER: what is stored, and never shown or logged. */
  get privateKeyPkcs8(): Uint8Array {
    return this.#privateKey.export({ format: "der", type: "pkcs8" });
  }

  /** The 64-byte signature of the bytes. */
  sign(bytes: Uint8Array): Buffer {
    return sign(null, bytes, this.#privateKey);
  }
}

export function generateSigningKey(): SigningKey {
  return new SigningKey(generateKeyPairSync("ed25519").privateKey);
}

/**
 * The key from its stored `privateKeyPkcs8`.
 * @throws Error when the bytes are not an Ed25519 private key
 */
export function importSigningKey(pkcs8: Uint8Array): SigningKey {
  return new SigningKey(createPrivateKey({ key: Buffer.from(pkcs8), format: "der", type: "pkcs8" }));
}

/** The value of `Webhook-Signature` for exactly these body bytes, sent at this Unix time in seconds. */
export function signWebhook(key: SigningKey, timestampSeconds: number, body: Uint8Array): string {
  if (!Number.isSafeInteger(timestampSeconds) || timestampSeconds < 0) {
    throw new RangeError(`A webhook's timestamp is a whole number of seconds, not ${timestampSeconds}`);
  }
  const signature = key.sign(Buffer.concat([Buffer.from(`${timestampSeconds}.`, "latin1"), body]));
  return `t=${timestampSeconds},kid=${key.kid},ed25519=${signature.toString("base64url")}`;
}

export function jwkOf(key: SigningKey): WebhookJwk {
  return { kty: "OKP", crv: "Ed25519", kid: key.kid, use: "sig", alg: "EdDSA", x: key.publicKeyX };
}
