/** The heart of the oracle, without any I/O: may a stream with these writes on record hold these bytes? */
import type { History } from "./history.ts";
import type { Incarnation, Origin, Write } from "./incarnation.ts";
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
  verifyInherited(history, life, content);
  const found = locate(life, life, content, life.base, false);
  const present = new Set(found);
  for (const write of life.writes.values()) {
    if (write.fate === "yes" && write.payload.stored.length > 0 && !present.has(write)) lost(life, write, content);
  }
  checkOrder(life, found);
  checkClosure(life, found, closed);
  return settle(history, life, present, closed);
}

function lost(life: Incarnation, { id, payload, end }: Write, content: Buffer): never {
  life.fail(`lost: ${id} (${payload.stored.length} bytes, acknowledged up to ${end}) in ${content.length} bytes`);
}

/** What a fork shows below its fork point was written to the streams above it, and all of it is there. */
function verifyInherited(history: History, life: Incarnation, content: Buffer): void {
  if (content.length < life.base) life.fail(`lost inherited bytes: ${content.length} bytes, forked at ${life.base}`);
  let { origin } = life;
  let end = life.base;
  let cut = life.cuts;
  while (origin !== null) {
    const { source } = origin;
    if (end > source.base) {
      const found = locate(life, source, content.subarray(0, end), source.base, cut);
      checkInherited(life, origin, found, end, content);
      for (const write of found) {
        if (write.fate === "yes") continue;
        // The source may be unreadable by now, so what its fork shows settles what became of the write.
        write.fate = "yes";
        write.ackedAt = history.tick();
      }
    }
    cut = (cut && end <= source.base) || (source.cuts && end >= source.base);
    end = Math.min(end, source.base);
    origin = source.origin;
  }
}

function checkInherited(
  life: Incarnation,
  origin: Origin,
  found: readonly Write[],
  end: number,
  content: Buffer,
): void {
  const present = new Set(found);
  const whole = origin.offset === null && end === origin.point;
  for (const write of origin.source.writes.values()) {
    if (write.fate !== "yes" || write.payload.stored.length === 0 || present.has(write)) continue;
    if ((write.end !== null && write.end <= end) || (whole && write.ackedAt < origin.startedAt)) {
      lost(life, write, content);
    }
  }
  checkOrder(life, found);
}

/** The writes of `owner` that fill `content` from `start` on. The last may be cut off at the end where `cut` allows it. */
function locate(life: Incarnation, owner: Incarnation, content: Buffer, start: number, cut: boolean): Write[] {
  const found: Write[] = [];
  const seen = new Set<string>();
  let at = start;
  while (at < content.length) {
    const id = idAt(content, at);
    if (id === undefined && cut && isBegun(owner, content.subarray(at))) break;
    if (id === undefined) life.fail(`torn: no message starts at ${at}: ${excerpt(content, at)}`);
    const write = owner.writes.get(id);
    if (write === undefined) {
      life.fail(`foreign: ${id} at ${at} was never written to ${owner === life ? "this stream" : owner.name}`);
    }
    if (seen.has(id)) life.fail(`twice: ${id} again at ${at}`);
    if (write.fate === "no") life.fail(`refused or absent before, yet there: ${id} at ${at}`);
    const rest = content.subarray(at);
    const whole = write.payload.stored;
    const stored = cut && rest.length < whole.length ? whole.subarray(0, rest.length) : whole;
    const split = owner.config.kind === "json" && !endsMessage(stored);
    if (split || !rest.subarray(0, stored.length).equals(stored)) {
      const how = split || rest.length < stored.length ? "torn" : "altered";
      life.fail(`${how}: ${id} at ${at}, ${stored.length} bytes, of ${content.length}: ${excerpt(content, at)}`);
    }
    at += stored.length;
    if (write.end !== null && stored === whole && write.end !== at) {
      life.fail(`moved: ${id} ends at ${at}, acknowledged at ${write.end}`);
    }
    seen.add(id);
    found.push(write);
  }
  return found;
}

function endsMessage(json: Buffer): boolean {
  return json.subarray(-3).toString("latin1") === '"},';
}

/** Whether a write begins with bytes that were cut so early that they do not even name it. */
function isBegun(owner: Incarnation, bytes: Buffer): boolean {
  return [...owner.writes.values()].some(
    ({ payload: { stored }, fate }) =>
      fate !== "no" && stored.length > bytes.length && stored.subarray(0, bytes.length).equals(bytes),
  );
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
