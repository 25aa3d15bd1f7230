/** Deleted and expired streams give their bytes back, and nothing that is still referred to goes with them. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { ListObjectsV2Command } from "@aws-sdk/client-s3";
import { describe, expect, inject, test } from "vitest";
import { runCheck, startServer, type ServerProcess } from "../process/coldbrook.ts";
import { expectStatus, StreamClient, type CreateOptions } from "../process/http.ts";
import { until } from "../process/until.ts";
import { makeBucket } from "../s3/buckets.ts";
import { DataDirectory } from "../faults/data-directory.ts";
import { forEachOf, patternBytes, untilAllRolled } from "./served.ts";

const s3 = inject("s3");
const contentType = "application/octet-stream";

/** A roll soon after every phase, and one whole phase in it; a stream of 5 MiB gets an object of its own. */
const ARGS = ["--segment-bytes", "32MiB", "--segment-age-ms", "500", "--object-grace-ms", "200"];
const SMALL_BYTES = 20_000;
const LARGE_BYTES = 5 * 1024 * 1024;
const COLLECTED_BOUND_MS = 30_000;
const TTL_SECONDS = 2;

class Rig implements AsyncDisposable {
  readonly data: DataDirectory;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Sealed objects in the store now, sorted. */
  readonly objects: () => Promise<string[]>;
  readonly #close: () => Promise<void>;

  constructor(parts: Pick<Rig, "data" | "args" | "env" | "objects"> & { close: () => Promise<void> }) {
    this.data = parts.data;
    this.args = parts.args;
    this.env = parts.env;
    this.objects = parts.objects;
    this.#close = parts.close;
  }

