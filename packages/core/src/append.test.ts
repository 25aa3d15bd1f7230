import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decideAppend, type AppendOutcome, type AppendRequest } from "./append.ts";
import { generation, lsn, position } from "./brand.ts";
import { newStreamState } from "./create.ts";
import type { ProducerState, ProducerTuple, StreamState } from "./stream-state.ts";

const id = generation(4);
const open: StreamState = newStreamState({
  identity: {
    id,
    path: "s",
    config: { contentType: "text/plain", ttlSeconds: null, expiresAtMs: null },
    createdAtMs: 0,
    lineage: [{ generation: id, first: position(0), source: null }],
  },
  tail: position(100),
  closed: false,
  touchedAtMs: 1000,
  lsn: lsn(77),
});
const by: ProducerTuple = { id: "p", epoch: 1, seq: 3 };
const closed: StreamState = { ...open, closed: true };
const closedByP: StreamState = { ...closed, closedBy: by };
const sequenced: StreamState = { ...open, streamSeq: "b" };
const known: ProducerState = { epoch: 1, seq: 3 };

const body: AppendRequest = {
  contentType: "text/plain",
  bytes: 10,
  close: false,
  producer: null,
  streamSeq: null,
  nowMs: 2000,
};
const closeOnly: AppendRequest = { ...body, contentType: null, bytes: 0, close: true };
const closing: AppendRequest = { ...body, close: true };

function tuple(epoch: number, seq: number, name = "p"): ProducerTuple {
  return { id: name, epoch, seq };
}

function accepted(change: Partial<StreamState>, producer: ProducerState | null = null): AppendOutcome {
  return { kind: "append", next: { ...open, touchedAtMs: 2000, ...change }, producer };
}

type Row = [string, StreamState, ProducerState | undefined, AppendRequest, AppendOutcome];

function check(rows: Row[]): void {
  test.each(rows)("%s", (_name, state, producer, request, outcome) => {
    expect(decideAppend(state, producer, request)).toEqual(outcome);
  });
}

describe("open stream (5.2, 5.3)", () => {
  check([
    ["a body is appended", open, undefined, body, accepted({ tail: position(110) })],
    [
      "type case is ignored",
      open,
      undefined,
      { ...body, contentType: "TEXT/PLAIN" },
      accepted({ tail: position(110) }),
    ],
    ["an empty body is refused", open, undefined, { ...body, bytes: 0 }, { kind: "empty-body" }],
    ["a missing type is refused", open, undefined, { ...body, contentType: null }, { kind: "missing-content-type" }],
    [
      "another type conflicts",
      open,
      undefined,
      { ...body, contentType: "application/json" },
      { kind: "content-type", expected: "text/plain" },
    ],
    ["append-and-close does both", open, undefined, closing, accepted({ tail: position(110), closed: true })],
    ["close-only closes", open, undefined, closeOnly, accepted({ closed: true })],
    [
      "close-only ignores the type",
      open,
      undefined,
      { ...closeOnly, contentType: "application/json" },
      accepted({ closed: true }),
    ],
    [
      "the last position is 2^53-1",
      { ...open, tail: position(Number.MAX_SAFE_INTEGER - 9) },
      undefined,
      body,
      { kind: "too-long" },
    ],
  ]);

  test("a tail of exactly 2^53-1 is reached", () => {
    const state = { ...open, tail: position(Number.MAX_SAFE_INTEGER - 10) };
    expect(decideAppend(state, undefined, body)).toMatchObject({ next: { tail: Number.MAX_SAFE_INTEGER } });
  });
});

