/**
 * Short texts that come again and again inside longer ones (field lines, names, status lines), and what was
 * made of each. One is found by where it stands, without being cut out first: most lines of a head are those
 * of the head before, and then nothing has to be made for them.
 *
 * A table of fixed size: a text has one place in it, by a few of its characters, and shares it with others.
 * It gets the place when it comes twice in a row there, so that what comes once (a date, a tag) costs
 * nothing. What is kept is a copy: a part of a text would keep the whole of it alive.
 */

/** What is kept of a text. */
interface Known<Value> {
  readonly text: string;
  readonly value: Value;
}

/** A memory of up to `places` texts (a power of two) of at most `charsMax` characters each, latin1 only. */
export class KnownTexts<Value> {
  readonly #known: (Known<Value> | null)[];
  /** The mix of the last text at each place that was not known. */
  readonly #seen: Uint32Array;
  readonly #charsMax: number;
  readonly #make: (text: string) => Value | null;

  /** `make` gives what is to be kept of a text, or null where it is not to be kept; it may keep parts of its argument. */
  constructor(places: number, charsMax: number, make: (text: string) => Value | null) {
    this.#known = new Array<Known<Value> | null>(places).fill(null);
    this.#seen = new Uint32Array(places);
    this.#charsMax = charsMax;
    this.#make = make;
  }

  /** What was made of the part of `text` from `start` to `end`; null when it is not known. */
  find(text: string, start: number, end: number): Value | null {
    const length = end - start;
    if (length <= 0 || length > this.#charsMax) return null;
    const mix = mixOf(text, start, end);
    const place = mix & (this.#known.length - 1);
    const known = this.#known[place] ?? null;
    if (known !== null && known.text.length === length && text.startsWith(known.text, start))
      return known.value;
    if (this.#seen[place] !== mix) {
      this.#seen[place] = mix;
      return null;
    }
    const copy = Buffer.from(text.slice(start, end), "latin1").toString("latin1");
    const value = this.#make(copy);
    // A text that is not to be kept does not ask for it each time.
    this.#seen[place] = 0;
    if (value !== null) this.#known[place] = { text: copy, value };
    return value;
  }
}

/** The length and up to twelve characters, the last ones above all: there a date, a tag and a length differ. */
function mixOf(text: string, start: number, end: number): number {
  let mix = end - start;
  const tail = Math.max(start, end - 8);
  for (let i = tail; i < end; i++) mix = Math.imul(mix ^ text.charCodeAt(i), FNV_PRIME);
  const head = Math.min(tail, start + 4);
  for (let i = start; i < head; i++) mix = Math.imul(mix ^ text.charCodeAt(i), FNV_PRIME);
  mix ^= mix >>> 15;
  return mix >>> 0;
}

/** FNV-1a's. */
const FNV_PRIME = 0x01000193;
