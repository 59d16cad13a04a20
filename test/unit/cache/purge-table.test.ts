import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  keyParts,
  PURGE_PATTERNS_MAX,
  type Purge,
  type PurgeableObject,
  PurgeTable,
} from "../../../src/cache/purge-table.ts";
import { compilePathPattern } from "../../../src/config/pattern.ts";

let next = 0;
const purge = (given: Partial<Purge>): Purge => ({
  sequence: ++next,
  site: "shop",
  scope: "everything",
  targets: [],
  mode: "hard",
  acceptedMs: 1_000,
  ...given,
});
const object = (given: Partial<PurgeableObject> = {}): PurgeableObject => ({
  key: "shop https://shop.example/blog/post?page=2",
  tags: ["t1", "t2"],
  validSequence: 0,
  ...given,
});
const table = (...purges: Purge[]): PurgeTable => {
  const made = new PurgeTable();
  for (const one of purges) made.apply(one);
  return made;
};

test("a base key comes apart into site, host, path and URL", () => {
  expect(keyParts("shop https://shop.example:8443/a?b=/c")).toEqual({
    site: "shop",
    host: "shop.example",
    path: "/a",
    url: "shop.example:8443/a?b=/c",
  });
  expect(keyParts("x http://[::1]:81/")).toEqual({ site: "x", host: "[::1]", path: "/", url: "[::1]:81/" });
});

describe("an object asked for before a purge", () => {
  const hits: [string, Partial<Purge>][] = [
    ["everything", {}],
    ["its URL, whatever the scheme", { scope: "url", targets: ["shop.example/blog/post?page=2"] }],
    ["its host", { scope: "host", targets: ["SHOP.example"] }],
    ["one of its tags", { scope: "tag", targets: ["other", "t2"] }],
    ["a prefix of its path", { scope: "prefix", targets: ["/blog/po"] }],
    ["a prefix with its host", { scope: "prefix", targets: ["shop.example/blog/"] }],
    ["a pattern of its path", { scope: "wildcard", targets: ["/blog/*"] }],
    ["a pattern with its host", { scope: "wildcard", targets: ["shop.example/*st"] }],
  ];
  for (const [name, given] of hits) {
    test(`is gone when ${name} is purged, and stale when softly`, () => {
      expect(table(purge(given)).validityOf(object())).toEqual({ kind: "gone" });
      expect(table(purge({ ...given, mode: "soft" })).validityOf(object())).toEqual({
        kind: "stale",
        sinceMs: 1_000,
      });
    });
  }
  const misses: [string, Partial<Purge>][] = [
    ["another site", { site: "other" }],
    ["another query", { scope: "url", targets: ["shop.example/blog/post"] }],
    ["another host", { scope: "host", targets: ["www.shop.example"] }],
    ["another tag", { scope: "tag", targets: ["t", "T1"] }],
    ["a longer prefix", { scope: "prefix", targets: ["/blog/post/"] }],
    ["a prefix of another host", { scope: "prefix", targets: ["www.shop.example/blog/"] }],
  ];
  for (const [name, given] of misses) {
    test(`is as it was when ${name} is purged`, () =>
      expect(table(purge(given)).validityOf(object())).toEqual({ kind: "valid" }));
  }
});

test("an object asked for after a purge is valid, also when it was fetched by a fill that began before the answer", () => {
  const one = purge({ scope: "tag", targets: ["t1"] });
  const made = table(one);
  expect(made.validityOf(object({ validSequence: one.sequence })).kind).toBe("valid");
  expect(made.validityOf(object({ validSequence: one.sequence - 1 })).kind).toBe("gone");
});

test("a soft purge after a hard one does not bring the object back, and a hard one after a soft one takes it", () => {
  const scope = { scope: "tag" as const, targets: ["t1"] };
  expect(table(purge(scope), purge({ ...scope, mode: "soft" })).validityOf(object()).kind).toBe("gone");
  expect(table(purge({ ...scope, mode: "soft" }), purge(scope)).validityOf(object()).kind).toBe("gone");
  const hard = purge(scope);
  const soft = purge({ ...scope, mode: "soft" });
  expect(table(hard, soft).validityOf(object({ validSequence: hard.sequence })).kind).toBe("stale");
});

test("entries applied twice or late change nothing", () => {
  const first = purge({ scope: "tag", targets: ["t1"] });
  const second = purge({ scope: "tag", targets: ["other"] });
  const made = table(first, second);
  made.apply({ ...first, scope: "everything" });
  expect(made.validityOf(object({ tags: [] })).kind).toBe("valid");
});

test("over the limit of patterns a site's marks fold into its floor: more goes, never less", () => {
  const made = new PurgeTable();
  for (let i = 0; i <= PURGE_PATTERNS_MAX; i++)
    made.apply(purge({ scope: "wildcard", targets: [`/p${i}/*`] }));
  expect(made.size).toBe(0);
  expect(made.validityOf(object()).kind).toBe("gone");
  expect(made.validityOf(object({ key: "other http://o.example/" })).kind).toBe("valid");
});

