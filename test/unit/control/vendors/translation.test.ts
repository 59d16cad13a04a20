/** What requests in the vendors' shapes ask for, in our terms; and what no request may do to their readers. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Refused } from "../../../../src/control/refusal.ts";
import { siteIds } from "../../../../src/control/vendors/site-ids.ts";
import type { Operation, Vendor, VendorName } from "../../../../src/control/vendors/vendor.ts";
import { vendors } from "../../../../src/control/vendors/vendors.ts";
import { escapeXml, parseXml } from "../../../../src/control/vendors/xml.ts";

interface Sketch {
  readonly method?: string;
  readonly fields?: Readonly<Record<string, string>>;
  readonly body?: string;
}

const byName = (name: VendorName): Vendor => {
  const found = vendors.find((vendor) => vendor.name === name);
  if (found === undefined) throw new Error(name);
  return found;
};

function read(name: VendorName, target: string, { method = "POST", fields = {}, body = "" }: Sketch = {}) {
  const url = new URL(`http://control.test${target}`);
  const vendor = byName(name);
  return vendor.read({
    method,
    path: url.pathname,
    query: url.searchParams,
    search: url.search,
    fields: new Headers(fields),
    body: Buffer.from(body),
    json: vendor.bodyKind === "json" && body !== "" ? JSON.parse(body) : undefined,
  });
}

/** What is purged, where, how. */
function purgeOf(...request: Parameters<typeof read>) {
  const operation = read(...request);
  if (operation?.kind !== "purge") throw new Error(`no purge but ${operation?.kind}`);
  const { site, mode, targets, patience } = operation;
  return { site, mode, targets, patience };
}

function refusalOf(...request: Parameters<typeof read>): string {
  try {
    read(...request);
  } catch (error) {
    if (error instanceof Refused) return `${error.status}: ${error.message}`;
    throw error;
  }
  throw new Error("it was taken");
}

const zone = { by: "id", id: "z" } as const;
const CLOUDFLARE = "/client/v4/zones/z/purge_cache";

describe("cloudflare", () => {
  test.each([
    ['{"files":["http://a/1.css"]}', { scope: "url", urls: ["http://a/1.css"] }],
    [
      '{"files":[{"url":"http://a/1.jpg","headers":{"CF-IPCountry":"US"}},"http://a/2"]}',
      { scope: "url", urls: ["http://a/1.jpg", "http://a/2"] },
    ],
    ['{"tags":["t1","t2"]}', { scope: "tag", tags: ["t1", "t2"] }],
    ['{"hosts":["www.example.com"]}', { scope: "host", hosts: ["www.example.com"] }],
    [
      '{"prefixes":["www.example.com/foo","b.example"]}',
      { scope: "prefix", prefixes: ["www.example.com/foo", "b.example/"] },
    ],
    ['{"purge_everything":true}', { scope: "everything" }],
  ])("%s", (body, target) => {
    const asked = { site: zone, mode: "hard", targets: [target], patience: "applied" };
    expect<unknown>(purgeOf("cloudflare", CLOUDFLARE, { body })).toEqual(asked);
    const soft = "/client/v4/zones/z/environments/e/invalidate_cache";
    expect<unknown>(purgeOf("cloudflare", soft, { body })).toEqual({ ...asked, mode: "soft" });
  });

  test("says that a variant was not told apart", () => {
    const operation = read("cloudflare", CLOUDFLARE, {
      body: '{"files":[{"url":"http://a/","headers":{}}]}',
    });
    const answer = operation?.kind === "purge" ? operation.answer(PURGED, true) : null;
    expect(JSON.parse(answer?.body ?? "")).toMatchObject({
      success: true,
      messages: [{ message: expect.stringContaining("every variant") }],
      result: { id: "ID" },
    });
  });

  test.each([
    ["{}", "exactly one of files"],
    ['{"tags":["a"],"hosts":["b"]}', "exactly one of files"],
    ['{"tags":[]}', "tags"],
    ['{"purge_everything":false}', "purge_everything"],
    ['{"urls":["http://a/"]}', "urls"],
    ['{"files":[1]}', "files.0"],
    ['{"prefixes":["www.example.com/a",""]}', "prefixes.1"],
  ])("refuses %s", (body, why) => {
    expect(refusalOf("cloudflare", CLOUDFLARE, { body })).toContain(why);
  });

  test.each([
    "/client/v4/zones/z/purge_cache/more",
    "/client/v4/zones/z/environments/e",
    "/client/v4/zones/z/environments/purge_cache",
    "/client/v4/zones/z/settings",
    "/client/v4/accounts",
    "/client/v4/%ff",
  ])("does not know %s", (path) => {
    expect(read("cloudflare", path, { body: '{"tags":["a"]}' })).toBeNull();
  });
});

