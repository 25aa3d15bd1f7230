import { expect, test } from "vitest";
import { at, fresh, linkOf, pullConfig, sampleSubscription, startMs } from "../test-support/subscription.ts";
import { streamInfo, subscriptionBody, wakeEvent, wakeNotification } from "./subscription-body.ts";

const link = linkOf("events/a", at(66), "both");

test("a webhook subscription is told as the protocol shows it", () => {
  const signing = { kid: "ds_abc123", jwksUrl: "https://server.example/streams/__ds/jwks.json" };
  const body = subscriptionBody(sampleSubscription, [link, linkOf("events/b", "-1")], { signing });
  expect(body).toEqual({
    id: "sub-1",
    subscription_id: "sub-1",
    type: "webhook",
    pattern: "events/*",
    streams: [
      { path: "events/a", link_type: "explicit", acked_offset: at(66) },
      { path: "events/b", link_type: "glob", acked_offset: "-1" },
    ],
    webhook: {
      url: "https://worker.example/hooks",
      signing: { alg: "ed25519", kid: "ds_abc123", jwks_url: "https://server.example/streams/__ds/jwks.json" },
    },
    wake_stream: null,
    lease_ttl_ms: 30_000,
    created_at: "2025-10-09T08:53:20.000Z",
    status: "failed",
    description: "événements",
  });
  expect(subscriptionBody(sampleSubscription, [], { signing: null }).webhook).toEqual({
    url: "https://worker.example/hooks",
  });
});

test("a pull-wake subscription has no webhook, and is active while no retry is scheduled", () => {
  expect(subscriptionBody(fresh(pullConfig), [], { signing: null })).toMatchObject({
    type: "pull-wake",
    webhook: null,
    wake_stream: "wake/pool",
    status: "active",
    streams: [],
  });
});

test("a stream's tail says what is pending; one that is gone has the zero offset", () => {
  const told = { path: "events/a", link_type: "explicit", acked_offset: at(66) };
  expect(streamInfo(link, at(84))).toEqual({ ...told, tail_offset: at(84), has_pending: true });
  expect(streamInfo(link, at(66))).toEqual({ ...told, tail_offset: at(66), has_pending: false });
  expect(streamInfo(link, null)).toEqual({
    ...told,
    tail_offset: "0000000000000000_0000000000000000",
    has_pending: false,
  });
});

test("a wake is told to a webhook and to a wake stream as the protocol shows it", () => {
  const streams = [streamInfo(link, at(84))];
  expect(wakeNotification(sampleSubscription, streams, { url: "https://server.example/cb", token: "eyJ" })).toEqual({
    subscription_id: "sub-1",
    wake_id: "w_abc123",
    generation: 7,
    streams,
    callback_url: "https://server.example/cb",
    callback_token: "eyJ",
  });
  expect(wakeEvent(sampleSubscription, startMs)).toEqual({
    type: "wake",
    subscription_id: "sub-1",
    stream: "events/a",
    generation: 7,
    ts: startMs,
  });
});

test("without a wake there is nothing to tell", () => {
  expect(wakeNotification(fresh(pullConfig), [], { url: "", token: "" })).toBeNull();
  expect(wakeEvent(fresh(pullConfig), startMs)).toBeNull();
});
