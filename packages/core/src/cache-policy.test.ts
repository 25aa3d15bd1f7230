import { describe, expect, test } from "vitest";
import { cachePolicy, type CacheableResponse } from "./cache-policy.ts";

type CatchUp = Extract<CacheableResponse, { kind: "catch-up" }>;

const chunk: CatchUp = {
  kind: "catch-up",
  realOffset: true,
  atTail: false,
  closed: false,
  expiresInMs: null,
  authorized: false,
};
const openTail: CatchUp = { ...chunk, atTail: true };
const closedTail: CatchUp = { ...chunk, atTail: true, closed: true };
const longPoll: CacheableResponse = { kind: "long-poll", realOffset: true, expiresInMs: null, authorized: false };

describe("cache policy", () => {
  test.each<[string, CacheableResponse, string, boolean]>([
    ["a chunk below the tail", chunk, "public, max-age=31536000, immutable", false],
    [
      "a chunk of a closed stream below its tail",
      { ...chunk, closed: true },
      "public, max-age=31536000, immutable",
      false,
    ],
    ["the tail of a closed stream", closedTail, "public, max-age=31536000, immutable", false],
    ["a chunk of a stream that expires", { ...chunk, expiresInMs: 3_600_000 }, "public, max-age=60", false],
    ["a chunk of a stream that expires soon", { ...chunk, expiresInMs: 30_999 }, "public, max-age=30", false],
    ["a chunk of a stream that expires now", { ...chunk, expiresInMs: -5 }, "public, max-age=0", false],
    ["the tail of a closed stream that expires", { ...closedTail, expiresInMs: 59_999 }, "public, max-age=59", false],
    ["a first chunk", { ...chunk, realOffset: false }, "public, max-age=60", true],
    ["all of a closed stream", { ...closedTail, realOffset: false }, "public, max-age=60", true],
    [
      "a first chunk of a stream that expires",
      { ...chunk, realOffset: false, expiresInMs: 5_000 },
      "public, max-age=5",
      true,
    ],
    ["the tail of an open stream", openTail, "public, no-cache", false],
    ["all of an open stream", { ...openTail, realOffset: false }, "public, no-cache", false],
    ["the tail of an open stream that expires", { ...openTail, expiresInMs: 1 }, "public, no-cache", false],
    ["an authorised chunk", { ...chunk, authorized: true }, "private, max-age=31536000, immutable", false],
    ["an authorised closed tail", { ...closedTail, authorized: true }, "private, max-age=31536000, immutable", false],
    ["an authorised first chunk", { ...chunk, realOffset: false, authorized: true }, "private, max-age=60", true],
    ["an authorised open tail", { ...openTail, authorized: true }, "private, no-cache", false],
    ["a long-poll with data", longPoll, "public, max-age=20", false],
    ["a long-poll of a stream that expires soon", { ...longPoll, expiresInMs: 7_000 }, "public, max-age=7", false],
    ["an authorised long-poll", { ...longPoll, authorized: true }, "private, max-age=20", false],
    ["a long-poll from the start", { ...longPoll, realOffset: false }, "no-store", false],
    ["204, HEAD, offset=now, errors", { kind: "no-store" }, "no-store", false],
    ["server-sent events", { kind: "sse" }, "no-cache, no-transform", false],
  ])("%s", (_, response, cacheControl, contentLocation) => {
    expect(cachePolicy(response)).toEqual({ cacheControl, contentLocation });
  });
});
