/**
 * Pull-wake workers, and what must hold of what they are told: wakes are numbered upwards, one worker has the work at a time, a
 * fenced worker's acks count for nothing, cursors never go back, and what is pending wakes somebody (protocol section 7).
 */
import type { Product } from "../product.ts";
import type { Running } from "../server.ts";
import type { World } from "../world/world.ts";

export type Work =
  | { readonly kind: "subscribe"; readonly name: string; readonly pattern: string }
  | { readonly kind: "unsubscribe"; readonly name: string }
  | { readonly kind: "work"; readonly name: string; readonly how: "finish" | "extend" | "release" | "abandon" };

/** Runs `act` at the server; null when no answer came. */
export type AskServer = <T>(act: (running: Running) => Promise<T>) => Promise<T | null>;

/** What is known of a subscription since it was created, by answers alone. */
interface Life {
  readonly pattern: string;
  /** Of the newest wake that was claimed. */
  generation: number;
  /** Until when its holder has the work, if nobody ends that. */
  heldUntilMs: number;
  readonly cursors: Map<string, string>;
}

const LEASE_MS = 1_000;
const LAST_CLAIMS_MAX = 20;
const ZERO = "0000000000000000_0000000000000000";

type Claim = Awaited<ReturnType<Running["service"]["claim"]>>;

export class Workers {
  readonly #world: World;
  readonly #core: Product["core"];
  readonly #ask: AskServer;
  readonly #lives = new Map<string, Life>();
  /** Deletes under way by name: while there are some, or one was lost, nothing is known. */
  readonly #doubts = new Map<string, number>();
  /** Acks of workers that took longer than their lease. */
  readonly #late: Promise<void>[] = [];

  constructor(world: World, core: Product["core"], ask: AskServer) {
    this.#world = world;
    this.#core = core;
    this.#ask = ask;
  }

  async take(worker: string, work: Work): Promise<void> {
    if (work.kind === "subscribe") await this.#subscribe(work.name, work.pattern);
    else if (work.kind === "unsubscribe") await this.#unsubscribe(work.name);
    else await this.#work(worker, work.name, work.how);
  }

  /** With nothing failing any more: what is there, is linked, and what is pending can be claimed. */
  async end(): Promise<void> {
    await Promise.all(this.#late);
    for (const [name, life] of this.#lives) {
      await this.#waitForLease();
      const body = await this.#ask(({ service }) => service.get(name));
      if (body === null) {
        this.#violation(`subscription ${name} was created and is not there`);
        continue;
      }
      this.#checkCursors(
        name,
        life,
        body.streams.map(({ path, acked_offset }) => [path, acked_offset]),
      );
      const isPending = await this.#ask(async ({ shard }) => this.#isPending(name, life, shard, body));
      const claim = await this.#lastClaim(name);
      if (claim !== null) this.#claimed(name, life, claim);
      if (isPending === true && claim?.kind !== "claimed")
        this.#violation(`subscription ${name} has pending work, and a claim is answered ${JSON.stringify(claim)}`);
    }
  }

