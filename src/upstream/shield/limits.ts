/** Limits between an edge and its shields; what an operator may choose stands in the config. */

/** How far apart the clocks of two nodes may be, and how old a signature, in milliseconds. */
export const SIGNATURE_AGE_MS_MAX = 60_000;

/** The shortest shared secret, in characters. */
export const SECRET_CHARS_MIN = 32;

/** Nodes of shields that are asked for one request before its origin is. */
export const ATTEMPTS_MAX = 2;

/** How long a shield may take until a connection stands, in milliseconds. */
export const CONNECT_MS = 1_000;

/** A shield that has not answered for so long is asked whether it lives, in milliseconds: it may wait for a slow origin. */
export const PROBE_AFTER_MS = 1_000;

/** How long its answer to that may take, in milliseconds. */
export const PROBE_MS = 1_000;

/** How often one that is down is asked again, in milliseconds. */
export const PROBE_EVERY_MS = 2_000;

/** Requests in a row that have to fail before a shield is left out without a probe. */
export const FAILURES = 3;

/** For how long it is left out then, the first time, in milliseconds. */
export const HOLD_MS = 1_000;

/** Beside the time that the origin may take, in milliseconds: what edge and shield need between them. */
export const MARGIN_MS = 1_500;

/** Connections to one node of a shield, in use or idle. */
export const CONNECTIONS_MAX = 4_096;

/** How long an idle connection to a shield is kept, in milliseconds: less than a listener keeps one. */
export const KEEP_ALIVE_MS = 5_000;

/** The longest that asking shields can add to the head of an answer, in milliseconds. */
export const DELAY_MS_MAX = ATTEMPTS_MAX * (CONNECT_MS + PROBE_AFTER_MS + PROBE_MS + MARGIN_MS);
