/**
 * What has been purged, and up to when. Validity is a sequence, never a time: every entry of the purge
 * log has a number, an object knows the number that was applied before it was asked for, and it is valid
 * against every purge up to that one. The table keeps, for each site, host, tag, prefix, pattern and
 * URL, the newest hard and the newest soft purge apart. Applying a purge is O(1) in the objects; objects
 * are compared when they are used, once for each change of the table.
 */
import { compilePathPattern, type PathPattern } from "../config/pattern.ts";

/** What a purge names. */
export type PurgeScope = "url" | "prefix" | "wildcard" | "host" | "tag" | "everything";

/** Hard: gone. Soft: stale, so that it can be revalidated or served while it is. */
export type PurgeMode = "hard" | "soft";

/** In place of a site's id: every site. With the scope "everything" alone. */
export const EVERY_SITE = "*";

/** One entry of the purge log, for one site. */
export interface Purge {
  /** Place in the log; greater than that of every entry before. */
  readonly sequence: number;
  /** Its id, or EVERY_SITE. */
  readonly site: string;
  readonly scope: PurgeScope;
  /**
   * What is purged: base keys without scheme (urlOf) for "url"; host names; tags; for "prefix" and
   * "wildcard" a path, or a host and a path ("www.example.com/blog/"). Empty for "everything".
   */
  readonly targets: readonly string[];
  readonly mode: PurgeMode;
  /** When it was accepted, in milliseconds since the epoch: what a soft purge makes stale is stale since then. */
  readonly acceptedMs: number;
}

/** What the table has to know of an object. */
export interface PurgeableObject {
  /** The base key. */
  readonly key: string;
  readonly tags: readonly string[];
  /** The newest purge that was applied before the object was asked for. */
  readonly validSequence: number;
}

/** What has become of an object: as it was, stale since a moment, or gone. */
export type Validity =
  | { readonly kind: "valid" }
  | { readonly kind: "stale"; readonly sinceMs: number }
  | { readonly kind: "gone" };

const VALID: Validity = { kind: "valid" };
const GONE: Validity = { kind: "gone" };

/** Marks that are kept before a site's are folded into its floor. */
export const PURGE_MARKS_MAX = 200_000;
/** Patterns that are kept for a site before they are folded: each costs a match for every object that is looked at. */
export const PURGE_PATTERNS_MAX = 256;

interface Mark {
  hard: number;
  soft: number;
  softMs: number;
}

interface SiteMarks {
  floor: Mark;
  readonly urls: Map<string, Mark>;
  readonly hosts: Map<string, Mark>;
  readonly tags: Map<string, Mark>;
  readonly prefixes: Map<string, Mark>;
  /** Lengths of the prefixes, so that a path is looked up once for each length. */
  prefixLengths: number[];
  readonly patterns: Map<string, { readonly pattern: PathPattern; readonly mark: Mark }>;
}

/** The parts of a base key that purges speak of. */
export interface KeyParts {
  readonly site: string;
  /** Host name without a port. */
  readonly host: string;
  readonly path: string;
  /** Host, path and query: what a URL purge names, whatever the scheme. */
  readonly url: string;
}

/** Takes a base key apart. */
export function keyParts(key: string): KeyParts {
  const space = key.indexOf(" ");
  const start = key.indexOf("://", space) + 3;
  const slash = key.indexOf("/", start);
  const query = key.indexOf("?", slash);
  const authority = key.slice(start, slash);
  const colon = authority.startsWith("[")
    ? authority.indexOf(":", authority.indexOf("]"))
    : authority.indexOf(":");
  return {
    site: key.slice(0, space),
    host: colon < 0 ? authority : authority.slice(0, colon),
    path: query < 0 ? key.slice(slash) : key.slice(slash, query),
    url: key.slice(start),
  };
}

/** Does a pattern of a purge take an object? One that begins with a star may mean a path ("*.css") or a host ("*.example.com/"). */
export function matchesParts(pattern: PathPattern, { host, path }: KeyParts): boolean {
  if (pattern.source.startsWith("/")) return pattern.matches(path);
  return pattern.matches(host + path) || (pattern.source.startsWith("*") && pattern.matches(path));
}

