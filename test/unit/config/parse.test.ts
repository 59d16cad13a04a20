import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { generatedFiles } from "../../../scripts/generate.ts";
import { parseConfig, parseSteps, type SiteMemory } from "../../../src/config/parse.ts";
import { formatProblems } from "../../../src/config/problems.ts";
import type { Config } from "../../../src/config/schema.ts";
import { BAD_BUCKETS } from "./bad-buckets.ts";
import { BAD_NODE } from "./bad-node-values.ts";
import { BAD_SITE } from "./bad-site-values.ts";
import { alertsWith, behaviorWith, groupWith, originWith, SITE, siteWith, smtpWith } from "./builders.ts";

function valid(value: unknown): Config {
  const result = parseConfig(value);
  if (!result.ok) throw new Error(formatProblems("config", result.problems));
  return result.config;
}
/** Errors as lines `path: message`. */
function errorsOf(value: unknown): string[] {
  const result = parseConfig(value);
  return result.ok
    ? []
    : result.problems.filter((one) => one.severity === "error").map((one) => `${one.path}: ${one.message}`);
}
function warningsOf(value: unknown): string[] {
  const result = parseConfig(value);
  return (result.ok ? result.warnings : result.problems)
    .filter((one) => one.severity === "warning")
    .map((one) => `${one.path}: ${one.message}`);
}

describe("defaults", () => {
  test("a site needs no more than a host and an origin", () => {
    const config = valid({ sites: { shop: SITE } });
    expect(config.listen).toEqual({
      control: "127.0.0.1:8081",
      http3: true,
      proxyProtocol: false,
      tls: { certificates: [], minVersion: "1.2" },
    });
    expect(config.cache).toEqual({ memory: 256 * 2 ** 20, objectMax: 32 * 2 ** 20 });
    expect(config.limits).toEqual({ requestBody: 2 ** 30, requestHeaderBytes: 16_384, drainSeconds: 30 });
    expect(config.dataDir).toBe("./.proxima");
    expect(config.accessLog).toBeUndefined();
    const site = config.sites.shop;
    expect(site?.behaviors).toHaveLength(1);
    expect(site?.behaviors[0]).toEqual({
      path: "/*",
      origin: "app",
      viewerProtocol: "allow-all",
      allowedMethods: "all",
      cachedMethods: ["GET", "HEAD"],
      cache: true,
      collapse: true,
      ttlSeconds: { min: 0, max: 31_536_000, jitterFraction: 0 },
      statusTtlSeconds: {},
      strictSMaxage: false,
      heuristic: { fraction: 0.1, maxSeconds: 3600 },
      cacheKey: {
        query: "all",
        stripTracking: false,
        sortQuery: false,
        headers: [],
        cookies: [],
        device: false,
        language: false,
      },
      compress: true,
      forward: { query: "key", headers: "all", cookies: "auto" },
      requestHeaders: { set: {}, append: {}, remove: [] },
      responseHeaders: { set: {}, append: {}, remove: [] },
      rewrite: [],
      bypass: { cookies: [], headers: [], queryParameters: [] },
      storeAuthorized: false,
      storeSetCookie: false,
      maxVariants: 64,
    });
    expect(site?.origins.app).toEqual({
      url: "http://app.example",
      hostHeader: "origin",
      tls: { verify: true },
      timeouts: { connectMs: 5000, firstByteMs: 30_000, betweenBytesMs: 30_000 },
      connectionsMax: 1024,
      keepAliveMs: 60_000,
      ejection: { failures: 5, forMs: 10_000 },
      degraded: { freshSeconds: 60, staleSeconds: 3600 },
    });
  });

  test("a directory origin has an index", () => {
    const config = valid(siteWith({ origins: { files: { directory: "./public" } } }));
    expect(config.sites.shop?.origins.files).toEqual({ directory: "./public", index: "index.html" });
  });

  test("hosts, names of fields and sizes come in one form", () => {
    const config = valid({
      cache: { memory: "1GB" },
      sites: {
        shop: {
          ...SITE,
          hosts: ["Shop.EXAMPLE", "*.Bücher.example"],
          behaviors: [
            {
              path: "/*",
              cacheKey: { headers: ["X-Tenant"] },
              responseHeaders: { set: { "X-Frame-Options": "DENY" } },
            },
          ],
        },
      },
    });
    const site = config.sites.shop;
    expect(config.cache.memory).toBe(1_000_000_000);
    expect(site?.hosts).toEqual(["shop.example", "*.xn--bcher-kva.example"]);
    expect(site?.behaviors[0]?.cacheKey.headers).toEqual(["x-tenant"]);
    expect(site?.behaviors[0]?.responseHeaders.set).toEqual({ "x-frame-options": "DENY" });
  });

  test("an object may not be larger than the memory that holds it", () => {
    expect(valid({ cache: { memory: "16MiB" }, sites: { shop: SITE } }).cache.objectMax).toBe(16 * 2 ** 20);
  });
});

