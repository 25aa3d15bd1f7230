/** When decisions are made and answered, beside the batches that they wait for. */
import { expect, test } from "vitest";
import { microtasks } from "../../test-support/shard.ts";
import { Batch } from "../wal/group-commit.ts";
import { Decisions } from "./decisions.ts";
import type { Stream } from "./stream.ts";
import type { StreamTable } from "./stream-table.ts";

/** Decisions on one path, whose stream is what `stream` says. */
function decisionsOn(stream: () => Partial<Stream> | undefined): Decisions {
  const table = { lookUp: stream } as unknown as StreamTable;
  return new Decisions({ table, commitNow: () => undefined, clock: () => 0 });
}

test("what waited for a commit is decided behind it, not inside of it", async () => {
  const batch = new Batch();
  let stream: Partial<Stream> | undefined = { durable: null, lastBatch: batch };
  let made = 0;
  const decided = decisionsOn(() => stream).later("a", () => {
    made += 1;
    return { batch: null, answer: () => "made" };
  });
  expect(made).toBe(0);
  stream = undefined;
  batch.acknowledge();
  expect(made).toBe(0);
  await microtasks();
  expect(made).toBe(1);
  expect(await decided).toBe("made");
});

test("an answer that fails takes no other answer of its batch along", async () => {
  const batch = new Batch();
  const decisions = decisionsOn(() => undefined);
  const failing = decisions.later("a", () => ({
    batch,
    answer: () => {
      throw new Error("no answer");
    },
  }));
  const other = decisions.later("b", () => ({ batch, answer: () => "answered" }));
  batch.acknowledge();
  await expect(failing).rejects.toThrow("no answer");
  expect(await other).toBe("answered");
});

test("a decision that cannot be made rejects", async () => {
  const refused = decisionsOn(() => undefined).later("a", () => {
    throw new Error("no room");
  });
  await expect(refused).rejects.toThrow("no room");
});

test("nobody is answered before the batch is durable", async () => {
  const batch = new Batch();
  let answered = false;
  const asked = decisionsOn(() => undefined).later("a", () => ({ batch, answer: () => (answered = true) }));
  await microtasks();
  expect(answered).toBe(false);
  batch.acknowledge();
  expect(await asked).toBe(true);
});
