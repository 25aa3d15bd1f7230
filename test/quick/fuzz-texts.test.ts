/** JSON framing, offsets, patterns and settings against texts that nobody should write. */
import {
  frameJson,
  formatOffset,
  generation,
  globMatch,
  GlobIndex,
  lsn,
  parseOffset,
  position,
  resolveOffset,
} from "@coldbrook/core";
import type { StreamIdentity } from "@coldbrook/core";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { readSettings, SettingError, SETTINGS } from "../../packages/server/src/settings.ts";
import { budget, PROPERTY_MS } from "./fuzz-budget.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const TOKENS = [
  "{",
  "}",
  "[",
  "]",
  ",",
  ":",
  '"',
  "\\",
  "\\u",
  "0",
  "-",
  "1",
  ".",
  "e",
  "E+",
  "true",
  "false",
  "null",
  " ",
  "\n",
  "	",
  "\r",
  '"a"',
  '"\\ud800"',
  "9007199254740993",
  "1e400",
  "-0",
  "é",
  "𝄞",
  "\xA0",
  "\u2028",
  "﻿",
  "\0",
  "/",
  "'",
  "NaN",
  '"__proto__"',
];
const anyTokens = fc.array(
  fc.oneof({ weight: 8, arbitrary: fc.constantFrom(...TOKENS) }, fc.string({ maxLength: 3 })),
  { maxLength: 14 },
);
/** JSON, and JSON with a part of it replaced. */
const anyJson = fc.oneof(
  anyTokens.map((parts) => parts.join("")),
  fc.tuple(fc.json({ maxDepth: 3 }), fc.nat(), fc.nat(3), anyTokens).map(([text, at, removed, parts]) => {
    const from = at % (text.length + 1);
    return text.slice(0, from) + (parts[0] ?? "") + text.slice(from + removed);
  }),
  fc.json({ maxDepth: 4 }),
);

function parsed(text: string): { readonly value: unknown } | null {
  try {
    return { value: JSON.parse(text) as unknown };
  } catch {
    return null;
  }
}

test("a body is framed exactly when it is JSON, and its messages are its values", { timeout: PROPERTY_MS }, () => {
  fc.assert(
    fc.property(anyJson, fc.constantFrom("create" as const, "append" as const), (given, mode) => {
      const bytes = encoder.encode(given);
      const text = decoder.decode(bytes);
      const reference = given.startsWith("\ufeff") ? null : parsed(text);
      const framed = frameJson(bytes, mode);
      const isEmpty = Array.isArray(reference?.value) && reference.value.length === 0;
      expect(framed.kind).toBe(reference === null || (isEmpty && mode === "append") ? "bad" : "messages");
      if (framed.kind === "bad" || reference === null) return;
      const { stored, lengths } = framed;
      expect(stored.length).toBeLessThanOrEqual(bytes.length + 1);
      expect(lengths.reduce((sum, length) => sum + length, 0)).toBe(stored.length);
      const messages: unknown[] = [];
      let at = 0;
      for (const length of lengths) {
        const message = decoder.decode(stored.subarray(at, (at += length)));
        expect(message.endsWith(",")).toBe(true);
        messages.push(JSON.parse(message.slice(0, -1)));
      }
      expect(messages).toEqual(Array.isArray(reference.value) ? reference.value : [reference.value]);
    }),
    budget(700),
  );
});

const digits = (count: number): fc.Arbitrary<string> =>
  fc.string({ unit: fc.constantFrom(..."0123456789"), minLength: count, maxLength: count });
const anyOffsetText = fc.oneof(
  fc.tuple(digits(16), digits(16)).map(([left, right]) => `${left}_${right}`),
  fc.tuple(digits(16), fc.constantFrom("_", "-", "__", ""), fc.nat(20).chain(digits)).map((parts) => parts.join("")),
  fc.tuple(fc.nat(20), fc.nat(2 ** 40)).map(([id, at]) => formatOffset(generation(id), position(at))),
  fc.constantFrom("-1", "now", "", "-2", "NOW", "0_0", "９".repeat(16) + "_" + "9".repeat(16), " -1", "-1\n"),
  fc.string({ unit: "binary", maxLength: 40 }),
);
const anyIdentity = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 9 }), fc.nat(60)), { minLength: 1, maxLength: 4 })
  .map((entries): StreamIdentity => {
    const lineage = entries
      .map(([id]) => id)
      .sort((left, right) => left - right)
      .filter((id, index, all) => id !== all[index - 1])
      .map((id, index) => ({ generation: generation(id), first: position(index * 20), source: null }));
    const id = generation(lineage.at(-1)?.generation ?? 1);
    return {
      id,
      path: "a",
      config: { contentType: "text/plain", ttlSeconds: null, expiresAtMs: null },
      createdAtMs: 0,
      lineage,
    };
  });

test(
  "an offset is what the server writes, a word of the protocol, or malformed; and it leads into its stream",
  { timeout: PROPERTY_MS },
  () => {
    fc.assert(
      fc.property(anyOffsetText, anyIdentity, fc.nat(100), fc.nat(100), (text, identity, some, other) => {
        const offset = parseOffset(text);
        if (offset.kind === "start") expect(["-1", "0000000000000000_0000000000000000"]).toContain(text);
        if (offset.kind === "now") expect(text).toBe("now");
        if (offset.kind !== "at") return;
        expect(formatOffset(offset.generation, offset.position)).toBe(text);
        const [horizon, tail] = [position(Math.min(some, other)), position(Math.max(some, other))];
        const resolved = resolveOffset(identity, tail, horizon, offset);
        if (resolved.kind !== "position") return;
        expect(resolved.position).toBeGreaterThanOrEqual(horizon);
        expect(resolved.position).toBeLessThanOrEqual(tail);
        expect(identity.lineage.some((entry) => entry.generation === offset.generation)).toBe(true);
      }),
      budget(300),
    );
  },
);

