import { createHmac } from "node:crypto";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { mintToken, readToken, TOKEN_CHARS_MAX } from "./tokens.ts";
import type { TokenClaims } from "./tokens.ts";

const SECRET = Buffer.alloc(32, 7);
const CLAIMS: TokenClaims = { sub: "sub-1", gen: 7, kind: "callback", exp: 1000 };
const NOW_MS = 999_999;

function forged(header: unknown, payload: string, secret: Uint8Array = SECRET): string {
  const signed = `${Buffer.from(JSON.stringify(header)).toString("base64url")}.${Buffer.from(payload).toString("base64url")}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

const HS256 = { alg: "HS256", typ: "JWT" };

describe("tokens", () => {
  test("what is minted is read back until it expires, and each of it decides the text", () => {
    const claims = fc.record({
      sub: fc.string({ unit: "binary", maxLength: 200 }),
      gen: fc.maxSafeNat(),
      kind: fc.constantFrom("callback" as const, "claim" as const),
      exp: fc.nat(),
    });
    fc.assert(
      fc.property(claims, (given) => {
        const token = mintToken(SECRET, given);
        expect(token).toBe(mintToken(SECRET, given));
        expect(readToken(SECRET, token, given.exp * 1000 - 1)).toEqual(given);
        expect(readToken(SECRET, token, given.exp * 1000)).toEqual({ error: "expired" });
      }),
    );
  });

  test("no changed character goes unnoticed", () => {
    const token = mintToken(SECRET, CLAIMS);
    for (let at = 0; at < token.length; at++) {
      for (const character of ["A", "B", ".", "="]) {
        if (token[at] === character) continue;
        const changed = token.slice(0, at) + character + token.slice(at + 1);
        expect(readToken(SECRET, changed, NOW_MS)).toHaveProperty("error");
      }
    }
  });

  test("another secret's token is refused", () => {
    const token = mintToken(Buffer.alloc(32, 8), CLAIMS);
    expect(readToken(SECRET, token, NOW_MS)).toEqual({ error: "signature" });
  });

  test("an expired token with a wrong signature is not called expired", () => {
    const token = mintToken(Buffer.alloc(32, 8), CLAIMS);
    expect(readToken(SECRET, token, 2_000_000)).toEqual({ error: "signature" });
  });

  test.each([
    ["nothing", ""],
    ["no signature", mintToken(SECRET, CLAIMS).replace(/[^.]+$/, "")],
    ["a fourth part", `${mintToken(SECRET, CLAIMS)}.x`],
    ["a line break at the end", `${mintToken(SECRET, CLAIMS)}\n`],
    ["padding", `${mintToken(SECRET, CLAIMS)}=`],
    ["the algorithm none", forged({ alg: "none", typ: "JWT" }, JSON.stringify(CLAIMS))],
    ["another algorithm", forged({ alg: "HS512", typ: "JWT" }, JSON.stringify(CLAIMS))],
    ["another order of the header", forged({ typ: "JWT", alg: "HS256" }, JSON.stringify(CLAIMS))],
    ["claims that are not JSON", forged(HS256, "{")],
    ["claims that are null", forged(HS256, "null")],
    ["claims that are a list", forged(HS256, "[]")],
    ["an id that is a number", forged(HS256, JSON.stringify({ ...CLAIMS, sub: 1 }))],
    ["a generation that is text", forged(HS256, JSON.stringify({ ...CLAIMS, gen: "7" }))],
    ["a generation below zero", forged(HS256, JSON.stringify({ ...CLAIMS, gen: -1 }))],
    ["an unknown kind", forged(HS256, JSON.stringify({ ...CLAIMS, kind: "admin" }))],
    ["no expiry", forged(HS256, JSON.stringify({ sub: "sub-1", gen: 7, kind: "claim" }))],
    ["an endless expiry", forged(HS256, '{"sub":"s","gen":7,"kind":"claim","exp":1e999}')],
    ["too many characters", forged(HS256, JSON.stringify({ ...CLAIMS, sub: "x".repeat(TOKEN_CHARS_MAX) }))],
  ])("%s is malformed", (_what, token) => {
    expect(readToken(SECRET, token, NOW_MS)).toEqual({ error: "malformed" });
  });

  test("claims that are not whole numbers, a long id and a short secret are not minted", () => {
    expect(() => mintToken(SECRET, { ...CLAIMS, gen: 1.5 })).toThrow(RangeError);
    expect(() => mintToken(SECRET, { ...CLAIMS, exp: Number.NaN })).toThrow(RangeError);
    expect(() => mintToken(SECRET, { ...CLAIMS, sub: "x".repeat(TOKEN_CHARS_MAX) })).toThrow(RangeError);
    expect(() => mintToken(SECRET.subarray(1), CLAIMS)).toThrow(RangeError);
  });
});
