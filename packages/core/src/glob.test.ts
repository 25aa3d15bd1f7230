import * as fc from "fast-check";
import { expect, test } from "vitest";
import { GlobIndex, globMatch } from "./glob.ts";

test.each([
  ["events/*", "events/a", true],
  ["events/*", "events", false],
  ["events/*", "events/a/b", false],
  ["events/**", "events", true],
  ["events/**", "events/a/b", true],
  ["**", "a/b", true],
  ["*", "a", true],
  ["*", "a/b", false],
  ["**/b", "b", true],
  ["**/b", "a/a/b", true],
  ["**/b", "a/b/c", false],
  ["a/**/c/*/e", "a/c/d/c/x/e", true],
  ["a/**/**/c", "a/c", true],
  ["ev*", "events", false],
  ["ev*", "ev*", true],
  ["a/%2A", "a/*", true],
  ["a/%2A", "a/b", false],
  ["a/%2a%2A", "a/**", true],
  ["a/%2A%2A", "a/b/c", false],
  ["events/a", "events/a", true],
  ["events/A", "events/a", false],
])("%s on %s: %s", (pattern, path, matches) => {
  expect(globMatch(pattern, path)).toBe(matches);
  const index = new GlobIndex<number>();
  index.add(pattern, 1);
  expect(index.match(path)).toEqual(matches ? [1] : []);
});

/** The rules as they are told, in as many steps as it takes. */
function naive(pattern: readonly string[], path: readonly string[]): boolean {
  const [first, ...rest] = pattern;
  if (first === undefined) return path.length === 0;
  if (first === "**") return path.some((_, at) => naive(rest, path.slice(at))) || naive(rest, []);
  return path.length > 0 && (first === "*" || first === path[0]) && naive(rest, path.slice(1));
}

const anyPattern = fc.array(fc.constantFrom("a", "b", "*", "**"), { minLength: 1, maxLength: 6 });
const anyPath = fc.array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 6 });

test("one pattern matches what the rules say", () => {
  fc.assert(
    fc.property(anyPattern, anyPath, (pattern, path) => {
      expect(globMatch(pattern.join("/"), path.join("/"))).toBe(naive(pattern, path));
    }),
    { numRuns: 2_000 },
  );
});

test("an index finds what its patterns match one by one, also after some were taken out", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(anyPattern, fc.boolean()), { maxLength: 12 }), anyPath, (entries, path) => {
      const index = new GlobIndex<number>();
      entries.forEach(([pattern], at) => index.add(pattern.join("/"), at));
      entries.forEach(([pattern, goes], at) => {
        if (goes) index.remove(pattern.join("/"), at);
      });
      const expected = entries.flatMap(([pattern, goes], at) => (!goes && naive(pattern, path) ? [at] : []));
      expect(index.match(path.join("/")).sort((one, two) => one - two)).toEqual(expected);
    }),
    { numRuns: 1_000 },
  );
});

test("what is not there is taken out without harm", () => {
  const index = new GlobIndex<string>();
  index.add("a/*", "one");
  index.remove("a/*", "two");
  index.remove("a/*/c", "one");
  index.remove("a", "one");
  expect(index.match("a/x")).toEqual(["one"]);
});

test("a pattern of 64 segments and a path of 1,024 bytes need few steps", () => {
  const path = Array.from({ length: 512 }, () => "a").join("/");
  const index = new GlobIndex<number>();
  const patterns = [
    Array.from({ length: 64 }, () => "**").join("/"),
    `${Array.from({ length: 31 }, () => "**/a").join("/")}/**/b`,
    `${Array.from({ length: 31 }, () => "**/*").join("/")}/**/b`,
  ];
  patterns.forEach((pattern, at) => index.add(pattern, at));
  expect(patterns.map((pattern) => globMatch(pattern, path))).toEqual([true, false, false]);
  expect(index.match(path)).toEqual([0]);
});

test("among 100,000 patterns a path finds its own", () => {
  const index = new GlobIndex<number>();
  for (let at = 0; at < 100_000; at++) index.add(at % 2 === 0 ? `rooms/${at}/*` : `**/tail-${at}`, at);
  for (let at = 0; at < 100_000; at += 1_000) expect(index.match(`rooms/${at}/x`)).toEqual([at]);
  expect(index.match("x/y/tail-99999")).toEqual([99_999]);
  expect(index.match("x/y/z")).toEqual([]);
});
