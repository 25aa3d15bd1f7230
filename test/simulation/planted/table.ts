/** The table of the README: `--planted` prints it, and a test holds it beside the planted bugs. */
import type { Patch } from "./patch.ts";

/** By how a violation begins or what it says: the check that found it. */
const CHECKS: readonly (readonly [says: RegExp, check: string])[] = [
  [/^No order of/, "model"],
  [/^check: /, "`coldbrook check`"],
  [/durable is |no durable frame/, "answers are durable"],
  [/ is removed, but/, "segments go last"],
  [/does not start again/, "starts again"],
  [/^a process ended though/, "ends only for a reason"],
  [/^a second process/, "one process"],
  [/^a bit of /, "damage is named"],
  [/^subscription /, "workers"],
  [/over its budget|its budget is/, "budgets"],
  [/^a request failed/, "requests succeed"],
  [/ cannot be read$/, "all can be read"],
  [/^nothing ends|^the server turns in circles/, "comes to an end"],
];

export const TABLE_HEAD = "| planted bug | what it breaks | seed | found by |\n| --- | --- | --- | --- |";

/** `violation` is the first thing that the run of `seed` complained of. */
export function tableRow({ name, breaks }: Patch, seed: number, violation: string): string {
  const check = CHECKS.find(([says]) => says.test(violation))?.[1] ?? violation.split("\n")[0]!.slice(0, 60);
  return `| \`${name}\` | ${breaks} | ${seed} | ${check} |`;
}
