/**
 * Callback and claim tokens (protocol 7.1, 7.2 and 12.9): compact JWTs signed with HMAC-SHA256. The header is one fixed
 * text that is compared, never interpreted, so no token can choose its own algorithm; and the claims are parsed only
 * after the signature has been found right. A token is pure arithmetic on the secret, the claims and the clock given.
 */
import { createHmac, timingSafeEqual } from "node:crypto";

export type TokenKind = "callback" | "claim";

export interface TokenClaims {
  /** The subscription's id. */
  readonly sub: string;
  /** The wake generation that the token is scoped to. */
  readonly gen: number;
  readonly kind: TokenKind;
  /** Unix time in seconds from which on the token is expired. */
  readonly exp: number;
}

export interface TokenRefusal {
  readonly error: "malformed" | "signature" | "expired";
}

/** Longest token in characters; the claims of the longest subscription id fit several times. */
export const TOKEN_CHARS_MAX = 4096;
/** Shortest secret in bytes: as long as the hash, below which guessing gets easier. */
export const TOKEN_SECRET_BYTES_MIN = 32;

const HEADER = Buffer.from('{"alg":"HS256","typ":"JWT"}').toString("base64url");
const TOKEN = /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{43})$/;

function signatureOf(secret: Uint8Array, signed: string): string {
  if (secret.length < TOKEN_SECRET_BYTES_MIN) {
    throw new RangeError(`The token secret has ${secret.length} bytes; it needs at least ${TOKEN_SECRET_BYTES_MIN}`);
  }
  return createHmac("sha256", secret).update(signed).digest("base64url");
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function parseClaims(payload: string): TokenClaims | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(payload, "base64url").toString("utf8"));
  } catch {
    return undefined;
  }
  if (typeof parsed !== "object" || parsed === null) return undefined;
  const { sub, gen, kind, exp } = parsed as Record<keyof TokenClaims, unknown>;
  if (typeof sub !== "string" || !isCount(gen) || !isCount(exp)) return undefined;
  if (kind !== "callback" && kind !== "claim") return undefined;
  return { sub, gen, kind, exp };
}

/**
 * The token of these claims; the same claims and secret give the same token.
 * @throws RangeError when a number is not a whole one, the secret is too short or the token would be too long
 */
export function mintToken(secret: Uint8Array, claims: TokenClaims): string {
  const { sub, gen, kind, exp } = claims;
  if (!isCount(gen) || !isCount(exp)) throw new RangeError("A token's gen and exp are whole numbers, not negative");
  const signed = `${HEADER}.${Buffer.from(JSON.stringify({ sub, gen, kind, exp })).toString("base64url")}`;
  const token = `${signed}.${signatureOf(secret, signed)}`;
  if (token.length > TOKEN_CHARS_MAX) throw new RangeError(`A token has at most ${TOKEN_CHARS_MAX} characters`);
  return token;
}

/**
 * The claims of a token that was minted with this secret and is not expired at `nowMs`, else why not. The caller still
 * compares `sub`, `gen` and `kind` with what the request is about.
 */
export function readToken(secret: Uint8Array, text: string, nowMs: number): TokenClaims | TokenRefusal {
  const match = text.length <= TOKEN_CHARS_MAX ? TOKEN.exec(text) : null;
  if (match === null) return { error: "malformed" };
  const [, header = "", payload = "", signature = ""] = match;
  if (header !== HEADER) return { error: "malformed" };
  // Both sides are 43 ASCII characters; comparing the text also refuses a second spelling of the same signature bytes.
  const expected = Buffer.from(signatureOf(secret, `${header}.${payload}`), "latin1");
  if (!timingSafeEqual(expected, Buffer.from(signature, "latin1"))) return { error: "signature" };
  const claims = parseClaims(payload);
  if (claims === undefined) return { error: "malformed" };
  return nowMs >= claims.exp * 1000 ? { error: "expired" } : claims;
}