// Every setting with a value it does not take: [config, path, part of what is said to be allowed].
const BAD: [unknown, string, string][] = [...BAD_NODE, ...BAD_SITE, ...BAD_BUCKETS];

describe("a wrong value", () => {
  test("of every setting in the reference stands in the table", () => {
    const reference = generatedFiles().get("docs/reference/config.md") ?? "";
    const settings = [...reference.matchAll(/^\| `([^`]+)`/gm)].map((match) => match[1] as string);
    expect(settings.length).toBeGreaterThan(80);
    const refused = new Set(
      BAD.map(([, path]) =>
        path
          .replace(/^sites\.[\w-]+/, "sites.<id>")
          .replace(/\[\d+\]/g, "[]")
          .replace(
            /(origins|originGroups|shields|errorPages|statusTtlSeconds|set|append|channels|bySite)(?:\.[\w-]+|\["[^"]*"\])/,
            "$1.<name>",
          ),
      ),
    );
    const covers = (setting: string) =>
      [...refused].some(
        (path) => path === setting || path === `${setting}[]` || path === `${setting}.<name>`,
      );
    expect(settings.filter((setting) => !covers(setting))).toEqual([]);
  });

  test.each(BAD)("%j is refused at %s", (value, path, allowed) => {
    const result = parseConfig(value);
    if (result.ok) throw new Error("was taken");
    const problem = result.problems.find((one) => one.path === path && one.severity === "error");
    expect(problem?.message ?? formatProblems("none at the path", result.problems)).toContain(allowed);
  });

  test("is shown shortened, and never when it may be secret", () => {
    expect(errorsOf(siteWith({ defaultDocument: `/${"x".repeat(300)}` }))[0]).toMatch(/got "\/x{59}\.\.\."$/);
    const secrets = [
      behaviorWith({ requestHeaders: { set: { authorization: "Bearer s3cret\n" } } }),
      behaviorWith({ requestHeaders: "Bearer s3cret", cache: "x" }),
      originWith({ url: "https://user:s3cret@app.example" }),
      alertsWith({ channels: { ops: { webhook: "s3cret", secret: "s3cret" } } }),
      smtpWith({ user: "u", password: "s3cret" }),
      siteWith({ hosts: { token: "s3cret" } }),
    ];
    expect(errorsOf(secrets[0])[0]).toContain("got a text of 14 characters");
    for (const [i, secret] of secrets.entries())
      if (i !== 1) expect(errorsOf(secret).join()).not.toContain("s3cret");
  });
});

describe("an unknown setting", () => {
  test("is refused with the nearest valid name", () => {
    const near: [unknown, string][] = [
      [
        behaviorWith({ orgin: "app" }),
        'sites.shop.behaviors[0].orgin: unknown setting "orgin"; did you mean "origin"?',
      ],
      [{ site: {}, sites: {} }, 'site: unknown setting "site"; did you mean "sites"?'],
      [
        { listen: { "proxy-protocol": true }, sites: {} },
        'listen.proxy-protocol: unknown setting "proxy-protocol"; did you mean "proxyProtocol"?',
      ],
      [
        behaviorWith({ ttl: 1 }),
        'sites.shop.behaviors[0].ttl: unknown setting "ttl"; did you mean "ttlSeconds"?',
      ],
      [
        originWith({ conectionsMax: 1 }),
        'sites.shop.origins.app.conectionsMax: unknown setting "conectionsMax"; did you mean "connectionsMax"?',
      ],
      [
        siteWith({ origins: { app: { ulr: "http://a" } } }),
        'sites.shop.origins.app.ulr: unknown setting "ulr"; did you mean "url"?',
      ],
    ];
    for (const [value, message] of near) expect(errorsOf(value)).toContain(message);
  });

  test("that is near to nothing is told what there is", () => {
    expect(errorsOf({ cache: { zzzzzz: 1 }, sites: {} })).toEqual([
      'cache.zzzzzz: unknown setting "zzzzzz"; allowed here: memory, objectMax, disk',
    ]);
  });

  test("named like an inherited property is unknown all the same", () => {
    expect(errorsOf(JSON.parse('{"sites":{},"__proto__":{"a":1},"constructor":1}'))).toHaveLength(2);
  });
});

describe("what spans settings", () => {
  test("a behaviour without an origin takes the only one, and must name one of several", () => {
    expect(valid(behaviorWith({})).sites.shop?.behaviors[0]?.origin).toBe("app");
    const two = { app: { url: "http://a" }, files: { directory: "." } };
    expect(errorsOf(siteWith({ origins: two, behaviors: [{ path: "/*" }] }))[0]).toContain(
      "behaviors[0].origin: is missing",
    );
    expect(errorsOf(siteWith({ origins: two }))[0]).toContain("behaviors: is missing");
  });

  test("a host belongs to one site", () => {
    const value = {
      sites: { a: { ...SITE, hosts: ["x.example"] }, b: { ...SITE, hosts: ["y.example", "X.example"] } },
    };
    expect(errorsOf(value)).toEqual(['sites.b.hosts[1]: "x.example" already belongs to site "a"']);
  });

  test("sites may not reserve more memory together than there is", () => {
    const reserving = (...sizes: (string | undefined)[]) => ({
      cache: { memory: "64MiB", objectMax: "4MiB" },
      sites: Object.fromEntries(
        sizes.map((memoryReserved, i) => [
          `s${i}`,
          {
            ...SITE,
            hosts: [`s${i}.example`],
            ...(memoryReserved === undefined ? {} : { cache: { memoryReserved } }),
          },
        ]),
      ),
    });
    expect(errorsOf(reserving("32MiB", "32MiB"))).toEqual([]);
    expect(warningsOf(reserving("32MiB", "32MiB"))).toEqual([]);
    expect(errorsOf(reserving("32MiB", "1MiB", "32MiB"))).toEqual([
      "sites.s2.cache.memoryReserved: is too much: all sites together reserve 65MiB, and cache.memory is 64MiB; reserve less, or give the cache more",
    ]);
    // The others have to have room for an object at least.
    expect(warningsOf(reserving("61MiB", undefined))).toEqual([
      "sites.s0.cache.memoryReserved: all sites together reserve 61MiB of cache.memory, 64MiB: what is left for the sites without a reserve is less than one object of cache.objectMax",
    ]);
    expect(warningsOf(reserving("60MiB", undefined))).toEqual([]);
  });

  test("what is doubtful is a warning, and the config is taken", () => {
    const doubtful: [unknown, string][] = [
      [{ sites: {} }, "sites: is empty"],
      [siteWith({ behaviors: [{ path: "/a" }] }), "sites.shop.behaviors: none of them"],
      [
        siteWith({ behaviors: [{ path: "/*" }, { path: "/a" }] }),
        "sites.shop.behaviors[1].path: is never reached",
      ],
      [
        siteWith({ behaviors: [{ path: "/a/*" }, { path: "/a/b/*" }, { path: "/*" }] }),
        "sites.shop.behaviors[1].path: is never",
      ],
      [
        siteWith({
          origins: { app: { url: "http://a" }, b: { directory: "." } },
          behaviors: [{ path: "/*", origin: "app" }],
        }),
        "sites.shop.origins.b: is not the origin",
      ],
      [
        behaviorWith({ forward: { query: "all" }, cacheKey: { query: "none" } }),
        "sites.shop.behaviors[0].forward.query: ",
      ],
      [
        behaviorWith({ forward: { query: "all" }, cacheKey: { stripTracking: true } }),
        "sites.shop.behaviors[0].forward.query: ",
      ],
      [
        behaviorWith({ cacheKey: { headers: ["User-Agent"] } }),
        'sites.shop.behaviors[0].cacheKey.headers[0]: "user-agent"',
      ],
      [
        behaviorWith({ cacheKey: { headers: ["cookie"] } }),
        'sites.shop.behaviors[0].cacheKey.headers[0]: "cookie"',
      ],
      [groupWith({}), "sites.shop.originGroups.both.members: holds one origin"],
      [
        siteWith({
          origins: { app: { url: "http://a" }, b: { url: "http://b" } },
          originGroups: { both: { members: ["app", "b"], failoverOn: [] } },
        }),
        "sites.shop.originGroups.both.failoverOn: is empty",
      ],
      [
        siteWith({
          origins: { app: { url: "http://a" }, b: { url: "http://b" } },
          originGroups: { both: { members: ["app", "b"] } },
          behaviors: [
            { path: "/b", origin: "b" },
            { path: "/*", origin: "app" },
          ],
        }),
        "sites.shop.originGroups.both: is not the origin of any behavior",
      ],
      [behaviorWith({ storeAuthorized: true }), "sites.shop.behaviors[0].storeAuthorized: "],
      [behaviorWith({ storeSetCookie: true }), "sites.shop.behaviors[0].storeSetCookie: "],
      [siteWith({ redirects: [{ to: "https://a.example$path" }] }), "sites.shop.redirects[0]: has neither"],
      [siteWith({ hosts: ["a.example", "A.example"] }), "sites.shop.hosts[1]: "],
    ];
    for (const [value, warning] of doubtful) {
      expect(errorsOf(value)).toEqual([]);
      expect(warningsOf(value)[0] ?? "none").toStartWith(warning);
    }
  });

  test("what is not doubtful has no warning", () => {
    const usual = [
      { sites: { shop: SITE } },
      siteWith({
        behaviors: [{ path: "/a/*" }, { path: "/a" }, { path: "/*.css" }, { path: "/?" }, { path: "*" }],
      }),
      behaviorWith({ cache: false, forward: { query: "all" }, cacheKey: { query: "none" } }),
      behaviorWith({ forward: { query: "all" } }),
    ];
    for (const value of usual) expect(warningsOf(value)).toEqual([]);
  });
});

describe("an origin group", () => {
  const two = { app: { url: "http://a" }, b: { url: "http://b" } };

  test("has defaults, and is what is asked where it holds every origin", () => {
    const config = valid(siteWith({ origins: two, originGroups: { both: { members: ["app", "b"] } } }));
    expect(config.sites.shop?.originGroups.both).toEqual({
      members: ["app", "b"],
      balance: "failover",
      failoverOn: [500, 502, 503, 504, "connect", "timeout"],
      attemptTimeoutMs: 10_000,
      attemptsMax: 3,
      retryBudget: { fraction: 0.2, perSecondMin: 10 },
    });
    expect(config.sites.shop?.behaviors[0]?.origin).toBe("both");
  });

  test("that leaves an origin out has to be named", () => {
    const origins = { ...two, c: { directory: "." } };
    expect(errorsOf(siteWith({ origins, originGroups: { both: { members: ["app", "b"] } } }))[0]).toContain(
      "a site with several origins (both, app, b, c) must say which is asked for what",
    );
  });

  test("uses its members: none of them is told to be unused", () => {
    const site = { origins: two, originGroups: { both: { members: ["app", { origin: "b", weight: 3 }] } } };
    expect(warningsOf(siteWith(site))).toEqual([]);
  });
});

describe("parsing", () => {
  test("lists at most 100 problems, and says how many more there are", () => {
    const sites = Object.fromEntries(Array.from({ length: 150 }, (_, i) => [`s${i}`, 1]));
    const errors = errorsOf({ sites });
    expect(errors).toHaveLength(101);
    expect(errors.at(-1)).toBe(": and 50 more problems");
  });

  test("keeps the objects of sites that did not change", () => {
    const memory: SiteMemory = new Map();
    const parse = (value: unknown) => {
      const steps = parseSteps(value, { memory });
      for (;;) {
        const step = steps.next();
        if (step.done) return step.value.config?.sites;
      }
    };
    const other = { ...SITE, hosts: ["other.example"] };
    const before = parse({ sites: { shop: SITE, other } });
    const after = parse({ sites: { shop: structuredClone(SITE), other: { ...other, http3: false } } });
    expect(after?.shop).toBe(before?.shop as never);
    expect(after?.other?.http3).toBe(false);
  });

  test("never throws, whatever it is given", () => {
    const names = fc.constantFrom(
      "sites",
      "shop",
      "hosts",
      "origins",
      "app",
      "url",
      "behaviors",
      "path",
      "cacheKey",
      "query",
      "include",
      "__proto__",
      "listen",
      "tls",
      "set",
      "requestHeaders",
      "404",
      "",
    );
    const { tree } = fc.letrec((tie) => ({
      leaf: fc.oneof(
        fc.string(),
        fc.integer(),
        fc.double(),
        fc.boolean(),
        fc.constant(null),
        fc.constantFrom("/*", "http://a", "all", "*"),
      ),
      tree: fc.oneof(
        { maxDepth: 7 },
        tie("leaf"),
        fc.dictionary(fc.oneof(names, fc.string()), tie("tree"), { maxKeys: 6 }),
        fc.array(tie("tree"), { maxLength: 4 }),
      ),
    }));
    const shaped = fc.record(
      {
        sites: fc.dictionary(
          fc.constantFrom("shop", "b"),
          fc.record({ hosts: tree, origins: tree, behaviors: tree }, { requiredKeys: [] }),
        ),
        listen: tree,
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(fc.oneof(tree, shaped, fc.anything()), (value) => {
        const result = parseConfig(value);
        const problems = result.ok ? result.warnings : result.problems;
        expect(result.ok || problems.length > 0).toBe(true);
        expect(formatProblems("f", problems)).not.toContain("undefined");
      }),
      { numRuns: 1500 },
    );
  });

  test("takes a value that holds itself as it comes", () => {
    const site: Record<string, unknown> = { ...SITE };
    site.behaviors = [site];
    expect(errorsOf({ sites: { shop: site } }).length).toBeGreaterThan(0);
  });
});
