/** The engine owns each stream's tail: the write path, the settlement of what became durable, and what readers may see of both. */
import { expiresAtMs, isExpired, RESIDENT_STREAMS_MAX } from "@coldbrook/core";
import type {
  Clock,
  ColdExtent,
  CreateRequest,
  ExtentIndex,
  FaultPoint,
  ForkRequest,
  Generation,
  Lsn,
  Position,
  ProducerState,
  SourceRun,
  StreamIdentity,
  StreamState,
} from "@coldbrook/core";
import type { Catalog } from "../catalog/catalog.ts";
import { Subscriptions } from "../subscriptions/subscriptions.ts";
import type { SubscriptionLog } from "../subscriptions/subscriptions.ts";
import type { ReplayedSubscription } from "../subscriptions/subscription-replay.ts";
import type { CommittedFrame } from "../wal/group-commit.ts";
import type { Wal } from "../wal/wal.ts";
import { CatalogSync } from "./catalog-sync.ts";
import { ForkLinks } from "./fork-links.ts";
import { FrameQueue } from "./frame-queue.ts";
import { Settlement } from "./settlement.ts";
import type { Stream, Waiter } from "./stream.ts";
import { StreamTable } from "./stream-table.ts";
import { WritePath } from "./write-path.ts";
import type {
  AppendInput,
  AppendResult,
  CreateResult,
  ForkCreation,
  ForkPoint,
  ForkResult,
  RemoveResult,
} from "./write-path.ts";

export interface EnginePorts {
  readonly catalog: Catalog;
  readonly openWal: (settle: (frames: readonly CommittedFrame[]) => void) => Wal;
  readonly walBytesMax: number;
  /** Streams that are kept at hand though nothing needs them; room for all of them is set aside at once. */
  readonly restingStreamsMax?: number | undefined;
  /** Finds the fork point in a source's durable bytes. */
  readonly forkPoint: (source: Stream, state: StreamState, request: ForkRequest) => ForkPoint | Promise<ForkPoint>;
  readonly clock: Clock;
  /** Defaults to none. */
  readonly log?: SubscriptionLog;
  /** What the paths of a subscription's streams begin with here, and not in its own words; empty by default. */
  readonly subscriptionPrefix?: string;
  readonly fatal: (error: Error) => void;
  readonly fault: FaultPoint;
}

/** What recovery hands over. */
export interface RecoveredState {
  readonly streams: Iterable<Stream>;
  readonly subscriptions: Iterable<ReplayedSubscription>;
  readonly generation: number;
}

export interface EngineStats {
  readonly resident: number;
  readonly hotExtents: number;
  readonly memoryTailBytes: number;
  readonly waiters: number;
  readonly unsaved: number;
  readonly subscriptions: number;
}