describe("fastly", () => {
  const soft = { "fastly-soft-purge": "1" };
  test.each<[string, Sketch, unknown]>([
    [
      "/service/s/purge/key%2Fa",
      {},
      { site: { by: "id", id: "s" }, mode: "hard", targets: [{ scope: "tag", tags: ["key/a"] }] },
    ],
    ["/service/s/purge/blog/1", {}, { targets: [{ scope: "tag", tags: ["blog/1"] }] }],
    ["/service/s/purge/k", { fields: soft }, { mode: "soft" }],
    [
      "/service/s/purge",
      { fields: { "surrogate-key": "a b  a" } },
      { targets: [{ scope: "tag", tags: ["a", "b"] }] },
    ],
    [
      "/service/s/purge",
      { body: '{"surrogate_keys":["a","b"]}' },
      { targets: [{ scope: "tag", tags: ["a", "b"] }] },
    ],
    ["/service/s/purge_all", { fields: soft }, { mode: "hard", targets: [{ scope: "everything" }] }],
    [
      "/purge/www.example.com/a%20b?x=1&y",
      {},
      { site: { by: "host" }, targets: [{ scope: "url", urls: ["http://www.example.com/a%20b?x=1&y"] }] },
    ],
    [
      "/purge/https://www.example.com/a",
      {},
      { targets: [{ scope: "url", urls: ["http://www.example.com/a"] }] },
    ],
    [
      "/purge",
      { fields: { "surrogate-key": "a" } },
      { site: { by: "caller" }, targets: [{ scope: "tag", tags: ["a"] }] },
    ],
  ])("%s %j", (path, sketch, asked) => {
    expect(purgeOf("fastly", path, sketch)).toMatchObject({ patience: "counted", ...(asked as object) });
  });

  test.each<[string, Sketch, string]>([
    ["/service/s/purge", {}, "Surrogate-Key"],
    ["/service/s/purge", { fields: { "surrogate-key": " " } }, "holds no key"],
    ["/service/s/purge", { body: '{"surrogate_keys":[]}' }, "surrogate_keys"],
    ["/service/s/purge/", {}, "without a key"],
    ["/purge//a", {}, "a host and a path"],
    [
      "/service/s/purge",
      { fields: { "surrogate-key": Array.from({ length: 257 }, (_, i) => i).join(" ") } },
      "256 keys at most, not 257",
    ],
  ])("refuses %s %#", (path, sketch, why) => {
    expect(refusalOf("fastly", path, sketch)).toContain(why);
  });

  test("tells of a key that nothing has, in plain characters", () => {
    const operation = read("fastly", "/service/s/purge/%22%0d%0aX: y%C3%A4");
    const answer = operation?.kind === "purge" ? operation.answer({ ...PURGED, objects: 0 }, true) : null;
    expect(answer?.fields?.warning).toBe('299 proxima "no stored object has a key of these: ???X: y?"');
    expect(() => new Headers(answer?.fields)).not.toThrow();
  });
});

