/** The world that the shims belong to. One at a time: a seed is run from its start to its end. */
import type { World } from "./world.ts";

export const current: { world: World | null } = { world: null };

/** @throws Error outside of a run */
export function theWorld(): World {
  if (current.world === null) throw new Error("no simulated world is running");
  return current.world;
}
