import fs from "node:fs";
import { describe, expect, test } from "vitest";
import { until } from "../../test-support/shard.ts";
import { ACCEPTED, ackAll, DONE, REFUSED, SubscribedShard, wakeOf } from "../../test-support/subscriptions.ts";

const JSON_STREAM = { contentType: "application/json" };

/** The stream's tail as an offset. */
function tail(subscribed: SubscribedShard, path: string): string {
  return subscribed.shard.engine.subscriptions.book.tails(path).durable!;
}

describe("a webhook's wake", () => {
  test("is durable with the append that caused it, and is sent again after a crash with its id and number", async () => {
    await using subscribed = await SubscribedShard.create();
    await subscribed.webhook("sub", { pattern: "events/*" });
    subscribed.answer = () => new Promise(() => undefined);
    await subscribed.shard.create("events/a", "one");
    await until(() => subscribed.sent.length === 1);
    await subscribed.restart();
    subscribed.answer = () => ACCEPTED;
    await subscribed.settle();
    const [first, second] = subscribed.sent;
    expect(second).toMatchObject({ subscription_id: "sub", generation: 1, wake_id: first!.wake_id });
    expect(second!.streams).toEqual([
      expect.objectContaining({ path: "events/a", acked_offset: "-1", tail_offset: tail(subscribed, "events/a") }),
    ]);
  });

  test("that was durable and never sent is sent by the next process", async () => {
    await using subscribed = await SubscribedShard.create();
    await subscribed.webhook("sub", { pattern: "events/*" });
    await subscribed.shard.create("events/a", "one");
    await subscribed.restart();
    await subscribed.settle();
    expect(subscribed.sent.map(({ generation }) => generation)).toEqual([1]);
  });

  test("that is answered with done acknowledges what was sent, and what came meanwhile wakes anew", async () => {
    await using subscribed = await SubscribedShard.create();
    await subscribed.webhook("sub", { pattern: "events/*" });
    subscribed.answer = async (): Promise<typeof DONE> => {
      if (subscribed.sent.length === 1) await subscribed.shard.append("events/a", "two");
      return DONE;
    };
    await subscribed.shard.create("events/a", "one");
    await subscribed.settle();
    expect(subscribed.sent.map(({ generation }) => generation)).toEqual([1, 2]);
    expect(new Set(subscribed.sent.map(({ wake_id }) => wake_id)).size).toBe(2);
    expect(subscribed.sent[1]!.streams[0]!.acked_offset).toBe(subscribed.sent[0]!.streams[0]!.tail_offset);
    expect(await subscribed.cursors("sub")).toEqual({ "events/a": tail(subscribed, "events/a") });
    expect(subscribed.subscription("sub").pending.wake).toBeNull();
  });

  test("that fails is tried again at the recorded time, also by another process, and shows as failed until then", async () => {
    await using subscribed = await SubscribedShard.create();
    await subscribed.webhook("sub", { pattern: "**", lease_ttl_ms: 600_000 });
    subscribed.answer = () => REFUSED;
    await subscribed.shard.create("a", "one");
    await subscribed.settle();
    await subscribed.pass(1_000);
    expect(subscribed.sent).toHaveLength(2);
    expect((await subscribed.service.get("sub"))!.status).toBe("failed");
    expect(subscribed.subscription("sub").durable!.retry).toEqual({
      count: 2,
      nextAttemptAtMs: subscribed.shard.nowMs + 2_000,
    });
    await subscribed.restart();
    await subscribed.pass(1_999);
    expect(subscribed.sent).toHaveLength(2);
    subscribed.answer = () => DONE;
    await subscribed.pass(1);
    expect(subscribed.sent).toHaveLength(3);
    expect(new Set(subscribed.sent.map(({ wake_id, generation }) => `${generation} ${wake_id}`)).size).toBe(1);
    expect((await subscribed.service.get("sub"))!.status).toBe("active");
  });

  test("that our own limits put off is not a failure", async () => {
    await using subscribed = await SubscribedShard.create();
    await subscribed.webhook("sub", { pattern: "**", lease_ttl_ms: 600_000 });
    subscribed.answer = () => ({ kind: "failed", reason: "busy", detail: "too many" });
    await subscribed.shard.create("a", "one");
    await subscribed.settle();
    expect((await subscribed.service.get("sub"))!.status).toBe("active");
    subscribed.answer = () => REFUSED;
    await subscribed.pass(1_000);
    subscribed.answer = () => ({ kind: "failed", reason: "busy", detail: "too many" });
    await subscribed.pass(1_000);
    expect(subscribed.sent).toHaveLength(3);
    expect(subscribed.subscription("sub").durable!.retry).toMatchObject({ count: 1 });
    subscribed.answer = () => DONE;
    await subscribed.pass(999);
    expect(subscribed.sent).toHaveLength(3);
    await subscribed.pass(1);
    expect(subscribed.sent).toHaveLength(4);
    expect(subscribed.subscription("sub").pending).toMatchObject({ wake: null, generation: 1 });
  });

  test("that fails through an outage of the store does not fill the disk, and goes on after it", async () => {
    await using subscribed = await SubscribedShard.create({ walBytesMax: 40_000, segmentBytes: 10_000 });
    const { shard } = subscribed;
    await subscribed.webhook("sub", { pattern: "**", lease_ttl_ms: 1_000 });
    subscribed.answer = () => REFUSED;
    await shard.create("a", "one");
    await expect(async () => {
      for (;;) await shard.append("a", "x".repeat(1_000));
    }).rejects.toThrow("--wal-bytes-max");
    for (let i = 0; i < 60; i++) await subscribed.pass(61_000);
    expect(shard.engine.wal.unrolledBytes).toBeLessThan(40_000 * 1.2);
    await shard.roll();
    subscribed.answer = () => DONE;
    await subscribed.pass(61_000);
    await subscribed.pass(61_000);
    expect(await subscribed.cursors("sub")).toEqual({ a: tail(subscribed, "a") });
  }, 30_000);

  test("whose worker stays silent runs out with its lease: the next one fences its token", async () => {
    await using subscribed = await SubscribedShard.create();
    await subscribed.webhook("sub", { pattern: "**", lease_ttl_ms: 1_000 });
    await subscribed.shard.create("a", "one");
    await subscribed.settle();
    await subscribed.pass(1_000);
    const [stale, current] = subscribed.sent;
    expect([stale!.generation, current!.generation]).toEqual([1, 2]);
    const late = await subscribed.service.ack("sub", "callback", stale!.callback_token, ackAll(wakeOf(stale!)));
    expect(late).toMatchObject({ kind: "refused", code: "FENCED" });
    expect(await subscribed.cursors("sub")).toEqual({ a: "-1" });
    const ack = await subscribed.service.ack("sub", "callback", current!.callback_token, ackAll(wakeOf(current!)));
    expect(ack).toEqual({ kind: "acked", nextWake: false });
  });

  test("that is still under way when its lease ends is cut off and counts as failed", async () => {
    await using subscribed = await SubscribedShard.create();
    await subscribed.webhook("sub", { pattern: "**", lease_ttl_ms: 1_000 });
    subscribed.answer = (_, signal) =>
      new Promise((resolve) => {
        signal.addEventListener("abort", () => resolve({ kind: "failed", reason: "aborted", detail: "" }));
      });
    await subscribed.shard.create("a", "one");
    await until(() => subscribed.sent.length === 1);
    await subscribed.pass(1_000);
    expect(subscribed.subscription("sub").durable).toMatchObject({ generation: 1, retry: { count: 1 } });
  });
});