describe("cloudfront", () => {
  const path = "/2020-05-31/distribution/E1/invalidation";
  const batch = (items: readonly string[], { quantity = items.length, reference = "r" } = {}) =>
    `<?xml version="1.0" encoding="UTF-8"?>\n<InvalidationBatch xmlns="http://cloudfront.amazonaws.com/doc/2020-05-31/"><Paths><Quantity>${quantity}</Quantity><Items>${items.map((item) => `<Path>${item}</Path>`).join("")}</Items></Paths><CallerReference>${reference}</CallerReference></InvalidationBatch>`;

  test("paths and tags", () => {
    expect(
      purgeOf("cloudfront", path, { body: batch(["/blog/1", "/a&amp;b?x=&#x31;*", "#product:tv", "img*"]) }),
    ).toEqual({
      site: { by: "id", id: "E1" },
      mode: "hard",
      targets: [
        { scope: "path", paths: ["/blog/1", "/a&b?x=1*", "/img*"] },
        { scope: "tag", tags: ["product:tv"] },
      ],
      patience: "none",
    });
  });

  test("the same paths in another order are the same", () => {
    const referenceOf = (items: readonly string[]) => {
      const operation = read("cloudfront", path, { body: batch(items) });
      return operation?.kind === "purge" ? operation.reference?.content : null;
    };
    expect(referenceOf(["/a", "/b"])).toBe(referenceOf(["/b", "/a"]) as string);
    expect(referenceOf(["/a", "/b"])).not.toBe(referenceOf(["/a"]) as string);
  });

  test.each<[string, string]>([
    [batch([]), "1 to 3000 paths, not 0"],
    [batch(Array.from({ length: 3_001 }, (_, i) => `/${i}`)), "not 3001"],
    [batch(["/a"], { quantity: 2 }), 'Quantity is "2", and there are 1 paths'],
    [batch(["/a*b"]), "a * at its end only"],
    [batch(["#"]), "a tag has"],
    [batch(["#a*"]), "a tag has"],
    [batch(["/a"], { reference: "" }), "CallerReference"],
    [batch(["/a"], { reference: "r".repeat(129) }), "CallerReference"],
    ["", "an element is missing"],
    ["<a/>", "not <a>"],
    ["<InvalidationBatch/>", "CallerReference"],
    [`<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>${batch(["&e;"])}`, "an element is missing"],
    [batch(["&e;"]), "neither an element nor text"],
    [batch(["<![CDATA[/a]]>"]), "neither an element nor text"],
    [batch(["/a"]).replace("</Paths>", "</Paths><Paths/>"), "holds <Paths> 2 times"],
    [`${"<a>".repeat(17)}`, "nests deeper than 16"],
    [`${batch(["/a"])}<b/>`, "something follows"],
  ])("refuses body %#", (body, why) => {
    expect(refusalOf("cloudfront", path, { body })).toContain(why);
  });

  test("a page of the list ends with the marker of the next", () => {
    const operation = read("cloudfront", `${path}?MaxItems=500&Marker=I1`, { method: "GET" });
    if (operation?.kind !== "purge-list") throw new Error("no list");
    expect([operation.after, operation.limit]).toEqual(["I1", 100]);
    expect(operation.answer([PURGED], true).body).toContain("<NextMarker>ID</NextMarker>");
    expect(operation.answer([], false).body).not.toContain("<Items>");
  });
});

describe("distributions of CloudFront", () => {
  const sites = ["a", "b", "c"].map((id) => ({ id, hosts: [`${id}.test`, "<&>"] }));
  const page = (query: string) => {
    const operation = read("cloudfront", `/2020-05-31/distribution${query}`, { method: "GET" });
    if (operation?.kind !== "site-list") throw new Error("no list");
    const { body = "" } = operation.answer(sites);
    return {
      ids: [...body.matchAll(/<Comment>(\w+)</g)].map(([, id]) => id),
      next: /<NextMarker>(\w+)</.exec(body)?.[1] ?? null,
      truncated: body.includes("<IsTruncated>true<"),
    };
  };
  test("come page by page", () => {
    expect(page("")).toEqual({ ids: ["a", "b", "c"], next: null, truncated: false });
    const first = page("?MaxItems=2");
    expect(first).toEqual({ ids: ["a", "b"], next: siteIds("b").cloudfront, truncated: true });
    expect(page(`?MaxItems=2&Marker=${first.next}`)).toEqual({ ids: ["c"], next: null, truncated: false });
    expect(page("?Marker=unknown").ids).toEqual([]);
    expect(refusalOf("cloudfront", "/2020-05-31/distribution?MaxItems=0", { method: "GET" })).toContain(
      "MaxItems",
    );
  });
});

describe("bunny", () => {
  test.each<[string, Sketch, unknown]>([
    [
      "/pullzone/p/purgeCache",
      {},
      { site: { by: "id", id: "p" }, targets: [{ scope: "everything" }], patience: "applied" },
    ],
    [
      "/pullzone/p/purgeCache",
      { body: '{"async": true}' },
      { targets: [{ scope: "everything" }], patience: "none" },
    ],
    [
      "/pullzone/p/purgeCache",
      { body: '{"CacheTag":"product-123"}' },
      { targets: [{ scope: "tag", tags: ["product-123"] }] },
    ],
    [
      "/pullzone/p/purgeCache",
      { body: '{"cacheTag":"product-123","Async":null}' },
      { targets: [{ scope: "tag", tags: ["product-123"] }] },
    ],
    [
      "/purge?url=https%3A%2F%2Fa.example%2Fx%3Fy%3D1",
      {},
      { site: { by: "host" }, targets: [{ scope: "url", urls: ["https://a.example/x?y=1"] }] },
    ],
    [
      "/purge?url=https://a.example/x/&async=true",
      {},
      { targets: [{ scope: "prefix", prefixes: ["a.example/x/"] }], patience: "none" },
    ],
    [
      "/purge?url=https://a.example/x/&exactPath=true",
      {},
      { targets: [{ scope: "url", urls: ["https://a.example/x/"] }] },
    ],
    ["/purge?url=https://a.example/x*", {}, { targets: [{ scope: "prefix", prefixes: ["a.example/x"] }] }],
    [
      "/purge?url=https://a.example/*.css",
      {},
      { targets: [{ scope: "wildcard", patterns: ["a.example/*.css"] }] },
    ],
  ])("%s %j", (path, sketch, asked) => {
    expect(purgeOf("bunny", path, sketch)).toMatchObject({ mode: "hard", ...(asked as object) });
  });

  test("does not purge by GET", () => {
    expect(read("bunny", "/purge?url=https://a.example/", { method: "GET" })).toBeNull();
  });

  test.each<[string, Sketch, string]>([
    ["/purge?url=a", {}, "an absolute URL"],
    ["/purge?url=https://a.example/&async=maybe", {}, "async: true or false"],
    ["/pullzone/p/purgeCache", { body: '{"CacheTag":""}' }, "CacheTag: is empty"],
    ["/pullzone/p/purgeCache", { body: "[]" }, "the body is empty"],
    ["/pullzone/p/purgeCache", { body: '{"CacheTags":["a"]}' }, "the body is empty"],
  ])("refuses %s %j", (path, sketch, why) => {
    expect(refusalOf("bunny", path, sketch)).toContain(why);
  });
});

