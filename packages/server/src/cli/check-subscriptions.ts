/**
 * The part of `coldbrook check` about subscriptions: every value decodes, every link belongs to a subscription and is found by
 * its path if it is explicit, and no cursor is past its stream's tail.
 */
import { offsetAt, ownStart, position } from "@coldbrook/core";
import type { Generation, StreamState, SubscriptionLink, SubscriptionState } from "@coldbrook/core";
import type { Catalog } from "../catalog/catalog.ts";
import type { ReplayedSubscription } from "../subscriptions/subscription-replay.ts";

export interface SubscriptionCheck {
  readonly catalog: Catalog;
  readonly replayed: readonly ReplayedSubscription[];
  /** The latest state of the stream of that name. */
  readonly stream: (path: string) => StreamState | undefined;
  readonly found: (what: string) => void;
  /** Runs a step; a fault is a finding. */
  readonly guard: <T>(step: () => T) => T | undefined;
}

/** Returns how many there are. */
export function checkSubscriptions(check: SubscriptionCheck): number {
  const { catalog, replayed, found, guard } = check;
  const heads = new Map<Generation, SubscriptionState>();
  for (const id of catalog.subscriptions.ids()) {
    const state = guard(() => catalog.subscriptions.load(id));
    if (state !== undefined) heads.set(id, state);
  }
  const newer = new Map(replayed.map((each) => [each.state.id, each]));
  for (const { state } of replayed) heads.set(state.id, state);
  for (const { id, path } of catalog.links.all()) {
    const link = guard(() => catalog.links.load(id, path));
    const head = heads.get(id);
    if (head === undefined) found(`the link to "${path}" belongs to subscription ${id}, which is not there`);
    else if (link !== undefined && newer.get(id)?.links.has(path) !== true) checkLink(check, head, link);
  }
  for (const { state, links } of replayed) {
    for (const { link } of links.values()) if (link !== null) checkLink(check, state, link);
  }
  for (const { id, path } of catalog.links.allExplicit()) {
    const link = guard(() => catalog.links.load(id, path));
    if (link?.explicit !== true)
      found(`"${path}" is said to be an explicit stream of subscription ${id}, which has none`);
  }
  checkNames(heads, found);
  return [...heads.values()].filter(({ deleted }) => !deleted).length;
}

function checkLink({ stream, found }: SubscriptionCheck, head: SubscriptionState, link: SubscriptionLink): void {
  if (head.deleted) return;
  const where = `subscription ${head.id} "${head.name}", stream "${link.path}"`;
  if (!link.explicit && !link.glob) found(`${where}: the link is neither explicit nor the pattern's`);
  const state = stream(link.path);
  if (state === undefined || state.deleted || state.softDeleted) return;
  const tail = offsetAt(state.identity, position(Math.max(state.tail, ownStart(state.identity))));
  if (link.acked > tail) found(`${where}: ${link.acked} was acknowledged, and the stream ends at ${tail}`);
}

function checkNames(heads: ReadonlyMap<Generation, SubscriptionState>, found: (what: string) => void): void {
  const names = new Map<string, Generation>();
  for (const { id, name, deleted } of heads.values()) {
    if (deleted) continue;
    const other = names.get(name);
    if (other !== undefined) found(`subscriptions ${other} and ${id} are both called "${name}"`);
    names.set(name, id);
  }
}
