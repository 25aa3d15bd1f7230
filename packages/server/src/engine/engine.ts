/** The engine owns each stream's tail: the write path, the settlement of what became durable, and what readers may see of both. */
import { expiresAtMs, isExpired } from "@coldbrook/core";
import type {
  Clock,
  ColdExtent,
  CreateRequest,
  ExtentIndex,
  FaultPoint,
  Generation,
  Lsn,
  Position,
  StreamIdentity,
  StreamState,
} from "@coldbrook/core";
import type { Catalog } from "../catalog/catalog.ts";
import type { CommittedFrame } from "../wal/group-commit.ts";
import type { Wal } from "../wal/wal.ts";
import { CatalogSync } from "./catalog-sync.ts";
import { Settlement } from "./settlement.ts";
import type { Stream, Waiter } from "./stream.ts";
import { StreamTable } from "./stream-table.ts";
import { WritePath } from "./write-path.ts";
import type { AppendInput, AppendResult, CreateResult } from "./write-path.ts";

export interface EnginePorts {
  readonly catalog: Catalog;
  readonly openWal: (settle: (frames: readonly CommittedFrame[]) => void) => Wal;
  readonly walBytesMax: number;
  readonly clock: Clock;
  readonly fatal: (error: Error) => void;
  readonly fault: FaultPoint;
}

/** What recovery hands over. */
export interface RecoveredState {
  readonly streams: Iterable<Stream>;
  readonly generation: number;
}

export interface EngineStats {
  readonly resident: number;
  readonly hotExtents: number;
  readonly memoryTailBytes: number;
  readonly waiters: number;
  readonly unsaved: number;
}

export class Engine {
  readonly sync: CatalogSync;
  readonly wal: Wal;
  readonly #ports: EnginePorts;
  readonly #table: StreamTable;
  readonly #writes: WritePath;
  readonly #settlement: Settlement;
  #durableLsn: Lsn;
  #waiters = 0;

  constructor(ports: EnginePorts, recovered: RecoveredState) {
    const { catalog, walBytesMax, clock, fatal, fault } = ports;
    this.#ports = ports;
    this.sync = new CatalogSync({
      catalog,
      durableLsn: () => this.#durableLsn,
      generation: () => this.#writes.generation,
      saved: (stream) => this.#table.unpin(stream),
      fatal,
      fault,
    });
    this.#table = new StreamTable(catalog, (stream) => this.sync.unsaved(stream));
    this.#settlement = new Settlement({
      table: this.#table,
      settled: (bytes) => this.#writes.settled(bytes),
      changed: (stream) => this.sync.mark(stream),
    });
    this.#writes = new WritePath({
      catalog,
      table: this.#table,
      wal: () => this.wal,
      walBytesMax,
      hotExtents: () => this.#settlement.hotExtents,
      generation: recovered.generation,
      clock,
      fatal,
      fault,
    });
    for (const stream of recovered.streams) this.#settlement.adopt(stream);
    this.wal = ports.openWal((frames) => {
      this.#settlement.settle(frames);
      this.#durableLsn = this.wal.end;
    });
    this.#durableLsn = this.wal.end;
  }

  get stats(): EngineStats {
    return {
      resident: this.#table.residentCount,
      hotExtents: this.#settlement.hotExtents,
      memoryTailBytes: this.#settlement.memoryTailBytes,
      waiters: this.#waiters,
      unsaved: this.sync.dirtyCount,
    };
  }

  /** The stream as readers may see it, or undefined when there is none (or it has expired). @throws StreamError corrupt-catalog */
  find(path: string): { stream: Stream; state: StreamState } | undefined {
    const stream = this.#table.lookUp(path);
    const state = stream?.durable;
    if (stream === undefined || state === undefined || state === null || state.deleted) return undefined;
    const now = this.#ports.clock();
    if (isExpired(stream.exact(state, now), now)) return undefined;
    return { stream, state };
  }

  /** Time until the stream may expire, or null when it never does. */
  expiresInMs(stream: Stream, state: StreamState): number | null {
    const now = this.#ports.clock();
    const at = expiresAtMs(stream.exact(state, now));
    return Number.isFinite(at) ? Math.max(0, at - now) : null;
  }

  /** Where the bytes of [from, to) lie, at this instant. */
  index(stream: Stream, from: number, to: number): ExtentIndex {
    const { id } = stream.pending.identity;
    const { extents } = this.#ports.catalog;
    return { hot: stream.hotBetween(from, to), cold: (at): ColdExtent | undefined => extents.find(id, at) };
  }

  /** See WritePath. */
  touch(stream: Stream): void {
    this.#writes.touch(stream);
  }

  /** See WritePath. */
  create(path: string, request: CreateRequest, body: Uint8Array): Promise<CreateResult> {
    return this.#writes.create(path, request, body);
  }

  /** See WritePath. */
  append(path: string, input: AppendInput): Promise<AppendResult> {
    return this.#writes.append(path, input);
  }

  /** See WritePath. */
  remove(path: string): Promise<"deleted" | "missing"> {
    return this.#writes.remove(path);
  }

  /** See WritePath. */
  expire(id: Generation): Promise<number | null> {
    return this.#writes.expire(id);
  }

  /** Calls `waiter` at each change of the stream's durable state, until the returned function is called. */
  watch(stream: Stream, waiter: Waiter): () => void {
    this.#table.pin(stream);
    stream.waiters.add(waiter);
    this.#waiters += 1;
    return () => {
      if (!stream.waiters.delete(waiter)) return;
      this.#waiters -= 1;
      // It was in use until now.
      this.touch(stream);
      this.#table.unpin(stream);
    };
  }

  /** The identity of any stream that has one still, for object footers. */
  identity(id: Generation): StreamIdentity | undefined {
    return this.#table.identity(id);
  }

  /** Whether the stream's bytes are still wanted. */
  isLive(id: Generation): boolean {
    return this.#table.isLive(id);
  }

  /** A roll is published: bytes of the stream below `end` are cold. */
  cooled(id: Generation, end: Position): void {
    const stream = this.#table.pinned(id);
    if (stream !== undefined) this.#settlement.cooled(stream, end);
  }
}