/** The purges that objects may still have to be held against. */
export class PurgeTable {
  readonly #sites = new Map<string, SiteMarks>();
  #marks = 0;
  #sequence = 0;

  /** The newest purge that has been applied: what a fill takes before it asks. */
  get sequence(): number {
    return this.#sequence;
  }

  /** Marks that are kept now. */
  get size(): number {
    return this.#marks;
  }

  /** Patterns that are kept now for a site. */
  patternsOf(site: string): number {
    return this.#sites.get(site)?.patterns.size ?? 0;
  }

  /** Applies the next entry of the log, which may be of several parts with one sequence. Entries that were applied before change nothing. */
  apply(purge: Purge, ...more: readonly Purge[]): void {
    if (purge.sequence <= this.#sequence) return;
    this.#sequence = purge.sequence;
    this.#mark(purge);
    for (const part of more) this.#mark(part);
  }

  #mark(purge: Purge): void {
    const marks = this.#siteOf(purge.site);
    switch (purge.scope) {
      case "everything":
        raise(marks.floor, purge);
        return;
      case "url":
        for (const target of purge.targets) this.#raise(marks.urls, target, purge);
        break;
      case "host":
        for (const target of purge.targets) this.#raise(marks.hosts, target.toLowerCase(), purge);
        break;
      case "tag":
        for (const target of purge.targets) this.#raise(marks.tags, target, purge);
        break;
      case "prefix":
        for (const target of purge.targets) this.#raise(marks.prefixes, target, purge);
        marks.prefixLengths = lengthsOf(marks.prefixes);
        break;
      case "wildcard":
        for (const target of purge.targets) this.#raisePattern(marks, target, purge);
        break;
    }
    if (marks.patterns.size > PURGE_PATTERNS_MAX) this.#fold(marks);
    while (this.#marks > PURGE_MARKS_MAX) this.#foldLargest();
  }

  /** Moves to a sequence without a purge: the log has entries that are not for this node's sites. */
  advanceTo(sequence: number): void {
    this.#sequence = Math.max(this.#sequence, sequence);
  }

  /** Holds an object against every purge that is newer than it. */
  validityOf(object: PurgeableObject): Validity {
    if (object.validSequence >= this.#sequence) return VALID;
    const parts = keyParts(object.key);
    const marks = this.#sites.get(parts.site);
    const found = new Newest(object.validSequence);
    found.see(this.#sites.get(EVERY_SITE)?.floor);
    if (marks === undefined) return found.validity;
    found.see(marks.floor);
    found.see(marks.urls.get(parts.url));
    found.see(marks.hosts.get(parts.host));
    if (marks.tags.size > 0) for (const tag of object.tags) found.see(marks.tags.get(tag));
    const { path } = parts;
    if (marks.prefixes.size > 0) {
      const hosted = parts.host + path;
      for (const length of marks.prefixLengths) {
        if (length <= path.length) found.see(marks.prefixes.get(path.slice(0, length)));
        if (length <= hosted.length) found.see(marks.prefixes.get(hosted.slice(0, length)));
      }
    }
    for (const { pattern, mark } of marks.patterns.values()) {
      if (found.wants(mark) && matchesParts(pattern, parts)) found.see(mark);
    }
    return found.validity;
  }

  /** Forgets marks up to a sequence: every object older than it has been swept, every older fill has ended. */
  forget(sequence: number): void {
    for (const [site, marks] of this.#sites) {
      for (const map of [marks.urls, marks.hosts, marks.tags, marks.prefixes]) {
        for (const [target, mark] of map)
          if (Math.max(mark.hard, mark.soft) <= sequence) this.#drop(map, target);
      }
      for (const [target, { mark }] of marks.patterns)
        if (Math.max(mark.hard, mark.soft) <= sequence) this.#drop(marks.patterns, target);
      marks.prefixLengths = lengthsOf(marks.prefixes);
      const empty =
        marks.urls.size + marks.hosts.size + marks.tags.size + marks.prefixes.size + marks.patterns.size ===
        0;
      if (empty && Math.max(marks.floor.hard, marks.floor.soft) <= sequence) this.#sites.delete(site);
    }
  }

  /**
   * Makes one floor for each site of all its marks up to a sequence. Where everything stored was swept up to
   * there, only what is still on its way is forgotten beyond what was asked.
   */
  foldUpTo(sequence: number): void {
    for (const marks of this.#sites.values()) this.#fold(marks, sequence);
  }

  #siteOf(site: string): SiteMarks {
    let marks = this.#sites.get(site);
    if (marks === undefined) {
      marks = {
        floor: { hard: 0, soft: 0, softMs: 0 },
        urls: new Map(),
        hosts: new Map(),
        tags: new Map(),
        prefixes: new Map(),
        prefixLengths: [],
        patterns: new Map(),
      };
      this.#sites.set(site, marks);
    }
    return marks;
  }

  #raise(map: Map<string, Mark>, target: string, purge: Purge): void {
    let mark = map.get(target);
    if (mark === undefined) {
      mark = { hard: 0, soft: 0, softMs: 0 };
      map.set(target, mark);
      this.#marks++;
    }
    raise(mark, purge);
  }

  #raisePattern(marks: SiteMarks, target: string, purge: Purge): void {
    let held = marks.patterns.get(target);
    if (held === undefined) {
      held = { pattern: compilePathPattern(target), mark: { hard: 0, soft: 0, softMs: 0 } };
      marks.patterns.set(target, held);
      this.#marks++;
    }
    raise(held.mark, purge);
  }

  #drop<T>(map: Map<string, T>, target: string): void {
    if (map.delete(target)) this.#marks--;
  }

