/** One life of a stream, forked from another one or not: what was asked of it, acknowledged, and seen by any reader. */
import { offsetOf, parseOffset } from "../process/stored-bytes.ts";
import type { ProducerTuple } from "../process/http.ts";
import type { Payload, StreamKind } from "./messages.ts";
import { SeenBytes } from "./seen-bytes.ts";

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
  /** A window so short that the stream may end by itself at any time. Such a stream neither is nor has a fork. */
  readonly fleeting: boolean;
}

/** The part of a create that makes it a fork. */
export interface Origin {
  readonly source: Incarnation;
  /** As sent; null asks for the source's tail. */
  readonly offset: string | null;
  readonly subOffset: number;
  /** What the request says of its own; what it leaves out is the source's. */
  readonly asks: {
    readonly contentType: boolean;
    readonly ttlSeconds: number | null;
    readonly expiresAt: string | null;
  };
  /** The highest tail of the source that anyone was shown, and the logical time, when the request was sent. */
  readonly tailBefore: number;
  readonly startedAt: number;
  /** The fork point; null until the answer, or the first look after a restart, tells it. */
  point: number | null;
}

interface Observation {
  readonly from: number;
  readonly bytes: Buffer;
  readonly next: number;
  readonly where: string;
}

/** From its create to its delete. */
export class Incarnation {
  readonly name: string;
  readonly path: string;
  readonly config: IncarnationConfig;
  readonly origin: Origin | null;
  /** Every fork that was asked for. */
  readonly forks: Set<Incarnation> = new Set();
  readonly writes: Map<string, Write> = new Map();
  readonly ranges: FixedRange[] = [];
  /** Positions that an acknowledgement named. */
  readonly acked: number[] = [];
  /** Its own generation must be above this. */
  readonly floor: number;
  /** The request that created the stream, when it brought a body or a close. */
  createWrite: Write | null = null;
  created: Fate = "maybe";
  deleted: Fate = "no";
  /** It was deleted while a fork kept it. */
  soft = false;
  /** Somebody relies on its being kept: no fork of it may be deleted meanwhile. */
  pinned = false;
  /** Someone saw the end of the stream, or got it acknowledged. */
  closed = false;
  /** The generation that it mints; a fork has none that anyone knows before its first own byte. */
  generation: number | null = null;
  /** The highest tail that anyone was shown. */
  tailSeen = 0;
  readonly #own = new SeenBytes();
  /** What readers saw before the fork point was known. */
  readonly #early: Observation[] = [];

  constructor(name: string, path: string, config: IncarnationConfig, origin: Origin | null = null, floor = 0) {
    this.name = name;
    this.path = path;
    this.config = config;
    this.origin = origin;
    this.floor = floor;
    this.tailSeen = origin?.point ?? origin?.tailBefore ?? 0;
    origin?.source.forks.add(this);
  }

  /** Where its own bytes begin. @throws Violation while nobody knows */
  get base(): number {
    const point = this.origin === null ? 0 : this.origin.point;
    return point ?? this.fail("its fork point is not known yet");
  }

  /** How many forks lie between this stream and one that is none. */
  get depth(): number {
    return this.origin === null ? 0 : this.origin.source.depth + 1;
  }

  /** Whether the fork point may lie inside of what one request wrote: in a message, or between those of a JSON batch. */
  get cuts(): boolean {
    return this.origin !== null && this.origin.subOffset > 0;
  }

  fail(what: string): never {
    const from = this.origin === null ? "" : `, forked from ${this.origin.source.name} at ${this.origin.point}`;
    throw new Violation(
      `${this.path} (${this.name}, ${this.config.contentType}, generation ${this.generation}${from}): ${what}`,
    );
  }

  /** Whether a fork keeps its bytes and its name, whatever happens to the stream itself. */
  keptBy(): Fate {
    let kept: Fate = "no";
    for (const fork of this.forks) {
      const holds = fork.#holds();
      if (holds === "yes") return "yes";
      if (holds === "maybe") kept = "maybe";
    }
    return kept;
  }

