/**
 * A map for what comes and goes in something long-lived.
 *
 * The engine's Map and Set make a new table whenever enough keys were removed, and the table before leads to
 * it, for iterators that are under way. A table that has lived through one small collection counts as alive
 * until the next full one, and so does, by that chain, everything that stood in any table since: the dead are
 * marked and copied into the old generation as if they were in use (docs/decisions/0028-churn.md). An object
 * without a prototype has one table.
 */
export class ChurnMap<Key extends string | number, Value extends object> {
  readonly #values: Record<Key, Value | undefined> = Object.create(null);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(key: Key): Value | undefined {
    return this.#values[key];
  }

  set(key: Key, value: Value): void {
    if (this.#values[key] === undefined) this.#size++;
    this.#values[key] = value;
  }

  /** Takes a key out; false when it was not there. */
  delete(key: Key): boolean {
    if (this.#values[key] === undefined) return false;
    delete this.#values[key];
    this.#size--;
    return true;
  }

  /** The values as they are now: whole numbers as keys come first, by size; others in the order they came. */
  values(): Value[] {
    return Object.values(this.#values);
  }

  /** The keys, in the order of `values`, as texts. */
  keys(): string[] {
    return Object.keys(this.#values);
  }
}