test("offsets that the server writes order as what they stand for", { timeout: PROPERTY_MS }, () => {
  const pair = fc.tuple(fc.maxSafeNat(), fc.maxSafeNat());
  fc.assert(
    fc.property(pair, pair, ([g1, p1], [g2, p2]) => {
      const [left, right] = [formatOffset(generation(g1), position(p1)), formatOffset(generation(g2), position(p2))];
      const order = g1 === g2 ? Math.sign(p1 - p2) : Math.sign(g1 - g2);
      expect(left < right ? -1 : left === right ? 0 : 1).toBe(order);
    }),
    budget(200),
  );
});

/** What a pattern means, said as slowly and plainly as it can be. */
function means(pattern: readonly string[], path: readonly string[]): boolean {
  const [wanted, ...rest] = pattern;
  if (wanted === undefined) return path.length === 0;
  if (wanted === "**") return means(rest, path) || (path.length > 0 && means(pattern, path.slice(1)));
  const [given, ...behind] = path;
  if (given === undefined) return false;
  const literal = wanted.toUpperCase() === "%2A" ? "*" : wanted.toUpperCase() === "%2A%2A" ? "**" : wanted;
  return (wanted === "*" || literal === given) && means(rest, behind);
}

const anyPattern = fc.array(fc.constantFrom("*", "**", "a", "b", "", "%2A", "%2a%2A", "***", "a*", ".."), {
  minLength: 1,
  maxLength: 5,
});
const anyPath = fc.array(fc.constantFrom("a", "b", "", "*", "**", "***", "a*", "..", "__proto__"), {
  minLength: 1,
  maxLength: 5,
});

test("a pattern matches what it says, alone and among others", { timeout: PROPERTY_MS }, () => {
  fc.assert(
    fc.property(fc.array(anyPattern, { minLength: 1, maxLength: 5 }), anyPath, (patterns, path) => {
      const index = new GlobIndex<string>();
      for (const pattern of patterns) index.add(pattern.join("/"), pattern.join("/"));
      const matching = patterns.filter((pattern) => means(pattern, path)).map((pattern) => pattern.join("/"));
      for (const pattern of patterns) {
        expect(globMatch(pattern.join("/"), path.join("/"))).toBe(matching.includes(pattern.join("/")));
      }
      expect(index.match(path.join("/")).sort()).toEqual([...new Set(matching)].sort());
      for (const pattern of patterns) index.remove(pattern.join("/"), pattern.join("/"));
      expect(index.match(path.join("/"))).toEqual([]);
    }),
    budget(300),
  );
});

const rows = Object.values(SETTINGS);
const anyValue = fc.oneof(
  fc.constantFrom(
    "",
    "0",
    "1",
    "-1",
    "+1",
    "1e3",
    "9".repeat(400),
    "64MiB",
    "1KB",
    "on",
    "off",
    "ON",
    "true",
    "\0",
    "é",
    "--port",
    "=",
    " ",
  ),
  fc.constantFrom(
    "127.0.0.1",
    "::1",
    "a b",
    "/v1/stream",
    "/",
    "/health",
    "//",
    "http://h",
    "https://h/?q",
    "s3://",
    "s3://b/p",
    "file:",
    "memory:",
  ),
  fc.string({ unit: "binary", maxLength: 12 }),
  fc.maxSafeNat().map(String),
);
const anyFlag = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .tuple(fc.constantFrom(...rows.map((row) => row.flag)), anyValue)
      .map(([flag, value]) => `--${flag}=${value}`),
  },
  { weight: 1, arbitrary: fc.constantFrom(...rows.map((row) => `--${row.flag}`)) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      "--",
      "-p",
      "--none",
      "--none=1",
      "x",
      "",
      "--__proto__=1",
      "--constructor",
      "-",
      "--no-port",
    ),
  },
);
const anyEnvironment = fc.dictionary(
  fc.constantFrom(...rows.map((row) => row.environment), "PATH", "__proto__"),
  anyValue,
  { maxKeys: 3 },
);

test("settings are read, or refused by a sentence that names one that was given", { timeout: PROPERTY_MS }, () => {
  fc.assert(
    fc.property(fc.array(anyFlag, { maxLength: 3 }), anyEnvironment, (args, environment) => {
      try {
        const settings = readSettings(args, environment);
        for (const [name, row] of Object.entries(SETTINGS)) {
          const value = settings[name as keyof typeof settings];
          if (row.kind !== "bytes" && row.kind !== "count") continue;
          expect(value).toBeGreaterThanOrEqual(row.min ?? 0);
          expect(value).toBeLessThanOrEqual(row.max ?? Number.MAX_SAFE_INTEGER);
        }
      } catch (error) {
        if (!(error instanceof SettingError)) throw error;
        const given = [...args.map((arg) => arg.split("=", 1)[0] ?? ""), ...Object.keys(environment)];
        expect(given.some((name) => error.message.includes(name))).toBe(true);
      }
    }),
    budget(300),
  );
});

test(
  "a log sequence number, a position and a generation are never anything but whole numbers",
  { timeout: PROPERTY_MS },
  () => {
    fc.assert(
      fc.property(fc.oneof(fc.double(), fc.integer(), fc.maxSafeNat()), (value) => {
        const isWhole = Number.isSafeInteger(value) && value >= 0;
        for (const make of [lsn, position, generation]) {
          if (isWhole) expect(make(value)).toBe(value);
          else expect(() => make(value)).toThrow(RangeError);
        }
      }),
      budget(200),
    );
  },
);
