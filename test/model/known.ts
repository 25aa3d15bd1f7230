/**
 * What a history's answers say about positions, before any order is known: which bytes lie where, and up to where anybody has
 * seen. It spares the search the operations without an answer that cannot have happened at a place, or that nobody could tell
 * from not having happened there.
 */
import { parseToken } from "./history.ts";
import type { AppendRequest, ForkFrom, Operation, OffsetToken, Outcome } from "./history.ts";
import { lifeAt, tailOf } from "./world.ts";
import type { Stream, World } from "./world.ts";

interface Piece {
  readonly from: number;
  readonly bytes: string;
  /** The answered write that put it there; null when it was read. */
  readonly writer: number | null;
}

/** How far an append may reach and still be seen, on the streams of one generation. */
interface Reach {
  /** The last position that was shown as a tail: an append that is seen by it ends there or before. */
  readonly tail: number;
  /** An append that begins before this one may be seen in part: by the end of a chunk, by the point of a fork. */
  readonly inside: number;
}

export interface Known {
  /** By generation: bytes that lie at these positions, in no order. */
  readonly pieces: ReadonlyMap<number, readonly Piece[]>;
  readonly reach: ReadonlyMap<number, Reach>;
  /** Of generations that no answer shows: what is read of a fork may end before its own, and its point hides its source's. */
  readonly unshown: Reach;
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
  const hiddenAnswers = new Set<string>();
  let isVague = false;
  for (const operation of operations) {
    const { path, outcome } = operation;
    if (outcome === null) continue;
    if (SHOWS_NO_TAIL.has(outcome.kind)) hiddenAnswers.add(path);
    if ("shown" in outcome && outcome.shown.tail === null) isVague = true;
    const token = parseToken(tokenOf(outcome) ?? "");
    const piece = token === null ? null : pieceOf(operation, token.position);
    if (piece === null || piece.bytes === "") continue;
    const list = pieces.get(token!.generation);
    if (list === undefined) pieces.set(token!.generation, [piece]);
    else list.push(piece);
  }
  return { pieces, ...reachOf(operations), hiddenAnswers, isVague };
}

const NOWHERE: Reach = { tail: 0, inside: 0 };

function furthest(one: Reach, other: Reach): Reach {
  return { tail: Math.max(one.tail, other.tail), inside: Math.max(one.inside, other.inside) };
}

function reachOf(operations: readonly Operation[]): Pick<Known, "reach" | "unshown"> {
  const forks = new Set(operations.filter(({ request }) => forkOf(request) !== null).map(({ path }) => path));
  const reach = new Map<number, Reach>();
  let last = 0;
  let goesOn = 0;
  const extend = (generation: number, to: Reach): void => {
    reach.set(generation, furthest(reach.get(generation) ?? NOWHERE, to));
  };
  for (const { path, request, outcome } of operations) {
    const point = parseToken(forkOf(request)?.offset ?? "");
    if (point !== null) extend(point.generation, { tail: 0, inside: point.position });
    const token = outcome === null ? null : parseToken(tokenOf(outcome) ?? "");
    if (token === null) continue;
    const { generation, position } = token;
    last = Math.max(last, position);
    if (outcome?.kind === "data" && !outcome.upToDate) {
      goesOn = Math.max(goesOn, position + 1);
      extend(generation, { tail: 0, inside: position + 1 });
    } else {
      // A fork's tail may be its point, which may lie in the middle of one of its source's messages.
      extend(generation, { tail: position, inside: forks.has(path) ? position : 0 });
    }
  }
  const unnamed = pointsWithoutToken(operations, last);
  for (const generation of reach.keys()) extend(generation, unnamed);
  return { reach, unshown: furthest(unnamed, { tail: 0, inside: goesOn }) };
}

function forkOf(request: Operation["request"]): ForkFrom | null {
  return request.kind === "create" ? request.fork : null;
}

const NO_POINT: ReadonlySet<Outcome["kind"]> = new Set(["bad", "no-source", "refused"]);

/**
 * A fork shows how long its source is under a generation of its own, or under none that an answer names. `last` is the last position
 * of all answers.
 */
function pointsWithoutToken(operations: readonly Operation[], last: number): Reach {
  let reach = NOWHERE;
  for (const { request, outcome } of operations) {
    const fork = forkOf(request);
    if (fork === null) continue;
    if (fork.offset === "tail") reach = furthest(reach, { tail: last, inside: 0 });
    if (fork.subOffset === 0) continue;
    const isThere = outcome === null || !NO_POINT.has(outcome.kind);
    // The point is looked for first; only these two answers say where it can be.
    const isShown = outcome?.kind === "created" || outcome?.kind === "exists";
    if (isThere) reach = furthest(reach, { tail: 0, inside: isShown ? last : Infinity });
  }
  return reach;
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
  const isWithin = ({ tail, inside }: Reach): boolean => isShownOtherwise || at + bytes.length <= tail || at < inside;
  const fits = (generation: number): boolean =>
    isWithin(known.reach.get(generation) ?? known.unshown) &&
    (known.pieces.get(generation) ?? []).every((piece) => agrees(piece, at, bytes));
  const generation = world.generations.get(lifeAt(stream, at + 1));
  if (generation !== undefined) return fits(generation);
  const taken = new Set(world.generations.values());
  return (
    isWithin(known.unshown) || [...known.reach.keys()].some((candidate) => !taken.has(candidate) && fits(candidate))
  );
}

/** Whether `bytes` can lie at `at`: not inside of what an answered write put there, and not other than what was read there. */
function agrees(piece: Piece, at: number, bytes: string): boolean {
  const from = Math.max(at, piece.from);
  const to = Math.min(at + bytes.length, piece.from + piece.bytes.length);
  if (from >= to) return true;
  if (piece.writer !== null) return false;
  return bytes.slice(from - at, to - at) === piece.bytes.slice(from - piece.from, to - piece.from);
}
