/** Delete (protocol section 5.4). */
import { isExpired } from "./expiry.ts";
import type { StreamState } from "./stream-state.ts";

/** "missing" is a 404: no such stream, deleted already, or expired. */
export function decideDelete(state: StreamState | undefined, nowMs: number): "delete" | "missing" {
  return state === undefined || state.deleted || isExpired(state, nowMs) ? "missing" : "delete";
}
