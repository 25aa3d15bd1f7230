import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openObjectStore } from "./open.ts";

test.each([
  ["memory:", "memory:"],
  ["s3://bucket", "s3://bucket"],
  ["s3://bucket/", "s3://bucket"],
  ["s3://my.bucket-1/shard/0/", "s3://my.bucket-1/shard/0"],
])("%s opens %s", async (spec, name) => {
  const store = await openObjectStore(spec, { dataDir: "/nowhere" });
  expect(store.name).toBe(name);
  await store.close();
});

test("a relative file: path lies below the data directory, and is made", async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "coldbrook-open-"));
  try {
    expect((await openObjectStore("file:a/bucket", { dataDir })).name).toBe(`file:${dataDir}/a/bucket`);
    expect((await stat(join(dataDir, "a/bucket"))).isDirectory()).toBe(true);
    expect((await openObjectStore(`file:${dataDir}/b`, { dataDir: "/nowhere" })).name).toBe(`file:${dataDir}/b`);
    expect((await openObjectStore(`file://${dataDir}/b`, { dataDir: "/nowhere" })).name).toBe(`file:${dataDir}/b`);
  } finally {
    await rm(dataDir, { recursive: true });
  }
});

test.each(["", "bucket", "file:", "file://host/x", "memory", "memory:x", "S3://bucket", "s3://", "s3://b", "s3:///x"])(
  "%j is refused, and the text says what to write",
  async (spec) => {
    await expect(openObjectStore(spec, { dataDir: "/nowhere" })).rejects.toThrow(/write .*(file:PATH|s3:\/\/BUCKET)/);
  },
);

test.each(["s3://bucket//x", "s3://bucket/a//b", "s3://bucket/../x", "s3://bucket/a b", "s3://bucket/a?b=c"])(
  "%j names no prefix",
  async (spec) => {
    await expect(openObjectStore(spec, { dataDir: "/nowhere" })).rejects.toThrow("prefix of s3://bucket");
  },
);

test.each(["s3://key:hunter2@host/x", "https://key:hunter2@host/x"])(
  "a spec that holds a password is not repeated",
  async (spec) => {
    const error: unknown = await openObjectStore(spec, { dataDir: "/nowhere" }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(Error);
    expect(String(error)).not.toContain("hunter2");
  },
);
