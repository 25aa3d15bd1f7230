/** What the clients asked for, what was acknowledged, and what any reader saw: the facts that a restart must keep. */
import { parseOffset } from "../process/stored-bytes.ts";
import type { ProducerTuple } from "../process/http.ts";
import { excerpt, type Payload, type StreamKind } from "./messages.ts";

/** "maybe": asked for, without an answer. */
export type Fate = "no" | "maybe" | "yes";

/** One request that writes: a body, a close, or both. An empty payload is a close-only request. */
export interface Write {
  readonly id: string;
  readonly payload: Payload;
  readonly producer: ProducerTuple | null;
  readonly streamSeq: string | null;
  readonly closes: boolean;
  /** Logical times: a write acknowledged before another started stands before it in the stream. */
  readonly startedAt: number;
  ackedAt: number;
  /** "no" after a refusal, "maybe" until an answer or a check settles it. */
  fate: Fate;
  /** Position after the write, when its own acknowledgement said so. */
  end: number | null;
}

/** A catch-up response that ended below the tail: the same request must always give the same answer. */
export interface FixedRange {
  readonly from: string;
  readonly next: string;
  readonly body: Buffer;
  readonly etag: string;
  /** The ETag names the stream's closure, so a close changes it, and nothing else may. */
  readonly closed: boolean;
}

/** A statement about the server that cannot be true of one that keeps its promises. */
export class Violation extends Error {
  override readonly name = "Violation";
}

export interface IncarnationConfig {
  readonly kind: StreamKind;
  readonly contentType: string;
  readonly ttlSeconds: number | null;
  readonly expiresAt: string | null;
  /** A window so short that the stream may end by itself at any time. */
  readonly fleeting: boolean;
}

/** One life of a stream: from its create to its delete. */
export class Incarnation {
  readonly name: string;
  readonly path: string;
  readonly config: IncarnationConfig;
  readonly writes: Map<string, Write> = new Map();
  readonly ranges: FixedRange[] = [];
  /** Positions that an acknowledgement named. */
  readonly acked: number[] = [];
  /** The request that created the stream, when it brought a body or a close. */
  createWrite: Write | null = null;
  created: Fate = "maybe";
  deleted: Fate = "no";
  /** Someone saw the end of the stream, or got it acknowledged. */
  closed = false;
  generation: number | null = null;
  /** The highest tail that anyone was shown. */
  tailSeen = 0;
  #seen: Buffer = Buffer.alloc(4096);
  #seenBytes = 0;

  constructor(name: string, path: string, config: IncarnationConfig) {
    this.name = name;
    this.path = path;
    this.config = config;
  }

  /** The longest prefix that anyone read. */
  get seen(): Buffer {
    return this.#seen.subarray(0, this.#seenBytes);
  }

  fail(what: string): never {
    throw new Violation(
      `${this.path} (${this.name}, ${this.config.contentType}, generation ${this.generation}): ${what}`,
    );
  }

  /** Takes an offset that the server gave for this incarnation; returns its position. */
  learn(offset: string, where: string): number {
    const { generation, position } = parseOffset(offset);
    if (this.generation === null) this.generation = generation;
    if (generation !== this.generation) this.fail(`${where} names generation ${generation}`);
    return position;
  }

  observeTail(position: number, where: string): void {
    if (this.closed && position > this.tailSeen)
      this.fail(`${where}: position ${position} after the end ${this.tailSeen}`);
    this.tailSeen = Math.max(this.tailSeen, position);
  }

