/** Every bound of the server that is not a setting, in one place (invariant 9). Sizes in bytes, times in milliseconds. */

/** Sealed-object blocks and WAL payload checksums cover this many bytes. Persisted formats depend on it. */
export const BLOCK_BYTES: number = 64 * 1024;
/** Canonical path of a stream, percent-encoded. LMDB keys end at 1,978 bytes. */
export const PATH_BYTES_MAX = 1024;
export const URL_BYTES_MAX = 4096;
export const HEADER_BYTES_MAX: number = 16 * 1024;
export const HEADER_COUNT_MAX = 100;
export const CONTENT_TYPE_BYTES_MAX = 256;
export const PRODUCER_ID_BYTES_MAX = 256;
export const STREAM_SEQ_BYTES_MAX = 256;
/** A hundred years; a longer sliding window is refused. */
export const TTL_SECONDS_MAX = 3_155_760_000;
/** Entries of a fork's lineage, its own included: its identity lists them all. */
export const LINEAGE_MAX = 1_024;
export const JSON_MESSAGES_MAX = 1_000_000;
/** A stream at least this large in one WAL segment gets objects of its own. */
export const SEGMENT_OBJECT_BYTES_MIN: number = 4 * 1024 * 1024;
/** Sealed objects are cut here; one extent of one WAL segment is never cut. */
export const OBJECT_BYTES_TARGET: number = 64 * 1024 * 1024;
export const UPLOAD_CONCURRENCY = 4;
export const CONNECTIONS_MAX = 16_384;
/** Requests that one connection may send ahead of their responses; past it, it is cut. */
export const PIPELINED_REQUESTS_MAX = 256;
export const WAITERS_PER_STREAM_MAX = 10_000;
export const WAITERS_MAX = 50_000;
/** Streams whose state stays in memory though nothing pins it. */
export const RESIDENT_STREAMS_MAX = 131_072;
/** Newest committed payloads kept in memory for tail reads. */
export const MEMORY_TAIL_BYTES_MAX: number = 64 * 1024 * 1024;
/** Whole chunks kept in memory for the next reader. */
export const CHUNK_MEMORY_BYTES_MAX: number = 96 * 1024 * 1024;
/** Verified ranges of sealed objects kept in memory. */
export const COLD_MEMORY_BYTES_MAX: number = 32 * 1024 * 1024;
/** What is fetched for readers that follow a stream, before they ask for it: bytes in all, and of one GET. */
export const READ_AHEAD_BYTES_MAX: number = 64 * 1024 * 1024;
export const READ_AHEAD_WINDOW_BYTES_MAX: number = 4 * 1024 * 1024;
export const READ_AHEAD_WINDOWS_MAX = 64;
/** Of what was fetched so, the part that nobody has taken yet or ever will: as a share of all that was read. */
export const READ_AHEAD_UNUSED_SHARE_MAX = 0.045;
/** Readers whose last range is remembered, to see whether they follow. */
export const READ_AHEAD_TRAILS_MAX = 4_096;
/** Files of the disk cache. */
export const CACHE_FILES_MAX = 16_384;
/** Requests with larger bodies are left to the general parser. */
export const SIMPLE_BODY_BYTES_MAX: number = 64 * 1024;
/** Response bodies in flight; past it, readers get small pieces. */
export const BODIES_IN_FLIGHT_BYTES_MAX: number = 32 * 1024 * 1024;
/** Request bodies being received or waiting for their commit. */
export const REQUEST_BODIES_BYTES_MAX: number = 512 * 1024 * 1024;
/** A smaller response body is not compressed. */
export const COMPRESSED_BYTES_MIN = 1024;
/** Compressed responses under way, each with about 300 KiB of its own; past it, responses go out as they are. */
export const COMPRESSED_RESPONSES_MAX = 64;
/** How many of them compress at the same moment: the threads that do it are the ones that sync the log. */
export const COMPRESSION_THREADS_MAX = 2;
/** A reader that takes nothing for this long is dropped, at the latest after twice the time. */
export const STALLED_READER_MS = 30_000;
/** Hot extents that the WAL may hold before appends are refused as if its bytes were used up. */
export const HOT_EXTENTS_MAX = 4_000_000;
export const SUBSCRIPTIONS_MAX = 200_000;
/** Streams that one subscription follows. */
export const SUBSCRIPTION_LINKS_MAX = 100_000;
export const SUBSCRIPTION_STREAMS_PER_REQUEST_MAX = 1_000;
export const SUBSCRIPTION_ACKS_PER_REQUEST_MAX = 1_000;
export const SUBSCRIPTION_NAME_BYTES_MAX = 256;
export const SUBSCRIPTION_PATTERN_BYTES_MAX = 1_024;
export const SUBSCRIPTION_PATTERN_SEGMENTS_MAX = 64;
export const SUBSCRIPTION_DESCRIPTION_BYTES_MAX = 1_024;
/** A pull-wake worker's name. */
export const WORKER_BYTES_MAX = 256;
/** A subscription's lease (protocol section 6.2). */
export const LEASE_TTL_MIN_MS = 1_000;
export const LEASE_TTL_MAX_MS = 600_000;
export const LEASE_TTL_DEFAULT_MS = 30_000;
/** Wait before a webhook is tried again: doubled from the least to the most, give or take the jitter (section 7.1). */
export const WEBHOOK_RETRY_MIN_MS = 1_000;
export const WEBHOOK_RETRY_MAX_MS = 60_000;
export const WEBHOOK_RETRY_JITTER = 0.2;
