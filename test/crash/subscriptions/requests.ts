/** One control request at a time: sends it, and writes into the book what its answer, or the lack of one, means. */
import { describeReply, expectStatus, nextOffset, type Reply, type StreamClient } from "../../process/http.ts";
import { parseOffset } from "../../process/stored-bytes.ts";
import { Violation } from "../incarnation.ts";
import type { SubscriptionBook, SubscriptionSlot } from "./book.ts";
import { StreamLife, type FollowedStream } from "./followed-stream.ts";
import type { Hold } from "./leases.ts";
import { SubscriptionLife, type ShownLink, type ShownStream, type StreamAck } from "./subscription-life.ts";

const ROOT = "__ds/subscriptions";
const JSON_HEADERS = { "content-type": "application/json" };

/** A wake in a worker's hands. */
export interface Work {
  readonly hold: Hold;
  readonly token: string;
  readonly streams: readonly ShownStream[];
}

export interface SubscriptionShown {
  readonly id: string;
  readonly subscription_id: string;
  readonly type: string;
  readonly pattern: string | null;
  readonly streams: readonly ShownLink[];
  readonly webhook: { readonly url: string } | null;
  readonly wake_stream: string | null;
  readonly lease_ttl_ms: number;
  readonly description: string | null;
}

interface ClaimShown {
  readonly wake_id: string;
  readonly generation: number;
  readonly token: string;
  readonly streams: readonly ShownStream[];
  readonly lease_ttl_ms: number;
}

interface ErrorShown {
  readonly error?: { readonly code?: string; readonly generation?: number };
}

export function parseReply<Shape>(reply: Reply): Shape {
  return JSON.parse(reply.body.toString("utf8")) as Shape;
}

function errorOf(reply: Reply): NonNullable<ErrorShown["error"]> {
  return parseReply<ErrorShown>(reply).error ?? {};
}

/** @throws ConnectionLost */
async function post(client: StreamClient, path: string, body: object, token?: string): Promise<Reply> {
  const headers = token === undefined ? JSON_HEADERS : { ...JSON_HEADERS, authorization: `Bearer ${token}` };
  return client.request("POST", `${ROOT}/${path}`, { headers, body: JSON.stringify(body) });
}

/** The PUT's body: the same for each life, but for its channel and what it is called. */
function bodyOf(life: SubscriptionLife, description = life.name): string {
  const { type, pattern, streams, leaseTtlMs } = life.plan;
  return JSON.stringify({
    type,
    ...(pattern === null ? {} : { pattern }),
    ...(streams.length === 0 ? {} : { streams }),
    ...(life.webhookUrl === null ? {} : { webhook: { url: life.webhookUrl } }),
    ...(life.wakeStream === null ? {} : { wake_stream: life.wakeStream }),
    lease_ttl_ms: leaseTtlMs,
    description,
  });
}

/** What was asked for is there, whole. */
export function checkConfig(life: SubscriptionLife, shown: SubscriptionShown): void {
  const { plan, webhookUrl, wakeStream, id, name } = life;
  const facts: readonly (readonly [what: string, shown: unknown, asked: unknown])[] = [
    ["id", shown.id, id],
    ["subscription_id", shown.subscription_id, id],
    ["description", shown.description, name],
    ["type", shown.type, plan.type],
    ["pattern", shown.pattern, plan.pattern],
    ["webhook", shown.webhook?.url ?? null, webhookUrl],
    ["wake_stream", shown.wake_stream, wakeStream],
    ["lease_ttl_ms", shown.lease_ttl_ms, plan.leaseTtlMs],
  ];
  for (const [what, is, asked] of facts) {
    if (is !== asked) life.fail(`its ${what} is ${String(is)}, ${String(asked)} was asked for`);
  }
}

/** Creates the slot's next life. @throws ConnectionLost (it may live), Violation */
export async function createSubscription(
  book: SubscriptionBook,
  client: StreamClient,
  slot: SubscriptionSlot,
  channel: { wakeRoot: string; hookRoot: string },
): Promise<void> {
  const life = new SubscriptionLife(slot.id, slot.lives + 1, slot.plan, channel);
  if (life.wakeStream !== null) {
    const reply = await client.create(life.wakeStream, { contentType: "application/json" });
    expectStatus(reply, `create of the wake stream ${life.wakeStream}`, 201, 200);
  }
  slot.lives += 1;
  slot.current = life;
  const reply = await client.request("PUT", `${ROOT}/${life.id}`, { headers: JSON_HEADERS, body: bodyOf(life) });
  if (reply.status !== 201) life.fail(`its create was answered ${describeReply(reply)}`);
  book.onAck("subscription create");
  checkConfig(life, parseReply<SubscriptionShown>(reply));
  life.created = "yes";
  life.confirmedAt = book.tick();
}

