/** The model against the engine: whatever is asked one after the other, both give the same answers. */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { openMemoryEngine } from "../../packages/server/src/memory-engine.ts";
import { judge } from "../model/answers.ts";
import { checkHistory } from "../model/checker.ts";
import { ask } from "../model/engine-client.ts";
import { formatToken, parseToken } from "../model/history.ts";
import type {
  AppendRequest,
  CreateRequest,
  History,
  Instant,
  Operation,
  Outcome,
  Producer,
  Request,
} from "../model/history.ts";
import { apply, momentAt } from "../model/model.ts";
import type { Moment } from "../model/model.ts";
import { EMPTY_WORLD, hasForks, without } from "../model/world.ts";
import type { Stream, World } from "../model/world.ts";

const START_MS = 1_700_000_000_000;
const PATHS = ["a", "b", "c"];
const TEXT = "text/plain";
const JSON_TYPE = "application/json";

const CLOSE_ONLY: AppendRequest = {
  kind: "append",
  contentType: null,
  messages: [],
  close: true,
  producer: null,
  streamSeq: null,
};

const PLAIN_CREATE: CreateRequest = {
  kind: "create",
  contentType: TEXT,
  ttlSeconds: null,
  expiresAtMs: null,
  closed: false,
  messages: [],
  fork: null,
};

/** An offset by how it is come to: tokens are not known before the run. */
type OffsetChoice =
  | "start"
  | "now"
  | { readonly seen: number; readonly by: number }
  | { readonly generation: number; readonly position: number };

type Planned =
  | { readonly kind: "ask"; readonly path: string; readonly request: Exclude<Request, { kind: "read" | "create" }> }
  | { readonly kind: "read"; readonly path: string; readonly offset: OffsetChoice }
  | { readonly kind: "create"; readonly path: string; readonly request: CreateRequest }
  | {
      readonly kind: "fork";
      readonly path: string;
      readonly request: CreateRequest;
      readonly source: string;
      readonly offset: OffsetChoice | "tail";
      readonly subOffset: number;
    }
  | { readonly kind: "later"; readonly ms: number };

type Asked = Exclude<Planned, { kind: "later" }>;

const path = fc.constantFrom(...PATHS);

/** Mostly the type that the path is given at first, so that most requests are not refused for it. */
function contentTypeOf(name: string): fc.Arbitrary<string | null> {
  return fc.oneof(
    { weight: 12, arbitrary: fc.constant(name === "c" ? JSON_TYPE : TEXT) },
    { weight: 1, arbitrary: fc.constantFrom("Text/Plain; charset=utf-8", null, TEXT, JSON_TYPE) },
  );
}

const word = fc.string({ minLength: 1, maxLength: 12, unit: fc.constantFrom("x", "y", "z") });

/** A body of the type that it is sent as. */
function bodyOf(type: string | null, isCreate: boolean): fc.Arbitrary<readonly string[] | null> {
  if (type !== JSON_TYPE) return fc.option(word, { nil: "" }).map((text) => (text === "" ? [] : [text]));
  const values = fc.array(
    word.map((text) => `"${text}",`),
    { minLength: isCreate ? 0 : 1, maxLength: 3 },
  );
  return fc.oneof({ weight: 5, arbitrary: values }, { weight: 1, arbitrary: fc.constantFrom(null, []) });
}

const expiry = fc.oneof(
  { weight: 8, arbitrary: fc.constant({ ttlSeconds: null, expiresAtMs: null }) },
  {
    weight: 2,
    arbitrary: fc.constantFrom(2, 4).map((ttlSeconds) => ({ ttlSeconds, expiresAtMs: null as number | null })),
  },
  { weight: 1, arbitrary: fc.constantFrom(2500, 6000).map((ms) => ({ ttlSeconds: null, expiresAtMs: START_MS + ms })) },
);

const seldom = fc.integer({ min: 0, max: 24 }).map((draw) => draw === 11);

