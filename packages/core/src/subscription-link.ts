/**
 * A subscription's links (protocol sections 6.1, 6.2 and 6.4): which streams it follows, why, and how far it has come.
 * Offsets compare as plain strings; `-1` sorts before all of them.
 */

import { BEFORE_FIRST_OFFSET, ZERO_OFFSET, unchanged } from "./subscription.ts";
import type { SubscriptionChange, SubscriptionLink, SubscriptionState } from "./subscription.ts";

export type LinkChange =
  | { readonly kind: "none" }
  | { readonly kind: "set"; readonly link: SubscriptionLink }
  | { readonly kind: "drop"; readonly path: string };

const none: LinkChange = { kind: "none" };

function set(link: SubscriptionLink): LinkChange {
  return { kind: "set", link };
}

/** An explicit link, at the tail that the stream has now; `tail` is null when there is no such stream. */
export function decideLink(link: SubscriptionLink | undefined, path: string, tail: string | null): LinkChange {
  if (link?.explicit === true) return none;
  if (link !== undefined) return set({ ...link, explicit: true });
  return set({ path, explicit: true, glob: false, acked: tail ?? ZERO_OFFSET });
}

/**
 * Takes the explicit link away. `stillMatches`: the pattern matches the path and the stream is there. The link then
 * stays as the pattern's with its cursor, also when no append has shown so far that it matches.
 */
export function decideUnlink(link: SubscriptionLink | undefined, stillMatches: boolean): LinkChange {
  if (link === undefined || !link.explicit) return none;
  if (link.glob || stillMatches) return set({ ...link, explicit: false, glob: true });
  return { kind: "drop", path: link.path };
}

/** A stream that is there when its subscription is created and that the pattern matches: linked at its tail. */
export function decideBackfill(link: SubscriptionLink | undefined, path: string, tail: string): LinkChange {
  if (link?.glob === true) return none;
  if (link !== undefined) return set({ ...link, glob: true });
  return set({ path, explicit: false, glob: true, acked: tail });
}

/**
 * A stream that the pattern matches gets an append: linked as before it, so that the append counts as pending.
 * `tailBefore` is null when the append creates the stream.
 */
export function decideDiscover(
  link: SubscriptionLink | undefined,
  path: string,
  tailBefore: string | null,
): LinkChange {
  return decideBackfill(link, path, tailBefore ?? BEFORE_FIRST_OFFSET);
}

/**
 * The stream was deleted. The pattern's link goes with it; an explicit one waits for another stream of that name from
 * the start, the one case in which a cursor goes back.
 */
export function decideStreamGone(link: SubscriptionLink): LinkChange {
  if (!link.explicit) return { kind: "drop", path: link.path };
  if (!link.glob && link.acked === ZERO_OFFSET) return none;
  return set({ ...link, glob: false, acked: ZERO_OFFSET });
}

/** The change that makes all of `changes`; null when there is nothing to change. Each path at most once. */
export function linkChange(state: SubscriptionState, changes: Iterable<LinkChange>): SubscriptionChange | null {
  const links: SubscriptionLink[] = [];
  const unlinked: string[] = [];
  for (const change of changes) {
    if (change.kind === "set") links.push(change.link);
    else if (change.kind === "drop") unlinked.push(change.path);
  }
  if (state.deleted || links.length + unlinked.length === 0) return null;
  return { ...unchanged(state), links, unlinked };
}

const NOTHING_YET = "_0000000000000000";

/** Whether the stream has more than was acknowledged. `tail` is null when it is gone; an empty one has nothing to read. */
export function pendingOf(link: SubscriptionLink, tail: string | null): boolean {
  return tail !== null && tail > link.acked && !tail.endsWith(NOTHING_YET);
}

/** Makes a frame's, a change's or a digest's changes to links that are kept by path. */
export function applyLinks(
  links: Map<string, SubscriptionLink>,
  change: Pick<SubscriptionChange, "links" | "unlinked" | "deleted">,
): void {
  if (change.deleted) {
    links.clear();
    return;
  }
  for (const path of change.unlinked) links.delete(path);
  for (const link of change.links) links.set(link.path, link);
}
