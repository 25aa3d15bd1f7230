import {
  ObjectStoreError,
  StreamError,
  UPLOAD_CONCURRENCY,
  decodeRollRecord,
  rollKey,
  rollRecordSteps,
  sameContent,
  type Clock,
  type Crc32,
  type FaultPoint,
  type Generation,
  type ObjectStore,
  type Random,
  type RollRecord,
  type RolledExtent,
  type SealedSegment,
  type StreamIdentity,
} from "@coldbrook/core";
import { isDeepStrictEqual } from "node:util";
import PQueue from "p-queue";
import { encodeObject, type EncodedObject } from "./object-body.ts";
import { compareFooter, readWhole, type FooterBytes } from "./object-footer.ts";
import { planSegment, type SegmentPlan } from "./segment-plan.ts";
import { TimeSlice } from "./time-slice.ts";

/** Waits between attempts at a store that does not answer: full jitter under a doubling cap, in milliseconds. */
const BACKOFF_BASE_MS = 50;
const BACKOFF_MAX_MS = 2_000;
/** Uploads of an object that the store acknowledged and does not have. */
const UPLOADS_MAX = 3;

export interface RollerOptions {
  readonly store: ObjectStore;
  readonly crc: Crc32;
  /** Names this server in footers and records: what was written under our keys by another one is never taken for ours. */
  readonly writerId: string;
  /** Metadata for the footers; undefined for a stream that is gone. */
  readonly identities: (id: Generation) => StreamIdentity | undefined;
  /** Resolves when the catalog has the roll and is flushed. */
  readonly publish: (roll: RollRecord) => Promise<void>;
  /** Deletes the WAL file. Called only after `publish` has resolved (invariant 6). */
  readonly release: (segment: SealedSegment) => Promise<void>;
  readonly fault: FaultPoint;
  readonly clock: Clock;
  readonly random: Random;
  readonly sleep: (ms: number) => Promise<void>;
  readonly log: { info(facts: object, message: string): void; warn(facts: object, message: string): void };
  /** The roller has ended for good with the segment that it was at: the process must stop and say why. */
  readonly onFatal: (error: Error) => void;
}

/** Thrown inside a roll that `stop` has ended; the next start does it again with the same keys. */
class Stopped extends Error {}

/**
 * Rolls sealed WAL segments one after another: plan, upload, verify, record, publish, and only then release. A roll is
 * a function of its segment alone, so one that was cut off is redone to the same keys, adopting what is already there.
 */
export class Roller {
  readonly #options: RollerOptions;
  readonly #segments: SealedSegment[] = [];
  readonly #stop: Promise<void>;
  #wakeAll: () => void = () => undefined;
  #running: Promise<void> | undefined;
  #ended = false;
  #outage: { sinceMs: number } | undefined;

