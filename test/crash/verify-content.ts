/** The heart of the oracle, without any I/O: may a stream with these writes on record hold these bytes? */
import type { History, Incarnation, Write } from "./history.ts";
import { excerpt, idAt } from "./messages.ts";

/**
 * Checks a stream's whole content against its record: nothing acknowledged missing, nothing torn, altered, doubled, out
 * of order or refused, every request whole or absent, its end closed exactly when a close was accepted. Settles each
 * write that was open. Returns those that turned out not to have happened.
 * @throws Violation
 */
export function verifyContent(history: History, life: Incarnation, content: Buffer, closed: boolean): Write[] {
  const { createWrite } = life;
  if (createWrite !== null && createWrite.fate === "maybe") {
    // A stream that exists was created by one request: its body and its closure are there whole.
    createWrite.fate = "yes";
    createWrite.ackedAt = createWrite.startedAt;
  }
  const found = locate(life, content);
  const present = new Set(found);
  for (const write of life.writes.values()) {
    if (write.fate === "yes" && write.payload.stored.length > 0 && !present.has(write)) {
      life.fail(
        `lost: ${write.id} (${write.payload.stored.length} bytes, acknowledged up to ${write.end}) in ${content.length} bytes`,
      );
    }
  }
  checkOrder(life, found);
  checkClosure(life, found, closed);
  return settle(history, life, present, closed);
}

function locate(life: Incarnation, content: Buffer): Write[] {
  const found: Write[] = [];
  const seen = new Set<string>();
  let at = 0;
  while (at < content.length) {
    const id = idAt(content, at);
    if (id === undefined) life.fail(`torn: no message starts at ${at}: ${excerpt(content, at)}`);
    const write = life.writes.get(id);
    if (write === undefined) life.fail(`foreign: ${id} at ${at} was never written to this stream`);
    if (seen.has(id)) life.fail(`twice: ${id} again at ${at}`);
    if (write.fate === "no") life.fail(`refused or absent before, yet there: ${id} at ${at}`);
    const { stored } = write.payload;
    if (!content.subarray(at, at + stored.length).equals(stored)) {
      const how = content.length - at < stored.length ? "torn" : "altered";
      life.fail(`${how}: ${id} at ${at}, ${stored.length} bytes, of ${content.length}: ${excerpt(content, at)}`);
    }
    at += stored.length;
    if (write.end !== null && write.end !== at) life.fail(`moved: ${id} ends at ${at}, acknowledged at ${write.end}`);
    seen.add(id);
    found.push(write);
  }
  return found;
}

function checkOrder(life: Incarnation, found: readonly Write[]): void {
  let earliestAck = Number.POSITIVE_INFINITY;
  for (const write of found.toReversed()) {
    if (earliestAck < write.startedAt)
      life.fail(`reordered: ${write.id} stands before a write acknowledged before it began`);
    earliestAck = Math.min(earliestAck, write.ackedAt);
  }
  let streamSeq: string | null = null;
  const producers = new Map<string, { epoch: number; seq: number }>();
  for (const write of found) {
    if (write.streamSeq !== null) {
      if (streamSeq !== null && write.streamSeq <= streamSeq)
        life.fail(`Stream-Seq ${write.streamSeq} after ${streamSeq}`);
      streamSeq = write.streamSeq;
    }
    const { producer } = write;
    if (producer === null) continue;
    const last = producers.get(producer.id);
    const follows =
      last !== undefined && last.epoch === producer.epoch ? producer.seq === last.seq + 1 : producer.seq === 0;
    if (!follows || (last !== undefined && producer.epoch < last.epoch)) {
      life.fail(`producer ${JSON.stringify(producer)} after ${JSON.stringify(last ?? null)}`);
    }
    producers.set(producer.id, producer);
  }
}

function checkClosure(life: Incarnation, found: readonly Write[], closed: boolean): void {
  const closer = found.find((write) => write.closes);
  if (closer !== undefined && closer !== found.at(-1)) life.fail(`bytes after ${closer.id}, which closed the stream`);
  if (closer !== undefined && !closed) life.fail(`half done: the bytes of ${closer.id} are there, its close is not`);
  if (!closed && life.closed) life.fail("an acknowledged or observed close is undone");
  const silent = [...life.writes.values()].find(
    (write) => write.closes && write.fate !== "no" && write.payload.stored.length === 0,
  );
  if (closed && closer === undefined && silent === undefined) {
    life.fail("closed by nobody, or by an append whose bytes are not there");
  }
}

function settle(history: History, life: Incarnation, present: ReadonlySet<Write>, closed: boolean): Write[] {
  const now = history.tick();
  const absent: Write[] = [];
  for (const write of life.writes.values()) {
    if (write.fate !== "maybe") continue;
    const silentClose = write.payload.stored.length === 0 && write.closes;
    const happened = silentClose ? closed && ![...present].some((other) => other.closes) : present.has(write);
    write.fate = happened ? "yes" : "no";
    if (happened) write.ackedAt = now;
    else absent.push(write);
  }
  return absent;
}