describe("a pull-wake subscription", () => {
  test("announces each wake once on its wake stream, in the batch of the append that caused it", async () => {
    await using subscribed = await SubscribedShard.create();
    await subscribed.shard.create("wake/pool", "", JSON_STREAM);
    await subscribed.pull("pool", { pattern: "events/*" });
    await subscribed.shard.create("events/a", "one");
    expect(subscribed.events("wake/pool")).toEqual([
      { type: "wake", subscription_id: "pool", stream: "events/a", generation: 1, ts: subscribed.shard.nowMs },
    ]);
    await subscribed.shard.append("events/a", "two");
    await subscribed.shard.create("events/b", "three");
    expect(subscribed.events("wake/pool")).toHaveLength(1);
  });

  test("is held by one worker at a time, and its lease, token and cursors outlive a restart", async () => {
    await using subscribed = await SubscribedShard.create();
    await subscribed.shard.create("wake/pool", "", JSON_STREAM);
    await subscribed.pull("pool", { pattern: "events/*", lease_ttl_ms: 10_000 });
    await subscribed.shard.create("events/a", "one");
    const claimed = await subscribed.claim("pool");
    expect(await subscribed.service.claim("pool", "worker-2")).toEqual({
      kind: "held",
      holder: "worker-1",
      generation: 1,
    });
    await subscribed.restart();
    expect(await subscribed.service.claim("pool", "worker-2")).toMatchObject({ kind: "held", holder: "worker-1" });
    await subscribed.pass(9_000);
    expect(await subscribed.service.ack("pool", "ack", claimed.token, ackAll(claimed, false))).toMatchObject({
      kind: "acked",
    });
    await subscribed.pass(9_000);
    expect(await subscribed.service.claim("pool", "worker-2")).toMatchObject({ kind: "held" });
    await subscribed.shard.append("events/a", "two");
    expect(await subscribed.service.ack("pool", "ack", claimed.token, ackAll(claimed))).toEqual({
      kind: "acked",
      nextWake: true,
    });
    expect(subscribed.subscription("pool").durable!.generation).toBe(2);
    const stale = await subscribed.service.ack("pool", "ack", claimed.token, ackAll(claimed));
    expect(stale).toMatchObject({ kind: "refused", code: "FENCED" });
    const next = await subscribed.claim("pool", "worker-2");
    expect(next.streams[0]).toMatchObject({ acked_offset: claimed.streams[0]!.tail_offset, has_pending: true });
    await subscribed.service.ack("pool", "ack", next.token, ackAll(next));
    expect(await subscribed.service.claim("pool", "worker-2")).toMatchObject({ code: "NO_PENDING_WORK" });
  });

  test("that is released or whose lease runs out is announced again while there is work", async () => {
    await using subscribed = await SubscribedShard.create();
    await subscribed.shard.create("wake/pool", "", JSON_STREAM);
    await subscribed.pull("pool", { streams: ["a"], lease_ttl_ms: 1_000 });
    await subscribed.shard.create("a", "one");
    const first = await subscribed.claim("pool");
    expect(await subscribed.service.release("pool", first.token, ackAll(first))).toBeNull();
    const second = await subscribed.claim("pool");
    await subscribed.restart();
    await subscribed.pass(1_000);
    expect(subscribed.subscription("pool").durable).toMatchObject({ generation: 3, wake: { holder: null } });
    const late = await subscribed.service.release("pool", second.token, ackAll(second));
    expect(late).toMatchObject({ code: "FENCED" });
    expect(subscribed.subscription("pool").pending.generation).toBe(3);
  });

  test("can be claimed without its wake stream, which is missed once", async () => {
    await using subscribed = await SubscribedShard.create();
    await subscribed.pull("pool", { pattern: "events/*" });
    await subscribed.shard.create("events/a", "one");
    const claimed = await subscribed.claim("pool");
    expect(claimed.streams).toHaveLength(1);
  });

  test("is not woken by its own wake stream, and may not name it", async () => {
    await using subscribed = await SubscribedShard.create();
    await subscribed.shard.create("wake/pool", "", JSON_STREAM);
    await subscribed.pull("pool", { pattern: "**" });
    await subscribed.shard.create("a", "one");
    const claimed = await subscribed.claim("pool");
    expect(claimed.streams.map(({ path }) => path)).toEqual(["a"]);
    expect(await subscribed.service.ack("pool", "ack", claimed.token, ackAll(claimed))).toMatchObject({
      nextWake: false,
    });
    const refused = await subscribed.tryPut("own", { type: "pull-wake", wake_stream: "w", streams: ["w"] });
    expect(refused).toMatchObject({ kind: "refused", code: "INVALID_REQUEST" });
    expect(await subscribed.service.addStreams("pool", ["wake/pool"])).toMatchObject({ code: "INVALID_REQUEST" });
  });

  test("whose wake stream another one follows wakes that one as well, however long the chain", async () => {
    await using subscribed = await SubscribedShard.create();
    const depth = 500;
    for (let i = 0; i < depth; i++) {
      void subscribed.shard.create(`wake/${i + 1}`, "", JSON_STREAM);
      void subscribed.put(`sub-${i}`, { type: "pull-wake", wake_stream: `wake/${i + 1}`, streams: [`wake/${i}`] });
    }
    await subscribed.settle();
    await subscribed.shard.create("wake/0", "1", JSON_STREAM);
    expect(subscribed.subscription(`sub-${depth - 1}`).durable!.generation).toBe(1);
  });
});

