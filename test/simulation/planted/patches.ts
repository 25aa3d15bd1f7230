/** The planted bugs: each must be found, or the simulation proves nothing. */
import { ENGINE_BUGS } from "./engine-bugs.ts";
import type { Patch } from "./patch.ts";
import { SUBSCRIPTION_BUGS } from "./subscription-bugs.ts";
import { TIERING_BUGS } from "./tiering-bugs.ts";
import { WAL_BUGS } from "./wal-bugs.ts";

export const PATCHES: readonly Patch[] = [...WAL_BUGS, ...ENGINE_BUGS, ...TIERING_BUGS, ...SUBSCRIPTION_BUGS];