  constructor(options: RollerOptions) {
    this.#options = options;
    this.#stop = new Promise((resolve) => {
      this.#wakeAll = resolve;
    });
  }

  /** Segments enqueued and not yet released. */
  get pendingSegments(): number {
    return this.#segments.length;
  }

  /**
   * Rolls `segment` after all that were enqueued before it.
   * @throws RangeError when it is not the successor of the one before it
   */
  enqueue(segment: SealedSegment): void {
    const before = this.#segments.at(-1);
    if (before !== undefined && before.end !== segment.base) {
      throw new RangeError(`segment ${segment.base} does not follow the one that ends at ${before.end}`);
    }
    this.#segments.push(segment);
    if (!this.#ended) this.#running ??= this.#drain();
  }

  /** Resolves when every segment enqueued so far is released, or the roller has ended. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  /** Ends at the next step and resolves when nothing runs any more; what is pending stays in the WAL. */
  async stop(): Promise<void> {
    this.#ended = true;
    this.#wakeAll();
    await this.idle();
  }

  async #drain(): Promise<void> {
    try {
      for (;;) {
        const segment = this.#segments[0];
        if (segment === undefined || this.#ended) break;
        await this.#roll(segment);
        this.#segments.shift();
      }
    } catch (error) {
      if (!(error instanceof Stopped)) {
        this.#ended = true;
        this.#options.onFatal(error instanceof Error ? error : new Error(String(error)));
      }
    } finally {
      this.#running = undefined;
    }
  }

  async #roll(segment: SealedSegment): Promise<void> {
    const { fault, crc, publish, release } = this.#options;
    const slice = new TimeSlice();
    fault("roll.plan");
    const plan = await planSegment(segment, await segment.load(), crc, slice);
    const record = await this.#record(plan, await this.#uploadAll(plan, slice), slice);
    this.#checkStop();
    fault("roll.record");
    await this.#createRecord(record, slice);
    this.#checkStop();
    fault("roll.publish");
    await publish(record);
    // Release last: the catalog is flushed and points every reader to the objects.
    fault("roll.release");
    await release(segment);
  }

  async #uploadAll(plan: SegmentPlan, slice: TimeSlice): Promise<PlacedObject[]> {
    const queue = new PQueue({ concurrency: UPLOAD_CONCURRENCY });
    const failures: unknown[] = [];
    const placed: PlacedObject[] = [];
    for (const index of plan.roll.objects.keys()) {
      void queue.add(async () => {
        if (failures.length > 0) return;
        try {
          this.#checkStop();
          const object = await encodeObject(plan, index, this.#options, slice);
          placed[index] = { object, stored: await this.#place(object, plan) };
        } catch (error) {
          failures.push(error);
        }
      });
    }
    // Also after a failure: nothing of this roll may still run when it has ended.
    await queue.onIdle();
    if (failures.length > 0) throw failures.find((error) => !(error instanceof Stopped)) ?? failures[0];
    return placed;
  }

  /** Brings one object into the store and proves that it is there and ours. */
  async #place(object: EncodedObject, plan: SegmentPlan): Promise<FooterBytes> {
    const { store, crc, fault } = this.#options;
    for (let upload = 0; upload < UPLOADS_MAX; upload++) {
      fault("roll.upload");
      const outcome = await this.#persist("upload", plan, () => store.create(object.key, object.bytes, object.body));
      this.#checkStop();
      fault("roll.verify");
      const stored = await this.#persist("verify", plan, () => compareFooter(store, crc, object.key, object));
      if (stored === undefined) continue;
      this.#checkOurs(object, stored, outcome);
      return stored;
    }
    throw new StreamError(
      "corrupt-object",
      `${store.name} acknowledged ${object.key} ${UPLOADS_MAX} times and does not have it`,
    );
  }

  /** The same writer, segment and extents; metadata may differ, since a stream may be deleted between two attempts. */
  #checkOurs(object: EncodedObject, stored: FooterBytes, outcome: "created" | "exists"): void {
    const { store } = this.#options;
    const theirs = stored.footer ?? object.footer;
    if (
      (stored.isSame || sameContent(theirs, object.footer)) &&
      (outcome === "exists" || stored.bytes === object.bytes)
    )
      return;
    throw new StreamError(
      "corrupt-object",
      outcome === "created"
        ? `${object.key} in ${store.name} is not what was uploaded; nothing was released`
        : `${object.key} in ${store.name} is not ours (writer "${theirs.writerId}", WAL ${theirs.base} to ` +
            `${theirs.end}): another server writes to this prefix; stop one of them`,
    );
  }

  async #record(plan: SegmentPlan, placed: readonly PlacedObject[], slice: TimeSlice): Promise<RollRecord> {
    const extents: RolledExtent[] = [];
    for (const [index, { object }] of placed.entries()) {
      for (const { identity, start, end, offset, blocks } of object.footer.extents) {
        extents.push({ stream: identity.id, start, end, object: index, offset, blocks });
        if (slice.over) await slice.rest();
      }
    }
    return {
      writerId: this.#options.writerId,
      base: plan.base,
      end: plan.end,
      objects: placed.map(({ object, stored }) => ({
        key: object.key,
        bytes: stored.bytes,
        footerCrc: stored.footerCrc,
      })),
      extents,
      digests: plan.roll.digests,
      subscriptions: plan.roll.subscriptions,
    };
  }

  async #createRecord(record: RollRecord, slice: TimeSlice): Promise<void> {
    const { store, crc } = this.#options;
    const key = rollKey(record.base);
    const bytes = await slice.run(rollRecordSteps(record, crc));
    const outcome = await this.#persist("record", record, () =>
      store.create(key, bytes.length, async function* () {
        yield bytes;
      }),
    );
    if (outcome === "created") return;
    const stored = await this.#persist("record", record, () =>
      readWhole(store, key, (found) => decodeRollRecord(found, crc)),
    );
    if (stored === undefined) throw new StreamError("corrupt-object", `${key} vanished from ${store.name}`);
    if (isDeepStrictEqual(stored, decodeRollRecord(bytes, crc))) return;
    throw new StreamError(
      "corrupt-object",
      `${key} in ${store.name} records another roll (writer "${stored.writerId}", WAL ${stored.base} to ` +
        `${stored.end}): another server writes to this prefix; stop one of them`,
    );
  }

  /** Does `step` until the store lets it; the operator hears of the first failure and of the recovery. */
  async #persist<Result>(
    name: string,
    segment: { readonly base: number },
    step: () => Promise<Result>,
  ): Promise<Result> {
    const { store, clock, random, sleep, log } = this.#options;
    for (let attempt = 0; ; attempt++) {
      this.#checkStop();
      try {
        const result = await step();
        if (this.#outage !== undefined) {
          log.info(
            { store: store.name, outageMs: clock() - this.#outage.sinceMs },
            "the object store is back; rolling",
          );
          this.#outage = undefined;
        }
        return result;
      } catch (error) {
        if (!(error instanceof ObjectStoreError)) throw error;
        if (this.#outage === undefined) {
          this.#outage = { sinceMs: clock() };
          log.warn(
            { store: store.name, step: name, segment: segment.base, code: error.code, cause: error.message },
            "the object store refuses; sealed segments stay in the WAL until it is back",
          );
        }
      }
      const capMs = Math.min(BACKOFF_MAX_MS, BACKOFF_BASE_MS * 2 ** Math.min(attempt, 10));
      await Promise.race([sleep(random() * capMs), this.#stop]);
    }
  }

  #checkStop(): void {
    if (this.#ended) throw new Stopped("the roller was stopped");
  }
}

interface PlacedObject {
  readonly object: EncodedObject;
  readonly stored: FooterBytes;
}
