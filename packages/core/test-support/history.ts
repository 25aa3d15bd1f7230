/** Arbitrary histories of a few streams, as frames that a server could have written, for the tests of the folds. */

import * as fc from "fast-check";
import { encodeFrameHeader, decodeFrameHeader } from "../src/frame.ts";
import type { Frame, FrameHeader } from "../src/frame.ts";
import { generation, lsn, position } from "../src/brand.ts";
import type { Lsn } from "../src/brand.ts";
import type { ProducerState, StreamState } from "../src/stream-state.ts";
import { applyFrame } from "../src/replay.ts";
import { concat, crc } from "./codec.ts";

const anyStep = fc.record({
  stream: fc.integer({ min: 1, max: 5 }),
  kind: fc.constantFrom("append", "append", "append", "append", "touch", "delete"),
  messages: fc.array(fc.integer({ min: 1, max: 30 }), { maxLength: 4 }),
  producer: fc.option(fc.record({ id: fc.constantFrom("a", "b", "__proto__"), epoch: fc.nat(9), seq: fc.nat(99) })),
  streamSeq: fc.option(fc.constantFrom("1", "2")),
  closed: fc.integer({ min: 0, max: 6 }).map((dice) => dice === 0),
  /** This step is the first of a new segment. */
  cut: fc.integer({ min: 0, max: 5 }).map((dice) => dice === 0),
});
export const anySteps: fc.Arbitrary<Step[]> = fc.array(anyStep, { maxLength: 60 });
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
  /** All bytes ever appended to each stream. */
  readonly contents: Map<number, Uint8Array>;
}

function frameFor(step: Step, state: StreamState | undefined, atMs: number): Frame | null {
  const stream = generation(step.stream);
  if (state?.deleted) return null;
  const bytes = step.messages.reduce((sum, length) => sum + length, 0);
  const tail = state?.tail ?? 0;
  const payload = [new Uint8Array(bytes).map((_, index) => (step.stream * 50 + tail + index) & 0xff)];
  const body = { stream, atMs, lengths: step.messages, payload, closed: step.closed };
  if (state === undefined) {
    const config = { contentType: "text/plain", ttlSeconds: 60, expiresAtMs: null };
    const lineage = [{ generation: stream, first: position(0), source: null }];
    return { kind: "create", ...body, start: position(0), path: `s/${step.stream}`, config, lineage };
  }
  if (step.kind === "touch") return { kind: "touch", stream, atMs };
  if (step.kind === "delete") return { kind: "delete", stream, atMs, reason: "request" };
  if (state.closed || (bytes === 0 && !step.closed)) return null;
  const producers = step.producer === null ? [] : [step.producer];
  const closedBy = step.closed ? step.producer : null;
  return { kind: "append", ...body, start: state.tail, producers, streamSeq: step.streamSeq, closedBy };
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
    const frame = frameFor(step, state, 1_000_000 + index);
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
    history.contents.set(step.stream, concat([history.contents.get(step.stream) ?? new Uint8Array(), ...payload]));
    const producers = history.producers.get(step.stream) ?? new Map<string, ProducerState>();
    history.producers.set(step.stream, producers);
    if (header.kind === "append") for (const { id, epoch, seq } of header.producers) producers.set(id, { epoch, seq });
  }
  seal();
  return history;
}
