/**
 * Gives back what nobody can read any more: streams past their expiry are deleted through the WAL like any other, deleted
 * streams lose their extents and producers, and objects without a live extent leave the store after a grace period.
 */
import type { Clock, Generation, ObjectCount, Position } from "@coldbrook/core";
import type { Collector } from "@coldbrook/tiering";
import type { Catalog } from "../catalog/catalog.ts";
import type { CatalogWork } from "./catalog-work.ts";
import type { Engine } from "./engine.ts";

const PERIOD_MS = 1_000;
/** Streams looked at in one round. */
const STREAMS_PER_ROUND = 1_000;
/** Keys removed in one transaction. */
const KEYS_PER_BATCH = 1_000;

export interface ReaperPorts {
  readonly engine: Engine;
  readonly catalog: Catalog;
  readonly collector: Collector;
  readonly work: CatalogWork;
  readonly clock: Clock;
  readonly log: { warn(facts: object, message: string): void };
  readonly fatal: (error: Error) => void;
}

export class Reaper {
  readonly #ports: ReaperPorts;
  #timer: NodeJS.Timeout | null = null;
  #round: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(ports: ReaperPorts) {
    this.#ports = ports;
  }

  start(): void {
    // An engine in memory that its owner lets go of must be free to go: the timer does not hold it.
    const reaper = new WeakRef<Reaper>(this);
    this.#timer = setTimeout(() => {
      const held = reaper.deref();
      if (held !== undefined) held.#turn();
    }, PERIOD_MS);
    this.#timer.unref();
  }

  #turn(): void {
    this.#round = this.reap().catch(this.#ports.fatal);
    void this.#round.then(() => {
      if (!this.#stopped) this.start();
    });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#round;
  }

  /** One round; what it does not get to is left for the next one. */
  async reap(): Promise<void> {
    const now = this.#ports.clock();
    await this.#expire(now);
    await this.#ports.work.add(() => this.#giveBack());
    // An object may go only when the disk has it that nothing refers to it.
    await this.#ports.catalog.flushed();
    await this.#ports.collector.sweep(now);
  }

  async #expire(now: number): Promise<void> {
    const { catalog, engine } = this.#ports;
    const reminders = catalog.expiry.due(now, STREAMS_PER_ROUND);
    if (reminders.length === 0) return;
    const next = await Promise.all(reminders.map((reminder) => engine.expire(reminder.stream)));
    await catalog.batch(() => {
      for (const [i, reminder] of reminders.entries()) {
        const atMs = next[i]!;
        if (atMs === reminder.atMs) continue;
        catalog.expiry.remove(reminder);
        if (atMs !== null && Number.isFinite(atMs)) catalog.expiry.put({ atMs, stream: reminder.stream });
      }
    });
  }

  async #giveBack(): Promise<void> {
    const { catalog } = this.#ports;
    for (const stream of catalog.deleted.some(STREAMS_PER_ROUND)) {
      // A crash must not find frames of a stream that the catalog has forgotten and not yet applied.
      const state = catalog.streams.load(stream);
      if (state !== undefined && state.lsn > (catalog.meta("appliedLsn") ?? 0)) continue;
      await this.#giveBackStream(stream);
    }
  }

  async #giveBackStream(stream: Generation): Promise<void> {
    const { catalog, clock } = this.#ports;
    for (;;) {
      const starts = catalog.extents.starts(stream, KEYS_PER_BATCH);
      const producers = catalog.producers.some(stream, KEYS_PER_BATCH);
      const isLast = starts.length < KEYS_PER_BATCH && producers.length < KEYS_PER_BATCH;
      const objects = this.#lastExtentsOf(stream, starts);
      await catalog.batch(() => {
        for (const start of starts) catalog.extents.remove(stream, start);
        for (const producer of producers) catalog.producers.remove(stream, producer);
        for (const { key, count, dead } of objects) {
          catalog.objects.put(key, count, count.bytes, Math.max(0, count.liveExtents - dead), clock());
        }
        if (!isLast) return;
        catalog.streams.remove(stream);
        catalog.deleted.remove(stream);
      });
      if (isLast) return;
    }
  }

  /** The objects that hold those extents, and how many of theirs these are. */
  #lastExtentsOf(stream: Generation, starts: readonly Position[]): { key: string; count: ObjectCount; dead: number }[] {
    const { catalog } = this.#ports;
    const dead = new Map<string, number>();
    for (const start of starts) {
      const extent = catalog.extents.load(stream, start);
      if (extent !== undefined) dead.set(extent.object, (dead.get(extent.object) ?? 0) + 1);
    }
    const objects: { key: string; count: ObjectCount; dead: number }[] = [];
    for (const [key, extents] of dead) {
      const count = catalog.objects.load(key);
      // A roll that was cut off counts its object anew when it is published.
      if (count !== undefined) objects.push({ key, count, dead: extents });
    }
    return objects;
  }
}
