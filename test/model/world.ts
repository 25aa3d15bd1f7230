/** What the model is about: streams by path, as plain data that is never changed in place, and what can be read off of it. */
import type { Producer } from "./history.ts";

/** When something happened, as far as it is known: no earlier and no later than this. */
export interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

/** From position `first` on, a stream's offsets are those of `life`; a fork keeps its source's stretches below its fork point. */
export interface Stretch {
  readonly life: number;
  readonly first: number;
}

export interface Stream {
  /** Numbers the creations of this world: the stream's name for good, and of the positions that it mints. */
  readonly life: number;
  /** Ordered by `first`; the last one is the stream's own. */
  readonly lineage: readonly Stretch[];
  readonly contentType: string;
  readonly ttlSeconds: number | null;
  readonly expiresAtMs: number | null;
  /** All stored bytes, inherited ones too. */
  readonly bytes: string;
  /** Where each message ends. */
  readonly ends: readonly number[];
  /** Of all messages. Two states of one history with the same tail and hash hold the same messages. */
  readonly hash: PrefixHash;
  readonly closed: boolean;
  readonly closedBy: Producer | null;
  readonly streamSeq: string | null;
  readonly producers: ReadonlyMap<string, { readonly epoch: number; readonly seq: number }>;
  /** Last write, and last read or write: a sliding TTL counts from the latter. */
  readonly wrote: Span;
  readonly used: Span;
  /** Deleted while forks of it were there: kept, under its path, until the last of them is gone. */
  readonly softDeleted: boolean;
}

export interface World {
  /** By path. Deleted streams are not here; expired ones are, until something takes their place. */
  readonly streams: ReadonlyMap<string, Stream>;
  /** How many lives there have been. */
  readonly lives: number;
  /** By life: the generations that answers have shown, also of lives that are over. */
  readonly generations: ReadonlyMap<number, number>;
  /** By path: the largest of its generations that an answer has shown. */
  readonly newest: ReadonlyMap<string, number>;
}

export const EMPTY_WORLD: World = { streams: new Map(), lives: 0, generations: new Map(), newest: new Map() };

/** Of a stream's messages: two numbers below 2^32, so that no two of a history's prefixes meet by chance. */
export type PrefixHash = readonly [number, number];

const END_OF_MESSAGE = 256;

function extend([a, b]: PrefixHash, message: string): PrefixHash {
  for (let i = 0; i <= message.length; i++) {
    const symbol = i < message.length ? message.charCodeAt(i) : END_OF_MESSAGE;
    a = Math.imul(a ^ symbol, 0x01000193) >>> 0;
    b = (Math.imul(b, 0x5bd1e995) + symbol + 1) >>> 0;
  }
  return [a, b];
}

export const NO_BYTES: PrefixHash = [0x811c9dc5, 1];

export function tailOf(stream: Stream): number {
  return stream.bytes.length;
}

/** The life whose generation an offset at this position has: the one that minted the byte before it. */
export function lifeAt({ lineage }: Stream, position: number): number {
  return (lineage.findLast((stretch, index) => index === 0 || stretch.first < position) ?? lineage[0]!).life;
}

export function isJson(contentType: string): boolean {
  return essence(contentType) === "application/json";
}

export function essence(contentType: string): string {
  return contentType.split(";")[0]!.trim().toLowerCase();
}

export function forkedFrom({ lineage }: Stream): number | undefined {
  return lineage.at(-2)?.life;
}

export function hasForks(world: World, stream: Stream): boolean {
  for (const other of world.streams.values()) if (forkedFrom(other) === stream.life) return true;
  return false;
}

export function withStream(world: World, path: string, stream: Stream): World {
  return { ...world, streams: new Map(world.streams).set(path, stream) };
}

/** Takes the stream away, and every soft-deleted one that was kept for it alone. */
export function without(world: World, path: string): World {
  const streams = new Map(world.streams);
  const source = forkedFrom(streams.get(path)!);
  streams.delete(path);
  const left = { ...world, streams };
  for (const [name, stream] of streams)
    if (stream.life === source && stream.softDeleted && !hasForks(left, stream)) return without(left, name);
  return left;
}

export function added(
  before: string,
  endsBefore: readonly number[],
  hashBefore: PrefixHash,
  messages: readonly string[],
): Pick<Stream, "bytes" | "ends" | "hash"> {
  let [bytes, hash] = [before, hashBefore];
  const ends = [...endsBefore];
  for (const message of messages) {
    bytes += message;
    hash = extend(hash, message);
    ends.push(bytes.length);
  }
  return { bytes, ends, hash };
}
