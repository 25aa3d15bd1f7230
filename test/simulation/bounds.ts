/**
 * Bounds of the server that a small world never reaches are made small, so that what lies behind them runs as well: many blocks,
 * many slices, a memory tail that forgets, caches that evict. The code between the bounds is the shipped one.
 */
export interface Bound {
  /** Below packages/. */
  readonly file: string;
  readonly name: string;
  readonly value: number;
}

function boundsOf(file: string, values: Readonly<Record<string, number>>): Bound[] {
  return Object.entries(values).map(([name, value]) => ({ file, name, value }));
}

export const BOUNDS: readonly Bound[] = [
  ...boundsOf("core/dist/limits.js", {
    BLOCK_BYTES: 1_024,
    SEGMENT_OBJECT_BYTES_MIN: 4_096,
    OBJECT_BYTES_TARGET: 8_192,
    MEMORY_TAIL_BYTES_MAX: 4_096,
    CHUNK_MEMORY_BYTES_MAX: 16_384,
    COLD_MEMORY_BYTES_MAX: 8_192,
    READ_AHEAD_BYTES_MAX: 16_384,
    READ_AHEAD_WINDOW_BYTES_MAX: 4_096,
    READ_AHEAD_TRAILS_MAX: 16,
    CACHE_FILES_MAX: 64,
    BODIES_IN_FLIGHT_BYTES_MAX: 65_536,
  }),
  ...boundsOf("server/dist/wal/storage-directory.js", { INLINE_WRITE_BYTES_MAX: 1_000, REWRITE_BYTES: 1_000 }),
  ...boundsOf("server/dist/wal/wal.js", { LOAD_PIECE_BYTES: 4_096, SEGMENT_FRAMES_MAX: 60 }),
  ...boundsOf("server/dist/wal/wal-reader.js", { COALESCE_GAP_BYTES: 512, COALESCED_READ_BYTES_MAX: 4_096 }),
  ...boundsOf("server/dist/engine/frame-queue.js", { MERGED_FRAME_BYTES_MAX: 2_048 }),
  ...boundsOf("server/dist/engine/publisher.js", { TRANSACTION_EXTENTS_MAX: 2 }),
  ...boundsOf("server/dist/engine/catalog-sync.js", { TRANSACTION_STREAMS_MAX: 2, PRODUCERS_KEPT_MAX: 1 }),
  ...boundsOf("server/dist/engine/reaper.js", { STREAMS_PER_ROUND: 3, KEYS_PER_BATCH: 2 }),
  ...boundsOf("server/dist/engine/stream-reader.js", { SMALL_PIECE_BYTES: 256, WHOLE_BYTES_MAX: 8_192 }),
  ...boundsOf("server/dist/catalog/extents.js", { DECODED_MAX: 8 }),
  ...boundsOf("server/dist/catalog/rebuild.js", { SLICE: 2 }),
  ...boundsOf("server/dist/subscriptions/subscription-saver.js", { SLICE: 2 }),
  ...boundsOf("server/dist/subscriptions/backfill.js", { SLICE: 2 }),
];

/** @throws Error when the text does not set that bound exactly once */
export function applyBound({ file, name, value }: Bound, text: string): string {
  const setting = new RegExp(`(?<=\\bconst ${name} = )[^;]+(?=;)`, "g");
  const places = text.match(setting)?.length ?? 0;
  if (places !== 1) throw new Error(`${file} sets ${name} ${places} times`);
  return text.replace(setting, String(value));
}