describe("akamai", () => {
  test.each<[string, string, unknown]>([
    [
      "/ccu/v3/invalidate/url/production",
      '{"objects":["http://a.example/x"]}',
      { mode: "soft", site: { by: "host" }, targets: [{ scope: "url", urls: ["http://a.example/x"] }] },
    ],
    [
      "/ccu/v3/delete/url",
      '{"hostname":"a.example","objects":["/x"]}',
      { mode: "hard", targets: [{ scope: "url", urls: ["http://a.example/x"] }] },
    ],
    [
      "/ccu/v3/delete/tag/staging",
      '{"objects":["t"]}',
      { site: { by: "caller" }, targets: [{ scope: "tag", tags: ["t"] }] },
    ],
    [
      "/ccu/v3/delete/cpcode",
      '{"objects":[12345]}',
      { site: { by: "id", id: "12345" }, targets: [{ scope: "everything" }] },
    ],
  ])("%s %s", (path, body, asked) => {
    expect(purgeOf("akamai", path, { body })).toMatchObject({ patience: "none", ...(asked as object) });
  });

  test.each([
    ["/ccu/v3/delete/url", '{"objects":["/x"]}', "not an absolute URL"],
    ["/ccu/v3/delete/cpcode", '{"objects":[1,2]}', "one CP code"],
    ["/ccu/v3/delete/tag", '{"objects":[]}', "1 to 10000"],
  ])("refuses %s %s", (path, body, why) => {
    expect(refusalOf("akamai", path, { body })).toContain(why);
  });
});

describe("a path is one API's", () => {
  const ownerOf = (target: string, fields: Readonly<Record<string, string>> = {}) => {
    const url = new URL(`http://control.test${target}`);
    const about = { query: url.searchParams, fields: new Headers(fields) };
    return vendors.find((vendor) => vendor.owns(url.pathname, about))?.name ?? null;
  };
  test.each<[string, string | null]>([
    ["/client/v4/zones", "cloudflare"],
    ["/client/v40", null],
    ["/service/a/purge/b", "fastly"],
    ["/purge/www.example.com/", "fastly"],
    ["/purge", "fastly"],
    ["/purge?url=http://a/", "bunny"],
    ["/pullzone/1/purgeCache", "bunny"],
    ["/2020-05-31/distribution", "cloudfront"],
    ["/ccu/v3/delete/tag", "akamai"],
    ["/v1/purges", null],
    ["/v1/sites/service/", null],
    ["/docs", null],
    ["/", null],
  ])("%s is %s's", (path, name) => {
    expect(ownerOf(path)).toBe(name as never);
  });
  test("and where two have it, the name of the key's field decides", () => {
    expect(ownerOf("/purge", { accesskey: "k" })).toBe("bunny");
    expect(ownerOf("/purge", { "fastly-key": "k" })).toBe("fastly");
  });
});

test("a site's ids have the shapes of the vendors, and stay", () => {
  expect(siteIds("shop")).toEqual({
    cloudflare: expect.stringMatching(/^[0-9a-f]{32}$/),
    fastly: expect.stringMatching(/^[A-Za-z0-9]{22}$/),
    cloudfront: expect.stringMatching(/^E[A-Z0-9]{13}$/),
    number: expect.stringMatching(/^[1-9]\d{0,9}$/),
  });
  // They stand in the settings of clients: a change would be a break.
  expect(siteIds("shop").cloudflare).toBe("120e9d4d75119706d35ecca79724cbb0");
});

