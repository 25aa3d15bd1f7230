/** A server with known streams: what every fault must leave as it is, or have refused by name. */
import { runCheck, startServer, type CommandResult, type ServerProcess } from "../process/coldbrook.ts";
import {
  describeReply,
  expectStatus,
  header,
  isClosed,
  nextOffset,
  StreamClient,
  type Reply,
} from "../process/http.ts";
import { storedBytes } from "../process/stored-bytes.ts";
import { until } from "../process/until.ts";
import type { DataDirectory } from "./data-directory.ts";

/** Nothing is sealed or rolled for as long as a test takes. */
export const HOT_ARGS: readonly string[] = ["--segment-bytes", "64MiB", "--segment-age-ms", "3600000"];
/** Everything is sealed and rolled at once, and read back without the disk cache. */
export const COLD_ARGS: readonly string[] = [
  "--segment-bytes",
  "65536",
  "--segment-age-ms",
  "100",
  "--chunk-bytes",
  "4096",
];
export const NO_CACHE: readonly string[] = ["--cache-bytes-max", "0"];

/** A stream as it must be read, byte for byte. */
export interface KnownStream {
  readonly path: string;
  readonly contentType: string;
  readonly bytes: Buffer;
  readonly tail: string;
  readonly closed: boolean;
  /** The request that must be a duplicate from now on. */
  readonly lastProduced: { readonly body: string; readonly epoch: number; readonly seq: number };
}

export const PRODUCER_ID = "fault-producer";

export async function start(data: DataDirectory, args: readonly string[]): Promise<ServerProcess> {
  return startServer({ args: ["--data-dir", data.path, ...args] });
}

export async function check(data: DataDirectory): Promise<CommandResult> {
  return runCheck({ args: ["--data-dir", data.path] });
}

/** One message of about `bytes` bytes that is nowhere else. */
export function messageOf(path: string, index: number, bytes: number): string {
  const start = `<${path}/${index}>`;
  return start + "abcdefghij".repeat(Math.ceil(bytes / 10)).slice(0, Math.max(0, bytes - start.length));
}

/** Text streams, `messages` appends in each, one after the other, the last one closed. */
export async function fill(
  client: StreamClient,
  streams: number,
  messages: number,
  bytes: number,
): Promise<KnownStream[]> {
  const known: KnownStream[] = [];
  for (let number = 0; number < streams; number += 1) {
    const path = `faults/known-stream-number-${number}`;
    const contentType = "text/plain";
    expectStatus(await client.create(path, { contentType }), `create ${path}`, 201);
    const bodies = Array.from({ length: messages }, (_, index) => messageOf(path, index, bytes));
    for (const [seq, body] of bodies.entries()) {
      const producer = { id: PRODUCER_ID, epoch: 0, seq };
      expectStatus(await client.append(path, body, { contentType, producer }), `append ${path}`, 200);
    }
    const closed = number === streams - 1;
    if (closed) expectStatus(await client.close(path), `close ${path}`, 204);
    const tail = nextOffset(await client.head(path));
    const lastProduced = { body: bodies.at(-1) ?? "", epoch: 0, seq: messages - 1 };
    known.push({ path, contentType, bytes: Buffer.from(bodies.join("")), tail, closed, lastProduced });
  }
  return known;
}

/** @throws Error when anything about a known stream is not as it was. */
export async function expectIntact(client: StreamClient, known: readonly KnownStream[]): Promise<void> {
  for (const stream of known) {
    const whole = await client.readAll(stream.path);
    if (!whole.bytes.equals(stream.bytes))
      throw new Error(
        `${stream.path}: other bytes than were written (${whole.bytes.length} of ${stream.bytes.length})`,
      );
    if (whole.next !== stream.tail) throw new Error(`${stream.path}: tail ${whole.next}, was ${stream.tail}`);
    if (whole.closed !== stream.closed) throw new Error(`${stream.path}: closed is now ${whole.closed}`);
    await expectDuplicate(client, stream);
  }
}

