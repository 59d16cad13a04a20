/** The mark of a shard: against which purges its rows have been held. What was stored under another log can not be checked. */

/** How far a shard was swept. */
export interface DiskMark {
  /** Identity of the purge log. */
  readonly log: string;
  /** Up to which of its entries. */
  readonly sequence: number;
  /** Up to which invalidation of the node. */
  readonly local: number;
}

/** As it is written. */
export function formatMark({ log, sequence, local }: DiskMark): string {
  return `${log} ${sequence} ${local}`;
}

/** Reads a mark; null when it is none. */
export function parseMark(text: string | null): DiskMark | null {
  const match = /^(\S{1,100}) (\d{1,16}) (\d{1,16})$/.exec(text ?? "");
  if (match === null) return null;
  const [sequence, local] = [Number(match[2]), Number(match[3])];
  if (!Number.isSafeInteger(sequence) || !Number.isSafeInteger(local)) return null;
  return { log: match[1] as string, sequence, local };
}

/** Where the log and the node's invalidations stand, and from where on what was missed can be applied again. */
export interface MarkLimits {
  readonly log: string;
  readonly newest: { readonly sequence: number; readonly local: number };
  /** Everything after these is known still. */
  readonly from: { readonly sequence: number; readonly local: number };
}

/** Decides which shards can be used, and from where on the purges have to be applied to them. */
export class MarkGate {
  readonly #limits: MarkLimits;
  #floor: { readonly sequence: number; readonly local: number };
  /** Set when the edge is made: what came since the start it forgets as it is swept; null until it has begun. */
  forgotten: (() => { readonly sequence: number; readonly local: number } | null) | null = null;

  constructor(limits: MarkLimits) {
    this.#limits = limits;
    this.#floor = limits.newest;
  }

  /** May what a shard holds be used? */
  accept(text: string | null): boolean {
    const mark = parseMark(text);
    const { log, newest, from } = this.#limits;
    if (mark === null || mark.log !== log) return false;
    if (this.forgotten !== null) {
      // Before the edge has begun the floor is known to it already: nothing older can be applied any more.
      const { sequence, local } = this.forgotten() ?? newest;
      return mark.sequence >= sequence && mark.local >= local;
    }
    // A mark beyond the log is of a log that was set back: its entries will not be the ones that were applied.
    const known = mark.sequence >= from.sequence && mark.local >= from.local;
    if (!known || mark.sequence > newest.sequence || mark.local > newest.local) return false;
    this.#floor = {
      sequence: Math.min(this.#floor.sequence, mark.sequence),
      local: Math.min(this.#floor.local, mark.local),
    };
    return true;
  }

  /** Up to where every shard that was accepted has been held against the purges. */
  get floor(): { readonly sequence: number; readonly local: number } {
    return this.#floor;
  }
}
