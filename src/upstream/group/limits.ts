/** Limits of origin groups. */

/** The time over which a retry budget is reckoned, in milliseconds (Finagle's RetryBudget: 10 s). */
export const BUDGET_WINDOW_MS = 10_000;

/** How much more than its share a member may be given where the key chooses (Mirrokni et al., 2017: 1.25). */
export const LOAD_FACTOR = 1.25;

/** A body up to this size is taken whole before its head is given on, in bytes. */
export const WHOLE_BODY_BYTES_MAX = 256 * 1024;

/** How long such a body is waited for, in milliseconds. */
export const WHOLE_BODY_WAIT_MS = 200;

/** The same where the head does not tell the length: it may be a page that is still being made. */
export const UNKNOWN_LENGTH_WAIT_MS = 5;
