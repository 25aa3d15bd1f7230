import { createSocket } from "node:dgram";
import { createServer } from "node:http";
import { connect } from "node:net";
import type { AddressInfo } from "node:net";
import { describe, expect, test } from "vitest";
import { dialAny, dnsLookup } from "./pinned-connector.ts";
import { WebhookClient } from "./webhook-client.ts";

const TYPE_A = 1;
const NAME_ERROR = 3;

type Answer = readonly string[] | "unknown" | "silent";

interface NameServer extends AsyncDisposable {
  readonly address: string;
  /** Questions for IPv4 addresses so far. */
  readonly asked: string[];
}

/** The labels of the question's name and where the name ends. */
function questionOf(query: Buffer): { name: string; end: number } {
  const labels: string[] = [];
  let at = 12;
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString("latin1", at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join("."), end: at + 1 };
}

function response(query: Buffer, end: number, addresses: readonly string[], code: number): Buffer {
  const head = Buffer.from(query.subarray(0, end + 4));
  head.writeUInt16BE(0x8180 | code, 2);
  head.writeUInt16BE(addresses.length, 6);
  // No authority and no additional records, whatever the question had.
  head.writeUInt32BE(0, 8);
  const records = addresses.map((address) =>
    Buffer.from([0xc0, 12, 0, TYPE_A, 0, 1, 0, 0, 0, 0, 0, 4, ...address.split(".").map(Number)]),
  );
  return Buffer.concat([head, ...records]);
}

/** A name server on loopback that gives each question for IPv4 its own answer, the last one ever after. */
async function nameServer(answers: readonly Answer[]): Promise<NameServer> {
  const asked: string[] = [];
  const socket = createSocket("udp4");
  socket.on("message", (query, from) => {
    const { name, end } = questionOf(query);
    const isA = query.readUInt16BE(end) === TYPE_A;
    if (isA) asked.push(name);
    const answer = answers[Math.min(Math.max(asked.length, 1), answers.length) - 1] ?? [];
    if (answer === "silent") return;
    const addresses = isA && answer !== "unknown" ? answer : [];
    socket.send(response(query, end, addresses, answer === "unknown" ? NAME_ERROR : 0), from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  const stop = (): Promise<void> => new Promise((resolve) => socket.close(() => resolve()));
  return { address: `127.0.0.1:${socket.address().port}`, asked, [Symbol.asyncDispose]: stop };
}

describe("name servers", () => {
  test("all addresses of a name are found, and a name without IPv6 is no failure", async () => {
    await using server = await nameServer([["93.184.215.14", "1.1.1.1"]]);
    expect(await dnsLookup(2000, [server.address])("hook.example.com")).toEqual(["93.184.215.14", "1.1.1.1"]);
  });

  test("an unknown name is a failed resolution", async () => {
    await using server = await nameServer(["unknown"]);
    const client = new WebhookClient({ allowLoopback: false, lookup: dnsLookup(2000, [server.address]) });
    const answer = await client.post({ url: "https://hook.example.com/", headers: {}, body: new Uint8Array() });
    await client.close();
    expect(answer).toEqual({
      kind: "failed",
      reason: "dns",
      detail: "the receiver's host name could not be resolved (ENOTFOUND)",
    });
  });

  test("a name server that says nothing is given up in time", async () => {
    await using server = await nameServer(["silent"]);
    const lookup = dnsLookup(4000, [server.address]);
    const client = new WebhookClient({ allowLoopback: false, lookup, limits: { connectMs: 100 } });
    const answer = await client.post({ url: "https://hook.example.com/", headers: {}, body: new Uint8Array() });
    await client.close();
    expect(answer).toMatchObject({ kind: "failed", reason: "timeout" });
  });

  test.each([["10.0.0.1"], ["127.0.0.1"], ["169.254.169.254"]])(
    "a name server that says a public address to the one who judges and %s ever after is obeyed once",
    async (rebound) => {
      await using server = await nameServer([["93.184.215.14"], [rebound]]);
      let inside = 0;
      const target = createServer((_request, answer) => {
        inside++;
        answer.end();
      });
      await new Promise<void>((resolve) => target.listen(0, "127.0.0.1", resolve));
      const dialled: (readonly string[])[] = [];
      const client = new WebhookClient({
        allowLoopback: true,
        lookup: dnsLookup(2000, [server.address]),
        dial: (addresses) => {
          dialled.push(addresses);
          // The public address is played by a port that resets: only the rebound one would lead to the target.
          const socket = connect((target.address() as AddressInfo).port, "127.0.0.1");
          socket.resetAndDestroy();
          return socket;
        },
      });
      const url = "https://rebind.example.com:8443/";
      const first = await client.post({ url, headers: {}, body: new Uint8Array() });
      const second = await client.post({ url, headers: {}, body: new Uint8Array() });
      await client.close();
      target.closeAllConnections();
      await new Promise((resolve) => target.close(resolve));
      expect(first).toMatchObject({ kind: "failed", reason: "connect" });
      expect(second).toMatchObject({ kind: "failed", reason: "rejected" });
      expect(dialled).toEqual([["93.184.215.14"]]);
      expect([server.asked, inside]).toEqual([["rebind.example.com", "rebind.example.com"], 0]);
    },
  );
});

describe("dialling", () => {
  test.each([
    ["the only address", ["127.0.0.1"]],
    ["the second of two, where the first has no listener", ["127.0.0.2", "127.0.0.1"]],
    ["the other family, where the first has no listener", ["::1", "127.0.0.1"]],
  ])("%s is reached", async (_what, addresses) => {
    const target = createServer();
    await new Promise<void>((resolve) => target.listen(0, "127.0.0.1", resolve));
    const socket = dialAny(2000)(addresses, (target.address() as AddressInfo).port);
    await new Promise<void>((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    expect(socket.remoteAddress).toBe("127.0.0.1");
    socket.destroy();
    await new Promise((resolve) => target.close(resolve));
  });
});
