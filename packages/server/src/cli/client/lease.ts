/** A claim as `sub claim` prints it and `sub ack` and `sub release` need it (protocol 7.2). */
import { createReadStream } from "node:fs";
import type { Readable } from "node:stream";
import { parseHeaderValue } from "./client-settings.ts";
import { readWhole } from "./content.ts";
import { Failure } from "./failure.ts";

export interface Lease {
  readonly token: string;
  readonly wakeId: string;
  readonly generation: number;
  /** Each stream of the claim with the tail it had; empty when only the lease itself is known. */
  readonly tails: readonly { readonly stream: string; readonly offset: string }[];
}

const CLAIM_BYTES_MAX = 64 * 1024 * 1024;

/** @throws Failure unless the file, or standard input for `-`, holds a claim */
export async function readLease(file: string, stdin: Readable): Promise<Lease> {
  const name = file === "-" ? "standard input" : file;
  const bytes = await readWhole(file === "-" ? stdin : createReadStream(file), name, CLAIM_BYTES_MAX);
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString());
  } catch {
    throw new Failure("usage", `${name} is not JSON; it must hold what sub claim printed`);
  }
  return parseLease(value, name);
}

/** @throws Failure that names what is missing, and `where` */
export function parseLease(value: unknown, where: string): Lease {
  const { token, wake_id: wakeId, generation, streams } = (value ?? {}) as Record<string, unknown>;
  if (typeof token !== "string" || typeof wakeId !== "string" || typeof generation !== "number")
    throw new Failure("usage", `a claim needs token, wake_id and generation, which ${where} must give; see sub claim`);
  const listed: readonly unknown[] = Array.isArray(streams) ? streams : [];
  const tails = listed.flatMap((entry) => {
    const { path, tail_offset: offset } = (entry ?? {}) as Record<string, unknown>;
    return typeof path === "string" && typeof offset === "string" ? [{ stream: path, offset }] : [];
  });
  return { token: parseHeaderValue("the claim's token", token), wakeId, generation, tails };
}
