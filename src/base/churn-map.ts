/** Keys that go before the table is made anew, at least. */
const GONE_MIN = 64;

/**
 * A map for what comes and goes in something long-lived.
 *
 * The engine's Map and Set make a new table whenever enough keys were removed, and the table before leads to
 * it, for iterators that are under way. A table that has lived through one small collection counts as alive
 * until the next full one, and so does, by that chain, everything that stood in any table since: the dead are
 * marked and kept as if they were in use (docs/decisions/0028-churn.md). Here a whole map stands for the one
 * before when as many keys have gone as there are: nothing leads from the one to the other.
 */
export class ChurnMap<Key extends string | number, Value> {
  #map = new Map<Key, Value>();
  #gone = 0;

  get size(): number {
    return this.#map.size;
  }

  get(key: Key): Value | undefined {
    return this.#map.get(key);
  }

  set(key: Key, value: Value): void {
    this.#map.set(key, value);
  }

  /** Takes a key out; false when it was not there. */
  delete(key: Key): boolean {
    if (!this.#map.delete(key)) return false;
    if (++this.#gone > this.#map.size && this.#gone > GONE_MIN) {
      this.#map = new Map(this.#map);
      this.#gone = 0;
    }
    return true;
  }

  /** The values as they are now, in the order their keys came. */
  values(): Value[] {
    return [...this.#map.values()];
  }

  /** The keys as they are now, in the order they came. */
  keys(): Key[] {
    return [...this.#map.keys()];
  }
}