function createRequest(type: string | null): fc.Arbitrary<CreateRequest> {
  return fc
    .record({ messages: bodyOf(type, true), closed: seldom, expiry })
    .map(({ messages, closed, expiry: { ttlSeconds, expiresAtMs } }) => ({
      kind: "create",
      contentType: type,
      ttlSeconds,
      expiresAtMs,
      closed,
      messages,
      fork: null,
    }));
}

/** Counted from what the model knows of that producer: `seq` 1 is the next one. */
const producer = fc.record({
  id: fc.constantFrom("p", "p", "__proto__"),
  epoch: fc.constantFrom(0, 0, 0, 0, 1, -1),
  seq: fc.constantFrom(1, 1, 1, 1, 0, -1, 2),
});

function appendRequest(type: string | null): fc.Arbitrary<AppendRequest> {
  return fc.record({
    kind: fc.constant("append" as const),
    contentType: fc.constant(type),
    messages: bodyOf(type, false),
    close: seldom,
    producer: fc.oneof({ weight: 2, arbitrary: producer }, fc.constant(null)),
    streamSeq: fc.constantFrom(...Array<null>(14).fill(null), "1", "10", "2", "a"),
  });
}

const offset: fc.Arbitrary<OffsetChoice> = fc.oneof(
  fc.constantFrom("start" as const, "now" as const),
  { weight: 6, arbitrary: fc.record({ seen: fc.nat(1000), by: fc.integer({ min: -3, max: 3 }) }) },
  fc.record({ generation: fc.nat(9), position: fc.nat(20) }),
);

function requestTo(name: string): fc.Arbitrary<Planned> {
  const at = { path: fc.constant(name) };
  const create = contentTypeOf(name).chain(createRequest);
  const append = contentTypeOf(name).chain(appendRequest);
  return fc.oneof(
    { weight: 4, arbitrary: fc.record({ ...at, kind: fc.constant("create" as const), request: create }) },
    {
      weight: 4,
      arbitrary: fc.record({
        ...at,
        kind: fc.constant("fork" as const),
        // Without a type, how a body is framed is the source's affair.
        request: create.map((request) => (request.contentType === null ? { ...request, messages: [] } : request)),
        source: path,
        offset: fc.oneof(
          fc.constant("tail" as const),
          offset.filter((choice) => choice !== "now"),
        ),
        subOffset: fc.oneof(fc.constant(0), fc.nat(4)),
      }),
    },
    { weight: 18, arbitrary: fc.record({ ...at, kind: fc.constant("ask" as const), request: append }) },
    { weight: 1, arbitrary: fc.constant({ path: name, kind: "ask" as const, request: CLOSE_ONLY }) },
    {
      weight: 3,
      arbitrary: fc.record({
        ...at,
        kind: fc.constant("ask" as const),
        request: fc.constantFrom({ kind: "delete" as const }, { kind: "head" as const }),
      }),
    },
    { weight: 8, arbitrary: fc.record({ ...at, kind: fc.constant("read" as const), offset }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("later" as const), ms: fc.constantFrom(1, 999, 2000) }) },
  );
}

const planned: fc.Arbitrary<Planned> = path.chain(requestTo);

function tokenOf(choice: OffsetChoice, seen: readonly string[]): string {
  if (typeof choice === "string") return choice;
  if ("generation" in choice) return formatToken(choice.generation, choice.position);
  const token = parseToken(seen.at(choice.seen % Math.max(1, seen.length)) ?? "");
  return token === null ? "start" : formatToken(token.generation, Math.max(0, token.position + choice.by));
}

function producerOf(stream: Stream | undefined, by: Producer): Producer {
  const known = stream?.producers.get(by.id);
  const epoch = Math.max(0, (known?.epoch ?? 0) + by.epoch);
  const last = known === undefined || by.epoch > 0 ? -1 : known.seq;
  return { id: by.id, epoch, seq: Math.max(0, last + by.seq) };
}

