/**
 * Every limit of the HTTP/1.1 client in one place. An origin is as hostile as a viewer: whatever it
 * sends is counted, and what passes a limit fails the exchange with a sentence that names the limit.
 */

/** Bytes of a response's header section, status line and final empty line included. */
export const RESPONSE_HEAD_BYTES_MAX = 64 * 1024;

/** Field lines of a response's header section. */
export const RESPONSE_FIELDS_MAX = 256;

/** Interim (1xx) responses before the final one. */
export const INTERIM_RESPONSES_MAX = 16;

/** Digits of Content-Length: what stays an exact integer. */
export const CONTENT_LENGTH_DIGITS_MAX = 15;

/** Body bytes that wait for a reader before the connection is paused. */
export const BODY_QUEUE_BYTES_MAX = 1024 * 1024;

/** A paused connection resumes when no more than this waits. */
export const BODY_QUEUE_BYTES_RESUME = 256 * 1024;

/** Addresses of one origin name that are tried for one connection. */
export const ADDRESSES_TRIED_MAX = 4;

/** Addresses of one origin name that are kept from one DNS answer. */
export const ADDRESSES_KEPT_MAX = 16;

/** How long a DNS answer is used, in milliseconds. */
export const DNS_FRESH_MS = 5_000;

/** How long the last DNS answer is used while the resolver fails, in milliseconds. */
export const DNS_STALE_MS = 60 * 60 * 1000;

/** Connections to one origin, in use, idle and being opened together. */
export const CONNECTIONS_MAX = 1024;

/** Idle connections kept to one origin. */
export const IDLE_CONNECTIONS_MAX = 256;

/** Requests that wait for a connection to one origin. */
export const WAITING_REQUESTS_MAX = 4096;

/** How long an idle connection is kept, in milliseconds. */
export const KEEP_ALIVE_MS = 60_000;

/** An idle connection is dropped this long before the time the origin announced (Keep-Alive: timeout). */
export const KEEP_ALIVE_MARGIN_MS = 1_000;
