/** One request at a time: sends it, and writes into the history what its answer, or the lack of one, means. */
import {
  header,
  describeReply,
  isClosed,
  nextOffset,
  type CreateOptions,
  type Reply,
  type StreamClient,
} from "../process/http.ts";
import { parseOffset } from "../process/stored-bytes.ts";
import type { History, Slot } from "./history.ts";
import type { Incarnation, Write } from "./incarnation.ts";
import type { Payload } from "./messages.ts";
import type { ProducerTuple } from "../process/http.ts";

/** What a request may run into because of others that were sent at the same time. */
export interface Races {
  readonly close: boolean;
  readonly remove: boolean;
}

export const ALONE: Races = { close: false, remove: false };

export type Answer = "accepted" | "duplicate" | "refused";

export interface WriteRequest {
  readonly payload: Payload;
  readonly producer?: ProducerTuple | null;
  readonly streamSeq?: string | null;
  readonly closes?: boolean;
}

/** Puts a write on record; it counts as sent from here on. */
export function recordWrite(history: History, life: Incarnation, id: string, request: WriteRequest): Write {
  const write: Write = {
    id,
    payload: request.payload,
    producer: request.producer ?? null,
    streamSeq: request.streamSeq ?? null,
    closes: request.closes ?? false,
    startedAt: history.tick(),
    ackedAt: Number.POSITIVE_INFINITY,
    fate: "maybe",
    end: null,
  };
  life.writes.set(id, write);
  return write;
}

function refusedForGood(reply: Reply, history: History, life: Incarnation, races: Races): boolean {
  if (reply.status === 409 && isClosed(reply)) return races.close || life.closed;
  if (reply.status === 404 || reply.status === 410) return races.remove || life.config.fleeting;
  if (reply.status === 503 && history.refusalsAllowed && header(reply, "retry-after") !== undefined) {
    history.refusals += 1;
    return true;
  }
  return false;
}

/** The acknowledgement is a promise from here on. */
function acknowledge(history: History, life: Incarnation, write: Write, reply: Reply, duplicate: boolean): void {
  history.bell.ring(write.closes ? "close" : "append");
  const where = `acknowledgement of ${write.id}`;
  const position = life.learn(nextOffset(reply), where);
  history.acks += 1;
  write.fate = "yes";
  write.ackedAt = Math.min(write.ackedAt, history.tick());
  if (!duplicate) {
    write.end = position;
    life.acked.push(position);
  }
  if (write.closes) {
    if (!isClosed(reply)) life.fail(`${where}: a close without Stream-Closed: ${describeReply(reply)}`);
    life.observeClosed(position, where);
  } else {
    life.observeTail(position, where);
  }
}

/**
 * Sends a recorded write, again if need be, and settles it by the answer.
 * @throws ConnectionLost (the write stays a "maybe"), Violation on an answer that cannot be right
 */
export async function sendWrite(
  client: StreamClient,
  history: History,
  life: Incarnation,
  write: Write,
  races: Races = ALONE,
): Promise<Answer> {
  const reply = await client.append(life.path, write.payload.body, {
    ...(write.payload.body.length === 0 ? {} : { contentType: life.config.contentType }),
    producer: write.producer,
    streamSeq: write.streamSeq,
    close: write.closes,
  });
  const duplicate = write.producer !== null && write.payload.body.length > 0 && reply.status === 204;
  const accepted = write.producer === null ? reply.status === 204 : reply.status === 200 || reply.status === 204;
  if (accepted) {
    if (write.producer !== null) checkProducerEcho(life, write, write.producer, reply);
    acknowledge(history, life, write, reply, duplicate);
    return duplicate ? "duplicate" : "accepted";
  }
  if (!refusedForGood(reply, history, life, races)) life.fail(`${write.id} was answered ${describeReply(reply)}`);
  if (write.fate === "maybe") write.fate = "no";
  if (reply.status === 404 && life.config.fleeting) life.deleted = "yes";
  return "refused";
}

function checkProducerEcho(life: Incarnation, write: Write, producer: ProducerTuple, reply: Reply): void {
  if (header(reply, "producer-epoch") !== `${producer.epoch}`) {
    life.fail(`${write.id}: the answer names another epoch than ${producer.epoch}: ${describeReply(reply)}`);
  }
  if (Number(header(reply, "producer-seq")) < producer.seq) {
    life.fail(`${write.id}: the answer names a sequence number below ${producer.seq}: ${describeReply(reply)}`);
  }
}

/** What a PUT of this life asks for, its body aside. Sent again it asks for what is there. */
export function createOptions(life: Incarnation, root = "/v1/stream"): CreateOptions {
  const { config, origin } = life;
  const { contentType, ttlSeconds, expiresAt } = config;
  if (origin === null) return { contentType, ttlSeconds, expiresAt };
  const { source, offset, subOffset, asks } = origin;
  const headers: Record<string, string> = { "stream-forked-from": `${root}/${source.path}` };
  if (offset !== null) headers["stream-fork-offset"] = offset;
  if (subOffset > 0) headers["stream-fork-sub-offset"] = `${subOffset}`;
  const expiry = { ttlSeconds: asks.ttlSeconds, expiresAt: asks.expiresAt };
  return asks.contentType ? { ...expiry, contentType, headers } : { ...expiry, headers };
}

/** Creates the slot's next life. @throws ConnectionLost (it may live), Violation */
export async function sendCreate(
  client: StreamClient,
  history: History,
  slot: Slot,
  life: Incarnation,
  write: Write | null,
): Promise<Answer> {
  const reply = await client.create(slot.path, {
    ...createOptions(life),
    ...(write === null || write.payload.body.length === 0 ? {} : { body: write.payload.body }),
    closed: write?.closes ?? false,
  });
  if (reply.status === 503 && history.refusalsAllowed) {
    history.refusals += 1;
    life.created = "no";
    return "refused";
  }
  const { origin } = life;
  if ((reply.status === 404 || reply.status === 409) && origin !== null && origin.source.deleted !== "no") {
    life.created = "no";
    return "refused";
  }
  if (reply.status !== 201) life.fail(`create was answered ${describeReply(reply)}`);
  history.bell.ring("create");
  life.created = "yes";
  const where = "acknowledgement of the create";
  const bytes = write?.payload.stored.length ?? 0;
  if (origin !== null) {
    life.settlePoint(parseOffset(nextOffset(reply)).position - bytes, where);
    history.countFork(life);
  }
  life.observeTail(life.learn(nextOffset(reply), where), where);
  if (write === null) history.acks += 1;
  else acknowledge(history, life, write, reply, false);
  return "accepted";
}

/** Deletes the slot's stream. @throws ConnectionLost (it may be gone), Violation */
export async function sendDelete(
  client: StreamClient,
  history: History,
  slot: Slot,
  life: Incarnation,
): Promise<Answer> {
  life.deleted = life.deleted === "no" ? "maybe" : life.deleted;
  const reply = await client.del(slot.path);
  if (reply.status === 503 && history.refusalsAllowed) {
    life.deleted = "no";
    history.refusals += 1;
    return "refused";
  }
  const expired = reply.status === 404 && life.config.fleeting;
  if (reply.status !== 204 && !expired) life.fail(`delete was answered ${describeReply(reply)}`);
  history.bell.ring("delete");
  history.acks += 1;
  life.deleted = "yes";
  return "accepted";
}
