import { expect, inject, test } from "vitest";
import { runCheck, startServer } from "../process/coldbrook.ts";
import { expectStatus, header, nextOffset, StreamClient } from "../process/http.ts";
import { until } from "../process/until.ts";
import { makeBucket } from "../s3/buckets.ts";
import { startFaultProxy } from "../s3/fault-proxy.ts";
import { DataDirectory } from "./data-directory.ts";
import { messageOf } from "./filled-server.ts";

/** How long the store is away; the acceptance takes 30 s. */
const BLACKOUT_MS = Number(process.env["BLACKOUT_MS"] ?? "5000");
const BUDGET_BYTES = 8 * 1024 * 1024;
const MESSAGE_BYTES = 64 * 1024;
const ARGS = [
  "--wal-bytes-max",
  "8MiB",
  "--segment-bytes",
  "1MiB",
  "--segment-age-ms",
  "200",
  "--chunk-bytes",
  "256KiB",
];
/** The acceptance's bound from the store's return to the next accepted append. */
const DRAIN_BOUND_MS = 10_000;

const s3 = inject("s3");
const contentType = "application/octet-stream";

class Writer {
  readonly acked: string[] = [];
  ackedBytes = 0;
  refusals = 0;
  readonly #client: StreamClient;
  readonly #path: string;
  #index = 0;

  constructor(client: StreamClient, path: string) {
    this.#client = client;
    this.#path = path;
  }

  /** Whether the next message was accepted; a refusal says when to come again. */
  async append(): Promise<boolean> {
    const message = messageOf(this.#path, this.#index, MESSAGE_BYTES);
    this.#index += 1;
    const reply = expectStatus(await this.#client.append(this.#path, message, { contentType }), "append", 204, 503);
    if (reply.status === 204) {
      this.acked.push(message);
      this.ackedBytes += message.length;
      return true;
    }
    this.refusals += 1;
    expect(Number(header(reply, "retry-after"))).toBeGreaterThan(0);
    expect(header(reply, "content-type")).toMatch(/^application\/problem\+json/);
    return false;
  }
}

test.skipIf(s3 === null)(
  `${BLACKOUT_MS} ms without the store: acks to the budget, then 503, reads go on, drained at its return, nothing lost`,
  { timeout: BLACKOUT_MS + 180_000 },
  async () => {
    if (s3 === null) throw new Error("no S3 server in this run");
    await using data = await DataDirectory.empty();
    await using bucket = await makeBucket(s3);
    await using proxy = await startFaultProxy(s3.endpoint);
    const args = ["--data-dir", data.path, "--store", bucket.spec];
    const env = { ...bucket.environmentVia(proxy.url) };
    await using server = await startServer({ args: [...args, ...ARGS], env });
    using client = new StreamClient(server.url);
    const path = "faults/blackout";
    expectStatus(await client.create(path, { contentType }), "create", 201);
    const writer = new Writer(client, path);
    for (let count = 0; count < 32; count += 1) expect(await writer.append()).toBe(true);
    await until("the first upload", 30_000, () => (proxy.counts.put > 0 ? true : undefined));

    await proxy.goDark();
    const darkSince = performance.now();
    const ackedBefore = writer.ackedBytes;
    const localFrom = nextOffset(await client.head(path));
    const localIndex = writer.acked.length;
    for (let count = 0; count < (2 * BUDGET_BYTES) / MESSAGE_BYTES && writer.refusals === 0; count += 1)
      await writer.append();
    expect(writer.refusals, "the budget was never reached").toBeGreaterThan(0);
    const takenInTheDark = writer.ackedBytes - ackedBefore;
    expect(takenInTheDark).toBeGreaterThan(BUDGET_BYTES / 2);
    expect(takenInTheDark).toBeLessThanOrEqual(BUDGET_BYTES);

    const local = Buffer.from(writer.acked.slice(localIndex).join(""));
    await until("the end of the blackout", BLACKOUT_MS + 60_000, async () => {
      const refused = !(await writer.append());
      expect(refused, "an append was accepted past the budget").toBe(true);
      const read = await client.readAll(path, localFrom);
      expect(read.bytes.equals(local), "local bytes read during the blackout").toBe(true);
      expectStatus(await client.head(path), "HEAD during the blackout", 200);
      return performance.now() - darkSince >= BLACKOUT_MS ? true : undefined;
    });
    expect(server.exit, "the server lives through a blackout").toBe(undefined);

    await proxy.comeBack();
    await until("an accepted append after the store's return", DRAIN_BOUND_MS, async () =>
      (await writer.append()) ? true : undefined,
    );
    await until("room for half the budget", DRAIN_BOUND_MS, async () => {
      const before = writer.ackedBytes;
      while (writer.ackedBytes - before < BUDGET_BYTES / 2) if (!(await writer.append())) return undefined;
      return true;
    });
    const all = Buffer.from(writer.acked.join(""));
    expect(
      (await client.readAll(path)).bytes.equals(all),
      "all that was acknowledged, and nothing that was refused",
    ).toBe(true);
    expect(await server.stop()).toBe(0);

    const checked = await runCheck({ args, env });
    expect(checked.code, checked.output).toBe(0);
    await using again = await startServer({ args: [...args, ...ARGS], env });
    using after = new StreamClient(again.url);
    expect((await after.readAll(path)).bytes.equals(all), "all that was acknowledged, after a restart").toBe(true);
  },
);

test.skipIf(s3 === null)(
  "a server killed in a blackout with a full WAL comes back with all of it and drains",
  { timeout: 180_000 },
  async () => {
    if (s3 === null) throw new Error("no S3 server in this run");
    await using data = await DataDirectory.empty();
    await using bucket = await makeBucket(s3);
    await using proxy = await startFaultProxy(s3.endpoint);
    const options = {
      args: ["--data-dir", data.path, "--store", bucket.spec, ...ARGS],
      env: { ...bucket.environmentVia(proxy.url) },
    };
    await using server = await startServer(options);
    using client = new StreamClient(server.url);
    const path = "faults/killed-in-blackout";
    expectStatus(await client.create(path, { contentType }), "create", 201);
    await proxy.goDark();
    const writer = new Writer(client, path);
    for (let count = 0; count < (2 * BUDGET_BYTES) / MESSAGE_BYTES && writer.refusals === 0; count += 1)
      await writer.append();
    expect(writer.refusals).toBeGreaterThan(0);
    await server.kill9();
    await proxy.comeBack();
    await using again = await startServer(options);
    using after = new StreamClient(again.url);
    const all = Buffer.from(writer.acked.join(""));
    expect((await after.readAll(path)).bytes.equals(all)).toBe(true);
    await until("an accepted append after the restart", DRAIN_BOUND_MS, async () => {
      const reply = expectStatus(await after.append(path, "more", { contentType }), "append", 204, 503);
      return reply.status === 204 ? true : undefined;
    });
  },
);
