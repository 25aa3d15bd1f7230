import { expect, test } from "vitest";
import {
  canonicalConfig,
  parseAck,
  parseClaim,
  parseLinkPath,
  parseStreams,
  parseSubscription,
  parseSubscriptionName,
} from "./subscription-parse.ts";

const webhook = { type: "webhook", pattern: "events/*", webhook: { url: "https://worker.example/hooks" } };
const pull = { type: "pull-wake", streams: ["events/a"], wake_stream: "wake/pool" };

function configOf(body: unknown): unknown {
  const result = parseSubscription(body);
  return result.kind === "config" ? result.config : result;
}

test("a webhook subscription as the protocol shows it", () => {
  const body = {
    ...webhook,
    streams: ["/events/manual-b/", "events/manual-a", "events/manual-a"],
    wake_stream: "wake/pool",
    lease_ttl_ms: 45_000,
    description: "event processor",
    unknown: { of: "no interest" },
  };
  expect(configOf(body)).toEqual({
    type: "webhook",
    pattern: "events/*",
    streams: ["events/manual-a", "events/manual-b"],
    webhookUrl: "https://worker.example/hooks",
    wakeStream: null,
    leaseTtlMs: 45_000,
    description: "event processor",
  });
});

test("a pull-wake subscription with nothing that it need not have", () => {
  expect(configOf({ ...pull, pattern: null, webhook: null, lease_ttl_ms: null })).toEqual({
    type: "pull-wake",
    pattern: null,
    streams: ["events/a"],
    webhookUrl: null,
    wakeStream: "wake/pool",
    leaseTtlMs: 30_000,
    description: null,
  });
});

test.each([
  ["/events/**/", "events/**"],
  ["events/caf%c3%a9/*", "events/caf%C3%A9/*"],
  ["%2A/a%2Ab", "%2A/a*b"],
  ["a/%2A%2A", "a/%2A%2A"],
  ["a/__ds", "a/__ds"],
  ["**/x", "**/x"],
])("pattern %s is kept as %s", (pattern, kept) => {
  expect(configOf({ ...webhook, pattern })).toMatchObject({ pattern: kept });
});

test.each<[string, unknown]>([
  ["no object", null],
  ["an array", []],
  ["a text", "webhook"],
  ["no type", {}],
  ["an unknown type", { ...webhook, type: "push" }],
  ["neither pattern nor streams", { type: "webhook", webhook: webhook.webhook, streams: [], pattern: "/" }],
  ["a pattern that is no text", { ...webhook, pattern: 5, streams: ["a"] }],
  ["a pattern with an empty segment", { ...webhook, pattern: "a//b" }],
  ["a pattern with a dot segment", { ...webhook, pattern: "a/../b" }],
  ["a pattern of reserved paths", { ...webhook, pattern: "__ds/*" }],
  ["a pattern with a raw special character", { ...webhook, pattern: "a/é" }],
  ["a long pattern", { ...webhook, pattern: "a".repeat(1_025) }],
  ["a pattern of many segments", { ...webhook, pattern: Array.from({ length: 65 }, () => "a").join("/") }],
  ["streams that are no array", { ...pull, streams: "events/a" }],
  ["a stream that is no text", { ...pull, streams: ["events/a", 7] }],
  ["an empty stream", { ...pull, streams: [""] }],
  ["a reserved stream", { ...pull, streams: ["__ds/subscriptions/x"] }],
  ["too many streams", { ...pull, streams: Array.from({ length: 1_001 }, (_, at) => `a/${at}`) }],
  ["a webhook without its address", { ...webhook, webhook: {} }],
  ["a webhook with nothing", { type: "webhook", pattern: "a" }],
  ["a webhook that is a text", { ...webhook, webhook: "https://worker.example" }],
  ["an address that is empty", { ...webhook, webhook: { url: "" } }],
  ["a pull-wake without its stream", { ...pull, wake_stream: null }],
  ["a pull-wake with an empty stream", { ...pull, wake_stream: "" }],
  ["a pull-wake with a bad stream", { ...pull, wake_stream: "wake/../pool" }],
  ["a short lease", { ...pull, lease_ttl_ms: 999 }],
  ["a long lease", { ...pull, lease_ttl_ms: 600_001 }],
  ["half a millisecond", { ...pull, lease_ttl_ms: 1_000.5 }],
  ["a lease as text", { ...pull, lease_ttl_ms: "30000" }],
  ["a description that is no text", { ...pull, description: 1 }],
  ["a long description", { ...pull, description: "é".repeat(513) }],
  ["half a character", { ...pull, description: "\ud800" }],
])("refused: %s", (_, body) => {
  expect(parseSubscription(body)).toEqual({ kind: "bad", detail: expect.any(String) });
});

