import { basename } from "node:path";
import { describe, expect, test } from "vitest";
import { ServerProcess, startRefused } from "../process/coldbrook.ts";
import { StreamClient } from "../process/http.ts";
import { within } from "../process/until.ts";
import { DataDirectory } from "./data-directory.ts";
import {
  check,
  COLD_ARGS,
  expectIntact,
  fill,
  HOT_ARGS,
  NO_CACHE,
  readHonestly,
  start,
  untilRolled,
  type KnownStream,
} from "./filled-server.ts";

interface Filled {
  readonly data: DataDirectory;
  readonly known: readonly KnownStream[];
}

/** A data directory whose bytes all lie in the WAL, as kill -9 left it. */
async function filledHot(): Promise<Filled> {
  const data = await DataDirectory.empty();
  await using server = await start(data, HOT_ARGS);
  using client = new StreamClient(server.url);
  const known = await fill(client, 3, 6, 400);
  await server.kill9();
  return { data, known };
}

/** A data directory whose bytes all lie in objects, after a graceful end. */
async function filledCold(args: readonly string[] = NO_CACHE): Promise<Filled> {
  const data = await DataDirectory.empty();
  await using server = await start(data, [...COLD_ARGS, ...args]);
  using client = new StreamClient(server.url);
  const known = await fill(client, 4, 12, 1_500);
  await untilRolled(data, known);
  if (!args.includes("--cache-bytes-max")) await expectIntact(client, known);
  expect(await server.stop()).toBe(0);
  return { data, known };
}

/** The WAL file that holds `text`, and where. */
async function locate(data: DataDirectory, text: string): Promise<{ file: string; at: number }> {
  for (const file of await data.files(".wal")) {
    const at = (await data.bytes(file)).indexOf(text);
    if (at !== -1) return { file, at };
  }
  throw new Error(`no WAL file holds ${text}`);
}

/** A number that follows the file's name lies in the damaged batch: at or before the flipped byte, and not far from it. */
function namesPosition(output: string, at: number): boolean {
  const numbers = [...output.matchAll(/\.wal\D{1,60}(\d+)/g)].map((match) => Number(match[1]));
  return numbers.some((number) => number <= at && number >= at - 700);
}

describe("a flipped bit in the WAL", () => {
  test(
    "stops the start with file and position, removes nothing, and check finds it",
    { timeout: 300_000 },
    async () => {
      const { data, known } = await filledHot();
      await using original = data;
      const first = known[0];
      if (first === undefined) throw new Error("nothing was written");
      const early = await locate(original, first.bytes.subarray(0, 24).toString());
      const late = await locate(original, first.lastProduced.body.slice(0, 30));
      expect(late.file).toBe(early.file);
      // The file's own header, the first batch, payloads, and every few bytes of what lies between two payloads.
      const places = [1, 20, 41, 60, early.at + 3, early.at + 399, late.at + 5];
      for (let at = early.at - 110; at < early.at; at += 17) places.push(at);
      for (const at of places) {
        await using damaged = await original.copy();
        await damaged.flipBit(early.file, at);
        const before = await damaged.digests(".wal");
        const checked = await check(damaged);
        expect(checked.code, `check, byte ${at} flipped: ${checked.output}`).toBe(1);
        expect(checked.output).toContain(basename(early.file));
        const refused = await startRefused({ args: ["--data-dir", damaged.path, ...HOT_ARGS] });
        expect(refused.code, refused.output).not.toBe(0);
        expect(refused.output).toContain(basename(early.file));
        expect(namesPosition(refused.output, at), `byte ${at} flipped, said: ${refused.output}`).toBe(true);
        expect(await damaged.digests(".wal")).toEqual(before);
      }
      const sound = await check(original);
      expect(sound.code, sound.output).toBe(0);
    },
  );
});

describe("a flipped bit in an object", () => {
  test("is found by check and never served, wherever it is", { timeout: 300_000 }, async () => {
    const { data, known } = await filledCold();
    await using original = data;
    const sound = await check(original);
    expect(sound.code, sound.output).toBe(0);
    const objects = await original.files(".cbo");
    expect(objects.length).toBeGreaterThan(0);
    const damagedStreams = new Set<string>();
    for (const object of objects) {
      const bytes = await original.bytes(object);
      const payloads = known.map((stream) => ({ path: stream.path, at: bytes.indexOf(`<${stream.path}/`) }));
      const held = payloads.filter(({ at }) => at !== -1);
      // The header, the trailer, the end of the footer, and every stream's payload, one at a time.
      for (const at of [2, bytes.length - 3, bytes.length - 40, ...held.map((payload) => payload.at + 7)]) {
        await using damaged = await original.copy();
        await damaged.flipBit(object, at);
        const checked = await check(damaged);
        expect(checked.code, `check, byte ${at} of ${object} flipped: ${checked.output}`).toBe(1);
        expect(checked.output).toContain(basename(object));
      }
      await using damaged = await original.copy();
      for (const { at } of held) await damaged.flipBit(object, at + 7);
      await using server = await start(damaged, [...COLD_ARGS, ...NO_CACHE]);
      using client = new StreamClient(server.url);
      const refusals = await readHonestly(client, known);
      expect(refusals.map(({ path }) => path).sort(), object).toEqual(held.map(({ path }) => path).sort());
      for (const { path, detail } of refusals) {
        expect(detail).toContain(basename(object));
        damagedStreams.add(path);
      }
    }
    expect(damagedStreams.size).toBe(known.length);
  });

  test("and one in a roll record is found by check", { timeout: 120_000 }, async () => {
    const { data } = await filledCold();
    await using original = data;
    const records = await original.files(".cbr");
    expect(records.length).toBeGreaterThan(0);
    for (const record of records) {
      await using damaged = await original.copy();
      await damaged.flipBit(record, Math.floor((await original.bytes(record)).length / 2));
      const checked = await check(damaged);
      expect(checked.code, `check, ${record} damaged: ${checked.output}`).toBe(1);
      expect(checked.output).toContain(basename(record));
    }
  });
});

