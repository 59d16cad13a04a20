/** What a document names: links to other pages, and what it needs. A document is anybody's word: everything is counted. */
import { isSitemapName } from "../warm/sources.ts";

/** Links that are taken from one document. */
const LINKS_MAX = 5_000;
const URL_CHARS_MAX = 8_192;

/** Where URLs stand in HTML. */
const PLACES: readonly (readonly [selector: string, attribute: string])[] = [
  ["a[href]", "href"],
  ["area[href]", "href"],
  ["link[href]", "href"],
  ["script[src]", "src"],
  ["img[src]", "src"],
  ["iframe[src]", "src"],
  ["source[src]", "src"],
  ["video[src]", "src"],
  ["audio[src]", "src"],
  ["video[poster]", "poster"],
];
const SOURCE_SETS: readonly (readonly [selector: string, attribute: string])[] = [
  ["img[srcset]", "srcset"],
  ["source[srcset]", "srcset"],
  ["link[imagesrcset]", "imagesrcset"],
];

/** The absolute http(s) URLs that a document names, without fragments, each once; by its content type. */
export function linksOf(text: string, contentType: string | null, url: URL): URL[] {
  const type = contentType?.split(";", 1)[0]?.trim().toLowerCase() ?? "";
  if (type === "text/html" || type === "application/xhtml+xml") return absolute(...fromHtml(text), url);
  if (type === "text/css") return absolute(fromCss(text), null, url);
  if (isSitemapName(url)) return absolute(fromSitemap(text), null, url);
  return [];
}

function fromHtml(text: string): [links: string[], base: string | null] {
  const links: string[] = [];
  let base: string | null = null;
  const add = (value: string | null): void => {
    if (value !== null && links.length < LINKS_MAX) links.push(unescaped(value));
  };
  let rewriter = new HTMLRewriter().on("base[href]", {
    element(element) {
      base ??= element.getAttribute("href");
    },
  });
  for (const [selector, attribute] of PLACES)
    rewriter = rewriter.on(selector, { element: (element) => add(element.getAttribute(attribute)) });
  for (const [selector, attribute] of SOURCE_SETS) {
    rewriter = rewriter.on(selector, {
      element(element) {
        // "a.png 1x, b.png 2x": candidates begin after a comma that white space follows, so that data: stays whole.
        for (const candidate of (element.getAttribute(attribute) ?? "").split(/,\s+/))
          add(candidate.trim().split(/\s+/, 1)[0] ?? null);
      },
    });
  }
  try {
    rewriter.transform(text);
  } catch {
    // Beyond what the parser takes: what was found so far counts.
  }
  return [links, base];
}

/** Character references that stand in URLs. */
function unescaped(text: string): string {
  return text.replace(/&(?:amp|#38|#x26);/gi, "&").replace(/&(?:quot|#34);/gi, '"');
}

function fromCss(text: string): string[] {
  const found = text.matchAll(
    /url\(\s*(?:"([^"\n]{1,8192})"|'([^'\n]{1,8192})'|([^\s"'()]{1,8192}))\s*\)|@import\s+(?:"([^"\n]{1,8192})"|'([^'\n]{1,8192})')/g,
  );
  return take(found, ([, ...groups]) => groups.find((group) => group !== undefined) ?? "");
}

function fromSitemap(text: string): string[] {
  return take(text.matchAll(/<loc>\s*([^<\s]{1,8192})\s*<\/loc>/g), ([, location = ""]) =>
    unescaped(location),
  );
}

function take(found: Iterable<RegExpMatchArray>, read: (match: RegExpMatchArray) => string): string[] {
  const links: string[] = [];
  for (const match of found) {
    if (links.length >= LINKS_MAX) break;
    links.push(read(match));
  }
  return links;
}

function absolute(links: readonly string[], base: string | null, url: URL): URL[] {
  const from = (base === null ? null : URL.parse(base, url.href)) ?? url;
  const urls = new Map<string, URL>();
  for (const link of links) {
    const text = link.trim();
    if (text === "" || text.length > URL_CHARS_MAX || text.startsWith("#")) continue;
    const found = URL.parse(text, from.href);
    if (found === null || !/^https?:$/.test(found.protocol) || found.username !== "") continue;
    found.hash = "";
    urls.set(found.href, found);
  }
  return [...urls.values()];
}
