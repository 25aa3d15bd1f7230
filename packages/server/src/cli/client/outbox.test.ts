import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { characterBoundary, Outbox } from "./outbox.ts";
import type { OutboxOptions, Piece } from "./outbox.ts";

/** Feeds the parts while the pieces are taken. */
async function pieces(options: OutboxOptions, parts: readonly string[]): Promise<Piece[]> {
  const outbox = new Outbox(options);
  const filling = (async () => {
    for (const part of parts) await outbox.push(Buffer.from(part));
    outbox.end();
  })();
  const taken: Piece[] = [];
  for (let piece = await outbox.take(); piece !== undefined; piece = await outbox.take()) taken.push(piece);
  await filling;
  return taken;
}

const texts = (taken: readonly Piece[]): string[] => taken.map(({ bytes }) => Buffer.from(bytes).toString());

describe("an outbox", () => {
  test("cuts bytes to pieces, and says which is the last", async () => {
    const taken = await pieces({ pieceBytes: 4, unit: "bytes", exact: true }, ["abcdef", "gh", "i"]);
    expect(texts(taken)).toEqual(["abcd", "efgh", "i"]);
    expect(taken.map(({ isLast }) => isLast)).toEqual([false, false, true]);
  });

  test("exact pieces do not depend on how the content arrives", async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ minLength: 1 }), fc.array(fc.nat(), { maxLength: 8 }), async (text, cuts) => {
        const at = [0, ...cuts.map((cut) => cut % text.length), text.length].sort((a, b) => a - b);
        const parts = at.slice(1).map((end, index) => text.slice(at[index], end));
        const options = { pieceBytes: 5, unit: "bytes", exact: true } as const;
        expect(await pieces(options, parts)).toEqual(await pieces(options, [text]));
      }),
    );
  });

  test("text is not cut inside of a character", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.string({ unit: "grapheme" })), fc.boolean(), async (parts, exact) => {
        const taken = await pieces({ pieceBytes: 6, unit: "text", exact }, parts);
        expect(texts(taken).join("")).toBe(parts.join(""));
      }),
    );
  });

  test("JSON elements stay whole and are joined by commas", async () => {
    const taken = await pieces({ pieceBytes: 4, unit: "json", exact: true }, ["1", "22", "333", '"longer"', "5"]);
    expect(texts(taken)).toEqual(["1,22", "333", '"longer"', "5"]);
    expect(taken.map(({ messages }) => messages)).toEqual([2, 1, 1, 1]);
  });

  test("a failure of the content reaches the taker, and lets the filler go", async () => {
    const outbox = new Outbox({ pieceBytes: 1, unit: "bytes", exact: false });
    const waiting = outbox.push(Buffer.from("long content"));
    outbox.fail(new Error("the disk is gone"));
    await waiting;
    await expect(outbox.take()).rejects.toThrow("the disk is gone");
  });

  test("the filler waits while much is not taken", async () => {
    const outbox = new Outbox({ pieceBytes: 2, unit: "bytes", exact: false });
    let hasRoom = false;
    const waiting = outbox.push(Buffer.from("abcdef")).then(() => (hasRoom = true));
    await Promise.resolve();
    expect(hasRoom).toBe(false);
    await outbox.take();
    await waiting;
    expect(hasRoom).toBe(true);
  });

  test("bytes that are no text are cut anywhere", () => {
    expect(characterBoundary(Buffer.from([0x80, 0x80, 0x80, 0x80, 0x80]), 4)).toBe(4);
  });
});
