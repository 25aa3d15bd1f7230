/**
 * The catalog: what the WAL and the objects say, in a form that is found by key. One file per key kind; this one joins
 * them, names the few numbers that belong to the whole, and is the only one that commits.
 */
import { crc32 } from "node:zlib";
import { decodeMeta, encodeMeta } from "@coldbrook/core";
import { DeletedStreams } from "./deleted.ts";
import { decodeValue, openStore } from "./environment.ts";
import type { CatalogEnvironment, ValueStore } from "./environment.ts";
import { openLmdb } from "./environment-lmdb.ts";
import { openMemory } from "./environment-memory.ts";
import { ExpiryRecords } from "./expiry.ts";
import { ExtentRecords } from "./extents.ts";
import { ForkRecords } from "./forks.ts";
import { LinkRecords } from "./links.ts";
import { ObjectRecords } from "./objects.ts";
import { ProducerRecords } from "./producers.ts";
import { StreamRecords } from "./streams.ts";
import { SubscriptionRecords } from "./subscriptions.ts";

/** Of every named number, the meaning. */
export type MetaName =
  /** Layout of the catalog. */
  | "version"
  /** All frames that end at or before this LSN are in the catalog. */
  | "appliedLsn"
  /** All bytes below this LSN are in objects that the catalog knows. */
  | "rolledLsn"
  /** Every generation minted so far is at or below this. */
  | "generation";

/** Version 1 knew no forks and no subscriptions: what it lacks is empty. */
export const CATALOG_VERSION = 2;

const FLUSH_MS_MAX = 60_000;

export class Catalog {
  readonly streams: StreamRecords;
  readonly producers: ProducerRecords;
  readonly extents: ExtentRecords;
  readonly objects: ObjectRecords;
  readonly expiry: ExpiryRecords;
  readonly deleted: DeletedStreams;
  readonly forks: ForkRecords;
  readonly subscriptions: SubscriptionRecords;
  readonly links: LinkRecords;
  readonly #environment: CatalogEnvironment;
  readonly #meta: ValueStore<string>;

  private constructor(environment: CatalogEnvironment) {
    this.#environment = environment;
    this.#meta = openStore(environment, "meta");
    this.streams = new StreamRecords(environment);
    this.producers = new ProducerRecords(environment);
    this.extents = new ExtentRecords(environment);
    this.objects = new ObjectRecords(environment);
    this.expiry = new ExpiryRecords(environment);
    this.deleted = new DeletedStreams(environment);
    this.forks = new ForkRecords(environment);
    this.subscriptions = new SubscriptionRecords(environment);
    this.links = new LinkRecords(environment);
  }

  /** @throws when LMDB cannot open the directory's files. */
  static open(directory: string): Catalog {
    return new Catalog(openLmdb(directory));
  }

  /** A new one that lives as long as this value; its commits are immediate. */
  static inMemory(): Catalog {
    return new Catalog(openMemory());
  }

  /** A named number; undefined before its first commit. @throws StreamError corrupt-catalog */
  meta(name: MetaName): number | undefined {
    const bytes = this.#meta.get(name);
    return bytes === undefined ? undefined : decodeValue(this.#environment, name, () => decodeMeta(name, bytes, crc32));
  }

  /** To be called inside a batch. */
  setMeta(name: MetaName, value: number): void {
    void this.#meta.put(name, encodeMeta(name, value, crc32));
  }

  /**
   * All changes that `change` makes, at once after a crash. Resolves when they are committed, not when they are on disk; look-ups
   * see them from then on, and not within `change`. It must not throw, because some of what was put before may be kept: read first.
   */
  async batch(change: () => void): Promise<void> {
    await this.#environment.batch(change);
  }

  /** Resolves when all that was committed is on disk. @throws Error when the disk does not take it in time */
  async flushed(): Promise<void> {
    const environment = this.#environment;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      const error = new Error(
        `catalog ${environment.file}: LMDB has not flushed for ${FLUSH_MS_MAX} ms; is its disk failing?`,
      );
      // Nothing is flushed while a commit waits for room.
      timer = setInterval(() => void (environment.waitsForRoom || reject(error)), FLUSH_MS_MAX);
    });
    try {
      await Promise.race([environment.flushed(), late]);
    } finally {
      clearInterval(timer);
    }
  }

  /** From now on a batch for which there is no room on the disk is refused. */
  stopWaiting(): void {
    this.#environment.stopWaiting();
  }

  /** Notes the file's size, so that a start can tell when it was cut short. */
  recordSize(): void {
    this.#environment.recordSize();
  }

  async close(): Promise<void> {
    await this.#environment.close();
  }
}
