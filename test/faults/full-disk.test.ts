/** A disk that is really full: writes are refused with 507, everything else goes on, and nothing acknowledged is lost. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { openLmdb } from "../../packages/server/src/catalog/environment-lmdb.ts";
import { runCheck, startRefused, startServer, type ServerProcess } from "../process/coldbrook.ts";
import { expectStatus, header, StreamClient, type Reply } from "../process/http.ts";
import { until } from "../process/until.ts";
import { DataDirectory } from "./data-directory.ts";
import { messageOf } from "./filled-server.ts";
import { mayMount, SmallDisk } from "./small-disk.ts";

const MIB = 1024 * 1024;
const DISK_BYTES = 64 * MIB;
/** What the server keeps free of such a disk. */
const RESERVE_BYTES = DISK_BYTES / 8;
const MESSAGE_BYTES = 128 * 1024;
const STREAMS = 6;
const BOUND_MS = 20_000;
const ARGS = ["--segment-age-ms", "200", "--chunk-bytes", "256KiB", "--object-grace-ms", "0"];
const contentType = "application/octet-stream";

const canMount = await mayMount();

/** One stream's only writer: what it was told is there, and nothing else may be. */
class Writer {
  readonly path: string;
  readonly acked: string[] = [];
  refusals = 0;
  #seq = 0;

  constructor(number: number) {
    this.path = `full/stream-${number}`;
  }