/** The same again is 200, something else by that name is 409. */
export async function reconfirm(client: StreamClient, life: SubscriptionLife, same: boolean): Promise<void> {
  const body = bodyOf(life, same ? life.name : `${life.name} in other words`);
  const reply = await client.request("PUT", `${ROOT}/${life.id}`, { headers: JSON_HEADERS, body });
  if (reply.status !== (same ? 200 : 409))
    life.fail(`PUT of ${same ? "the same" : "another"} one: ${describeReply(reply)}`);
  if (same) checkConfig(life, parseReply<SubscriptionShown>(reply));
}

/** @throws ConnectionLost */
export async function getSubscription(client: StreamClient, id: string): Promise<SubscriptionShown | null> {
  const reply = expectStatus(await client.request("GET", `${ROOT}/${id}`), `GET of subscription ${id}`, 200, 404);
  return reply.status === 404 ? null : parseReply<SubscriptionShown>(reply);
}

export async function deleteSubscription(
  book: SubscriptionBook,
  client: StreamClient,
  slot: SubscriptionSlot,
  life: SubscriptionLife,
): Promise<void> {
  life.deleted = "maybe";
  const reply = await client.request("DELETE", `${ROOT}/${life.id}`);
  if (reply.status !== 204) life.fail(`its delete was answered ${describeReply(reply)}`);
  life.deleted = "yes";
  book.onAck("subscription delete");
  await checkAbsent(client, life.id);
  slot.end();
}

/** Nobody has made another one of that id meanwhile. @throws Violation when there is one */
export async function checkAbsent(client: StreamClient, id: string): Promise<void> {
  const claimed = await post(client, `${id}/claim`, { worker: "nobody" });
  const shown = await getSubscription(client, id);
  if (claimed.status !== 404 || shown !== null) {
    throw new Violation(`subscription ${id} was deleted, or never made, and is there: ${describeReply(claimed)}`);
  }
}

export async function addLink(
  book: SubscriptionBook,
  client: StreamClient,
  life: SubscriptionLife,
  path: string,
): Promise<void> {
  life.linking(path);
  const reply = await post(client, `${life.id}/streams`, { streams: [path] });
  if (reply.status !== 204) life.fail(`a new link was answered ${describeReply(reply)}`);
  life.explicit.set(path, "yes");
  book.onAck("link");
  const head = await client.head(path);
  life.linked(path, head.status === 200 ? nextOffset(head) : null);
}

export async function removeLink(
  book: SubscriptionBook,
  client: StreamClient,
  life: SubscriptionLife,
  path: string,
): Promise<void> {
  life.unlinking(path);
  const reply = await client.request("DELETE", `${ROOT}/${life.id}/streams/${encodeURIComponent(path)}`);
  if (reply.status !== 204) life.fail(`the end of a link was answered ${describeReply(reply)}`);
  life.explicit.set(path, "no");
  book.onAck("link");
}

/** What a claim came to: work, or the number of the wake for which somebody else has it or nobody needs to. */
export type ClaimOutcome =
  | { readonly kind: "work"; readonly work: Work }
  | { readonly kind: "none"; readonly generation: number };

/** @throws ConnectionLost (it may hold the lease), Violation */
export async function claim(
  book: SubscriptionBook,
  client: StreamClient,
  life: SubscriptionLife,
  worker: string,
): Promise<ClaimOutcome> {
  const newestBefore = life.leases.newest;
  const floors = life.floors();
  const sentAtMs = Date.now();
  const reply = await post(client, `${life.id}/claim`, { worker });
  const answeredAtMs = Date.now();
  if (reply.status !== 200) return { kind: "none", generation: refusedClaim(book, life, reply) };
  const shown = parseReply<ClaimShown>(reply);
  const { generation, wake_id: wakeId, token, streams } = shown;
  // A claim by that name may be of a life that began meanwhile.
  if (life.deleted !== "no") return { kind: "none", generation: 0 };
  book.see(life, generation);
  book.counts.claims += 1;
  const hold = life.leases.granted({ generation, wakeId, worker, sentAtMs, answeredAtMs }, newestBefore);
  book.onAck("claim");
  life.toldOf(streams, (path) => book.lifeOf(path), `claim of generation ${generation}`);
  for (const { path, acked_offset: acked, tail_offset: tail } of streams) {
    const floor = floors.get(`${path}@${parseOffset(tail).generation}`) ?? "";
    const stayed = book.lifeOf(path)?.generation === parseOffset(tail).generation;
    if (stayed && acked < floor) life.fail(`a claim shows ${path} at ${acked}, ${floor} was acknowledged before`);
  }
  return { kind: "work", work: { hold, token, streams } };
}

function refusedClaim(book: SubscriptionBook, life: SubscriptionLife, reply: Reply): number {
  const { code, generation } = errorOf(reply);
  if (reply.status === 409 && code === "NO_PENDING_WORK") return 0;
  if (reply.status === 404 && life.deleted !== "no") return 0;
  if (reply.status !== 409 || code !== "ALREADY_CLAIMED" || generation === undefined) {
    life.fail(`a claim was answered ${describeReply(reply)}`);
  }
  if (life.deleted === "no") book.see(life, generation);
  return generation;
}