function requestOf(step: Asked, seen: readonly string[], stream: Stream | undefined): Request {
  switch (step.kind) {
    case "read":
      return { kind: "read", offset: tokenOf(step.offset, seen), wait: false };
    case "fork": {
      const at = step.offset === "tail" ? "tail" : tokenOf(step.offset, seen);
      // Over HTTP a sub-offset needs an offset to count from.
      const subOffset = at === "tail" ? 0 : step.subOffset;
      return { ...step.request, fork: { source: step.source, offset: at, subOffset } };
    }
    case "ask": {
      const { request } = step;
      if (request.kind !== "append" || request.producer === null) return request;
      return { ...request, producer: producerOf(stream, request.producer) };
    }
    default:
      return step.request;
  }
}

/** Where there is no stream, few requests are of interest: the create that most of them are sent after, or null. */
function neededBefore(step: Asked, index: number, world: World): Asked | null {
  const path = step.kind === "fork" ? step.source : step.path;
  if (step.kind === "create" || world.streams.has(path) || index % 4 === 0) return null;
  return { kind: "create", path, request: { ...PLAIN_CREATE, contentType: path === "c" ? JSON_TYPE : TEXT } };
}

function shownToken(outcome: Outcome): string | null {
  if (outcome.kind === "data") return outcome.next;
  return "shown" in outcome ? outcome.shown.tail : null;
}

/** What the world may be: an expired fork goes when the server gets to it, and only then does it let go of its source. */
function sweptWorlds(world: World, moment: Moment): World[] {
  const swept = [...world.streams]
    .filter(([path, stream]) => stream.lineage.length > 1 && !stream.softDeleted && moment.expired(path, stream))
    .filter(([, stream]) => !hasForks(world, stream))
    .flatMap(([path]) => sweptWorlds(without(world, path), moment));
  return [world, ...swept];
}

/** @throws at the first answer that is not the model's */
async function compare(plan: readonly Planned[], met: Map<string, number>): Promise<void> {
  let nowMs = START_MS;
  const memory = openMemoryEngine({ clock: () => nowMs, chunkBytes: 16 });
  const seen = new Map(PATHS.map((name): [string, string[]] => [name, []]));
  let world = EMPTY_WORLD;
  let turn = 0;
  const put = async (step: Asked): Promise<void> => {
    const offsetsOf = step.kind === "fork" ? step.source : step.path;
    // Now and then one of another stream.
    const tokens = seen.get(turn % 7 === 0 ? PATHS[turn % 3]! : offsetsOf)!;
    const request = requestOf(step, tokens, world.streams.get(step.path));
    const outcome = await ask(memory, step.path, request);
    met.set(outcome.kind, (met.get(outcome.kind) ?? 0) + 1);
    const moment = momentAt(nowMs);
    const judged = sweptWorlds(world, moment).map((possible) =>
      judge(possible, apply(possible, step.path, request, moment), step.path, outcome, true),
    );
    const judgement = judged.find(({ kind }) => kind !== "differs") ?? judged[0]!;
    if (judgement.kind === "differs") {
      const [asked, answered] = [JSON.stringify(request), JSON.stringify(outcome)];
      throw new Error(`${step.path} ${asked}: the engine answers ${answered}; ${judgement.why}`);
    }
    world = judgement.world;
    const token = shownToken(outcome);
    if (token !== null) seen.get(step.path)!.push(token);
    turn += 1;
  };
  try {
    for (const [index, step] of plan.entries()) {
      if (step.kind === "later") {
        nowMs += step.ms;
        continue;
      }
      const needed = neededBefore(step, index, world);
      if (needed !== null) await put(needed);
      await put(step);
    }
  } finally {
    await memory.close();
  }
}

const create = (path: string, more: Partial<CreateRequest> = {}): Planned => ({
  kind: "create",
  path,
  request: { ...PLAIN_CREATE, ...more },
});
const fork = (path: string, source: string): Planned => ({
  kind: "fork",
  path,
  source,
  offset: "tail",
  subOffset: 0,
  request: PLAIN_CREATE,
});
const close = (path: string, by: Producer | null = null): Planned => ({
  kind: "ask",
  path,
  request: { ...CLOSE_ONLY, producer: by },
});
const append = (path: string, more: Partial<AppendRequest>): Planned => ({
  kind: "ask",
  path,
  request: { ...CLOSE_ONLY, contentType: TEXT, messages: ["x"], close: false, ...more },
});
const remove = (path: string): Planned => ({ kind: "ask", path, request: { kind: "delete" } });

