/**
 * Lineage (protocol section 4.2): which generation minted a position, and in which stream its byte lies. A fork keeps its
 * source's entries below the fork point, so no byte is copied and every inherited offset stays the source's.
 */
import { position, type Generation, type Position } from "./brand.ts";
import type { LineageEntry, StreamIdentity } from "./stream-state.ts";

/** Bytes [from, to) of a stream as they lie in one stream, which is itself or one that it inherits from. */
export interface SourceRun {
  readonly stream: Generation;
  readonly from: Position;
  readonly to: Position;
}

/** Index of the first entry of the stream itself, which may have several where a lost tail made it begin a generation. */
function ownIndex(lineage: readonly LineageEntry[]): number {
  let index = lineage.length;
  while (index > 0 && lineage[index - 1]!.source === null) index -= 1;
  return index;
}

/** Where the stream's own bytes begin: 0, or its fork point. */
export function ownStart({ lineage }: StreamIdentity): Position {
  return lineage[ownIndex(lineage)]?.first ?? position(0);
}

/** The stream that this one was forked from, or null. That one is kept for as long as this one is. */
export function forkedFrom({ lineage }: StreamIdentity): Generation | null {
  return lineage[ownIndex(lineage) - 1]?.source ?? null;
}

/**
 * The lineage of a fork at position `at` of `source`. It has one entry more than the source's, also where an entry has no bytes
 * below the fork point: the one before the last always names the source itself, and the bound on entries is one on the depth of
 * forks, and so on how many streams can go with one.
 */
export function forkLineage(source: StreamIdentity, at: Position, id: Generation): LineageEntry[] {
  const inherited = source.lineage.map(({ generation, first, source: holder }) => ({
    generation,
    first: first < at ? first : at,
    source: holder ?? source.id,
  }));
  return [...inherited, { generation: id, first: at, source: null }];
}

/** Where the bytes of [from, to) lie, in order and without gaps; empty for an empty range. */
export function sourceRuns({ id, lineage }: StreamIdentity, from: number, to: number): SourceRun[] {
  const runs: SourceRun[] = [];
  for (let i = 0; i < lineage.length; i++) {
    const { first, source } = lineage[i]!;
    if (first >= to) break;
    const start = Math.max(from, first);
    const end = Math.min(to, lineage[i + 1]?.first ?? to);
    if (start < end) runs.push({ stream: source ?? id, from: position(start), to: position(end) });
  }
  return runs;
}

/** The whole run that holds byte `at`; its end is Infinity, as a number, where the stream itself goes on. */
export function runAt({ id, lineage }: StreamIdentity, at: number): { stream: Generation; from: number; to: number } {
  let index = lineage.length - 1;
  while (index > 0 && lineage[index]!.first > at) index -= 1;
  const { first, source } = lineage[index]!;
  return { stream: source ?? id, from: first, to: lineage[index + 1]?.first ?? Infinity };
}
