/** Named limits of the disk store. Sizes in bytes, times in milliseconds. */

import { SHARDS } from "../../shard.ts";

/** Version of everything below the data directory. Another version is never read. */
export const FORMAT_VERSION = 2;

/** Characters of a shard's mark. */
export const MARK_CHARS_MAX = 256;

/** Bytes that share one checksum in a segment: what a range of a small object has to read. Part of the format. */
export const SMALL_BLOCK_BYTES = 64 * 1024;

/** Bytes that share one checksum in a large file, and the unit of its bitmap. Part of the format. */
export const LARGE_BLOCK_BYTES = 256 * 1024;

/** Blocks of a large file whose checksums share one row of the index. Part of the format. */
export const CHUNK_BLOCKS = 256;

/** Bodies up to this size go into segments, larger ones into files of their own. */
export const SMALL_BYTES_MAX = 1024 * 1024;

/** A segment is closed when it reaches its size: a sixteenth of the shard's share, between these two. */
export const SEGMENT_BYTES_MIN = 256 * 1024;
export const SEGMENT_BYTES_MAX = 32 * 1024 * 1024;

/** Smallest limit a disk cache can work with: a mebibyte for each shard. */
export const STORE_BYTES_MIN = SHARDS * 1024 * 1024;

/** Largest part of a body that one `read` returns. */
export const READ_BYTES_MAX = 16 * 1024 * 1024;

/** Largest part of a store's share that one object may take; never more than half of the whole disk cache. */
export const OBJECT_SHARE_MAX = 0.9;

/** Metadata and key of one variant. */
export const META_BYTES_MAX = 256 * 1024;

/** Bodies that wait to be written, together; what comes beyond is not stored. */
export const PENDING_BYTES_MAX = 64 * 1024 * 1024;

/** One write and one commit take at most this many records and bytes. */
export const BATCH_RECORDS_MAX = 128;
export const BATCH_BYTES_MAX = 4 * 1024 * 1024;

/** A slice of a sweep looks and decides for so long, or until so much is to be changed; it asks for so many rows at once. */
export const SWEEP_SLICE_MS = 3;
export const SWEEP_CHANGES_MAX = 64;
export const SWEEP_ROWS = 16;

/** Rows that one slice of eviction takes before it yields. */
export const WALK_ROWS = 64;

/** Share of what was scanned that may be written again for having been hit. */
export const SECOND_CHANCE_SHARE = 0.5;

/** Hits of one shard that are kept in memory before they are written. */
export const HITS_IN_MEMORY_MAX = 4_096;

/** How often hits are written at the latest, and how often files are looked after. */
export const HITS_FLUSH_MS = 60_000;
export const HEALTH_MS = 5_000;

/** Blocks of a large file, and time, after which their checksums are committed. */
export const LARGE_COMMIT_BLOCKS = 64;
export const LARGE_COMMIT_MS = 100;

/** Large files whose checksums are kept in memory at once, when nobody uses them. */
export const LARGE_OPEN_MAX = 256;

/** Small objects that are remembered as verified since the start. */
export const VERIFIED_MAX = 100_000;

/** Open files beside the indexes and the segments being written. */
export const DESCRIPTORS_MAX = 256;

/** How long a file lives on after a slice of it was handed out: the runtime opens it by its name when it sends. */
export const SLICE_LEASE_MS = 10_000;

/** Share of a store that removed objects may take whose users still write to them; beyond, such writes are refused. */
export const LINGER_SHARE_MAX = 0.5;

/** Nothing is written for this long after the disk was full. */
export const FULL_PAUSE_MS = 10_000;

/** Pages of the write-ahead log before SQLite copies them into the index (4 KiB each): a 64th of the share, between these. */
export const CHECKPOINT_PAGES_MIN = 8;
export const CHECKPOINT_PAGES_MAX = 512;

/** Room that is kept for the log of each shard: so many times what starts a checkpoint, because it grows until that has ended. */
export const LOG_ALLOWANCE = 2;

/** What an index takes that holds next to nothing. */
export const INDEX_BYTES_MIN = 64 * 1024;

/** Page cache of all indexes of a store together. */
export const INDEX_CACHE_BYTES = 32 * 1024 * 1024;

/** The scrubber's pace, and the shortest time between the beginnings of two of its rounds. */
export const SCRUB_TICK_MS = 1_000;
export const SCRUB_BYTES_PER_TICK = 1024 * 1024;
export const SCRUB_ROUND_MS = 24 * 3_600_000;

/** URLs of one shard whose removal is remembered while the disk does not take it; beyond, the shard starts empty. */
export const OWED_REMOVALS_MAX = 4_096;

/** After the disk was full, the store grows again by a step every so often. */
export const FULL_RECOVER_MS = 60_000;
