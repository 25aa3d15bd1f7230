/**
 * Forks, appends, deletes, expiry, saves and reads in every order, next to a model that copies (protocol section 4.2). After
 * each round the streams' bytes, what their names say, and the catalog's records must be what the model has.
 */
import fs from "node:fs";
import { offsetAt, position } from "@coldbrook/core";
import type { Generation, StreamState } from "@coldbrook/core";
import { Collector } from "@coldbrook/tiering";
import { expect, test, vi } from "vitest";
import { ask, microtasks, Shard } from "../../test-support/shard.ts";
import { CatalogWork } from "./catalog-work.ts";
import { Reaper } from "./reaper.ts";

vi.mock("@coldbrook/core", async (original) => ({ ...(await original()), RESIDENT_STREAMS_MAX: 3 }));

const PATHS = ["a", "b", "c", "d", "e", "f", "g"];

/** Small, fast and the same everywhere (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Copy {
  readonly id: Generation;
  readonly path: string;
  readonly source: Generation | null;
  readonly start: number;
  readonly expiresAtMs: number;
  /** Bytes of its own, by position. */
  readonly own: Map<number, string>;
  tail: number;
  closed: boolean;
  ended: boolean;
}

interface Seen {
  readonly id: Generation;
  readonly tail: number;
  readonly text: string | null;
}

class Model {
  readonly copies = new Map<Generation, Copy>();
  /** Answers "deleted" of this round, by path. */
  deletes = new Map<string, number>();
  readonly seen: Seen[] = [];

  created({ identity, tail, closed }: StreamState, body: string): void {
    const start = tail - body.length;
    const entries = identity.lineage;
    const source = entries.at(-2)?.source ?? null;
    const expiresAtMs = identity.config.expiresAtMs ?? Infinity;
    const own = new Map<number, string>();
    const copy = { id: identity.id, path: identity.path, source, start, expiresAtMs, own, tail, closed, ended: false };
    if (body !== "") copy.own.set(start, body);
    this.copies.set(identity.id, copy);
  }

  appended({ identity, tail }: StreamState, body: string, close: boolean): void {
    const copy = this.copies.get(identity.id)!;
    if (body !== "") copy.own.set(tail - body.length, body);
    copy.tail = Math.max(copy.tail, tail);
    copy.closed ||= close;
  }

  text(id: Generation): string {
    const copy = this.copies.get(id)!;
    let text = copy.source === null ? "" : this.text(copy.source).slice(0, copy.start);
    for (const [at, bytes] of [...copy.own].sort((one, other) => one[0] - other[0])) {
      expect(at).toBe(text.length);
      text += bytes;
    }
    return text;
  }

  /** All requests of the round are answered and everything due is reaped. */
  settle(nowMs: number): void {
    for (const path of PATHS) {
      const open = [...this.copies.values()].filter((copy) => copy.path === path && !copy.ended);
      open.sort((one, other) => one.id - other.id);
      let deletes = this.deletes.get(path) ?? 0;
      for (const [i, copy] of open.entries()) {
        if (copy.expiresAtMs <= nowMs) copy.ended = true;
        else if (deletes > 0) {
          copy.ended = true;
          deletes -= 1;
        } else expect(i).toBe(open.length - 1);
      }
      expect(deletes).toBe(0);
    }
    this.deletes = new Map();
  }

  /** Streams that are there or kept for others, and whether only that. */
  present(): Map<Generation, boolean> {
    const present = new Map<Generation, boolean>();
    for (const copy of this.copies.values()) if (!copy.ended) this.#keep(copy, present, false);
    return present;
  }

  #keep(copy: Copy, present: Map<Generation, boolean>, isKept: boolean): void {
    if (!present.has(copy.id)) present.set(copy.id, copy.ended);
    else if (isKept) return;
    if (copy.source !== null) this.#keep(this.copies.get(copy.source)!, present, true);
  }
}

class Run {
  readonly #shard: Shard;
  readonly #random: () => number;
  readonly #model = new Model();
  readonly #saves: Promise<void>[] = [];
  #serial = 0;
  readonly log: string[] = [];

  constructor(shard: Shard, random: () => number) {
    this.#shard = shard;
    this.#random = random;
  }

