/**
 * `proxima-cdn/origin`: the origin's side of a CDN, for applications on Node 20 or Bun. Plain JavaScript with
 * its types in JSDoc, because Node 20 reads no TypeScript and nothing here is to be built before it runs.
 */
import { fastifyPlugin } from "./fastify.js";
import { fetchWrapper, honoMiddleware } from "./fetch.js";
import { Health, watchProcess } from "./health.js";
import { connectMiddleware } from "./node-http.js";
import { readOptions } from "./options.js";
import { Purger } from "./purger.js";
import { TagBook, tagText } from "./tags.js";

/** @import { Affected, OriginKit, OriginKitOptions } from "./types.d.ts" */

const FLUSH_MS = 10_000;

/** It keeps the process alive: a change that was taken is told. @param {number} delayMs @param {() => void} run */
function after(delayMs, run) {
  const timer = setTimeout(run, delayMs);
  return () => clearTimeout(timer);
}

/** @type {typeof import("./types.d.ts").createOriginKit} */
export function createOriginKit(options = {}) {
  return new Kit(options);
}

/** @implements {OriginKit} */
class Kit {
  #options;
  #book = new TagBook();
  /** @type {Health} */
  #health;
  #stopWatching;
  /** @type {Purger[]} */
  #purgers = [];
  #setup;

  /** @param {OriginKitOptions} given */
  constructor(given) {
    const options = readOptions(given);
    this.#options = options;
    this.#health = new Health(options.health ?? { delayMs: 1, heapFraction: 1, recoverMs: 0 });
    this.#stopWatching = options.health === null ? () => {} : watchProcess(this.#health);
    const { purge, onProblem } = options;
    if (purge !== null)
      this.#purgers = purge.controls.map(
        (control) => new Purger({ ...purge, control, onProblem, after, random: Math.random }),
      );
    this.#setup = {
      ...options,
      isDegraded: () => this.degraded,
      tagsOf: (/** @type {readonly object[]} */ exchanges) => this.#book.of(exchanges),
    };
  }

  express() {
    return connectMiddleware(this.#setup);
  }

  fastify() {
    return fastifyPlugin(this.#setup);
  }

  hono() {
    return honoMiddleware(this.#setup);
  }

  /**
   * @template {unknown[]} Rest
   * @param {(request: Request, ...rest: Rest) => Response | Promise<Response>} handler
   * @returns {(request: Request, ...rest: Rest) => Promise<Response>}
   */
  fetch(handler) {
    return fetchWrapper(this.#setup)(handler);
  }

  /** @param {object} exchange @param {readonly (string | number)[]} tags */
  tag(exchange, ...tags) {
    this.#book.add(exchange, tags);
  }

  /** @param {string} kind @param {string | number} id @param {unknown} [detail] */
  changed(kind, id, detail) {
    const content = this.#mustPurge().content;
    const map = Object.hasOwn(content, kind) ? content[kind] : undefined;
    if (map === undefined)
      throw new TypeError(
        `origin kit: purge.content has no kind "${kind}"; it has ${Object.keys(content).join(", ") || "none"}`,
      );
    this.purge(map(String(id), detail));
  }

  /** @param {Affected} affected */
  purge(affected) {
    this.#mustPurge();
    const { urls = [], tags = [], prefixes = [] } = affected;
    if (urls.length + tags.length + prefixes.length === 0)
      throw new TypeError("origin kit: a change affects at least one URL, tag or prefix");
    for (const url of urls) {
      if (!/^https?:\/\//i.test(url) || !URL.canParse(url))
        throw new TypeError(`origin kit: ${JSON.stringify(url)} is not an absolute URL`);
    }
    const checked = { urls, prefixes, tags: tags.map(tagText) };
    for (const purger of this.#purgers) purger.add(checked);
  }

  get degraded() {
    return this.#health.degraded;
  }

  /** @param {string | null} reason */
  suffer(reason) {
    this.#health.suffer(reason);
  }

  async flush({ timeoutMs = FLUSH_MS } = {}) {
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const late = new Promise((resolve) => {
      timer = setTimeout(resolve, timeoutMs);
    });
    await Promise.race([late, Promise.all(this.#purgers.map((purger) => purger.drained()))]);
    clearTimeout(timer);
    return { waiting: this.#purgers.reduce((sum, purger) => sum + purger.waiting, 0) };
  }

  async close({ timeoutMs = FLUSH_MS } = {}) {
    const flushed = await this.flush({ timeoutMs });
    for (const purger of this.#purgers) purger.close();
    this.#stopWatching();
    return flushed;
  }

  #mustPurge() {
    const { purge } = this.#options;
    if (purge === null) throw new TypeError("origin kit: changes need the option purge.control");
    return purge;
  }
}
