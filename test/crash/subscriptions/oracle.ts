/** The check of subscriptions after a restart, and the proof that no wake is lost: diligent workers come to every tail. */
import { setTimeout as pause } from "node:timers/promises";
import { PATIENCE } from "../../process/until.ts";
import { expectStatus, nextOffset, type StreamClient } from "../../process/http.ts";
import { Violation } from "../incarnation.ts";
import type { SubscriptionBook, SubscriptionSlot } from "./book.ts";
import type { FollowedStream, StreamLife } from "./followed-stream.ts";
import type { SubscriptionLife } from "./subscription-life.ts";
import { checkAbsent, checkConfig, getSubscription } from "./requests.ts";
import { doWork, WakeReader } from "./workers.ts";
import type { SeededRandom } from "../random.ts";

const DRAIN_BOUND_MS: number = 30_000 * PATIENCE;
/** Wakes of one subscription while nothing new arrives: those in flight, and one for what they did not know of. */
const DRAIN_WAKES_MAX = 8;

/** Settles what became of a stream. Nobody writes to it meanwhile. */
export function settleStream(stream: FollowedStream, tail: string | null): void {
  const life = stream.current;
  if (tail === null) {
    if (life?.created === "yes" && life.deleted === "no") throw new Violation(`${stream.path} is gone`);
    stream.current = undefined;
    return;
  }
  if (life === undefined || life.deleted === "yes") throw new Violation(`${stream.path} is there, though deleted`);
  life.created = "yes";
  life.deleted = "no";
  if (tail < life.tail) throw new Violation(`${stream.path} ends at ${tail}, a tail of ${life.tail} was told`);
  life.learn(tail, "HEAD after the restart");
}

/** Settles whether the slot's subscription is there. @throws Violation when it cannot be as it is */
export function settleSubscription(slot: SubscriptionSlot, isThere: boolean, tick: number): void {
  const life = slot.current;
  if (!isThere) {
    if (life?.isThere === true) life.fail("it is gone");
    if (life !== undefined) life.deleted = "yes";
    slot.end();
  }
  for (const past of slot.past) past.buried = true;
  if (!isThere) return;
  if (life === undefined) throw new Violation(`subscription ${slot.id} came back, or was never made, and is there`);
  if (life.deleted === "yes") life.fail("its delete was acknowledged, and it is there");
  life.deleted = "no";
  if (life.created === "yes") return;
  life.created = "yes";
  life.confirmedAt = tick;
}

/** The paths that the pattern must have linked: streams with bytes that the caller knows of. */
function mustFollow(book: SubscriptionBook, life: SubscriptionLife): ReadonlyMap<string, StreamLife> {
  const found = new Map<string, StreamLife>();
  for (const { path } of book.streams) {
    const stream = book.lifeOf(path);
    if (stream?.hasBytes === true && life.matches(path)) found.set(path, stream);
  }
  return found;
}

/** Compares the subscription, which nobody makes or unmakes meanwhile, with all that is known of it. */
export async function checkSubscription(
  book: SubscriptionBook,
  client: StreamClient,
  slot: SubscriptionSlot,
): Promise<void> {
  const life = slot.current;
  if (life === undefined) return checkAbsent(client, slot.id);
  const before = new Map(book.streams.map(({ path }) => [path, book.lifeOf(path)]));
  const linked = mustFollow(book, life);
  const floors = life.floors();
  const shown = await getSubscription(client, slot.id);
  if (shown === null) return life.fail("it is gone");
  checkConfig(life, shown);
  // A tail is asked for after the cursor, which therefore cannot be past it.
  for (const { path } of shown.streams) {
    const stream = before.get(path);
    if (stream === undefined) continue;
    const head = await client.head(path);
    if (stream === book.lifeOf(path)) {
      stream.learn(nextOffset(expectStatus(head, `HEAD of ${path}`, 200)), "HEAD");
    }
  }
  const stayed = (path: string): StreamLife | undefined => {
    const stream = book.lifeOf(path);
    return stream === before.get(path) ? stream : undefined;
  };
  life.checkLinks(shown.streams, floors, stayed, "GET");
  const paths = new Set(shown.streams.map((link) => link.path));
  for (const [path, stream] of linked) {
    if (!paths.has(path) && stayed(path) === stream) life.fail(`${path} has bytes and is not linked: it wakes nobody`);
  }
}

/** Everything, after a restart; no writer is at work. @throws Violation */
export async function checkAll(book: SubscriptionBook, client: StreamClient): Promise<void> {
  for (const stream of book.streams) {
    const head = expectStatus(await client.head(stream.path), `HEAD of ${stream.path}`, 200, 404);
    settleStream(stream, head.status === 404 ? null : nextOffset(head));
  }
  for (const slot of book.slots) {
    const shown = await getSubscription(client, slot.id);
    settleSubscription(slot, shown !== null, book.tick());
    const life = slot.current;
    if (life === undefined || shown === null) continue;
    checkConfig(life, shown);
    const explicit = new Set(shown.streams.filter((link) => link.link_type === "explicit").map(({ path }) => path));
    for (const [path, fate] of life.explicit) {
      if (fate === "maybe") life.explicit.set(path, explicit.has(path) ? "yes" : "no");
    }
    await checkSubscription(book, client, slot);
  }
}

/**
 * Nobody writes any more: workers who claim for every event, and for nothing else, come to every tail within a few wakes, and
 * so does the webhooks' receiver. `handled` tells up to which wake a subscription's events were answered already. Where `forgets`
 * says so, the first worker of each subscription does nothing: the work must come again when the lease has run out.
 * @throws Violation when a cursor stays behind, ConnectionLost
 */
export async function drain(
  book: SubscriptionBook,
  client: StreamClient,
  random: SeededRandom,
  options: {
    readonly handled: (life: SubscriptionLife) => number;
    readonly violations: readonly Violation[];
    readonly forgets: boolean;
  },
): Promise<void> {
  await Promise.all(
    book.slots.map(async ({ id, current: life }) => {
      if (life === undefined) return;
      const reader =
        life.wakeStream === null ? null : new WakeReader(`${life.name} drain`, life, options.handled(life));
      const end = performance.now() + DRAIN_BOUND_MS;
      const first = life.leases.newest;
      let forgets = options.forgets;
      for (;;) {
        if (options.violations.length > 0) return;
        if (reader !== null) {
          await reader.read(book, client);
          const work = reader.isCalled ? await reader.claim(book, client) : null;
          if (work !== null) await doWork(book, async () => client, life, work, random, forgets ? "forget" : "finish");
          if (work !== null) forgets = false;
        }
        const behind = await laggards(book, client, id, life);
        if (behind.length === 0) break;
        const wakes = life.leases.newest - first;
        if (performance.now() > end || wakes > DRAIN_WAKES_MAX) {
          life.fail(`wakes are lost: after ${wakes} more of them, to ${life.leases.newest}, ${behind.join(", ")}`);
        }
        await pause(40);
      }
    }),
  );
}

async function laggards(
  book: SubscriptionBook,
  client: StreamClient,
  id: string,
  life: SubscriptionLife,
): Promise<string[]> {
  const shown = await getSubscription(client, id);
  if (shown === null) return life.fail("it is gone");
  const behind: string[] = [];
  for (const { path, acked_offset: acked } of shown.streams) {
    const stream = book.lifeOf(path);
    if (stream?.hasBytes === true && acked < stream.tail) behind.push(`${path} is at ${acked} of ${stream.tail}`);
  }
  return behind;
}
