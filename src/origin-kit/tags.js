/**
 * Tags (surrogate keys): what a response is known by besides its URL. They travel in Cache-Tag, separated by
 * commas, so what can not stand there is percent-encoded; purges encode alike, and so always meet their tags.
 */

/** Longest tag that an edge keeps, in characters, encoded. */
export const TAG_CHARS_MAX = 1_024;
/** Most tags of one response that an edge keeps. */
export const TAGS_MAX = 1_000;
/** Longest Cache-Tag field, in bytes: proxies on the way refuse long header sections. */
export const TAG_FIELD_BYTES_MAX = 16_384;

/**
 * A tag as it is sent. Throws a TypeError or RangeError for what is no tag.
 * @param {unknown} tag
 * @returns {string}
 */
export function tagText(tag) {
  if (typeof tag !== "string" && !(typeof tag === "number" && Number.isFinite(tag)))
    throw new TypeError(`a tag is a text or a number; got ${tag === null ? "null" : typeof tag}`);
  const text = String(tag).replace(/[^\x21-\x2b\x2d-\x7e]/gu, (character) =>
    [...new TextEncoder().encode(character)]
      .map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`)
      .join(""),
  );
  if (text === "") throw new RangeError("a tag is not empty");
  if (text.length > TAG_CHARS_MAX)
    throw new RangeError(`a tag has at most ${TAG_CHARS_MAX} characters; got ${text.length}`);
  return text;
}

/** Tags by request, response or context, until the answer is sent. */
export class TagBook {
  /** @type {WeakMap<object, Set<string>>} */
  #tags = new WeakMap();

  /** @param {object} exchange @param {readonly unknown[]} tags */
  add(exchange, tags) {
    if ((typeof exchange !== "object" && typeof exchange !== "function") || exchange === null)
      throw new TypeError("tag() takes the request, the response or the context first, then tags");
    const kept = this.#tags.get(exchange) ?? new Set();
    for (const tag of tags) kept.add(tagText(tag));
    this.#tags.set(exchange, kept);
  }

  /** The tags of all the objects that stand for one exchange. @param {readonly object[]} exchanges @returns {string[]} */
  of(exchanges) {
    return exchanges.flatMap((exchange) => [...(this.#tags.get(exchange) ?? [])]);
  }
}

/**
 * The Cache-Tag field of a response; null when there are no tags, "too-many" when an edge would drop some: a
 * purge by them would not reach the response then.
 * @param {string | null} before value that the application set
 * @param {readonly string[]} tags
 * @returns {string | null | "too-many"}
 */
export function tagField(before, tags) {
  const all = new Set([
    ...(before ?? "")
      .split(",")
      .map((tag) => tag.trim())
      .filter((tag) => tag !== ""),
    ...tags,
  ]);
  if (all.size === 0) return null;
  const field = [...all].join(", ");
  return all.size > TAGS_MAX || field.length > TAG_FIELD_BYTES_MAX ? "too-many" : field;
}
