/** How long things take in virtual time, in milliseconds. */
import { theWorld } from "../world/current.ts";

const SLOW = 0.02;

export function diskMs(): number {
  const { latency } = theWorld();
  return latency.chance(SLOW) ? latency.between(5, 60) : latency.between(0.02, 1);
}

export function syncMs(): number {
  const { latency } = theWorld();
  return latency.chance(SLOW) ? latency.between(5, 200) : latency.between(0.1, 3);
}
