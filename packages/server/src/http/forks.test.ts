/** Forks over HTTP (protocol section 4.2): statuses, and what a cache may keep of bytes that a path inherits. */
import { MemoryObjectStore } from "@coldbrook/tiering";
import { expect, test } from "vitest";
import { temporaryDirectory } from "../../test-support/shard.ts";
import { startColdbrook } from "../compose.ts";
import { readSettings } from "../settings.ts";

const ROOT = "/v1/stream";
type Call = (method: string, name: string, headers?: Record<string, string>, body?: string) => Promise<Response>;

async function served(work: (call: Call) => Promise<void>): Promise<void> {
  await using directory = await temporaryDirectory();
  const settings = { ...readSettings(["--data-dir", directory.path, "--port", "0"], {}), chunkBytes: 16 };
  const coldbrook = await startColdbrook(settings, { store: new MemoryObjectStore() });
  try {
    await work((method, name, headers = {}, body) =>
      fetch(`${coldbrook.url}${ROOT}/${name}`, {
        method,
        headers: { ...(body === undefined ? {} : { "content-type": "text/plain" }), ...headers },
        ...(body === undefined ? {} : { body }),
      }),
    );
  } finally {
    await coldbrook.close();
  }
}

const from = (name: string): Record<string, string> => ({ "stream-forked-from": `${ROOT}/${name}` });

test.each([
  ["no such source", { "stream-forked-from": `${ROOT}/nobody` }, 404],
  ["a path outside of the stream root", { "stream-forked-from": "/elsewhere/s" }, 404],
  ["a malformed path", { "stream-forked-from": `${ROOT}/a//b` }, 400],
  ["the reserved prefix", { "stream-forked-from": `${ROOT}/__ds/x` }, 400],
  ["an offset past the end", { ...from("s"), "stream-fork-offset": "9999999999999999_9999999999999999" }, 400],
  ["an offset of another stream", { ...from("s"), "stream-fork-offset": "0000000000000099_0000000000000001" }, 400],
  ["offset now", { ...from("s"), "stream-fork-offset": "now" }, 400],
  ["an offset without a source", { "stream-fork-offset": "0000000000000000_0000000000000000" }, 400],
  ["a sub-offset without an offset", { ...from("s"), "stream-fork-sub-offset": "1" }, 400],
  ["another content type", { ...from("s"), "content-type": "application/json" }, 409],
  ["itself", { "stream-forked-from": `${ROOT}/f` }, 404],
] as const)("a fork from %s is refused and leaves nothing behind", async (_, headers, status) => {
  await served(async (call) => {
    await call("PUT", "s", { "content-type": "text/plain" }, "hello");
    const refused = await call("PUT", "f", headers);
    expect(refused.status).toBe(status);
    expect(refused.headers.get("content-type")).toBe("application/problem+json");
    expect((await call("HEAD", "f")).status).toBe(404);
    expect((await call("DELETE", "s")).status).toBe(204);
    expect((await call("HEAD", "s")).status).toBe(404);
  });
});

test("what a path inherits is never immutable: the path may come back as another fork of the same source", async () => {
  await served(async (call) => {
    const created = await call("PUT", "s", { "content-type": "text/plain" }, "0123456789");
    const middle = created.headers.get("stream-next-offset")!;
    await call("POST", "s", {}, "abcdefghij");
    await call("POST", "s", {}, "klmnopqrst");
    await call("PUT", "f", from("s"));
    await call("POST", "f", {}, "F".repeat(20));
    await call("POST", "f", {}, "G".repeat(20));
    const own = await call("GET", `s?offset=${middle}`);
    expect(own.headers.get("cache-control")).toContain("immutable");
    const inherited = await call("GET", `f?offset=${middle}`);
    expect(await inherited.text()).toBe("abcdefghij");
    expect(inherited.headers.get("cache-control")).toBe("public, max-age=60");
    const tail = (await call("HEAD", "f")).headers.get("stream-next-offset")!;
    const fork = tail.split("_")[0]!;
    const minted = await call("GET", `f?offset=${fork}_${"50".padStart(16, "0")}`);
    expect(await minted.text()).toBe("G".repeat(20));
    const first = await call("GET", `f?offset=${inherited.headers.get("stream-next-offset")!}`);
    const boundary = first.headers.get("stream-next-offset")!;
    const later = await call("GET", `f?offset=${boundary}`);
    expect(later.headers.get("stream-next-offset")).toContain(fork);
    // Another fork under the same path: the inherited offset goes on, and the ETag tells them apart.
    await call("DELETE", "f");
    await call("PUT", "f", { ...from("s"), "stream-fork-offset": middle });
    await call("POST", "f", {}, "another one");
    const again = await call("GET", `f?offset=${middle}`, { "if-none-match": inherited.headers.get("etag")! });
    expect([again.status, await again.text()]).toEqual([200, "another one"]);
  });
});

test("readers that wait on a stream are let go when it is soft-deleted", async () => {
  await served(async (call) => {
    const created = await call("PUT", "s", { "content-type": "text/plain" }, "hello");
    const tail = created.headers.get("stream-next-offset")!;
    await call("PUT", "f", from("s"));
    const waiting = call("GET", `s?offset=${tail}&live=long-poll`);
    const events = await call("GET", `s?offset=${tail}&live=sse`);
    expect((await call("DELETE", "s")).status).toBe(204);
    expect((await waiting).status).toBe(410);
    expect(await events.text()).toContain("event: control");
    expect((await call("GET", `s?offset=${tail}&live=sse`)).status).toBe(410);
  });
});
