import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { jsonFault } from "./json-fault.ts";

const encoder = new TextEncoder();

function faultOf(text: string): string | null {
  return jsonFault(encoder.encode(text));
}

function parses(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

describe("faults of JSON", () => {
  test.each<[string, string]>([
    ["   ", "byte 3: expected a value, found the end"],
    ["[1,]", 'byte 3: expected a value, found "]"'],
    ["[1 2]", 'byte 3: expected "," or "]", found "2"'],
    ["[1", 'byte 2: expected "," or "]", found the end'],
    ["[1}", 'byte 2: expected "," or "]", found "}"'],
    ['{"a":1,}', 'byte 7: expected a key, found "}"'],
    ["{a:1}", 'byte 1: expected a key or "}", found "a"'],
    ['{"a" 1}', 'byte 5: expected ":", found "1"'],
    ['{"a":}', 'byte 5: expected a value, found "}"'],
    ["{'a':1}", `byte 1: expected a key or "}", found "'"`],
    ["tru", 'byte 3: expected "true", found the end'],
    ["nil", 'byte 1: expected "null", found "i"'],
    ["NaN", 'byte 0: expected a value, found "N"'],
    ["-", "byte 1: expected a digit, found the end"],
    ["01", 'byte 1: expected the end, found "1"'],
    ["1.", "byte 2: expected a digit, found the end"],
    ["1e+", "byte 3: expected a digit, found the end"],
    ["+1", 'byte 0: expected a value, found "+"'],
    ['"a', "byte 2: expected a closing quotation mark, found the end"],
    ['"a\n"', "byte 2: expected an escape, for a control character inside a string, found byte 0x0a"],
    ['"\\x"', 'byte 2: expected one of the escapes of JSON, found "x"'],
    ['"\\u12g4"', 'byte 5: expected a hexadecimal digit, found "g"'],
    ["1 // one", 'byte 2: expected the end, found "/"'],
    ['[1]"', "byte 3: expected the end, found a quotation mark"],
  ])("%j: %s", (text, fault) => {
    expect(parses(text)).toBe(false);
    expect(faultOf(text)).toBe(`invalid JSON at ${fault}`);
  });

  test("nesting 100,000 deep is scanned without recursion", () => {
    expect(faultOf("[".repeat(100_000) + "]".repeat(100_000))).toBeNull();
    expect(faultOf("[".repeat(100_000))).toBe("invalid JSON at byte 100000: expected a value, found the end");
  });

  test("what JSON.parse takes has no fault", () => {
    fc.assert(
      fc.property(fc.json(), fc.integer({ min: 0, max: 3 }), (text, indent) => {
        expect(faultOf(text)).toBeNull();
        expect(faultOf(JSON.stringify(JSON.parse(text), null, indent))).toBeNull();
      }),
    );
  });

  test("damaged JSON has a fault exactly when JSON.parse refuses it", () => {
    const damage = fc.constantFrom(
      "",
      "[",
      "]",
      "{",
      "}",
      ",",
      ":",
      '"',
      "\\",
      "0",
      "-",
      ".",
      "e",
      "t",
      " ",
      "\n",
      "u",
    );
    fc.assert(
      fc.property(fc.json(), fc.nat(), fc.nat({ max: 2 }), damage, (text, at, removed, inserted) => {
        const cut = at % (text.length + 1);
        // Half a surrogate pair would reach the scanner as U+FFFD.
        const damaged = (text.slice(0, cut) + inserted + text.slice(cut + removed)).toWellFormed();
        expect(faultOf(damaged) === null).toBe(parses(damaged));
      }),
      { numRuns: 2000 },
    );
  });

  test("short texts of JSON's own characters have a fault exactly when JSON.parse refuses them", () => {
    const text = fc.string({ unit: fc.constantFrom(...'[]{},:"\\u0019-+.eEtrufalsn \n'), maxLength: 8 });
    fc.assert(
      fc.property(text, (text) => {
        expect(faultOf(text) === null).toBe(parses(text));
      }),
      { numRuns: 5000 },
    );
  });
});
