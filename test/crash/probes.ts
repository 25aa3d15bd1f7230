/** Questions that only a request can answer: do producer, Stream-Seq and close state agree with the data after a restart? */
import { describeReply, expectStatus, header, isClosed, nextOffset, type StreamClient } from "../process/http.ts";
import type { History } from "./history.ts";
import type { Incarnation, Write } from "./incarnation.ts";
import { makePayload } from "./messages.ts";
import type { SeededRandom } from "./random.ts";
import { createOptions, recordWrite, sendWrite } from "./requests.ts";

/** A resent write is open again: until its answer it may be there or not. */
function reopen(write: Write): void {
  write.fate = "maybe";
  write.ackedAt = Number.POSITIVE_INFINITY;
  write.end = null;
}

/**
 * Resends the last write of every producer (a duplicate), every unanswered write that is not there (it must now be
 * accepted, once), and what the state must refuse. Ends with the stream's tail where the answers say.
 * @throws Violation
 */
export async function probeStream(
  history: History,
  client: StreamClient,
  life: Incarnation,
  absent: readonly Write[],
  random: SeededRandom,
): Promise<void> {
  if (life.config.fleeting) return;
  if (life.closed) await probeClosed(history, client, life, random);
  else await probeOpen(history, client, life, absent, random);
  if (life.origin !== null) await probeFork(client, life);
  const head = expectStatus(await client.head(life.path), `HEAD ${life.path} after the probes`, 200);
  const tail = life.learn(nextOffset(head), "HEAD after the probes");
  if (tail !== life.tailSeen) life.fail(`the tail is ${tail} after the probes, acknowledged was ${life.tailSeen}`);
  if (isClosed(head) !== life.closed) life.fail(`closed is ${isClosed(head)} after the probes`);
}

async function probeOpen(
  history: History,
  client: StreamClient,
  life: Incarnation,
  absent: readonly Write[],
  random: SeededRandom,
): Promise<void> {
  for (const last of life.producers().values()) await probeDuplicate(history, client, life, last);
  await probeStreamSeq(history, client, life, random);
  const again = absent.filter((write) => write.producer !== null || write.streamSeq !== null);
  // A write that closes comes last: what follows it would be refused.
  for (const write of [...again].sort((one, other) => Number(one.closes) - Number(other.closes))) {
    reopen(write);
    const answer = await sendWrite(client, history, life, write);
    if (answer !== "accepted") life.fail(`${write.id} is not there, yet sent again it is ${answer}`);
  }
  if (life.closed) return;
  for (const last of life.producers().values()) await probeFences(history, client, life, last, random);
}

/** The PUT of a fork, sent again, asks for what is there, whatever became of the source. */
async function probeFork(client: StreamClient, life: Incarnation): Promise<void> {
  const again = await client.create(life.path, { ...createOptions(life), closed: life.closed });
  if (again.status !== 200) life.fail(`the PUT that forked it, sent again, is answered ${describeReply(again)}`);
}

async function probeDuplicate(history: History, client: StreamClient, life: Incarnation, last: Write): Promise<void> {
  const answer = await sendWrite(client, history, life, last);
  if (answer !== "duplicate" && last.payload.body.length > 0) {
    life.fail(`${last.id} is there, yet sent again as ${JSON.stringify(last.producer)} it is ${answer}`);
  }
}

/** A gap names the number that is expected; an older epoch is fenced. */
async function probeFences(
  history: History,
  client: StreamClient,
  life: Incarnation,
  last: Write,
  random: SeededRandom,
): Promise<void> {
  if (last.producer === null) return;
  const { id, epoch, seq } = last.producer;
  const payload = makePayload(life.config.kind, history.writeId(life), 1, random);
  const options = { contentType: life.config.contentType };
  const gap = await client.append(life.path, payload.body, { ...options, producer: { id, epoch, seq: seq + 2 } });
  if (gap.status !== 409 || header(gap, "producer-expected-seq") !== `${seq + 1}`) {
    life.fail(`producer ${id} is at ${epoch}/${seq}; a gap was answered ${describeReply(gap)}`);
  }
  if (epoch === 0) return;
  const stale = await client.append(life.path, payload.body, {
    ...options,
    producer: { id, epoch: epoch - 1, seq: 0 },
  });
  if (stale.status !== 403 || header(stale, "producer-epoch") !== `${epoch}`) {
    life.fail(`producer ${id} is at epoch ${epoch}; an older one was answered ${describeReply(stale)}`);
  }
}

async function probeStreamSeq(
  history: History,
  client: StreamClient,
  life: Incarnation,
  random: SeededRandom,
): Promise<void> {
  const streamSeq = life.lastStreamSeq();
  if (streamSeq === null) return;
  const payload = makePayload(life.config.kind, history.writeId(life), 1, random);
  const reply = await client.append(life.path, payload.body, { contentType: life.config.contentType, streamSeq });
  if (reply.status !== 409 || isClosed(reply))
    life.fail(`Stream-Seq ${streamSeq} is there, yet sent again: ${describeReply(reply)}`);
}

async function probeClosed(
  history: History,
  client: StreamClient,
  life: Incarnation,
  random: SeededRandom,
): Promise<void> {
  const payload = makePayload(life.config.kind, history.writeId(life), 1, random);
  const late = await client.append(life.path, payload.body, { contentType: life.config.contentType });
  if (late.status !== 409 || !isClosed(late)) life.fail(`closed, yet an append was answered ${describeReply(late)}`);
  const end = life.learn(nextOffset(late), "refusal of an append to a closed stream");
  if (end !== life.tailSeen) life.fail(`a refused append says the end is ${end}, it is ${life.tailSeen}`);
  const again = expectStatus(await client.close(life.path), `close of the closed ${life.path}`, 204);
  if (!isClosed(again)) life.fail("a repeated close is answered without Stream-Closed");
  for (const last of life.producers().values()) {
    if (last.closes) await probeDuplicate(history, client, life, last);
  }
}

/** One more append to an open stream, so that a restart is followed by a write that must survive the next one. */
export async function probeAppend(
  history: History,
  client: StreamClient,
  life: Incarnation,
  random: SeededRandom,
): Promise<void> {
  const id = history.writeId(life);
  await sendWrite(
    client,
    history,
    life,
    recordWrite(history, life, id, { payload: makePayload(life.config.kind, id, 1, random) }),
  );
}
