/** The two stores that crash tests run on: a directory, and a bucket of the S3 server of this run. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeBucket } from "../s3/buckets.ts";
import type { S3Endpoint } from "../s3/endpoint.ts";

export type StoreKind = "directory" | "s3";

export interface StoreSetup {
  readonly dataDir: string;
  readonly storeArgs: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** Runs `work` on a fresh data directory and store. What a failed run left stays on disk, for whoever looks into it. */
export async function withStore<Value>(
  kind: StoreKind,
  s3: S3Endpoint | null,
  work: (setup: StoreSetup) => Promise<Value>,
): Promise<Value> {
  const dataDir = await mkdtemp(join(tmpdir(), `coldbrook-${kind}-`));
  if (kind === "directory") {
    const value = await work({ dataDir, storeArgs: [], env: {} });
    await rm(dataDir, { recursive: true });
    return value;
  }
  if (s3 === null) throw new Error("no S3 server in this run");
  await using bucket = await makeBucket(s3);
  const value = await work({ dataDir, storeArgs: ["--store", bucket.spec], env: { ...bucket.environment } });
  await rm(dataDir, { recursive: true });
  return value;
}
