import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { frameJson } from "./json-framing.ts";
import { JSON_MESSAGES_MAX } from "./limits.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

function frame(text: string, mode: "create" | "append" = "append") {
  const framed = frameJson(encoder.encode(text), mode);
  return framed.kind === "bad" ? framed : { ...framed, stored: decoder.decode(framed.stored) };
}

/** One JSON value as its tokens, with numbers and escapes that a re-serialiser would change. */
const { value: tokens } = fc.letrec<{ value: string[]; scalar: string[]; array: string[]; object: string[] }>(
  (tie) => ({
    value: fc.oneof({ maxDepth: 4, withCrossShrink: true }, tie("scalar"), tie("array"), tie("object")),
    scalar: fc
      .oneof(
        fc.constantFrom(
          "true",
          "false",
          "null",
          "0",
          "-0",
          "1.0",
          "1e400",
          "-1E-7",
          "9007199254740993",
          '"\\u00e9\\/"',
        ),
        fc.constantFrom('""', '"\\\\"', '"\\""', '"[ ,]"', '"{ :\\\\\\" }"'),
        fc.string({ unit: "binary" }).map((text) => JSON.stringify(text)),
        fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
      )
      .map((token) => [token]),
    array: fc.array(tie("value"), { maxLength: 4 }).map((items) => ["[", ...separated(items), "]"]),
    object: fc
      .array(fc.tuple(fc.string(), tie("value")), { maxLength: 4 })
      .map((entries) => ["{", ...separated(entries.map(([key, value]) => [JSON.stringify(key), ":", ...value])), "}"]),
  }),
);

const space = fc.string({ unit: fc.constantFrom(" ", "\t", "\n", "\r"), maxLength: 3 });

function separated(items: string[][]): string[] {
  return items.flatMap((item, index) => (index === 0 ? item : [",", ...item]));
}

function spread(parts: string[], spaces: string[]): string {
  return parts.map((part, index) => spaces[index % spaces.length] + part).join("") + spaces[0];
}

describe("framing", () => {
  test.each<[string, string, number[]]>([
    [
      String.raw`[9007199254740993, 1.0, 1e400, {"a": "\u00e9", "a": 2}]`,
      String.raw`9007199254740993,1.0,1e400,{"a":"\u00e9","a":2},`,
      [17, 4, 6, 21],
    ],
    [`{"event": "created"}`, `{"event":"created"},`, [20]],
    [`[{"event": "a"}, {"event": "b"}]`, `{"event":"a"},{"event":"b"},`, [14, 14]],
    ["[[1,2], [3,4]]", "[1,2],[3,4],", [6, 6]],
    ["[[[1,2,3]]]", "[[1,2,3]],", [10]],
    ["[[]]", "[],", [3]],
    [" \r\n\t42 \n", "42,", [3]],
    [`"a, b ] \\" c"`, `"a, b ] \\" c",`, [14]],
    [`"\\\\"`, `"\\\\",`, [5]],
    ["[ null ]", "null,", [5]],
    [`["é", "𝄞"]`, `"é","𝄞",`, [5, 7]],
    [`{"__proto__": 1}`, `{"__proto__":1},`, [16]],
    [`{"a": "x y", "b": [1, 2]}`, `{"a":"x y","b":[1,2]},`, [22]],
    [`"\u2028\u007f"`, `"\u2028\u007f",`, [7]],
    [String.raw`"\ud800"`, String.raw`"\ud800",`, [9]],
  ])("%s is stored as %s", (text, stored, lengths) => {
    expect(frame(text)).toEqual({ kind: "messages", stored, lengths });
  });

  test("an empty array creates an empty stream", () => {
    expect(frame(" [ ] ", "create")).toEqual({ kind: "messages", stored: "", lengths: [] });
  });

  test("an empty array is no append", () => {
    expect(frame(" [ ] ")).toEqual({
      kind: "bad",
      detail: "empty array at byte 1: an append must hold at least one message",
    });
  });

  test.each<[string, string]>([
    ["", "invalid JSON at byte 0: expected a value, found the end"],
    ["{} x", 'invalid JSON at byte 3: expected the end, found "x"'],
    ["[1] [2]", 'invalid JSON at byte 4: expected the end, found "["'],
    ["\ufeff1", "byte order mark at byte 0: JSON must start with a value"],
    ["é", "invalid JSON at byte 0: expected a value, found byte 0xc3"],
    ["\u00a01", "invalid JSON at byte 0: expected a value, found byte 0xc2"],
  ])("%j is refused, saying what and where", (text, detail) => {
    expect(frame(text)).toEqual({ kind: "bad", detail });
  });

  test.each([
    ["arrays", "[".repeat(100_000), "]".repeat(100_000)],
    ["objects", `${'{"a":'.repeat(100_000)}1`, "}".repeat(100_000)],
  ])("%s nested 100,000 deep are one message", (_, opening, closing) => {
    const framed = frame(opening + closing);
    expect(framed.kind === "messages" && framed.lengths.length).toBe(1);
    expect(frame(opening)).toEqual({ kind: "bad", detail: expect.stringContaining(`at byte ${opening.length}`) });
  });

  test("one request holds at most JSON_MESSAGES_MAX messages", () => {
    const most = frame(`[${"1,".repeat(JSON_MESSAGES_MAX - 1)}1]`);
    expect(most.kind === "messages" && most.lengths.length).toBe(JSON_MESSAGES_MAX);
    expect(frame(`[${"1,".repeat(JSON_MESSAGES_MAX)}1]`)).toEqual({
      kind: "bad",
      detail: `more than ${JSON_MESSAGES_MAX} messages in one request, from byte ${2 * JSON_MESSAGES_MAX + 1}`,
    });
  });

  test("a body of white space does not keep its size in memory", () => {
    const bytes = encoder.encode(`${" ".repeat(10_000)}1`);
    const framed = frameJson(bytes, "append");
    expect(framed.kind === "messages" && framed.stored.buffer.byteLength).toBe(2);
  });

  test("tokens are kept exactly, whatever white space stands between them", () => {
    fc.assert(
      fc.property(
        fc.array(tokens, { minLength: 1, maxLength: 5 }),
        fc.array(space, { minLength: 1 }),
        (items, spaces) => {
          const text = spread(["[", ...separated(items), "]"], spaces);
          const expected = items.map((item) => `${item.join("")},`);
          const framed = frame(text);
          expect(framed).toEqual({
            kind: "messages",
            stored: expected.join(""),
            lengths: expected.map((message) => encoder.encode(message).length),
          });
          expect(JSON.parse(`[${expected.join("").slice(0, -1)}]`)).toEqual(JSON.parse(text));
        },
      ),
    );
  });

  test("a value that is no array is one message", () => {
    fc.assert(
      fc.property(tokens, fc.array(space, { minLength: 1 }), (parts, spaces) => {
        fc.pre(parts[0] !== "[");
        const stored = `${parts.join("")},`;
        const lengths = [encoder.encode(stored).length];
        expect(frame(spread(parts, spaces))).toEqual({ kind: "messages", stored, lengths });
      }),
    );
  });

  test("the input is left as it was", () => {
    const bytes = encoder.encode('[ {"a" : 1} ,\n2 ]');
    const before = bytes.slice();
    frameJson(bytes, "append");
    expect(bytes).toEqual(before);
  });
});
