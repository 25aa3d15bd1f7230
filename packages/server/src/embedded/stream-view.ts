/** A stream as a store's caller sees it: everything is looked up when it is asked for, and nothing can be changed. */
import { forkedFrom, offsetAt, ownStart } from "@coldbrook/core";
import type { Clock, StreamState } from "@coldbrook/core";
import type { Engine } from "../engine/engine.ts";
import type { Stream as EngineStream } from "../engine/stream.ts";
import { storePath } from "./store-path.ts";
import type { ProducerState, Stream, StreamMessage } from "./types.ts";

export interface Known {
  readonly stream: EngineStream;
  readonly state: StreamState;
}

export interface ViewPorts {
  readonly engine: Engine;
  readonly clock: Clock;
  /** All messages of the stream, where they can be had at once. */
  readonly messages: (known: Known) => StreamMessage[];
}

/** `path` is the caller's own spelling. After the stream is deleted the view stays at what it last was. */
export function viewOf(ports: ViewPorts, path: string, known: Known): Stream {
  // A getter that gives undefined stands for a property that is not there.
  return new StreamView(ports, path, known) as Stream;
}

class StreamView {
  readonly path: string;
  readonly #ports: ViewPorts;
  #known: Known;

  constructor(ports: ViewPorts, path: string, known: Known) {
    this.path = path;
    this.#ports = ports;
    this.#known = known;
  }

  get contentType(): string {
    return this.#state.identity.config.contentType;
  }

  get messages(): StreamMessage[] {
    void this.#state;
    return this.#ports.messages(this.#known);
  }

  get currentOffset(): string {
    const { identity, tail } = this.#state;
    return offsetAt(identity, tail);
  }

  get lastSeq(): string | undefined {
    return this.#state.streamSeq ?? undefined;
  }

  get ttlSeconds(): number | undefined {
    return this.#state.identity.config.ttlSeconds ?? undefined;
  }

  get expiresAt(): string | undefined {
    const at = this.#state.identity.config.expiresAtMs;
    return at === null ? undefined : new Date(at).toISOString();
  }

  get createdAt(): number {
    return this.#state.identity.createdAtMs;
  }

  get lastAccessedAt(): number {
    const state = this.#state;
    return this.#known.stream.exact(state, this.#ports.clock()).touchedAtMs;
  }

  get producers(): Map<string, ProducerState> | undefined {
    const { touchedAtMs } = this.#state;
    const known = this.#ports.engine.producersOf(this.#known.stream);
    if (known.size === 0) return undefined;
    return new Map([...known].map(([id, { epoch, seq }]) => [id, { epoch, lastSeq: seq, lastUpdated: touchedAtMs }]));
  }

  get closed(): boolean {
    return this.#state.closed;
  }

  get closedBy(): { producerId: string; epoch: number; seq: number } | undefined {
    const by = this.#state.closedBy;
    return by === null ? undefined : { producerId: by.id, epoch: by.epoch, seq: by.seq };
  }

  get forkedFrom(): string | undefined {
    const source = forkedFrom(this.#state.identity);
    const path = source === null ? undefined : this.#ports.engine.identity(source)?.path;
    return path === undefined ? undefined : storePath(path);
  }

  /** The fork point, sub-offset included. */
  get forkOffset(): string | undefined {
    const { identity } = this.#state;
    return forkedFrom(identity) === null ? undefined : offsetAt(identity, ownStart(identity));
  }

  get refCount(): number {
    return this.#ports.engine.forkCount(this.#state.identity.id);
  }

  get softDeleted(): boolean {
    return this.#state.softDeleted;
  }

  get #state(): StreamState {
    const latest = this.#ports.engine.known(this.#known.state.identity.path);
    if (latest?.state.identity.id === this.#known.state.identity.id) this.#known = latest;
    return this.#known.state;
  }
}
