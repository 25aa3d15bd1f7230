/** Forty readers of one stream, while it grows and after, cost the origin little more than one. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseOffset } from "../process/stored-bytes.ts";
import { patternBytes } from "../scale/served.ts";
import { CdnRig, say, throughEach, type Truth } from "./cdn-rig.ts";
import { faultFacts } from "./faults.ts";
import { Follower, type Seen } from "./follower.ts";
import type { OriginRequest } from "./counted-origin.ts";

const MIB = 1 << 20;
const STREAM_BYTES = 24 * MIB;
const BYTES_BEFORE = 16 * MIB;
/** The first readers come when two thirds are there; the rest comes in as many bursts. */
const BURSTS = 3;
const READERS_WHILE_GROWING = 9;
const READERS_AFTER = 31;
/** Of those while it grows, every third comes back for what is new instead of waiting for it. */
const COMES_BACK = 3;

throughEach((name) => {
  let rig: CdnRig;

  beforeAll(async () => {
    rig = await CdnRig.open(name, []);
  });
  afterAll(async () => rig?.[Symbol.asyncDispose]());

  test("40 readers of 24 MiB get true bytes, of which the origin sends a twentieth and each full chunk about once", async () => {
    const truth = await rig.create("forty", { capacity: STREAM_BYTES + MIB });
    await grow(rig, truth, BYTES_BEFORE);
    rig.origin.take();
    const growing: Follower[] = [];
    const comingBack: Follower[] = [];
    const ends: Promise<void>[] = [];
    for (let burst = 0; burst < BURSTS; burst += 1) {
      const due = Math.ceil(((burst + 1) * READERS_WHILE_GROWING) / BURSTS);
      while (growing.length < due) {
        const reader = new Follower(rig, truth, "-1", orderOf(growing.length));
        growing.push(reader);
        if (growing.length % COMES_BACK === 0) comingBack.push(reader);
        else ends.push(reader.follow());
        if (growing.length % COMES_BACK !== 0)
          await orFailure(
            reader.when(() => reader.seen.length > 2),
            ends,
          );
      }
      await grow(rig, truth, BYTES_BEFORE + Math.floor(((STREAM_BYTES - BYTES_BEFORE) * (burst + 1)) / BURSTS));
      const waiting = growing.filter((reader) => !comingBack.includes(reader));
      for (const reader of comingBack) await reader.catchUp();
      const arrived = waiting.map((reader) => reader.when(() => reader.position === truth.length));
      await orFailure(Promise.all(arrived), ends);
    }
    await rig.close(truth);
    const after: Follower[] = [];
    let before: Follower | undefined;
    while (after.length < READERS_AFTER) {
      // Each starts when the one before it has some chunks already.
      const { length } = after;
      if (before !== undefined) {
        const started = before;
        await orFailure(
          started.when(() => started.seen.length > length % 4 || started.closed),
          ends,
        );
      }
      const reader = new Follower(rig, truth, "-1", orderOf(length));
      before = reader;
      after.push(reader);
      ends.push(reader.follow());
    }
    ends.push(...comingBack.map((reader) => reader.follow()));
    await Promise.all(ends);
    const readers = [...growing, ...after];
    for (const reader of readers) expect(reader.position).toBe(truth.length);
    judge(
      name,
      truth,
      readers.flatMap((reader) => reader.seen),
      rig.origin.take(),
    );
  });

  faultFacts(() => rig);
});

/** Resolves with `work`, and fails at once when one of the readers fails, which then never arrives. */
async function orFailure(work: Promise<unknown>, readers: readonly Promise<void>[]): Promise<void> {
  await Promise.race([work, Promise.all(readers).then(() => work)]);
}

function orderOf(index: number): "offset-first" | "sorted" {
  return index % 4 === 3 ? "sorted" : "offset-first";
}

/** Appends of many sizes until the stream has `to` bytes. */
async function grow(rig: CdnRig, truth: Truth, to: number): Promise<void> {
  while (truth.length < to) {
    const bytes = Math.min(to - truth.length, 40_000 + ((truth.length * 7) % 90_001));
    await rig.append(truth, patternBytes(bytes, truth.length));
  }
}

function judge(name: string, truth: Truth, seen: readonly Seen[], asked: readonly OriginRequest[]): void {
  const boundaries = new Set([0]);
  for (let end = truth.chunkEnd(0, MIB); end !== undefined; end = truth.chunkEnd(end, MIB)) boundaries.add(end);
  const isKept = (cacheControl: string): boolean => cacheControl.includes("max-age");
  const full = seen.filter(
    ({ from, to, live, cacheControl }) =>
      !live && isKept(cacheControl) && from !== to && boundaries.has(from) && boundaries.has(to),
  );
  const fullAtOrigin = asked.filter(({ target, status, cacheControl, bytes }) => {
    const offset = /[?&]offset=([-0-9_]+)/.exec(target)?.[1] ?? "";
    const position = offset === "-1" ? 0 : parseOffset(offset).position;
    return status === 200 && isKept(cacheControl) && bytes > 0 && !target.includes("live=") && boundaries.has(position);
  });
  const served = seen.reduce((sum, { bodyBytes }) => sum + bodyBytes, 0);
  const sent = asked.reduce((sum, { bytes }) => sum + bytes, 0);
  const hits = 1 - fullAtOrigin.length / full.length;
  say(
    `${name}: 40 readers of 24 MiB: origin bytes / bytes served = ${(sent / served).toFixed(4)} ` +
      `(${(sent / MIB).toFixed(1)} of ${(served / MIB).toFixed(1)} MiB), ` +
      `hit ratio of full chunks ${hits.toFixed(4)} (${fullAtOrigin.length} of ${full.length} from the origin)`,
  );
  expect(sent / served).toBeLessThanOrEqual(0.05);
  expect(hits).toBeGreaterThanOrEqual(0.97);
}
