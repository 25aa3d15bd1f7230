import * as fc from "fast-check";
import { expect, test } from "vitest";
import { frameJson } from "./json-framing.ts";
import type { FramedJson } from "./json-framing.ts";

const RUNS = 3000;
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

type Judged = { readonly value: unknown } | "no JSON" | "no UTF-8";

/** What a decoder and JSON.parse say about the same bytes. */
function judge(bytes: Uint8Array): Judged {
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch {
    return "no UTF-8";
  }
  try {
    return { value: JSON.parse(text) as unknown };
  } catch {
    return "no JSON";
  }
}

/** The values that were framed, each parsed from its own bytes. */
function valuesOf(framed: Extract<FramedJson, { kind: "messages" }>): unknown[] {
  let at = 0;
  return framed.lengths.map((length) => {
    const message = decoder.decode(framed.stored.subarray(at, at + length));
    at += length;
    expect(message.at(-1)).toBe(",");
    return JSON.parse(message.slice(0, -1)) as unknown;
  });
}

/** Framing agrees with JSON.parse on whether it is JSON and on the values; of bytes that are no UTF-8 it just ends. */
function expectAgreement(bytes: Uint8Array): void {
  const judged = judge(bytes);
  const framed = frameJson(bytes, "create");
  if (judged === "no UTF-8") return;
  if (judged === "no JSON") {
    expect(framed.kind).toBe("bad");
    return;
  }
  if (framed.kind === "bad") throw new Error(`${framed.detail}: ${decoder.decode(bytes)}`);
  expect(valuesOf(framed)).toEqual(Array.isArray(judged.value) ? judged.value : [judged.value]);
}

const texts = fc.tuple(fc.json({ maxDepth: 4 }), fc.integer({ min: 0, max: 2 })).map(([text, indent]) => {
  return JSON.stringify(JSON.parse(text), null, indent);
});
const pieces = fc.oneof(
  fc.constantFrom(...'[]{},:"\\u0019-+.eEtrufalsn/ \n\t\r\0\u001f\u007f\u0080é漢𝄞'),
  fc.constantFrom("true", "false", "null", '"a"', '"\\ud800"', "\\u00e9", "-0", "1e5", "[]", "{}", "\ufeff", '"k":'),
);

test("JSON and damaged JSON are judged as JSON.parse judges them", () => {
  fc.assert(
    fc.property(texts, fc.nat(), fc.nat({ max: 3 }), pieces, (text, at, removed, inserted) => {
      const bytes = encoder.encode(text);
      expectAgreement(bytes);
      const cut = at % (bytes.length + 1);
      expectAgreement(
        Uint8Array.from([...bytes.subarray(0, cut), ...encoder.encode(inserted), ...bytes.subarray(cut + removed)]),
      );
    }),
    { numRuns: RUNS },
  );
});

test("short texts of JSON's own characters and words are judged as JSON.parse judges them", () => {
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 8 }), (parts) => expectAgreement(encoder.encode(parts.join("")))),
    { numRuns: 2 * RUNS },
  );
});

test("strings of any byte at any place in a word are judged as JSON.parse judges them", () => {
  const byte = fc.oneof(
    { weight: 4, arbitrary: fc.integer({ min: 0x20, max: 0x7f }) },
    { weight: 1, arbitrary: fc.integer({ min: 0, max: 0xff }) },
  );
  fc.assert(
    fc.property(fc.array(byte, { maxLength: 12 }), (inside) => {
      expectAgreement(Uint8Array.from([0x22, ...inside, 0x22]));
      expectAgreement(Uint8Array.from([0x5b, 0x22, ...inside, 0x22, 0x5d]));
    }),
    { numRuns: RUNS },
  );
});

test("each single byte inside a string, at each place of a word, is judged as JSON.parse judges it", () => {
  for (let byte = 0; byte < 0x80; byte += 1) {
    for (let before = 0; before < 8; before += 1) {
      expectAgreement(encoder.encode(`"${"a".repeat(before)}${String.fromCharCode(byte)}b"`));
      expectAgreement(encoder.encode(`"${"a".repeat(before)}\\${String.fromCharCode(byte)}0000b"`));
    }
  }
});

test("messages that were framed earlier stay as they were, whatever is framed or refused after them", () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(texts, fc.constantFrom("[1,", '"a', "[ 1 , 2 ]", "{} x")), { maxLength: 60 }),
      (all) => {
        const kept: { readonly stored: Uint8Array; readonly before: Uint8Array }[] = [];
        for (const text of all) {
          const framed = frameJson(encoder.encode(text), "create");
          if (framed.kind === "messages") kept.push({ stored: framed.stored, before: framed.stored.slice() });
        }
        for (const { stored, before } of kept) expect(stored).toEqual(before);
      },
    ),
    { numRuns: 100 },
  );
});

test.each([100, 4_000, 4_093, 8_189, 70_000])("a string of about %i bytes is one message", (size) => {
  for (let length = size - 5; length < size + 5; length += 1) {
    const text = JSON.stringify("x".repeat(length));
    const framed = frameJson(encoder.encode(text), "append");
    if (framed.kind === "bad") throw new Error(framed.detail);
    expect(decoder.decode(framed.stored)).toBe(`${text},`);
    expect(framed.lengths).toEqual([length + 3]);
  }
});
