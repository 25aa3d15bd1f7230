/** Requests of every kind pass through a cache as they were meant, and are kept only for those they were meant for. */
import { gunzipSync, inflateSync } from "node:zlib";
import { expect, test } from "vitest";
import { expectStatus, header, nextOffset } from "../process/http.ts";
import { offsetOf, parseOffset } from "../process/stored-bytes.ts";
import { patternBytes } from "../scale/served.ts";
import type { CacheName } from "./cache-process.ts";
import { isUpToDate, type CdnRig } from "./cdn-rig.ts";

/** The rig is one with chunks of 1 KiB that compresses. */
export function requestFacts(name: CacheName, opened: () => CdnRig): void {
  test("HEAD is passed on as HEAD and shows the tail of now", async () => {
    const rig = opened();
    const truth = await rig.create("headed");
    rig.origin.take();
    for (let append = 0; append < 5; append += 1) {
      await rig.append(truth, patternBytes(50, append));
      const reply = expectStatus(await rig.reader.head(truth.path), "HEAD", 200);
      expect(parseOffset(nextOffset(reply)).position).toBe(truth.length);
      expect(reply.body.length).toBe(0);
    }
    expect(rig.origin.take().map(({ method }) => method)).toEqual(Array.from({ length: 5 }, () => "HEAD"));
  });

  test("If-None-Match is answered from the cache, with a weakened tag too", async () => {
    const rig = opened();
    const truth = await rig.create("matched");
    await rig.append(truth, patternBytes(2000, 1));
    await rig.append(truth, patternBytes(10, 2));
    const full = expectStatus(await rig.read(truth, truth.start), "read", 200);
    const etag = header(full, "etag") ?? "";
    rig.origin.take();
    for (const sent of [etag, `W/${etag.replace(/^W\//, "")}`]) {
      const reply = await rig.read(truth, truth.start, { headers: { "if-none-match": sent } });
      expect(reply.status, sent).toBe(304);
    }
    // Varnish knows no lists of tags, and sends what it has.
    const list = await rig.read(truth, truth.start, { headers: { "if-none-match": `"other", ${etag}` } });
    expectStatus(list, "a list of tags", name === "Varnish" ? 200 : 304);
    const other = await rig.read(truth, truth.start, { headers: { "if-none-match": '"other"' } });
    expectStatus(other, "another tag", 200);
    expect(rig.origin.take()).toEqual([]);
  });

  test("whatever coding a client takes, what it decodes is true", async () => {
    const rig = opened();
    const truth = await rig.create("coded", { contentType: "application/json" });
    for (let message = 0; message < 40; message += 1) {
      await rig.append(truth, JSON.stringify({ message, text: "always the same ".repeat(8) }));
    }
    const codings = ["", "gzip", "deflate", "gzip, deflate, br", "identity", "*;q=0.5, gzip;q=0", "br"];
    let coded = 0;
    for (let round = 0; round < 2; round += 1) {
      for (const coding of round === 0 ? codings : codings.toReversed()) {
        for (let offset = truth.start, isLast = false; !isLast;) {
          const headers: Record<string, string> = coding === "" ? {} : { "accept-encoding": coding };
          const reply = expectStatus(await rig.reader.read(truth.path, { offset, headers }), coding, 200);
          const used = header(reply, "content-encoding");
          const body =
            used === "gzip" ? gunzipSync(reply.body) : used === "deflate" ? inflateSync(reply.body) : reply.body;
          if (used !== undefined) {
            coded += 1;
            expect(coding, "what was not asked for").toContain(used);
            expect(coding).not.toContain("gzip;q=0");
          }
          truth.verify({ ...reply, body }, parseOffset(offset).position);
          const tag = { "if-none-match": header(reply, "etag") ?? "", ...headers };
          const again = await rig.reader.read(truth.path, { offset, headers: tag });
          expect(again.status, `${coding} ${offset}`).toBe(304);
          isLast = isUpToDate(reply);
          offset = nextOffset(reply);
        }
      }
    }
    expect(coded, "nothing was compressed").toBeGreaterThan(0);
  });

  test("writes go through, and an authorised reader's answers are kept for nobody", async () => {
    const rig = opened();
    const path = "written-through";
    expectStatus(await rig.reader.create(path, { contentType: "text/plain" }), "create", 201);
    expectStatus(await rig.reader.append(path, "one", { contentType: "text/plain" }), "append", 204);
    const headers = { authorization: "Bearer mine" };
    const mine = expectStatus(await rig.reader.read(path, { offset: "-1", headers }), "read", 200);
    expect(header(mine, "cache-control")).toContain("private");
    rig.origin.take();
    await rig.reader.read(path, { offset: "-1", headers });
    await rig.reader.read(path, { offset: "-1" });
    expect(rig.origin.take().length).toBe(2);
  });

  test("an event stream is passed on event by event", async () => {
    const rig = opened();
    const truth = await rig.create("events", { contentType: "text/plain" });
    await rig.append(truth, "first");
    const ended = new AbortController();
    const got: string[] = [];
    let appended = 0;
    for await (const event of rig.reader.sse(truth.path, "-1", ended.signal)) {
      if (event.kind === "control") {
        if (appended === 3) break;
        // The next is sent only when the one before has arrived.
        appended += 1;
        await rig.append(truth, `event ${appended}`);
      } else got.push(event.payload.toString("utf8"));
    }
    expect(got.join("|")).toBe("first|event 1|event 2|event 3");
  });

  test("parameters in another order are the same object, and a cursor makes no other chunk", async () => {
    const rig = opened();
    const truth = await rig.create("ordered");
    await rig.append(truth, patternBytes(1500, 1));
    await rig.append(truth, patternBytes(10, 2));
    const offset = truth.start;
    rig.origin.take();
    for (const query of [`offset=${offset}`, `offset=${offset}&cursor=12`, `cursor=7&offset=${offset}`]) {
      truth.verify(expectStatus(await rig.reader.request("GET", truth.path, { query }), query, 200), 0);
    }
    expect(rig.origin.take().length, "a chunk").toBe(1);
    const parts = [`offset=${offset}`, "live=long-poll", "cursor=12"];
    for (const [a, b, c] of [
      [0, 1, 2],
      [0, 2, 1],
      [1, 0, 2],
      [1, 2, 0],
      [2, 0, 1],
      [2, 1, 0],
    ] as const) {
      const query = [parts[a], parts[b], parts[c]].join("&");
      truth.verify(expectStatus(await rig.reader.request("GET", truth.path, { query }), query, 200), 0);
    }
    expect(rig.origin.take().length, "a long-poll").toBe(1);
  });

  test("a query that a cache could read as another poisons nothing", async () => {
    const rig = opened();
    const truth = await rig.create("poisoned");
    for (let message = 0; message < 6; message += 1) await rig.append(truth, patternBytes(600, message));
    const at = (position: number): string => offsetOf(parseOffset(truth.start).generation, position);
    const [mine, other] = [at(600), at(1200)];
    for (const query of [
      `OFFSET=${mine}&offset=${other}`,
      `offset=${other}&OFFSET=${mine}`,
      `o%66fset=${other}&OFFSET=${mine}`,
      `offset=${mine}&offset=${other}`,
      `offset=${mine}&o%66fset=${other}`,
      `offset=${other}&x=1&cursor=1&cursor=2`,
      `offset=${other}?offset=${mine}`,
      `offset=${other}&live=long-poll&LIVE=sse&Offset=${mine}`,
    ]) {
      await rig.reader.request("GET", truth.path, { query });
      for (const offset of [mine, other]) {
        expectStatus(await rig.read(truth, offset), `${offset} after ${query}`, 200);
        const live = await rig.reader.longPoll(truth.path, offset);
        truth.verify(expectStatus(live, `long-poll at ${offset} after ${query}`, 200), parseOffset(offset).position);
      }
    }
  });
}
