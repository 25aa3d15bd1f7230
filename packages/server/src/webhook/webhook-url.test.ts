import { describe, expect, test } from "vitest";
import { checkWebhookUrl, WEBHOOK_URL_CHARS_MAX } from "./webhook-url.ts";

const ADDRESS = /private, local or reserved address/;
const NAME = /local or internal name/;
const LOOPBACK = /own machine/;
const TEXT = /white space, control characters or backslashes/;
const SHAPE = /absolute URL that starts with https/;

/** Refused by a server that allows loopback, and by one that does not. */
const REFUSED: readonly (readonly [string, RegExp])[] = [
  ["", SHAPE],
  ["not a url", TEXT],
  ["/hooks", SHAPE],
  ["//example.com/", SHAPE],
  ["ftp://example.com/", SHAPE],
  ["file:///etc/passwd", SHAPE],
  ["gopher://example.com:6379/_", SHAPE],
  ["javascript:alert(1)", SHAPE],
  ["data:text/plain,x", SHAPE],
  ["https:example.com", SHAPE],
  ["https:/example.com", SHAPE],
  ["https:///example.com", SHAPE],
  ["https://", SHAPE],
  ["https://[::1", SHAPE],
  ["https://example.com:99999/", SHAPE],
  ["https://[fe80::1%25eth0]/", SHAPE],
  ["https://1.2.3.4.5/", SHAPE],
  ["https://256.1.1.1/", SHAPE],
  [" https://example.com/", TEXT],
  ["https://exam\nple.com/", TEXT],
  ["https://example.com/\t", TEXT],
  ["https://example.com\\@10.0.0.1/", TEXT],
  ["https://example.com\u0000.evil.example/", TEXT],
  ["https://user:secret@example.com/", /user name or password/],
  ["https://user@example.com/", /user name or password/],
  ["https://@example.com/", /user name or password/],
  ["https://example.com@10.0.0.1/", /user name or password/],
  ["https://example.com/hook#part", /fragment/],
  ["https://example.com/hook#", /fragment/],
  [`https://example.com/${"x".repeat(WEBHOOK_URL_CHARS_MAX)}`, /at most 2048/],
  [`https://example.com/${"\u00fc".repeat(WEBHOOK_URL_CHARS_MAX / 4)}`, /at most 2048/],
  ["http://example.com/hook", /must use https/],
  ["http://8.8.8.8/hook", /must use https/],
  ["http://10.0.0.1/hook", ADDRESS],
  ["https://10.0.0.1/hook", ADDRESS],
  ["https://0.0.0.0/", ADDRESS],
  ["https://0/", ADDRESS],
  ["https://192.168.0.1:8443/", ADDRESS],
  ["https://172.16.5.4/", ADDRESS],
  ["https://100.64.0.1/", ADDRESS],
  ["https://198.18.0.1/", ADDRESS],
  ["https://224.0.0.1/", ADDRESS],
  ["https://255.255.255.255/", ADDRESS],
  ["https://169.254.169.254/latest/meta-data/", ADDRESS],
  ["http://169.254.169.254/latest/meta-data/", ADDRESS],
  ["https://2852039166/", ADDRESS],
  ["https://0xA9FEA9FE/", ADDRESS],
  ["https://0251.0376.0251.0376/", ADDRESS],
  ["https://0xa9.254.0251.254/", ADDRESS],
  ["https://169.16689662/", ADDRESS],
  ["https://10.1/", ADDRESS],
  ["https://10.0.0.1./", ADDRESS],
  ["https://%31%30.0.0.1/", ADDRESS],
  ["https://\uff11\uff10.0.0.1/", ADDRESS],
  ["https://10\u30020\u30020\u30021/", ADDRESS],
  ["https://[::]/", ADDRESS],
  ["https://[::ffff:10.0.0.1]/", ADDRESS],
  ["https://[::ffff:127.0.0.1]/", ADDRESS],
  ["http://[::ffff:127.0.0.1]/", ADDRESS],
  ["https://[::10.0.0.1]/", ADDRESS],
  ["https://[64:ff9b::10.0.0.1]/", ADDRESS],
  ["https://[2002:a00:1::]/", ADDRESS],
  ["https://[2001::1]/", ADDRESS],
  ["https://[fd00:ec2::254]/", ADDRESS],
  ["https://[fe80::1]/", ADDRESS],
  ["https://[ff02::1]/", ADDRESS],
  ["https://metadata.google.internal/computeMetadata/v1/", NAME],
  ["https://METADATA.GOOGLE.INTERNAL/", NAME],
  ["https://internal/", NAME],
  ["https://printer.local/", NAME],
  ["https://api.localhost/", NAME],
  ["http://api.localhost/", NAME],
  ["https://localhost.localdomain/", NAME],
  ["https://router.home.arpa/", NAME],
  ["https://kubernetes.default.svc/", NAME],
  ["https://db.prod.svc.cluster.local/", NAME],
  ["https://localhost./", /dot at the end/],
  ["https://metadata.google.internal./", /dot at the end/],
  ["https://example.com./", /dot at the end/],
  ["https://intranet-host/", /full host name/],
  ["https://exa*mple.com/", /valid host name/],
  ["https://example..com/", /valid host name/],
  [`https://${"a".repeat(64)}.com/`, /valid host name/],
  ["https://example.com:22/", /port 22/],
  ["https://example.com:25/", /port 25/],
  ["https://example.com:80/", /port 80/],
  ["https://example.com:0/", /port 0/],
  ["https://example.com:6667/", /port 6667/],
  ["https://[2606:4700::1111]:2049/", /port 2049/],
];

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
