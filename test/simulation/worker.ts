/** A process that runs seeds for run.ts: hooks first, then the globals, then the server's modules. */
import { register } from "node:module";
import { replaceGlobals } from "./globals.ts";
import { planOf } from "./plan.ts";
import type { Plan } from "./plan.ts";
import { PATCHES } from "./planted/patches.ts";
import { loadProduct } from "./product.ts";
import { runPlan } from "./run-plan.ts";
import type { Report } from "./run-plan.ts";

export interface Order {
  /** Plans to run; a number stands for the plan of that seed. */
  readonly plans: readonly (number | Plan)[];
}

/** From test/simulation/dist/simulation/. */
const PACKAGES = new URL("../../../../packages/", import.meta.url).href;

const plant = process.argv[2] ?? "";
const patches = PATCHES.filter(({ name }) => name === plant);
if (plant !== "" && patches.length === 0) throw new Error(`there is no planted bug "${plant}"`);
register("./hooks.js", {
  parentURL: import.meta.url,
  data: { packages: PACKAGES, shims: new URL("./shims/", import.meta.url).href, patches },
});
replaceGlobals();
const product = await loadProduct(PACKAGES);

process.on("message", (order: Order) => {
  void answer(order);
});

/** One message for each plan: a worker that says nothing hangs. */
async function answer({ plans }: Order): Promise<void> {
  for (const each of plans) {
    const report: Report = await runPlan(typeof each === "number" ? planOf(each) : each, product);
    process.send!(report);
  }
}
process.send!("ready");
