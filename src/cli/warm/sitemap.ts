/**
 * A sitemap or an index of sitemaps (sitemaps.org): the text of a whole document in, the addresses it
 * lists out. A document type is refused before the parser sees it, so that there are no entities to
 * expand; extensions (images, videos, alternates) are left aside.
 */
import { messageOf, ProximaError } from "../../base/errors.ts";

/** Most characters of one document, unpacked: 50 MiB, as the protocol has it. */
export const SITEMAP_CHARS_MAX = 52_428_800;
/** Most marks (`<`) in one document: what parsing costs in memory depends on them, not on its length. */
export const SITEMAP_MARKS_MAX = 3_000_000;
const SHOWN_CHARS_MAX = 100;

/** What a document lists. `empty` counts the entries that name no address. */
export interface Sitemap {
  readonly kind: "urls" | "index";
  readonly locations: readonly string[];
  readonly empty: number;
}

/** A document that is no sitemap; the sentence continues "... ". */
export class SitemapError extends ProximaError<"sitemap_invalid"> {
  constructor(message: string, cause?: unknown) {
    super("sitemap_invalid", message, { source: "origin", cause });
    this.name = "SitemapError";
  }
}

/** Reads a document, in order and with repetitions. Throws a SitemapError that says what is wrong with it. */
export function parseSitemap(text: string): Sitemap {
  if (text.length > SITEMAP_CHARS_MAX)
    throw new SitemapError(`is longer than ${SITEMAP_CHARS_MAX} characters`);
  if (marksOf(text) > SITEMAP_MARKS_MAX) throw new SitemapError(`has more than ${SITEMAP_MARKS_MAX} tags`);
  refuseDocumentType(text);
  const [root, content] = parse(text);
  const colon = root.indexOf(":");
  // Every element of the sitemap itself has the namespace, and so the prefix, of its root.
  const prefix = root.slice(0, colon + 1);
  const name = root.slice(colon + 1);
  switch (name) {
    case "urlset":
      return { kind: "urls", ...locationsOf(content, `${prefix}url`, `${prefix}loc`) };
    case "sitemapindex":
      return { kind: "index", ...locationsOf(content, `${prefix}sitemap`, `${prefix}loc`) };
    default:
      throw new SitemapError(`has the root element <${cut(root)}>; <urlset> or <sitemapindex> was expected`);
  }
}

function marksOf(text: string): number {
  let count = 0;
  for (let at = text.indexOf("<"); at !== -1; at = text.indexOf("<", at + 1)) count++;
  return count;
}

/** Only comments, processing instructions and white space may stand before a document type (XML 1.0, production 22). */
function refuseDocumentType(text: string): void {
  let at = text.startsWith("\ufeff") ? 1 : 0;
  for (;;) {
    while (at < text.length && " \t\r\n".includes(text.charAt(at))) at++;
    const [start, end] = text.startsWith("<?", at) ? (["<?", "?>"] as const) : (["<!--", "-->"] as const);
    if (!text.startsWith(start, at)) break;
    const ends = text.indexOf(end, at + start.length);
    if (ends === -1) break;
    at = ends + end.length;
  }
  if (/^<!doctype\s+html/i.test(text.slice(at, at + 50)))
    throw new SitemapError("is an HTML page, not a sitemap");
  if (text.startsWith("<!", at)) {
    throw new SitemapError(
      "has a document type (<!DOCTYPE ...>), which a sitemap does not need and may not have",
    );
  }
}

function parse(text: string): [root: string, content: unknown] {
  let parsed: unknown;
  try {
    parsed = Bun.XML.parse(text);
  } catch (error) {
    const why = error instanceof RangeError ? "its elements are nested too deep" : messageOf(error);
    throw new SitemapError(`is not well-formed XML: ${cut(why.replace(/^XML Parse error: /, ""))}`, error);
  }
  const [entry] = typeof parsed === "object" && parsed !== null ? Object.entries(parsed) : [];
  if (entry === undefined) throw new SitemapError("has no root element");
  return entry;
}

function locationsOf(content: unknown, item: string, location: string): Omit<Sitemap, "kind"> {
  const locations: string[] = [];
  let empty = 0;
  for (const entry of listOf(content, item)) {
    const [first] = listOf(entry, location);
    const text = textOf(first);
    if (text === "") empty++;
    else locations.push(text);
  }
  return { locations, empty };
}

/** Child elements of a name: the parser gives none, one, or a list of them. */
function listOf(content: unknown, name: string): readonly unknown[] {
  if (typeof content !== "object" || content === null || !Object.hasOwn(content, name)) return [];
  const found: unknown = Reflect.get(content, name);
  return Array.isArray(found) ? found : [found];
}

function textOf(element: unknown): string {
  if (typeof element === "string") return element.trim();
  const [text] = listOf(element, "#text");
  return typeof text === "string" ? text.trim() : "";
}

function cut(text: string): string {
  return text.length > SHOWN_CHARS_MAX ? `${text.slice(0, SHOWN_CHARS_MAX)}...` : text;
}
