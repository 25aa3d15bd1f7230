/** Bugs of subscriptions: wakes, claims, and cursors. */
import type { Patch } from "./patch.ts";

export const SUBSCRIPTION_BUGS: readonly Patch[] = [
  {
    name: "wake-lost-at-restart",
    breaks: "a wake that recovery found has work that must be looked for: here it has none",
    file: "server/dist/subscriptions/subscription.js",
    find: "this.workKnown = pending.wake === null;",
    replace: "this.workKnown = true;",
  },
  {
    name: "note-lost-during-wake",
    breaks: "an append during a wake is work for the next one: here it is forgotten",
    file: "server/dist/subscriptions/subscription-book.js",
    find: "                subscription.work ??= new Set();\n                subscription.work.add(path);\n            }",
    replace: "            }",
  },
  {
    name: "claim-not-fenced",
    breaks: "acks of a wake that is over count for nothing: here they are taken",
    file: "core/dist/subscription-wake.js",
    find: `if (wake === null || token.generation !== generation || request.generation !== generation) {
        return refuse("FENCED", "the wake is over: another one took its place, it was finished, or its lease ran out");
    }
    if (request.wakeId !== wake.wakeId)`,
    replace: "void generation;\n    if (wake === null)",
  },
  {
    name: "two-holders",
    breaks: "one worker has the work at a time: here a second claim is granted",
    file: "core/dist/subscription-wake.js",
    find: "if (current !== null && current.holder !== null) {",
    replace: "if (current !== null && current.holder === worker) {",
  },
  {
    name: "wake-number-used-again",
    breaks: "wakes are numbered upwards: here a new one has the number of the last",
    file: "core/dist/subscription-wake.js",
    find: "generation: state.generation + 1, wake };",
    replace: "generation: Math.max(1, state.generation), wake };",
  },
  {
    name: "cursor-not-saved",
    breaks: "acknowledged cursors stay: the catalog does not get them",
    file: "server/dist/subscriptions/subscription-saver.js",
    find: "this.#putLinks(saving, saving.entries);",
    replace: "",
  },
];