describe("closed stream", () => {
  check([
    ["an append conflicts", closed, undefined, body, { kind: "closed" }],
    ["append-and-close conflicts", closed, undefined, closing, { kind: "closed" }],
    ["close-only is idempotent", closed, undefined, closeOnly, { kind: "already-closed" }],
    [
      "close-only is idempotent, whoever closed and whatever its type",
      closedByP,
      known,
      { ...closeOnly, contentType: "a/b" },
      { kind: "already-closed" },
    ],
    ["closed wins over the type", closed, undefined, { ...body, contentType: "a/b" }, { kind: "closed" }],
    [
      "closed wins over Stream-Seq",
      { ...sequenced, closed: true },
      undefined,
      { ...body, streamSeq: "a" },
      { kind: "closed" },
    ],
    ["an empty body is refused first", closed, undefined, { ...body, bytes: 0 }, { kind: "empty-body" }],
    [
      "the closing tuple is a duplicate",
      closedByP,
      known,
      { ...closing, producer: by },
      { kind: "duplicate", producer: known },
    ],
    [
      "the closing tuple without a body is a duplicate",
      closedByP,
      known,
      { ...closeOnly, producer: by },
      { kind: "duplicate", producer: known },
    ],
    [
      "the closing tuple is a duplicate though its producer is forgotten",
      closedByP,
      undefined,
      { ...closing, producer: by },
      { kind: "duplicate", producer: known },
    ],
    ["another sequence number conflicts", closedByP, known, { ...closing, producer: tuple(1, 4) }, { kind: "closed" }],
    ["an older sequence number conflicts", closedByP, known, { ...body, producer: tuple(1, 2) }, { kind: "closed" }],
    ["a newer epoch conflicts", closedByP, known, { ...closing, producer: tuple(2, 0) }, { kind: "closed" }],
    [
      "another producer conflicts",
      closedByP,
      undefined,
      { ...closing, producer: tuple(1, 3, "q") },
      { kind: "closed" },
    ],
    [
      "close-only of another producer conflicts",
      closedByP,
      undefined,
      { ...closeOnly, producer: tuple(0, 0, "q") },
      { kind: "closed" },
    ],
    [
      "a producer conflicts on a stream closed by none",
      closed,
      known,
      { ...closing, producer: by },
      { kind: "closed" },
    ],
    [
      "a stale epoch is fenced",
      closedByP,
      known,
      { ...closing, producer: tuple(0, 4) },
      { kind: "stale-epoch", epoch: 1 },
    ],
  ]);
});

describe("producers (5.2.1)", () => {
  const ask = (epoch: number, seq: number, change: Partial<AppendRequest> = {}): AppendRequest => ({
    ...body,
    producer: tuple(epoch, seq),
    ...change,
  });
  const at = { tail: position(110) };
  check([
    ["a new producer starts at 0", open, undefined, ask(0, 0), accepted(at, { epoch: 0, seq: 0 })],
    ["a new producer may claim any epoch", open, undefined, ask(9, 0), accepted(at, { epoch: 9, seq: 0 })],
    ["a new producer past 0 is a gap", open, undefined, ask(0, 2), { kind: "gap", expected: 0, received: 2 }],
    [
      "a new producer past 0 in a later epoch is a gap",
      open,
      undefined,
      ask(3, 1),
      { kind: "gap", expected: 0, received: 1 },
    ],
    ["the next number is accepted", open, known, ask(1, 4), accepted(at, { epoch: 1, seq: 4 })],
    ["the same number is a duplicate", open, known, ask(1, 3), { kind: "duplicate", producer: known }],
    [
      "an older number is a duplicate that names the highest",
      open,
      known,
      ask(1, 0),
      { kind: "duplicate", producer: known },
    ],
    ["a skipped number is a gap", open, known, ask(1, 5), { kind: "gap", expected: 4, received: 5 }],
    ["an older epoch is fenced", open, known, ask(0, 4), { kind: "stale-epoch", epoch: 1 }],
    ["an older epoch is fenced at 0 too", open, known, ask(0, 0), { kind: "stale-epoch", epoch: 1 }],
    ["a newer epoch starts at 0", open, known, ask(2, 0), accepted(at, { epoch: 2, seq: 0 })],
    ["a newer epoch past 0 is refused", open, known, ask(2, 1), { kind: "epoch-start" }],
    [
      "the type is judged before the producer",
      open,
      known,
      ask(1, 3, { contentType: "a/b" }),
      { kind: "content-type", expected: "text/plain" },
    ],
    [
      "a duplicate wins over Stream-Seq",
      sequenced,
      known,
      ask(1, 3, { streamSeq: "b" }),
      { kind: "duplicate", producer: known },
    ],
    [
      "a gap wins over Stream-Seq",
      sequenced,
      known,
      ask(1, 9, { streamSeq: "a" }),
      { kind: "gap", expected: 4, received: 9 },
    ],
    [
      "the next number with an old Stream-Seq conflicts",
      sequenced,
      known,
      ask(1, 4, { streamSeq: "b" }),
      { kind: "stream-seq", last: "b" },
    ],
    [
      "a producer's closing append is remembered",
      open,
      known,
      ask(1, 4, { close: true }),
      accepted({ ...at, closed: true, closedBy: tuple(1, 4) }, { epoch: 1, seq: 4 }),
    ],
    [
      "a producer's close-only is remembered",
      open,
      known,
      ask(1, 4, { close: true, bytes: 0, contentType: null }),
      accepted({ closed: true, closedBy: tuple(1, 4) }, { epoch: 1, seq: 4 }),
    ],
    [
      "a close that repeats an append's tuple does not close",
      open,
      known,
      ask(1, 3, { close: true, bytes: 0 }),
      { kind: "duplicate", producer: known },
    ],
    [
      "a close with a gap does not close",
      open,
      known,
      ask(1, 5, { close: true }),
      { kind: "gap", expected: 4, received: 5 },
    ],
  ]);
});

