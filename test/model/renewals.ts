/**
 * Expiry where times are ranges. An operation happens at some moment between its call and its answer, so a stream whose time is
 * up in between may be there or not: both are tried. Once one operation has found it expired, so do all after it.
 */
import type { Instant, Operation } from "./history.ts";
import { hasForks } from "./world.ts";
import type { Moment } from "./model.ts";
import type { Span, Stream, World } from "./world.ts";

/** After a crash a sliding TTL may last longer by this, because not every renewal is recorded. */
const SLACK_MS_MAX = 1000;

interface Choice {
  readonly world: World;
  readonly moment: Moment;
}

interface Renewer {
  readonly path: string;
  readonly fromMs: number;
  readonly toMs: number;
}

/** `used` of a stream that was found expired. */
const LAPSED: Span = { fromMs: -Infinity, toMs: -Infinity };

export class Renewals {
  /** Waits, and operations without an answer: they may renew a TTL at any moment while they last. */
  readonly #renewers: readonly Renewer[];
  readonly #crashes: readonly number[];

  constructor(operations: readonly Operation[], crashes: readonly Instant[]) {
    this.#crashes = crashes.map(({ ms }) => ms);
    this.#renewers = operations
      .filter(({ request, outcome }) => outcome === null || (request.kind === "read" && request.wait))
      .map((operation) => ({ path: operation.path, fromMs: operation.call.ms, toMs: endOf(operation) }));
  }

  /**
   * The ways in which the operation may find the streams it names, as moments with the worlds that they make so. It happens by
   * `latestMs`, when another one that comes after it was answered. What comes before it does not narrow its time: then one that
   * changes nothing could not be put in order early without a loss.
   */
  choices(world: World, operation: Operation, latestMs: number): Choice[] {
    const fromMs = operation.call.ms;
    const span: Span = { fromMs, toMs: Math.max(fromMs, Math.min(endOf(operation), latestMs)) };
    const paths = new Set([operation.path]);
    if (operation.request.kind === "create" && operation.request.fork !== null)
      paths.add(operation.request.fork.source);
    let choices = [{ world, gone: new Set<string>() }];
    for (const path of paths) {
      const stream = world.streams.get(path);
      const due = stream === undefined ? "no" : this.#due(path, stream, span);
      if (due === "no") continue;
      const lapsed = choices.map((choice) => ({
        world: lapse(choice.world, path),
        gone: new Set(choice.gone).add(path),
      }));
      choices = due === "yes" ? lapsed : [...choices, ...lapsed];
    }
    return choices.map((choice) => ({
      world: choice.world,
      moment: { span, expired: (path) => choice.gone.has(path) },
    }));
  }

  /** Forks that have no forks themselves and may have expired by then. */
  sweepable(world: World, latestMs: number): string[] {
    const span: Span = { fromMs: -Infinity, toMs: latestMs };
    return [...world.streams]
      .filter(([path, stream]) => stream.lineage.length > 1 && this.#due(path, stream, span) !== "no")
      .filter(([, stream]) => !hasForks(world, stream))
      .map(([path]) => path);
  }

  #due(path: string, stream: Stream, span: Span): "yes" | "no" | "maybe" {
    const { ttlSeconds, expiresAtMs, used, wrote, softDeleted } = stream;
    if (softDeleted || (ttlSeconds === null && expiresAtMs === null)) return "no";
    if (used.toMs === -Infinity) return "yes";
    if (ttlSeconds === null) return within(span, expiresAtMs!, expiresAtMs!);
    const isForgotten = this.#crashes.some((ms) => ms >= used.fromMs && ms <= span.toMs);
    const slackMs = this.#crashes.length === 0 ? 0 : Math.min(SLACK_MS_MAX, ttlSeconds * 100);
    const lastUse = this.#renewers
      .filter((renewer) => renewer.path === path && renewer.fromMs <= span.toMs)
      .reduce((latest, { toMs }) => Math.max(latest, toMs), used.toMs);
    const first = (isForgotten ? wrote : used).fromMs + ttlSeconds * 1000;
    return within(span, first, lastUse + ttlSeconds * 1000 + slackMs);
  }
}

/** Whether something that happens between `first` and `last` has happened in the span. */
function within(span: Span, first: number, last: number): "yes" | "no" | "maybe" {
  if (span.toMs < first) return "no";
  return span.fromMs >= last ? "yes" : "maybe";
}

function lapse(world: World, path: string): World {
  const stream = world.streams.get(path)!;
  if (stream.used === LAPSED) return world;
  return { ...world, streams: new Map(world.streams).set(path, { ...stream, used: LAPSED }) };
}

function endOf(operation: Operation): number {
  return (operation.return ?? operation.endedBy)?.ms ?? Infinity;
}
