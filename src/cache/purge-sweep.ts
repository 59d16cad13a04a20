/**
 * The sweep behind purges: it walks what is stored, a slice at a time, takes out what is gone, and counts
 * for each purge how many objects it hit. An object that is met before the sweep comes to it (by a viewer,
 * or because a newer one takes its place) is counted then, once.
 */
import { compilePathPattern } from "../config/pattern.ts";
import { EVERY_SITE, keyParts, matchesParts, type Purge, type PurgeableObject } from "./purge-table.ts";

/** Longest time that the sweep may hold the event loop in one go, in milliseconds, and how often it looks at the time. */
const SLICE_MS_MAX = 2;
const OBJECTS_PER_LOOK = 32;

/** A purge whose objects are being counted. */
interface Pending {
  readonly purge: Purge;
  readonly matches: (object: PurgeableObject) => boolean;
  count: number;
}

/** Walks and counts. */
export class PurgeSweep {
  #pending: Pending[] = [];
  #running: Promise<void> | null = null;
  readonly #walk: () => Iterable<PurgeableObject>;
  readonly #visit: (object: PurgeableObject) => void;
  readonly #rest: () => Promise<void>;
  readonly #done: (purge: Purge, objects: number) => void;
  readonly #ended: () => void;

  /**
   * `walk` gives every object; it may change while it is walked. `visit` holds one against the purges,
   * and calls `count` when it is hit. `rest` does the same for what can not be walked at once (the disk).
   * `done` is told the number of each purge, `ended` that a round is over.
   */
  constructor(options: {
    walk: () => Iterable<PurgeableObject>;
    visit: (object: PurgeableObject) => void;
    rest?: () => Promise<void>;
    done: (purge: Purge, objects: number) => void;
    ended?: () => void;
  }) {
    this.#walk = options.walk;
    this.#visit = options.visit;
    this.#rest = options.rest ?? (() => Promise.resolve());
    this.#done = options.done;
    this.#ended = options.ended ?? (() => undefined);
  }

  /** Takes a purge to count; the next round of the sweep covers it. */
  add(purge: Purge): void {
    this.#pending.push({ purge, matches: matcherOf(purge), count: 0 });
    this.#running ??= this.#run().finally(() => {
      this.#running = null;
    });
  }

  /** Counts an object that a purge made gone or stale, before it is changed. */
  count(object: PurgeableObject): void {
    for (const pending of this.#pending) {
      if (object.validSequence < pending.purge.sequence && pending.matches(object)) pending.count++;
    }
  }

  /** Resolves when every purge so far has been counted. */
  async settled(): Promise<void> {
    while (this.#running !== null) await this.#running;
  }

  /** The sequence below which no purge is being counted. */
  get sweptBefore(): number {
    return this.#pending.reduce(
      (least, { purge }) => Math.min(least, purge.sequence),
      Number.MAX_SAFE_INTEGER,
    );
  }

  async #run(): Promise<void> {
    // Purges that arrive at the same time share a round.
    await Promise.resolve();
    while (this.#pending.length > 0) {
      const round = this.#pending.slice();
      let looked = 0;
      let sliceStart = performance.now();
      for (const object of this.#walk()) {
        this.#visit(object);
        if (++looked % OBJECTS_PER_LOOK !== 0 || performance.now() - sliceStart < SLICE_MS_MAX) continue;
        await new Promise((resolve) => setImmediate(resolve));
        sliceStart = performance.now();
      }
      await this.#rest();
      this.#pending = this.#pending.filter((pending) => !round.includes(pending));
      for (const { purge, count } of round) this.#done(purge, count);
      this.#ended();
    }
  }
}

function matcherOf(purge: Purge): (object: PurgeableObject) => boolean {
  const targets = new Set(
    purge.scope === "host" ? purge.targets.map((host) => host.toLowerCase()) : purge.targets,
  );
  const ofSite =
    (matches: (object: PurgeableObject, parts: ReturnType<typeof keyParts>) => boolean) =>
    (object: PurgeableObject) => {
      const parts = keyParts(object.key);
      return (purge.site === EVERY_SITE || parts.site === purge.site) && matches(object, parts);
    };
  switch (purge.scope) {
    case "everything":
      return ofSite(() => true);
    case "url":
      return ofSite((_object, { url }) => targets.has(url));
    case "host":
      return ofSite((_object, { host }) => targets.has(host));
    case "tag":
      return ofSite((object) => object.tags.some((tag) => targets.has(tag)));
    case "prefix":
      return ofSite((_object, { host, path }) =>
        purge.targets.some((prefix) => (prefix.startsWith("/") ? path : host + path).startsWith(prefix)),
      );
    case "wildcard": {
      const patterns = purge.targets.map(compilePathPattern);
      return ofSite((_object, parts) => patterns.some((pattern) => matchesParts(pattern, parts)));
    }
  }
}
