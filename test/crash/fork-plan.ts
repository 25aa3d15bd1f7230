/** Which stream a new life forks from, and where. */
import type { History, Slot } from "./history.ts";
import type { Incarnation, IncarnationConfig, Origin } from "./incarnation.ts";
import { idAt } from "./messages.ts";
import type { SeededRandom } from "./random.ts";

/** What a fork may inherit; every check after a restart reads all of it. */
const INHERITED_BYTES_MAX = 192 * 1024;
const DEPTH_MAX = 12;
const A_DAY_MS = 86_400_000;

export interface ForkPlan {
  readonly config: IncarnationConfig;
  readonly origin: Origin;
}

/** A fork of some stream that is there, of another fork rather than not; undefined when there is none to fork. */
export function planFork(history: History, slot: Slot, random: SeededRandom): ForkPlan | undefined {
  const sources = history.slots.flatMap((other) =>
    other !== slot && other.current !== undefined && mayBeForked(other.current) ? [other.current] : [],
  );
  const forks = sources.filter((source) => source.origin !== null);
  const among = forks.length > 0 && random.chance(0.6) ? forks : sources;
  if (among.length === 0) return undefined;
  const source = random.pick(among);
  const expiry = expiryAsked(random);
  const asks = { contentType: random.chance(0.5), ttlSeconds: null, expiresAt: null, ...expiry };
  const config =
    expiry === undefined ? source.config : { ...source.config, ttlSeconds: asks.ttlSeconds, expiresAt: asks.expiresAt };
  return { config, origin: { ...originOf(history, source, random), asks } };
}

function mayBeForked(life: Incarnation): boolean {
  const known = life.created === "yes" && (life.origin === null || life.origin.point !== null);
  return known && life.deleted === "no" && !life.config.fleeting && life.depth < DEPTH_MAX;
}

/** The table of the protocol's section 4.2: a request that says nothing gets what its source has. */
function expiryAsked(random: SeededRandom): Partial<Pick<IncarnationConfig, "ttlSeconds" | "expiresAt">> | undefined {
  if (random.chance(0.7)) return undefined;
  if (random.chance(0.5)) return { ttlSeconds: random.integer(86_400, 172_800) };
  return { expiresAt: new Date(Date.now() + A_DAY_MS + random.integer(0, 1e6)).toISOString() };
}

/** A fork point: the tail, an offset that was acknowledged, or so many messages or bytes past one. */
function originOf(history: History, source: Incarnation, random: SeededRandom): Omit<Origin, "asks"> {
  const request = { source, tailBefore: source.tailSeen, startedAt: history.tick() };
  const at = (position: number, subOffset: number, point: number): Omit<Origin, "asks"> => ({
    ...request,
    tailBefore: 0,
    offset: source.offsetAt(position),
    subOffset,
    point,
  });
  const anchors = [0, ...source.ackedPositions().filter((position) => position <= INHERITED_BYTES_MAX)];
  if (source.tailSeen <= INHERITED_BYTES_MAX && random.chance(0.4)) {
    return { ...request, offset: null, subOffset: 0, point: null };
  }
  const anchor = random.pick(anchors);
  const past = random.chance(0.5) ? pastAnchor(source, anchor, random) : undefined;
  return past === undefined ? at(anchor, 0, anchor) : at(anchor, past.subOffset, past.point);
}

/** A sub-offset into what someone read behind the anchor. */
function pastAnchor(
  source: Incarnation,
  anchor: number,
  random: SeededRandom,
): { readonly subOffset: number; readonly point: number } | undefined {
  const content = source.seen(anchor, Math.min(source.tailSeen, anchor + INHERITED_BYTES_MAX));
  if (source.config.kind === "json") {
    const ends = [...content.toString("latin1").matchAll(/"\},/g)].map((match) => match.index + match[0].length);
    if (ends.length === 0) return undefined;
    const subOffset = random.integer(1, Math.min(ends.length, 40));
    return { subOffset, point: anchor + (ends[subOffset - 1] ?? 0) };
  }
  const bytes = source.writeNamed(idAt(content, 0) ?? "")?.payload.stored.length ?? 0;
  const stop = source.nextCut(anchor);
  if (bytes === 0 || content.length === 0) return undefined;
  let subOffset = random.integer(1, Math.min(bytes, content.length, stop - anchor));
  // Text is cut between characters: half of one could not be sent as an event.
  while (source.config.kind === "text" && ((content[subOffset] ?? 0) & 0xc0) === 0x80) subOffset -= 1;
  return subOffset === 0 ? undefined : { subOffset, point: anchor + subOffset };
}
