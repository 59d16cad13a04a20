/** When a worker that ended starts again: at once, and later and later while it keeps ending soon after its start. */

/** A worker that ran for so long has not failed to start, in milliseconds. */
export const STEADY_MS = 10_000;
/** The first wait, which doubles, and the longest one. */
export const RESTART_MS_MIN = 250;
export const RESTART_MS_MAX = 30_000;

/** One slot's history. */
export class RestartPolicy {
  #inARow = 0;

  /** A worker ended after `ranMs`: how long to wait before the next one starts, and how many ended so in a row. */
  ended(ranMs: number): { readonly delayMs: number; readonly inARow: number } {
    this.#inARow = ranMs >= STEADY_MS ? 1 : this.#inARow + 1;
    const delayMs =
      this.#inARow === 1 ? 0 : Math.min(RESTART_MS_MAX, RESTART_MS_MIN * 2 ** (this.#inARow - 2));
    return { delayMs, inARow: this.#inARow };
  }
}
