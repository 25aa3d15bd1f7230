import { dirname, join } from "node:path";
import { open } from "lmdb";
import { describe, expect, test } from "vitest";
import { ServerProcess } from "../process/coldbrook.ts";
import { StreamClient } from "../process/http.ts";
import { within } from "../process/until.ts";
import { DataDirectory } from "./data-directory.ts";
import {
  check,
  COLD_ARGS,
  expectIntact,
  fill,
  NO_CACHE,
  readHonestly,
  start,
  untilRolled,
  type KnownStream,
} from "./filled-server.ts";

const SAMPLES_PER_STORE = 4;
/** Shorter values cannot be told from other bytes of the file. */
const VALUE_BYTES_MIN = 8;

/** Streams partly in objects, partly in the WAL, as a graceful end leaves them. */
async function filled(): Promise<{ data: DataDirectory; known: readonly KnownStream[] }> {
  const data = await DataDirectory.empty();
  await using server = await start(data, [...COLD_ARGS, ...NO_CACHE]);
  using client = new StreamClient(server.url);
  const known = await fill(client, 5, 8, 1_200);
  await untilRolled(data, known);
  expect(await server.stop()).toBe(0);
  return { data, known };
}

async function catalogFile(data: DataDirectory): Promise<string> {
  const files = await data.files("data.mdb");
  expect(files.length).toBe(1);
  return files[0] ?? "";
}

interface Value {
  readonly store: string;
  readonly bytes: Buffer;
}

/** Values of every named store of the environment, read from a copy. */
async function catalogValues(data: DataDirectory): Promise<Value[]> {
  await using copy = await data.copy();
  const root = open<Buffer, string>({
    path: dirname(join(copy.path, await catalogFile(copy))),
    encoding: "binary",
    maxDbs: 32,
  });
  const values: Value[] = [];
  for (const store of root.getKeys()) {
    const db = root.openDB<Buffer, Buffer>({ name: String(store), encoding: "binary", keyEncoding: "binary" });
    const all = [...db.getRange()]
      .map(({ value }) => Buffer.from(value))
      .filter((bytes) => bytes.length >= VALUE_BYTES_MIN);
    const step = Math.max(1, Math.floor(all.length / SAMPLES_PER_STORE));
    for (let index = 0; index < all.length; index += step)
      values.push({ store: String(store), bytes: all[index] ?? Buffer.alloc(0) });
  }
  await root.close();
  return values;
}

/** Flips one bit in every place of the file that holds `value`; old pages hold it as well as the current one. */
async function damage(data: DataDirectory, file: string, value: Buffer): Promise<number> {
  const bytes = await data.bytes(file);
  let places = 0;
  for (let at = bytes.indexOf(value); at !== -1; at = bytes.indexOf(value, at + 1)) {
    await data.flipBit(file, at + Math.floor(value.length / 2));
    places += 1;
  }
  return places;
}

describe("a flipped bit in a value of the catalog", () => {
  test("is found by check, and named or repaired, never believed", { timeout: 300_000 }, async () => {
    const { data, known } = await filled();
    await using original = data;
    const file = await catalogFile(original);
    const values = await catalogValues(original);
    expect(new Set(values.map(({ store }) => store)).size).toBeGreaterThan(2);
    for (const { store, bytes } of values) {
      await using damaged = await original.copy();
      expect(await damage(damaged, file, bytes), `a value of ${store} in the file`).toBeGreaterThan(0);
      const checked = await check(damaged);
      expect(checked.code, `check, a value of ${store} damaged (${bytes.toString("hex")}): ${checked.output}`).toBe(1);
      await servesHonestly(damaged, known, store);
    }
  });
});

/** Refuses the start by name, or answers each request rightly or by a 5xx problem that names the catalog. */
async function servesHonestly(data: DataDirectory, known: readonly KnownStream[], store: string): Promise<void> {
  await using server = new ServerProcess({ args: ["--data-dir", data.path, ...COLD_ARGS, ...NO_CACHE] });
  await within(
    "a start or a refusal",
    60_000,
    Promise.race([server.waitReady().catch(() => undefined), server.exited]),
  );
  if (!server.listening) {
    const exit = await within("the end of the refused start", 30_000, server.exited);
    expect(exit.code, `a value of ${store} damaged: ${server.stderr}`).toBeGreaterThan(0);
    expect(server.stdout + server.stderr).toMatch(/catalog/i);
    return;
  }
  using client = new StreamClient(server.url);
  for (const { detail } of await readHonestly(client, known)) expect(detail).toMatch(/catalog/i);
}

/** As when a crash comes after the file grew and before its pages were written. */
async function zeroFromMiddle(data: DataDirectory, file: string): Promise<void> {
  const bytes = (await data.bytes(file)).length;
  const middle = Math.floor(bytes / 8_192) * 4_096;
  await data.writeAt(file, middle, Buffer.alloc(bytes - middle));
}

describe("a catalog that is gone", () => {
  const losses: readonly (readonly [what: string, lose: (data: DataDirectory, file: string) => Promise<void>])[] = [
    ["deleted", async (data, file) => data.remove(file)],
    ["cut to half", async (data, file) => data.truncate(file, (await data.bytes(file)).length >> 1)],
    ["cut to less than its head", async (data, file) => data.truncate(file, 3_000)],
    ["emptied", async (data, file) => data.truncate(file, 0)],
    ["zeroed from its middle on", zeroFromMiddle],
    ["overwritten at its head", async (data, file) => data.writeAt(file, 0, Buffer.alloc(8_192, "not a catalog"))],
  ];
  test.for(losses)(
    "(%s) is rebuilt from WAL and objects by itself, with the same reads",
    { timeout: 120_000 },
    async ([, lose]) => {
      const { data, known } = await filled();
      await using damaged = data;
      const before = await rangesOf(damaged, known);
      await lose(damaged, await catalogFile(damaged));
      expect(await rangesOf(damaged, known)).toEqual(before);
      const checked = await check(damaged);
      expect(checked.code, checked.output).toBe(0);
    },
  );
});

/** Every range that a reader is given, with its name, and a graceful end. */
async function rangesOf(data: DataDirectory, known: readonly KnownStream[]): Promise<unknown> {
  await using server = await start(data, [...COLD_ARGS, ...NO_CACHE]);
  using client = new StreamClient(server.url);
  await expectIntact(client, known);
  const ranges = [];
  for (const { path } of known) {
    const { chunks } = await client.readAll(path);
    ranges.push(
      chunks.map(({ from, next, reply }) => ({
        from,
        next,
        etag: reply.headers["etag"],
        policy: reply.headers["cache-control"],
      })),
    );
  }
  expect(await server.stop()).toBe(0);
  return ranges;
}
