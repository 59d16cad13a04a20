/** What was purged and invalidated before a start: what a disk cache has to be held against before it is used. */

import { messageOf } from "../base/errors.ts";
import type { Purge } from "../cache/purge-table.ts";
import type { MarkLimits } from "../cache/store/disk-mark.ts";
import type { NotedInvalidation } from "../edge/purges.ts";
import type { InvalidationLog } from "./invalidation-log.ts";
import type { PurgeLog } from "./purge-log.ts";

/** Purges and invalidations that something stored may have missed. */
export interface Missed {
  readonly purges: readonly Purge[];
  readonly invalidations: readonly NotedInvalidation[];
}

/** Both logs of a node. */
export class PurgeHistory {
  readonly #purges: PurgeLog;
  /** Null where nothing outlives the process. */
  readonly #invalidations: InvalidationLog | null;

  readonly #onProblem: (message: string) => void;

  /** `onProblem` hears of what could not be noted for later starts. */
  constructor(
    purges: PurgeLog,
    invalidations: InvalidationLog | null,
    onProblem: (message: string) => void = () => undefined,
  ) {
    this.#onProblem = onProblem;
    this.#purges = purges;
    this.#invalidations = invalidations;
    if (invalidations === null) return;
    // An older copy of the log: what was stored under its lost entries must not be taken for newer than the next ones.
    if (invalidations.newestPurge(purges.id) > purges.newest) purges.renew();
    purges.onEntry = (sequence) => {
      this.#try("how far the purge log has come", () => invalidations.notePurge(purges.id, sequence));
    };
  }

  /** Where both stand, and from where on they are known. `local` is the node's newest invalidation. */
  limits(local = this.base): MarkLimits {
    const { id, newest, from } = this.#purges;
    return {
      log: id,
      newest: { sequence: newest, local },
      from: { sequence: from, local: this.#invalidations?.from ?? 0 },
    };
  }

  /** Place of the newest invalidation before this start. */
  get base(): number {
    return this.#invalidations?.base ?? 0;
  }

  /** What came after. */
  since(floor: MarkLimits["newest"]): Missed {
    return {
      purges: this.#purges.since(floor.sequence),
      invalidations: this.#invalidations?.since(floor.local) ?? [],
    };
  }

  /** Notes an invalidation before it is applied. What the disk does not take is applied all the same, and reported. */
  remember(invalidation: NotedInvalidation): void {
    this.#try("an invalidation", () => this.#invalidations?.append(invalidation));
  }

  #try(what: string, note: () => void): void {
    try {
      note();
    } catch (error) {
      this.#onProblem(
        `${what} could not be noted (${messageOf(error)}): it is in force, and may not be for the disk cache after a restart`,
      );
    }
  }
}

/** Targets in one message to a worker. */
const SLICE_TARGETS_MAX = 10_000;

/** What was missed, in messages of a bounded size, in order. */
export function slicesOf({ purges, invalidations }: Missed): Missed[] {
  const slices: { purges: Purge[]; invalidations: NotedInvalidation[]; targets: number }[] = [];
  const room = (targets: number) => {
    let slice = slices.at(-1);
    if (slice === undefined || slice.targets + targets > SLICE_TARGETS_MAX) {
      slice = { purges: [], invalidations: [], targets: 0 };
      slices.push(slice);
    }
    slice.targets += targets;
    return slice;
  };
  for (const purge of purges) room(purge.targets.length + 1).purges.push(purge);
  for (const invalidation of invalidations)
    room(invalidation.tags.length + invalidation.urls.length + 1).invalidations.push(invalidation);
  return slices;
}
