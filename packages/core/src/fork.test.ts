import { expect, test } from "vitest";
import { generation, lsn, position } from "./brand.ts";
import { newStreamState, type CreateRequest } from "./create.ts";
import { decideFork, forkAnchor, parseFork, type ForkOutcome, type ForkRequest } from "./fork.ts";
import type { RequestHeaders } from "./headers.ts";
import { LINEAGE_MAX } from "./limits.ts";
import { forkLineage } from "./lineage.ts";
import { formatOffset } from "./offset.ts";
import type { LineageEntry, StreamConfig, StreamState } from "./stream-state.ts";

const NOW = 2000;
const ROOT = "/v1/stream";
const ZERO = "0000000000000000_0000000000000000";
const offset = formatOffset(generation(4), position(3));
const at = { kind: "at", generation: 4, position: 3 };

test.each<[RequestHeaders, unknown]>([
  [{}, { kind: "none" }],
  [{ "stream-forked-from": `${ROOT}/a/b` }, { source: "a/b", offset: "tail", subOffset: 0 }],
  [{ "stream-forked-from": [`${ROOT}/a`] }, { source: "a", offset: "tail", subOffset: 0 }],
  [{ "stream-forked-from": `${ROOT}/caf%c3%A9` }, { source: "caf%C3%A9", offset: "tail", subOffset: 0 }],
  [
    { "stream-forked-from": `${ROOT}/a`, "stream-fork-sub-offset": "0" },
    { source: "a", offset: "tail", subOffset: 0 },
  ],
  [
    { "stream-forked-from": `${ROOT}/a`, "stream-fork-offset": offset },
    { source: "a", offset: at, subOffset: 0 },
  ],
  [
    { "stream-forked-from": `${ROOT}/a`, "stream-fork-offset": ZERO, "stream-fork-sub-offset": "9007199254740991" },
    { source: "a", offset: "start", subOffset: 9_007_199_254_740_991 },
  ],
])("fork headers %j are read", (headers, parsed) => {
  const read = parseFork(headers, ROOT);
  expect(read.kind === "fork" ? read.request : read).toEqual(parsed);
});

test("streams may lie right below the server's root", () => {
  const request = { source: "a", offset: "tail", subOffset: 0 };
  expect(parseFork({ "stream-forked-from": "/a" }, "")).toEqual({ kind: "fork", request });
});

test.each<[string, "bad" | "elsewhere"]>([
  ["", "elsewhere"],
  ["a", "elsewhere"],
  ["/other/a", "elsewhere"],
  [ROOT, "elsewhere"],
  ["/v1/streams/a", "elsewhere"],
  [`http://127.0.0.1${ROOT}/a`, "elsewhere"],
  [`${ROOT}/`, "bad"],
  [`${ROOT}/a//b`, "bad"],
  [`${ROOT}/../a`, "bad"],
  [`${ROOT}/%2e%2E/a`, "bad"],
  [`${ROOT}/__ds/subscriptions`, "bad"],
  [`${ROOT}/a%`, "bad"],
  [`${ROOT}/%ff`, "bad"],
  [`${ROOT}/a b`, "bad"],
  [`${ROOT}/caf\u00e9`, "bad"],
  [`${ROOT}/${"a".repeat(5000)}`, "bad"],
])("Stream-Forked-From %j is %s", (from, kind) => {
  expect(parseFork({ "stream-forked-from": from }, ROOT).kind).toBe(kind);
});

test.each<[RequestHeaders]>([
  [{ "stream-forked-from": [`${ROOT}/a`, `${ROOT}/b`] }],
  [{ "stream-fork-offset": [offset, offset] }],
  [{ "stream-fork-offset": offset, "stream-fork-sub-offset": ["1", "1"] }],
  [{ "stream-fork-sub-offset": "1" }],
  [{ "stream-fork-offset": "" }],
  [{ "stream-fork-offset": "-1" }],
  [{ "stream-fork-offset": "now" }],
  [{ "stream-fork-offset": "4_3" }],
  [{ "stream-fork-offset": ` ${offset}` }],
  [{ "stream-fork-offset": "9999999999999999_9999999999999999" }],
  ...["", "-1", "-0", "+1", "1.5", "05", "1e3", "abc", " 1", "9007199254740992", "9".repeat(17), "9".repeat(400)].map(
    (sub): [RequestHeaders] => [{ "stream-fork-offset": offset, "stream-fork-sub-offset": sub }],
  ),
])("fork headers %j are refused", (headers) => {
  expect(parseFork({ "stream-forked-from": `${ROOT}/a`, ...headers }, ROOT).kind).toBe("bad");
});

test.each<[RequestHeaders]>([
  [{ "stream-fork-offset": offset }],
  [{ "stream-fork-sub-offset": "0" }],
  [{ "stream-fork-offset": ZERO, "stream-fork-sub-offset": "1" }],
])("fork headers %j need a source", (headers) => {
  expect(parseFork(headers, ROOT).kind).toBe("bad");
});