export class Engine {
  readonly sync: CatalogSync;
  readonly wal: Wal;
  readonly subscriptions: Subscriptions;
  readonly #ports: EnginePorts;
  readonly #table: StreamTable;
  readonly #forks: ForkLinks;
  readonly #queue: FrameQueue;
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
      generation: () => this.#queue.generation,
      saved: (stream) => {
        this.#forks.saved(stream);
        this.#table.unpin(stream);
      },
      subscriptions: {
        save: () => this.subscriptions.saver.save(),
        giveBack: (appliedLsn) => this.subscriptions.saver.giveBack(appliedLsn),
      },
      fatal,
      fault,
    });
    const restingMax = ports.restingStreamsMax ?? RESIDENT_STREAMS_MAX;
    this.#table = new StreamTable(catalog, (stream) => this.sync.unsaved(stream), restingMax);
    this.#forks = new ForkLinks(catalog, (stream) => this.sync.unsaved(stream));
    this.#settlement = new Settlement({
      table: this.#table,
      settled: (bytes) => this.#queue.settled(bytes),
      changed: (stream) => this.sync.mark(stream),
      subscription: (frame, end) => this.subscriptions.settle(frame, end),
    });
    this.subscriptions = new Subscriptions({
      catalog,
      streams: this.#table,
      queue: () => this.#queue,
      pathPrefix: ports.subscriptionPrefix ?? "",
      clock,
      log: ports.log ?? null,
      armSync: () => this.sync.arm(),
      fatal,
    });
    this.#queue = new FrameQueue({
      table: this.#table,
      forks: this.#forks,
      subscriptions: this.subscriptions.book,
      wal: () => this.wal,
      walBytesMax,
      hotExtents: () => this.#settlement.hotExtents,
      generation: recovered.generation,
      clock,
      fatal,
    });
    this.#writes = new WritePath({
      catalog,
      table: this.#table,
      forks: this.#forks,
      queue: this.#queue,
      forkPoint: (source, state, request) => ports.forkPoint(source, state, request),
      commitNow: () => this.wal.commitNow(),
      renew: (stream) => {
        if (this.sync.isCrowded) return false;
        this.#table.pin(stream);
        this.sync.mark(stream);
        return true;
      },
      clock,
      fault,
    });
    for (const stream of recovered.streams) this.#adopt(stream);
    this.subscriptions.adopt(recovered.subscriptions);
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
      subscriptions: this.subscriptions.book.table.size,
    };
  }

  /**
   * The stream as readers may see it, or undefined when there is none (or it has expired): `absent` says when that may be told.
   * @throws StreamError corrupt-catalog
   */
  find(path: string): { stream: Stream; state: StreamState } | undefined {
    const stream = this.#table.lookUp(path);
    const state = stream?.durable;
    if (stream === undefined || state === undefined || state === null || state.deleted) return undefined;
    if (state.softDeleted) return undefined;
    const now = this.#ports.clock();
    if (!isExpired(stream.exact(state, now), now)) return { stream, state };
    this.#writes.expiry.retire(stream, now);
    return undefined;
  }

  /** As `find`, but a stream that is kept for its forks alone counts. @throws StreamError corrupt-catalog */
  known(path: string): { stream: Stream; state: StreamState } | undefined {
    const found = this.find(path);
    if (found !== undefined || this.absence(path) !== "gone") return found;
    const stream = this.#table.lookUp(path)!;
    return { stream, state: { ...stream.durable!, softDeleted: true } };
  }

  /** Paths of all streams that `known` gives, in no order. */
  paths(): string[] {
    return this.#table.paths().filter((path) => this.known(path) !== undefined);
  }

  /** How many streams were forked from this one and are not deleted. */
  forkCount(id: Generation): number {
    return this.#forks.count(id);
  }

  /** The producers of the stream. */
  producersOf(stream: Stream): Map<string, ProducerState> {
    return this.#writes.producersOf(stream);
  }

  /**
   * What a stream is that `find` does not give: "gone" when it is kept for its forks alone (protocol section 4.2). If it has just
   * expired, a crash could take that back still: see `absent`.
   */
  absence(path: string): "not-found" | "gone" {
    const stream = this.#table.lookUp(path);
    if (stream === undefined || stream.durable === null) return "not-found";
    return this.#writes.expiry.absenceNow(stream, this.#ports.clock()) ?? "not-found";
  }

  /** What to say of a stream that `find` does not give, once that stays so. @throws StreamError disk-full, corrupt-catalog */
  absent(path: string): Promise<"not-found" | "gone"> {
    return this.#writes.expiry.absence(path);
  }

  /** Time until the stream may expire, or null when it never does. */
  expiresInMs(stream: Stream, state: StreamState): number | null {
    const now = this.#ports.clock();
    const at = expiresAtMs(stream.exact(state, now));
    return Number.isFinite(at) ? Math.max(0, at - now) : null;
  }

  /** Where the bytes of a run of the stream lie, at this instant. A stream with hot bytes is pinned. */
  index(stream: Stream, run: SourceRun): ExtentIndex {
    const { extents } = this.#ports.catalog;
    const hot = this.holder(stream, run)?.hotBetween(run.from, run.to) ?? [];
    return { hot, cold: (at): ColdExtent | undefined => extents.find(run.stream, at) };
  }

  /** The stream that a run's bytes belong to, if any of its bytes may be hot. */
  holder(stream: Stream, run: SourceRun): Stream | undefined {
    return run.stream === stream.pending.identity.id ? stream : this.#table.pinned(run.stream);
  }

  /** See Expiry. */
  touch(stream: Stream): void {
    this.#writes.expiry.touch(stream);
  }

  /** See WritePath. */
  create(path: string, request: CreateRequest, body: Uint8Array): Promise<CreateResult> {
    return this.#writes.create(path, request, body);
  }

  /** See WritePath. */
  createNow(path: string, request: CreateRequest, body: Uint8Array): CreateResult {
    return this.#writes.createNow(path, request, body);
  }

  /** See WritePath. */
  fork(path: string, request: ForkCreation, body: Uint8Array): Promise<ForkResult> {
    return this.#writes.fork(path, request, body);
  }

  /** See WritePath. */
  forkNow(path: string, request: ForkCreation, body: Uint8Array): ForkResult {
    return this.#writes.forkNow(path, request, body);
  }

  /** See WritePath. */
  append(path: string, input: AppendInput): Promise<AppendResult> {
    return this.#writes.append(path, input);
  }

  /** See WritePath. */
  appendNow(path: string, input: AppendInput): AppendResult {
    return this.#writes.appendNow(path, input);
  }

  /** See WritePath. */
  remove(path: string): Promise<RemoveResult> {
    return this.#writes.remove(path);
  }

  /** See WritePath. */
  removeNow(path: string): RemoveResult {
    return this.#writes.removeNow(path);
  }

  /** See Expiry. */
  expire(id: Generation): Promise<number | null> {
    return this.#writes.expiry.expire(id);
  }

  #adopt(stream: Stream): void {
    const { identity, deleted } = stream.pending;
    if (deleted) this.#forks.remove(identity);
    else if (!stream.inCatalog) this.#forks.add(identity);
    this.#settlement.adopt(stream);
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