describe("whatever is sent", () => {
  const text = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.string(),
    fc.constantFrom("..", "*", "%", "%00", "__proto__"),
  );
  const path = (bases: readonly string[]) =>
    fc
      .tuple(fc.constantFrom(...bases), fc.array(text, { maxLength: 5 }), fc.option(text))
      .map(
        ([base, steps, query]) =>
          `${[base, ...steps.map(encoded)].join("/")}${query === null ? "" : `?${encoded(query)}`}`,
      );
  const bases: Readonly<Record<VendorName, readonly string[]>> = {
    cloudflare: [
      "/client/v4",
      "/client/v4/zones",
      "/client/v4/zones/z/purge_cache",
      "/client/v4/zones/z/environments",
    ],
    fastly: ["/service", "/service/s/purge", "/purge", "/purge/a.example"],
    cloudfront: ["/2020-05-31/distribution/E1/invalidation", "/2020-05-31/distribution", "/2020-05-31"],
    bunny: ["/pullzone", "/pullzone/p/purgeCache", "/purge?url="],
    akamai: ["/ccu/v3/delete/url", "/ccu/v3/invalidate", "/ccu/v3/delete/cpcode"],
  };
  const names = Object.keys(bases) as VendorName[];

  test.each(names)("%s gives an operation, nothing, or a refusal", (name) => {
    const member = fc.constantFrom(
      "files",
      "tags",
      "hosts",
      "prefixes",
      "objects",
      "surrogate_keys",
      "CacheTag",
      "url",
    );
    const json = fc.oneof(
      fc.json(),
      fc.dictionary(member, fc.jsonValue()).map((value) => JSON.stringify(value)),
      fc.constant(""),
    );
    fc.assert(
      fc.property(
        path(bases[name]),
        fc.constantFrom("GET", "POST", "PUT"),
        name === "cloudfront" ? xmlish : json,
        fc.string(),
        (target, method, body, key) => {
          let operation: Operation | null;
          try {
            operation = read(name, target, { method, body, fields: fieldsOf({ "surrogate-key": key }) });
          } catch (error) {
            if (!(error instanceof Refused)) throw error;
            const said = byName(name).refusal(error, "r");
            expect(
              () => new Response(said.body, { status: said.status, headers: { ...said.fields } }),
            ).not.toThrow();
            return;
          }
          if (operation?.kind !== "purge") return;
          const said = operation.answer({ ...PURGED, objects: 0, echo: operation.echo ?? "" }, true);
          expect(
            () => new Response(said.body ?? null, { status: said.status, headers: { ...said.fields } }),
          ).not.toThrow();
        },
      ),
      { numRuns: 300 },
    );
  });
});

test("what is written as XML is read as it was", () => {
  // XML 1.0 has no way to write other control characters, and no halves of characters.
  const character = fc.oneof(
    fc.integer({ min: 0x20, max: 0xd7ff }),
    fc.integer({ min: 0xe000, max: 0xfffd }),
    fc.integer({ min: 0x10000, max: 0x10ffff }),
    fc.constantFrom(9, 10, 13),
  );
  fc.assert(
    fc.property(fc.array(character, { maxLength: 40 }), (codes) => {
      const text = String.fromCodePoint(...codes);
      return parseXml(`<a>${escapeXml(text)}</a>`).text === text;
    }),
  );
  expect(escapeXml("a\u0000b\ud800c")).toBe("abc");
});

const xmlish = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        "<InvalidationBatch>",
        "</InvalidationBatch>",
        "<Paths>",
        "</Paths>",
        "<Items>",
        "</Items>",
        "<Path>",
        "</Path>",
        "<Quantity>1</Quantity>",
        "<CallerReference>r</CallerReference>",
        "<?xml version='1.0'?>",
        "<!--",
        "<![CDATA[",
        "<!DOCTYPE a>",
        "&amp;",
        "&#0;",
        "&#55296;",
        "&x;",
        '<a b="c">',
        "<a/>",
        "/p*",
        "#t",
      ),
      fc.string(),
    ),
    { maxLength: 30 },
  )
  .map((parts) => parts.join(""));

const PURGED = {
  id: "ID",
  sites: [],
  acceptedMs: 0,
  state: "counted",
  objects: 1,
  echo: "{}",
} as const;

function encoded(text: string): string {
  return encodeURIComponent(text.toWellFormed());
}

function fieldsOf(fields: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => /^[\t\x20-\x7e]*$/.test(value)));
}
