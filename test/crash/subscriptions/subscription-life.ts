/** One subscription from its create to its delete: what was asked, acknowledged, told and seen of it. */
import { offsetOf, parseOffset } from "../../process/stored-bytes.ts";
import type { Fate } from "../incarnation.ts";
import type { StreamLife } from "./followed-stream.ts";
import { Leases } from "./leases.ts";

export interface SubscriptionPlan {
  readonly type: "webhook" | "pull-wake";
  readonly pattern: string | null;
  /** Explicit links asked for by the create. */
  readonly streams: readonly string[];
  readonly leaseTtlMs: number;
}

/** A link as a response shows it. */
export interface ShownLink {
  readonly path: string;
  readonly link_type: "explicit" | "glob";
  readonly acked_offset: string;
}

/** A link as a wake shows it. */
export interface ShownStream extends ShownLink {
  readonly tail_offset: string;
  readonly has_pending: boolean;
}

export interface StreamAck {
  readonly stream: string;
  readonly offset: string;
}

interface LinkFacts {
  /** The furthest acknowledged ack. */
  floor: string;
  /** The furthest offset that any ack named, answered or not. */
  sent: string;
  /** The link cannot have begun further on; null while nobody knows. */
  startMax: string | null;
}

/** One subscription from its create to its delete. */
export class SubscriptionLife {
  readonly id: string;
  /** Unlike any other life of that id. */
  readonly name: string;
  readonly plan: SubscriptionPlan;
  readonly wakeStream: string | null;
  readonly webhookUrl: string | null;
  readonly leases: Leases;
  created: Fate = "maybe";
  deleted: Fate = "no";
  /** Logical time from which it is known to be there. */
  confirmedAt: number = Number.POSITIVE_INFINITY;
  /** A restart has shown that it is deleted: nothing may be heard of it any more. */
  buried = false;
  /** Explicit links; "maybe" after a change without an answer. */
  readonly explicit: Map<string, Fate>;
  /** Paths whose explicit link came or went after the create. */
  readonly toggled: Set<string> = new Set();
  readonly #links = new Map<string, LinkFacts>();
  /** Paths that it followed at any time. */
  readonly #followed: Set<string>;

  constructor(id: string, life: number, plan: SubscriptionPlan, channel: { wakeRoot: string; hookRoot: string }) {
    this.id = id;
    this.name = `${id}.${life}`;
    this.plan = plan;
    this.wakeStream = plan.type === "pull-wake" ? `${channel.wakeRoot}/${this.name}` : null;
    this.webhookUrl = plan.type === "webhook" ? `${channel.hookRoot}/${this.name}` : null;
    this.leases = new Leases(this.name, plan.leaseTtlMs);
    this.explicit = new Map(plan.streams.map((path) => [path, "yes"]));
    this.#followed = new Set(plan.streams);
  }

  get isThere(): boolean {
    return this.created === "yes" && this.deleted === "no";
  }

  fail(what: string): never {
    this.leases.fail(what);
  }

  matches(path: string): boolean {
    const { pattern } = this.plan;
    if (pattern === null) return false;
    const root = pattern.slice(0, pattern.indexOf("*"));
    return path.startsWith(root) && (pattern.endsWith("**") || !path.slice(root.length).includes("/"));
  }

