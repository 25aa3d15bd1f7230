import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  headerValue,
  isJson,
  isText,
  isTrue,
  parseContentType,
  parseCount,
  parseProducer,
  parseStreamSeq,
  sameMediaType,
} from "./headers.ts";

describe("integers", () => {
  test.each(["", "-1", "+1", "1.0", "1e3", "1abc", " 1", "0x1", "9007199254740992", "1, 2"])(
    "%j is refused",
    (text) => {
      expect(parseCount(text)).toBeNull();
    },
  );

  test("every integer of 0 to 2^53-1 is read exactly", () => {
    fc.assert(fc.property(fc.maxSafeNat(), (value) => parseCount(String(value)) === value));
    expect(parseCount("9007199254740991")).toBe(Number.MAX_SAFE_INTEGER);
  });
});

describe("producer headers", () => {
  test("none of them is no producer, all of them are one", () => {
    expect(parseProducer(undefined, undefined, undefined)).toBeNull();
    expect(parseProducer("p", "2", "7")).toEqual({ id: "p", epoch: 2, seq: 7 });
    expect(parseProducer("__proto__", "0", "0")).toEqual({ id: "__proto__", epoch: 0, seq: 0 });
  });

  test.each([
    ["p", undefined, undefined],
    [undefined, "0", undefined],
    [undefined, undefined, "0"],
    ["p", "0", undefined],
    ["p", undefined, "0"],
    [undefined, "0", "0"],
    ["", "0", "0"],
    ["p".repeat(257), "0", "0"],
    ["p", "-1", "0"],
    ["p", "1e3", "0"],
    ["p", "0xyz", "0"],
    ["p", "0", "1abc"],
    ["p", "0", ""],
    ["p", "0", "9007199254740992"],
  ])("%j %j %j is an error", (id, epoch, seq) => {
    expect(parseProducer(id, epoch, seq)).toHaveProperty("error");
  });
});

test.each([
  ["true", true],
  ["TRUE", true],
  ["True", true],
  ["false", false],
  ["1", false],
  ["yes", false],
  ["", false],
  ["true, true", false],
  [undefined, false],
])("Stream-Closed %j counts: %s", (value, expected) => {
  expect(isTrue(value)).toBe(expected);
});

test("Stream-Seq is an opaque string with a bound", () => {
  expect(parseStreamSeq(undefined)).toBeNull();
  expect(parseStreamSeq("0009")).toBe("0009");
  expect(parseStreamSeq("")).toHaveProperty("error");
  expect(parseStreamSeq("a".repeat(256))).toBe("a".repeat(256));
  expect(parseStreamSeq("a".repeat(257))).toHaveProperty("error");
});

test.each(["text/plain", "application/json; charset=utf-8", "a/b;c", "application/vnd.x+json", "Text/Plain"])(
  "content type %j is kept as given",
  (text) => {
    expect(parseContentType(text)).toBe(text);
  },
);

test.each(["text", "text/", "/plain", "a b/c", "text/plain charset", "text/plain;\u0000", "text/plain;é", "a/b/c"])(
  "content type %j is an error",
  (text) => {
    expect(parseContentType(text)).toHaveProperty("error");
  },
);

test("a missing or empty content type is none, an overlong one an error", () => {
  expect(parseContentType(undefined)).toBeNull();
  expect(parseContentType("  ")).toBeNull();
  expect(parseContentType(`text/${"x".repeat(252)}`)).toHaveProperty("error");
});

test("media types compare without case and parameters", () => {
  expect(sameMediaType("text/plain", "TEXT/PLAIN")).toBe(true);
  expect(sameMediaType("application/json", "application/json ; charset=utf-8")).toBe(true);
  expect(sameMediaType("application/json", "application/jsonl")).toBe(false);
});

test("JSON mode is application/json alone, text is text/*", () => {
  expect(["application/json", "APPLICATION/JSON; charset=utf-8"].every(isJson)).toBe(true);
  expect(["application/x+json", "application/ndjson", "text/json"].some(isJson)).toBe(false);
  expect(["text/plain", "Text/Html;x=y"].every(isText)).toBe(true);
  expect(["application/text", "application/json"].some(isText)).toBe(false);
});

test("a repeated header reads as one joined value", () => {
  expect(headerValue({ a: ["1", "2"], b: "3" }, "a")).toBe("1, 2");
  expect(headerValue({ b: "3" }, "b")).toBe("3");
  expect(headerValue({}, "a")).toBeUndefined();
});