describe("links", () => {
  test("of a pattern begin at the tails of the streams that are there, and before the append that shows a later one", async () => {
    await using subscribed = await SubscribedShard.create();
    await subscribed.shard.create("events/old", "one");
    await subscribed.shard.create("other/old", "one");
    const body = await subscribed.webhook("sub", { pattern: "events/*", streams: ["manual"] });
    expect(body.streams).toEqual([
      { path: "events/old", link_type: "glob", acked_offset: tail(subscribed, "events/old") },
      { path: "manual", link_type: "explicit", acked_offset: "0000000000000000_0000000000000000" },
    ]);
    await subscribed.shard.create("events/empty", "");
    const before = tail(subscribed, "events/empty");
    await subscribed.shard.append("events/empty", "first");
    await subscribed.shard.create("events/new", "first");
    expect(await subscribed.cursors("sub")).toMatchObject({ "events/empty": before, "events/new": "-1" });
  });

  test("of 3,000 streams are all made although others are written meanwhile, and none of those is missed", async () => {
    await using subscribed = await SubscribedShard.create();
    for (let i = 0; i < 3_000; i++) void subscribed.shard.create(`events/${i}`, "x");
    await subscribed.shard.engine.wal.drain();
    await subscribed.shard.engine.sync.save();
    for (let i = 3_000; i < 3_500; i++) void subscribed.shard.create(`events/${i}`, "x");
    await subscribed.shard.engine.wal.drain();
    subscribed.answer = () => DONE;
    const tails = new Map(Array.from({ length: 3_500 }, (_, i) => [`events/${i}`, tail(subscribed, `events/${i}`)]));
    const creation = subscribed.webhook("sub", { pattern: "events/*" });
    await new Promise((resolve) => setImmediate(resolve));
    await subscribed.shard.append("events/999", "y");
    await subscribed.shard.append("events/3400", "y");
    await creation;
    await subscribed.settle();
    tails.set("events/999", tail(subscribed, "events/999"));
    tails.set("events/3400", tail(subscribed, "events/3400"));
    expect(await subscribed.cursors("sub")).toEqual(Object.fromEntries(tails));
    await subscribed.shard.engine.sync.save();
    await subscribed.restart();
    expect(await subscribed.cursors("sub")).toEqual(Object.fromEntries(tails));
    expect(subscribed.sent.flatMap(({ streams }) => streams.filter((s) => s.has_pending).map((s) => s.path))).toEqual(
      expect.arrayContaining(["events/999", "events/3400"]),
    );
    await subscribed.service.remove("sub");
    await subscribed.shard.engine.sync.save();
    expect([...subscribed.shard.catalog.links.all()]).toEqual([]);
  });

  test("go with their stream, and an explicit one waits for another of that name", async () => {
    await using subscribed = await SubscribedShard.create();
    await subscribed.webhook("sub", { pattern: "events/*", streams: ["manual"] });
    subscribed.answer = () => DONE;
    await subscribed.shard.create("events/a", "one");
    await subscribed.shard.create("manual", "one");
    await subscribed.settle();
    await subscribed.shard.engine.remove("events/a");
    await subscribed.shard.engine.remove("manual");
    expect(await subscribed.cursors("sub")).toEqual({ manual: "0000000000000000_0000000000000000" });
    const count = subscribed.sent.length;
    await subscribed.shard.create("manual", "again");
    await subscribed.settle();
    expect(subscribed.sent).toHaveLength(count + 1);
    expect(await subscribed.cursors("sub")).toEqual({ manual: tail(subscribed, "manual") });
  });

  test("by hand come and go without those of the pattern", async () => {
    await using subscribed = await SubscribedShard.create();
    await subscribed.webhook("sub", { pattern: "events/*" });
    await subscribed.shard.create("events/a", "");
    expect(await subscribed.service.addStreams("sub", ["events/a", "b"])).toBeNull();
    expect(await subscribed.service.addStreams("sub", ["b"])).toBeNull();
    const { streams } = (await subscribed.service.get("sub"))!;
    expect(streams.map(({ path, link_type }) => `${path} ${link_type}`)).toEqual(
      ["b explicit", "events/a explicit"].sort(),
    );
    expect(await subscribed.service.removeStream("sub", "b")).toBeNull();
    expect(await subscribed.service.removeStream("sub", "events/a")).toBeNull();
    const after = (await subscribed.service.get("sub"))!.streams;
    expect(after.map(({ path, link_type }) => `${path} ${link_type}`)).toEqual(["events/a glob"]);
    await subscribed.shard.create("b", "one");
    await subscribed.settle();
    expect(subscribed.sent).toEqual([]);
  });
});