  /** Bytes that a reader got at [from, next): equal to all that was read there before, and from now on a fact. */
  observeBytes(from: number, bytes: Buffer, next: number, where: string): void {
    if (next - from !== bytes.length) this.fail(`${where}: ${bytes.length} bytes from ${from} to ${next}`);
    if (from > this.#seenBytes)
      this.fail(`${where}: starts at ${from}, of which only ${this.#seenBytes} were ever offered`);
    const known = Math.min(bytes.length, this.#seenBytes - from);
    if (!this.#seen.subarray(from, from + known).equals(bytes.subarray(0, known))) {
      this.fail(
        `${where}: other bytes at ${from} than before: ${excerpt(bytes, 0)}, before ${excerpt(this.seen, from)}`,
      );
    }
    this.observeTail(next, where);
    if (next <= this.#seenBytes) return;
    if (next > this.#seen.length) {
      const larger = Buffer.alloc(Math.max(next, this.#seen.length * 2));
      this.seen.copy(larger);
      this.#seen = larger;
    }
    bytes.copy(this.#seen, this.#seenBytes, known);
    this.#seenBytes = next;
  }

  observeClosed(position: number, where: string): void {
    if (this.closed && position !== this.tailSeen)
      this.fail(`${where}: closed at ${position}, seen to ${this.tailSeen}`);
    if (position < this.tailSeen) this.fail(`${where}: closed at ${position}, yet bytes were seen to ${this.tailSeen}`);
    this.observeTail(position, where);
    this.closed = true;
  }

  /** The last accepted sequence numbers, by what stands in the stream or was acknowledged. */
  producers(): Map<string, Write> {
    const last = new Map<string, Write>();
    for (const write of this.writes.values()) {
      if (write.producer === null || write.fate !== "yes") continue;
      const other = last.get(write.producer.id)?.producer;
      if (other === undefined || other === null || isLater(write.producer, other)) last.set(write.producer.id, write);
    }
    return last;
  }

  lastStreamSeq(): string | null {
    let last: string | null = null;
    for (const { streamSeq, fate } of this.writes.values()) {
      if (fate === "yes" && streamSeq !== null && (last === null || streamSeq > last)) last = streamSeq;
    }
    return last;
  }

  pending(): Write[] {
    return [...this.writes.values()].filter((write) => write.fate === "maybe");
  }
}

function isLater(one: ProducerTuple, other: ProducerTuple): boolean {
  return one.epoch > other.epoch || (one.epoch === other.epoch && one.seq > other.seq);
}

const PAST_LIVES_MAX = 3;

/** One path and the streams that lived there, one after the other. */
export class Slot {
  readonly index: number;
  readonly path: string;
  /** The stream there now, as far as anyone can know; undefined between a delete and a create. */
  current: Incarnation | undefined;
  /** Earlier lives, newest first. */
  readonly past: Incarnation[] = [];
  lives = 0;
  #wake: (() => void)[] = [];

  constructor(index: number, path: string) {
    this.index = index;
    this.path = path;
  }

  begin(config: IncarnationConfig): Incarnation {
    this.lives += 1;
    this.current = new Incarnation(`${this.index}.${this.lives}`, this.path, config);
    return this.current;
  }

  /** The current life is over, or never began. */
  end(): void {
    if (this.current !== undefined && this.current.generation !== null) this.past.unshift(this.current);
    if (this.past.length > PAST_LIVES_MAX) this.past.pop();
    this.current = undefined;
  }

  /** Which life minted `offset`. A generation that nobody knows yet can only be the current life's. */
  lifeOf(offset: string, where: string): Incarnation | undefined {
    const { generation } = parseOffset(offset);
    const known = [this.current, ...this.past].find((life) => life?.generation === generation);
    if (known !== undefined) return known;
    if (this.current !== undefined && this.current.generation === null) {
      this.current.generation = generation;
      this.current.created = "yes";
      return this.current;
    }
    const oldest = this.past.at(-1)?.generation ?? 0;
    // A life that was dropped from memory may still echo in a slow reader.
    if (generation < oldest) return undefined;
    throw new Violation(`${this.path}: ${where} names generation ${generation}, which no create was given`);
  }

  /** Resolves at the next change of `current`, or when the readers are told to stop. */
  async changed(): Promise<void> {
    await new Promise<void>((resolve) => this.#wake.push(resolve));
  }

  announce(): void {
    const waiting = this.#wake;
    this.#wake = [];
    for (const wake of waiting) wake();
  }
}

/** All slots, one logical clock, and the violations that background readers found. */
export class History {
  readonly slots: readonly Slot[];
  readonly violations: Violation[] = [];
  acks = 0;
  /** Statuses that say "try later", by count; only tests that expect them allow them. */
  refusals = 0;
  /** Whether a 503 with Retry-After is an answer that the run expects. */
  refusalsAllowed = false;
  #tick = 0;
  #write = 0;

  constructor(slots: number, prefix: string) {
    this.slots = Array.from({ length: slots }, (_, index) => new Slot(index, `${prefix}/stream-${index}`));
  }

  tick(): number {
    this.#tick += 1;
    return this.#tick;
  }

  writeId(life: Incarnation): string {
    this.#write += 1;
    return `${life.name}.${this.#write}`;
  }
}
