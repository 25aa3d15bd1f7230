/** What the scale tests ask of a running server beside its streams: its figures, and that its WAL has been rolled. */
import { readFile } from "node:fs/promises";
import { until } from "../process/until.ts";

/** The figures of `/health` that these tests look at. */
export interface Figures {
  readonly unrolledBytes: number;
  readonly segmentsToRoll: number;
  readonly unsaved: number;
  readonly bodiesInFlightBytes: number;
}

/** @throws Error when the server does not say that it is well */
export async function figuresOf(url: string): Promise<Figures> {
  const answer = await fetch(`${url}/health`);
  const facts = (await answer.json()) as Partial<Record<keyof Figures, number>> & { status?: string };
  const { status, unrolledBytes, segmentsToRoll, unsaved, bodiesInFlightBytes } = facts;
  if (
    status !== "ok" ||
    unrolledBytes === undefined ||
    segmentsToRoll === undefined ||
    unsaved === undefined ||
    bodiesInFlightBytes === undefined
  )
    throw new Error(`/health says ${JSON.stringify(facts)}`);
  return { unrolledBytes, segmentsToRoll, unsaved, bodiesInFlightBytes };
}

/** Waits until no byte lies in the WAL alone. */
export async function untilAllRolled(url: string, boundMs = 120_000): Promise<void> {
  await until("all that was written to lie in objects", boundMs, async () => {
    const { unrolledBytes, segmentsToRoll } = await figuresOf(url);
    return unrolledBytes === 0 && segmentsToRoll === 0 ? true : undefined;
  });
}

/** Resident memory in bytes; Linux only. */
export async function residentBytes(pid: number): Promise<number> {
  const kibibytes = /^VmRSS:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, "utf8"))?.[1];
  if (kibibytes === undefined) throw new Error(`process ${pid} shows no VmRSS`);
  return Number(kibibytes) * 1024;
}

/** Calls `work` with 0 … count-1, at most `atOnce` at a time. */
export async function forEachOf(count: number, atOnce: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) {
      const index = next;
      next += 1;
      await work(index);
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, count) }, lane));
}

/** Pseudo-random bytes that name where they belong: no two places of a stream look alike. */
export function patternBytes(bytes: number, seed: number): Buffer {
  const buffer = Buffer.allocUnsafe(bytes);
  let state = (seed * 2_654_435_761 + 12_345) >>> 0;
  for (let at = 0; at < bytes; at += 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    buffer[at] = state >>> 24;
  }
  return buffer;
}
