/** Reads whose stream goes while its bytes are looked for. */
import { StreamError } from "@coldbrook/core";
import { MemoryObjectStore } from "@coldbrook/tiering";
import { afterEach, expect, test, vi } from "vitest";
import { temporaryDirectory } from "../../test-support/shard.ts";
import { startColdbrook } from "../compose.ts";
import { StreamReader } from "../engine/stream-reader.ts";
import { readSettings } from "../settings.ts";

const TEXT = { "content-type": "text/plain" };

afterEach(() => vi.restoreAllMocks());

/** What a GET is answered when `meanwhile` has come before its bytes are read, and these are not there then. */
async function readWhile(
  query: string,
  meanwhile: (url: string) => Promise<unknown>,
): Promise<{ status: number; text: string }> {
  await using directory = await temporaryDirectory();
  const settings = readSettings(["--data-dir", directory.path, "--port", "0"], {});
  const coldbrook = await startColdbrook(settings, { store: new MemoryObjectStore() });
  try {
    const url = `${coldbrook.url}/v1/stream/s`;
    await fetch(url, { method: "PUT", headers: TEXT, body: "first" });
    vi.spyOn(StreamReader.prototype, "whole").mockImplementationOnce(async () => {
      await meanwhile(url);
      throw new StreamError("gone", "no extent holds position 0 any more");
    });
    const response = await fetch(`${url}?${query}`);
    return { status: response.status, text: await response.text() };
  } finally {
    await coldbrook.close();
  }
}

const remove = (url: string): Promise<unknown> => fetch(url, { method: "DELETE" });

async function replace(url: string): Promise<void> {
  await remove(url);
  await fetch(url, { method: "PUT", headers: TEXT, body: "second" });
}

test("a stream that was deleted is not there", async () => {
  expect((await readWhile("offset=-1", remove)).status).toBe(404);
});

test("a stream that was replaced is read from its start", async () => {
  expect(await readWhile("offset=-1", replace)).toEqual({ status: 200, text: "second" });
});

test("an offset of a stream that was replaced is no longer there", async () => {
  expect((await readWhile("offset=0000000000000001_0000000000000000", replace)).status).toBe(410);
});

test("bytes that are missing while their stream is there are damage", async () => {
  const read = await readWhile("offset=-1", () => Promise.resolve());
  expect([read.status, read.text]).toEqual([502, expect.stringContaining("corrupt-object")]);
});
