import { describe, expect, test } from "vitest";
import { History } from "../crash/history.ts";
import type { Incarnation, Origin, Write } from "../crash/incarnation.ts";
import { CONTENT_TYPES, makePayload, type StreamKind } from "../crash/messages.ts";
import { SeededRandom } from "../crash/random.ts";
import { recordWrite } from "../crash/requests.ts";
import { checkStanding, settleStanding } from "../crash/standing.ts";
import { verifyContent } from "../crash/verify-content.ts";

/** Each fault of forks and soft deletes that the oracle is there for, put before it. */

function ack(history: History, write: Write): Write {
  write.fate = "yes";
  write.ackedAt = history.tick();
  return write;
}

const CONFIG = { ttlSeconds: null, expiresAt: null, fleeting: false };
const ASKS = { contentType: false, ttlSeconds: null, expiresAt: null };

interface Family {
  readonly history: History;
  /** The source's three acknowledged writes, and where each ends. */
  readonly writes: readonly Write[];
  readonly source: Incarnation;
  /** A fork in the next slot; without an offset of the source's tail, as if its PUT was not answered yet. */
  readonly fork: (of?: Incarnation, at?: { point: number; subOffset?: number }) => Incarnation;
  readonly write: (life: Incarnation) => Write;
}

function stored(writes: readonly Write[]): Buffer {
  return Buffer.concat(writes.map((write) => write.payload.stored));
}

function family(kind: StreamKind): Family {
  const history = new History(4, "oracle");
  const random = new SeededRandom(7);
  const config = { ...CONFIG, kind, contentType: CONTENT_TYPES[kind] };
  const source = history.slots[0]!.begin(config);
  source.created = "yes";
  source.generation = 5;
  const write = (life: Incarnation): Write => {
    const id = history.writeId(life);
    const one = recordWrite(history, life, id, { payload: makePayload(kind, id, 2, random) });
    ack(history, one);
    one.end = life.tailSeen + one.payload.stored.length;
    life.acked.push(one.end);
    life.observeTail(one.end, "acknowledgement");
    return one;
  };
  let slots = 0;
  return {
    history,
    source,
    write,
    writes: [write(source), write(source), write(source)],
    fork: (of = source, at) => {
      const origin: Origin = {
        source: of,
        offset: at === undefined ? null : of.offsetAt(at.point),
        subOffset: at?.subOffset ?? 0,
        asks: ASKS,
        tailBefore: at === undefined ? of.tailSeen : 0,
        startedAt: history.tick(),
        point: at === undefined ? null : at.point + (at.subOffset ?? 0),
      };
      slots += 1;
      const life = history.slots[slots]!.begin(config, origin);
      life.created = "yes";
      return life;
    },
  };
}

