/**
 * What is to be expected of a URL that nobody asked for before, from what its neighbours answered: where the
 * last answers below a folder could all not be stored, viewers of a new URL there do not wait for each other.
 *
 * A folder is known by a hash of its base key up to a slash. The deepest known folder decides: one answer that
 * could be stored speaks for collapsing for a day, for every folder above it too; only a row of unstorable ones
 * with none in between speaks against, and the further above, the longer it has to be. A wrong guess costs requests for as long as one answer takes, since that
 * answer is stored and says so.
 */
import {
  FORECAST_ANSWERS,
  FORECAST_FACTOR,
  FORECAST_FOLDERS_MAX,
  FORECAST_LEVELS_MAX,
  FORECAST_STORABLE_MS,
  FORECAST_UNSTORABLE_MS,
} from "./limits.ts";

interface Folder<Reason> {
  /** Unstorable answers in a row. */
  row: number;
  reason: Reason | null;
  unstorableAtMs: number;
  storableAtMs: number;
}

/** FNV-1a. */
const FNV_PRIME = 0x01000193;
const SLASH = 0x2f;
const QUERY = 0x3f;

/** The memory of an edge; `Reason` says why an answer could not be stored. */
export class PassForecast<Reason> {
  /** Two generations: what is asked about stays, what is not goes when the young one is full. */
  #young = new Map<number, Folder<Reason>>();
  #old = new Map<number, Folder<Reason>>();
  readonly #hashes = new Uint32Array(FORECAST_LEVELS_MAX);
  /** Nobody outside can choose two folders that are taken for one. */
  readonly #seed = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;

  /** The answer of a URL could be stored. */
  storable(base: string, nowMs: number): void {
    for (let level = this.#read(base) - 1; level >= 0; level--) {
      const folder = this.#folder(this.#hashes[level] as number);
      folder.row = 0;
      folder.storableAtMs = nowMs;
    }
  }

  /** It could not. */
  unstorable(base: string, reason: Reason, nowMs: number): void {
    for (let level = this.#read(base) - 1; level >= 0; level--) {
      const folder = this.#folder(this.#hashes[level] as number);
      if (nowMs - folder.unstorableAtMs > FORECAST_UNSTORABLE_MS) folder.row = 0;
      folder.row++;
      folder.reason = reason;
      folder.unstorableAtMs = nowMs;
    }
  }

  /** Why the answer of a URL is not going to be stored; null when that is not known. */
  of(base: string, nowMs: number): Reason | null {
    let needed = FORECAST_ANSWERS;
    for (let level = this.#read(base) - 1; level >= 0; level--, needed *= FORECAST_FACTOR) {
      const folder = this.#known(this.#hashes[level] as number);
      if (folder === undefined) continue;
      if (nowMs - folder.storableAtMs <= FORECAST_STORABLE_MS) return null;
      if (folder.row >= needed && nowMs - folder.unstorableAtMs <= FORECAST_UNSTORABLE_MS)
        return folder.reason;
    }
    return null;
  }

  /** Forgets everything: other rules for storing are in force. */
  clear(): void {
    this.#young.clear();
    this.#old.clear();
  }

  /** Folders that are known. */
  get size(): number {
    return this.#young.size + this.#old.size;
  }

  /** Puts the hashes of a base key's folders, the root first, into #hashes; returns how many there are. */
  #read(base: string): number {
    const host = base.indexOf("://") + 3;
    let hash = this.#seed;
    let levels = 0;
    for (let i = 0; i < base.length && levels < FORECAST_LEVELS_MAX; i++) {
      const code = base.charCodeAt(i);
      if (code === QUERY && i > host) break;
      hash = Math.imul(hash ^ code, FNV_PRIME) >>> 0;
      if (code === SLASH && i >= host) this.#hashes[levels++] = hash;
    }
    return levels;
  }

  #known(hash: number): Folder<Reason> | undefined {
    return this.#young.get(hash) ?? this.#old.get(hash);
  }

  #folder(hash: number): Folder<Reason> {
    const young = this.#young.get(hash);
    if (young !== undefined) return young;
    const never = Number.NEGATIVE_INFINITY;
    const folder = this.#old.get(hash) ?? {
      row: 0,
      reason: null,
      unstorableAtMs: never,
      storableAtMs: never,
    };
    if (this.#young.size >= FORECAST_FOLDERS_MAX / 2) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#old.delete(hash);
    this.#young.set(hash, folder);
    return folder;
  }
}
