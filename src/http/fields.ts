/**
 * Header and trailer fields as an ordered list of name and value (RFC 9110 section 5). Names are
 * kept in lower case, values as received without outer white space. The flat array keeps a stored
 * response small: one array and its strings.
 */

/** Read access to header fields; names are lower case. The runtime's Headers satisfies it. */
export interface FieldReader {
  /** The combined value, joined with ", " when the field is repeated (RFC 9110 section 5.3); null when absent. */
  get(name: string): string | null;
  has(name: string): boolean;
  /** Every field line (set-cookie apart, others possibly combined), in order. */
  entries(): Iterable<[string, string]>;
}

/** A mutable list of field lines. */
export class Fields implements FieldReader {
  #flat: string[];

  constructor(flat: string[] = []) {
    this.#flat = flat;
  }

  /** From name and value pairs; names are lowered. */
  static from(pairs: Iterable<readonly [string, string]>): Fields {
    const flat: string[] = [];
    for (const [name, value] of pairs) flat.push(name.toLowerCase(), value);
    return new Fields(flat);
  }

  /** From what `pack` made. */
  static unpack(packed: string): Fields {
    return new Fields(packed === "" ? [] : packed.split("\n"));
  }

  /** All lines as one string: names and values can not hold a line break. */
  pack(): string {
    return this.#flat.join("\n");
  }

  get(name: string): string | null {
    const flat = this.#flat;
    let found: string | null = null;
    for (let i = 0; i < flat.length; i += 2) {
      if (flat[i] !== name) continue;
      const value = flat[i + 1] as string;
      found = found === null ? value : `${found}${name === "cookie" ? "; " : ", "}${value}`;
    }
    return found;
  }

  /** Every value of the field, one for each line. */
  getAll(name: string): string[] {
    const values: string[] = [];
    for (let i = 0; i < this.#flat.length; i += 2) {
      if (this.#flat[i] === name) values.push(this.#flat[i + 1] as string);
    }
    return values;
  }

  has(name: string): boolean {
    for (let i = 0; i < this.#flat.length; i += 2) if (this.#flat[i] === name) return true;
    return false;
  }

  /** Replaces every line of the field by one, at the place of the first. */
  set(name: string, value: string): void {
    const flat = this.#flat;
    for (let i = 0; i < flat.length; i += 2) {
      if (flat[i] !== name) continue;
      flat[i + 1] = value;
      for (let j = flat.length - 2; j > i; j -= 2) if (flat[j] === name) flat.splice(j, 2);
      return;
    }
    flat.push(name, value);
  }

  append(name: string, value: string): void {
    this.#flat.push(name, value);
  }

  delete(name: string): void {
    const flat = this.#flat;
    for (let i = flat.length - 2; i >= 0; i -= 2) if (flat[i] === name) flat.splice(i, 2);
  }

  /** Deletes every field of these names, in one pass. */
  deleteAll(names: ReadonlySet<string>): void {
    const flat = this.#flat;
    let kept = 0;
    for (let i = 0; i < flat.length; i += 2) {
      if (names.has(flat[i] as string)) continue;
      if (kept < i) {
        flat[kept] = flat[i] as string;
        flat[kept + 1] = flat[i + 1] as string;
      }
      kept += 2;
    }
    if (kept < flat.length) flat.length = kept;
  }

  clone(): Fields {
    return new Fields(this.#flat.slice());
  }

  /** Name, value, name, value: for loops that make nothing for each line. Not to be changed. */
  get flat(): readonly string[] {
    return this.#flat;
  }

  *entries(): Generator<[string, string]> {
    for (let i = 0; i < this.#flat.length; i += 2) {
      yield [this.#flat[i] as string, this.#flat[i + 1] as string];
    }
  }

  /** Number of field lines. */
  get size(): number {
    return this.#flat.length / 2;
  }

  /** Sum of the lengths of names and values, in UTF-16 units: what a memory limit counts. */
  get length(): number {
    let sum = 0;
    for (const part of this.#flat) sum += part.length;
    return sum;
  }
}

/** Name, value, name, value of any fields: for loops that make nothing for each line. Not to be changed. */
export function flatOf(fields: FieldReader): readonly string[] {
  if (fields instanceof Fields) return fields.flat;
  const flat: string[] = [];
  for (const [name, value] of fields.entries()) flat.push(name, value);
  return flat;
}
