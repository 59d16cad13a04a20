/** The limits of bucket origins in one place. */

/** Bytes that are read of a store's error, to find its code; the rest is left. */
export const ERROR_BODY_BYTES_MAX = 16 * 1024;

/** Characters that a message repeats of what a store said. */
export const SHOWN_CHARS_MAX = 200;

/** Credentials are looked at again no sooner than this after the last time, in milliseconds. */
export const RENEW_PAUSE_MS = 1_000;

/** One kind of trouble of one origin is told no more often than this, in milliseconds. */
export const TELL_PAUSE_MS = 60_000;

/** Characters of one secret. A session token of AWS has some 2,000. */
export const SECRET_CHARS_MAX = 16 * 1024;
