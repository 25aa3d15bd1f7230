/** Random histories with crashes in them, against what must always hold. */
import { crc32 } from "node:zlib";
import * as fc from "fast-check";
import { pendingOf, readBatch, SEGMENT_HEADER_BYTES, ZERO_OFFSET } from "@coldbrook/core";
import { expect, test } from "vitest";
import { ACCEPTED, ackAll, DONE, REFUSED, SubscribedShard } from "../../test-support/subscriptions.ts";
import type { Claimed } from "./subscription-service.ts";

const STREAMS = ["events/a", "events/b", "events/c", "manual"];
const HOOK = "hook";
const POOL = "pool";

type Step =
  | { readonly kind: "append" | "remove"; readonly stream: string }
  | { readonly kind: "claim" | "release" | "save" | "roll" | "crash" | "link" | "unlink" }
  | { readonly kind: "ack"; readonly done: boolean }
  | { readonly kind: "answer"; readonly how: number }
  | { readonly kind: "pass"; readonly ms: number };

const stream = fc.constantFrom(...STREAMS);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("append" as const), stream }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("remove" as const), stream }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom("claim" as const, "release" as const) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("ack" as const), done: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("answer" as const), how: fc.nat(2) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("pass" as const), ms: fc.nat(5_000) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom("save" as const, "roll" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom("link" as const, "unlink" as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("crash" as const) }) },
);

class History {
  readonly #subscribed: SubscribedShard;
  readonly #generations = new Map<string, number>();
  /** By subscription and path: the furthest cursor since the stream was last removed or unlinked. */
  readonly #cursors = new Map<string, string>();
  #claim: Claimed | null = null;

  constructor(subscribed: SubscribedShard) {
    this.#subscribed = subscribed;
  }

  async run(steps: readonly Step[]): Promise<void> {
    for (const each of steps) {
      await this.#step(each);
      await this.#check();
    }
  }

  async #step(each: Step): Promise<void> {
    const { shard, service } = this.#subscribed;
    switch (each.kind) {
      case "append":
        if (shard.engine.find(each.stream) === undefined) await shard.create(each.stream, "x");
        else await shard.append(each.stream, "x");
        return;
      case "remove":
        for (const name of [HOOK, POOL]) this.#cursors.delete(`${name} ${each.stream}`);
        await shard.engine.remove(each.stream);
        return;
      case "claim": {
        const result = await service.claim(POOL, "worker");
        if (result.kind === "claimed") {
          // Two workers never hold one lease.
          expect(result.generation).toBeGreaterThanOrEqual(this.#claim?.generation ?? 0);
          this.#claim = result;
        }
        return;
      }
      case "release":
        if (this.#claim !== null) await service.release(POOL, this.#claim.token, ackAll(this.#claim));
        return;
      case "ack":
        if (this.#claim !== null) await service.ack(POOL, "ack", this.#claim.token, ackAll(this.#claim, each.done));
        return;
      case "answer":
        this.#subscribed.answer = () => [ACCEPTED, DONE, REFUSED][each.how]!;
        return;
      case "pass":
        return this.#subscribed.pass(each.ms);
      case "save":
        return shard.engine.sync.save();
      case "roll":
        return shard.roll();
      case "link":
        await service.addStreams(POOL, ["manual"]);
        return;
      case "unlink":
        this.#cursors.delete(`${POOL} manual`);
        await service.removeStream(POOL, "manual");
        return;
      case "crash":
        return this.#subscribed.restart();
    }
  }

  async #check(): Promise<void> {
    const { shard } = this.#subscribed;
    expect(shard.fatal).toEqual([]);
    await shard.engine.wal.drain();
    const { book } = shard.engine.subscriptions;
    for (const name of [HOOK, POOL]) {
      const subscription = this.#subscribed.subscription(name);
      const { generation, wake } = subscription.pending;
      expect(generation).toBeGreaterThanOrEqual(this.#generations.get(name) ?? 0);
      this.#generations.set(name, generation);
      const paths = new Set(STREAMS);
      for (const path of paths) {
        const link = book.links.load(subscription, path);
        if (link === undefined) continue;
        const key = `${name} ${path}`;
        expect(link.acked >= (this.#cursors.get(key) ?? ""), `${key} moved back`).toBe(true);
        this.#cursors.set(key, link.acked);
        const tail = book.tails(path).pending;
        // No wake is lost: what is pending has one, or its subscription waits for a lease to run out.
        if (pendingOf(link, tail)) expect(wake, `${key} has work and no wake`).not.toBeNull();
      }
    }
  }
}

test("cursors and generations never go back, and no work is without a wake, whatever happens in which order", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 40 }), async (steps) => {
      await using subscribed = await SubscribedShard.create();
      await subscribed.shard.create("wake/pool", "", { contentType: "application/json" });
      await subscribed.webhook(HOOK, { pattern: "events/*", lease_ttl_ms: 2_000 });
      await subscribed.pull(POOL, { pattern: "**", lease_ttl_ms: 3_000 });
      await new History(subscribed).run(steps);
    }),
    { numRuns: 10 },
  );
}, 120_000);

/** Where each batch of the segment ends. */
function batchEnds(bytes: Uint8Array): number[] {
  const ends: number[] = [];
  for (let at = SEGMENT_HEADER_BYTES; ;) {
    const batch = readBatch(bytes, at, crc32);
    if (batch.kind !== "batch") return ends;
    at = batch.end;
    ends.push(at);
  }
}

function checkAll({ shard }: SubscribedShard, when: string): void {
  const { book } = shard.engine.subscriptions;
  for (const subscription of book.table.all()) {
    for (const path of ["manual", "events/0", "events/1", "events/2"]) {
      const link = book.links.load(subscription, path);
      if (link === undefined) continue;
      const { durable } = book.tails(path);
      const { name, wake } = subscription.pending;
      expect(link.acked <= (durable ?? ZERO_OFFSET), `${name} ${path}, ${when}`).toBe(true);
      if (pendingOf(link, durable)) expect(wake, `${name} ${path}, ${when}`).not.toBeNull();
    }
  }
}

test("after a crash behind any batch, and inside of any, what is pending has a wake and cursors lie within their streams", async () => {
  await using subscribed = await SubscribedShard.create();
  const { shard } = subscribed;
  subscribed.answer = () => DONE;
  await shard.create("wake/pool", "", { contentType: "application/json" });
  await subscribed.webhook(HOOK, { pattern: "events/*" });
  await subscribed.pull(POOL, { pattern: "events/*", streams: ["manual"] });
  for (let round = 0; round < 3; round++) {
    await Promise.all([shard.create(`events/${round}`, "x"), round === 0 ? shard.create("manual", "x") : null]);
    const claimed = await subscribed.claim(POOL);
    await Promise.all([
      shard.append("events/0", "y"),
      subscribed.service.ack(POOL, "ack", claimed.token, ackAll(claimed)),
    ]);
    await subscribed.settle();
  }
  await shard.engine.remove("events/1");
  await shard.stop();
  const [[name, bytes]] = [...shard.walFiles()] as [[string, Buffer]];
  const ends = batchEnds(bytes);
  expect(ends.length).toBeGreaterThan(15);
  for (const end of ends) {
    for (const cut of [end, end - 1]) {
      shard.restoreWal(new Map([[name, bytes.subarray(0, cut)]]));
      await shard.start();
      checkAll(subscribed, `cut at ${cut}`);
      await shard.stop();
    }
  }
  await shard.start();
  subscribed.attach();
}, 60_000);