const none: StreamConfig = { contentType: "text/plain", ttlSeconds: null, expiresAtMs: null };

function stream(id: number, config: Partial<StreamConfig> = {}, lineage?: readonly LineageEntry[]): StreamState {
  const own = generation(id);
  return newStreamState({
    identity: {
      id: own,
      path: `s/${id}`,
      config: { ...none, ...config },
      createdAtMs: 0,
      lineage: lineage ?? [{ generation: own, first: position(0), source: null }],
    },
    tail: position(20),
    closed: false,
    touchedAtMs: NOW - 500,
    lsn: lsn(9),
  });
}

const source = stream(4);
const other = stream(5);

function forkOf(from: StreamState, place: number, config: Partial<StreamConfig> = {}): StreamState {
  const id = generation(7);
  return stream(id, { ...from.identity.config, ...config }, forkLineage(from.identity, position(place), id));
}

function offsetOf(minted: number, place: number): ForkRequest["offset"] {
  return { kind: "at", generation: generation(minted), position: position(place) };
}

const fork = forkOf(source, 10);

test.each<[string, StreamState, ForkRequest["offset"], number | "bad"]>([
  ["the tail of a stream", source, "tail", 20],
  ["the start of a stream", source, "start", 0],
  ["an offset", source, offsetOf(4, 3), 3],
  ["the tail's offset", source, offsetOf(4, 20), 20],
  ["one past the tail", source, offsetOf(4, 21), "bad"],
  ["far past the tail", source, offsetOf(4, 2000), "bad"],
  ["another stream's offset", source, offsetOf(5, 3), "bad"],
  ["a fork's inherited offset", fork, offsetOf(4, 9), 9],
  ["a fork's fork point", fork, offsetOf(4, 10), 10],
  ["a source's offset past the fork point", fork, offsetOf(4, 11), "bad"],
  ["a fork's own offset", fork, offsetOf(7, 11), 11],
  ["a fork's generation below the fork point", fork, offsetOf(7, 9), "bad"],
  ["the tail of a fork", fork, "tail", 20],
  ["the start of a fork", fork, "start", 0],
  ["the start of a trimmed stream", { ...source, horizon: position(5) }, "start", "bad"],
  ["an offset below the horizon", { ...source, horizon: position(5) }, offsetOf(4, 4), "bad"],
  ["the horizon", { ...source, horizon: position(5) }, offsetOf(4, 5), 5],
  ["the start of an empty stream", { ...source, tail: position(0) }, "start", 0],
  ["an empty stream's offset", { ...source, tail: position(0) }, offsetOf(4, 0), 0],
])("a fork at %s", (_name, from, place, anchor) => {
  const found = forkAnchor(from, { source: "s", offset: place, subOffset: 0 });
  expect(found.kind === "anchor" ? found.position : found.kind).toBe(anchor);
});

const plain: CreateRequest = { contentType: "text/plain", ttlSeconds: null, expiresAtMs: null, closed: false };

function decide(
  existing: StreamState | undefined,
  from: StreamState | undefined,
  create: Partial<CreateRequest> = {},
  place: ForkRequest["offset"] = offsetOf(4, 10),
  point = 10,
): ForkOutcome {
  const request: ForkRequest = { source: "s", offset: place, subOffset: 0 };
  return decideFork(existing, from, { create: { ...plain, ...create }, fork: request }, position(point), NOW);
}

test.each<[string, StreamState | undefined, Partial<CreateRequest>, ForkOutcome["kind"]]>([
  ["a stream", source, {}, "create"],
  ["a closed stream", { ...source, closed: true }, {}, "create"],
  ["a fork", fork, {}, "create"],
  ["a stream, without a type", source, { contentType: null }, "create"],
  ["a stream, with its type written otherwise", source, { contentType: "Text/PLAIN; charset=x" }, "create"],
  ["a stream, with another type", source, { contentType: "application/json" }, "conflict"],
  ["no stream", undefined, {}, "no-source"],
  ["a deleted stream", { ...source, deleted: true }, {}, "no-source"],
  ["an expired stream", stream(4, { expiresAtMs: NOW }), {}, "no-source"],
  ["a soft-deleted stream", { ...source, softDeleted: true }, {}, "conflict"],
  ["a soft-deleted stream past its time", { ...stream(4, { expiresAtMs: 1 }), softDeleted: true }, {}, "conflict"],
  ["a stream that was soft-deleted and is gone", { ...source, softDeleted: true, deleted: true }, {}, "no-source"],
])("a fork of %s", (_name, from, create, kind) => {
  expect(decide(undefined, from, create).kind).toBe(kind);
  expect(decide({ ...fork, deleted: true }, from, create).kind).toBe(kind);
  expect(decide(forkOf(source, 10, { expiresAtMs: NOW }), from, create).kind).toBe(kind);
});

