import { expect, test } from "vitest";
import { controlRoute } from "./subscription-routes.ts";

const P = "/v1/stream/__ds";

test.each([
  ["/v1/stream/a", null],
  ["/v1/stream/__dsx", null],
  [P, { kind: "unknown" }],
  [`${P}/`, { kind: "unknown" }],
  [`${P}/other`, { kind: "unknown" }],
  [`${P}/jwks.json`, { kind: "jwks" }],
  [`${P}/jwks.json/x`, { kind: "unknown" }],
  [`${P}/subscriptions`, { kind: "unknown" }],
  [`${P}/subscriptions/`, { kind: "unknown" }],
  [`${P}/subscriptions/a`, { kind: "subscription", name: "a" }],
  [`${P}/subscriptions/a%2Fb%20c`, { kind: "subscription", name: "a/b c" }],
  [`${P}/subscriptions/%`, { kind: "malformed" }],
  [`${P}/subscriptions/%ff`, { kind: "malformed" }],
  [`${P}/subscriptions/a/`, { kind: "unknown" }],
  [`${P}/subscriptions/a/streams`, { kind: "streams", name: "a" }],
  [`${P}/subscriptions/a/streams/b/c`, { kind: "stream", name: "a", path: "b/c" }],
  [`${P}/subscriptions/a/streams/b%2Fc`, { kind: "stream", name: "a", path: "b/c" }],
  [`${P}/subscriptions/a/streams/%zz`, { kind: "malformed" }],
  [`${P}/subscriptions/a/ack`, { kind: "action", name: "a", action: "ack" }],
  [`${P}/subscriptions/a/callback`, { kind: "action", name: "a", action: "callback" }],
  [`${P}/subscriptions/a/claim/x`, { kind: "unknown" }],
  [`${P}/subscriptions/a/other`, { kind: "unknown" }],
])("%s", (target, route) => {
  expect(controlRoute(P, target)).toEqual(route);
});
