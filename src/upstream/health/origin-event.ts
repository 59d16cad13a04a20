/** What becomes known of an origin: told to every process of the node, to the log, and to whoever watches. */
import type { HopFinding } from "./watched-hop.ts";

/** Something that one process found out about an origin. */
export type OriginEvent = {
  readonly site: string;
  readonly origin: string;
  /** When, in ms since the epoch. */
  readonly atMs: number;
} & (
  | HopFinding
  /** The health checks came to a verdict; `isFirst`: there was none before. */
  | {
      readonly kind: "checks";
      readonly verdict: "up" | "down";
      readonly isFirst: boolean;
      readonly reason: string;
    }
);
