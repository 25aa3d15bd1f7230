/** Makes the plan of a failed run as short as the time allows: fewer steps, fewer faults, the same promise broken. */
import { shrink } from "../model/shrink.ts";
import type { Fault, Plan, Step } from "./plan.ts";
import type { Report } from "./run-plan.ts";

const RUNS_MAX = 400;

type Item = { readonly kind: "step"; readonly step: Step } | { readonly kind: "fault"; readonly fault: Fault };

export interface Shortened {
  readonly plan: Plan;
  readonly report: Report;
  readonly runs: number;
}

/** `run` runs a plan. Ends after `timeMs` of real time with the shortest that was found. */
export async function shorten(
  whole: Plan,
  failed: Report,
  run: (plan: Plan) => Promise<Report>,
  timeMs: number,
): Promise<Shortened> {
  const items: Item[] = [
    ...whole.faults.map((fault) => ({ kind: "fault" as const, fault })),
    ...whole.steps.map((step) => ({ kind: "step" as const, step })),
  ];
  const kind = kindOf(failed);
  const deadlineMs = Date.now() + timeMs;
  let shortest = { plan: whole, report: failed };
  const fails = async (part: readonly Item[]): Promise<boolean> => {
    if (Date.now() > deadlineMs) return false;
    const plan = planWith(whole, part);
    const report = await run(plan);
    if (report.violations.length === 0 || kindOf(report) !== kind) return false;
    shortest = { plan, report };
    return true;
  };
  const { runs } = await shrink(items, fails, RUNS_MAX);
  return { ...shortest, runs };
}

function planWith(whole: Plan, items: readonly Item[]): Plan {
  return {
    ...whole,
    steps: items.flatMap((item) => (item.kind === "step" ? [item.step] : [])),
    faults: items.flatMap((item) => (item.kind === "fault" ? [item.fault] : [])),
  };
}

/** Two violations are alike when they read alike but for their numbers and names. */
function kindOf({ violations }: Report): string {
  return violations[0]!
    .split("\n")[0]!
    .replaceAll(/[0-9]+|"[^"]*"|\/[^ ]*/g, "#")
    .slice(0, 60);
}

/** A plan for people: a line for each fault and step. */
export function planText({ settings, faults, steps }: Plan): string {
  return [
    `settings ${JSON.stringify(settings)}`,
    ...faults.map((fault) => `fault    ${JSON.stringify(fault)}`),
    ...steps.map(
      ({ id, client, pauseMs, action }) =>
        `step ${id}  client ${client} after ${pauseMs.toFixed(1)} ms ${JSON.stringify(action)}`,
    ),
  ].join("\n");
}
