/** What the stores must hold besides the calling convention: their own bytes, their directory, and nothing of what is gone. */
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { createColdbrook } from "./create-coldbrook.ts";
import { FileBackedStreamStore } from "./file-backed-stream-store.ts";
import { StreamStore } from "./stream-store.ts";
import type { StreamMessage } from "./types.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (data: Uint8Array): string => new TextDecoder().decode(data);

test("a caller that writes to the message it got changes nothing that is stored", () => {
  const store = new StreamStore();
  store.create("/a");
  const message = store.append("/a", bytes("abc")) as StreamMessage;
  message.data.fill(0x58);
  expect(store.read("/a").messages.map(({ data }) => text(data))).toEqual(["abc"]);
});

test("a stream that expires as it is made is handed out all the same", () => {
  const store = new StreamStore();
  const made = store.create("/past", { expiresAt: "2001-01-01T00:00:00.000Z" });
  expect(made).toMatchObject({ path: "/past", closed: false, expiresAt: "2001-01-01T00:00:00.000Z" });
  expect(store.has("/past")).toBe(false);
});

test("streams that came and went leave no objects in memory", async () => {
  const store = new StreamStore();
  for (let i = 0; i < 100; i++) {
    store.create(`/${i}`, { initialData: bytes("x") });
    store.delete(`/${i}`);
  }
  await store.memory.shard.compact();
  expect(store.memory.storedBytes().objects).toBe(0);
});

test("a store that is asked for while it closes opens again, and every close waits for the directory to be free", async () => {
  const directory = await mkdtemp(path.join(os.tmpdir(), "coldbrook-stores-"));
  try {
    const store = new FileBackedStreamStore({ dataDir: directory });
    await store.create("/a");
    const closing = store.close();
    const opening = store.ready();
    await Promise.all([closing, opening]);
    expect(store.has("/a")).toBe(true);
    void store.close();
    await store.close();
    await expect(store.append("/a", bytes("late"))).rejects.toThrow(/is not open: open it with ready/);
    const other = new FileBackedStreamStore({ dataDir: directory });
    await other.ready();
    expect(other.has("/a")).toBe(true);
    await other.close();
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

test("a server that is closed twice is closed once", async () => {
  const directory = await mkdtemp(path.join(os.tmpdir(), "coldbrook-stores-"));
  try {
    const coldbrook = await createColdbrook({ dataDir: directory }, { listen: false });
    await Promise.all([coldbrook.close(), coldbrook.close()]);
    await coldbrook.close();
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
