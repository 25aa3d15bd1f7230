import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { scheduleOf } from "./cursor.ts";
import { globMatch } from "./glob.ts";
import { decodeStreamPath, encodeStreamPath } from "./path-encoding.ts";
import { enginePath, storePath } from "./store-path.ts";

describe("directory names", () => {
  test("a path that fits is decoded to itself, and every name is one of at most 200 characters", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 400 }), (path) => {
        const name = encodeStreamPath(path);
        expect(name).toMatch(/^[A-Za-z0-9_~-]{0,200}$/);
        if (!name.includes("~")) expect(decodeStreamPath(name)).toBe(path);
        else expect(path.startsWith(decodeStreamPath(name).slice(0, 40))).toBe(true);
      }),
    );
  });
});

describe("store paths", () => {
  test("a path that a store lists names the same stream again", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (path) => {
        const first = enginePath(path);
        if (first.kind === "path") expect(enginePath(storePath(first.path))).toEqual(first);
      }),
    );
  });

  test("half a character is refused", () => {
    expect(enginePath("/\ud800")).toMatchObject({ kind: "bad" });
  });
});

describe("cursor options", () => {
  test.each([0, -1, Number.NaN, Infinity])("an interval of %s seconds is refused", (intervalSeconds) => {
    expect(() => scheduleOf({ intervalSeconds })).toThrow(RangeError);
  });

  test("an epoch that is no time is refused", () => {
    expect(() => scheduleOf({ epoch: new Date("never") })).toThrow(RangeError);
  });
});

test("patterns with many stars take no time", () => {
  expect(globMatch(`${"**/a/".repeat(40)}b`, "a/".repeat(80))).toBe(false);
});
