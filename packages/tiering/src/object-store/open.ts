import { resolve } from "node:path";
import type { ObjectStore } from "@coldbrook/core";
import { DirectoryObjectStore } from "./directory.ts";
import { isStorePrefix } from "./key.ts";
import { MemoryObjectStore } from "./memory.ts";

export interface OpenObjectStoreOptions {
  /** A relative `file:` path starts here. */
  readonly dataDir: string;
}

const FORMS = "file:PATH, memory: or s3://BUCKET[/PREFIX]";
const BUCKET = /^[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]$/;

/**
 * The store that `spec` names. Endpoint, region and credentials of S3 come from the AWS SDK's standard chain.
 * @throws Error that says what a spec looks like; it never repeats one that may hold a password
 */
export async function openObjectStore(spec: string, options: OpenObjectStoreOptions): Promise<ObjectStore> {
  if (spec === "memory:") return new MemoryObjectStore();
  if (spec.startsWith("file:")) return await openDirectory(spec.slice("file:".length), options.dataDir);
  if (spec.startsWith("s3://")) return await openS3(spec.slice("s3://".length));
  throw new Error(`${shown(spec)} is not an object store: write ${FORMS}`);
}

async function openDirectory(path: string, dataDir: string): Promise<ObjectStore> {
  // file:///var/x is /var/x; file://host/x would be another machine's.
  const local = path.startsWith("///") ? path.slice(2) : path;
  if (local === "" || local.startsWith("//") || local.includes("\0")) {
    throw new Error(`file:${local} names no directory of this machine: write file:PATH`);
  }
  const store = new DirectoryObjectStore({ root: resolve(dataDir, local) });
  await store.open();
  return store;
}

async function openS3(rest: string): Promise<ObjectStore> {
  const slash = rest.indexOf("/");
  const bucket = slash < 0 ? rest : rest.slice(0, slash);
  const prefix = slash < 0 ? "" : rest.slice(slash + 1).replace(/\/$/, "");
  if (!BUCKET.test(bucket)) {
    const hint = bucket.includes("@") ? "credentials belong in the environment or a profile" : "3 to 63 of a-z 0-9 . -";
    throw new Error(`${shown(`s3://${bucket}`)} names no bucket (${hint}): write s3://BUCKET[/PREFIX]`);
  }
  if (prefix !== "" && !isStorePrefix(prefix)) {
    throw new Error(`the prefix of s3://${bucket} may only hold A-Z a-z 0-9 . _ - and single slashes between names`);
  }
  // The SDK takes longer to load than all the rest, and only a bucket needs it.
  const { S3ObjectStore } = await import("./s3.ts");
  return new S3ObjectStore({ bucket, prefix });
}

function shown(spec: string): string {
  return spec.includes("@") ? "The given text" : JSON.stringify(spec.slice(0, 80));
}