  async round(): Promise<void> {
    const operations: Promise<void>[] = [];
    if (this.#random() < 0.25) this.#shard.nowMs += 20_000;
    const count = 2 + Math.floor(this.#random() * 14);
    for (let i = 0; i < count; i++) {
      operations.push(this.#operation());
      if (this.#random() < 0.3) await microtasks();
      if (this.#random() < 0.15) await new Promise((resolve) => setImmediate(resolve));
    }
    const dice = this.#random();
    if (dice < 0.2) operations.push(this.#shard.roll());
    else if (dice < 0.4) operations.push(this.#reap());
    await Promise.all(operations);
    await Promise.all(this.#saves.splice(0));
    await this.#quiet();
    await this.#verify();
  }

  /** What the reaper has to do depends on what is saved; without a jump of the clock nothing is due. */
  async #quiet(): Promise<void> {
    const expired = [...this.#model.copies.values()].some(
      (copy) => !copy.ended && copy.expiresAtMs <= this.#shard.nowMs,
    );
    if (expired || this.#random() < 0.2) {
      await this.#shard.engine.sync.save();
      await this.#reap();
    }
    this.#model.settle(this.#shard.nowMs);
    const dice = this.#random();
    if (dice < 0.1) {
      this.log.push("restart");
      await this.#shard.restart();
    } else if (dice < 0.2) {
      // Records are ahead of the LSN that says so.
      this.log.push("half-saved restart");
      this.#shard.catalog.setMeta = () => undefined;
      await this.#shard.engine.sync.save();
      await this.#shard.restart();
    } else if (dice < 0.27) {
      this.log.push("rebuild");
      await this.#shard.stop();
      fs.rmSync(this.#shard.catalogDirectory, { recursive: true });
      await this.#shard.start();
    } else if (dice < 0.32) {
      this.log.push("roll");
      await this.#shard.roll();
    }
  }

  async #reap(): Promise<void> {
    this.log.push("reap");
    const { catalog, engine, store, clock } = this.#shard;
    const log = { warn: (): void => undefined };
    const work = new CatalogWork();
    const collector = new Collector({
      store,
      due: (now, limit) => catalog.objects.due(now, limit),
      forget: async (keys) => {
        const counts = keys.map((key) => catalog.objects.load(key));
        await catalog.batch(() => keys.forEach((key, i) => counts[i] && catalog.objects.forget(key, counts[i])));
      },
      log,
    });
    const fatal = (error: Error): void => void this.#shard.fatal.push(error);
    await new Reaper({ engine, catalog, collector, work, clock, log, fatal }).reap();
  }

  async #verify(): Promise<void> {
    const present = this.#model.present();
    expect(this.#shard.fatal).toEqual([]);
    for (const path of PATHS) {
      const copy = [...this.#model.copies.values()].findLast((each) => each.path === path && present.has(each.id));
      const found = this.#shard.engine.find(path);
      expect([path, found?.state.identity.id]).toEqual([path, copy?.ended === false ? copy.id : undefined]);
      if (found === undefined) {
        expect([path, this.#shard.engine.absence(path)]).toEqual([path, copy === undefined ? "not-found" : "gone"]);
        continue;
      }
      expect([path, found.state.closed]).toEqual([path, copy!.closed]);
      expect([path, await this.#text(found)]).toEqual([path, this.#model.text(copy!.id)]);
    }
    for (const { id, tail, text } of this.#model.seen.splice(0)) {
      if (text === null) expect([id, this.#model.copies.get(id)!.ended]).toEqual([id, true]);
      else expect([id, text]).toEqual([id, this.#model.text(id).slice(0, tail)]);
    }
    for (const id of this.#model.copies.keys())
      expect([id, this.#shard.engine.isLive(id)]).toEqual([id, present.has(id)]);
    if (this.#random() < 0.3) await this.#verifyCatalog(present);
  }

  async #verifyCatalog(present: Map<Generation, boolean>): Promise<void> {
    await this.#shard.engine.sync.save();
    const { catalog } = this.#shard;
    const links = [...catalog.forks.all()].map(({ source, fork }) => `${source}:${fork}`);
    const wanted = [...present.keys()].filter((id) => this.#model.copies.get(id)!.source !== null);
    expect(links.sort()).toEqual(wanted.map((id) => `${this.#model.copies.get(id)!.source}:${id}`).sort());
    const states = [...catalog.streams.all()].filter((state) => !state.deleted);
    const softDeleted = states.map((state) => [state.identity.id, state.softDeleted]);
    expect(softDeleted).toEqual([...present].sort((one, other) => one[0] - other[0]));
    const names = [...catalog.streams.paths()];
    expect(names.sort()).toEqual([...present.keys()].map((id) => this.#model.copies.get(id)!.path).sort());
  }

  async #operation(): Promise<void> {
    const path = this.#pick();
    const dice = this.#random();
    if (dice < 0.15) return this.#create(path);
    if (dice < 0.4) return this.#fork(path);
    if (dice < 0.6) return this.#append(path);
    if (dice < 0.78) return this.#delete(path);
    if (dice < 0.95) return this.#read(path);
    this.log.push("save");
    this.#saves.push(this.#shard.engine.sync.save());
  }

  async #create(path: string): Promise<void> {
    const body = this.#body();
    const result = await this.#shard.engine.create(path, ask({ expiresAtMs: this.#expiry() }), Buffer.from(body));
    this.log.push(`create ${path}: ${result.kind} ${"state" in result ? result.state.identity.id : ""}`);
    if (result.kind === "created") this.#model.created(result.state, body);
  }

  async #fork(path: string): Promise<void> {
    const source = this.#pick();
    const body = this.#body();
    const offset = this.#forkOffset(source);
    const request = { create: ask({ contentType: null, expiresAtMs: this.#expiry() }), fork: { source, ...offset } };
    const result = await this.#shard.engine.fork(path, request, Buffer.from(body));
    this.log.push(`fork ${path} of ${source}: ${result.kind} ${"state" in result ? result.state.identity.id : ""}`);
    if (result.kind === "created") this.#model.created(result.state, body);
  }

  #forkOffset(source: string): {
    offset: "tail" | "start" | { kind: "at"; generation: Generation; position: never };
    subOffset: number;
  } {
    const found = this.#shard.engine.find(source);
    const dice = this.#random();
    if (found === undefined || dice < 0.4) return { offset: "tail", subOffset: 0 };
    if (dice < 0.5) return { offset: "start", subOffset: Math.floor(this.#random() * 3) };
    const at = Math.floor(this.#random() * (found.state.tail + 1));
    const [generation, where] = offsetAt(found.state.identity, position(at)).split("_").map(Number);
    return {
      offset: { kind: "at", generation: generation as never, position: where as never },
      subOffset: this.#random() < 0.5 ? 0 : 1,
    };
  }

  async #append(path: string): Promise<void> {
    const close = this.#random() < 0.1;
    const body = this.#body() || "x";
    const result = await this.#shard.append(path, body, { close });
    this.log.push(`append ${path}: ${result.kind}`);
    if (result.kind === "decided" && result.outcome.kind === "append") this.#model.appended(result.state, body, close);
  }

  async #delete(path: string): Promise<void> {
    const result = await this.#shard.engine.remove(path);
    this.log.push(`delete ${path}: ${result}`);
    if (result === "deleted") this.#model.deletes.set(path, (this.#model.deletes.get(path) ?? 0) + 1);
  }

  async #read(path: string): Promise<void> {
    const found = this.#shard.engine.find(path);
    if (found === undefined) return;
    const { state } = found;
    let text: string | null;
    try {
      text = await this.#text(found);
    } catch (error) {
      this.log.push(`read ${state.identity.id}: ${(error as Error).message}`);
      text = null;
    }
    this.#model.seen.push({ id: state.identity.id, tail: state.tail, text });
  }

  async #text({ stream, state }: NonNullable<ReturnType<Shard["engine"]["find"]>>): Promise<string> {
    const parts: Uint8Array[] = [];
    if (this.#random() < 0.4) {
      for (let from = position(0); from < state.tail;) {
        const to = await this.#shard.reader.chunkEnd(stream, from, state.tail);
        expect(to).toBeGreaterThan(from);
        const whole = await this.#shard.reader.whole(stream, from, to);
        whole!.done();
        parts.push(whole!.bytes);
        from = to;
      }
      return Buffer.concat(parts).toString();
    }
    for await (const piece of this.#shard.reader.pieces(stream, position(0), state.tail)) {
      parts.push(piece);
      if (this.#random() < 0.2) await new Promise((resolve) => setImmediate(resolve));
    }
    return Buffer.concat(parts).toString();
  }

  #pick(): string {
    return PATHS[Math.floor(this.#random() * PATHS.length)]!;
  }

  #body(): string {
    this.#serial += 1;
    return this.#random() < 0.2 ? "" : `${this.#serial};`.repeat(1 + Math.floor(this.#random() * 4));
  }

  #expiry(): number | null {
    return this.#random() < 0.25 ? this.#shard.nowMs + 5_000 + Math.floor(this.#random() * 60_000) : null;
  }
}

test.each([1, 2, 3, 4])(
  "forks are what copies would be, whatever happens to them (seed %i)",
  async (seed) => {
    await using shard = await Shard.create({ chunkBytes: 16 });
    const run = new Run(shard, randomOf(seed));
    for (let round = 0; round < 25; round++) {
      run.log.push(`-- round ${round}`);
      await run.round().catch((cause: unknown) => {
        throw new Error(run.log.slice(-60).join("\n"), { cause });
      });
    }
  },
  60_000,
);
