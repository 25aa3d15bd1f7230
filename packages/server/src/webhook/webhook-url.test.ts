import { describe, expect, test } from "vitest";
import { LOOPBACK, REFUSED } from "../../test-support/webhook-urls.ts";
import { checkWebhookUrl } from "./webhook-url.ts";

const LOOPBACKS = [
  "http://127.0.0.1/hook",
  "http://127.0.0.1:34567/webhook",
  "http://127.8.9.10:1/",
  "http://localhost:3000/hook",
  "http://LOCALHOST/",
  "http://[::1]:8080/",
  "http://[0:0:0:0:0:0:0:1]/",
  "http://2130706433/",
  "http://0x7f.1/",
  "http://127.1/",
  "https://localhost:8443/",
];

const ALLOWED: readonly (readonly [string, string])[] = [
  ["https://worker.example/hooks", "https://worker.example/hooks"],
  ["https://example.com", "https://example.com/"],
  ["HTTPS://Example.COM:443/a/../b?x=1#".slice(0, -1), "https://example.com/b?x=1"],
  ["https://hooks.example.com:8443/?token=a%20b", "https://hooks.example.com:8443/?token=a%20b"],
  ["https://b\u00fccher.example/", "https://xn--bcher-kva.example/"],
  ["https://my_worker.example.com/", "https://my_worker.example.com/"],
  ["https://notlocalhost.com/", "https://notlocalhost.com/"],
  ["https://internal.example.com/", "https://internal.example.com/"],
  ["https://8.8.8.8/", "https://8.8.8.8/"],
  ["https://[2606:4700:4700::1111]:8443/", "https://[2606:4700:4700::1111]:8443/"],
  ["https://example.com/a@b", "https://example.com/a@b"],
];

describe("webhook URLs", () => {
  test.each(REFUSED)("%j is refused", (url, why) => {
    for (const allowLoopback of [true, false]) {
      expect(checkWebhookUrl(url, { allowLoopback })).toEqual({
        kind: "rejected",
        detail: expect.stringMatching(why) as string,
      });
    }
  });

  test.each(LOOPBACKS)("%j is accepted where loopback is allowed, and refused elsewhere", (url) => {
    expect(checkWebhookUrl(url, { allowLoopback: true })).toMatchObject({ kind: "ok" });
    expect(checkWebhookUrl(url, { allowLoopback: false })).toEqual({
      kind: "rejected",
      detail: expect.stringMatching(LOOPBACK) as string,
    });
  });

  test("loopback at port 0 is refused", () => {
    expect(checkWebhookUrl("http://127.0.0.1:0/", { allowLoopback: true })).toMatchObject({ kind: "rejected" });
  });

  test.each(ALLOWED)("%j is accepted as %j", (url, href) => {
    for (const allowLoopback of [true, false]) {
      const verdict = checkWebhookUrl(url, { allowLoopback });
      expect(verdict.kind === "ok" ? verdict.url.href : verdict.detail).toBe(href);
    }
  });

  test("why a URL is refused repeats none of its secrets", () => {
    const verdict = checkWebhookUrl("https://user:hunter2@10.0.0.1/?key=hunter2", { allowLoopback: false });
    expect(JSON.stringify(verdict)).not.toContain("hunter2");
  });
});