/** Answers that random requests seldom get. */
const RARE: readonly Planned[] = [
  create("a"),
  fork("b", "a"),
  fork("c", "b"),
  remove("a"),
  remove("a"),
  create("a"),
  remove("b"),
  remove("c"),
  fork("b", "a"),
  create("a", { ttlSeconds: 2 }),
  fork("b", "a"),
  { kind: "later", ms: 2000 } as const,
  create("a"),
  remove("a"),
  remove("b"),
  create("a"),
  append("a", { streamSeq: "2" }),
  append("a", { streamSeq: "1" }),
  append("a", { producer: { id: "p", epoch: 1, seq: 1 } }),
  append("a", { producer: { id: "p", epoch: 0, seq: 0 } }),
  append("a", { producer: { id: "p", epoch: -1, seq: 1 } }),
  append("a", { producer: { id: "p", epoch: 1, seq: 2 } }),
  append("a", { producer: { id: "p", epoch: 0, seq: 2 } }),
  append("a", { contentType: null }),
  close("a", { id: "p", epoch: 0, seq: 1 }),
  close("a", { id: "p", epoch: 0, seq: 0 }),
  close("a"),
  append("a", {}),
  append("a", { producer: { id: "p", epoch: -1, seq: 0 } }),
  create("c", { contentType: JSON_TYPE }),
  append("c", { contentType: JSON_TYPE, messages: null }),
];

test("the engine gives every answer that the model gives, in any sequence of requests", async () => {
  const met = new Map<string, number>();
  await fc.assert(
    fc.asyncProperty(fc.array(planned, { minLength: 20, maxLength: 80, size: "max" }), (plan) => compare(plan, met)),
    { numRuns: 30, examples: [[RARE]] },
  );
  // A property that never meets an answer says nothing of it.
  const wanted: readonly Outcome["kind"][] = [
    ...(["created", "exists", "conflict", "no-source", "bad", "bad-body", "appended", "duplicate"] as const),
    ...(["already-closed", "closed", "content-type", "missing-content-type", "empty-body", "epoch-start"] as const),
    ...(["stale-epoch", "gap", "stream-seq", "deleted", "not-found", "gone", "metadata", "data"] as const),
    "offset-gone",
  ];
  expect(wanted.filter((kind) => !met.has(kind))).toEqual([]);
});

/** Puts requests to one engine from several clients at once, and records what they saw. */
async function recorded(plan: readonly Planned[]): Promise<History> {
  const memory = openMemoryEngine({ clock: () => START_MS, chunkBytes: 16 });
  const operations: Operation[] = [];
  const seen: string[] = [];
  const left = [...plan.entries()];
  let step = 0;
  const now = (): Instant => ({ step: (step += 1), ms: START_MS });
  const client = async (name: string): Promise<void> => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      const [id, planned] = next;
      if (planned.kind === "later") continue;
      const asked: Asked = id % 3 === 0 && planned.kind === "ask" ? (create(planned.path) as Asked) : planned;
      const request = requestOf(asked, seen, undefined);
      const call = now();
      const outcome = await ask(memory, asked.path, request);
      const token = shownToken(outcome);
      if (token !== null) seen.push(token);
      operations.push({ id, client: name, path: asked.path, request, call, return: now(), endedBy: null, outcome });
    }
  };
  try {
    await Promise.all(["c1", "c2", "c3", "c4", "c5", "c6"].map(client));
  } finally {
    await memory.close();
  }
  return { operations, crashes: [] };
}

test("what clients see who ask the engine at the same time has an order", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(planned, { minLength: 20, maxLength: 80, size: "max" }), async (plan) => {
      const verdict = checkHistory(await recorded(plan));
      expect(verdict.kind === "violation" ? verdict.text : verdict.kind).toBe("linearizable");
    }),
    { numRuns: 12 },
  );
});