  static async onDirectory(): Promise<Rig> {
    const data = await DataDirectory.empty();
    return new Rig({
      data,
      args: ["--data-dir", data.path],
      env: {},
      objects: async () => (await data.files(".cbo")).map((file) => file.replace(/^objects\//, "")),
      close: async () => {},
    });
  }

  static async onS3(): Promise<Rig> {
    if (s3 === null) throw new Error("no S3 server in this run");
    const data = await DataDirectory.empty();
    const bucket = await makeBucket(s3);
    return new Rig({
      data,
      args: ["--data-dir", data.path, "--store", bucket.spec],
      env: { ...bucket.environment },
      objects: async () => {
        const page = await bucket.client.send(new ListObjectsV2Command({ Bucket: bucket.bucket }));
        return (page.Contents ?? []).flatMap(({ Key }) => (Key?.endsWith(".cbo") === true ? [Key] : [])).sort();
      },
      close: async () => {
        await bucket[Symbol.asyncDispose]();
      },
    });
  }

  start(): Promise<ServerProcess> {
    return startServer({ args: [...this.args, ...ARGS, "--cache-bytes-max", "0"], env: this.env });
  }

  async expectSound(): Promise<void> {
    const checked = await runCheck({ args: this.args, env: this.env });
    expect(checked.code, checked.output).toBe(0);
  }

  async untilObjects(keys: readonly string[]): Promise<void> {
    let found: string[] = [];
    const wanted = [...keys].sort();
    await until(`the store to hold ${wanted.join(", ")}`, COLLECTED_BOUND_MS, async () => {
      found = await this.objects();
      return found.join() === wanted.join() ? true : undefined;
    }).catch((error: unknown) => {
      throw new Error(`the store holds ${found.join(", ")}`, { cause: error });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close();
    await this.data[Symbol.asyncDispose]();
  }
}

/** Streams and what they hold; one call of `write` is rolled into objects of its own. */
class Contents {
  readonly #bytes = new Map<string, Buffer>();

  /** The objects that came with these streams. */
  async write(
    rig: Rig,
    server: ServerProcess,
    paths: readonly string[],
    options: WriteOptions = {},
  ): Promise<string[]> {
    using client = new StreamClient(server.url);
    const before = new Set(await rig.objects());
    const { bytes = SMALL_BYTES, ...create } = options;
    await forEachOf(paths.length, 16, async (index) => {
      const path = paths[index] ?? "";
      const body = patternBytes(bytes, this.#bytes.size + index);
      expectStatus(await client.create(path, { contentType, ...create }), `create ${path}`, 201);
      expectStatus(await client.append(path, body, { contentType }), `append ${path}`, 204);
      this.#bytes.set(path, body);
    });
    await untilAllRolled(server.url);
    const made = (await rig.objects()).filter((key) => !before.has(key));
    expect(made.length, "objects of this write").toBeGreaterThan(0);
    return made;
  }

  async expectKept(server: ServerProcess, paths: readonly string[]): Promise<void> {
    using client = new StreamClient(server.url);
    for (const path of paths) {
      const { bytes } = await client.readAll(path);
      expect(bytes.equals(this.#bytes.get(path) ?? Buffer.alloc(0)), `the bytes of ${path}`).toBe(true);
    }
  }
}

type WriteOptions = Pick<CreateOptions, "ttlSeconds"> & { readonly bytes?: number };

async function remove(server: ServerProcess, paths: readonly string[]): Promise<void> {
  using client = new StreamClient(server.url);
  for (const path of paths) expectStatus(await client.del(path), `delete ${path}`, 204);
}

async function expectMissing(server: ServerProcess, paths: readonly string[]): Promise<void> {
  using client = new StreamClient(server.url);
  for (const path of paths) expectStatus(await client.head(path), `HEAD ${path}`, 404);
}

function names(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}/${index}`);
}

describe.each([
  ["a directory", () => Rig.onDirectory(), false],
  ["S3", () => Rig.onS3(), s3 === null],
] as const)("on %s", (_, open, skipped) => {
  test.skipIf(skipped)("objects go with their last stream, and those still referred to stay", async () => {
    await using rig = await open();
    await using server = await rig.start();
    const contents = new Contents();
    const doomed = names("doomed", 10);
    const mixedDoomed = names("mixed/doomed", 5);
    const mixedKept = names("mixed/kept", 5);
    const large = ["large/doomed"];
    const kept = [...names("kept", 3), ...mixedKept];
    const doomedObjects = await contents.write(rig, server, doomed);
    const mixedObjects = await contents.write(rig, server, [...mixedDoomed, ...mixedKept]);
    const largeObjects = await contents.write(rig, server, large, { bytes: LARGE_BYTES });
    const keptObjects = await contents.write(rig, server, names("kept", 3));

    await remove(server, [...doomed.slice(0, -1), ...mixedDoomed, ...large]);
    await rig.untilObjects([...doomedObjects, ...mixedObjects, ...keptObjects]);
    expect(await rig.objects(), "its only object is gone").not.toContain(largeObjects[0]);
    await contents.expectKept(server, [...kept, ...doomed.slice(-1)]);
    // The last stream of the first pack.
    await remove(server, doomed.slice(-1));
    await rig.untilObjects([...mixedObjects, ...keptObjects]);
    await contents.expectKept(server, kept);
    await expectMissing(server, [...doomed, ...mixedDoomed, ...large]);
    expect(await server.stop()).toBe(0);
    await rig.expectSound();
  });
});

describe("whatever the store is", () => {
  test("a kill right after the deletes and one while they are given back change nothing", async () => {
    await using rig = await Rig.onDirectory();
    await using server = await rig.start();
    const contents = new Contents();
    const doomed = names("doomed", 40);
    const kept = names("kept", 3);
    await contents.write(rig, server, doomed);
    const keptObjects = await contents.write(rig, server, kept);
    await remove(server, doomed);
    await server.kill9();
    await rig.expectSound();

    await using second = await rig.start();
    await expectMissing(second, doomed);
    await until("the first object to go", COLLECTED_BOUND_MS, async () =>
      (await rig.objects()).length === keptObjects.length ? true : undefined,
    );
    await second.kill9();
    await rig.expectSound();

    await using third = await rig.start();
    await rig.untilObjects(keptObjects);
    await contents.expectKept(third, kept);
    await expectMissing(third, doomed);
    // A name that was given back can be used again, and its bytes are other ones.
    const again = await contents.write(rig, third, doomed.slice(0, 2));
    await contents.expectKept(third, [...doomed.slice(0, 2), ...kept]);
    expect(await third.stop()).toBe(0);
    await rig.expectSound();

    await rm(join(rig.data.path, "catalog"), { recursive: true });
    await using rebuilt = await rig.start();
    await contents.expectKept(rebuilt, [...doomed.slice(0, 2), ...kept]);
    await expectMissing(rebuilt, doomed.slice(2));
    await rig.untilObjects([...keptObjects, ...again]);
    expect(await rebuilt.stop()).toBe(0);
    await rig.expectSound();
  });

  test("expired streams give back as deleted ones do, also what expires while the server is down", async () => {
    await using rig = await Rig.onDirectory();
    await using server = await rig.start();
    const contents = new Contents();
    const kept = names("kept", 2);
    const keptObjects = await contents.write(rig, server, kept);
    await contents.write(rig, server, names("short", 3), { ttlSeconds: TTL_SECONDS });
    await contents.write(rig, server, names("short-large", 1), { ttlSeconds: TTL_SECONDS, bytes: LARGE_BYTES });
    await rig.untilObjects(keptObjects);
    await expectMissing(server, [...names("short", 3), ...names("short-large", 1)]);

    const late = await contents.write(rig, server, names("late", 3), { ttlSeconds: 2 * TTL_SECONDS });
    expect(await server.stop()).toBe(0);
    expect(await rig.objects()).toEqual([...keptObjects, ...late].sort());
    await using again = await rig.start();
    await rig.untilObjects(keptObjects);
    await expectMissing(again, names("late", 3));
    await contents.expectKept(again, kept);
    expect(await again.stop()).toBe(0);
    await rig.expectSound();
  });

  test("streams deleted before their bytes were rolled leave no object behind", async () => {
    await using rig = await Rig.onDirectory();
    await using server = await rig.start();
    const contents = new Contents();
    const keptObjects = await contents.write(rig, server, names("kept", 2));
    using client = new StreamClient(server.url);
    await forEachOf(200, 16, async (index) => {
      const path = `brief/${index}`;
      expectStatus(await client.create(path, { contentType, body: patternBytes(SMALL_BYTES, index) }), "create", 201);
      expectStatus(await client.append(path, patternBytes(SMALL_BYTES, index), { contentType }), "append", 204);
      expectStatus(await client.del(path), "delete", 204);
    });
    await untilAllRolled(server.url);
    await rig.untilObjects(keptObjects);
    await contents.expectKept(server, names("kept", 2));
    expect(await server.stop()).toBe(0);
    await rig.expectSound();
  });
});