test("an own field of the prototype's name is a field like others, and an inherited one is none", () => {
  expect(parseSubscription(Object.create(webhook)).kind).toBe("bad");
  expect(parseSubscription(JSON.parse(`{"__proto__": ${JSON.stringify(webhook)}}`)).kind).toBe("bad");
});

test("configurations are the same text exactly when they are the same", () => {
  const text = (body: unknown): string => {
    const result = parseSubscription(body);
    if (result.kind === "bad") throw new Error(result.detail);
    return canonicalConfig(result.config);
  };
  const base = text({ ...pull, streams: ["a", "b"] });
  expect(text({ ...pull, streams: ["/b", "a", "a"], extra: 1, lease_ttl_ms: 30_000 })).toBe(base);
  const others = [
    { ...pull, streams: ["a"] },
    { ...pull, streams: ["a", "b"], pattern: "a" },
    { ...pull, streams: ["a", "b"], wake_stream: "x" },
    { ...pull, streams: ["a", "b"], lease_ttl_ms: 1_000 },
    { ...pull, streams: ["a", "b"], description: "" },
    { ...webhook, pattern: null, streams: ["a", "b"] },
  ];
  expect(new Set([base, ...others.map(text)]).size).toBe(others.length + 1);
  expect(base).toBe('["pull-wake",null,["a","b"],null,"wake/pool",30000,null]');
});

test("a subscription's name is any well-formed text of 1 to 256 bytes without control characters", () => {
  for (const name of ["sub-1", "a/b", "é".repeat(128)])
    expect(parseSubscriptionName(name)).toEqual({ kind: "name", name });
  for (const name of ["", "é".repeat(129), "a\n", "\udc00"]) expect(parseSubscriptionName(name).kind).toBe("bad");
});

test("paths lose their outer slashes and are canonical", () => {
  expect(parseLinkPath("//events/%7ea/")).toEqual({ kind: "path", path: "events/~a" });
  expect(parseLinkPath("/").kind).toBe("bad");
  expect(parseStreams({ streams: ["/b/", "a", "b"] })).toEqual({ kind: "streams", paths: ["a", "b"] });
  for (const body of [null, {}, { streams: null }, { streams: "a" }, { streams: [null] }, { streams: [""] }]) {
    expect(parseStreams(body).kind).toBe("bad");
  }
});

test("a claim names its worker", () => {
  expect(parseClaim({ worker: "worker-1" })).toEqual({ kind: "claim", worker: "worker-1" });
  for (const body of [null, {}, { worker: "" }, { worker: 1 }, { worker: "a".repeat(257) }]) {
    expect(parseClaim(body).kind).toBe("bad");
  }
});

test("an ack may call a stream `stream` or `path`, and leave out all but what it says", () => {
  const acks = [
    { stream: "/events/a", offset: "x" },
    { path: "events/b", offset: "-1" },
  ];
  expect(parseAck({ wake_id: "w", generation: 7, acks, done: true })).toEqual({
    kind: "ack",
    request: {
      wakeId: "w",
      generation: 7,
      acks: [
        { path: "events/a", offset: "x" },
        { path: "events/b", offset: "-1" },
      ],
      done: true,
    },
  });
  expect(parseAck({})).toEqual({ kind: "ack", request: { wakeId: null, generation: null, acks: [], done: false } });
});

test.each<[unknown]>([
  [null],
  [{ wake_id: 1 }],
  [{ generation: "7" }],
  [{ done: "true" }],
  [{ acks: {} }],
  [{ acks: [null] }],
  [{ acks: [{ offset: "x" }] }],
  [{ acks: [{ stream: "a" }] }],
  [{ acks: [{ stream: "a", offset: 5 }] }],
  [{ acks: [{ stream: "__ds/a", offset: "x" }] }],
  [{ acks: Array.from({ length: 10_001 }, () => ({ stream: "a", offset: "x" })) }],
])("refused as an ack: %j", (body) => {
  expect(parseAck(body).kind).toBe("bad");
});
