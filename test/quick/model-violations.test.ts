/** Histories told line by line: a judge that accepts everything would prove nothing, so each fault is put before it here. */
import { describe, expect, test } from "vitest";
import { checkHistory } from "../model/checker.ts";
import type { Verdict } from "../model/checker.ts";
import { formatToken } from "../model/history.ts";
import type {
  AppendRequest,
  CreateRequest,
  ForkFrom,
  History,
  Instant,
  Operation,
  Outcome,
  Producer,
  Request,
} from "../model/history.ts";

function explain(verdict: Verdict): string {
  return verdict.kind === "violation" ? verdict.text : verdict.kind;
}

const CREATE: CreateRequest = {
  kind: "create",
  contentType: "text/plain",
  ttlSeconds: null,
  expiresAtMs: null,
  closed: false,
  messages: [],
  fork: null,
};
const DELETE: Request = { kind: "delete" };
const HEAD: Request = { kind: "head" };
const READ: Request = { kind: "read", offset: "start", wait: false };

function append(message: string, more: Partial<AppendRequest> = {}): AppendRequest {
  return {
    kind: "append",
    contentType: "text/plain",
    messages: message === "" ? [] : [message],
    close: false,
    producer: null,
    streamSeq: null,
    ...more,
  };
}

function by(seq: number): Producer {
  return { id: "p", epoch: 0, seq };
}

function shown(tail: number, closed = false, generation = 1): { shown: { tail: string; closed: boolean } } {
  return { shown: { tail: formatToken(generation, tail), closed } };
}

const created: Outcome = { kind: "created", ...shown(0) };
const appended = (tail: number, closed = false): Outcome => ({ kind: "appended", ...shown(tail, closed) });
const head = (tail: number, closed = false): Outcome => ({
  kind: "metadata",
  contentType: "text/plain",
  ...shown(tail, closed),
});
const data = (bytes: string, closed = false): Outcome => ({
  kind: "data",
  bytes,
  next: formatToken(1, bytes.length),
  upToDate: true,
  closed,
});

/** A history told line by line. */
class Told {
  readonly #operations: Operation[] = [];
  readonly #crashes: Instant[] = [];
  #step = 0;

  #now(): Instant {
    this.#step += 1;
    return { step: this.#step, ms: this.#step };
  }

  /** Answered before anything else happens. */
  did(request: Request, outcome: Outcome, path = "s"): this {
    this.call(request, path)(outcome);
    return this;
  }

