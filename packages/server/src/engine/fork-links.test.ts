import { generation, lsn, newStreamState, position } from "@coldbrook/core";
import type { Generation, StreamIdentity } from "@coldbrook/core";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { Catalog } from "../catalog/catalog.ts";
import { ForkLinks } from "./fork-links.ts";
import { Stream } from "./stream.ts";

const SOURCE = generation(1);

function forkOf(source: Generation, id: number): StreamIdentity {
  const lineage = [
    { generation: source, first: position(0), source },
    { generation: generation(id), first: position(0), source: null },
  ];
  const config = { contentType: "text/plain", ttlSeconds: null, expiresAtMs: null };
  return { id: generation(id), path: `f${id}`, config, createdAtMs: 1, lineage };
}

/** Links of one source, and the forks that a naive list of them has. */
class Family {
  readonly catalog = Catalog.inMemory();
  readonly #unsaved = new Set<Stream>();
  readonly links = new ForkLinks(this.catalog, (stream) => this.#unsaved.has(stream));
  readonly forks: number[] = [];
  readonly #streams = new Map<number, Stream>();
  #next = 2;

  create(): void {
    const id = this.#next++;
    const state = newStreamState({
      identity: forkOf(SOURCE, id),
      tail: position(0),
      closed: false,
      touchedAtMs: 1,
      lsn: lsn(0),
    });
    const stream = new Stream(state, state, "new");
    this.#streams.set(id, stream);
    this.links.add(state.identity);
    this.#unsaved.add(stream);
    this.forks.push(id);
  }

  remove(index: number): void {
    if (this.forks.length === 0) return;
    const [id] = this.forks.splice(index % this.forks.length, 1);
    const stream = this.#streams.get(id!)!;
    this.links.remove(stream.pending.identity);
    stream.pending = { ...stream.pending, deleted: true };
    stream.durable = stream.pending;
    this.#unsaved.add(stream);
  }

  /** Saves every `every`-th of the unsaved streams. */
  async save(every: number): Promise<void> {
    for (const stream of [...this.#unsaved].filter((_, i) => i % every === 0)) {
      const { id } = stream.pending.identity;
      await this.catalog.batch(() => {
        if (stream.pending.deleted) this.catalog.forks.remove(SOURCE, id);
        else this.catalog.forks.put(SOURCE, id);
      });
      this.#unsaved.delete(stream);
      this.links.saved(stream);
    }
  }
}

const anyStep = fc.oneof(
  { weight: 3, arbitrary: fc.constant({ kind: "create" as const, at: 0 }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("remove" as const), at: fc.nat(99) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("save" as const), at: fc.integer({ min: 1, max: 3 }) }) },
);

test("a source has the forks that were made of it and not deleted, saved or not", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(anyStep, { maxLength: 200 }), async (steps) => {
      const family = new Family();
      for (const { kind, at } of steps) {
        if (kind === "create") family.create();
        else if (kind === "remove") family.remove(at);
        else await family.save(at);
        expect(family.links.hasForks(SOURCE)).toBe(family.forks.length > 0);
        expect(family.links.count(SOURCE)).toBe(family.forks.length);
      }
    }),
    { numRuns: 200 },
  );
});

test.each([
  ["the oldest first", 0],
  ["the newest first", -1],
])("a source that loses its forks one by one, %s, is not searched anew for each", async (_, end) => {
  const family = new Family();
  for (let i = 0; i < 2_000; i++) family.create();
  await family.save(1);
  let listed = 0;
  const some = family.catalog.forks.some.bind(family.catalog.forks);
  family.catalog.forks.some = (...range) => {
    const forks = some(...range);
    listed += forks.length;
    return forks;
  };
  while (family.forks.length > 0) {
    expect(family.links.hasForks(SOURCE)).toBe(true);
    family.remove(end === 0 ? 0 : family.forks.length - 1);
  }
  expect(family.links.hasForks(SOURCE)).toBe(false);
  expect(listed).toBeLessThan(2_000 * 32);
});
