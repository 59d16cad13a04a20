/** Limits of the raw listener that are not an operator's to set; those in time stand in ../limits.ts. */
import { TARGET_CHARS_MAX } from "../../../http/target.ts";

/** Bytes of a request line: a target that the pipeline refuses by itself still fits; beyond it is 414. */
export const REQUEST_LINE_BYTES_MAX = TARGET_CHARS_MAX + 256;

/** Characters of a method; a longer one is 501. */
export const METHOD_CHARS_MAX = 32;

/** Field lines of a header section; more are 431. */
export const REQUEST_FIELDS_MAX = 200;

/** Digits of Content-Length: what stays an exact integer. */
export const CONTENT_LENGTH_DIGITS_MAX = 15;

/** Empty lines that may stand before a request line (RFC 9112 section 2.2 asks for one at least). */
export const EMPTY_LINES_MAX = 2;

/** Bytes of pipelined requests that wait behind one that is being answered before reading stops. */
export const PIPELINED_BYTES_MAX = 64 * 1024;

/** Bytes of a request's body that wait for whoever reads it before reading stops, and where it goes on. */
export const REQUEST_BODY_ROOM = { bytesMax: 64 * 1024, bytesResume: 16 * 1024 };

/** What is left of a body that nobody wants is read and dropped up to this, in bytes; a longer rest ends the connection. */
export const DROPPED_BODY_BYTES_MAX = 64 * 1024;

/**
 * Bytes gathered for one write: the answers to pipelined requests, a head and its body. Copying a body of
 * this size costs less than a second system call; what does not fit is written as it lies.
 */
export const OUTBOX_BYTES = 160 * 1024;

/** Bytes of a body too large for that which are copied behind what was gathered, so that they share a packet. */
export const FILL_UP_BYTES = 64 * 1024;

/** Largest Blob whose bytes are kept for the next viewer, and bytes of all that are kept in a process. */
export const BLOB_EACH_BYTES_MAX = 16 * 1024 * 1024;
export const BLOBS_BYTES_MAX = 32 * 1024 * 1024;

/** Bytes read and dropped from a viewer that was told that its connection ends. */
export const LINGER_BYTES_MAX = 1024 * 1024;

/** Time for such a viewer to close, in milliseconds. Closing at once could destroy the answer on its way (RFC 9112 section 9.6). */
export const LINGER_MS = 2_000;

/** How exact the deadlines of connections are, in milliseconds. */
export const WHEEL_TICK_MS = 250;
