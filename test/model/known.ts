/**
 * What a history's answers say about positions, before any order is known: which bytes lie where, and up to where anybody has
 * seen. It spares the search the operations without an answer that cannot have happened at a place, or that nobody could tell
 * from not having happened there.
 */
import { parseToken } from "./history.ts";
import type { AppendRequest, Operation, OffsetToken, Outcome } from "./history.ts";
import { lifeAt, tailOf } from "./world.ts";
import type { Stream, World } from "./world.ts";

interface Piece {
  readonly from: number;
  readonly bytes: string;
  /** The answered write that put it there; null when it was read. */
  readonly writer: number | null;
}

export interface Known {
  /** By generation: bytes that lie at these positions, in no order. */
  readonly pieces: ReadonlyMap<number, readonly Piece[]>;
  /** By generation: the last position that an answer or a request names; Infinity when more was said to follow. */
  readonly last: ReadonlyMap<number, number>;
  /** Producers and Stream-Seq show in answers that have no tail, on these paths. */
  readonly hiddenAnswers: ReadonlySet<string>;
  /** Some answer says less than it could, so that nothing is invisible. */
  readonly isVague: boolean;
}

const SHOWS_NO_TAIL: ReadonlySet<Outcome["kind"]> = new Set(["gap", "stale-epoch", "epoch-start", "stream-seq"]);

function tokenOf(outcome: Outcome): OffsetToken | null {
  if (outcome.kind === "data") return outcome.next;
  return "shown" in outcome ? outcome.shown.tail : null;
}

function pieceOf({ id, request, outcome }: Operation, position: number): Piece | null {
  if (outcome?.kind === "data") return { from: position - outcome.bytes.length, bytes: outcome.bytes, writer: null };
  if (outcome?.kind !== "appended" && outcome?.kind !== "created") return null;
  const bytes = "messages" in request ? (request.messages ?? []).join("") : "";
  return { from: position - bytes.length, bytes, writer: id };
}

/** `operations` are those of one family of forks. */
export function knownOf(operations: readonly Operation[]): Known {
  const pieces = new Map<number, Piece[]>();
  const last = new Map<number, number>();
  const goesOn = new Map<number, number>();
  const hiddenAnswers = new Set<string>();
  let isVague = false;
  let forksAtTail = false;
  const reach = (map: Map<number, number>, generation: number, position: number): void => {
    map.set(generation, Math.max(map.get(generation) ?? 0, position));
  };
  for (const operation of operations) {
    const { path, request, outcome } = operation;
    const named =
      request.kind === "read" ? request.offset : request.kind === "create" ? request.fork?.offset : undefined;
    const asked = named === undefined ? null : parseToken(named);
    if (asked !== null) reach(last, asked.generation, asked.position);
    if (named === "tail") forksAtTail = true;
    if (outcome === null) continue;
    if (SHOWS_NO_TAIL.has(outcome.kind)) hiddenAnswers.add(path);
    if ("shown" in outcome && outcome.shown.tail === null) isVague = true;
    const token = parseToken(tokenOf(outcome) ?? "");
    if (token === null) continue;
    reach(last, token.generation, token.position);
    if (outcome.kind === "data" && !outcome.upToDate) reach(goesOn, token.generation, token.position);
    const piece = pieceOf(operation, token.position);
    if (piece === null || piece.bytes === "") continue;
    const list = pieces.get(token.generation);
    if (list === undefined) pieces.set(token.generation, [piece]);
    else list.push(piece);
  }
  for (const [generation, position] of goesOn) if (position >= last.get(generation)!) last.set(generation, Infinity);
  // A fork at its source's tail shows how long that one was under a generation of its own.
  if (forksAtTail) {
    const furthest = Math.max(0, ...last.values());
    for (const generation of last.keys()) last.set(generation, furthest);
  }
  return { pieces, last, hiddenAnswers, isVague };
}

/** Whether an append without an answer is worth trying on this stream of this world. */
export function isWorthTrying(known: Known, world: World, stream: Stream, operation: Operation): boolean {
  const request = operation.request as AppendRequest;
  const bytes = (request.messages ?? []).join("");
  const at = tailOf(stream);
  const isShownOtherwise =
    known.isVague ||
    request.close ||
    ((request.producer !== null || request.streamSeq !== null) && known.hiddenAnswers.has(operation.path));
  const fits = (generation: number): boolean =>
    (isShownOtherwise || at + bytes.length <= (known.last.get(generation) ?? 0)) &&
    (known.pieces.get(generation) ?? []).every((piece) => agrees(piece, at, bytes));
  const generation = world.generations.get(lifeAt(stream, at + 1));
  if (generation !== undefined) return fits(generation);
  const taken = new Set(world.generations.values());
  const open = [...known.last.keys()].filter((candidate) => !taken.has(candidate));
  return open.length === 0 ? isShownOtherwise : open.some(fits);
}

/** Whether `bytes` can lie at `at`: not inside of what an answered write put there, and not other than what was read there. */
function agrees(piece: Piece, at: number, bytes: string): boolean {
  const from = Math.max(at, piece.from);
  const to = Math.min(at + bytes.length, piece.from + piece.bytes.length);
  if (from >= to) return true;
  if (piece.writer !== null) return false;
  return bytes.slice(from - at, to - at) === piece.bytes.slice(from - piece.from, to - piece.from);
}