describe("what a subscription is", () => {
  test("survives a roll, and a catalog that is rebuilt from the bucket", async () => {
    await using subscribed = await SubscribedShard.create();
    const { shard } = subscribed;
    await shard.create("wake/pool", "", JSON_STREAM);
    await subscribed.pull("pool", { pattern: "events/*", streams: ["manual"], description: "words" });
    await subscribed.pull("gone", { pattern: "events/*" });
    await shard.create("events/a", "one");
    const first = await subscribed.claim("pool");
    await subscribed.service.ack("pool", "ack", first.token, ackAll(first));
    await shard.roll();
    await shard.append("events/a", "two");
    await shard.create("events/b", "three");
    await subscribed.service.remove("gone");
    const second = await subscribed.claim("pool");
    const before = await subscribed.service.get("pool");
    await shard.roll();
    await shard.stop();
    fs.rmSync(shard.catalogDirectory, { recursive: true });
    await subscribed.restart();
    expect(await subscribed.service.get("pool")).toEqual(before);
    expect(await subscribed.service.get("gone")).toBeNull();
    expect(await subscribed.service.claim("pool", "other")).toMatchObject({ kind: "held", holder: "worker-1" });
    expect(await subscribed.service.ack("pool", "ack", second.token, ackAll(second))).toEqual({
      kind: "acked",
      nextWake: false,
    });
    await shard.create("manual", "four");
    expect((await subscribed.claim("pool")).streams[0]).toMatchObject({ path: "manual", has_pending: true });
  });

  test("is the same after a restart from the WAL, from the catalog, and from both", async () => {
    await using subscribed = await SubscribedShard.create();
    const { shard } = subscribed;
    await subscribed.webhook("sub", { pattern: "events/*" });
    subscribed.answer = () => DONE;
    await shard.create("events/a", "one");
    await subscribed.settle();
    const one = await subscribed.service.get("sub");
    await subscribed.restart();
    expect(await subscribed.service.get("sub")).toEqual(one);
    await shard.engine.sync.save();
    await shard.append("events/a", "two");
    await subscribed.settle();
    await shard.create("events/b", "three");
    await subscribed.settle();
    const two = await subscribed.service.get("sub");
    expect(subscribed.subscription("sub").pending.generation).toBe(3);
    await subscribed.restart();
    expect(await subscribed.service.get("sub")).toEqual(two);
    await shard.engine.sync.save();
    await subscribed.restart();
    expect(await subscribed.service.get("sub")).toEqual(two);
    expect(subscribed.subscription("sub").pending.generation).toBe(3);
  });

  test("ends for good: its name is free, its token is worthless, and the catalog keeps nothing of it", async () => {
    await using subscribed = await SubscribedShard.create();
    const { shard } = subscribed;
    await subscribed.pull("pool", { streams: ["a"] });
    await shard.create("a", "one");
    const claimed = await subscribed.claim("pool");
    await shard.engine.sync.save();
    await subscribed.service.remove("pool");
    expect(await subscribed.service.ack("pool", "ack", claimed.token, ackAll(claimed))).toMatchObject({
      code: "SUBSCRIPTION_NOT_FOUND",
    });
    await subscribed.pull("pool", { streams: ["a"], description: "another" });
    expect(await subscribed.service.ack("pool", "ack", claimed.token, ackAll(claimed))).toMatchObject({
      code: "TOKEN_INVALID",
    });
    await subscribed.restart();
    expect((await subscribed.service.get("pool"))!.description).toBe("another");
    await shard.engine.sync.save();
    await shard.engine.sync.save();
    expect([...shard.catalog.subscriptions.ids()]).toEqual([subscribed.subscription("pool").id]);
    expect([...shard.catalog.links.all()]).toEqual([{ id: subscribed.subscription("pool").id, path: "a" }]);
    await subscribed.restart();
    expect(shard.engine.subscriptions.book.table.size).toBe(1);
  });

  test("is confirmed by the same configuration and no other", async () => {
    await using subscribed = await SubscribedShard.create();
    await subscribed.webhook("sub", { streams: ["b", "a", "b"] });
    const config = { type: "webhook", webhook: { url: "https://worker.example/hook" } };
    expect(await subscribed.tryPut("sub", { ...config, streams: ["a", "/b/"] })).toMatchObject({ kind: "exists" });
    expect(await subscribed.tryPut("sub", { ...config, streams: ["a"] })).toMatchObject({
      code: "SUBSCRIPTION_ALREADY_EXISTS",
    });
    const [one, two] = await Promise.all([
      subscribed.tryPut("twice", { ...config, pattern: "**" }),
      subscribed.tryPut("twice", { ...config, pattern: "**" }),
    ]);
    expect([one.kind, two.kind]).toEqual(["created", "exists"]);
  });
});

test("2,000 leases need one timer", async () => {
  await using subscribed = await SubscribedShard.create();
  for (let i = 0; i < 2_000; i++) void subscribed.pull(`sub-${i}`, { streams: [`s/${i % 10}`], lease_ttl_ms: 600_000 });
  await subscribed.settle();
  for (let i = 0; i < 10; i++) await subscribed.shard.create(`s/${i}`, "x");
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
  const before = timers();
  await Promise.all(Array.from({ length: 2_000 }, (_, i) => subscribed.claim(`sub-${i}`)));
  expect(subscribed.shard.engine.subscriptions.leases.size).toBe(2_000);
  expect(timers() - before).toBeLessThanOrEqual(1);
  await subscribed.pass(600_000);
  for (let i = 0; i < 5; i++) await subscribed.settle();
  expect(subscribed.shard.engine.subscriptions.leases.size).toBe(0);
  expect(subscribed.subscription("sub-1999").durable).toMatchObject({ generation: 2, wake: { holder: null } });
});
