/**
 * A count-min sketch with four-bit counters: how often a hash was seen of late, never too low but for
 * ageing, sometimes too high. Eight counters stand in one 32-bit word; four rows share one table.
 * After ten times as many additions as the table has words, every counter is halved.
 *
 * The table doubles with the number of objects: an index is a hash under a mask, so that a table
 * written twice, end to end, answers exactly as the one before.
 */

const WORDS_MIN = 512;
const WORDS_MAX = 4_194_304;
const COUNT_MAX = 15;
const ROWS = 4;
/** Additions between two ageings, for each word. */
const SAMPLE_FACTOR = 10;
const HALVED_MASK = 0x77777777;

/** Counts hashes approximately, 0 to 15. */
export class FrequencySketch {
  #words = new Int32Array(WORDS_MIN);
  #mask = WORDS_MIN - 1;
  #additions = 0;

  /** Makes room for this many objects: one word each. */
  ensure(objects: number): void {
    while (objects > this.#words.length && this.#words.length < WORDS_MAX) {
      const doubled = new Int32Array(this.#words.length * 2);
      doubled.set(this.#words);
      doubled.set(this.#words, this.#words.length);
      this.#words = doubled;
      this.#mask = doubled.length - 1;
    }
  }

  /** How often the hash was seen, at most 15. */
  count(hash: number): number {
    let least = COUNT_MAX;
    for (let row = 0; row < ROWS; row++) {
      const mixed = mix(hash, row);
      const word = this.#words[mixed & this.#mask] ?? 0;
      const count = (word >>> shiftOf(mixed, row)) & COUNT_MAX;
      if (count < least) least = count;
    }
    return least;
  }

  /** Counts the hash once more. */
  add(hash: number): void {
    let added = false;
    for (let row = 0; row < ROWS; row++) {
      const mixed = mix(hash, row);
      const at = mixed & this.#mask;
      const shift = shiftOf(mixed, row);
      const word = this.#words[at] ?? 0;
      if (((word >>> shift) & COUNT_MAX) === COUNT_MAX) continue;
      this.#words[at] = word + (1 << shift);
      added = true;
    }
    if (added && ++this.#additions >= this.#words.length * SAMPLE_FACTOR) this.#age();
  }

  #age(): void {
    for (let at = 0; at < this.#words.length; at++) {
      this.#words[at] = ((this.#words[at] ?? 0) >>> 1) & HALVED_MASK;
    }
    this.#additions >>>= 1;
  }
}

const SEEDS = [0x9e3779b1, 0x85ebca77, 0xc2b2ae3d, 0x27d4eb2f] as const;

function mix(hash: number, row: number): number {
  const product = Math.imul(hash ^ (hash >>> 16), SEEDS[row] ?? 1);
  return product ^ (product >>> 15);
}

/** Each row has two of a word's eight counters to itself. */
function shiftOf(mixed: number, row: number): number {
  return (row * 2 + ((mixed >>> 30) & 1)) * 4;
}
