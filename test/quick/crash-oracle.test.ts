import { describe, expect, test } from "vitest";
import { History } from "../crash/history.ts";
import type { Incarnation, Write } from "../crash/incarnation.ts";
import { CONTENT_TYPES, makePayload, type StreamKind } from "../crash/messages.ts";
import { SeededRandom } from "../crash/random.ts";
import { recordWrite, type WriteRequest } from "../crash/requests.ts";
import { verifyContent } from "../crash/verify-content.ts";

/** An oracle that accepts everything would prove nothing: each fault it is there for is put before it here. */

interface Scene {
  readonly history: History;
  readonly life: Incarnation;
  readonly write: (request?: Partial<WriteRequest> & { empty?: boolean }) => Write;
  readonly check: (writes: readonly Write[], closed?: boolean) => Write[];
}

function scene(kind: StreamKind): Scene {
  const history = new History(1, "oracle");
  const random = new SeededRandom(11);
  const life = history.slots[0]?.begin({
    kind,
    contentType: CONTENT_TYPES[kind],
    ttlSeconds: null,
    expiresAt: null,
    fleeting: false,
  });
  if (life === undefined) throw new Error("no slot");
  return {
    history,
    life,
    write: ({ empty = false, ...request } = {}) => {
      const id = history.writeId(life);
      return recordWrite(history, life, id, { payload: makePayload(kind, id, empty ? 0 : 2, random), ...request });
    },
    check: (writes, closed = false) =>
      verifyContent(history, life, Buffer.concat(writes.map((write) => write.payload.stored)), closed),
  };
}

function ack(history: History, write: Write): Write {
  write.fate = "yes";
  write.ackedAt = history.tick();
  return write;
}

describe.each(["octet", "text", "json"] as const)("the oracle, on a stream of %s", (kind) => {
  test("accepts what was acknowledged, with and without what was not answered", () => {
    for (const happened of [true, false]) {
      const { history, write, check } = scene(kind);
      const one = ack(history, write());
      const two = ack(history, write());
      const open = write();
      expect(check(happened ? [one, two, open] : [one, two])).toEqual(happened ? [] : [open]);
      expect(open.fate).toBe(happened ? "yes" : "no");
    }
  });

  test("accepts either order of writes that were under way together, and one only of others", () => {
    const { history, write, check } = scene(kind);
    const [one, two] = [write(), write()];
    ack(history, two);
    ack(history, one);
    check([one, two]);
    check([two, one]);
    const late = ack(history, write());
    expect(() => check([one, late, two])).toThrow(/reordered/);
  });

  test("finds lost, doubled, torn, altered, foreign and refused bytes", () => {
    const { history, life, write, check } = scene(kind);
    const one = ack(history, write());
    const two = ack(history, write());
    const refused = write();
    refused.fate = "no";
    expect(() => check([two])).toThrow(/lost/);
    expect(() => check([])).toThrow(/lost/);
    expect(() => check([one, two, one])).toThrow(/twice/);
    expect(() => check([one, two, refused])).toThrow(/refused/);
    const whole = Buffer.concat([one.payload.stored, two.payload.stored]);
    for (const bytes of [1, 5, two.payload.stored.length - 1]) {
      expect(() => verifyContent(history, life, whole.subarray(0, whole.length - bytes), false)).toThrow(/torn/);
    }
    const altered = Buffer.from(whole);
    altered[one.payload.stored.length - 4] = (altered[one.payload.stored.length - 4] ?? 0) ^ 1;
    expect(() => verifyContent(history, life, altered, false)).toThrow(/altered/);
    const other = scene(kind);
    other.write();
    other.write();
    other.write();
    expect(() => check([one, two, other.write()])).toThrow(/foreign/);
  });

  test("finds bytes that moved from where they were acknowledged", () => {
    const { history, write, check } = scene(kind);
    const [one, two] = [write(), write()];
    one.end = one.payload.stored.length;
    ack(history, one);
    ack(history, two);
    expect(() => check([two, one])).toThrow(/moved/);
  });

  test("finds a close undone, a close by nobody, and an append-and-close that is half there", () => {
    const { history, life, write, check } = scene(kind);
    // Sent together, so that only the close itself tells which must be last.
    const [one, closer] = [write(), write({ closes: true })];
    ack(history, one);
    expect(() => check([one, closer], false)).toThrow(/half done/);
    expect(() => check([one], true)).toThrow(/closed by nobody, or by an append whose bytes are not there/);
    expect(() => check([closer, one], true)).toThrow(/bytes after/);
    check([one, closer], true);
    life.closed = true;
    expect(() => check([one, closer], false)).toThrow(/half done|undone/);
  });

  test("takes a silent close that was not answered either way", () => {
    for (const closed of [true, false]) {
      const { history, write, check } = scene(kind);
      const one = ack(history, write());
      const closer = write({ closes: true, empty: true });
      expect(check([one], closed)).toEqual(closed ? [] : [closer]);
    }
  });

  test("finds producer numbers that skip, repeat or go back, and Stream-Seq that does not grow", () => {
    const { history, write, check } = scene(kind);
    const produce = (epoch: number, seq: number): Write => ack(history, write({ producer: { id: "p", epoch, seq } }));
    const writes = [produce(0, 0), produce(0, 1), produce(2, 0)];
    check(writes);
    writes.push(produce(2, 2));
    expect(() => check(writes)).toThrow(/producer/);
    const other = scene(kind);
    const [late, early] = [other.write({ streamSeq: "b" }), other.write({ streamSeq: "a" })];
    expect(() => other.check([late, early])).toThrow(/Stream-Seq/);
  });

  test("wants the body of the create in a stream that exists", () => {
    const { life, write, check } = scene(kind);
    life.createWrite = write();
    expect(() => check([])).toThrow(/lost/);
    check([life.createWrite]);
  });

  test("holds on to every byte, tail and end that a reader saw", () => {
    const { life, write } = scene(kind);
    const bytes = write().payload.stored;
    life.generation = 7;
    life.observeBytes(0, bytes, bytes.length, "read");
    const other = Buffer.from(bytes);
    other[1] = 0;
    expect(() => life.observeBytes(0, other, bytes.length, "read")).toThrow(/other bytes/);
    expect(() => life.observeBytes(bytes.length + 1, other, 2 * bytes.length + 1, "read")).toThrow(/ever offered/);
    expect(() => life.observeBytes(0, bytes, bytes.length - 1, "read")).toThrow(/bytes from/);
    expect(() => life.observeClosed(bytes.length - 1, "read")).toThrow(/yet bytes were seen/);
    life.observeClosed(bytes.length, "read");
    expect(() => life.observeTail(bytes.length + 1, "read")).toThrow(/after the end/);
    expect(() => life.learn("0000000000000008_0000000000000000", "read")).toThrow(/generation 8/);
  });
});
