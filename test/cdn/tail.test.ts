/** What readers are told of a stream's end, and of streams that come and go, is true through each cache. */
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { expectStatus, header, isClosed, nextOffset } from "../process/http.ts";
import { offsetOf, parseOffset } from "../process/stored-bytes.ts";
import { until } from "../process/until.ts";
import { patternBytes } from "../scale/served.ts";
import { longPollFacts } from "./long-poll.ts";
import { requestFacts } from "./requests.ts";
import { CdnRig, isUpToDate, throughEach, type Truth } from "./cdn-rig.ts";

const CHUNK_BYTES = 1024;
/** Only a hang needs more. */
const BOUND_MS = 30_000;
/** A poll may join one that was under way when the append came, and be told what that one is told. */
const POLLS_MAX = 3;

throughEach((name) => {
  let rig: CdnRig;

  beforeAll(async () => {
    const args = ["--chunk-bytes", `${CHUNK_BYTES}`, "--compression", "on", "--long-poll-ms", "2000"];
    rig = await CdnRig.open(name, args);
  });
  afterAll(async () => rig?.[Symbol.asyncDispose]());

  function at(truth: Truth, position: number): string {
    return offsetOf(parseOffset(truth.start).generation, position);
  }

  test("an append reaches readers who poll again and again, with and without If-None-Match, with the next poll", async () => {
    const truth = await rig.create("polled-again");
    await rig.append(truth, patternBytes(10, 0));
    const readers = [0, 1, 2, 3].map(() => ({ offset: truth.start, etag: "" }));
    for (let append = 1; append <= 5; append += 1) {
      await rig.append(truth, patternBytes(100 + append, append));
      const expected = truth.length;
      const poll = async (reader: { offset: string; etag: string }, index: number): Promise<void> => {
        for (let polls = 1; ; polls += 1) {
          const headers: Record<string, string> =
            index % 2 === 0 || reader.etag === "" ? {} : { "if-none-match": reader.etag };
          const reply = await rig.read(truth, reader.offset, { headers });
          expectStatus(reply, "poll", 200, 304);
          if (reply.status === 200) {
            reader.etag = header(reply, "etag") ?? "";
            // One reader stays where it is and sees the same URL change.
            if (index !== 3) reader.offset = nextOffset(reply);
            if (parseOffset(nextOffset(reply)).position === expected) return;
            if (!isUpToDate(reply)) {
              reader.offset = nextOffset(reply);
              continue;
            }
          }
          expect(polls, `${name}: polls of reader ${index} for append ${append}`).toBeLessThanOrEqual(POLLS_MAX);
        }
      };
      await Promise.all(readers.map(poll));
    }
  });

  test.each(["before", "after"] as const)("a close whose tail is a chunk boundary is seen, %s a 304", async (when) => {
    const truth = await rig.create(`closed-on-boundary-${when}`);
    await rig.append(truth, patternBytes(CHUNK_BYTES, 1));
    await rig.append(truth, patternBytes(CHUNK_BYTES, 2));
    const offsets = [at(truth, CHUNK_BYTES), at(truth, 2 * CHUNK_BYTES)];
    const etags = new Map<string, string>();
    for (const offset of offsets) {
      for (let polls = when === "before" ? 1 : 4; polls > 0; polls -= 1) {
        const etag = etags.get(offset);
        const headers: Record<string, string> = etag === undefined || polls % 2 === 1 ? {} : { "if-none-match": etag };
        const reply = expectStatus(await rig.read(truth, offset, { headers }), "read", 200, 304);
        expect(isUpToDate(reply), offset).toBe(true);
        etags.set(offset, header(reply, "etag") ?? "");
        await pause(5);
      }
    }
    await rig.close(truth);
    for (const offset of offsets) {
      for (const conditional of [true, false]) {
        const headers: Record<string, string> = conditional ? { "if-none-match": etags.get(offset) ?? "" } : {};
        await pause(5);
        const reply = expectStatus(await rig.read(truth, offset, { headers }), "read after the close", 200);
        expect(isClosed(reply), `${offset} ${conditional}`).toBe(true);
      }
    }
  });

  test("a tail on a chunk boundary is no longer called the tail when more is appended", async () => {
    const truth = await rig.create("boundary-appended");
    await rig.append(truth, patternBytes(CHUNK_BYTES, 1));
    for (let polls = 0; polls < 3; polls += 1) {
      expect(isUpToDate(await rig.read(truth, truth.start))).toBe(true);
      await pause(5);
    }
    await rig.append(truth, patternBytes(10, 2));
    for (let polls = 0; polls < 3; polls += 1) {
      await pause(5);
      expect(isUpToDate(await rig.read(truth, truth.start))).toBe(false);
    }
  });

  test("what is deleted and made again never mixes: an old offset is gone or has its old bytes", async () => {
    const path = "reborn";
    const old = await rig.create(path);
    for (let message = 0; message < 6; message += 1) await rig.append(old, patternBytes(600, message));
    const warm = [0, 1200];
    await rig.read(old, "-1");
    for (const position of warm) expectStatus(await rig.read(old, at(old, position)), "read", 200);
    expectStatus(await rig.reader.del(path), "delete through the cache", 204);
    const reborn = await rig.create(path);
    for (let message = 0; message < 6; message += 1) await rig.append(reborn, patternBytes(600, 100 + message));
    for (let round = 0; round < 2; round += 1) {
      for (let position = 0; position <= 3600; position += 600) {
        const reply = await rig.read(old, at(old, position));
        expectStatus(reply, `old offset ${position}`, ...(warm.includes(position) ? [200, 410] : [410]));
        expectStatus(await rig.read(reborn, at(reborn, position)), `new offset ${position}`, 200);
      }
      expectStatus(await rig.reader.longPoll(path, at(old, 3600)), "a long-poll at the old tail", 410);
      // From the start, whichever stream the first answer is of, the rest is the same stream's.
      const first = await rig.reader.read(path, { offset: "-1" });
      const { generation } = parseOffset(nextOffset(first));
      const truth = generation === parseOffset(old.start).generation ? old : reborn;
      truth.verify(first, 0);
      for (let reply = first; reply.status === 200 && !isUpToDate(reply);) {
        reply = await rig.read(truth, nextOffset(reply));
      }
    }
  });

  test("an expired stream is gone when the last answer's max-age is over", async () => {
    const truth = await rig.create("expiring", { expiresAt: new Date(Date.now() + 3_000).toISOString() });
    await rig.append(truth, patternBytes(1500, 1));
    await rig.append(truth, patternBytes(100, 2));
    rig.origin.take();
    /** No later than this may anything be served: whole seconds are rounded down by us, and up by nginx. */
    const lastMs = (): number =>
      Math.max(
        0,
        ...rig.origin.requests
          .filter(({ status }) => status === 200)
          .map(({ cacheControl, answeredAtMs }) => {
            return answeredAtMs + 1000 * (1 + Number(/max-age=(\d+)/.exec(cacheControl)?.[1] ?? 0));
          }),
      );
    let gone = 0;
    let served = 0;
    await until("the expired stream to be gone", BOUND_MS, async () => {
      for (const offset of ["-1", truth.start, at(truth, 1500)]) {
        const sentMs = performance.now();
        const reply = expectStatus(await rig.read(truth, offset), "read", 200, 404);
        if (reply.status === 404) gone += 1;
        else {
          served += 1;
          // `lastMs` knows of what the origin sent for this very answer, too.
          expect(sentMs, `${offset} after it was gone`).toBeLessThanOrEqual(lastMs());
        }
      }
      return gone >= 12 ? true : undefined;
    });
    expect(served).toBeGreaterThan(0);
    for (const offset of ["-1", truth.start, at(truth, 1500)]) {
      expectStatus(await rig.read(truth, offset), "read of what is gone", 404);
    }
  });

  test("a fork's readers get its source's bytes before its fork point and its own after it, and never another fork's", async () => {
    const source = await rig.create("fork-source");
    for (let message = 0; message < 5; message += 1) await rig.append(source, patternBytes(700, message));
    const forkOf = async (position: number, seed: number): Promise<Truth> => {
      const headers = { "stream-forked-from": "/v1/stream/fork-source", "stream-fork-offset": at(source, position) };
      const fork = await rig.create("fork", { headers });
      fork.start = source.start;
      fork.add(source.bytes(0, position));
      await rig.append(fork, patternBytes(700, seed));
      await rig.append(fork, patternBytes(700, seed + 1));
      return fork;
    };
    const walk = async (truth: Truth, from: string): Promise<number> => {
      let reply = expectStatus(await rig.read(truth, from), "read", 200);
      while (!isUpToDate(reply)) reply = expectStatus(await rig.read(truth, nextOffset(reply)), "read", 200);
      return parseOffset(nextOffset(reply)).position;
    };
    const fork = await forkOf(1400, 50);
    await rig.append(source, patternBytes(700, 9));
    for (let round = 0; round < 2; round += 1) {
      for (const from of ["-1", at(source, 0), at(source, 700), at(source, 1400)]) {
        expect(await walk(fork, from)).toBe(fork.length);
        expect(await walk(source, from)).toBe(source.length);
      }
    }
    for (let position = 0; position <= 1400; position += 700) {
      const reply = await rig.read(fork, at(source, position));
      expect(header(reply, "cache-control"), "under this path it may come to mean another fork's").not.toContain(
        "immutable",
      );
    }
  });

  test("the 404 of a stream that is made a moment later is not kept, nor its answers to long-polls", async () => {
    const path = "made-later";
    for (const offset of ["-1", undefined, "0000000000000000_0000000000000000"]) {
      const reads = await Promise.all(
        [1, 2, 3, 4].map(() => rig.reader.read(path, offset === undefined ? {} : { offset })),
      );
      for (const reply of reads) expectStatus(reply, "read of nothing", 404);
    }
    expectStatus(await rig.reader.longPoll(path, "-1"), "long-poll of nothing", 404);
    const truth = await rig.create(path);
    await rig.append(truth, patternBytes(10, 1));
    await pause(5);
    for (const offset of ["-1", undefined, "0000000000000000_0000000000000000"]) {
      truth.verify(expectStatus(await rig.reader.read(path, offset === undefined ? {} : { offset }), "read", 200), 0);
    }
    truth.verify(expectStatus(await rig.reader.longPoll(path, "-1"), "long-poll", 200), 0);
  });

  requestFacts(name, () => rig);
  longPollFacts(name, () => rig);
});
