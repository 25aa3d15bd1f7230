/** The check after a restart: every stream as the server serves it now, against all that was promised before. */
import {
  expectStatus,
  header,
  isClosed,
  nextOffset,
  type Reply,
  type StreamClient,
  type WholeRead,
} from "../process/http.ts";
import { offsetOf, parseOffset, storedBytes } from "../process/stored-bytes.ts";
import type { History, Slot } from "./history.ts";
import { Violation, type FixedRange, type Incarnation, type Write } from "./incarnation.ts";
import { probeStream } from "./probes.ts";
import type { SeededRandom } from "./random.ts";
import { checkStanding, settleStanding } from "./standing.ts";
import { knockTombstone } from "./tombstones.ts";
import { verifyContent } from "./verify-content.ts";

const CONCURRENCY = 8;
const RANGES_MAX = 6;
const SAMPLES = 3;

export interface CheckReport {
  readonly streams: number;
  readonly bytes: number;
  /** Writes without an answer that turned out to have happened, and not. */
  readonly happened: number;
  readonly absent: number;
}

/**
 * Checks every slot, then asks each open question again (unanswered producer and Stream-Seq writes are resent).
 * @throws AggregateError of every Violation found
 */
export async function checkAfterRestart(
  history: History,
  client: StreamClient,
  random: SeededRandom,
): Promise<CheckReport> {
  const violations: Violation[] = [...history.violations];
  const total = { streams: 0, bytes: 0, happened: 0, absent: 0 };
  const wrong = new Set<Slot>();
  const eachSlot = async (visit: (slot: Slot) => Promise<void>): Promise<void> => {
    const queue = history.slots.filter((slot) => !wrong.has(slot));
    const worker = async (): Promise<void> => {
      for (let slot = queue.pop(); slot !== undefined; slot = queue.pop()) {
        try {
          await visit(slot);
        } catch (error) {
          wrong.add(slot);
          violations.push(
            error instanceof Violation ? error : new Violation(`${slot.path}: ${String(error)}`, { cause: error }),
          );
        }
      }
    };
    await Promise.all(Array.from({ length: CONCURRENCY }, worker));
  };
  // Whether a deleted stream must be gone can only be told once it is known which of its forks are there.
  await eachSlot(async (slot) => settleStanding(slot, (await client.head(slot.path)).status));
  await eachSlot(async (slot) => {
    const report = await checkSlot(history, client, slot, random);
    total.streams += report.streams;
    total.bytes += report.bytes;
    total.happened += report.happened;
    total.absent += report.absent;
  });
  if (violations.length > 0) {
    throw new AggregateError(
      violations,
      violations
        .map((violation) => violation.message)
        .slice(0, 8)
        .join("\n"),
    );
  }
  return total;
}

const NOTHING: CheckReport = { streams: 0, bytes: 0, happened: 0, absent: 0 };

async function checkSlot(
  history: History,
  client: StreamClient,
  slot: Slot,
  random: SeededRandom,
): Promise<CheckReport> {
  const head = await client.head(slot.path);
  checkStanding(history, slot, head.status);
  const life = slot.current;
  if (life === undefined || head.status !== 200) {
    if (life !== undefined) await knockTombstone(client, life);
    await checkPastLives(client, slot, life === undefined ? 404 : 410);
    return NOTHING;
  }
  const tail = nextOffset(head);
  // An unanswered fork that took the source's tail: nothing but its create's body stands behind the fork point.
  const body = life.createWrite?.payload.stored.length ?? 0;
  life.settlePoint(life.origin?.point ?? parseOffset(tail).position - body, "HEAD");
  life.learn(tail, "HEAD");
  checkConfig(life, head.headers);
  const open = life.pending().length;
  const absent = await checkLife(history, client, life, isClosed(head), tail, random);
  if (absent === undefined) {
    slot.end();
    return NOTHING;
  }
  await checkPastLives(client, slot, 410);
  await probeStream(history, client, life, absent, random);
  return { streams: 1, bytes: life.tailSeen, happened: open - absent.length, absent: absent.length };
}

function checkConfig(life: Incarnation, headers: Readonly<Record<string, unknown>>): void {
  const { contentType, ttlSeconds, expiresAt } = life.config;
  if (headers["content-type"] !== contentType) life.fail(`content type is now ${String(headers["content-type"])}`);
  const ttl = headers["stream-ttl"];
  if ((ttl === undefined ? null : Number(ttl)) !== ttlSeconds)
    life.fail(`Stream-TTL is now ${String(ttl)}, was ${ttlSeconds}`);
  const expires = headers["stream-expires-at"];
  const now = typeof expires === "string" ? Date.parse(expires) : null;
  if (now !== (expiresAt === null ? null : Date.parse(expiresAt))) {
    life.fail(`Stream-Expires-At is now ${String(expires)}, was ${expiresAt}`);
  }
}

