/** Live readers. All that they see is written down, and must still be true after any restart. */
import {
  describeReply,
  header,
  isClosed,
  nextOffset,
  RefusedRead,
  ResponseCut,
  type Reply,
  type StreamClient,
} from "../process/http.ts";
import { storedBytes } from "../process/stored-bytes.ts";
import type { Slot } from "./history.ts";
import type { Incarnation } from "./incarnation.ts";

export type ReaderMode = "sse" | "long-poll" | "catch-up";

/** The slot as it was known when a request was sent. */
interface Before {
  readonly life: Incarnation | undefined;
  readonly certain: boolean;
  readonly created: string | undefined;
}

function lookAt(slot: Slot): Before {
  const life = slot.current;
  const certain = life !== undefined && life.created === "yes" && life.deleted === "no" && !life.config.fleeting;
  return { life, certain, created: life?.created };
}

/** Follows whatever stream lives at the slot until `signal` aborts. @throws ConnectionLost, Violation */
export async function followSlot(
  mode: ReaderMode,
  slot: Slot,
  client: StreamClient,
  signal: AbortSignal,
): Promise<void> {
  let offset = "-1";
  while (!signal.aborted) {
    const before = lookAt(slot);
    const read = mode === "sse" ? readSse(slot, client, offset, signal) : readOnce(mode, slot, client, offset, signal);
    const outcome = await read.catch((error: unknown) => cutByDelete(slot, before, error, signal));
    if (typeof outcome !== "number") {
      offset = outcome.offset;
      if (!outcome.ended) continue;
      await nextLife(slot, before);
      if (slot.current !== before.life || mode === "catch-up") offset = "-1";
      continue;
    }
    checkAbsence(slot, before, outcome, offset);
    if (outcome === 404 || offset === "-1") await nextLife(slot, before);
    offset = "-1";
  }
}

/** A delete may take the bytes away in the middle of a response, which then cannot end whole. */
function cutByDelete(slot: Slot, before: Before, error: unknown, signal: AbortSignal): Progress {
  const over = before.life !== undefined && (slot.current !== before.life || before.life.deleted !== "no");
  if (error instanceof ResponseCut && !signal.aborted && (over || before.life?.config.fleeting === true)) {
    return { offset: "-1", ended: false };
  }
  throw error;
}

interface Progress {
  readonly offset: string;
  /** Nothing more will come until the slot changes. */
  readonly ended: boolean;
}

async function nextLife(slot: Slot, before: Before): Promise<void> {
  if (slot.current === before.life && slot.current?.created === before.created) await slot.changed();
}

/** An absence that was seen counts like an acknowledged delete. */
function checkAbsence(slot: Slot, before: Before, status: number, offset: string): void {
  const life = before.life;
  // A read from the start that a delete overtook may say "gone" as well as "not found".
  if (status === 410 && offset !== "-1") {
    if (life === undefined || slot.current !== life || !life.owns(offset)) return;
    if (life.deleted === "no" && !life.config.fleeting) life.fail(`its own offset ${offset} was answered 410`);
    return;
  }
  if (status !== 404 && status !== 410) throw new Error(`a reader from ${offset} was answered ${status}`);
  if (life === undefined || !before.certain || slot.current !== life) return;
  if (life.deleted === "no") life.fail(`a live reader was answered ${status}, though nobody deleted the stream`);
  life.deleted = "yes";
}

/** Where `bytes` from `offset` to `next` belong, and that they belong there. */
function observe(slot: Slot, offset: string, bytes: Buffer, next: string, closed: boolean, where: string): Progress {
  const life = slot.lifeOf(next, where);
  if (life === undefined) return { offset: "-1", ended: false };
  const from = offset === "-1" ? 0 : life.learn(offset, `${where} from ${offset}`);
  const end = life.learn(next, where);
  life.observeBytes(from, bytes, end, where);
  if (closed) life.observeClosed(end, where);
  return { offset: next, ended: closed };
}

async function readOnce(
  mode: "long-poll" | "catch-up",
  slot: Slot,
  client: StreamClient,
  offset: string,
  signal: AbortSignal,
): Promise<Progress | number> {
  const reply = await client.read(slot.path, { offset, signal, ...(mode === "catch-up" ? {} : { live: mode }) });
  if (reply.status === 404 || reply.status === 410) return reply.status;
  const where = `${mode} read from ${offset}`;
  if (reply.status !== 200 && reply.status !== 204) throw new Error(`${where} was answered ${describeReply(reply)}`);
  const progress = observe(slot, offset, bytesOf(reply), nextOffset(reply), isClosed(reply), where);
  const caughtUp = mode === "catch-up" && header(reply, "stream-up-to-date") === "true";
  // A catch-up reader that has caught up begins anew: the same bytes must come again.
  return caughtUp && !progress.ended ? { offset: "-1", ended: false } : progress;
}

function bytesOf(reply: Reply): Buffer {
  return reply.status === 204 ? Buffer.alloc(0) : storedBytes(header(reply, "content-type"), reply.body);
}

async function readSse(
  slot: Slot,
  client: StreamClient,
  offset: string,
  signal: AbortSignal,
): Promise<Progress | number> {
  let progress: Progress = { offset, ended: false };
  let data: Buffer | undefined;
  try {
    for await (const event of client.sse(slot.path, offset, signal)) {
      if (event.kind === "data") {
        if (data !== undefined) throw new Error("two SSE data events without a control event between them");
        data = event.payload;
        continue;
      }
      const life = slot.lifeOf(event.nextOffset, "SSE");
      const bytes = data === undefined ? Buffer.alloc(0) : storedBytes(life?.config.contentType, data);
      data = undefined;
      progress = observe(slot, progress.offset, bytes, event.nextOffset, event.closed, `SSE from ${progress.offset}`);
      if (life === undefined) return progress;
    }
  } catch (error) {
    if (error instanceof RefusedRead) return error.status;
    throw error;
  }
  return progress;
}
