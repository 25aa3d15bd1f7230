/** A frame on its way to the disk, with what it makes of its stream. */
import type { Frame, StreamState } from "@coldbrook/core";
import type { Batch } from "../wal/group-commit.ts";
import type { OpenAppend, Stream } from "./stream.ts";

interface OnItsWay {
  readonly owner: Stream;
  /** The stream's state once the frame is durable, but for its LSN. */
  next: StreamState;
  readonly batch: Batch;
}

export type Enqueued = Frame & OnItsWay;
export type EnqueuedAppend = OpenAppend & OnItsWay;
