import { describe, expect, test } from "vitest";
import { generation, position } from "./brand.ts";
import { encodedEtag, ifNoneMatch, rangeEtag, type EtagRange } from "./etag.ts";

const range: EtagRange = {
  id: generation(7),
  generation: generation(9),
  start: position(0),
  end: position(1024),
  closed: false,
  atTail: false,
};

describe("entity tags", () => {
  test.each<[Partial<EtagRange>, string]>([
    [{}, '"7:9:0:1024"'],
    [{ atTail: true }, '"7:9:0:1024:t"'],
    [{ closed: true }, '"7:9:0:1024"'],
    [{ atTail: true, closed: true }, '"7:9:0:1024:t:c"'],
  ])("%j makes %s", (change, etag) => {
    expect(rangeEtag({ ...range, ...change })).toBe(etag);
  });

  test("the generation is the stream's id unless it is given", () => {
    const { id, start, end, closed, atTail } = range;
    expect(rangeEtag({ id, start, end, closed, atTail })).toBe('"7:7:0:1024"');
  });

  test("closing a stream leaves the tags of ranges below its tail alone", () => {
    expect(rangeEtag({ ...range, closed: true })).toBe(rangeEtag(range));
  });

  test("each part of a range changes its tag", () => {
    const changes: Partial<EtagRange>[] = [
      {},
      { id: generation(8) },
      { generation: generation(10) },
      { start: position(1) },
      { end: position(1025) },
      { atTail: true },
      { atTail: true, closed: true },
    ];
    expect(new Set(changes.map((change) => rangeEtag({ ...range, ...change }))).size).toBe(changes.length);
  });

  test("each coding of a body has a tag of its own, which no other matches", () => {
    const etag = rangeEtag({ ...range, atTail: true });
    const tags = [etag, encodedEtag(etag, "gzip"), encodedEtag(etag, "deflate")];
    expect(tags).toEqual(['"7:9:0:1024:t"', '"7:9:0:1024:t:gzip"', '"7:9:0:1024:t:deflate"']);
    for (const tag of tags) expect(tags.filter((other) => ifNoneMatch(tag, other))).toEqual([tag]);
  });

  test.each<[string | undefined, boolean]>([
    [undefined, false],
    ["", false],
    ['"7:9:0:1024"', true],
    ['W/"7:9:0:1024"', true],
    ["*", true],
    [" * ", true],
    ['"a", "7:9:0:1024"', true],
    ['"a",W/"7:9:0:1024","b"', true],
    [' , "a" ,, "7:9:0:1024" ,', true],
    ['"a,b", "7:9:0:1024"', true],
    ['"7:9:0:1024:t"', false],
    ['"x"7:9:0:1024"', false],
    ['", "7:9:0:1024", "', false],
    ["7:9:0:1024", false],
    ['w/"7:9:0:1024"', false],
    ['"a" "7:9:0:1024"', false],
    ['"7:9:0:1024', false],
  ])("If-None-Match: %s matches: %s", (header, matches) => {
    expect(ifNoneMatch(header, rangeEtag(range))).toBe(matches);
  });

  test("one header's judgement leaves nothing behind for the next", () => {
    const etag = rangeEtag(range);
    expect(ifNoneMatch(`"a", "b", ${etag}`, etag)).toBe(true);
    expect(ifNoneMatch(etag, etag)).toBe(true);
  });
});
