/** A frame on its way to the disk, with what it makes of its stream. */
import type { Frame, StreamState, SubscriptionFrame } from "@coldbrook/core";
import type { Batch } from "../wal/group-commit.ts";
import type { OpenAppend, Stream } from "./stream.ts";

/** A frame of a stream, and not of a subscription. */
export type StreamFrame = Exclude<Frame, SubscriptionFrame>;

interface OnItsWay {
  readonly owner: Stream;
  /** The stream's state once the frame is durable, but for its LSN. */
  next: StreamState;
  readonly batch: Batch;
}

export type Enqueued = StreamFrame & OnItsWay;
export type EnqueuedAppend = OpenAppend & OnItsWay;
