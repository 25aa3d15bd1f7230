/** Delete (protocol sections 4.2 and 5.4). */
import { isExpired } from "./expiry.ts";
import type { StreamState } from "./stream-state.ts";

export type DeleteOutcome =
  | "delete"
  /** Forks refer to the stream: its name and bytes stay for them. */
  | "soft-delete"
  /** 410: it was soft-deleted before. */
  | "gone"
  /** 404: no such stream, deleted already, or expired. */
  | "missing";

/** `hasForks` says whether any fork of the stream is left. */
export function decideDelete(state: StreamState | undefined, hasForks: boolean, nowMs: number): DeleteOutcome {
  if (state === undefined || state.deleted) return "missing";
  if (state.softDeleted) return "gone";
  if (isExpired(state, nowMs)) return hasForks ? "gone" : "missing";
  return hasForks ? "soft-delete" : "delete";
}