test("marks folded up to a sequence take what is older than them, and no more", () => {
  const pattern = purge({ scope: "wildcard", targets: ["/other/*"] });
  const soft = purge({ scope: "tag", targets: ["other"], mode: "soft", acceptedMs: 77 });
  const fresh = purge({ scope: "wildcard", targets: ["/new/*"] });
  const made = table(pattern, soft, fresh);
  made.foldUpTo(soft.sequence);
  expect([made.size, made.patternsOf("shop"), made.patternsOf("other")]).toEqual([1, 1, 0]);
  expect(made.validityOf(object({ validSequence: pattern.sequence - 1 })).kind).toBe("gone");
  expect(made.validityOf(object({ validSequence: pattern.sequence }))).toEqual({
    kind: "stale",
    sinceMs: 77,
  });
  expect(made.validityOf(object({ validSequence: soft.sequence })).kind).toBe("valid");
  const key = "shop https://shop.example/new/x";
  expect(made.validityOf(object({ key, validSequence: soft.sequence })).kind).toBe("gone");
});

test("forgotten marks are gone, newer ones stay", () => {
  const old = purge({ scope: "tag", targets: ["t1"] });
  const fresh = purge({ scope: "prefix", targets: ["/blog/"] });
  const made = table(old, fresh);
  made.forget(old.sequence);
  expect(made.size).toBe(1);
  expect(made.validityOf(object()).kind).toBe("gone");
  expect(made.validityOf(object({ key: "shop http://shop.example/x" })).kind).toBe("valid");
});

test("under any purges it agrees with a model that looks at every one", () => {
  const hosts = ["a.test", "b.test"];
  const paths = ["/", "/x", "/x/y", "/x/y/z", "/w"];
  const target = fc.oneof(
    fc.record({ scope: fc.constant("tag" as const), target: fc.constantFrom("t1", "t2", "t3") }),
    fc.record({ scope: fc.constant("host" as const), target: fc.constantFrom(...hosts) }),
    fc.record({
      scope: fc.constant("prefix" as const),
      target: fc.constantFrom("/", "/x", "/x/", "a.test/x/", "b.test/"),
    }),
    fc.record({
      scope: fc.constant("wildcard" as const),
      target: fc.constantFrom("/x*", "*z", "a.test/*", "/?"),
    }),
    fc.record({ scope: fc.constant("url" as const), target: fc.constantFrom("a.test/x", "b.test/x/y?q") }),
    fc.record({ scope: fc.constant("everything" as const), target: fc.constant("") }),
  );
  const entries = fc.array(
    fc.record({
      what: target,
      site: fc.constantFrom("s1", "s2"),
      mode: fc.constantFrom("hard" as const, "soft" as const),
    }),
    { maxLength: 12 },
  );
  const objects = fc.record({
    site: fc.constantFrom("s1", "s2"),
    scheme: fc.constantFrom("http", "https"),
    host: fc.constantFrom(...hosts),
    path: fc.constantFrom(...paths),
    query: fc.constantFrom("", "?q"),
    tags: fc.subarray(["t1", "t2", "t3"]),
    valid: fc.nat(12),
  });
  fc.assert(
    fc.property(entries, objects, (log, given) => {
      const made = new PurgeTable();
      const purges = log.map(
        ({ what, site, mode }, i): Purge => ({
          sequence: i + 1,
          site,
          scope: what.scope,
          targets: what.scope === "everything" ? [] : [what.target],
          mode,
          acceptedMs: i,
        }),
      );
      for (const one of purges) made.apply(one);
      const hosted = given.host + given.path;
      const matching = purges.filter((one) => {
        if (one.site !== given.site || one.sequence <= given.valid) return false;
        const t = one.targets[0] ?? "";
        switch (one.scope) {
          case "everything":
            return true;
          case "tag":
            return given.tags.includes(t);
          case "host":
            return given.host === t;
          case "url":
            return hosted + given.query === t;
          case "prefix":
            return (t.startsWith("/") ? given.path : hosted).startsWith(t);
          case "wildcard":
            return compilePathPattern(t).matches(/^[/*]/.test(t) ? given.path : hosted);
          default:
            return false;
        }
      });
      const expected = matching.some(({ mode }) => mode === "hard")
        ? "gone"
        : matching.length > 0
          ? "stale"
          : "valid";
      const found = made.validityOf({
        key: `${given.site} ${given.scheme}://${hosted}${given.query}`,
        tags: given.tags,
        validSequence: given.valid,
      });
      expect(found.kind).toBe(expected);
    }),
    { numRuns: 1_000 },
  );
});