  /** The returned function is the answer. */
  call(request: Request, path = "s"): (outcome: Outcome) => void {
    const id = this.#operations.length + 1;
    const base = { id, client: `c${id}`, path, request, call: this.#now(), endedBy: null };
    this.#operations.push({ ...base, return: null, outcome: null });
    return (outcome) => {
      this.#operations[id - 1] = { ...base, return: this.#now(), outcome };
    };
  }

  lost(request: Request, path = "s"): this {
    this.call(request, path);
    return this;
  }

  crash(): this {
    const endedBy = this.#now();
    this.#crashes.push(endedBy);
    for (const [index, operation] of this.#operations.entries())
      if (operation.return === null) this.#operations[index] = { ...operation, endedBy: operation.endedBy ?? endedBy };
    return this;
  }

  get history(): History {
    return { operations: this.#operations, crashes: this.#crashes };
  }
}

const told = (): Told => new Told().did(CREATE, created);

describe("each way of losing the order is found, and what is like it but right is accepted", () => {
  test.each<[string, Told, Told]>([
    [
      "a delete that comes back",
      told().did(DELETE, { kind: "deleted" }).crash().did(HEAD, { kind: "not-found" }),
      told().did(DELETE, { kind: "deleted" }).crash().did(HEAD, head(0)),
    ],
    [
      "a close that is forgotten",
      told()
        .did(append("x", { close: true }), appended(1, true))
        .crash()
        .did(HEAD, head(1, true)),
      told()
        .did(append("x", { close: true }), appended(1, true))
        .crash()
        .did(HEAD, head(1)),
    ],
    [
      "a close whose last message is there without it",
      told()
        .lost(append("x", { close: true }))
        .crash()
        .did(READ, data("x", true)),
      told()
        .lost(append("x", { close: true }))
        .crash()
        .did(READ, data("x")),
    ],
    [
      "a read that goes back",
      told().did(append("x"), appended(1)).did(READ, data("x")).did(READ, data("x")),
      told().did(append("x"), appended(1)).did(READ, data("x")).did(READ, data("")),
    ],
    [
      "bytes that were read and vanish",
      told().lost(append("x")).did(READ, data("x")).crash().did(READ, data("x")),
      told().lost(append("x")).did(READ, data("x")).crash().did(READ, data("")),
    ],
    [
      "an append without an answer that comes after a later crash",
      told().lost(append("x")).did(READ, data("")).crash().did(READ, data("x")),
      told().lost(append("x")).crash().did(READ, data("")).did(READ, data("x")),
    ],
    [
      "an append without an answer that is there twice",
      told().lost(append("x")).did(READ, data("x")),
      told().lost(append("x")).did(READ, data("xx")),
    ],
    [
      "a producer's state behind its data",
      told()
        .did(append("x", { producer: by(0) }), appended(1))
        .crash()
        .did(append("x", { producer: by(0) }), { kind: "duplicate", epoch: 0, seq: 0, ...shown(1) }),
      told()
        .did(append("x", { producer: by(0) }), appended(1))
        .crash()
        .did(append("x", { producer: by(0) }), appended(2)),
    ],
    [
      "a producer's state ahead of its data",
      told()
        .lost(append("x", { producer: by(0) }))
        .crash()
        .did(append("x", { producer: by(0) }), appended(1)),
      told()
        .lost(append("x", { producer: by(0) }))
        .crash()
        .did(append("x", { producer: by(0) }), { kind: "duplicate", epoch: 0, seq: 0, ...shown(0) })
        .did(READ, data("")),
    ],
    [
      "a gap that nothing explains",
      told()
        .lost(append("x", { producer: by(0) }))
        .did(append("z", { producer: by(2) }), { kind: "gap", expected: 1 }),
      told().did(append("z", { producer: by(2) }), { kind: "gap", expected: 1 }),
    ],
    [
      "a generation that a path has had before",
      told()
        .did(DELETE, { kind: "deleted" })
        .did(CREATE, { kind: "created", ...shown(0, false, 2) }),
      told().did(DELETE, { kind: "deleted" }).did(CREATE, created),
    ],
    [
      "a generation smaller than an earlier one",
      told()
        .did(DELETE, { kind: "deleted" })
        .did(CREATE, { kind: "created", ...shown(0, false, 3) }),
      new Told()
        .did(CREATE, { kind: "created", ...shown(0, false, 3) })
        .did(DELETE, { kind: "deleted" })
        .did(CREATE, { kind: "created", ...shown(0, false, 2) }),
    ],
    [
      "an offset of a deleted stream that reads the next one",
      told()
        .did(append("x"), appended(1))
        .did(DELETE, { kind: "deleted" })
        .did(CREATE, { kind: "created", ...shown(0, false, 2) })
        .did({ kind: "read", offset: formatToken(1, 0), wait: false }, { kind: "offset-gone" }),
      told()
        .did(append("x"), appended(1))
        .did(DELETE, { kind: "deleted" })
        .did(CREATE, { kind: "created", ...shown(0, false, 2) })
        .did(
          { kind: "read", offset: formatToken(1, 0), wait: false },
          { kind: "data", bytes: "", next: formatToken(2, 0), upToDate: true, closed: false },
        ),
    ],
    [
      "a stream that does not know of an earlier answer",
      told().did(append("xy"), appended(2)).did(append("z"), appended(3)),
      told().did(append("xy"), appended(2)).did(append("z"), appended(1)),
    ],
  ])("%s", (_, right, wrong) => {
    expect(explain(checkHistory(right.history))).toBe("linearizable");
    expect(explain(checkHistory(wrong.history))).toContain("No order");
  });

  test("appends that overlap may come in either order, but only in one", () => {
    const overlapping = (bytes: string): History => {
      const story = told();
      const [one, other] = [story.call(append("xx")), story.call(append("y"))];
      one(appended(3));
      other(appended(1));
      return story.did(READ, data(bytes)).history;
    };
    expect(explain(checkHistory(overlapping("yxx")))).toBe("linearizable");
    expect(explain(checkHistory(overlapping("xxy")))).toContain("No order");
  });

  test("streams that do not fork from one another never have a generation in common", () => {
    const story = told().did(CREATE, created, "t");
    expect(explain(checkHistory(story.history))).toContain("nothing to do with each other");
  });
});

/** A read that ends before the tail does. */
const chunk = (bytes: string, generation = 1): Outcome => ({
  kind: "data",
  bytes,
  next: formatToken(generation, bytes.length),
  upToDate: false,
  closed: false,
});

function forkAt(offset: ForkFrom["offset"], subOffset: number, message = ""): CreateRequest {
  return { ...CREATE, fork: { source: "s", offset, subOffset }, messages: message === "" ? [] : [message] };
}

const readFrom = (position: number): Request => ({ kind: "read", offset: formatToken(1, position), wait: false });
const gone: Outcome = { kind: "deleted" };
const createdAt = (tail: number, generation = 1): Outcome => ({ kind: "created", ...shown(tail, false, generation) });

describe("an append without an answer is there when it is seen only in part", () => {
  const json = { contentType: "application/json" };
  const two = append("", { messages: ["ab", "cd"] });

  test.each<[string, Told]>([
    ["by a read that ends after its first message", told().lost(two).did(READ, chunk("ab")).did(DELETE, gone)],
    [
      "by such a read, when somebody asks for what is past it later",
      told().lost(two).did(READ, chunk("ab")).did(DELETE, gone).did(readFrom(3), { kind: "not-found" }),
    ],
    [
      "by a read that ends before it and says that more follows",
      told().did(append("x"), appended(1)).lost(two).did(READ, chunk("x")).did(DELETE, gone),
    ],
    ["by a fork in the middle of it", told().lost(append("abcd")).did(forkAt("start", 2), createdAt(2), "f")],
    [
      "by a fork in the middle of it that has bytes of its own",
      told()
        .lost(append("abcd"))
        .did(forkAt("start", 2, "x"), createdAt(3, 2), "f"),
    ],
    [
      "by such a fork whose own answer is lost",
      told()
        .lost(append("abcd"))
        .lost(forkAt("start", 2), "f")
        .did(append("x"), { kind: "appended", ...shown(3, false, 2) }, "f"),
    ],
    [
      "by such a fork that is read only up to somewhere before its point",
      new Told()
        .did({ ...CREATE, ...json }, created)
        .lost(append("", { ...json, messages: ["1,", "2,"] }))
        .lost(append("3,", json))
        .lost({ ...forkAt("start", 3), ...json }, "f")
        .did(READ, chunk("1,"), "f"),
    ],
    [
      "by a fork behind a message that was read",
      told()
        .lost(two)
        .did(READ, chunk("ab"))
        .did(forkAt(formatToken(1, 2), 1), createdAt(3), "f"),
    ],
    [
      "by a fork that cannot be made because its path is taken",
      told().did(CREATE, createdAt(0, 2), "f").lost(append("abcd")).did(forkAt("start", 2), { kind: "conflict" }, "f"),
    ],
    [
      "on a fork, by a read that ends at the fork's point",
      told()
        .did(append("xy"), appended(2))
        .did(forkAt("start", 1), createdAt(1), "f")
        .lost(append("abcd"), "f")
        .did(READ, chunk("x"), "f"),
    ],
  ])("%s", (_, story) => {
    expect(explain(checkHistory(story.history))).toBe("linearizable");
  });

  test.each<[string, Told]>([
    ["when a read goes on though nothing follows", told().lost(append("ab")).did(READ, chunk("ab"))],
    ["when a fork's point is past its end", told().lost(append("ab")).did(forkAt("start", 3), createdAt(3), "f")],
    [
      "when a fork shows other bytes than it has",
      told().lost(append("abcd")).did(forkAt("start", 2), createdAt(2), "f").did(READ, data("xb"), "f"),
    ],
  ])("but not %s", (_, story) => {
    expect(explain(checkHistory(story.history))).toContain("No order");
  });
});

test("a failure names the smallest prefix of the history that has no order, and why", () => {
  const story = told()
    .did(append("one"), appended(3))
    .did(READ, data(""))
    .did(append("two"), appended(6))
    .did(READ, data("onetwo"));
  const verdict = checkHistory(story.history);
  expect(verdict).toMatchObject({ kind: "violation", operations: [{ id: 1 }, { id: 2 }, { id: 3 }] });
  expect(explain(verdict)).toBe(
    [
      "No order of these operations gives the answers that were seen.",
      "place  id  steps  client  path  request       answer",
      "1      #1  1-2    c1      s     create        created 1_0",
      '2      #2  3-4    c2      s     append "one"  appended 1_3',
      '!      #3  5-6    c3      s     read start    "" up to 1_0 up to date',
      "The longest order found: #1 #2",
      "After it:",
      "  #3 cannot come next: the model's bytes go from 0 to 3",
    ].join("\n"),
  );
});

test("dozens of appends without an answer leave the search small, whether they happened or not", () => {
  const story = told();
  for (let index = 0; index < 40; index++) story.lost(append(`<${index}>`));
  const happened = [31, 7, 22, 39, 0, 15].map((index) => `<${index}>`).join("");
  story.did(READ, data(happened)).did(append("!"), appended(happened.length + 1));
  const verdict = checkHistory(story.history);
  expect(verdict.kind === "linearizable" && verdict.places).toBeLessThan(200);
  story.did(READ, data(happened));
  expect(checkHistory(story.history, { placesMax: 2000 }).kind).toBe("violation");
});

test("a search that meets its bound says so", () => {
  expect(checkHistory(told().did(append("x"), appended(1)).history, { placesMax: 1 }).kind).toBe("undecided");
});
