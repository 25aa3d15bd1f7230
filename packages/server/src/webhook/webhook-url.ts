/**
 * What a webhook URL may look like (protocol 6.2 and 12.8), judged without asking anyone: at PUT and again before each
 * delivery. What a name resolves to is judged when connecting, since it can change at any moment.
 *
 * The URL is judged in its WHATWG-normalised form, the one that is also requested: octal, hexadecimal, decimal, short,
 * percent-encoded and full-width spellings of an address have become plain addresses by then. Spellings on which URL
 * parsers disagree (white space, backslashes, `https:host`, user information) are refused before that.
 *
 * Ports: 443, or 1024 and above without those that browsers block. A server that calls any port of any host at a
 * stranger's request is a port scanner; system ports speak mail, shells and files, not webhooks.
 */
import { isIP } from "node:net";
import { isForbiddenAddress, isLoopbackAddress } from "./address-rules.ts";
import type { AddressOptions } from "./address-rules.ts";

export type WebhookUrlVerdict =
  | { readonly kind: "ok"; readonly url: URL }
  | { readonly kind: "rejected"; readonly detail: string };

/** Longest URL in UTF-16 code units, as given and as normalised. */
export const WEBHOOK_URL_CHARS_MAX = 2048;

const HOST_CHARS_MAX = 253;
const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;
/** White space and control characters, which URL parsers strip, and backslashes, which some take for slashes. */
// oxlint-disable-next-line no-control-regex -- they are what is looked for
const AMBIGUOUS = /[\u0000-\u0020\u007f-\u00a0\\]/;
const AUTHORITY = /^https?:\/\/([^/?#]+)/i;

/** Names that only mean something inside of a network or a machine, each with all below it. */
const LOCAL_NAMES: readonly string[] = [
  "localhost",
  "localdomain",
  "local",
  "internal",
  "intranet",
  "private",
  "corp",
  "home",
  "lan",
  "home.arpa",
  "cluster.local",
  "svc",
  "metadata.tencentyun.com",
];

/** Ports from 1024 on that browsers refuse to speak HTTP to (the Fetch standard's list). */
const BLOCKED_PORTS: ReadonlySet<number> = new Set([
  1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
]);

function rejected(detail: string): WebhookUrlVerdict {
  return { kind: "rejected", detail };
}

/** The URL's host without the brackets of an IPv6 literal. */
export function bareHost(url: URL): string {
  return url.hostname.startsWith("[") ? url.hostname.slice(1, -1) : url.hostname;
}

/** Whether the host itself says loopback: `localhost`, 127.0.0.0/8 or ::1. A name that merely resolves there does not. */
export function isLoopbackHost(host: string): boolean {
  return host === "localhost" || isLoopbackAddress(host);
}

function hostProblem(host: string): string | undefined {
  if (isIP(host) !== 0) {
    if (!isForbiddenAddress(host, { allowLoopback: false })) return undefined;
    return "webhook.url must not point to a private, local or reserved address: use a public host";
  }
  if (host.endsWith(".")) return "webhook.url must not have a dot at the end of its host";
  if (LOCAL_NAMES.some((name) => host === name || host.endsWith(`.${name}`))) {
    return "webhook.url must not point to a local or internal name: use a public host";
  }
  const labels = host.split(".");
  if (labels.length < 2) return "webhook.url must have a full host name, such as worker.example.com";
  if (host.length > HOST_CHARS_MAX || labels.some((label) => !LABEL.test(label))) {
    return "webhook.url must have a valid host name";
  }
  return undefined;
}

function publicPortProblem(url: URL): string | undefined {
  const port = url.port === "" ? 443 : Number(url.port);
  if (port === 443 || (port >= 1024 && !BLOCKED_PORTS.has(port))) return undefined;
  return `webhook.url must not use port ${port}: use 443, or a port from 1024 on that is not reserved for another protocol`;
}

function judgeParsed(url: URL, options: AddressOptions): WebhookUrlVerdict {
  if (url.href.length > WEBHOOK_URL_CHARS_MAX) {
    return rejected(`webhook.url must have at most ${WEBHOOK_URL_CHARS_MAX} characters`);
  }
  if (url.hash !== "" || url.href.endsWith("#")) {
    return rejected("webhook.url must not have a fragment: it would never reach the receiver");
  }
  const host = bareHost(url);
  if (isLoopbackHost(host)) {
    if (!options.allowLoopback) {
      return rejected("webhook.url must not point to the server's own machine: loopback webhooks are not allowed here");
    }
    return url.port === "0" ? rejected("webhook.url must not use port 0") : { kind: "ok", url };
  }
  // The host comes first: "use https" would be wrong advice for http://10.0.0.1.
  const problem = hostProblem(host);
  if (problem !== undefined) return rejected(problem);
  if (url.protocol !== "https:") {
    const exception = options.allowLoopback ? "; http is for localhost and 127.0.0.0/8 only" : "";
    return rejected(`webhook.url must use https${exception}`);
  }
  const portProblem = publicPortProblem(url);
  return portProblem === undefined ? { kind: "ok", url } : rejected(portProblem);
}

/** Judges a webhook URL by its text alone; `detail` is for the client and quotes nothing of the URL but its port. */
export function checkWebhookUrl(url: string, options: AddressOptions): WebhookUrlVerdict {
  if (url.length > WEBHOOK_URL_CHARS_MAX) {
    return rejected(`webhook.url must have at most ${WEBHOOK_URL_CHARS_MAX} characters`);
  }
  if (AMBIGUOUS.test(url)) return rejected("webhook.url must not have white space, control characters or backslashes");
  const authority = AUTHORITY.exec(url)?.[1];
  if (authority === undefined || !URL.canParse(url)) {
    return rejected("webhook.url must be an absolute URL that starts with https:// and a host");
  }
  if (authority.includes("@")) {
    return rejected("webhook.url must not have a user name or password: verify the Webhook-Signature header instead");
  }
  return judgeParsed(new URL(url), options);
}
