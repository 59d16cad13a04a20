/** The reader of sitemaps: what it takes, what it refuses, and that nothing makes it do anything else. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  parseSitemap,
  SITEMAP_CHARS_MAX,
  SITEMAP_MARKS_MAX,
  SitemapError,
} from "../../../src/cli/warm/sitemap.ts";

const NAMESPACE = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"';
const page = (inside: string) =>
  `<?xml version="1.0" encoding="UTF-8"?><urlset ${NAMESPACE}>${inside}</urlset>`;

function problemOf(text: string): string {
  try {
    parseSitemap(text);
  } catch (error) {
    expect(error).toBeInstanceOf(SitemapError);
    return (error as Error).message;
  }
  throw new Error("it was taken");
}

describe("a sitemap", () => {
  test("lists its addresses in order, unescaped and trimmed, and leaves extensions aside", () => {
    const text = page(`
      <!-- <url><loc>http://a.example/comment</loc></url> -->
      <url><loc>
        http://a.example/1?x=1&amp;y=2
      </loc><lastmod>2026-01-01</lastmod><priority>0.5</priority></url>
      <url><image:image><image:loc>http://a.example/i.png</image:loc></image:image><loc>http://a.example/2</loc></url>
      <url><loc><![CDATA[http://a.example/3?a&b]]></loc></url>
      <url><loc type="x">http://a.example/&#x34;</loc></url>`);
    expect(parseSitemap(text)).toEqual({
      kind: "urls",
      locations: [
        "http://a.example/1?x=1&y=2",
        "http://a.example/2",
        "http://a.example/3?a&b",
        "http://a.example/4",
      ],
      empty: 0,
    });
  });

  test("may be an index, of one or more, and may have a prefix", () => {
    expect(
      parseSitemap("<sitemapindex><sitemap><loc>http://a.example/s</loc></sitemap></sitemapindex>"),
    ).toEqual({
      kind: "index",
      locations: ["http://a.example/s"],
      empty: 0,
    });
    const prefixed =
      "<s:urlset xmlns:s='x'><s:url><s:loc>http://a.example/1</s:loc></s:url><url><loc>no</loc></url></s:urlset>";
    expect(parseSitemap(prefixed).locations).toEqual(["http://a.example/1"]);
  });

  test("may be empty; entries without an address are counted", () => {
    expect(parseSitemap(page(""))).toEqual({ kind: "urls", locations: [], empty: 0 });
    expect(parseSitemap("\ufeff<urlset/>").locations).toEqual([]);
    expect(parseSitemap(page("<url/><url><loc/></url><url><loc> </loc></url><url><a/></url>"))).toEqual({
      kind: "urls",
      locations: [],
      empty: 4,
    });
  });
});

describe("refused is", () => {
  const laughs = `<!DOCTYPE urlset [<!ENTITY a "http://a.example/"><!ENTITY b "&a;&a;&a;">]>`;
  const cases: Record<string, [text: string, problem: RegExp]> = {
    "a document type": [`${laughs}<urlset><url><loc>&b;</loc></url></urlset>`, /^has a document type/],
    "one behind a declaration, comments and instructions": [
      `<?xml version="1.0"?>\n<!-- <urlset> --><?x y?> ${laughs}<urlset/>`,
      /^has a document type/,
    ],
    "one of an external file": [
      `<!DOCTYPE urlset SYSTEM "file:///etc/passwd"><urlset/>`,
      /^has a document type/,
    ],
    "an HTML page": ["<!doctype html><title>Not found</title>", /^is an HTML page/],
    "an entity that nobody declared": [page("<url><loc>&a;</loc></url>"), /^is not well-formed XML: /],
    "another root": [
      "<rss><url/></rss>",
      /^has the root element <rss>; <urlset> or <sitemapindex> was expected$/,
    ],
    "a cut document": ["<urlset><url><loc>http://a.example/", /^is not well-formed XML: /],
    "elements that are not closed": ["<urlset><url></urlset>", /^is not well-formed XML: /],
    nothing: ["", /^is not well-formed XML: /],
    "depth without end": [`<urlset>${"<a>".repeat(500_000)}`, /^is not well-formed XML: /],
    "more tags than a sitemap has": [
      `<urlset>${"<a/>".repeat(SITEMAP_MARKS_MAX)}</urlset>`,
      /^has more than 3000000 tags$/,
    ],
    "more characters": [" ".repeat(SITEMAP_CHARS_MAX + 1), /^is longer than 52428800 characters$/],
  };
  for (const [name, [text, problem]] of Object.entries(cases)) {
    test(name, () => expect(problemOf(text)).toMatch(problem));
  }

  test("a long foreign name is cut in the sentence", () => {
    expect(problemOf(`<${"a".repeat(10_000)}/>`).length).toBeLessThan(300);
  });
});

describe("whatever comes", () => {
  const parts = fc.constantFrom(
    "<urlset>",
    "</urlset>",
    "<url>",
    "</url>",
    "<loc>",
    "</loc>",
    "<sitemapindex>",
    "<!DOCTYPE a [",
    "<!ENTITY x 'y'>",
    "]>",
    "&x;",
    "&amp;",
    "<!--",
    "-->",
    "<?xml version='1.0'?>",
    "<?",
    "?>",
    "<![CDATA[",
    "]]>",
    "http://a.example/",
    " ",
    "<__proto__>",
    "</__proto__>",
    "<a:b c='d'/>",
    "\u0000",
    "\ufeff",
    "'",
    '"',
    ">",
  );

  test("it is a list of texts or a SitemapError, and entities never become text", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.array(parts, { maxLength: 30 }).map((all) => all.join("")),
          fc.string({ unit: "binary" }),
        ),
        (text) => {
          try {
            const { kind, locations } = parseSitemap(text);
            expect(["urls", "index"]).toContain(kind);
            expect(locations.every((location) => location !== "" && location !== "y")).toBe(true);
          } catch (error) {
            expect(error).toBeInstanceOf(SitemapError);
          }
        },
      ),
      { numRuns: 5_000 },
    );
  });

  test("what was written comes out, however it was written", () => {
    const misc = fc.constantFrom(
      "",
      " ",
      "\n",
      "<!-- x -->",
      "<?p q?>",
      "<lastmod>2026</lastmod>",
      "<x:y><loc>no</loc></x:y>",
    );
    const escaped = (text: string) => text.replace(/[&<>]/g, (char) => `&#${char.charCodeAt(0)};`);
    const entry = fc.tuple(fc.webUrl({ withQueryParameters: true }), misc, misc, fc.boolean());
    fc.assert(
      fc.property(fc.array(entry), fc.constantFrom("", "s:"), (entries, prefix) => {
        const inside = entries.map(([url, before, after, cdata]) => {
          const written = cdata ? `<![CDATA[${url}]]>` : escaped(url);
          return `<${prefix}url>${before}<${prefix}loc>${written}</${prefix}loc>${after.replace("<loc>no</loc>", "")}</${prefix}url>`;
        });
        const text = `<${prefix}urlset>${inside.join("\n")}</${prefix}urlset>`;
        expect(parseSitemap(text).locations).toEqual(entries.map(([url]) => url));
      }),
      { numRuns: 300 },
    );
  });
});