/** Whether an ack may rightly be refused: its stream was deleted or linked anew, or another attempt went further. */
function mayBeOff(book: SubscriptionBook, life: SubscriptionLife, acks: readonly StreamAck[]): boolean {
  return (
    life.plan.type === "webhook" ||
    acks.some(
      ({ stream, offset }) =>
        life.toggled.has(stream) || book.lifeOf(stream)?.generation !== parseOffset(offset).generation,
    )
  );
}

/**
 * An ack or a callback, which is a heartbeat too.
 * @returns "off" when an ack's offset is no longer one of its stream
 * @throws ConnectionLost (it may be applied), Violation
 */
export async function ack(
  book: SubscriptionBook,
  client: StreamClient,
  life: SubscriptionLife,
  work: Work,
  request: { readonly acks: readonly StreamAck[]; readonly done: boolean },
): Promise<"accepted" | "over" | "off"> {
  const { hold, token } = work;
  const { acks, done } = request;
  const { wakeId, generation } = hold;
  const wasDeleted = life.deleted === "yes";
  life.acking(acks);
  const sent = life.leases.sending(hold, Date.now(), done);
  const endpoint = life.plan.type === "webhook" ? "callback" : "ack";
  const reply = await post(client, `${life.id}/${endpoint}`, { wake_id: wakeId, generation, acks, done }, token);
  if (reply.status === 200) {
    if (wasDeleted) life.fail(`deleted, yet an ack of generation ${generation} is accepted`);
    life.leases.accepted(hold, sent, done);
    life.acked(acks);
    book.counts.acksOfSubscriptions += 1;
    book.onAck("subscription ack");
    return "accepted";
  }
  if (reply.status === 409 && errorOf(reply).code === "INVALID_OFFSET" && mayBeOff(book, life, acks)) return "off";
  refusedWork(life, hold, reply);
  return "over";
}

/** @throws ConnectionLost (it may be released), Violation */
export async function release(client: StreamClient, life: SubscriptionLife, { hold, token }: Work): Promise<void> {
  const { wakeId, generation } = hold;
  const wasDeleted = life.deleted === "yes";
  const sent = life.leases.sending(hold, Date.now(), true);
  const reply = await post(client, `${life.id}/release`, { wake_id: wakeId, generation }, token);
  if (reply.status !== 204) return refusedWork(life, hold, reply);
  if (wasDeleted) life.fail(`deleted, yet a release of generation ${generation} is accepted`);
  life.leases.accepted(hold, sent, true);
}

function refusedWork(life: SubscriptionLife, hold: Hold, reply: Reply): void {
  if (life.deleted !== "no" && [401, 404, 409].includes(reply.status)) return;
  if (reply.status !== 409 || errorOf(reply).code !== "FENCED") {
    life.fail(`generation ${hold.generation} was answered ${describeReply(reply)}`);
  }
  life.leases.fenced(hold, Date.now());
}

/** The right token with a wake_id that is not its wake's moves nothing. */
export async function forge(client: StreamClient, life: SubscriptionLife, { hold, token }: Work): Promise<void> {
  const body = { wake_id: `${hold.wakeId}x`, generation: hold.generation, acks: [], done: true };
  const endpoint = life.plan.type === "webhook" ? "callback" : "ack";
  const reply = await post(client, `${life.id}/${endpoint}`, body, token);
  if (reply.status < 400) life.fail(`a request with a made-up wake_id is accepted: ${describeReply(reply)}`);
}

/** Creates the stream anew. @throws ConnectionLost (it may live) */
export async function createStream(
  book: SubscriptionBook,
  client: StreamClient,
  stream: FollowedStream,
  body: string | null,
): Promise<void> {
  const life = new StreamLife(stream.path, book.tick());
  stream.current = life;
  const options = { contentType: "text/plain" };
  const reply = await client.create(stream.path, body === null ? options : { ...options, body });
  if (reply.status !== 201) throw new Violation(`${stream.path}: create was answered ${describeReply(reply)}`);
  life.created = "yes";
  life.learn(nextOffset(reply), "acknowledgement of the create");
}

/** @throws ConnectionLost (it may be there) */
export async function append(client: StreamClient, life: StreamLife, body: string): Promise<void> {
  const reply = await client.append(life.path, body, { contentType: "text/plain" });
  if (reply.status !== 204) throw new Violation(`${life.path}: an append was answered ${describeReply(reply)}`);
  life.learn(nextOffset(reply), "acknowledgement of an append");
}

/** @throws ConnectionLost (it may be gone) */
export async function deleteStream(client: StreamClient, stream: FollowedStream, life: StreamLife): Promise<void> {
  life.deleted = "maybe";
  const reply = await client.del(stream.path);
  if (reply.status !== 204) throw new Violation(`${stream.path}: delete was answered ${describeReply(reply)}`);
  life.deleted = "yes";
  stream.current = undefined;
}
