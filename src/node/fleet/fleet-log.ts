/**
 * The fleet's log as a node reads it: entries behind a place, in order, the newest place, and snapshots. Read
 * from the control plane itself or from a bus that it feeds (one contract: test/contract/fleet-log.test.ts).
 */
import type { ClockSetting } from "../../base/clock.ts";
import { ProximaError } from "../../base/errors.ts";
import type { SnapshotAnswer } from "../../service/fleet-wire.ts";
import type { FleetPosition } from "../purge-log.ts";
import type { ControlClient } from "./control-client.ts";

/** Entries behind a place. */
export interface LogAnswer {
  /** Identity of the log. */
  readonly log: string;
  readonly changes: readonly {
    readonly sequence: number;
    readonly acceptedMs: number;
    readonly digest: string;
    readonly body: { readonly kind: string };
  }[];
  /** True while an operator wants no viewers sent here; null where the log does not tell. */
  readonly drained: boolean | null;
}

/** Where the log ends. */
export interface LogHead extends FleetPosition {
  /** The newest snapshot; null when there is none. */
  readonly snapshot: number | null;
  /** The fleet's clock, where it can be moved. */
  readonly clock?: ClockSetting | undefined;
}

/**
 * The log. Every call rejects with a ProximaError when the log can not be read just now
 * ("control_unreachable") or not by this node ("control_refuses").
 */
export interface FleetLog {
  /** What it is called in messages: "the control plane at https://...". */
  readonly name: string;
  /**
   * True while the newest message there is none of the control plane's: somebody else writes, or its key is
   * another now, and then what it orders is not seen.
   */
  readonly isDoubtful: boolean;
  /**
   * Entries behind a place, at least one unless `waitSeconds` pass without any; null when the log does not
   * have the place (any more). An answer without entries says that there were none.
   */
  changes(place: FleetPosition, waitSeconds: number): Promise<LogAnswer | null>;
  head(): Promise<LogHead>;
  /** A snapshot; null when there are newer ones in its place. */
  snapshot(number: number): Promise<SnapshotAnswer | null>;
  /** Ends what is under way. */
  close(): void;
}

/** Read from the control plane, by long polls. */
export class ControlLog implements FleetLog {
  readonly name: string;
  readonly isDoubtful = false;
  readonly #client: ControlClient;

  constructor(client: ControlClient) {
    this.#client = client;
    this.name = `the control plane at ${client.url}`;
  }

  async changes(place: FleetPosition, waitSeconds: number): Promise<LogAnswer | null> {
    try {
      const answer = await this.#client.changes(place, waitSeconds);
      return answer.log === place.log ? answer : null;
    } catch (error) {
      if (isCode(error, "conflict")) return null;
      throw error;
    }
  }

  async head(): Promise<LogHead> {
    const { log, head, digest, snapshot, clock } = await this.#client.head();
    return { log, sequence: head, digest, snapshot, clock };
  }

  async snapshot(number: number): Promise<SnapshotAnswer | null> {
    try {
      return await this.#client.snapshot(number);
    } catch (error) {
      if (isCode(error, "not_found")) return null;
      throw error;
    }
  }

  close(): void {
    this.#client.close();
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof ProximaError && error.code === code;
}
