import * as fc from "fast-check";
import { expect, test } from "vitest";
import { parseStreamPath } from "./stream-path.ts";

test.each([
  ["a", "a"],
  ["v1/stream/chat-1.x_~", "v1/stream/chat-1.x_~"],
  ["users:created@x", "users:created@x"],
  ["%61%2D%7e", "a-~"],
  ["a%3ab%40", "a:b@"],
  ["a%2fb", "a%2Fb"],
  ["caf%c3%a9", "caf%C3%A9"],
  ["a%20b", "a%20b"],
  ["a|b", "a%7Cb"],
  ["a/__ds", "a/__ds"],
  ["__dsx", "__dsx"],
  ["...", "..."],
  ["a%25b", "a%25b"],
])("%j is named %j", (raw, path) => {
  expect(parseStreamPath(raw)).toEqual({ kind: "path", path });
});

test.each([
  "",
  "/",
  "a/",
  "/a",
  "a//b",
  ".",
  "..",
  "a/../b",
  "%2e%2E",
  "a/%2e",
  "%",
  "%4",
  "%zz",
  "%ff",
  "%c3",
  "%ed%a0%80",
  "%00",
  "a%0ab",
  "%7f",
  "%c2%85",
  "a b",
  "caf\u00e9",
  "__ds",
  "__ds/x",
  "%5F_ds/x",
  "a".repeat(1025),
  "%C3%A9".repeat(171),
])("%j is refused", (raw) => {
  expect(parseStreamPath(raw).kind).toBe("bad");
});

test("a path may have exactly 1024 bytes", () => {
  expect(parseStreamPath("a".repeat(1024)).kind).toBe("path");
});

test("a canonical path names itself, however its characters were escaped", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 }), (name) => {
      const first = parseStreamPath(encodeURIComponent(name));
      fc.pre(first.kind === "path");
      if (first.kind !== "path") return;
      expect(parseStreamPath(first.path)).toEqual(first);
      expect(decodeURIComponent(first.path)).toBe(name);
      const bytes = [...new TextEncoder().encode(name)];
      const escaped = bytes.map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join("");
      expect(parseStreamPath(escaped)).toEqual(first);
    }),
  );
});

test("no input throws", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: fc.constantFrom("%", "2", "e", "E", "f", "0", ".", "/", "_", "a", "\u00e9") }),
      (raw) => parseStreamPath(raw).kind.length > 0,
    ),
  );
});
