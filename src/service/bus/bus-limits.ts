/** Limits of the bus between the control plane and its nodes, each with a name. */

/** Largest message that is sent, in bytes: servers take a mebibyte unless told otherwise, headers included. */
export const MESSAGE_BYTES_MAX = 512 * 1024;
/** Largest message that is read, in bytes. */
export const HEARD_BYTES_MAX = 2 * 1024 * 1024;
/** Bodies longer than this travel in pieces beside the log, in characters: the JSON of a message escapes some. */
export const INLINE_CHARS_MAX = 128 * 1024;
/** Pieces of one body, and its size when it is put together, in bytes: a snapshot of 100,000 sites. */
export const PIECES_MAX = 1_024;
export const WHOLE_BYTES_MAX = 512 * 1024 * 1024;
/** Snapshots, and long bodies of entries, that are kept on the bus. */
export const SNAPSHOTS_ON_BUS = 3;
export const LONG_ENTRIES_ON_BUS = 200;
/** Most room of the streams, in bytes: the oldest entries go first. */
export const LOG_STREAM_BYTES_MAX = 512 * 1024 * 1024;
export const PIECES_STREAM_BYTES_MAX = 1024 * 1024 * 1024;

/** How long a request to the servers may take, in milliseconds. */
export const REQUEST_MS_MAX = 2_000;
/** How long connecting may take, in milliseconds. */
export const CONNECT_MS_MAX = 5_000;
/** How often a connection is tried again, in milliseconds. */
export const RECONNECT_MS = 200;
/** How often a connection is asked whether it lives, in milliseconds; it is given up after two silences. */
export const PING_MS = 2_000;

/** Messages that the control plane did not sign, in a row, that are stepped over while a place is looked for. */
export const STRANGE_MAX = 1_000;
