/**
 * The server's secrets: the key that signs webhooks and the secret behind callback and claim tokens (protocol sections 6.5, 12.9
 * and 12.10). They are made at the first start and kept in the data directory, so that tokens and receivers' copies of the
 * public key outlive a restart; they are never logged and never leave the machine.
 */
import fs from "node:fs";
import { randomBytes } from "node:crypto";
import path from "node:path";
import { syncDirectoryNow } from "../wal/storage-directory.ts";
import { generateSigningKey, importSigningKey } from "../webhook/webhook-signer.ts";
import type { SigningKey } from "../webhook/webhook-signer.ts";

export interface ServerKeys {
  readonly signing: SigningKey;
  /** For tokens.ts. */
  readonly tokenSecret: Uint8Array;
}

const FILE = "keys.json";
const SECRET_BYTES = 32;
const FORMAT = /^\{"version":1,"tokenSecret":"([A-Za-z0-9_-]{43})","signingKey":"([A-Za-z0-9_-]+)"\}\n$/;

/** Keys for as long as the value lives. */
export function generateKeys(): ServerKeys {
  return { signing: generateSigningKey(), tokenSecret: randomBytes(SECRET_BYTES) };
}

/** The data directory's keys, made if there are none. @throws Error that names the file when it is damaged */
export function openKeys(dataDirectory: string): ServerKeys {
  const file = path.join(dataDirectory, FILE);
  if (fs.existsSync(file)) return readKeys(file);
  const keys = generateKeys();
  const secret = Buffer.from(keys.tokenSecret).toString("base64url");
  const signing = Buffer.from(keys.signing.privateKeyPkcs8).toString("base64url");
  fs.rmSync(`${file}.new`, { force: true });
  const fd = fs.openSync(`${file}.new`, "wx", 0o600);
  try {
    // All of it, or an error: one write may stop where the disk is full.
    fs.writeFileSync(fd, `{"version":1,"tokenSecret":"${secret}","signingKey":"${signing}"}\n`);
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
  fs.renameSync(`${file}.new`, file);
  syncDirectoryNow(dataDirectory);
  return keys;
}

/** What is wrong with the data directory's keys, or null; changes nothing. */
export function keysProblem(dataDirectory: string): string | null {
  const file = path.join(dataDirectory, FILE);
  if (!fs.existsSync(file)) return null;
  try {
    readKeys(file);
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}

function readKeys(file: string): ServerKeys {
  const [, secret, signing] = FORMAT.exec(fs.readFileSync(file, "utf8")) ?? [];
  try {
    if (secret === undefined || signing === undefined) throw new Error("it does not have the form that was written");
    return {
      signing: importSigningKey(Buffer.from(signing, "base64url")),
      tokenSecret: Buffer.from(secret, "base64url"),
    };
  } catch (cause) {
    throw new Error(
      `${file} is damaged: restore it from a backup, or remove it, and webhook receivers must then fetch a new public key and workers claim again`,
      { cause },
    );
  }
}
