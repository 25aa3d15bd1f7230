import { createServer } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import { connect } from "node:net";
import type { AddressInfo } from "node:net";
import { describe, expect, test } from "vitest";
import { WebhookClient } from "./webhook-client.ts";
import type { WebhookAnswer, WebhookClientOptions } from "./webhook-client.ts";

/** A self-signed certificate for hook.example.com and its key, which protect nothing: they are for these tests only. */
const CERT = `-----BEGIN CERTIFICATE-----
MIIBdjCCARygAwIBAgIBATAKBggqhkjOPQQDAjAbMRkwFwYDVQQDDBBob29rLmV4
YW1wbGUuY29tMCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAbMRkw
FwYDVQQDDBBob29rLmV4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcD
QgAE7qpbXOvtwxZD5e7fy7z2jQy05QKbN6lx6mzI10znuhGbqJHtNMb+wSaq4KYR
vAiBNQQAEJYJF9L97IMu+Y96T6NPME0wGwYDVR0RBBQwEoIQaG9vay5leGFtcGxl
LmNvbTAPBgNVHRMBAf8EBTADAQH/MB0GA1UdDgQWBBR0Re0ORNrmnV0BAwY3rn0z
auBl/DAKBggqhkjOPQQDAgNIADBFAiBKzNquvXHOZmPL4HoPcNZXktMrFBd9uff7
a9+KRZeDvAIhAOd82IEHKZdSzBqsJMXpYFeZiOx5QA4O4yZZGJec1deD
-----END CERTIFICATE-----
`;
const KEY = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg2jEAbL6jj4o0/uNW
JLh3K1XTB/uhTQuknKAKzIqlzbGhRANCAATuqltc6+3DFkPl7t/LvPaNDLTlAps3
qXHqbMjXTOe6EZuoke00xv7BJqrgphG8CIE1BAAQlgkX0v3sgy75j3pP
-----END PRIVATE KEY-----
`;

const PUBLIC = "93.184.215.14";

interface Receiver extends AsyncDisposable {
  readonly port: number;
  readonly names: (string | undefined)[];
}

async function receiver(answer: (response: ServerResponse) => void): Promise<Receiver> {
  const names: (string | undefined)[] = [];
  const server = createServer({ key: KEY, cert: CERT }, (request: IncomingMessage, response: ServerResponse) => {
    names.push(request.headers.host);
    request.resume().on("end", () => answer(response));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const stop = async (): Promise<void> => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return { port, names, [Symbol.asyncDispose]: stop };
}

interface World extends AsyncDisposable {
  readonly dialled: (readonly string[])[];
  readonly asked: string[];
  post(url: string): Promise<WebhookAnswer>;
}

/** An internet of one receiver: each permitted address leads to it, and name servers say `answers`, one after the other. */
function world(
  port: number,
  answers: readonly (readonly string[])[],
  options: Partial<WebhookClientOptions> = {},
): World {
  const dialled: (readonly string[])[] = [];
  const asked: string[] = [];
  const client = new WebhookClient({
    allowLoopback: false,
    tlsCa: CERT,
    lookup: (host) => {
      asked.push(host);
      return Promise.resolve(answers[Math.min(asked.length, answers.length) - 1] ?? []);
    },
    dial: (addresses) => {
      dialled.push(addresses);
      return connect(port, "127.0.0.1");
    },
    ...options,
  });
  const post = (url: string): Promise<WebhookAnswer> => client.post({ url, headers: {}, body: Buffer.from("{}") });
  return { dialled, asked, post, [Symbol.asyncDispose]: () => client.close() };
}

function done(response: ServerResponse): void {
  response.end("{}");
}

function doneAndClose(response: ServerResponse): void {
  response.setHeader("connection", "close").end("{}");
}

describe("webhooks over TLS", () => {
  test("the connection goes to the judged address, TLS verifies the name, and a kept-alive connection is used again", async () => {
    await using server = await receiver(done);
    await using net = world(server.port, [[PUBLIC, "2606:4700:4700::1111"]], {
      limits: { perHostConcurrency: 1 },
    });
    for (let delivery = 0; delivery < 3; delivery++) {
      expect(await net.post("https://hook.example.com/a?b=c")).toEqual({
        kind: "answered",
        status: 200,
        body: new Uint8Array(Buffer.from("{}")),
      });
    }
    expect(server.names).toEqual(["hook.example.com", "hook.example.com", "hook.example.com"]);
    expect(net.asked).toEqual(["hook.example.com"]);
    expect(net.dialled).toEqual([[PUBLIC, "2606:4700:4700::1111"]]);
  });

  test.each([["127.0.0.1"], ["10.0.0.1"], ["169.254.169.254"], ["::1"], ["fd00:ec2::254"]])(
    "a name that is public first and then %s is refused at its second connection",
    async (rebound) => {
      await using server = await receiver(doneAndClose);
      await using net = world(server.port, [[PUBLIC], [rebound]], { allowLoopback: true });
      expect(await net.post("https://hook.example.com/")).toMatchObject({ kind: "answered", status: 200 });
      const second = await net.post("https://hook.example.com/");
      expect(second).toMatchObject({ kind: "failed", reason: "rejected" });
      expect(JSON.stringify(second)).not.toContain(rebound);
      expect(net.dialled).toEqual([[PUBLIC]]);
      expect(server.names).toHaveLength(1);
    },
  );

  test("the name is asked once for each connection, so an answer between judging and connecting changes nothing", async () => {
    await using server = await receiver(doneAndClose);
    await using net = world(server.port, [[PUBLIC], ["1.1.1.1"], ["10.0.0.1"]]);
    await net.post("https://hook.example.com/");
    await net.post("https://hook.example.com/");
    expect(net.asked).toHaveLength(2);
    expect(net.dialled).toEqual([[PUBLIC], ["1.1.1.1"]]);
  });

  test.each([
    ["a private address", ["10.1.2.3"]],
    ["loopback, though loopback is allowed", ["127.0.0.1"]],
    ["metadata", ["169.254.169.254"]],
    ["a mapped private address", ["::ffff:10.0.0.1"]],
    ["NAT64", ["64:ff9b::a00:1"]],
    ["a public and a private address", [PUBLIC, "192.168.0.1"]],
    ["a private address past those that are tried", [...Array.from({ length: 9 }, () => PUBLIC), "10.0.0.1"]],
    ["something that is no address", ["hook.example.com"]],
  ])("a name that resolves to %s is never connected to", async (_what, answers) => {
    await using server = await receiver(done);
    await using net = world(server.port, [answers], { allowLoopback: true });
    expect(await net.post("https://hook.example.com/")).toMatchObject({ kind: "failed", reason: "rejected" });
    expect(net.dialled).toEqual([]);
  });

  test("a certificate for another name is refused before anything is sent", async () => {
    await using server = await receiver(done);
    await using net = world(server.port, [[PUBLIC]]);
    expect(await net.post("https://other.example.com/")).toEqual({
      kind: "failed",
      reason: "connect",
      detail: "TLS with the receiver failed (ERR_TLS_CERT_ALTNAME_INVALID)",
    });
    expect(await net.post("https://8.8.8.8/")).toMatchObject({ kind: "failed", reason: "connect" });
    expect(server.names).toEqual([]);
  });

  test("a self-signed certificate is refused, whatever NODE_TLS_REJECT_UNAUTHORIZED says", async () => {
    const before = process.env["NODE_TLS_REJECT_UNAUTHORIZED"];
    process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = "0";
    try {
      await using server = await receiver(done);
      const client = new WebhookClient({ allowLoopback: true });
      const answer = await client.post({
        url: `https://localhost:${server.port}/`,
        headers: {},
        body: Buffer.from("{}"),
      });
      await client.close();
      expect(answer).toEqual({
        kind: "failed",
        reason: "connect",
        detail: "TLS with the receiver failed (DEPTH_ZERO_SELF_SIGNED_CERT)",
      });
      expect(server.names).toEqual([]);
    } finally {
      if (before === undefined) delete process.env["NODE_TLS_REJECT_UNAUTHORIZED"];
      else process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = before;
    }
  });
});