  /** A log without room refuses until what fills it is rolled. */
  async #lastClaim(name: string): Promise<Claim | null> {
    for (let attempt = 1; ; attempt++) {
      const claim = await this.#ask(({ service }) => service.claim(name, "the-last"));
      if (claim !== null || attempt === LAST_CLAIMS_MAX) return claim;
      await this.#waitForLease();
    }
  }

  #waitForLease(): Promise<void> {
    return new Promise((resolve) => void this.#world.scheduler.after(2 * LEASE_MS, null, resolve));
  }

  #isPending(
    name: string,
    { pattern }: Life,
    { engine }: Running["shard"],
    body: { readonly streams: readonly { readonly path: string; readonly acked_offset: string }[] },
  ): boolean {
    const linked = new Map(body.streams.map((each) => [each.path, each.acked_offset]));
    let isPending = false;
    for (const path of engine.paths()) {
      const found = this.#core.globMatch(pattern, path) ? engine.find(path) : undefined;
      if (found === undefined) continue;
      const acked = linked.get(path);
      const { lineage } = found.state.identity;
      // A stream is discovered by bytes of its own, not by those that it inherits.
      if (acked === undefined && lineage.length === 1 && found.state.tail > 0)
        this.#violation(`subscription ${name} does not follow ${path}, which it matches`);
      const tail = this.#core.offsetAt(found.state.identity, found.state.tail);
      if (acked !== undefined && found.state.tail > 0 && (acked === "-1" || acked < tail)) isPending = true;
    }
    return isPending;
  }

  async #subscribe(name: string, pattern: string): Promise<void> {
    const config = {
      type: "pull-wake",
      pattern,
      streams: [],
      webhookUrl: null,
      wakeStream: `wake/${name}`,
      leaseTtlMs: LEASE_MS,
      description: null,
    } as const;
    await this.#ask(({ shard }) => shard.engine.create(config.wakeStream, WAKE_STREAM, Buffer.alloc(0)));
    const before = this.#doubts.get(name);
    const result = await this.#ask(({ service }) => service.put(name, config, null));
    if (result?.kind !== "created" || before !== undefined || this.#doubts.has(name)) return;
    if (this.#lives.has(name)) this.#violation(`subscription ${name} was created a second time`);
    this.#lives.set(name, { pattern, generation: 0, heldUntilMs: 0, cursors: new Map() });
  }

  async #unsubscribe(name: string): Promise<void> {
    this.#lives.delete(name);
    this.#doubts.set(name, (this.#doubts.get(name) ?? 0) + 1);
    const answer = await this.#ask(async ({ service }) => (await service.remove(name), "removed" as const));
    const left = this.#doubts.get(name)! - 1;
    // A delete without an answer may have been or not: this name's life is not known any more.
    if (answer === null) return;
    if (left === 0) this.#doubts.delete(name);
    else this.#doubts.set(name, left);
  }

  async #work(worker: string, name: string, how: Extract<Work, { kind: "work" }>["how"]): Promise<void> {
    const life = this.#lives.get(name);
    const before = life?.generation ?? 0;
    const heldUntilMs = life?.heldUntilMs ?? 0;
    const claim = await this.#ask(({ service }) => service.claim(name, worker));
    if (claim?.kind !== "claimed") return;
    const isSame = life !== undefined && this.#lives.get(name) === life;
    if (isSame) {
      if (claim.generation <= before)
        this.#violation(`subscription ${name}: wake ${claim.generation} was claimed after wake ${before}`);
      if (life.heldUntilMs === heldUntilMs && this.#world.nowMs < heldUntilMs)
        this.#violation(`subscription ${name}: claimed by ${worker} while another one held it`);
      this.#claimed(name, life, claim);
    }
    if (how !== "abandon") await this.#finish(name, isSame ? life : null, claim, how);
    else this.#late.push(this.#finishLate(name, isSame ? life : null, claim));
  }

  /** Another one has claimed the work since, unless there is none any more. */
  async #finishLate(name: string, life: Life | null, claim: Extract<Claim, { kind: "claimed" }>): Promise<void> {
    await this.#waitForLease();
    const next = await this.#ask(({ service }) => service.claim(name, "the-next"));
    const known = this.#lives.get(name) === life ? life : null;
    if (known !== null && next?.kind === "claimed") this.#claimed(name, known, next);
    await this.#finish(name, known, claim, "finish");
    if (next?.kind === "claimed") await this.#finish(name, known, next, "finish");
  }

  /** Acks all that the claim listed, or gives it back. */
  async #finish(
    name: string,
    life: Life | null,
    claim: Extract<Claim, { kind: "claimed" }>,
    how: "finish" | "extend" | "release",
  ): Promise<void> {
    const { wakeId, generation, token } = claim;
    const acks = claim.streams
      .filter(({ has_pending }) => has_pending)
      .map(({ path, tail_offset }) => ({ path, offset: tail_offset }));
    // Whoever may be told from now on that the work is free is right.
    if (life?.generation === generation) life.heldUntilMs = 0;
    const newestBefore = life?.generation ?? 0;
    if (how === "release") {
      await this.#ask(({ service }) => service.release(name, token, { wakeId, generation, acks: [], done: false }));
      return;
    }
    const request = { wakeId, generation, acks, done: how === "finish" };
    const result = await this.#ask(({ service }) => service.ack(name, "ack", token, request));
    if (result?.kind !== "acked" || life === null || this.#lives.get(name) !== life) return;
    if (newestBefore > generation)
      this.#violation(
        `subscription ${name}: an ack of wake ${generation} counted after wake ${newestBefore} was claimed`,
      );
    for (const { path, offset } of acks) {
      if ((life.cursors.get(path) ?? "") < offset) life.cursors.set(path, offset);
    }
  }

  #claimed(name: string, life: Life, claim: Claim): void {
    if (claim.kind !== "claimed") return;
    if (claim.generation > life.generation) {
      life.generation = claim.generation;
      life.heldUntilMs = this.#world.nowMs - ROUND_TRIP_MS_MAX + LEASE_MS;
    }
    this.#checkCursors(
      name,
      life,
      claim.streams.map(({ path, acked_offset }) => [path, acked_offset]),
    );
  }

  /** A cursor that was acknowledged stays, unless its stream is another one by now. */
  #checkCursors(name: string, life: Life, streams: readonly (readonly [path: string, acked: string])[]): void {
    for (const [path, acked] of streams) {
      const known = life.cursors.get(path);
      if (known === undefined || acked >= known) continue;
      if (acked.slice(0, 16) === known.slice(0, 16) && acked !== ZERO)
        this.#violation(`subscription ${name}: the cursor of ${path} went back from ${known} to ${acked}`);
    }
  }

  #violation(what: string): void {
    this.#world.violations.push(what);
  }
}

/** A claim is decided at most this long before its answer is there. */
const ROUND_TRIP_MS_MAX = 900;
const WAKE_STREAM = { contentType: "application/json", ttlSeconds: null, expiresAtMs: null, closed: false };
