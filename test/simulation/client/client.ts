/** One client: takes its steps one after another, and remembers what a client would. */
import { formatToken, parseToken } from "../../model/history.ts";
import type { AppendRequest, CreateRequest, OffsetToken, Outcome, Producer, Request } from "../../model/history.ts";
import type { Action, OffsetChoice, Step } from "../plan.ts";
import { messagesOf } from "./bodies.ts";

/** Sends a request and resolves with its answer, or with null when none came. */
export type Send = (client: string, path: string, request: Request) => Promise<Outcome | null>;

/** What clients tell each other of a path. */
export interface Shared {
  readonly tokens: Map<string, OffsetToken[]>;
  readonly types: Map<string, string>;
}

interface Sender {
  epoch: number;
  /** Of the next new request. */
  seq: number;
  /** The newest request; "again" sends it once more. */
  last: AppendRequest | null;
  /** No answer came to it. */
  isOpen: boolean;
}

/** Reads of one "follow". */
const FOLLOW_MAX = 40;

export class Client {
  readonly #name: string;
  readonly #send: Send;
  readonly #shared: Shared;
  readonly #senders = new Map<string, Sender>();
  #streamSeq = 0;

  constructor(name: string, send: Send, shared: Shared) {
    this.#name = name;
    this.#send = send;
    this.#shared = shared;
  }

  async take({ id, action }: Step): Promise<void> {
    const name = `${this.#name}.${id}`;
    switch (action.kind) {
      case "create":
        await this.#create(name, action);
        return;
      case "fork":
        await this.#fork(name, action);
        return;
      case "append":
        await this.#append(name, action);
        return;
      case "remove":
        await this.#ask(action.path, { kind: "delete" });
        return;
      case "head":
        await this.#ask(action.path, { kind: "head" });
        return;
      case "read":
        await this.#read(action);
        return;
      case "follow":
        await this.follow(action.path);
        return;
      default:
        throw new Error(`a client does not ${action.kind}`);
    }
  }

  /** Reads from the start to the tail, chunk by chunk. Resolves with the last answer. */
  async follow(path: string): Promise<Outcome | null> {
    let offset: OffsetToken = "start";
    let outcome: Outcome | null = null;
    for (let reads = 0; reads < FOLLOW_MAX; reads++) {
      outcome = await this.#ask(path, { kind: "read", offset, wait: false });
      if (outcome?.kind !== "data" || outcome.upToDate) break;
      offset = outcome.next;
    }
    return outcome;
  }

