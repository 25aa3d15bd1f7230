/** The embeddable server's vocabulary: the names, shapes and defaults of `@durable-streams/server` 0.3.7, which programs written for that package use. */
import type { CursorOptions } from "./cursor.ts";
import type { FileBackedStreamStore } from "./file-backed-stream-store.ts";
import type { StreamStore } from "./stream-store.ts";

/** One stored message: a JSON value with its comma, else the bytes of one append. */
export interface StreamMessage {
  data: Uint8Array;
  /** Offset just after the message. */
  offset: string;
  /** When this process took it, in milliseconds since 1970; for what was stored before, the stream's last use. */
  timestamp: number;
}

/** A stream as the store shows it: a view that follows the stream and changes nothing of it. */
export interface Stream {
  /** URL path, with its leading slash. */
  path: string;
  contentType?: string;
  /** All messages of a memory store's stream. Empty for a file-backed one: use `read`. */
  messages: Array<StreamMessage>;
  /** Offset of the tail. */
  currentOffset: string;
  /** Highest Stream-Seq taken. */
  lastSeq?: string;
  ttlSeconds?: number;
  /** Absolute expiry, ISO 8601. */
  expiresAt?: string;
  /** Milliseconds since 1970. */
  createdAt: number;
  /** Last read or write, in milliseconds since 1970. HEAD does not count. */
  lastAccessedAt: number;
  producers?: Map<string, ProducerState>;
  closed?: boolean;
  /** The producer request that closed the stream. */
  closedBy?: { producerId: string; epoch: number; seq: number };
  /** Path of the stream that this one was forked from. */
  forkedFrom?: string;
  /** Where the fork leaves its source. */
  forkOffset?: string;
  forkSubOffset?: number;
  /** Number of forks of this stream. */
  refCount: number;
  /** Deleted, but kept for its forks. */
  softDeleted?: boolean;
}

export interface StreamLifecycleEvent {
  type: "created" | "deleted";
  path: string;
  /** Only of `created`. */
  contentType?: string;
  /** Milliseconds since 1970. */
  timestamp: number;
}

/** Called, and waited for, before the response to the PUT or DELETE goes out. What it throws is logged and changes nothing. */
export type StreamLifecycleHook = (event: StreamLifecycleEvent) => void | Promise<void>;

/** Hooks as `createRegistryHooks({ registryPath })` makes them: they learn of their server when it starts. */
export interface AttachableHooks {
  readonly onStreamCreated: StreamLifecycleHook;
  readonly onStreamDeleted: StreamLifecycleHook;
  attach(store: StreamStore | FileBackedStreamStore, serverUrl: string): void;
}

/** One hook for both events, a pair, or several of either. */
export type LifecycleHooks =
  | StreamLifecycleHook
  | AttachableHooks
  | { readonly onStreamCreated?: StreamLifecycleHook; readonly onStreamDeleted?: StreamLifecycleHook };

export interface TestServerOptions {
  /** Default 0: the system chooses. */
  port?: number | undefined;
  /** Default "127.0.0.1". */
  host?: string | undefined;
  /** How long a long-poll waits, in milliseconds. Default 30000. */
  longPollTimeout?: number | undefined;
  /** Where streams are kept. Without it they live in memory, and go with the server object. */
  dataDir?: string | undefined;
  onStreamCreated?: StreamLifecycleHook | undefined;
  onStreamDeleted?: StreamLifecycleHook | undefined;
  /** gzip and deflate, as clients ask. Default true. */
  compression?: boolean | undefined;
  /** Default 20. */
  cursorIntervalSeconds?: number | undefined;
  /** Default 2024-10-09T00:00:00Z. */
  cursorEpoch?: Date | undefined;
  /** Takes subscriptions of type `webhook`, to loopback as well. Default false. */
  webhooks?: boolean | undefined;
  /** A store made before, instead of `dataDir`. */
  store?: StreamStore | FileBackedStreamStore | undefined;
  /** Further hooks. */
  hooks?: LifecycleHooks | readonly LifecycleHooks[] | undefined;
  /** Whether browsers of other origins may use the server. Default true. */
  cors?: boolean | undefined;
  /** The same as `cursorIntervalSeconds` and `cursorEpoch`, which win. */
  cursorOptions?: CursorOptions | undefined;
}

export interface ProducerState {
  epoch: number;
  lastSeq: number;
  /** Milliseconds since 1970 of the stream's last use. */
  lastUpdated: number;
}

export type ProducerValidationResult =
  | { status: "accepted"; isNew: boolean; proposedState: ProducerState; producerId: string }
  | { status: "duplicate"; lastSeq: number }
  | { status: "stale_epoch"; currentEpoch: number }
  | { status: "invalid_epoch_seq" }
  | { status: "sequence_gap"; expectedSeq: number; receivedSeq: number }
  | { status: "stream_closed" };

/** A long-poll that waits. */
export interface PendingLongPoll {
  path: string;
  offset: string;
  resolve: (messages: Array<StreamMessage>) => void;
  timeoutId: ReturnType<typeof setTimeout>;
}

export interface CreateOptions {
  contentType?: string | undefined;
  ttlSeconds?: number | undefined;
  /** ISO 8601. */
  expiresAt?: string | undefined;
  initialData?: Uint8Array | undefined;
  closed?: boolean | undefined;
  /** Path of the stream to fork. */
  forkedFrom?: string | undefined;
  forkOffset?: string | undefined;
  forkSubOffset?: number | undefined;
}

export interface AppendOptions {
  seq?: string | undefined;
  contentType?: string | undefined;
  producerId?: string | undefined;
  producerEpoch?: number | undefined;
  producerSeq?: number | undefined;
  close?: boolean | undefined;
}

export interface AppendResult {
  /** Null when nothing was appended: a duplicate, or a closed stream. */
  message: StreamMessage | null;
  producerResult?: ProducerValidationResult;
  streamClosed?: boolean;
}

export interface ReadResult {
  messages: Array<StreamMessage>;
  upToDate: boolean;
}

export interface WaitResult {
  messages: Array<StreamMessage>;
  timedOut: boolean;
  streamClosed?: boolean;
}

export interface CloseResult {
  finalOffset: string;
  alreadyClosed: boolean;
}

export interface ProducerCloseResult extends CloseResult {
  producerResult?: ProducerValidationResult;
}

export interface ProducerCloseOptions {
  producerId: string;
  producerEpoch: number;
  producerSeq: number;
}

/** A fault for the next `count` requests to a path. */
export interface InjectedFault {
  /** Answers with this status and nothing else. */
  status?: number | undefined;
  /** Requests that meet the fault; each uses it up by one. */
  count: number;
  /** Retry-After of the status, in seconds. */
  retryAfter?: number | undefined;
  /** Waits before anything else. */
  delayMs?: number | undefined;
  /** Up to this much is added to the delay, by chance. */
  jitterMs?: number | undefined;
  /** Ends the connection without an answer. */
  dropConnection?: boolean | undefined;
  /** Sends this many bytes of a read's body, and says so. */
  truncateBodyBytes?: number | undefined;
  /** Spoils a read's body so that it is no longer JSON. */
  corruptBody?: boolean | undefined;
  /** 0 to 1: how likely a request meets the fault. Default 1. */
  probability?: number | undefined;
  /** Only requests of this method meet it. */
  method?: string | undefined;
  /** An event before the first of an SSE response. */
  injectSseEvent?: { eventType: string; data: string } | undefined;
}
