/** What was purged and invalidated before a start: what a disk cache has to be held against before it is used. */

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

  constructor(purges: PurgeLog, invalidations: InvalidationLog | null) {
    this.#purges = purges;
    this.#invalidations = invalidations;
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

  /** Notes an invalidation before it is applied. */
  remember(invalidation: NotedInvalidation): void {
    this.#invalidations?.append(invalidation);
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
