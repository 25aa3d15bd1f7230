/** A reader as the protocol's clients are: catch-up reads to the tail, then long-polls from there with the cursor it was given. */
import { expectStatus, header, isClosed, nextOffset, type Reply } from "../process/http.ts";
import { parseOffset } from "../process/stored-bytes.ts";
import { CdnRig, isUpToDate, type Truth } from "./cdn-rig.ts";

/** One answer that a reader got. */
export interface Seen {
  readonly from: number;
  readonly to: number;
  readonly live: boolean;
  readonly cacheControl: string;
  readonly bodyBytes: number;
}

export class Follower {
  readonly #rig: CdnRig;
  readonly #truth: Truth;
  readonly #order: "offset-first" | "sorted";
  readonly seen: Seen[] = [];
  offset: string;
  position = 0;
  closed = false;
  /** Long-polls that ended without data. */
  nothings = 0;
  #cursor: string | undefined;
  #upToDate = false;
  #waiting: { readonly reached: () => boolean; readonly resolve: () => void }[] = [];

  /** Starts at `-1` unless `offset` is given. Every second client in the field writes its parameters in another order. */
  constructor(rig: CdnRig, truth: Truth, offset = "-1", order: "offset-first" | "sorted" = "offset-first") {
    this.#rig = rig;
    this.#truth = truth;
    this.#order = order;
    this.offset = offset;
  }

  /** Catch-up reads until one is up to date. */
  async catchUp(): Promise<void> {
    this.#upToDate = false;
    while (!this.#upToDate && !this.closed) await this.step();
  }

  /** Until the stream is closed; polls at the tail. */
  async follow(): Promise<void> {
    while (!this.closed) await this.step();
  }

  /** One request. */
  async step(): Promise<Reply> {
    const live = this.#upToDate;
    const reply = await this.#rig.reader.request("GET", this.#truth.path, { query: this.#query(live) });
    if (live && reply.status === 204) {
      this.nothings += 1;
      this.#cursor = header(reply, "stream-cursor");
      if (isClosed(reply)) this.closed = true;
    } else {
      expectStatus(reply, `${live ? "long-poll" : "read"} of ${this.#truth.path} from ${this.offset}`, 200);
      const range = this.#truth.verify(reply, this.position);
      const cacheControl = header(reply, "cache-control") ?? "";
      this.seen.push({ ...range, live, cacheControl, bodyBytes: reply.body.length });
      this.#cursor = header(reply, "stream-cursor") ?? this.#cursor;
      this.offset = nextOffset(reply);
      this.position = parseOffset(this.offset).position;
      this.#upToDate = isUpToDate(reply);
      this.closed = isClosed(reply);
    }
    for (const { reached, resolve } of this.#waiting) if (reached()) resolve();
    this.#waiting = this.#waiting.filter(({ reached }) => !reached());
    return reply;
  }

  /** Resolves when the condition, which only a step can make true, holds. */
  async when(reached: () => boolean): Promise<void> {
    if (!reached()) await new Promise<void>((resolve) => this.#waiting.push({ reached, resolve }));
  }

  #query(live: boolean): string {
    const parts = [`offset=${this.offset}`];
    if (live) parts.push("live=long-poll");
    if (this.#cursor !== undefined) parts.push(`cursor=${this.#cursor}`);
    return (this.#order === "sorted" ? parts.sort() : parts).join("&");
  }
}