describe.each(["octet", "text", "json"] as const)("the oracle, on forks of a stream of %s", (kind) => {
  test("accepts what a fork inherits and its own, at the tail, at an offset and inside of a write, and down a chain", () => {
    const { history, source, writes, fork, write } = family(kind);
    const tail = fork();
    tail.settlePoint(source.tailSeen, "answer");
    write(source);
    const own = write(tail);
    verifyContent(history, tail, stored([...writes, own]), false);
    const early = fork(source, { point: writes[0]!.end! });
    verifyContent(history, early, stored([writes[0]!]), false);
    const grand = fork(tail, { point: writes[1]!.end! });
    const last = write(grand);
    verifyContent(history, grand, stored([writes[0]!, writes[1]!, last]), false);
  });

  test("accepts a write that is cut where the fork asked for it, and nowhere else", () => {
    const { history, writes, fork } = family(kind);
    const second = writes[1]!.payload.stored;
    const subOffset = kind === "json" ? second.indexOf('"},') + 3 : 40;
    const point = writes[0]!.end!;
    const content = Buffer.concat([stored([writes[0]!]), second.subarray(0, subOffset)]);
    verifyContent(history, fork(undefined, { point, subOffset }), content, false);
    const whole = fork(undefined, { point: point + subOffset });
    expect(() => verifyContent(history, whole, content, false)).toThrow(/torn/);
  });

  test("finds inherited bytes lost, altered, and those of another stream", () => {
    const { history, source, writes, fork, write } = family(kind);
    const [one, two, three] = [writes[0]!, writes[1]!, writes[2]!];
    const life = fork();
    expect(() => life.settlePoint(two.end!, "answer")).toThrow(/lost inherited bytes/);
    life.settlePoint(source.tailSeen, "answer");
    expect(() => verifyContent(history, life, stored([one, two]), false)).toThrow(/lost inherited bytes/);
    expect(() => verifyContent(history, life, stored([one, three, two]), false)).toThrow(/moved|reordered/);
    const sibling = fork(source, { point: two.end! });
    const foreign = write(sibling);
    expect(() => verifyContent(history, life, stored([one, two, three, foreign]), false)).toThrow(/foreign/);
    expect(() => verifyContent(history, sibling, stored([foreign, one, two]), false)).toThrow(/foreign/);
    const altered = stored(writes);
    altered[one.end! - 6] = (altered[one.end! - 6] ?? 0) ^ 1;
    expect(() => verifyContent(history, life, altered, false)).toThrow(/altered/);
  });

  test("finds an acknowledged write of the source missing below the tail that was forked", () => {
    const { history, source, writes, fork } = family(kind);
    const life = fork();
    for (const write of writes) write.end = null;
    life.settlePoint(source.tailSeen, "answer");
    const padding = ack(history, recordWrite(history, source, "0.1.99", { payload: writes[2]!.payload }));
    expect(() => verifyContent(history, life, stored(writes), false)).not.toThrow();
    padding.ackedAt = 0;
    expect(() => verifyContent(history, life, stored(writes), false)).toThrow(/lost/);
  });

  test("finds an append of the source behind the fork point shown in the fork", () => {
    const { history, source, writes, fork, write } = family(kind);
    const life = fork();
    life.settlePoint(source.tailSeen, "answer");
    const late = write(source);
    expect(() => verifyContent(history, life, stored([...writes, late]), false)).toThrow(/foreign/);
    const early = fork(source, { point: writes[1]!.end! });
    expect(() => verifyContent(history, early, stored(writes), false)).toThrow(/foreign/);
  });

  test("holds a fork and its source to the same bytes, whoever read them first", () => {
    const { source, writes, fork } = family(kind);
    const life = fork();
    const bytes = stored(writes);
    const other = Buffer.from(bytes);
    other[2] = (other[2] ?? 0) ^ 1;
    // Before the fork point is known, and checked once it is.
    life.observeBytes(0, bytes, bytes.length, "read");
    life.settlePoint(source.tailSeen, "answer");
    expect(source.seen(0, bytes.length)).toEqual(bytes);
    expect(() => source.observeBytes(0, other, bytes.length, "read")).toThrow(/other bytes/);
    const second = fork();
    second.settlePoint(source.tailSeen, "answer");
    expect(() => second.observeBytes(0, other, bytes.length, "read")).toThrow(/other bytes/);
  });

  test("finds offsets that go back: the source's above the fork point, the fork's below it, a generation not larger", () => {
    const { source, writes, fork, write } = family(kind);
    const point = writes[1]!.end!;
    const life = fork(source, { point });
    const at = (generation: number, position: number): string =>
      `${`${generation}`.padStart(16, "0")}_${`${position}`.padStart(16, "0")}`;
    expect(life.learn(at(5, point), "read")).toBe(point);
    expect(() => life.learn(at(4, point + 9), "read")).toThrow(/not above 5/);
    expect(() => life.learn(at(5, point + 9), "read")).toThrow(/not above 5/);
    expect(() => life.learn(at(9, point), "read")).toThrow(/generation 9/);
    write(life);
    expect(life.learn(at(9, life.tailSeen), "read")).toBe(life.tailSeen);
    expect(() => life.learn(at(5, life.tailSeen), "read")).toThrow(/generation 5/);
    expect(() => life.observeClosed(point, "read")).toThrow(/yet bytes were seen/);
  });
});

describe("the oracle, on what may answer", () => {
  test("accepts a fork and a delete that were not answered either way", () => {
    for (const status of [200, 404]) {
      const { history, fork } = family("octet");
      const life = fork();
      life.created = "maybe";
      settleStanding(history.slots[1]!, status);
      expect(life.created).toBe(status === 200 ? "yes" : "no");
    }
    for (const status of [200, 410]) {
      const { history, source, fork } = family("octet");
      fork();
      source.deleted = "maybe";
      checkStanding(history, history.slots[0]!, status);
      expect(source.soft).toBe(status === 410);
    }
  });

  test("finds a soft-deleted stream readable, gone before its forks, or said of one that nobody deleted", () => {
    const { history, source, fork } = family("octet");
    fork();
    expect(() => settleStanding(history.slots[0]!, 410)).toThrow(/nobody deleted/);
    source.deleted = "yes";
    expect(() => settleStanding(history.slots[0]!, 200)).toThrow(/deleted, yet it is readable/);
    expect(() => checkStanding(history, history.slots[0]!, 404)).toThrow(/lost: forks/);
    checkStanding(history, history.slots[0]!, 410);
    expect(history.counts).toMatchObject({ softDeletes: 1, cascades: 0 });
  });

  test("finds a deleted fork back, and a cascade undone, wherever in the chain", () => {
    const { history, source, fork } = family("octet");
    const [root, child, leaf] = [history.slots[0]!, history.slots[1]!, history.slots[2]!];
    const middle = fork();
    middle.settlePoint(source.tailSeen, "answer");
    const last = fork(middle);
    source.deleted = "yes";
    middle.deleted = "yes";
    checkStanding(history, root, 410);
    checkStanding(history, child, 410);
    last.deleted = "yes";
    expect(() => settleStanding(leaf, 200)).toThrow(/readable/);
    expect(() => checkStanding(history, leaf, 410)).toThrow(/cascade/);
    expect(() => checkStanding(history, root, 410)).toThrow(/cascade/);
    expect(() => checkStanding(history, child, 410)).toThrow(/cascade/);
    for (const slot of [root, child, leaf]) checkStanding(history, slot, 404);
    expect(history.counts).toMatchObject({ softDeletes: 2, cascades: 2 });
    for (const slot of [root, child, leaf]) {
      for (const status of [200, 410]) expect(() => settleStanding(slot, status)).toThrow(/is back/);
    }
  });
});
