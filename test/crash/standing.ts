/** Which status a path may answer with, without any I/O: is its stream there, kept for its forks only, or gone? */
import type { History, Slot } from "./history.ts";
import { Violation, type Incarnation } from "./incarnation.ts";

/**
 * Settles by a HEAD's status what an unanswered create or delete did. Says nothing about forks yet: theirs are settled in
 * their own slots.
 * @throws Violation when no order of what was asked for leads there
 */
export function settleStanding(slot: Slot, status: number): void {
  const life = slot.current;
  if (status === 404) {
    if (life !== undefined) settleGone(life);
    return;
  }
  if (status !== 200 && status !== 410) throw new Violation(`${slot.path}: HEAD is answered ${status}`);
  if (life === undefined) throw new Violation(`${slot.path}: a deleted stream is back: ${status}`);
  if (status === 410) {
    if (life.deleted === "no") life.fail("nobody deleted it, yet it answers 410");
    life.deleted = "yes";
  } else {
    if (life.deleted === "yes") life.fail("deleted, yet it is readable");
    life.deleted = "no";
  }
  life.created = "yes";
}

function settleGone(life: Incarnation): void {
  const expected = life.created !== "yes" || life.deleted !== "no" || life.config.fleeting;
  if (!expected) life.fail("lost: its create was acknowledged or seen, nobody deleted it, yet it answers 404");
  if (life.created === "maybe") life.created = "no";
  life.deleted = "yes";
}

/**
 * With the fate of every fork settled: a deleted stream is kept, and its path with it, exactly as long as a fork needs it.
 * @throws Violation
 */
export function checkStanding(history: History, slot: Slot, status: number): void {
  settleStanding(slot, status);
  const life = slot.current;
  if (life === undefined || status === 200) return;
  const kept = life.keptBy();
  if (status === 404 && kept === "yes") life.fail("lost: forks of it are there, yet it answers 404");
  if (status === 410 && kept === "no") life.fail("a cascade is undone: it answers 410, and no fork of it is left");
  if (status === 410) history.noteSoft(life);
  else history.endDeleted(slot);
}
