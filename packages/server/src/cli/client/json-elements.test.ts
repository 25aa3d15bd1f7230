import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { checkJson, JsonElements, JsonTextError } from "./json-elements.ts";

/** The elements of a text that arrives in pieces cut at `cuts`. */
function split(text: string, cuts: readonly number[] = []): { elements: string[]; values: number } {
  const bytes = Buffer.from(text);
  const splitter = new JsonElements();
  const at = [...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  const elements: string[] = [];
  let start = 0;
  for (const end of at) {
    for (const element of splitter.push(bytes.subarray(start, end))) elements.push(Buffer.from(element).toString());
    start = end;
  }
  for (const element of splitter.end()) elements.push(Buffer.from(element).toString());
  return { elements, values: splitter.values };
}

describe("elements of JSON text", () => {
  test.each([
    ["{}", ["{}"]],
    ["[{}, {}]", ["{}", "{}"]],
    ["[[{}, {}]]", ["[{},{}]"]],
    ["[]", []],
    [" [ ] ", []],
    ["[1,2][3]\n[]", ["1", "2", "3"]],
    ["12345678901234567890.10", ["12345678901234567890.10"]],
    ['["a, ]\\"[ b", 1.0]', ['"a, ]\\"[ b"', "1.0"]],
    ['{"a" : [1, 2]} \n', ['{"a":[1,2]}']],
    ['"x y"', ['"x y"']],
    ["1 2", ["1", "2"]],
  ])("of %s are %j", (text, expected) => {
    expect(split(text).elements).toEqual(expected);
  });

  test.each(["[1,]", "[,1]", "[,]", "[1,,2]", "[1", '["a', "{", "]", "[}"])("%s is refused", (text) => {
    expect(() => split(text)).toThrow(JsonTextError);
  });

  test("two values without a comma stay apart, so that the parser refuses them", () => {
    expect(split("[1 2]").elements).toEqual(["1 2"]);
    expect(() => checkJson(Buffer.from("1 2"))).toThrow(JsonTextError);
  });

  test("outermost values are counted", () => {
    expect(split("[1] [2] {} 3").values).toBe(4);
  });

  test("any array in any pieces gives its elements", () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue()), fc.array(fc.nat()), fc.boolean(), (values, cuts, pretty) => {
        const text = JSON.stringify(values, null, pretty ? 2 : undefined);
        expect(split(text, cuts).elements).toEqual(values.map((value) => JSON.stringify(value)));
      }),
    );
  });

  test("bytes that are not UTF-8 are no JSON", () => {
    expect(() => checkJson(Buffer.from([0x22, 0xff, 0x22]))).toThrow("not valid UTF-8");
  });
});
