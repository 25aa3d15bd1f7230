/** A reader that hangs, one that leaves and an origin that is killed mislead nobody and hold up nobody. */
import { connect, type Socket } from "node:net";
import { once } from "node:events";
import { expect, test } from "vitest";
import { ConnectionLost, expectStatus, nextOffset, type Reply } from "../process/http.ts";
import { until } from "../process/until.ts";
import { patternBytes } from "../scale/served.ts";
import type { CdnRig, Truth } from "./cdn-rig.ts";
import { Follower } from "./follower.ts";

const MIB = 1 << 20;
const BOUND_MS = 60_000;

/** The rig is one with chunks of 1 MiB, and its server is another one afterwards. */
export function faultFacts(opened: () => CdnRig): void {
  /** A request whose answer nobody reads. */
  async function hanging(path: string, query: string): Promise<Socket> {
    const rig = opened();
    const { hostname, port } = new URL(rig.cache.url);
    const socket = connect(Number(port), hostname);
    await once(socket, "connect");
    socket.pause();
    socket.write(`GET /v1/stream/${path}?${query} HTTP/1.1\r\nHost: ${hostname}:${port}\r\n\r\n`);
    return socket;
  }

  async function filled(path: string, bytes: number): Promise<Truth> {
    const rig = opened();
    const truth = await rig.create(path, { capacity: 2 * bytes });
    while (truth.length < bytes) await rig.append(truth, patternBytes(250_000, truth.length));
    return truth;
  }

  test("readers of the chunk that a hung reader asked for first get it whole", async () => {
    const rig = opened();
    const truth = await filled("hung", 6 * MIB);
    await rig.append(truth, patternBytes(10, 1));
    rig.origin.take();
    const sockets = await Promise.all([1, 2, 3].map(() => hanging(truth.path, `offset=${truth.start}`)));
    try {
      await until(
        "the hung reader's request to reach the origin",
        BOUND_MS,
        () => rig.origin.requests.length > 0 || undefined,
      );
      const readers = Array.from({ length: 5 }, () => new Follower(rig, truth, truth.start));
      await Promise.all(readers.map((reader) => reader.catchUp()));
      for (const reader of readers) expect(reader.position).toBe(truth.length);
    } finally {
      for (const socket of sockets) socket.destroy();
    }
  });

  test("long-pollers who wait behind one that left, and one that hangs, get what comes", async () => {
    const rig = opened();
    const truth = await filled("left", 250_000);
    const offset = nextOffset(await rig.writer.head(truth.path));
    rig.origin.take();
    const left = await hanging(truth.path, `live=long-poll&offset=${offset}`);
    await until(
      "the poll that will be left to reach the origin",
      BOUND_MS,
      () => rig.origin.requests.length > 0 || undefined,
    );
    const hung = await hanging(truth.path, `live=long-poll&offset=${offset}`);
    const waiting = Array.from({ length: 10 }, () => rig.reader.longPoll(truth.path, offset));
    left.destroy();
    const from = truth.length;
    await rig.append(truth, patternBytes(1_000, 9));
    try {
      for (const reply of await Promise.all(waiting)) truth.verify(expectStatus(reply, "long-poll", 200), from);
    } finally {
      hung.destroy();
    }
  });

  test("an origin that is killed and started again is survived without a wrong byte", async () => {
    const rig = opened();
    const truth = await filled("killed", 4 * MIB);
    const followers = Array.from(
      { length: 4 },
      (_, index) => new Follower(rig, truth, index % 2 === 0 ? "-1" : truth.start),
    );
    let refused = 0;
    const survive = async (follower: Follower): Promise<void> => {
      while (!follower.closed) {
        // A step that fails leaves the follower where it was. Whatever it is given as a 200 is compared.
        await follower.step().catch(async (error: unknown) => {
          const isGateway = error instanceof Error && /expected 200, got 50[234] /.test(error.message);
          if (!isGateway && !(error instanceof ConnectionLost)) throw error;
          refused += 1;
          await new Promise((resolve) => setTimeout(resolve, 20));
        });
      }
    };
    const running = followers.map(survive);
    const all = Promise.all(running);
    all.catch(() => undefined);
    for (let round = 0; round < 2; round += 1) {
      await Promise.race([Promise.all(followers.map((one) => one.when(() => one.position === truth.length))), all]);
      const warm = expectStatus(await rig.read(truth, truth.start), "a full chunk", 200);
      await rig.kill();
      // What can never change is served without the origin, and nothing else is.
      const cold: Reply = await rig.read(truth, truth.start);
      expectStatus(cold, "a full chunk without the origin", 200);
      expect(cold.body.equals(warm.body)).toBe(true);
      const tail = await rig.read(truth, followers[0]!.offset).catch(() => undefined);
      if (tail !== undefined) expectStatus(tail, "a tail without the origin", 502, 503, 504);
      await rig.restart();
      for (let append = 0; append < 5; append += 1) await rig.append(truth, patternBytes(100_000, truth.length));
    }
    await rig.close(truth);
    await all;
    for (const follower of followers) expect(follower.position).toBe(truth.length);
    expect(refused).toBeGreaterThan(0);
  });
}
