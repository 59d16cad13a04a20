/** What applications' purges mean, and that none of them is done half. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { compilePathPattern } from "../../../src/config/pattern.ts";
import { hostsOf, pathsOf, tagsOf } from "../../../src/edge/purge-dialects/ban.ts";
import { type DialectOrder, readDialect } from "../../../src/edge/purge-dialects/read.ts";
import { Fields } from "../../../src/http/fields.ts";

function read(method: string, path: string, fields: Record<string, string> = {}) {
  const [plain = "/", query = null] = path.split("?");
  return readDialect({
    method,
    scheme: "https",
    authority: "shop.example",
    path: plain,
    query,
    fields: Fields.from(Object.entries(fields)),
  });
}

const ordered: [string, string, Record<string, string>, DialectOrder][] = [
  ["PURGE", "/a?b=1", {}, { scope: "url", targets: ["https://shop.example/a?b=1"], mode: "hard" }],
  [
    "PURGE",
    "/a",
    { "fastly-soft-purge": "1" },
    { scope: "url", targets: ["https://shop.example/a"], mode: "soft" },
  ],
  ["PURGE", "/img/*", {}, { scope: "prefix", targets: ["shop.example/img/"], mode: "hard" }],
  ["PURGE", "/", { "xkey-purge": "p-1 p-2" }, { scope: "tag", targets: ["p-1", "p-2"], mode: "hard" }],
  ["PURGEKEYS", "/", { "xkey-purge": "p-1" }, { scope: "tag", targets: ["p-1"], mode: "hard" }],
  [
    "PURGEKEYS",
    "/",
    { "xkey-softpurge": "p-1, p-2" },
    { scope: "tag", targets: ["p-1", "p-2"], mode: "soft" },
  ],
  ["PURGE", "/x", { "surrogate-key": "p-1" }, { scope: "tag", targets: ["p-1"], mode: "hard" }],
  [
    "PURGE",
    "/",
    { "x-magento-tags-pattern": "((^|,)cat_p_1(,|$))" },
    { scope: "tag", targets: ["cat_p_1"], mode: "hard" },
  ],
  [
    "PURGE",
    "/",
    { "x-magento-tags-pattern": "((^|,)cat_p_1(,|$))|((^|,)cat_c_2(,|$))|((^|,)cms(,|$))" },
    { scope: "tag", targets: ["cat_p_1", "cat_c_2", "cms"], mode: "hard" },
  ],
  ["PURGE", "/", { "x-magento-tags-pattern": ".*" }, { scope: "everything", targets: [], mode: "hard" }],
  [
    "BAN",
    "/",
    { "x-host": ".*", "x-url": ".*", "x-content-type": ".*", "x-cache-tags": "(^|,)(post\\-7|a\\.b)(,|$)" },
    { scope: "tag", targets: ["post-7", "a.b"], mode: "hard" },
  ],
  [
    "BAN",
    "/",
    { "x-host": ".*", "x-url": ".*", "x-content-type": ".*" },
    { scope: "everything", targets: [], mode: "hard" },
  ],
  [
    "BAN",
    "/",
    { "x-host": "^(www.shop.example|shop\\.example)$", "x-url": ".*" },
    { scope: "host", targets: ["www.shop.example", "shop.example"], mode: "hard" },
  ],
  ["BAN", "/", { "x-url": "^/blog/" }, { scope: "wildcard", targets: ["/blog/*"], mode: "hard" }],
  ["BAN", "/", { "x-url": "^/a\\.css$" }, { scope: "wildcard", targets: ["/a.css"], mode: "hard" }],
  ["BAN", "/", { "x-url": "\\.png$" }, { scope: "wildcard", targets: ["/*.png"], mode: "hard" }],
  ["BAN", "/", { "x-url": "^/a\\*b$" }, { scope: "wildcard", targets: ["/a?b"], mode: "hard" }],
  ["BAN", "/", { "x-url": "^/\\*$" }, { scope: "wildcard", targets: ["/?"], mode: "hard" }],
  [
    "BAN",
    "/",
    { "x-url": "/articles/.*" },
    { scope: "wildcard", targets: ["/articles/*", "/*/articles/*"], mode: "hard" },
  ],
  [
    "BAN",
    "/",
    { "x-host": "^shop.example$", "x-url": "^/blog/.*" },
    { scope: "wildcard", targets: ["shop.example/blog/*"], mode: "hard" },
  ],
];

test.each(ordered)("%s %s %j", (method, path, fields, order) => {
  expect(read(method, path, fields)).toEqual({ order });
});

const refused: [string, Record<string, string>, 400 | 501, RegExp][] = [
  ["PURGEKEYS", {}, 400, /xkey-purge or xkey-softpurge/],
  ["PURGEKEYS", { "xkey-purge": " , " }, 400, /empty/],
  ["PURGE", { "xkey-purge": "a", "surrogate-key": "b" }, 400, /by one field/],
  ["PURGE", { "x-pool": "cms" }, 501, /X-Pool/],
  ["PURGE", { "x-pool": "cms", "x-magento-tags-pattern": ".*" }, 501, /X-Pool/],
  ["PURGE", { "x-magento-tags-pattern": "cat_p_\\d+" }, 501, /X-Magento-Tags-Pattern: only tags/],
  ["PURGE", { "x-magento-tags-pattern": "((^|,)a(,|$))|b" }, 501, /only tags/],
  ["BAN", {}, 501, /purge a URL by PURGE/],
  ["BAN", { "x-url": "^/a", "x-content-type": "image/.*" }, 501, /X-Content-Type/],
  ["BAN", { "x-host": "shop.example" }, 501, /X-Host: only host names from end to end/],
  ["BAN", { "x-host": "^.*\\.shop\\.example$" }, 501, /X-Host/],
  ["BAN", { "x-url": "^/(a|b)/" }, 501, /X-Url: only literal paths/],
  ["BAN", { "x-url": "^/a\\?x=1" }, 501, /without a query/],
  ["BAN", { "x-url": "^/[0-9]+" }, 501, /X-Url/],
  ["BAN", { "x-url": "^/a+" }, 501, /X-Url/],
  ["BAN", { "x-url": "^a" }, 501, /X-Url/],
  ["BAN", { "x-cache-tags": "a.*" }, 501, /X-Cache-Tags/],
  ["BAN", { "x-cache-tags": "(^|,)(a.b)(,|$)" }, 501, /signs in them escaped/],
  ["BAN", { "x-cache-tags": "(^|,)(a|)(,|$)".repeat(5_000) }, 501, /X-Cache-Tags/],
  ["BAN", { "x-url": "" }, 400, /is empty/],
  ["BAN", { "x-host": "", "x-url": ".*" }, 400, /is empty/],
  ["BAN", { "x-cache-tags": "" }, 400, /is empty/],
  ["PURGE", { "x-magento-tags-pattern": "" }, 400, /is empty/],
  ["BAN", { "x-host": "^www.shop.example|shop.example$", "x-url": ".*" }, 501, /X-Host/],
  ["BAN", { "x-url": "\\*" }, 501, /X-Url/],
  ["BAN", { "x-host": "^shop\\$", "x-url": ".*" }, 501, /X-Host/],
  ["BAN", { "x-cache-tags": "(^|,)(a|)(,|$)" }, 501, /X-Cache-Tags/],
  ["BAN", { "x-cache-tags": "(^|,)(a)(,|$)", "x-url": "^/blog/" }, 501, /one after the other/],
];

test.each(refused)("%s %j is refused with a sentence", (method, fields, status, sentence) => {
  expect(read(method, "/", fields)).toEqual({
    refused: { status, message: expect.stringMatching(sentence) },
  });
});

describe("nothing is purged less than the expression says", () => {
  const piece = fc.constantFrom(
    "a",
    "b",
    "/",
    "\\.",
    "\\-",
    ".",
    ".*",
    "-",
    ".*?",
    "%20",
    "\\*",
    "\\?",
    "(",
    "[ab]",
    "a+",
    "$",
  );
  const expression = fc
    .tuple(fc.boolean(), fc.array(piece, { maxLength: 8 }), fc.boolean())
    .map(([begun, pieces, ended]) => `${begun ? "^" : ""}${pieces.join("")}${ended ? "$" : ""}`);
  const path = fc
    .array(fc.constantFrom("a", "b", "/", ".", "-", "%20", "*", "?"), { maxLength: 12 })
    .map((parts) => `/${parts.join("")}`);

  test("of paths", () => {
    let taken = 0;
    fc.assert(
      fc.property(expression, path, (source, one) => {
        const patterns = pathsOf(source);
        if (patterns === null) return;
        taken++;
        if (!new RegExp(source).test(one)) return;
        expect([
          source,
          one,
          patterns === "all" || patterns.some((pattern) => compilePathPattern(pattern).matches(one)),
        ]).toEqual([source, one, true]);
        if (patterns !== "all") for (const pattern of patterns) expect(pattern).toStartWith("/");
      }),
      { numRuns: 20_000 },
    );
    expect(taken).toBeGreaterThan(2_000);
  });

  test("of tags and hosts, and no others", () => {
    const name = fc.stringMatching(/^[a-z0-9._:+-]{1,8}$/);
    const quoted = (text: string) => text.replace(/[.\\+*?[^\]$(){}=!<>|:\-#/]/g, "\\$&");
    fc.assert(
      fc.property(fc.array(name, { minLength: 1, maxLength: 5 }), (names) => {
        expect(tagsOf(`(^|,)(${names.map(quoted).join("|")})(,|$)`)).toEqual(names);
        expect(tagsOf(names.map((one) => `((^|,)${quoted(one)}(,|$))`).join("|"))).toEqual(names);
      }),
    );
    expect(hostsOf("^(a.example|b.example:8080)$")).toEqual(["a.example", "b.example:8080"]);
  });

  test("whatever comes is read in time, and never thrown at", () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 200 }), (text) => {
        for (const reader of [hostsOf, tagsOf, pathsOf]) reader(text);
      }),
      { numRuns: 5_000 },
    );
    const startMs = performance.now();
    for (const text of [
      "(".repeat(16_000),
      ".*".repeat(8_000),
      "\\".repeat(16_000),
      "((^|,)a(,|$))|".repeat(1_000),
    ])
      for (const reader of [hostsOf, tagsOf, pathsOf]) reader(text);
    expect(performance.now() - startMs).toBeLessThan(1_000);
  });
});