test("a flipped bit in every file of the disk cache changes no byte that is served", { timeout: 120_000 }, async () => {
  const { data, known } = await filledCold([]);
  await using damaged = data;
  {
    // A cold start reads through the disk cache; what wrote the streams may have had them in memory.
    await using reading = await start(damaged, COLD_ARGS);
    using client = new StreamClient(reading.url);
    await expectIntact(client, known);
    expect(await reading.stop()).toBe(0);
  }
  const files = (await damaged.files()).filter((file) => /(^|\/)cache\//.test(file));
  const holding = [];
  for (const file of files) {
    const bytes = await damaged.bytes(file);
    const payload = bytes.indexOf("known-stream-number-");
    if (payload !== -1) holding.push(file);
    if (bytes.length > 0) await damaged.flipBit(file, payload === -1 ? bytes.length >> 1 : payload + 2);
  }
  expect(holding.length, `files of the cache: ${files.join(" ")}`).toBeGreaterThan(0);
  await using server = await start(damaged, COLD_ARGS);
  using client = new StreamClient(server.url);
  await expectIntact(client, known);
  expect(await server.stop()).toBe(0);
});

describe("the last WAL segment", () => {
  test(
    "may end in a torn batch of any length: what was acknowledged stays, and appends go on",
    { timeout: 240_000 },
    async () => {
      const { data, known } = await filledHot();
      await using original = data;
      const file = (await original.files(".wal")).at(-1);
      if (file === undefined) throw new Error("no WAL file");
      const bytes = await original.bytes(file);
      const last = bytes.lastIndexOf("CBWB");
      // The batch header says how long its batch is.
      const end = last + bytes.readUInt32LE(last + 8);
      expect(last).toBeGreaterThan(0);
      for (const length of [1, 4, 20, 44, 45, end - last - 1]) {
        await using torn = await original.copy();
        await torn.writeAt(file, end, bytes.subarray(last, last + length));
        {
          await using server = await start(torn, HOT_ARGS);
          using client = new StreamClient(server.url);
          await expectIntact(client, known);
          const reply = await client.append(known[0]?.path ?? "", "after the tear", { contentType: "text/plain" });
          expect(reply.status).toBe(204);
          await server.kill9();
        }
        await using again = await start(torn, HOT_ARGS);
        using client = new StreamClient(again.url);
        const whole = await client.readAll(known[0]?.path ?? "");
        expect(whole.bytes.toString()).toBe(`${known[0]?.bytes.toString() ?? ""}after the tear`);
        await expectIntact(client, known.slice(1));
        expect(await again.stop()).toBe(0);
        const checked = await check(torn);
        expect(checked.code, checked.output).toBe(0);
      }
    },
  );
});

test("a second process on one data directory refuses to start and names the first", { timeout: 60_000 }, async () => {
  await using data = await DataDirectory.empty();
  await using first = await start(data, HOT_ARGS);
  using client = new StreamClient(first.url);
  const known = await fill(client, 2, 2, 100);
  const refused = await startRefused({ args: ["--data-dir", data.path, ...HOT_ARGS] });
  expect(refused.code).not.toBe(0);
  expect(refused.output).toMatch(new RegExp(`\\b${first.pid}\\b`));
  await expectIntact(client, known);
  await first.kill9();
  // A lock that outlives its holder would be a lock on the operator.
  await using next = await start(data, HOT_ARGS);
  using after = new StreamClient(next.url);
  await expectIntact(after, known);
});

test("a server that is starting holds the data directory as well", { timeout: 60_000 }, async () => {
  await using data = await DataDirectory.empty();
  const args = ["--data-dir", data.path, ...HOT_ARGS];
  await using one = new ServerProcess({ args });
  await using other = new ServerProcess({ args });
  const outcomes = await within("both starts", 60_000, Promise.allSettled([one.waitReady(), other.waitReady()]));
  expect(outcomes.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
});
