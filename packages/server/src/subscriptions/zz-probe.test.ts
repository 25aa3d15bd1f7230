import { expect, test } from "vitest";
import { until } from "../../test-support/shard.ts";
import { ACCEPTED, ackAll, DONE, REFUSED, SubscribedShard, wakeOf } from "../../test-support/subscriptions.ts";

test("late done after re-creation", async () => {
  await using s = await SubscribedShard.create();
  await s.webhook("sub", { streams: ["a"] });
  let open: (a: typeof DONE) => void = () => undefined;
  s.answer = () => new Promise((r) => (open = r));
  await s.shard.create("a", "one");
  await until(() => s.sent.length === 1);
  await s.shard.engine.remove("a");
  await s.shard.create("a", "new");
  s.answer = () => ACCEPTED;
  open(DONE);
  await s.settle();
  console.log("CURSOR", await s.cursors("sub"), s.shard.engine.subscriptions.book.tails("a"), JSON.stringify(s.sent.at(-1)!.streams));
});
test("late pull ack after re-creation", async () => {
  await using s = await SubscribedShard.create();
  await s.shard.create("wake/pool", "");
  await s.pull("sub", { streams: ["a"] });
  await s.shard.create("a", "one");
  const c = await s.claim("sub");
  await s.shard.engine.remove("a");
  await s.shard.create("a", "new");
  console.log("ACK", await s.service.ack("sub", "ack", c.token, ackAll(c)), await s.cursors("sub"));
});
test("backfill zero segments", async () => {
  await using s = await SubscribedShard.create();
  await s.shard.create("a", "one");
  await s.shard.create("a/b", "one");
  console.log("BACKFILL", (await s.webhook("sub", { pattern: "a/**" })).streams);
});
test("wake stream later", async () => {
  await using s = await SubscribedShard.create();
  await s.pull("sub", { pattern: "ev/*" });
  await s.shard.create("ev/a", "one");
  await s.shard.create("wake/pool", "");
  await s.shard.append("ev/a", "two");
  await s.settle();
  console.log("EVENTS", s.shard.hotText("wake/pool"));
});
test("restart in backfill", async () => {
  await using s = await SubscribedShard.create();
  for (let i = 0; i < 1500; i++) await s.shard.create(`ev/${i}`, "x");
  void s.webhook("sub", { pattern: "ev/*" }).catch(() => undefined);
  await until(() => s.subscription("sub")?.durable !== null && s.subscription("sub") !== undefined);
  await s.restart();
  const again = await s.tryPut("sub", { type: "webhook", webhook: { url: "https://worker.example/hook" }, pattern: "ev/*" });
  console.log("AGAIN", again.kind, "body" in again ? again.body.streams.length : "");
});
test("stale busy redelivers the next wake", async () => {
  await using s = await SubscribedShard.create();
  await s.webhook("sub", { streams: ["a"], lease_ttl_ms: 600000 });
  let open: (a: any) => void = () => undefined;
  s.answer = (n) => n.generation === 1 ? new Promise((r) => (open = r)) : ACCEPTED;
  await s.shard.create("a", "one");
  await until(() => s.sent.length === 1);
  await s.shard.append("a", "two");
  const w = s.sent[0]!;
  console.log(await s.service.ack("sub", "callback", w.callback_token, ackAll(wakeOf(w))));
  await until(() => s.sent.length === 2);
  await new Promise((r) => setTimeout(r, 20));
  open({ kind: "failed", reason: "busy", detail: "" });
  await s.settle();
  await s.pass(2000);
  console.log("SENT", s.sent.map((x) => x.generation));
});
test("double delivery", async () => {
  await using s = await SubscribedShard.create();
  await s.webhook("sub", { pattern: "ev/*", lease_ttl_ms: 600000 });
  s.answer = () => REFUSED;
  await s.shard.create("ev/a", "one");
  await s.settle();
  const w = s.sent[0]!;
  // retry is due: run A starts while W2 is on its way and a link frame rides in the batch after it
  await s.shard.append("ev/a", "two");
  s.answer = () => ACCEPTED;
  const book = s.shard.engine.subscriptions.book;
  void book;
  s.shard.nowMs += 1000;
  const acked = s.service.ack("sub", "callback", w.callback_token, ackAll(wakeOf(w)));
  const sub = s.subscription("sub");
  for (let i = 0; i < 40 && sub.pending.generation < 2; i++) await Promise.resolve();
  const first = sub.lastBatch;
  void s.shard.engine.subscriptions.leases.tick();
  // wait until the first batch is being written, then a frame in the next batch
  while ((s.shard.engine.wal as any).open === first) await new Promise((r) => setImmediate(r));
  const made = s.shard.create("ev/b", "x");
  await acked; await made; await s.settle();
  console.log("DOUBLE", s.sent.map((x) => x.generation), sub.lastBatch);
});