  /** Whether the server has this stream, readable or not. */
  #holds(): Fate {
    if (this.created !== "yes" || this.deleted === "no") return this.created;
    const kept = this.keptBy();
    return this.deleted === "yes" || kept === "yes" ? kept : "maybe";
  }

  /** Whether somebody relies on a stream that this one keeps. */
  get pinnedAbove(): boolean {
    return this.pinned || (this.origin?.source.pinnedAbove ?? false);
  }

  /** Learns where the fork parts from its source. */
  settlePoint(point: number, where: string): void {
    const { origin } = this;
    if (origin === null) return;
    if (origin.point !== null && origin.point !== point) this.fail(`${where}: the fork point is ${point}`);
    if (origin.point !== null) return;
    if (point < origin.tailBefore) {
      this.fail(`${where}: lost inherited bytes: forked at ${point}, though a tail of ${origin.tailBefore} was shown`);
    }
    origin.source.observeTail(point, `fork point of ${this.name}`);
    origin.point = point;
    this.tailSeen = Math.max(this.tailSeen, point);
    for (const { from, bytes, next, where: at } of this.#early.splice(0)) this.observeBytes(from, bytes, next, at);
  }

  /** The generation of the offset that is given out for `position`; null when nobody knows it yet. */
  generationAt(position: number): number | null {
    if (this.origin !== null && position <= this.base) return this.origin.source.generationAt(position);
    return this.generation;
  }

  /** The offset of a position whose generation is known. */
  offsetAt(position: number): string {
    return offsetOf(this.generationAt(position) ?? this.fail(`nobody knows the generation at ${position}`), position);
  }

  /** Whether this stream is known to give out that offset. */
  owns(offset: string): boolean {
    const { generation, position } = parseOffset(offset);
    if (this.origin !== null && (this.origin.point === null || position <= this.origin.point)) {
      return this.origin.source.owns(offset);
    }
    return this.generation === generation;
  }

  /** Whether an offset that nobody owns may be the first that this stream gave out of its own. */
  mayMint(offset: string): boolean {
    const { generation, position } = parseOffset(offset);
    if (this.generation !== null || generation <= this.floor) return false;
    return this.origin === null || position > (this.origin.point ?? this.origin.tailBefore);
  }

  /** Every generation that it gives out, its own included. */
  generations(): number[] {
    const own = this.generation === null ? [] : [this.generation];
    return this.origin === null ? own : [...this.origin.source.generations(), ...own];
  }

  /** Takes an offset that the server gave for this incarnation; returns its position. */
  learn(offset: string, where: string): number {
    const { generation, position } = parseOffset(offset);
    if (this.origin !== null) {
      const { source, point } = this.origin;
      // Whose generation it is can only be told once the fork point is known.
      if (point === null) return position;
      if (position <= point) return source.learn(offset, `${where} of its fork ${this.name}`);
    }
    if (this.generation === null) {
      if (generation <= this.floor) {
        this.fail(`${where} names generation ${generation}, not above ${this.floor}, which was given out before`);
      }
      this.generation = generation;
    }
    if (generation !== this.generation) this.fail(`${where} names generation ${generation} at ${position}`);
    return position;
  }

  observeTail(position: number, where: string): void {
    if (this.closed && position > this.tailSeen)
      this.fail(`${where}: position ${position} after the end ${this.tailSeen}`);
    this.tailSeen = Math.max(this.tailSeen, position);
  }

  /**
   * Bytes that a reader got at [from, next): equal to all that was read there before, and from now on a fact. What lies
   * below the fork point is a fact about the source, whoever read it.
   */
  observeBytes(from: number, bytes: Buffer, next: number, where: string): void {
    if (next - from !== bytes.length) this.fail(`${where}: ${bytes.length} bytes from ${from} to ${next}`);
    if (this.origin !== null && this.origin.point === null) {
      this.#early.push({ from, bytes, next, where });
      this.observeTail(next, where);
      return;
    }
    const split = Math.max(0, Math.min(bytes.length, this.base - from));
    if (split > 0) {
      const inherited = `${where} of its fork ${this.name}`;
      this.origin?.source.observeBytes(from, bytes.subarray(0, split), from + split, inherited);
    }
    if (split < bytes.length) {
      const wrong = this.#own.observe(from + split - this.base, bytes.subarray(split));
      if (wrong !== undefined) this.fail(`${where} from ${from}, own bytes from ${this.base}: ${wrong}`);
    }
    this.observeTail(next, where);
  }

  /** Bytes [from, to) as far as someone read them. */
  seen(from: number, to: number): Buffer {
    const below = Math.min(to, this.base);
    const inherited = from < below ? (this.origin?.source.seen(from, below) ?? Buffer.alloc(0)) : Buffer.alloc(0);
    if (to <= this.base || from + inherited.length < Math.min(below, to)) return inherited;
    const own = this.#own.bytes.subarray(Math.max(0, from - this.base), to - this.base);
    return Buffer.concat([inherited, own]);
  }

  observeClosed(position: number, where: string): void {
    if (this.closed && position !== this.tailSeen)
      this.fail(`${where}: closed at ${position}, seen to ${this.tailSeen}`);
    if (position < this.tailSeen) this.fail(`${where}: closed at ${position}, yet bytes were seen to ${this.tailSeen}`);
    this.observeTail(position, where);
    this.closed = true;
  }

  /** Positions that an acknowledgement named, of its source too as far as they are its own now. */
  ackedPositions(): number[] {
    if (this.origin === null) return this.acked;
    const { base } = this;
    return [...this.origin.source.ackedPositions().filter((position) => position <= base), ...this.acked];
  }

  /** The first fork point past `position`, its own included, at which a message may be cut off. */
  nextCut(position: number): number {
    const above = this.origin?.source.nextCut(position) ?? Number.POSITIVE_INFINITY;
    return this.base > position ? Math.min(above, this.base) : Number.POSITIVE_INFINITY;
  }

  /** Its own write of that id, or one that it inherits. */
  writeNamed(id: string): Write | undefined {
    return this.writes.get(id) ?? this.origin?.source.writeNamed(id);
  }

  /** The last accepted sequence numbers, by what stands in the stream or was acknowledged. A fork inherits none. */
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
