import * as fc from "fast-check";
import { expect, test } from "vitest";
import { parseReadQuery } from "./read.ts";

const none = { offset: null, live: null, cursor: null };

test.each([
  ["", none],
  ["?", none],
  ["?foo=bar&baz", none],
  ["?offset=-1&foo=bar&baz=qux", { ...none, offset: "-1" }],
  ["offset=now", { ...none, offset: "now" }],
  ["?offset=0,1", { ...none, offset: "0,1" }],
  ["?offset=0+1", { ...none, offset: "0 1" }],
  ["?offset=0%201", { ...none, offset: "0 1" }],
  ["?%6fffset=a%5Fb", { ...none, offset: "a_b" }],
  ["?offset=a=b", { ...none, offset: "a=b" }],
  ["?live=sse&offset=now", { ...none, offset: "now", live: "sse" }],
  ["?offset=-1&live=long-poll&cursor=12", { offset: "-1", live: "long-poll", cursor: "12" }],
  ["?cursor=1&cursor=2&&", { ...none, cursor: "1" }],
  ["?cursor", { ...none, cursor: "" }],
  ["?x=%zz&%zz=1", none],
])("query %j is read", (search, query) => {
  expect(parseReadQuery(search)).toEqual(query);
});

test.each([
  "?offset=",
  "?offset",
  "?offset=a&offset=b",
  "?offset=a&offset=a",
  "?offset=-1&live=",
  "?offset=-1&live=LONG-POLL",
  "?offset=-1&live=true",
  "?offset=-1&live=sse&live=sse",
  "?live=long-poll",
  "?live=sse",
  "?live=sse&offset=",
  "?offset=%zz",
  "?offset=%ff",
])("query %j is an error", (search) => {
  expect(parseReadQuery(search)).toHaveProperty("error");
});

test("no query throws", () => {
  fc.assert(fc.property(fc.string(), (search) => typeof parseReadQuery(search) === "object"));
});