  async append(client: StreamClient): Promise<Reply> {
    const message = messageOf(this.path, this.#seq, MESSAGE_BYTES);
    const producer = { id: this.path, epoch: 0, seq: this.#seq };
    const reply = await client.append(this.path, message, { contentType, producer });
    expectStatus(reply, `append ${this.#seq} to ${this.path}`, 200, 507);
    if (reply.status === 200) {
      this.#seq += 1;
      this.acked.push(message);
      return reply;
    }
    this.refusals += 1;
    expect(Number(header(reply, "retry-after"))).toBeGreaterThan(0);
    expect(JSON.parse(reply.body.toString())).toMatchObject({ status: 507, code: "disk-full" });
    return reply;
  }

  /** The last acknowledged append, sent again: no room is needed to say that it is there. */
  async repeat(client: StreamClient): Promise<void> {
    const seq = this.#seq - 1;
    const producer = { id: this.path, epoch: 0, seq };
    const reply = await client.append(this.path, this.acked[seq]!, { contentType, producer });
    expectStatus(reply, `append ${seq} to ${this.path}, again`, 204);
  }

  async expectWhole(client: StreamClient): Promise<void> {
    const { bytes } = await client.readAll(this.path);
    expect(bytes.equals(Buffer.from(this.acked.join(""))), `${this.path} holds what was acknowledged`).toBe(true);
  }
}

async function createAll(client: StreamClient): Promise<Writer[]> {
  const writers = Array.from({ length: STREAMS }, (_, number) => new Writer(number));
  for (const { path } of writers) expectStatus(await client.create(path, { contentType }), `create ${path}`, 201);
  return writers;
}

/** All writers at once, until each was refused. */
async function appendUntilRefused(client: StreamClient, writers: readonly Writer[]): Promise<void> {
  await Promise.all(
    writers.map(async (writer) => {
      while (writer.refusals === 0) await writer.append(client);
    }),
  );
}

/** Everything is rolled: the server writes nothing by itself any more. */
async function comesToRest(server: ServerProcess): Promise<void> {
  await until("the end of the rolls", BOUND_MS, async () => {
    const response = await fetch(`${server.url}/health`);
    const facts = (await response.json()) as { segmentsToRoll: number; unrolledBytes: number };
    return facts.segmentsToRoll === 0 && facts.unrolledBytes === 0 ? true : undefined;
  });
}

async function expectAppendsAgain(client: StreamClient, writers: readonly Writer[]): Promise<void> {
  for (const writer of writers) {
    await until("an append that is taken", BOUND_MS, async () =>
      (await writer.append(client)).status === 200 ? true : undefined,
    );
  }
}

describe.skipIf(!canMount)("a full disk", { timeout: 120_000 }, () => {
  test("holds the catalog's commits up, in their order, keeps what was committed, and takes them when there is room", async () => {
    await using disk = await SmallDisk.mount(4 * MIB);
    const environment = openLmdb(join(disk.path, "catalog"));
    try {
      const values = environment.store<number>("values");
      const put = (from: number, to: number, byte: number): Promise<void> =>
        environment.batch(() => {
          for (let key = from; key < to; key += 1) values.put(key, new Uint8Array(200).fill(byte));
        });
      await put(0, 100, 1);
      disk.fill(16 * 1024);
      const order: string[] = [];
      const first = put(0, 2_000, 2).then(() => order.push("first"));
      const second = put(50, 60, 3).then(() => order.push("second"));
      await until("a commit that waits", BOUND_MS, () => environment.waitsForRoom || undefined);
      expect(values.get(55)?.[0], "what was committed before").toBe(1);
      disk.removeFiller();
      await Promise.all([first, second]);
      await environment.flushed();
      expect(order).toEqual(["first", "second"]);
      expect([0, 55, 1_999].map((key) => values.get(key)?.[0])).toEqual([2, 3, 2]);
      expect(environment.waitsForRoom).toBe(false);
    } finally {
      await environment.close();
    }
  });

  test("with the store on it too: filled by appends, killed, restarted, and emptied by deletes", async () => {
    await using disk = await SmallDisk.mount(DISK_BYTES);
    const args = ["--data-dir", disk.path];
    const options = { args: [...args, ...ARGS] };
    await using server = await startServer(options);
    using client = new StreamClient(server.url);
    const writers = await createAll(client);
    await appendUntilRefused(client, writers);
    const stored = writers.reduce((bytes, writer) => bytes + writer.acked.length * MESSAGE_BYTES, 0);
    expect(stored, "most of the disk is used").toBeGreaterThan(DISK_BYTES / 2);
    await comesToRest(server);
    const body = Buffer.alloc(RESERVE_BYTES);
    expectStatus(await client.create("full/another", { contentType, body }), "create on a full disk", 507);
    expectStatus(await client.head("full/another"), "HEAD of what was refused", 404);
    for (const writer of writers) {
      await writer.repeat(client);
      await writer.expectWhole(client);
    }

    disk.fill(0);
    expect((await writers[0]!.append(client)).status).toBe(507);
    for (const writer of writers) await writer.expectWhole(client);
    expect(server.exit).toBe(undefined);
    await server.kill9();
    const refused = await startRefused(options);
    expect(refused).toMatchObject({ code: 1 });
    expect(refused.output).toMatch(/no space left.*free some/i);

    disk.removeFiller();
    await using again = await startServer(options);
    using after = new StreamClient(again.url);
    for (const writer of writers) await writer.expectWhole(after);
    const [kept, gone] = [writers.slice(0, 2), writers.slice(2)];
    for (const { path } of gone) expectStatus(await after.del(path), `delete ${path}`, 204);
    await expectAppendsAgain(after, kept);
    for (const writer of kept) await writer.expectWhole(after);
    expect(await again.stop()).toBe(0);
    const checked = await runCheck({ args });
    expect(checked.code, checked.output).toBe(0);
  });

  test("with the store elsewhere: filled by another program, killed, restarted, and emptied by it", async () => {
    await using disk = await SmallDisk.mount(DISK_BYTES);
    await using elsewhere = await DataDirectory.empty();
    const args = ["--data-dir", disk.path, "--store", `file:${join(elsewhere.path, "objects")}`];
    const options = { args: [...args, ...ARGS] };
    await using server = await startServer(options);
    using client = new StreamClient(server.url);
    const writers = await createAll(client);
    for (const writer of writers) await writer.append(client);
    disk.fill(RESERVE_BYTES + 4 * MIB);
    // The log goes elsewhere by itself, so the other program has to be as quick.
    const filling = setInterval(() => disk.fill(RESERVE_BYTES / 2), 20);
    await appendUntilRefused(client, writers).finally(() => clearInterval(filling));
    for (const writer of writers) {
      await writer.repeat(client);
      await writer.expectWhole(client);
    }
    await comesToRest(server);
    const last = writers.pop()!;
    expectStatus(await client.del(last.path), "a delete takes from the reserve", 204);
    disk.fill(0);
    for (const writer of writers) {
      expect((await writer.append(client)).status).toBe(507);
      await writer.expectWhole(client);
    }
    await server.kill9();

    disk.shrinkFiller(DISK_BYTES - RESERVE_BYTES / 2);
    await using again = await startServer(options);
    using after = new StreamClient(again.url);
    for (const writer of writers) await writer.expectWhole(after);
    expectStatus(await after.head(last.path), "the deleted stream", 404);
    expect((await writers[0]!.append(after)).status).toBe(507);
    disk.removeFiller();
    await expectAppendsAgain(after, writers);
    for (const writer of writers) await writer.expectWhole(after);
    expect(await again.stop()).toBe(0);
    const checked = await runCheck({ args });
    expect(checked.code, checked.output).toBe(0);
  });

  test("without a reserve: an append that finds no room waits, those behind it are refused, reads go on", async () => {
    await using disk = await SmallDisk.mount(16 * MIB);
    await using elsewhere = await DataDirectory.empty();
    const args = ["--data-dir", disk.path, "--store", `file:${join(elsewhere.path, "objects")}`, "--disk-reserve", "0"];
    const options = { args: [...args, ...ARGS] };
    await using server = await startServer(options);
    using client = new StreamClient(server.url);
    const [writer, other] = (await createAll(client)) as [Writer, Writer];
    await writer.append(client);
    await comesToRest(server);
    disk.fill(0);
    let answered = false;
    const waiting = writer.append(client).then((reply) => {
      answered = true;
      return reply.status;
    });
    await until("a refusal", BOUND_MS, async () => ((await other.append(client)).status === 507 ? true : undefined));
    expect(answered).toBe(false);
    expect((await client.readAll(writer.path)).bytes.equals(Buffer.from(writer.acked[0]!))).toBe(true);
    // Its own rolls make room, and so does the other program.
    disk.removeFiller();
    expect(await waiting).toBe(200);
    await expectAppendsAgain(client, [other]);
    for (const each of [writer, other]) await each.expectWhole(client);

    await comesToRest(server);
    disk.fill(0);
    const lost = writer.append(client).catch(() => undefined);
    await until("a refusal", BOUND_MS, async () => ((await other.append(client)).status === 507 ? true : undefined));
    const acked = writer.acked.length;
    await server.kill9();
    await lost;
    expect(writer.acked.length, "an append without room was acknowledged").toBe(acked);
    disk.removeFiller();
    await using again = await startServer(options);
    using after = new StreamClient(again.url);
    for (const each of [writer, other]) await each.expectWhole(after);
    await expectAppendsAgain(after, [writer, other]);
    expect(await again.stop()).toBe(0);
    const checked = await runCheck({ args });
    expect(checked.code, checked.output).toBe(0);
  });
});
