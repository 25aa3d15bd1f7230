/** Cursors of long-polls over HTTP (protocol section 10.1): what a cache needs to let readers wait for one answer. */
import { MemoryObjectStore } from "@coldbrook/tiering";
import { afterAll, beforeAll, expect, test } from "vitest";
import { temporaryDirectory } from "../../test-support/shard.ts";
import { startColdbrook, type Coldbrook } from "../compose.ts";
import { readSettings } from "../settings.ts";

const TEXT = { "content-type": "text/plain" };

let directory: { path: string } & AsyncDisposable;
let server: Coldbrook;

beforeAll(async () => {
  directory = await temporaryDirectory();
  const settings = readSettings(["--data-dir", directory.path, "--port", "0", "--long-poll-ms", "100"], {});
  server = await startColdbrook(settings, { store: new MemoryObjectStore() });
});

afterAll(async () => {
  await server.close();
  await directory[Symbol.asyncDispose]();
});

/** A new stream with one message, and how to append to it and poll it. */
async function polled(path: string) {
  const url = `${server.url}/v1/stream/${path}`;
  const append = async (): Promise<void> => {
    expect((await fetch(url, { method: "POST", headers: TEXT, body: "more" })).status).toBe(204);
  };
  const poll = async (
    offset: string,
    cursor: string | null,
  ): Promise<{ status: number; next: string; cursor: string }> => {
    const echo = cursor === null ? "" : `&cursor=${cursor}`;
    const answer = await fetch(`${url}?offset=${offset}&live=long-poll${echo}`);
    await answer.text();
    const next = answer.headers.get("stream-next-offset") ?? "";
    return { status: answer.status, next, cursor: answer.headers.get("stream-cursor") ?? "" };
  };
  const created = await fetch(url, { method: "PUT", headers: TEXT, body: "first" });
  return { append, poll, tail: created.headers.get("stream-next-offset") ?? "" };
}

test("readers who came with different cursors have the same from the second append on, and each a new one", async () => {
  const { append, poll, tail } = await polled("cursors");
  const current = Number((await poll("now", null)).cursor);
  let readers = [null, `${current}`, `${current + 50}`, `${current + 5000}`, null].map((cursor) => ({
    next: tail,
    cursor,
  }));
  for (let round = 0; round < 3; round += 1) {
    await append();
    const answers = await Promise.all(readers.map(({ next, cursor }) => poll(next, cursor)));
    for (const [index, answer] of answers.entries()) {
      expect(answer.status).toBe(200);
      expect(Number(answer.cursor)).toBeGreaterThan(Number(readers[index]?.cursor ?? -1));
    }
    if (round > 0) expect(new Set(answers.map(({ cursor }) => cursor)).size, `after append ${round + 1}`).toBe(1);
    readers = answers;
  }
  // Also when nothing comes, the answers of one wait are one.
  const answers = await Promise.all(readers.map(({ next, cursor }) => poll(next, cursor)));
  expect(answers.map(({ status }) => status)).toEqual([204, 204, 204, 204, 204]);
  expect(new Set(answers.map(({ cursor }) => cursor)).size).toBe(1);
  expect(Number(answers[0]?.cursor)).toBeGreaterThan(Number(readers[0]?.cursor));
});

test("one client's number is not given to others when it is out of all bounds", async () => {
  const { append, poll, tail } = await polled("bounds");
  await append();
  expect(Number((await poll(tail, "999999999999999")).cursor)).toBeGreaterThan(999_999_999_999_999);
  expect(Number((await poll(tail, null)).cursor)).toBeLessThan(1_000_000_000);
});
