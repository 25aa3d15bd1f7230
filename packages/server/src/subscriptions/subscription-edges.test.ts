/** What happens to subscriptions at their edges: answers that come late, streams that take the place of others. */
import { describe, expect, test } from "vitest";
import { ask, until } from "../../test-support/shard.ts";
import { ACCEPTED, ackAll, DONE, SubscribedShard, wakeOf } from "../../test-support/subscriptions.ts";
import type { WebhookAnswer } from "../webhook/webhook-client.ts";

/** A receiver that answers its first wake when it is told to, and accepts all later ones. */
function late(subscribed: SubscribedShard): (answer: WebhookAnswer) => Promise<void> {
  let give: (answer: WebhookAnswer) => void = () => undefined;
  const first = new Promise<WebhookAnswer>((resolve) => (give = resolve));
  subscribed.answer = () => (subscribed.sent.length === 1 ? first : ACCEPTED);
  return async (answer) => {
    give(answer);
    await subscribed.settle();
  };
}

describe("a cursor is never an offset of the stream that had the path before", () => {
  test("after a webhook's done that comes late", async () => {
    await using subscribed = await SubscribedShard.create();
    await subscribed.webhook("sub", { streams: ["a"] });
    const answer = late(subscribed);
    await subscribed.shard.create("a", "one");
    await until(() => subscribed.sent.length === 1);
    await subscribed.shard.engine.remove("a");
    await subscribed.shard.create("a", "two");
    await answer(DONE);
    expect(subscribed.sent.map(({ generation }) => generation)).toEqual([1, 2]);
    expect(subscribed.sent[1]!.streams).toEqual([
      expect.objectContaining({ acked_offset: "0000000000000000_0000000000000000", has_pending: true }),
    ]);
  });

  test("after a worker's ack that comes late, which is refused", async () => {
    await using subscribed = await SubscribedShard.create();
    await subscribed.pull("sub", { streams: ["a"] });
    await subscribed.shard.create("a", "one");
    const claimed = await subscribed.claim("sub");
    await subscribed.shard.engine.remove("a");
    await subscribed.shard.create("a", "two");
    expect(await subscribed.service.ack("sub", "ack", claimed.token, ackAll(claimed))).toMatchObject({
      code: "INVALID_OFFSET",
    });
    expect(await subscribed.cursors("sub")).toEqual({ a: "0000000000000000_0000000000000000" });
  });
});

test("what comes of a wake that is over does not touch the next one's delivery", async () => {
  await using subscribed = await SubscribedShard.create();
  await subscribed.webhook("sub", { streams: ["a"], lease_ttl_ms: 600_000 });
  const answer = late(subscribed);
  await subscribed.shard.create("a", "one");
  await until(() => subscribed.sent.length === 1);
  await subscribed.shard.append("a", "two");
  const [first] = subscribed.sent;
  await subscribed.service.ack("sub", "callback", first!.callback_token, ackAll(wakeOf(first!)));
  await until(() => subscribed.sent.length === 2);
  await answer({ kind: "failed", reason: "busy", detail: "" });
  await subscribed.pass(60_000);
  expect(subscribed.sent.map(({ generation }) => generation)).toEqual([1, 2]);
});

test("a wake stream that comes to be is told of the wakes that nobody has claimed, also after a restart", async () => {
  await using subscribed = await SubscribedShard.create();
  const { shard } = subscribed;
  await subscribed.pull("sub", { pattern: "events/*" });
  await subscribed.pull("idle", { pattern: "other/*" });
  await shard.create("events/a", "one");
  await subscribed.restart();
  await shard.engine.create("wake/pool", ask({ contentType: "application/json" }), Buffer.from(""));
  await subscribed.settle();
  expect(subscribed.events("wake/pool")).toEqual([
    expect.objectContaining({ subscription_id: "sub", generation: 1, stream: "events/a" }),
  ]);
});

test("a pattern's links are made to a stream for which `**` is no segment at all", async () => {
  await using subscribed = await SubscribedShard.create();
  for (const path of ["a", "a/b", "ab"]) await subscribed.shard.create(path, "x");
  const { streams } = await subscribed.webhook("sub", { pattern: "a/**" });
  expect(streams.map(({ path }) => path)).toEqual(["a", "a/b"]);
});

test("what is acknowledged is no longer looked through when the wake ends", async () => {
  await using subscribed = await SubscribedShard.create();
  await subscribed.pull("sub", { pattern: "events/*" });
  for (const path of ["events/a", "events/b", "events/c"]) await subscribed.shard.create(path, "x");
  const claimed = await subscribed.claim("sub");
  await subscribed.shard.append("events/b", "y");
  await subscribed.service.ack("sub", "ack", claimed.token, ackAll(claimed, false));
  expect([...subscribed.subscription("sub").work!]).toEqual(["events/b"]);
});
