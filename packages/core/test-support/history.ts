/** Arbitrary histories of a few streams, as frames that a server could have written, for the tests of the folds. */

import * as fc from "fast-check";
import { encodeFrameHeader, decodeFrameHeader } from "../src/frame.ts";
import type { Frame, FrameHeader } from "../src/frame.ts";
import { generation, lsn, position } from "../src/brand.ts";
import type { Lsn } from "../src/brand.ts";
import { forkedFrom, forkLineage } from "../src/lineage.ts";
import type { LineageEntry, ProducerState, StreamState } from "../src/stream-state.ts";
import { applyFrame } from "../src/replay.ts";
import { concat, crc } from "./codec.ts";

const STREAMS = 8;
const anyStep = fc.record({
  stream: fc.integer({ min: 1, max: STREAMS }),
  kind: fc.constantFrom("append", "append", "append", "append", "touch", "delete"),
  /** The stream's create is a fork of that one, if it is there, at a part of its bytes. */
  fork: fc.option(fc.record({ source: fc.integer({ min: 1, max: STREAMS }), part: fc.constantFrom(0, 0.3, 0.7, 1) })),
  messages: fc.array(fc.integer({ min: 1, max: 30 }), { maxLength: 4 }),
  producer: fc.option(fc.record({ id: fc.constantFrom("a", "b", "__proto__"), epoch: fc.nat(9), seq: fc.nat(99) })),
  streamSeq: fc.option(fc.constantFrom("1", "2")),
  closed: fc.integer({ min: 0, max: 6 }).map((dice) => dice === 0),
  /** This step is the first of a new segment. */
  cut: fc.integer({ min: 0, max: 5 }).map((dice) => dice === 0),
});
export const anySteps: fc.Arbitrary<Step[]> = fc.array(anyStep, { maxLength: 60, size: "max" });
type Step = typeof anyStep extends fc.Arbitrary<infer Value> ? Value : never;

export interface Segment {
  readonly base: Lsn;
  readonly end: Lsn;
  readonly bytes: Uint8Array;
  readonly frames: { header: FrameHeader; payloadAt: number; lsnEnd: Lsn }[];
}

export interface History {
  readonly segments: Segment[];
  readonly states: Map<number, StreamState>;
  readonly producers: Map<number, Map<string, ProducerState>>;
  /** All bytes of each stream, inherited ones included. */
  readonly contents: Map<number, Uint8Array>;
}

type States = ReadonlyMap<number, StreamState>;

/** The lineage of the stream that the step creates. */
function lineageFor({ stream, fork }: Step, states: States): readonly LineageEntry[] {
  const source = fork === null ? undefined : states.get(fork.source);
  if (fork === null || source === undefined || source.deleted || source.softDeleted) {
    return [{ generation: generation(stream), first: position(0), source: null }];
  }
  return forkLineage(source.identity, position(Math.floor(source.tail * fork.part)), generation(stream));
}

/** Deletes the stream, or keeps it for its forks; a kept one can only go when they are gone. */
function deleteFor({ identity: { id: stream }, softDeleted }: StreamState, states: States, atMs: number): Frame | null {
  const hasForks = [...states.values()].some(({ identity, deleted }) => !deleted && forkedFrom(identity) === stream);
  if (hasForks) return softDeleted ? null : { kind: "soft-delete", stream, atMs, reason: "expired" };
  return { kind: "delete", stream, atMs, reason: "request" };
}

function frameFor(step: Step, states: States, atMs: number): Frame | null {
  const stream = generation(step.stream);
  const state = states.get(step.stream);
  if (state?.deleted) return null;
  const lineage = state?.identity.lineage ?? lineageFor(step, states);
  const bytes = step.messages.reduce((sum, length) => sum + length, 0);
  const tail = state?.tail ?? lineage.at(-1)!.first;
  const payload = [new Uint8Array(bytes).map((_, index) => (step.stream * 50 + tail + index) & 0xff)];
  const body = { stream, atMs, lengths: step.messages, payload, closed: step.closed };
  if (state === undefined) {
    const config = { contentType: "text/plain", ttlSeconds: 60, expiresAtMs: null };
    return { kind: "create", ...body, start: position(tail), path: `s/${step.stream}`, config, lineage };
  }
  if (step.kind === "delete") return deleteFor(state, states, atMs);
  if (state.softDeleted) return null;
  if (step.kind === "touch") return { kind: "touch", stream, atMs };
  if (state.closed || (bytes === 0 && !step.closed)) return null;
  const producers = step.producer === null ? [] : [step.producer];
  const closedBy = step.closed ? step.producer : null;
  return { kind: "append", ...body, start: state.tail, producers, streamSeq: step.streamSeq, closedBy };
}

/** What the stream holds before the frame: for a fork, what it inherits. */
function bytesBefore({ contents }: History, header: FrameHeader): Uint8Array {
  const source = header.kind === "create" ? header.lineage.at(-2)?.source : header.stream;
  const content = contents.get(source ?? 0) ?? new Uint8Array();
  return header.kind === "create" ? content.subarray(0, header.start) : content;
}

/** Writes the steps that are possible, frame by frame, and folds them with applyFrame. */
export function historyOf(steps: readonly Step[]): History {
  const history: History = { segments: [], states: new Map(), producers: new Map(), contents: new Map() };
  let base = lsn(1000);
  let pieces: Uint8Array[] = [new Uint8Array(40)];
  let frames: Segment["frames"] = [];
  let at = 40;
  const seal = (): void => {
    const end = lsn(base + at);
    history.segments.push({ base, end, bytes: concat(pieces), frames });
    [base, pieces, frames, at] = [end, [new Uint8Array(40)], [], 40];
  };
  for (const [index, step] of steps.entries()) {
    if (step.cut) seal();
    const state = history.states.get(step.stream);
    const frame = frameFor(step, history.states, 1_000_000 + index);
    if (frame === null) continue;
    const encoded = encodeFrameHeader(frame, crc);
    const header = decodeFrameHeader(encoded, 0, crc);
    const payload = frame.kind === "append" || frame.kind === "create" ? frame.payload : [];
    const payloadAt = at + encoded.length;
    at = payloadAt + header.payloadBytes;
    const lsnEnd = lsn(base + at);
    pieces.push(encoded, ...payload);
    frames.push({ header, payloadAt, lsnEnd });
    history.states.set(step.stream, applyFrame(state, header, lsnEnd) as StreamState);
    history.contents.set(step.stream, concat([bytesBefore(history, header), ...payload]));
    const producers = history.producers.get(step.stream) ?? new Map<string, ProducerState>();
    history.producers.set(step.stream, producers);
    if (header.kind === "append") for (const { id, epoch, seq } of header.producers) producers.set(id, { epoch, seq });
  }
  seal();
  return history;
}
