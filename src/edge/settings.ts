/** What an edge knows of itself: the part of the node's config that the phases need. */
import type { AddressSet } from "../http/ip.ts";

/** Where this node stands in its fleet's log. */
export interface FleetStanding {
  /** Identity of the log; null for a node without a fleet: its purges' numbers are its own. */
  readonly log: string | null;
  /** Everything of the log up to here is applied in every worker; purges may be further already. */
  readonly applied: number;
  /** The log can not be reached: viewers are told that purges may be missing. */
  readonly unsynced: boolean;
  /** It can not be reached for so long that nothing stored is given without asking its origin. */
  readonly mustValidate: boolean;
}

/** A node on its own. */
export const NO_FLEET: FleetStanding = { log: null, applied: 0, unsynced: false, mustValidate: false };

/** Identity and trust of this edge. */
export interface EdgeSettings {
  /** Name in Via, Cache-Status and Proxy-Status. */
  readonly name: string;
  /** Token in CDN-Loop (RFC 8586): the fleet's, or this node's own. */
  readonly loopId: string;
  /** Keys of the edges that this node takes requests of as a shield; null when it is none. */
  readonly tierKeys: readonly Buffer[] | null;
  /** Peers whose X-Forwarded-* are believed; null when there are none. */
  readonly trustedProxies: AddressSet | null;
  /** Names and values of a request's fields together, in characters; null where the runtime's own limit is enough. */
  readonly headerCharsMax: number | null;
  /** Largest body of a request, in bytes; one that announces more is refused before an origin is asked. */
  readonly requestBodyBytesMax: number;
  /** Port of the https listener, for redirects; null when there is none. */
  readonly httpsPort: number | null;
  /** Changes while the edge runs. */
  readonly fleet: FleetStanding;
}

/** Most times that our own CDN-Loop token may be in a request that we take. */
export const LOOP_COUNT_MAX = 0;

/** Bodies up to this size are sent whole, with their length, when they come soon enough, in bytes. */
export const WHOLE_BODY_BYTES_MAX = 256 * 1024;

/** How long a viewer waits for a small body to be whole before it is streamed, in milliseconds. */
export const WHOLE_BODY_WAIT_MS = 200;

/** The same for a body whose length is not told: it may be a page that is still being made. */
export const UNKNOWN_LENGTH_WAIT_MS = 5;

/** Bodies outside these sizes are not compressed, in bytes. */
export const COMPRESS_BYTES_MIN = 512;
export const COMPRESS_BYTES_MAX = 8 * 1024 * 1024;

/** How often a request may find that it shared a fetch with another variant and start again. */
export const VARIANT_RESTARTS_MAX = 3;
