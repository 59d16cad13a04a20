/** Named limits of the cache. */

/** What a stored response costs beside its body, key and fields while it is not packed, in bytes; measured by `bench/memory.ts`. */
export const ENTRY_OVERHEAD_BYTES = 1_650;

/** Share of the memory limit, and most bytes, that responses may take that are in use, as objects beside the packed ones. */
export const UNPACKED_SHARE = 1 / 16;
export const UNPACKED_BYTES_MAX = 32 * 1024 * 1024;
/** How much of that those may take that were asked for once: what is packed before the next small collection costs the collector nothing. */
export const UNPACKED_NEW_BYTES_MAX = 512 * 1024;

/** Share of the memory limit, and least bytes, that slabs of packed responses may hold without records. */
export const SLACK_SHARE = 1 / 16;
export const SLACK_BYTES_MIN = 4 * 1024 * 1024;

/** What a derived form and a tag cost beside their own bytes. */
export const FORM_OVERHEAD_BYTES = 300;
export const TAG_OVERHEAD_BYTES = 40;

/** Bodies up to this size are kept as a Uint8Array; larger ones as a Blob, which is not copied for each viewer. */
export const INLINE_BODY_BYTES_MAX = 64 * 1024;

/** How long a URL whose answer could not be stored is fetched without collapsing (hit-for-miss), in milliseconds. */
export const PASS_MS = 10_000;

/** Unstorable answers in a row after which those who ask for a new URL of the same folder do not wait for each other; and so many times more for each folder further above. */
export const FORECAST_ANSWERS = 8;
export const FORECAST_FACTOR = 4;

/** How long an unstorable answer, and one that could be stored, speak for their folder, in milliseconds. */
export const FORECAST_UNSTORABLE_MS = 10 * 60 * 1000;
export const FORECAST_STORABLE_MS = 24 * 60 * 60 * 1000;

/** Folders of one URL that are looked at, the root first, and folders that are remembered. */
export const FORECAST_LEVELS_MAX = 8;
export const FORECAST_FOLDERS_MAX = 8_192;

/** How long no further background refresh starts after one failed, in milliseconds. */
export const REFRESH_BACKOFF_MS = 1_000;

/** A body that is not retained: how far the fastest viewer may be ahead of the slowest, in bytes. */
export const FILL_WINDOW_BYTES_MAX = 1024 * 1024;

/** A viewer that does not take anything for this long while others wait for the window is cut off, in milliseconds. */
export const FILL_STALL_MS_MAX = 5_000;

/** Largest body of which a worker keeps a copy beside the owner's, in bytes. */
export const HOT_COPY_BYTES_MAX = 1024 * 1024;

/** How long a worker may use what it fetched itself while the owner was down, in milliseconds: the owner's next may differ. */
export const OWNERLESS_MS_MAX = 5_000;

/** Share of the memory limit that bodies still being fetched may take; beyond it they pass without being stored. */
export const FILL_MEMORY_SHARE = 0.25;

/** Bodies above this size are kept on disk alone where there is a disk tier, in bytes. */
export const MEMORY_BODY_BYTES_MAX = 1024 * 1024;

/** What one request for missing bytes of a large body asks for at most, in bytes; more than this ahead of a fetch is not waited for. */
export const LARGE_SPAN_BYTES = 8 * 1024 * 1024;

/** How far before its end the next span is asked for, in bytes. */
export const LARGE_AHEAD_BYTES = 2 * 1024 * 1024;

/** Most bytes that one read of a large body gives. */
export const LARGE_READ_BYTES_MAX = 512 * 1024;

/** Blocks that are held in memory for readers when the disk takes nothing. */
export const LARGE_HELD_BLOCKS_MAX = 16;

/** Failed fetches in a row after which a reader gives up. */
export const LARGE_SPAN_TRIES_MAX = 3;

/** What is not usable for at least this long is not written to disk, in milliseconds. */
export const DISK_LIFE_MS_MIN = 10_000;

/** How long after an invalidation by tag what is stored is swept for it, in milliseconds. */
export const LOCAL_SWEEP_MS = 60_000;

/** How long after a sweep that the disk did not take whole it is tried again, in milliseconds. */
export const SWEEP_AGAIN_MS = 5_000;

/** How long a shield may take to apply what the edge that asks it has applied already, in milliseconds. */
export const FLEET_CATCH_UP_MS_MAX = 1_000;