describe("Stream-Seq (5.2)", () => {
  const ask = (streamSeq: string): AppendRequest => ({ ...body, streamSeq });
  const conflict: AppendOutcome = { kind: "stream-seq", last: "b" };
  const on = (last: string): StreamState => ({ ...open, streamSeq: last });
  const at = { tail: position(110) };
  check([
    ["the first is accepted", open, undefined, ask("a"), accepted({ ...at, streamSeq: "a" })],
    ["a greater one is accepted", sequenced, undefined, ask("c"), accepted({ ...at, streamSeq: "c" })],
    ["the same one conflicts", sequenced, undefined, ask("b"), conflict],
    ["a smaller one conflicts", sequenced, undefined, ask("a"), conflict],
    ["upper case comes first", sequenced, undefined, ask("Z"), conflict],
    ["10 comes before 2", on("2"), undefined, ask("10"), { kind: "stream-seq", last: "2" }],
    ["10 comes after 09", on("09"), undefined, ask("10"), accepted({ ...at, streamSeq: "10" })],
    ["none keeps the last", sequenced, undefined, body, accepted({ ...at, streamSeq: "b" })],
    [
      "the type is judged first",
      sequenced,
      undefined,
      { ...ask("a"), contentType: "a/b" },
      { kind: "content-type", expected: "text/plain" },
    ],
    ["close-only is judged too", sequenced, undefined, { ...closeOnly, streamSeq: "a" }, conflict],
  ]);
});

test("retries and reordering never append a producer's request twice or out of order", () => {
  const requests = fc.array(fc.record({ epoch: fc.nat(2), seq: fc.nat(4) }), { maxLength: 60 });
  fc.assert(
    fc.property(requests, (sent) => {
      let state = open;
      let producer: ProducerState | undefined;
      const log: ProducerTuple[] = [];
      for (const { epoch, seq } of sent) {
        const outcome = decideAppend(state, producer, { ...body, producer: tuple(epoch, seq) });
        if (outcome.kind !== "append") continue;
        expect(outcome.next.tail).toBe(state.tail + 10);
        state = outcome.next;
        producer = outcome.producer ?? undefined;
        log.push(tuple(epoch, seq));
      }
      for (const [index, entry] of log.entries()) {
        const before = log[index - 1];
        const follows = before !== undefined && before.epoch === entry.epoch && before.seq + 1 === entry.seq;
        const starts = entry.seq === 0 && (before === undefined || before.epoch < entry.epoch);
        expect(follows || starts).toBe(true);
      }
    }),
  );
});

test("a closed stream never accepts anything", () => {
  const request = fc.record({
    contentType: fc.constantFrom(null, "text/plain", "a/b"),
    bytes: fc.nat(2),
    close: fc.boolean(),
    producer: fc.option(fc.record({ id: fc.constantFrom("p", "q"), epoch: fc.nat(3), seq: fc.nat(5) })),
    streamSeq: fc.option(fc.constantFrom("a", "z")),
    nowMs: fc.nat(),
  });
  fc.assert(
    fc.property(
      request,
      fc.constantFrom(closed, closedByP),
      fc.constantFrom(undefined, known),
      (ask, state, producer) => {
        expect(decideAppend(state, producer, ask).kind).not.toBe("append");
      },
    ),
  );
});
