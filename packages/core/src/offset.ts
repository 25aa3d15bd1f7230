/** Offsets (protocol section 8): `<generation>_<position>`, 16 decimal digits each, so that plain string comparison orders them. */
import { generation, position, type Generation, type Offset, type Position } from "./brand.ts";
import type { StreamIdentity } from "./stream-state.ts";

export type OffsetRequest =
  | { readonly kind: "start"; readonly real: false }
  | { readonly kind: "now" }
  | OffsetAt
  | { readonly kind: "malformed"; readonly detail: string };

export interface OffsetAt {
  readonly kind: "at";
  readonly generation: Generation;
  readonly position: Position;
}

export type ResolvedOffset =
  | { readonly kind: "position"; readonly position: Position }
  /** 410: the bytes that this offset named are not this stream's, or no longer. */
  | { readonly kind: "gone"; readonly detail: string }
  /** 400: nothing was ever minted there. */
  | { readonly kind: "malformed"; readonly detail: string };

const DIGITS = 16;
const SHAPE = /^[0-9]{16}_[0-9]{16}$/;
const ZERO = "0000000000000000_0000000000000000";

export function formatOffset(generation: Generation, position: Position): Offset {
  return `${String(generation).padStart(DIGITS, "0")}_${String(position).padStart(DIGITS, "0")}` as Offset;
}

/** Reads an `offset` parameter; null stands for a missing one. The zero offset is the start, as `-1` is. */
export function parseOffset(text: string | null): OffsetRequest {
  if (text === null || text === "-1" || text === ZERO) return { kind: "start", real: false };
  if (text === "now") return { kind: "now" };
  if (!SHAPE.test(text)) return { kind: "malformed", detail: "offset is not one that this server gave out" };
  const first = Number(text.slice(0, DIGITS));
  const second = Number(text.slice(DIGITS + 1));
  if (!Number.isSafeInteger(first) || !Number.isSafeInteger(second)) {
    return { kind: "malformed", detail: "offset is out of range" };
  }
  return { kind: "at", generation: generation(first), position: position(second) };
}

/**
 * Turns an offset into a position of this stream. A generation owns the positions from its first to the next one's first,
 * both included. One past the tail reads as the tail, because some clients add 1 to the offset they hold.
 */
export function resolveOffset(
  identity: StreamIdentity,
  tail: Position,
  horizon: Position,
  request: OffsetAt,
): ResolvedOffset {
  const { lineage } = identity;
  const index = lineage.findIndex((entry) => entry.generation === request.generation);
  const entry = lineage[index];
  if (entry === undefined) return { kind: "gone", detail: "offset belongs to another stream or to lost data" };
  const at = request.position;
  const end = lineage[index + 1]?.first;
  if (at < entry.first || (end !== undefined && at > end)) {
    return { kind: "gone", detail: "offset is outside of what its generation holds in this stream" };
  }
  if (at > tail + 1) return { kind: "malformed", detail: "offset lies past the end of the stream" };
  if (at < horizon) return { kind: "gone", detail: "offset lies before the earliest position kept" };
  return { kind: "position", position: at > tail ? tail : at };
}

/** The generation that owns the byte before `position`, so that a fork's boundary keeps its source's offset; the first one at the start. */
export function generationAt(identity: StreamIdentity, position: Position): Generation {
  const { lineage } = identity;
  for (let index = lineage.length - 1; index > 0; index--) {
    const entry = lineage[index];
    if (entry !== undefined && entry.first < position) return entry.generation;
  }
  return lineage[0]?.generation ?? identity.id;
}

/** The one offset that is given out for `position`. */
export function offsetAt(identity: StreamIdentity, position: Position): Offset {
  return formatOffset(generationAt(identity, position), position);
}