/** Checks a stream that is there. Undefined when its short window ended meanwhile. */
async function checkLife(
  history: History,
  client: StreamClient,
  life: Incarnation,
  closed: boolean,
  tail: string,
  random: SeededRandom,
): Promise<Write[] | undefined> {
  const first = await client.read(life.path, { offset: "-1" });
  if (first.status === 404 && life.config.fleeting) return undefined;
  const whole = await client.readAll(life.path, "-1", first);
  if (whole.next !== tail) life.fail(`HEAD says tail ${tail}, reads end at ${whole.next}`);
  if (whole.closed !== closed) life.fail(`HEAD says closed ${closed}, reads say ${whole.closed}`);
  const absent = verifyContent(history, life, whole.bytes, closed);
  if (whole.bytes.length < life.tailSeen)
    life.fail(`taken back: ${whole.bytes.length} bytes, yet a tail of ${life.tailSeen} was shown`);
  life.observeBytes(0, whole.bytes, life.learn(whole.next, "read"), "read after the restart");
  if (closed) life.observeClosed(whole.bytes.length, "read after the restart");
  for (const range of life.ranges) {
    // The whole read has asked most of these questions just now, word for word.
    const asked = whole.chunks.find((chunk) => chunk.from === range.from)?.reply;
    await checkFixedRange(client, life, range, asked);
  }
  await checkSamples(client, life, whole, random);
  rememberRanges(life, whole, random);
  return absent;
}

/** A response that ended below the tail never changes: not its bytes, not its end, not its name. */
async function checkFixedRange(
  client: StreamClient,
  life: Incarnation,
  range: FixedRange,
  asked: Reply | undefined,
): Promise<void> {
  const reply = asked ?? (await client.read(life.path, { offset: range.from }));
  if (reply.status === 404 && life.config.fleeting) return;
  expectStatus(reply, `${life.path} from ${range.from}`, 200);
  const next = nextOffset(reply);
  const etag = header(reply, "etag");
  if (next !== range.next || !reply.body.equals(range.body) || (life.closed === range.closed && etag !== range.etag)) {
    life.fail(
      `the fixed range ${range.from} … ${range.next} ${range.etag} is now … ${next} ${etag}, ${reply.body.length} bytes`,
    );
  }
  const again = await client.read(life.path, { offset: range.from, headers: { "if-none-match": etag ?? "" } });
  if (again.status === 404 && life.config.fleeting) return;
  expectStatus(again, `${life.path} from ${range.from} with its own ETag`, 304);
}

/** Offsets given with acknowledgements before the crash still start the same bytes. */
async function checkSamples(
  client: StreamClient,
  life: Incarnation,
  whole: WholeRead,
  random: SeededRandom,
): Promise<void> {
  const acked = life.ackedPositions();
  for (let count = 0; count < SAMPLES && acked.length > 0; count += 1) {
    const from = random.pick(acked);
    const reply = await client.read(life.path, { offset: life.offsetAt(from) });
    if (reply.status === 404 && life.config.fleeting) return;
    expectStatus(reply, `${life.path} from position ${from}`, 200);
    const next = life.learn(nextOffset(reply), "read from an acknowledged offset");
    life.observeBytes(
      from,
      storedBytes(header(reply, "content-type"), reply.body),
      next,
      `read from the acknowledged position ${from}`,
    );
    if (next > whole.bytes.length) life.fail(`grew by itself from ${whole.bytes.length} to ${next}`);
  }
}

function rememberRanges(life: Incarnation, whole: WholeRead, random: SeededRandom): void {
  const fixed = whole.chunks.filter(
    (chunk) => chunk.from !== "-1" && header(chunk.reply, "stream-up-to-date") === undefined,
  );
  while (life.ranges.length < RANGES_MAX && fixed.length > 0) {
    const chunk = random.pick(fixed);
    const etag = header(chunk.reply, "etag");
    if (etag === undefined) life.fail(`no ETag on the read from ${chunk.from}`);
    life.ranges.push({ from: chunk.from, next: chunk.next, body: chunk.reply.body, etag, closed: life.closed });
    fixed.splice(fixed.indexOf(chunk), 1);
  }
}

/** No offset, ETag or URL of an earlier life reads anything: 404 where no stream is, 410 where another one lives. */
async function checkPastLives(client: StreamClient, slot: Slot, expected: 404 | 410): Promise<void> {
  for (const past of slot.past) {
    if (past.generation === null) continue;
    const offsets = [
      offsetOf(past.generation, 0),
      offsetOf(past.generation, past.tailSeen),
      // What it inherited may be inherited by its successor too, and then still reads the same.
      ...past.ranges.map((range) => range.from).filter((from) => parseOffset(from).generation === past.generation),
    ];
    for (const offset of offsets) {
      const etag = past.ranges.find((range) => range.from === offset)?.etag;
      const reply = await client.read(slot.path, {
        offset,
        ...(etag === undefined ? {} : { headers: { "if-none-match": etag } }),
      });
      if (reply.status === 404 && slot.current?.config.fleeting === true) return;
      expectStatus(reply, `${slot.path} from ${offset} of an earlier life`, expected);
    }
  }
}
