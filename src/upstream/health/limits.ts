/** Every limit of health and protection in one place; what an operator may choose stands in the config. */

/** Requests in a row that have to go well before an origin that was down is fully used again. */
export const TRIAL_SUCCESSES = 3;

/** The longest time that an origin is left out at one go, in milliseconds. */
export const HOLD_MS_MAX = 300_000;

/** An origin that stays up for so long has one of its failures forgotten, in milliseconds. */
export const FLAP_FORGOTTEN_MS = 60_000;

/** Flaps that are counted: more of them do not lengthen the time any further. */
export const FLAPS_MAX = 16;

/** An origin is degraded for at most so long after it last said so, in milliseconds. */
export const DEGRADED_MS = 60_000;

/** Answers without the field end the degradation only when it was last said so long ago: one backend of several may say it. */
export const DEGRADED_CLEAR_MS = 5_000;

/** How often the other workers are told that an origin still says that it is degraded, in milliseconds. */
export const DEGRADED_TOLD_MS = 10_000;

/** Health checks of a node that are under way at once; further ones wait for their turn. */
export const CHECKS_AT_ONCE_MAX = 64;

/** Bytes of a health check's answer that are read before it counts as whole. */
export const CHECK_BODY_BYTES_MAX = 64 * 1024;

/** The first checks of many origins are spread over so long at most, in milliseconds. */
export const FIRST_CHECK_MS_MAX = 1_000;

/** Words of an origin or of the system that are kept as the reason of a state, in characters. */
export const REASON_CHARS_MAX = 300;
