import { test } from "vitest";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { ackAll, SubscribedShard, DONE } from "../../test-support/subscriptions.ts";
const N = 100_000;
async function timed<T>(what: string, f: () => Promise<T> | T): Promise<T> {
  const h = monitorEventLoopDelay({ resolution: 1 }); h.enable();
  const t = performance.now();
  const r = await f();
  const ms = performance.now() - t;
  await new Promise((r) => setTimeout(r, 5));
  h.disable();
  console.log(`${what}: ${ms.toFixed(1)} ms, max block ${(h.max / 1e6).toFixed(1)} ms`);
  return r;
}
test("100k links", { timeout: 200000 }, async () => {
  await using s = await SubscribedShard.create();
  await s.shard.create("wake/pool", "");
  await s.pull("sub", { pattern: "ev/*" });
  await timed("create 100k", async () => {
    for (let i = 0; i < N; i += 1000) await Promise.all(Array.from({ length: 1000 }, (_, j) => s.shard.create(`ev/${i + j}`, "x")));
  });
  await timed("save", () => s.shard.engine.sync.save());
  const c = await timed("claim", () => s.claim("sub"));
  console.log("streams", c.streams.length);
  const book = s.shard.engine.subscriptions.book;
  const all = { ...c, streams: [] as any[] };
  for (let i = 0; i < N; i++) all.streams.push({ path: `ev/${i}`, tail_offset: book.tails(`ev/${i}`).durable });
  await timed("ack 10k x 9 (not done)", async () => {
    for (let i = 0; i < N - 10000; i += 10000) await s.service.ack("sub", "ack", c.token, ackAll({ ...all, streams: all.streams.slice(i, i + 10000) }, false));
  });
  console.log("work", s.subscription("sub").work?.size);
  await timed("ack last 9,999 done", () => s.service.ack("sub", "ack", c.token, ackAll({ ...all, streams: all.streams.slice(N - 10000, N - 1) }, true)));
  await timed("GET", () => s.service.get("sub"));
  const c2 = await timed("claim2", () => s.claim("sub"));
  console.log("streams", c2.streams.length, "heap MB", Math.round(process.memoryUsage().heapUsed / 1e6));
  await timed("save", () => s.shard.engine.sync.save());
  await timed("append", () => s.shard.append("ev/5", "y"));
  await timed("restart", () => s.restart());
  await timed("claim3 held", () => s.service.claim("sub", "w"));
  await timed("release", () => s.service.release("sub", c2.token, ackAll(c2)));
});
test("100k subscriptions", { timeout: 200000 }, async () => {
  await using s = await SubscribedShard.create();
  await s.shard.create("plain", "");
  await timed("baseline 20k appends", async () => { for (let k = 0; k < 20; k++) await Promise.all(Array.from({ length: 1000 }, () => s.shard.append("plain", "x"))); });
  await timed("create", async () => {
    for (let i = 0; i < N; i += 500) await Promise.all(Array.from({ length: 500 }, (_, j) => s.webhook(`s${i + j}`, { pattern: `t${i + j}/**` })));
  });
  await timed("save", () => s.shard.engine.sync.save());
  await timed("20k appends unmatched", async () => { for (let k = 0; k < 20; k++) await Promise.all(Array.from({ length: 1000 }, () => s.shard.append("plain", "x"))); });
  const table = s.shard.engine.subscriptions.book.table;
  await timed("20k fresh matches", () => { for (let i = 0; i < 20000; i++) table.matches(`t${i}/a/b`, { matches: null }); });
  await timed("restart", () => s.restart());
  console.log("heap MB", Math.round(process.memoryUsage().heapUsed / 1e6));
});
test("wake storm", { timeout: 100000 }, async () => {
  for (const n of [100, 300]) {
    await using s = await SubscribedShard.create();
    for (let i = 0; i < n; i++) { await s.shard.create(`w/${i}`, ""); }
    for (let i = 0; i < n; i++) await s.put(`s${i}`, { type: "pull-wake", wake_stream: `w/${i}`, pattern: "**" });
    const before = s.shard.engine.wal.unrolledBytes;
    await timed(`storm ${n}`, () => s.shard.create("x", "x"));
    console.log("wal bytes", s.shard.engine.wal.unrolledBytes - before);
    await timed(`second append`, () => s.shard.append("x", "x"));
  }
});
