import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  foldPath,
  normalPathPart,
  parseTarget,
  splitQuery,
  TARGET_CHARS_MAX,
} from "../../../src/http/target.ts";
import { hostileText } from "./hostile.ts";

const read = (target: string) => parseTarget(`http://h.example${target}`);

test("finds path and query behind the authority", () => {
  expect(parseTarget("https://h.example:8443/a/b?c=d?e")).toEqual({ path: "/a/b", query: "c=d?e" });
  expect(parseTarget("http://[::1]:80/")).toEqual({ path: "/", query: null });
  expect(parseTarget("http://h")).toEqual({ path: "/", query: null });
  expect(parseTarget("http://h?x=http://i/y")).toEqual({ path: "/", query: "x=http://i/y" });
  expect(read("/a?")).toEqual({ path: "/a", query: "" });
  expect(parseTarget("/origin/form?x")).toEqual({ path: "/origin/form", query: "x" });
  for (const url of ["", "h/path", "ftp://h/", "*", "h.example:80", "x?http://h/"])
    expect(parseTarget(url)).toBeNull();
});

describe("one form for one resource (RFC 3986 section 6.2.2)", () => {
  const vectors: [string, string][] = [
    ["/a/./b/../c", "/a/c"],
    ["/a/b/.", "/a/b/"],
    ["/a/b/..", "/a/"],
    ["/..", "/"],
    ["/../../x", "/x"],
    ["/a/%2e%2E/b", "/b"],
    ["/a/.%2e/b", "/b"],
    ["/%2e", "/"],
    ["/a//b", "/a//b"],
    ["//a", "//a"],
    ["/a//../b", "/a/b"],
    ["/%7euser/%41%2d", "/~user/A-"],
    ["/a%2fb", "/a%2Fb"],
    ["/%252e%252e/", "/%252e%252e/"],
    ["/%c3%a9", "/%C3%A9"],
    ["/%ff", "/%FF"],
    ["/...", "/..."],
    ["/.a/..b/c.", "/.a/..b/c."],
    ["/a;b=1/@:!$&'()*+,=", "/a;b=1/@:!$&'()*+,="],
    ["/[x]|{y}", "/[x]|{y}"],
  ];
  for (const [sent, path] of vectors) {
    test(`${sent} is ${path}`, () => expect(read(sent)).toEqual({ path, query: null }));
  }

  test("the query's encoding is evened out too, its dots are not", () => {
    expect(read("/?a=%7e%2f&b=../x/%2e%2e")).toEqual({ path: "/", query: "a=~%2F&b=../x/.." });
    expect(read("/?%26=%3D+")).toEqual({ path: "/", query: "%26=%3D+" });
  });
});

test("refuses what servers read differently", () => {
  const refused = [
    "/a#b",
    "/#",
    "/?a#b",
    "/a b",
    "/a\tb",
    "/a\u0000",
    "/a\u007f",
    "/a\u00e9",
    "/a\\b",
    "/?a\\b",
    "/%",
    "/%4",
    "/%zz",
    "/a%2",
    "/?%g0",
    "/%00",
    "/?x=%00",
    "/%EF%BF%BD",
    "/%ef%bf%bd",
    "/?%eF%Bf%bD",
    "/\ufffd",
    "/%+1",
    "/a%2F..%2fb",
    "/a/..%2fb",
    "/a%2f../b",
    "/a/..%5cb",
    "/a%5C%2e%2e/b",
    "/a/..;/b",
    "/a/..;x=1",
    "/a/.;/b",
    "/a/..%3bx/b",
  ];
  for (const target of refused) expect([target, read(target)]).toEqual([target, null]);
});

test("has a limit of length", () => {
  expect(read(`/${"a".repeat(TARGET_CHARS_MAX - 1)}`)?.path).toHaveLength(TARGET_CHARS_MAX);
  expect(read(`/${"a".repeat(TARGET_CHARS_MAX)}`)).toBeNull();
});

test("the one form is its own, has no dot segment, and is plain ASCII", () => {
  const piece = fc.constantFrom(
    "/",
    ".",
    "..",
    "%2e",
    "%2E",
    "%2f",
    "a",
    "%41",
    "%25",
    "32%65",
    "?",
    "&",
    "=",
    "~",
    "%ef",
    "%BF",
    "%bd",
    ";",
  );
  const target = fc.oneof(
    fc.array(piece, { maxLength: 14 }).map((pieces) => `/${pieces.join("")}`),
    hostileText().map((text) => `/${text}`),
  );
  fc.assert(
    fc.property(target, (sent) => {
      const once = read(sent);
      if (once === null) return;
      const written = once.path + (once.query === null ? "" : `?${once.query}`);
      expect(read(written)).toEqual(once);
      expect(once.path.split("/")).not.toContain("..");
      expect(once.path.split("/")).not.toContain(".");
      expect(written).toMatch(/^\/[\x21-\x7e]*$/);
      expect(written).not.toContain("#");
    }),
    { numRuns: 1000 },
  );
});