  async #read({ path, offset: choice, wait }: Extract<Action, { kind: "read" }>): Promise<void> {
    const offset = this.#offset(path, choice);
    if (offset !== "now" || !wait) {
      await this.#ask(path, { kind: "read", offset, wait });
      return;
    }
    // The tail at which a wait begins is learned first: an answer to both at once would be of two moments.
    const tail = await this.#ask(path, { kind: "read", offset, wait: false });
    if (tail?.kind === "data") await this.#ask(path, { kind: "read", offset: tail.next, wait });
  }

  async #create(name: string, action: Extract<Action, { kind: "create" }>): Promise<void> {
    const { path, contentType, ttlSeconds, closed, sizes } = action;
    const request: CreateRequest = {
      kind: "create",
      contentType,
      ttlSeconds,
      expiresAtMs: null,
      closed,
      messages: messagesOf(name, sizes, contentType),
      fork: null,
    };
    const outcome = await this.#ask(path, request);
    if (outcome?.kind === "created" || outcome === null) this.#shared.types.set(path, contentType);
  }

  async #fork(name: string, action: Extract<Action, { kind: "fork" }>): Promise<void> {
    const { path, source, offset, subOffset, closed, sizes } = action;
    const contentType = action.contentType ?? this.#shared.types.get(source) ?? "text/plain";
    const at = offset.kind === "tail" || offset.kind === "now" ? "tail" : this.#offset(source, offset);
    const request: CreateRequest = {
      kind: "create",
      contentType: null,
      ttlSeconds: null,
      expiresAtMs: null,
      closed,
      messages: messagesOf(name, sizes, contentType),
      fork: { source, offset: at, subOffset: at === "tail" ? 0 : subOffset },
    };
    const outcome = await this.#ask(path, request);
    if (outcome?.kind === "created") this.#shared.types.set(path, contentType);
  }

  async #append(name: string, action: Extract<Action, { kind: "append" }>): Promise<void> {
    const { path, sizes, close, otherType } = action;
    const known = this.#shared.types.get(path) ?? "application/octet-stream";
    const contentType = otherType ? "text/csv" : known;
    const plain: AppendRequest = {
      kind: "append",
      contentType,
      messages: messagesOf(name, sizes, contentType),
      close,
      producer: null,
      streamSeq: this.#seq(action.streamSeq),
    };
    if (action.producer === "none") {
      await this.#ask(path, plain);
      return;
    }
    const sender = this.#sender(path);
    const request = this.#produced(sender, plain, action.producer);
    const outcome = await this.#ask(path, request);
    learn(sender, request, outcome);
  }

  #produced(sender: Sender, plain: AppendRequest, how: Extract<Action, { kind: "append" }>["producer"]): AppendRequest {
    // Whoever got no answer asks the same again: that is what producers are for.
    if (sender.last !== null && (sender.isOpen || how === "again")) return sender.last;
    const producer: Producer = { id: `p-${this.#name}`, epoch: sender.epoch, seq: sender.seq };
    if (how === "epoch") return { ...plain, producer: { ...producer, epoch: sender.epoch + 1, seq: 0 } };
    if (how === "gap") return { ...plain, producer: { ...producer, seq: sender.seq + 2 } };
    if (how === "stale" && sender.epoch > 0) return { ...plain, producer: { ...producer, epoch: sender.epoch - 1 } };
    return { ...plain, producer };
  }

  #sender(path: string): Sender {
    let sender = this.#senders.get(path);
    if (sender === undefined) {
      sender = { epoch: 0, seq: 0, last: null, isOpen: false };
      this.#senders.set(path, sender);
    }
    return sender;
  }

  #seq(how: "none" | "up" | "same"): string | null {
    if (how === "none") return null;
    if (how === "up") this.#streamSeq += 1;
    return String(this.#streamSeq).padStart(8, "0");
  }

  async #ask(path: string, request: Request): Promise<Outcome | null> {
    const outcome = await this.#send(this.#name, path, request);
    const token = outcome === null ? null : tokenOf(outcome);
    if (token !== null) {
      const tokens = this.#shared.tokens.get(path);
      if (tokens === undefined) this.#shared.tokens.set(path, [token]);
      else tokens.push(token);
    }
    return outcome;
  }

  #offset(path: string, choice: OffsetChoice): OffsetToken | "start" | "now" {
    if (choice.kind === "start" || choice.kind === "now") return choice.kind;
    const tokens = this.#shared.tokens.get(path) ?? [];
    const part = "part" in choice ? choice.part : 1;
    const token = tokens[Math.min(tokens.length - 1, Math.floor(part * tokens.length))];
    if (token === undefined) return "start";
    if (choice.kind !== "past" && choice.kind !== "inside") return token;
    const { generation, position } = parseToken(token)!;
    return formatToken(generation, choice.kind === "inside" ? Math.max(0, position - choice.back) : position + 1);
  }
}

function tokenOf(outcome: Outcome): OffsetToken | null {
  if ("shown" in outcome) return outcome.shown.tail;
  return outcome.kind === "data" ? outcome.next : null;
}

function learn(sender: Sender, request: AppendRequest, outcome: Outcome | null): void {
  sender.last = request;
  // A refusal promises that nothing has happened; the same request may be sent again all the same.
  sender.isOpen = outcome === null || outcome.kind === "refused";
  const { epoch, seq } = request.producer!;
  if (outcome?.kind === "appended" || outcome?.kind === "duplicate") {
    const accepted = outcome.kind === "duplicate" ? outcome.seq : seq;
    if (epoch > sender.epoch || accepted >= sender.seq) {
      sender.epoch = epoch;
      sender.seq = accepted + 1;
    }
  } else if (outcome?.kind === "gap" && epoch === sender.epoch) sender.seq = outcome.expected;
  else if (outcome?.kind === "stale-epoch") {
    sender.epoch = outcome.epoch + 1;
    sender.seq = 0;
  } else if (outcome?.kind === "epoch-start" || outcome?.kind === "not-found") {
    sender.seq = 0;
  }
}