type Expiry = Pick<StreamConfig, "ttlSeconds" | "expiresAtMs">;
const never: Expiry = { ttlSeconds: null, expiresAtMs: null };
const ttl: Expiry = { ttlSeconds: 60, expiresAtMs: null };
const ownTtl: Expiry = { ttlSeconds: 3600, expiresAtMs: null };
const deadline: Expiry = { ttlSeconds: null, expiresAtMs: 90_000 };
const ownDeadline: Expiry = { ttlSeconds: null, expiresAtMs: 95_000 };

test.each<[Expiry, Expiry, Expiry]>([
  [never, never, never],
  [never, ownTtl, ownTtl],
  [never, ownDeadline, ownDeadline],
  [ttl, never, ttl],
  [ttl, ownTtl, ownTtl],
  [ttl, ownDeadline, ownDeadline],
  [deadline, never, deadline],
  [deadline, ownTtl, ownTtl],
  [deadline, ownDeadline, ownDeadline],
])("a source with %j and a request for %j give a fork with %j, which a repeated PUT finds", (from, asked, gets) => {
  const origin = stream(4, from);
  const config = { contentType: "text/plain", ...gets };
  expect(decide(undefined, origin, asked)).toEqual({ kind: "create", config });
  expect(decide(undefined, origin, { ...asked, contentType: null })).toEqual({ kind: "create", config });
  const made = forkOf(origin, 10, gets);
  expect(decide(made, origin, asked).kind).toBe("exists");
  const longer = { ttlSeconds: 7200, expiresAtMs: null };
  expect(decide(made, origin, longer).kind).toBe("conflict");
});

test("a fork takes the source's content type as it was written, whatever the request calls it", () => {
  const origin = stream(4, { contentType: "text/plain; charset=utf-8" });
  const config = { ...none, contentType: "text/plain; charset=utf-8" };
  expect(decide(undefined, origin, { contentType: "TEXT/plain" })).toEqual({ kind: "create", config });
});

test.each<[string, StreamState, StreamState | undefined, Partial<CreateRequest>, ForkOutcome["kind"]]>([
  ["the same fork", fork, source, {}, "exists"],
  ["the same fork without a type", fork, source, { contentType: null }, "exists"],
  ["the same fork of a source deleted since", fork, { ...source, softDeleted: true }, {}, "exists"],
  ["the same fork of a source closed since", fork, { ...source, closed: true }, {}, "exists"],
  ["a fork closed since", { ...fork, closed: true }, source, {}, "conflict"],
  ["a closed fork", { ...fork, closed: true }, source, { closed: true }, "exists"],
  ["a soft-deleted fork", { ...fork, softDeleted: true }, source, {}, "conflict"],
  [
    "a soft-deleted fork past its time",
    { ...forkOf(source, 10, { expiresAtMs: 1 }), softDeleted: true },
    source,
    {},
    "conflict",
  ],
  ["a fork with another type", fork, source, { contentType: "text/html" }, "conflict"],
  ["a fork with a TTL asked for", fork, source, { ttlSeconds: 5 }, "conflict"],
  ["a fork of another source", fork, other, {}, "conflict"],
  ["a fork whose source has another name now", fork, undefined, {}, "conflict"],
  ["a fork of the fork's source's source", forkOf(fork, 10), source, {}, "conflict"],
  ["a fork of a fork, below its fork point", forkOf(forkOf(source, 15), 10), source, {}, "conflict"],
  ["a stream that is no fork", other, source, {}, "conflict"],
  ["the source itself", source, source, {}, "conflict"],
])("a forking PUT that finds %s", (_name, existing, from, create, kind) => {
  expect(decide(existing, from, create).kind).toBe(kind);
});

test("a repeated forking PUT names the same fork point, by offset and sub-offset or by none", () => {
  expect(decide(fork, source, {}, offsetOf(4, 7), 10).kind).toBe("exists");
  expect(decide(fork, source, {}, offsetOf(4, 7), 11).kind).toBe("conflict");
  expect(decide(fork, source, {}, "start", 0).kind).toBe("conflict");
  expect(decide(forkOf(source, 0), source, {}, "start", 0).kind).toBe("exists");
  expect(decide(fork, source, {}, "tail", 20).kind).toBe("exists");
});

/** A chain of forks with a lineage of `entries`. `step` is how far each parts above the last one's fork point. */
function chain(entries: number, step: number): StreamState {
  let state = stream(1);
  for (let id = 2; id <= entries; id++) {
    state = stream(id, {}, forkLineage(state.identity, position(id * step), generation(id)));
  }
  return { ...state, tail: position(entries + 1) };
}

test.each([
  ["forks one above the other", 1],
  ["forks that all inherit nothing", 0],
])("a lineage of %s never passes its limit", (_, step) => {
  const last = chain(LINEAGE_MAX - 1, step);
  expect(last.identity.lineage.length).toBe(LINEAGE_MAX - 1);
  expect(decide(undefined, last).kind).toBe("create");
  const longest = forkLineage(last.identity, last.tail, generation(9_999));
  expect(longest.length).toBe(LINEAGE_MAX);
  expect(decide(undefined, stream(9_999, {}, longest)).kind).toBe("bad");
});
