import { expect, test } from "vitest";
import { generation, lsn, position } from "./brand.ts";
import { decideCreate, newStreamState, parseCreate, type CreateRequest } from "./create.ts";
import type { StreamConfig, StreamState } from "./stream-state.ts";

function state(config: Partial<StreamConfig>, closed = false): StreamState {
  const id = generation(4);
  const whole = { contentType: "text/plain", ttlSeconds: null, expiresAtMs: null, ...config };
  return newStreamState({
    identity: {
      id,
      path: "s",
      config: whole,
      createdAtMs: 0,
      lineage: [{ generation: id, first: position(0), source: null }],
    },
    tail: position(5),
    closed,
    touchedAtMs: 1000,
    lsn: lsn(9),
  });
}

const plain: CreateRequest = { contentType: "text/plain", ttlSeconds: null, expiresAtMs: null, closed: false };

test("a new stream's state has nothing trimmed, closed by nobody, without sequence", () => {
  const made = state({}, true);
  expect(made).toEqual({
    identity: made.identity,
    tail: 5,
    horizon: 0,
    closed: true,
    closedBy: null,
    streamSeq: null,
    touchedAtMs: 1000,
    softDeleted: false,
    deleted: false,
    lsn: 9,
  });
});

test.each([
  [{}, { contentType: null, ttlSeconds: null, expiresAtMs: null, closed: false }],
  [{ "content-type": "Text/Plain; x=y" }, { ...plain, contentType: "Text/Plain; x=y" }],
  [
    { "content-type": "text/plain", "stream-ttl": "0" },
    { ...plain, ttlSeconds: 0 },
  ],
  [
    { "content-type": "text/plain", "stream-expires-at": "1970-01-01T00:00:01Z" },
    { ...plain, expiresAtMs: 1000 },
  ],
  [
    { "content-type": "text/plain", "stream-closed": "TRUE" },
    { ...plain, closed: true },
  ],
  [{ "content-type": "text/plain", "stream-closed": "yes" }, plain],
])("headers %j are read", (headers, request) => {
  expect(parseCreate(headers)).toEqual({ kind: "request", request });
});

test.each([
  [{ "content-type": "nonsense" }],
  [{ "stream-ttl": "" }],
  [{ "stream-ttl": "00060" }],
  [{ "stream-expires-at": "tomorrow" }],
  [{ "stream-ttl": "3600", "stream-expires-at": "2030-01-01T00:00:00Z" }],
  [{ "stream-ttl": ["1", "2"] }],
])("headers %j are refused", (headers) => {
  expect(parseCreate(headers).kind).toBe("bad");
});

test.each<[string, StreamState | undefined, Partial<CreateRequest>, string]>([
  ["no stream", undefined, {}, "create"],
  ["the same", state({}), {}, "exists"],
  ["other case", state({}), { contentType: "TEXT/PLAIN" }, "exists"],
  ["other parameters", state({}), { contentType: "text/plain; charset=utf-8" }, "exists"],
  ["other type", state({}), { contentType: "application/json" }, "conflict"],
  ["no type on text", state({}), { contentType: null }, "conflict"],
  ["no type on octets", state({ contentType: "application/octet-stream" }), { contentType: null }, "exists"],
  ["same TTL", state({ ttlSeconds: 60 }), { ttlSeconds: 60 }, "exists"],
  ["other TTL", state({ ttlSeconds: 60 }), { ttlSeconds: 61 }, "conflict"],
  ["TTL left out", state({ ttlSeconds: 60 }), {}, "conflict"],
  ["TTL added", state({}), { ttlSeconds: 60 }, "conflict"],
  ["same expiry", state({ expiresAtMs: 9000 }), { expiresAtMs: 9000 }, "exists"],
  ["other expiry", state({ expiresAtMs: 9000 }), { expiresAtMs: 9001 }, "conflict"],
  ["closed, asked open", state({}, true), {}, "conflict"],
  ["closed, asked closed", state({}, true), { closed: true }, "exists"],
  ["open, asked closed", state({}), { closed: true }, "conflict"],
  ["expired", state({ expiresAtMs: 2000 }), {}, "create"],
  ["expired window", state({ ttlSeconds: 1 }), { contentType: "application/json" }, "create"],
  ["soft-deleted", { ...state({}), softDeleted: true }, {}, "conflict"],
  ["soft-deleted and past its time", { ...state({ ttlSeconds: 1 }), softDeleted: true }, { ttlSeconds: 1 }, "conflict"],
  ["soft-deleted, then deleted", { ...state({}), softDeleted: true, deleted: true }, {}, "create"],
  ["deleted", { ...state({}), deleted: true }, {}, "create"],
])("a PUT on %s", (_name, existing, change, kind) => {
  expect(decideCreate(existing, { ...plain, ...change }, 2000).kind).toBe(kind);
});
