import { createHash, createPublicKey, generateKeyPairSync, verify } from "node:crypto";
import { inspect } from "node:util";
import { describe, expect, test } from "vitest";
import { generateSigningKey, importSigningKey, jwkOf, signWebhook } from "./webhook-signer.ts";

const HEADER = /^t=(\d+),kid=([^,]+),ed25519=([A-Za-z0-9_-]{86})$/;

function verified(header: string, body: Uint8Array, jwk: ReturnType<typeof jwkOf>): boolean {
  const [, t, kid, signature] = HEADER.exec(header) ?? [];
  if (t === undefined || signature === undefined || kid !== jwk.kid) return false;
  const key = createPublicKey({ key: { ...jwk }, format: "jwk" });
  return verify(null, Buffer.concat([Buffer.from(`${t}.`), body]), key, Buffer.from(signature, "base64url"));
}

describe("webhook signer", () => {
  test("a receiver verifies the raw bytes with the published key, and nothing else", () => {
    const key = generateSigningKey();
    const body = Uint8Array.of(0x7b, 0xff, 0x00, 0x7d);
    const header = signWebhook(key, 1_700_000_000, body);
    expect(verified(header, body, jwkOf(key))).toBe(true);
    expect(verified(header, Uint8Array.of(0x7b, 0x7d), jwkOf(key))).toBe(false);
    expect(verified(header.replace("t=1700000000", "t=1700000001"), body, jwkOf(key))).toBe(false);
    expect(verified(header, body, { ...jwkOf(generateSigningKey()), kid: key.kid })).toBe(false);
  });

  test("a key stays the same through its stored bytes", () => {
    const key = generateSigningKey();
    const again = importSigningKey(key.privateKeyPkcs8);
    expect(jwkOf(again)).toEqual(jwkOf(key));
    expect(signWebhook(again, 7, Buffer.from("{}"))).toBe(signWebhook(key, 7, Buffer.from("{}")));
  });

  test("yesterday's stored bytes still give the same key and signature", () => {
    const stored = Buffer.from(
      "302e020100300506032b6570042204204ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
      "hex",
    );
    const key = importSigningKey(stored);
    expect(Buffer.from(key.publicKeyX, "base64url").toString("hex")).toBe(
      "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    );
    expect(key.kid).toBe("ds_FtIu-VbGrfe_KB6CH7GNwODB72MNxj_ml11dEvO-7kk");
    expect(signWebhook(key, 1, Buffer.from("{}"))).toBe(
      "t=1,kid=ds_FtIu-VbGrfe_KB6CH7GNwODB72MNxj_ml11dEvO-7kk,ed25519=KMLfX0K6VvRZMZkFFW3H8qjZUOYZ8Ub8YykC10q-zpuXcnUPPLSHtfoGmJ8RTBouNAzSFdMz7pIc1qwvqsCOAg",
    );
  });

  test("the key's id is its RFC 7638 thumbprint, and the JWK is public only", () => {
    const key = generateSigningKey();
    const jwk = jwkOf(key);
    expect(jwk).toEqual({ kty: "OKP", crv: "Ed25519", use: "sig", alg: "EdDSA", kid: key.kid, x: key.publicKeyX });
    const canonical = JSON.stringify({ crv: jwk.crv, kty: jwk.kty, x: jwk.x });
    expect(key.kid).toBe(`ds_${createHash("sha256").update(canonical).digest("base64url")}`);
  });

  test("logging or serialising a key shows its public part only", () => {
    const key = generateSigningKey();
    expect(Object.keys(key).sort()).toEqual(["kid", "publicKeyX"]);
    expect(JSON.parse(JSON.stringify(key))).toEqual({ kid: key.kid, publicKeyX: key.publicKeyX });
    expect(inspect(key, { depth: 9, showHidden: true })).not.toContain("PrivateKeyObject");
  });

  test("bytes that are not an Ed25519 private key are refused", () => {
    const ec = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
    expect(() => importSigningKey(ec.export({ format: "der", type: "pkcs8" }))).toThrow("not an Ed25519 private key");
    expect(() => importSigningKey(Uint8Array.of(1, 2, 3))).toThrow(Error);
  });

  test.each([1.5, -1, Number.NaN, Number.POSITIVE_INFINITY])("the timestamp %s is refused", (timestamp) => {
    expect(() => signWebhook(generateSigningKey(), timestamp, Buffer.from("{}"))).toThrow(RangeError);
  });
});
