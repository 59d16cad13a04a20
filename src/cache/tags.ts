/**
 * Tags (surrogate keys) of a response: names by which it can be purged together with others. Taken from
 * the fields in which CDNs know them, and from Cache-Groups (RFC 9875); they end at the edge. What goes
 * beyond a limit is reported: a tag that is lost in silence is a purge that does not purge.
 */
import { parseList } from "structured-headers";
import type { FieldReader } from "../http/fields.ts";

/** Most tags of one response. */
export const TAGS_MAX = 1_000;
/** Longest tag, in characters. */
export const TAG_CHARS_MAX = 1_024;

/** Fields whose value is a list of tags, and what separates them. */
const TAG_FIELDS: readonly (readonly [name: string, separator: RegExp])[] = [
  ["surrogate-key", /\s+/],
  ["xkey", /\s+/],
  ["cache-tag", /\s*,\s*/],
  ["edge-cache-tag", /\s*,\s*/],
  ["cdn-tag", /\s*,\s*/],
  // A store's field for what an upload was tagged with, as CloudFront reads it.
  ["x-amz-meta-cache-tag", /\s*,\s*/],
];

/** Every field that tags come in; none of them reaches a viewer. */
export const TAG_FIELD_NAMES: readonly string[] = [...TAG_FIELDS.map(([name]) => name), "cache-groups"];

/** The tags of a response, and how many were over a limit. */
export interface Tags {
  readonly tags: readonly string[];
  readonly dropped: number;
}

const NONE: Tags = { tags: [], dropped: 0 };

/**
 * Reads the tags. A cache group is named apart from a tag of the same text, and belongs to its host (RFC 9875
 * section 2). `fold`: tags are taken in small letters (the site's tagCase); groups never are.
 */
export function readTags(fields: FieldReader, authority: string, fold = false): Tags {
  return hasTags(fields) ? collectTags(fields, authority, fold) : NONE;
}

/** Most responses have none. */
function hasTags(fields: FieldReader): boolean {
  for (const name of TAG_FIELD_NAMES) if (fields.has(name)) return true;
  return false;
}

function collectTags(fields: FieldReader, authority: string, fold: boolean): Tags {
  let tags: Set<string> | null = null;
  let dropped = 0;
  const add = (tag: string): void => {
    if (tag === "") return;
    tags ??= new Set();
    if (tag.length > TAG_CHARS_MAX || (tags.size >= TAGS_MAX && !tags.has(tag))) dropped++;
    else tags.add(tag);
  };
  for (const [name, separator] of TAG_FIELDS) {
    const value = fields.get(name);
    // xkey repeats its field, and a combined value has commas then.
    if (value !== null)
      for (const part of value.trim().split(name === "xkey" ? /[\s,]+/ : separator)) {
        const tag = part.trim();
        add(fold ? foldTag(tag) : tag);
      }
  }
  for (const group of readGroups(fields.get("cache-groups"))) add(groupTag(group, authority));
  return tags === null && dropped === 0 ? NONE : { tags: tags === null ? [] : [...tags], dropped };
}

/** A tag as a site has it in which capitals do not count. */
export function foldTag(tag: string): string {
  return tag.toLowerCase();
}

/** What a purge of tags is held against where they are folded: what was stored before they were goes as well. */
export function foldedTargets(tags: readonly string[]): string[] {
  return [...new Set(tags.flatMap((tag) => [tag, foldTag(tag)]))];
}

/** The groups of Cache-Groups or Cache-Group-Invalidation: a list of strings (RFC 9875 section 2); a malformed field says nothing. */
export function readGroups(value: string | null): string[] {
  if (value === null) return [];
  try {
    return parseList(value)
      .map(([item]) => item)
      .filter((item) => typeof item === "string");
  } catch {
    return [];
  }
}

/** A cache group of a host as a tag. No tag of an origin can have a space in front. */
export function groupTag(group: string, authority: string): string {
  return ` group:${authority}:${group}`;
}