async function expectDuplicate(client: StreamClient, stream: KnownStream): Promise<void> {
  const reply = await resend(client, stream);
  const expected = stream.closed ? 409 : 204;
  expectStatus(reply, `the last append to ${stream.path} once more`, expected);
}

async function resend(client: StreamClient, stream: KnownStream): Promise<Reply> {
  const { body, epoch, seq } = stream.lastProduced;
  return client.append(stream.path, body, {
    contentType: stream.contentType,
    producer: { id: PRODUCER_ID, epoch, seq },
  });
}

export interface Refusal {
  readonly path: string;
  readonly status: number;
  readonly detail: string;
}

/**
 * Reads every known stream to its end or to the first refusal. Right bytes and 5xx problems are both honest answers.
 * @throws Error on any wrong byte, a missing stream, a wrong tail, or a duplicate that is accepted as new
 */
export async function readHonestly(client: StreamClient, known: readonly KnownStream[]): Promise<Refusal[]> {
  const refusals: Refusal[] = [];
  for (const stream of known) {
    const refusal = (await readStream(client, stream)) ?? (await resendHonestly(client, stream));
    if (refusal !== undefined) refusals.push(refusal);
  }
  return refusals;
}

function refusalOf(path: string, reply: Reply): Refusal | undefined {
  if (reply.status < 500) return undefined;
  if (header(reply, "content-type")?.startsWith("application/problem+json") !== true) {
    throw new Error(`${path}: a refusal that is no problem+json: ${describeReply(reply)}`);
  }
  const detail = reply.body.toString("utf8");
  const { code } = JSON.parse(detail) as { code?: unknown };
  // A damaged object is the store's fault (502, 503); a damaged catalog is the server's own (500).
  if (reply.status === 500 && code !== "corrupt-catalog") throw new Error(`${path}: ${describeReply(reply)}`);
  return { path, status: reply.status, detail };
}

async function readStream(client: StreamClient, stream: KnownStream): Promise<Refusal | undefined> {
  let offset = "-1";
  let read = 0;
  for (;;) {
    const reply = await client.read(stream.path, { offset });
    const refusal = refusalOf(stream.path, reply);
    if (refusal !== undefined) return refusal;
    expectStatus(reply, `read ${stream.path} from ${offset}`, 200);
    const bytes = storedBytes(stream.contentType, reply.body);
    if (!stream.bytes.subarray(read, read + bytes.length).equals(bytes))
      throw new Error(`${stream.path}: wrong bytes at ${read}`);
    read += bytes.length;
    offset = nextOffset(reply);
    if (header(reply, "stream-up-to-date") !== "true") {
      if (bytes.length === 0) throw new Error(`${stream.path}: an empty chunk below the tail`);
      continue;
    }
    if (offset !== stream.tail || read !== stream.bytes.length)
      throw new Error(`${stream.path}: ends at ${offset}, was ${stream.tail}`);
    if (isClosed(reply) !== stream.closed) throw new Error(`${stream.path}: closed is now ${isClosed(reply)}`);
    return undefined;
  }
}

async function resendHonestly(client: StreamClient, stream: KnownStream): Promise<Refusal | undefined> {
  const reply = await resend(client, stream);
  const refusal = refusalOf(stream.path, reply);
  if (refusal !== undefined) return refusal;
  expectStatus(reply, `the last append to ${stream.path} once more`, stream.closed ? 409 : 204);
  return undefined;
}

/** Waits until every known byte lies in an object and in no WAL file. */
export async function untilRolled(data: DataDirectory, known: readonly KnownStream[]): Promise<void> {
  await until("all that was written to lie in objects", 60_000, async () => {
    for (const file of await data.files(".wal")) {
      // A file may be released between the listing and the look.
      const bytes = await data.bytes(file).catch(() => Buffer.alloc(0));
      if (
        known.some((stream) => bytes.includes(stream.bytes.subarray(0, 24)) || bytes.includes(stream.lastProduced.body))
      )
        return undefined;
    }
    return (await data.files(".cbo")).length > 0 ? true : undefined;
  });
}
