import { describe, expect, test } from "vitest";
import { readClientSettings, redact } from "./client-settings.ts";
import { OptionValues } from "./command-spec.ts";
import { Failure } from "./failure.ts";
import { streamPathname, streamUrl, subscriptionUrl } from "./stream-url.ts";

const read = (options: Record<string, unknown>, environment: Record<string, string> = {}) =>
  readClientSettings(new OptionValues(options), environment);

describe("where the server is", () => {
  test.each([
    [{}, {}, "http://localhost:4437/v1/stream"],
    [{}, { STREAM_URL: "" }, "http://localhost:4437/v1/stream"],
    [{}, { STREAM_URL: "https://a.example/streams//" }, "https://a.example/streams"],
    [{ url: "http://b.example:1/" }, { STREAM_URL: "https://a.example" }, "http://b.example:1"],
  ])("options %j and variables %j give %s", (options, environment, url) => {
    expect(read(options, environment).baseUrl).toBe(url);
  });

  test.each(["localhost", "ftp://a", "http://user:secret-word@a/", "http://a/?x=1", "http://a/#x"])(
    "%s is refused",
    (url) => {
      expect(() => read({ url })).toThrow(Failure);
      expect(() => read({ url })).not.toThrow("secret-word");
    },
  );
});

describe("credentials", () => {
  test("the option wins over the variable", () => {
    expect(read({ auth: "Bearer one" }, { STREAM_AUTH: "Bearer two" }).headers).toEqual({
      authorization: "Bearer one",
    });
    expect(read({}, { STREAM_AUTH: "Bearer two" }).headers).toEqual({ authorization: "Bearer two" });
  });

  test("a header that no request can carry is refused without being told", () => {
    expect(() => read({ auth: "Bearer secret-word\nX: y" })).toThrow(Failure);
    expect(() => read({ auth: "Bearer secret-word\nX: y" })).not.toThrow("secret-word");
    expect(() => read({ header: ["no colon"] })).toThrow('--header must be "Name: value"');
  });

  test("a secret that a server repeats is taken out, with and without its scheme", () => {
    const { secrets } = read({ auth: "Bearer secret-word", header: ["X-Key: other-word"] });
    expect(redact("token secret-word of Bearer secret-word and other-word", secrets)).toBe("token *** of *** and ***");
  });
});

test.each(["0", "-1", "x", "1e3", "100000"])("a time-out of %s is refused", (timeout) => {
  expect(() => read({ timeout })).toThrow("--timeout");
});

describe("the URL of a stream", () => {
  const base = "http://h/v1/stream";
  test.each([
    ["a", "/v1/stream/a"],
    ["/a/b:c", "/v1/stream/a/b:c"],
    ["a b/é", "/v1/stream/a%20b/%C3%A9"],
    ["a%2Fb", "/v1/stream/a%2Fb"],
    ["100%", "/v1/stream/100%25"],
  ])("of %s is %s", (path, expected) => {
    expect(streamUrl(base, path)).toBe(`http://h${expected}`);
    expect(streamPathname(base, path)).toBe(expected);
  });

  test.each(["", "/", "a/../b", "..", "a/%2e%2E/b", "a?b", "a#b", "x".repeat(3000)])("of %s is refused", (path) => {
    expect(() => streamUrl(base, path)).toThrow(Failure);
  });

  test("a subscription's id is one part of the path", () => {
    expect(subscriptionUrl(base, "a/b", "ack")).toBe("http://h/v1/stream/__ds/subscriptions/a%2Fb/ack");
    expect(() => subscriptionUrl(base, "..")).toThrow(Failure);
  });
});