test("agrees with the URL standard on paths of plain segments", () => {
  const segment = fc.constantFrom("a", "b.c", ".", "..", "%2e", ".%2E", "", "x%2Fy");
  fc.assert(
    fc.property(fc.array(segment, { maxLength: 8 }), (segments) => {
      const url = `http://h/${segments.join("/")}`;
      expect(parseTarget(url)?.path).toBe(new URL(url).pathname);
    }),
    { numRuns: 500 },
  );
});

test("folds a path into what servers read that merge slashes, decode them and leave parameters out", () => {
  expect(foldPath("/a/b.c")).toBe("/a/b.c");
  expect(foldPath("//a///b")).toBe("/a/b");
  expect(foldPath("/a%2Fb%5Cc")).toBe("/a/b/c");
  expect(foldPath("/a;v=1/b;w")).toBe("/a/b");
  expect(foldPath("/%2F;x%2Fa")).toBe("/a");
});

describe("a part of a path as people write it", () => {
  test.each([
    ["/caf\u00e9/", "/caf%C3%A9/"],
    ["/caf%c3%a9/", "/caf%C3%A9/"],
    ["/%63af%C3%A9/", "/caf%C3%A9/"],
    ["/my page/*", "/my%20page/*"],
    ["*.%63ss", "*.css"],
    ["/a%2fb%2A?", "/a%2Fb%2A?"],
    ["/.", "/."],
    ["/plain/", "/plain/"],
  ])("%j is %j", (written, normal) => expect(normalPathPart(written)).toBe(normal));

  test.each(["/100%", "/a%zz", "/a%00", "/a#b", "/a\\b", "/a\nb", "/\ud800", "/%EF%BF%BD"])(
    "%j is in no path",
    (written) => expect(normalPathPart(written)).toBeNull(),
  );

  test("begins what it was the beginning of", () => {
    const path = fc.array(
      fc.oneof(
        fc.string({ unit: "grapheme", maxLength: 4 }),
        fc.constantFrom("/", "%41", "%c3%a9", "%2f", "é", " "),
      ),
      { maxLength: 8 },
    );
    fc.assert(
      fc.property(path, path, (beginning, rest) => {
        const [prefix, whole] = [`/${beginning.join("")}`, `/${beginning.join("")}${rest.join("")}`];
        const [part, all] = [normalPathPart(prefix), normalPathPart(whole)];
        if (part === null || all === null) return;
        expect(all.startsWith(part)).toBe(true);
        // What has its form keeps it, and it is the form of the keys.
        expect(normalPathPart(all)).toBe(all);
        const key = parseTarget(all.replaceAll("?", ""));
        if (key !== null && !all.includes("/.")) expect(key.path).toBe(all.replaceAll("?", ""));
      }),
    );
  });

  test("takes any text without throwing", () => {
    fc.assert(
      fc.property(hostileText(), (written) => {
        normalPathPart(written);
      }),
    );
  });
});

describe("a query's parameters", () => {
  test("keep their raw form and have decoded names", () => {
    expect(splitQuery("a=1&b&%63=%33&d+e=f=g&&utm%5Fsource=x")).toEqual([
      { name: "a", raw: "a=1" },
      { name: "b", raw: "b" },
      { name: "c", raw: "%63=%33" },
      { name: "d e", raw: "d+e=f=g" },
      { name: "", raw: "" },
      { name: "utm_source", raw: "utm%5Fsource=x" },
    ]);
    expect(splitQuery("")).toEqual([]);
    expect(splitQuery("%FF%61=1")).toEqual([{ name: "%FFa", raw: "%FF%61=1" }]);
    expect(splitQuery("%C3%A9")).toEqual([{ name: "\u00e9", raw: "%C3%A9" }]);
  });

  test("make the query again when joined", () => {
    fc.assert(
      fc.property(hostileText(), (query) => {
        expect(
          splitQuery(query)
            .map((parameter) => parameter.raw)
            .join("&"),
        ).toBe(query);
      }),
    );
  });

  test("give back any name a form would send", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (name) => {
        const query = new URLSearchParams([[name, "v"]]).toString();
        expect(splitQuery(query)[0]?.name).toBe(name.toWellFormed());
      }),
    );
  });
});
