/** An answer of the CDN, with what its cache says of it read. */

/** @import { CacheResult, CdnResponse } from "./types.d.ts" */
/** @import { Got } from "./request.js" */

/** @implements {CdnResponse} */
export class Answer {
  #body;

  /** @param {string} pop @param {string} url @param {Got} got */
  constructor(pop, url, { status, headers, body }) {
    this.pop = pop;
    this.url = url;
    this.status = status;
    this.headers = headers;
    this.#body = body;
    this.cacheStatus = headers.get("cache-status") ?? "";
    // The program's words; an answer of something else has none of them.
    this.result = /** @type {CacheResult} */ ((headers.get("x-cache") ?? "none").toLowerCase());
    // The PoP's member stands last (RFC 9211 section 2).
    this.reason = /;\s*detail=([\w-]+)[^,]*$/.exec(this.cacheStatus)?.[1] ?? "";
    const age = headers.get("age");
    this.ageSeconds = age === null ? null : Number(age);
  }

  text() {
    return Buffer.from(this.#body).toString("utf8");
  }

  /** @returns {unknown} */
  json() {
    return JSON.parse(this.text());
  }

  bytes() {
    return new Uint8Array(this.#body);
  }
}
