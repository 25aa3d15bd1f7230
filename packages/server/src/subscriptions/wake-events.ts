/** The events that tell pull-wake workers of wakes (protocol section 7.2): appended by the engine itself, like any append. */
import { decideAppend, frameJson, isExpired, isJson, wakeEvent } from "@coldbrook/core";
import type { FramedJson } from "@coldbrook/core";
import type { FrameQueue } from "../engine/frame-queue.ts";
import type { Stream } from "../engine/stream.ts";
import type { StreamTable } from "../engine/stream-table.ts";
import type { Subscription } from "./subscription.ts";

export interface WakeEventPorts {
  readonly streams: StreamTable;
  readonly queue: () => FrameQueue;
  /** What a subscription's stream paths begin with in this engine; they are written without it. */
  readonly pathPrefix: string;
  readonly warn: (facts: object, message: string) => void;
}

export class WakeEvents {
  readonly #ports: WakeEventPorts;

  constructor(ports: WakeEventPorts) {
    this.#ports = ports;
  }

  /** Appends the wake's event to the wake stream, with the wake's own frame. Without one, the wake can be claimed all the same. */
  announce(subscription: Subscription, nowMs: number): void {
    const { wakeStream } = subscription.pending.config;
    const event = wakeStream === null ? null : wakeEvent(subscription.pending, nowMs);
    if (event === null) return;
    const stream = this.#ports.streams.lookUp(this.#ports.pathPrefix + wakeStream!);
    const problem = stream === undefined ? "is not there" : this.#appendEvent(stream, JSON.stringify(event), nowMs);
    if (problem === null) {
      subscription.warned = false;
    } else if (!subscription.warned) {
      subscription.warned = true;
      this.#ports.warn(
        { subscription: subscription.pending.name, wakeStream },
        `the subscription's wake stream ${problem}: its wakes can be claimed, but are not announced; create the stream`,
      );
    }
  }

  /** Returns why the stream does not take it. */
  #appendEvent(stream: Stream, text: string, nowMs: number): string | null {
    const { pending } = stream;
    if (pending.deleted || pending.softDeleted || isExpired(stream.exact(pending, nowMs), nowMs)) return "was deleted";
    const { contentType } = pending.identity.config;
    const body = Buffer.from(text);
    const framed: FramedJson = isJson(contentType)
      ? frameJson(body, "append")
      : { kind: "messages", stored: body, lengths: [body.length] };
    if (framed.kind === "bad") throw new Error(`a wake event is not JSON: ${framed.detail}`);
    const outcome = decideAppend(pending, undefined, {
      contentType,
      bytes: framed.stored.length,
      close: false,
      producer: null,
      streamSeq: null,
      nowMs,
    });
    if (outcome.kind !== "append") return outcome.kind === "closed" ? "is closed" : "takes no more bytes";
    this.#ports.queue().append(stream, outcome.next, { framed, producer: null, streamSeq: null, close: false }, nowMs);
    return null;
  }
}