  /** A site's marks, up to a sequence, become one floor: more is forgotten than was asked for, never less. */
  #fold(marks: SiteMarks, upTo = Number.POSITIVE_INFINITY): void {
    const fold = <T>(map: Map<string, T>, markOf: (held: T) => Mark): void => {
      for (const [target, held] of map) {
        const mark = markOf(held);
        if (Math.max(mark.hard, mark.soft) > upTo) continue;
        marks.floor.hard = Math.max(marks.floor.hard, mark.hard);
        if (mark.soft > marks.floor.soft) {
          marks.floor.soft = mark.soft;
          marks.floor.softMs = mark.softMs;
        }
        this.#drop(map, target);
      }
    };
    for (const map of [marks.urls, marks.hosts, marks.tags, marks.prefixes]) fold(map, (mark) => mark);
    fold(marks.patterns, ({ mark }) => mark);
    marks.prefixLengths = lengthsOf(marks.prefixes);
  }

  #foldLargest(): void {
    let largest: SiteMarks | null = null;
    let most = -1;
    for (const marks of this.#sites.values()) {
      const size =
        marks.urls.size + marks.hosts.size + marks.tags.size + marks.prefixes.size + marks.patterns.size;
      if (size > most) {
        most = size;
        largest = marks;
      }
    }
    if (largest !== null) this.#fold(largest);
  }
}

/** The newest purges that an object older than `since` has to answer for. */
class Newest {
  readonly #since: number;
  #gone = false;
  #softSequence = 0;
  #softMs = 0;

  constructor(since: number) {
    this.#since = since;
  }

  wants(mark: Mark): boolean {
    return mark.hard > this.#since || mark.soft > this.#since;
  }

  see(mark: Mark | undefined): void {
    if (mark === undefined) return;
    if (mark.hard > this.#since) this.#gone = true;
    if (mark.soft > this.#since && mark.soft > this.#softSequence) {
      this.#softSequence = mark.soft;
      this.#softMs = mark.softMs;
    }
  }

  get validity(): Validity {
    if (this.#gone) return GONE;
    return this.#softSequence > 0 ? { kind: "stale", sinceMs: this.#softMs } : VALID;
  }
}

function raise(mark: Mark, purge: Purge): void {
  if (purge.mode === "hard") mark.hard = Math.max(mark.hard, purge.sequence);
  else if (purge.sequence > mark.soft) {
    mark.soft = purge.sequence;
    mark.softMs = purge.acceptedMs;
  }
}

function lengthsOf(prefixes: ReadonlyMap<string, unknown>): number[] {
  return [...new Set([...prefixes.keys()].map((prefix) => prefix.length))].sort((a, b) => a - b);
}
