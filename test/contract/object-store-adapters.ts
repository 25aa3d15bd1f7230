import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ObjectStore } from "@coldbrook/core";
import { vi } from "vitest";
import { DirectoryObjectStore } from "../../packages/tiering/src/object-store/directory.ts";
import { MemoryObjectStore } from "../../packages/tiering/src/object-store/memory.ts";
import { S3ObjectStore, type S3ObjectStoreOptions } from "../../packages/tiering/src/object-store/s3.ts";
import { makeBucket, type Bucket } from "../s3/buckets.ts";
import type { S3Endpoint } from "../s3/endpoint.ts";

export interface OpenedStore extends AsyncDisposable {
  readonly store: ObjectStore;
}

export interface Adapter {
  readonly adapter: "memory" | "directory" | "s3";
  readonly open: () => Promise<OpenedStore>;
}

/** Every adapter of the ObjectStore port, each empty when opened; without S3 where there is no server. */
export function adapters(s3: S3Endpoint | null): Adapter[] {
  const local: Adapter[] = [
    { adapter: "memory", open: async () => opened(new MemoryObjectStore(), async () => {}) },
    { adapter: "directory", open: openDirectory },
  ];
  return s3 === null ? local : [...local, { adapter: "s3", open: () => openS3(s3) }];
}

async function openDirectory(): Promise<OpenedStore> {
  const root = await mkdtemp(join(tmpdir(), "coldbrook-objects-"));
  return opened(new DirectoryObjectStore({ root }), () => rm(root, { recursive: true }));
}

async function openS3(s3: S3Endpoint): Promise<OpenedStore> {
  const bucket = await makeBucket(s3);
  return opened(s3Store(bucket, { prefix: "a/prefix" }), async () => await bucket[Symbol.asyncDispose]());
}

function opened(store: ObjectStore, after: () => Promise<void>): OpenedStore {
  return {
    store,
    [Symbol.asyncDispose]: async () => {
      await store.close();
      await after();
    },
  };
}

/** A store that finds its server and credentials as the real one does: by the SDK's chain, from the environment. */
export function s3Store(bucket: Bucket, options: Partial<S3ObjectStoreOptions> = {}): S3ObjectStore {
  for (const [name, value] of Object.entries(bucket.environment)) vi.stubEnv(name, String(value));
  return new S3ObjectStore({ bucket: bucket.bucket, prefix: "", ...options });
}

/** A body of these chunks. */
export function bodyOf(...chunks: readonly Uint8Array[]): () => AsyncGenerator<Uint8Array> {
  return async function* body() {
    yield* chunks;
  };
}

export async function put(store: ObjectStore, key: string, bytes: Uint8Array): Promise<"created" | "exists"> {
  return await store.create(key, bytes.byteLength, bodyOf(bytes));
}

/** Bytes that differ from their neighbours and from those of another seed. */
export function bytesOf(length: number, seed = 1): Uint8Array {
  let state = seed * 2654435761;
  return Uint8Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state >>> 24;
  });
}