  /** The explicit link is asked for; it may begin at any tail until `linked` says more. */
  linking(path: string): void {
    if (this.explicit.get(path) !== "yes") {
      for (const [key, facts] of this.#links) if (key.startsWith(`${path}@`)) facts.startMax = null;
      this.explicit.set(path, "maybe");
    }
    this.toggled.add(path);
    this.#followed.add(path);
  }

  /** The explicit link is to go. */
  unlinking(path: string): void {
    this.toggled.add(path);
    this.explicit.set(path, "maybe");
  }

  /** The explicit link is there since before the stream had that tail, if it has one. */
  linked(path: string, tail: string | null): void {
    this.explicit.set(path, "yes");
    if (tail === null) return;
    const facts = this.#facts(path, parseOffset(tail).generation);
    facts.startMax ??= tail;
  }

  /** An ack is on its way: the cursor may go as far. */
  acking(acks: readonly StreamAck[]): void {
    for (const { stream, offset } of acks) {
      const facts = this.#facts(stream, parseOffset(offset).generation);
      if (offset > facts.sent) facts.sent = offset;
    }
  }

  /** An ack was acknowledged: the cursor stays as far. */
  acked(acks: readonly StreamAck[]): void {
    for (const { stream, offset } of acks) {
      const facts = this.#facts(stream, parseOffset(offset).generation);
      if (offset > facts.floor) facts.floor = offset;
    }
  }

  /** By path and generation: below which no answer to a request that is sent now may show the cursor. */
  floors(): ReadonlyMap<string, string> {
    return new Map(Array.from(this.#links, ([key, { floor }]) => [key, floor]));
  }

  /** A wake told of those streams. */
  toldOf(streams: readonly ShownStream[], lifeOf: (path: string) => StreamLife | undefined, where: string): void {
    for (const { path, tail_offset: tail, has_pending: hasPending, acked_offset: acked } of streams) {
      this.mayFollow(path, where);
      const life = lifeOf(path);
      if (hasPending !== (tail > acked && parseOffset(tail).position > 0)) {
        this.fail(
          `${where} says has_pending ${hasPending} of ${path}, acknowledged to ${acked}, with its tail at ${tail}`,
        );
      }
      if (life !== undefined && life.generation === parseOffset(tail).generation) life.learn(tail, where);
    }
  }

  /**
   * The links as an answer shows them. `floors` was taken before the request was sent, `lifeOf` tells the streams that were
   * there, undeleted, from then to now, with the tail that no cursor may be past.
   */
  checkLinks(
    links: readonly ShownLink[],
    floors: ReadonlyMap<string, string>,
    lifeOf: (path: string) => StreamLife | undefined,
    where: string,
  ): void {
    const shown = new Map(links.map((link) => [link.path, link]));
    if (shown.size !== links.length) this.fail(`${where} shows a path twice`);
    for (const { path, link_type: type, acked_offset: acked } of links) {
      this.mayFollow(path, where);
      if (type === "explicit" && (this.explicit.get(path) ?? "no") === "no") this.fail(`${where}: ${path} is explicit`);
      if (type === "glob" && (this.explicit.get(path) === "yes" || !this.matches(path))) {
        this.fail(`${where}: the link to ${path} is the pattern's`);
      }
      const life = lifeOf(path);
      if (life !== undefined && life.generation !== null) this.#checkCursor(path, acked, life, floors, where);
    }
    for (const [path, fate] of this.explicit) {
      if (fate === "yes" && !shown.has(path)) this.fail(`${where}: the explicit link to ${path} is gone`);
    }
  }

  #checkCursor(
    path: string,
    acked: string,
    { generation, tail, begunAt }: StreamLife,
    floors: ReadonlyMap<string, string>,
    where: string,
  ): void {
    if (generation === null) return;
    const floor = floors.get(keyOf(path, generation)) ?? "";
    if (acked < floor) this.fail(`${where}: the cursor of ${path} went back to ${acked}, ${floor} was acknowledged`);
    if (acked > tail) this.fail(`${where}: the cursor of ${path} is at ${acked}, beyond the tail ${tail}`);
    const facts = this.#facts(path, generation);
    const start = offsetOf(generation, 0);
    if (begunAt > this.confirmedAt && !this.explicit.has(path)) facts.startMax ??= start;
    if (acked > facts.sent && acked > start) facts.startMax ??= acked;
    if (acked > start && acked > facts.sent && acked > (facts.startMax ?? "")) {
      this.fail(
        `${where}: the cursor of ${path} is at ${acked}, though acks went to ${facts.sent || "nowhere"} and it began at ` +
          `${facts.startMax} at most: what is between is never woken for`,
      );
    }
    // What was shown once holds as if it had been acknowledged.
    if (acked > facts.floor) facts.floor = acked;
  }

  /** @throws Violation when it never followed that stream */
  mayFollow(path: string, where: string): void {
    if (!this.matches(path) && !this.#followed.has(path))
      this.fail(`${where} tells of ${path}, which it never followed`);
  }

  #facts(path: string, generation: number): LinkFacts {
    const key = keyOf(path, generation);
    let facts = this.#links.get(key);
    if (facts === undefined) {
      facts = { floor: "", sent: "", startMax: null };
      this.#links.set(key, facts);
    }
    return facts;
  }
}

function keyOf(path: string, generation: number): string {
  return `${path}@${generation}`;
}
