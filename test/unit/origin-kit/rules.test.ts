import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { createOriginKit } from "proxima-cdn/origin";
import { compilePathPattern } from "../../../src/config/pattern.ts";
import { hashInName } from "../../../src/origin-kit/hashed-name.js";
import { Health } from "../../../src/origin-kit/health.js";
import { matchesPath } from "../../../src/origin-kit/pattern.js";
import { cacheControlFor } from "../../../src/origin-kit/rules.js";
import { TAGS_MAX, tagField, tagText } from "../../../src/origin-kit/tags.js";

describe("a path pattern", () => {
  test("matches as the edge's does", () => {
    const text = fc.string({ unit: fc.constantFrom("a", "b", "/", "*", "?"), maxLength: 12 });
    const path = fc.string({ unit: fc.constantFrom("a", "b", "/"), maxLength: 12 });
    fc.assert(
      fc.property(text, path, (pattern, value) => {
        expect(matchesPath(pattern, value)).toBe(compilePathPattern(pattern).matches(value));
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("a hash in a name", () => {
  test.each([
    "/a/app.4f3a9c1b.js",
    "/main-0a1b2c3d4e5f6071.css",
    "/app-ABCD2XYZ.js",
    "/index-B1fYz3kQ.js",
    "/chunk.9b2c0f7d1e.min.js",
    "/logo_5e884898da28.png",
    "/12345678901234567890123456789012.js",
  ])("is certain in %s", (path) => expect(hashInName(path)).toBe("certain"));
  test.each(["/assets/index-DiwrgTda.js", "/x-deadbeef.js"])("is likely in %s", (path) =>
    expect(hashInName(path)).toBe("likely"),
  );
  test.each([
    "/",
    "/app.js",
    "/blog/2024-01-15.html",
    "/report-20240115.pdf",
    "/version2.js",
    "/bootstrap.min.css",
    "/JavaScript.js",
    "/jquery-3.7.1.min.js",
    "/4f3a9c1b/app.js",
    "/Elephant.png",
  ])("is not in %s", (path) => expect(hashInName(path)).toBeNull());
});

describe("Cache-Control of the application", () => {
  const said = {
    method: "GET",
    status: 200,
    path: "/",
    hasSession: true,
    setsCookie: false,
    cacheControl: null as string | null,
  };
  test.each(["private", "no-store", "no-cache, PRIVATE", "max-age=0,no-store", "private, max-age=60"])(
    "%s is strict enough for a session",
    (cacheControl) =>
      expect(cacheControlFor(null, { ...said, cacheControl })).toEqual({ value: null, personal: true }),
  );
  test.each(["no-cache", "max-age=60", 'private="set-cookie"', 'x="a, private, b"', "public", ""])(
    "%j is not",
    (cacheControl) =>
      expect(cacheControlFor(null, { ...said, cacheControl }).value).toBe("private, no-cache"),
  );
});

describe("a tag", () => {
  test("is encoded so that no list can cut it, and so that different tags stay different", () => {
    expect(tagText("a,b c")).toBe("a%2Cb%20c");
    expect(tagText("Größe")).toBe("Gr%C3%B6%C3%9Fe");
    expect(tagText(7)).toBe("7");
    fc.assert(
      fc.property(fc.string({ unit: "binary", minLength: 1, maxLength: 50 }), (text) => {
        expect(tagText(text)).toMatch(/^[\x21-\x2b\x2d-\x7e]+$/);
      }),
    );
  });

  test("that is none, or too long, is refused", () => {
    expect(() => tagText("")).toThrow("not empty");
    expect(() => tagText({})).toThrow("got object");
    expect(() => tagText(Number.NaN)).toThrow("a text or a number");
    expect(() => tagText("x".repeat(1_025))).toThrow("at most 1024 characters; got 1025");
  });

  test("beyond what an edge keeps makes the answer one that is not shared", async () => {
    expect(tagField("a", ["b", "a"])).toBe("a, b");
    expect(tagField(null, [])).toBeNull();
    const many = Array.from({ length: TAGS_MAX + 1 }, (_, i) => `t${i}`);
    expect(tagField(null, many)).toBe("too-many");
    expect(tagField(null, many.slice(1))).toContain("t1000");
    const problems: string[] = [];
    const kit = createOriginKit({
      rules: [{ path: "/*", maxAgeSeconds: 60 }],
      health: false,
      onProblem: (problem) => problems.push(problem),
    });
    const handler = kit.fetch((request) => {
      kit.tag(request, ...many);
      return new Response("x", { headers: { "surrogate-control": "max-age=600" } });
    });
    const { headers } = await handler(new Request("http://a/p"));
    expect([
      headers.get("cache-control"),
      headers.get("cache-tag"),
      headers.get("surrogate-control"),
    ]).toEqual(["private, no-cache", null, null]);
    expect(problems).toEqual(["/p has more tags than an edge keeps; its answer is not shared"]);
  });
});

describe("a streamed answer", () => {
  test("is handed on before it is whole, and what was read is not lost", async () => {
    const kit = createOriginKit({ health: false });
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    const handler = kit.fetch(
      () =>
        new Response(
          new ReadableStream({
            async start(controller) {
              controller.enqueue(new TextEncoder().encode("first "));
              await released;
              controller.enqueue(new TextEncoder().encode("second"));
              controller.close();
            },
          }),
        ),
    );
    const response = await handler(new Request("http://a/"));
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    expect(new TextDecoder().decode((await reader.read()).value)).toBe("first ");
    release();
    expect(new TextDecoder().decode((await reader.read()).value)).toBe("second");
    expect((await reader.read()).done).toBe(true);
    expect(response.headers.get("etag")).toBeNull();
  });

  test("that the viewer leaves is given up", async () => {
    const kit = createOriginKit({ health: false });
    const { promise: left, resolve } = Promise.withResolvers<unknown>();
    const handler = kit.fetch(
      () => new Response(new ReadableStream({ pull: () => new Promise(() => {}), cancel: resolve })),
    );
    const response = await handler(new Request("http://a/"));
    await response.body?.cancel("gone");
    expect(await left).toBe("gone");
  });

  test("longer than the limit has no validator, and every byte", async () => {
    const kit = createOriginKit({ health: false, etagBytesMax: 1_000 });
    const body = "0123456789".repeat(500);
    const response = await kit.fetch(() => new Response(body))(new Request("http://a/"));
    expect([response.headers.get("etag"), await response.text()]).toEqual([null, body]);
  });
});

describe("health", () => {
  const limits = { delayMs: 200, heapFraction: 0.9, recoverMs: 10_000 };
  /** Samples every 100 ms from `fromMs` for `forMs`. */
  function feed(health: Health, fromMs: number, forMs: number, delayMs: number, heap = 0.1): void {
    for (let at = fromMs; at < fromMs + forMs; at += 100) health.sample(at, delayMs, heap);
  }

  test("one long pause is not a state", () => {
    const health = new Health(limits);
    feed(health, 0, 5_000, 0);
    health.sample(7_000, 2_000, 0.1);
    feed(health, 7_100, 1_000, 0);
    expect(health.degraded).toBe(false);
  });

  test("a late event loop is one, and it ends only after it was well for the whole time", () => {
    const health = new Health(limits);
    feed(health, 0, 2_000, 300);
    expect(health.degraded).toBe(true);
    feed(health, 2_000, 6_000, 0);
    expect(health.degraded).toBe(true);
    // Neither well nor ill: the time starts anew.
    feed(health, 8_000, 8_000, 150);
    feed(health, 16_000, 11_000, 0);
    expect(health.degraded).toBe(true);
    feed(health, 27_000, 3_000, 0);
    expect(health.degraded).toBe(false);
  });

  test("so is a heap that is nearly full", () => {
    const health = new Health(limits);
    health.sample(0, 0, 0.95);
    expect(health.degraded).toBe(true);
    feed(health, 100, 20_000, 0, 0.88);
    expect(health.degraded).toBe(true);
    feed(health, 20_100, 10_100, 0, 0.5);
    expect(health.degraded).toBe(false);
  });

  test("a process that is blocked says so by its own measurement", async () => {
    const kit = createOriginKit({ health: { delayMs: 20, recoverMs: 0 } });
    const endMs = performance.now() + 10_000;
    while (!kit.degraded && performance.now() < endMs) {
      const until = performance.now() + 250;
      while (performance.now() < until);
      await Bun.sleep(1);
    }
    expect(kit.degraded).toBe(true);
    await kit.close();
  });
});

describe("a wrong option", () => {
  const purge = { control: "http://127.0.0.1:8081" };
  test.each([
    [{ rule: [] }, "options.rule is no option; there are rules, "],
    [{ rules: {} }, "rules: expected a list; got an object"],
    [{ rules: [{ path: "a" }] }, 'rules[0].path: expected a pattern beginning with "/" or "*"'],
    [{ rules: [{ path: "/*", maxAge: 1 }] }, "rules[0].maxAge is no option"],
    [
      { rules: [{ path: "/*", maxAgeSeconds: "1h" }] },
      "rules[0].maxAgeSeconds: expected a whole number of seconds",
    ],
    [{ rules: [{ path: "/*", immutable: "yes" }] }, 'rules[0].immutable: expected true, false or "hashed"'],
    [{ rules: [{ path: "/*", private: true, immutable: true }] }, "private can not stand beside"],
    [{ rules: [{ path: "/*", ignoreSession: 1 }] }, "rules[0].ignoreSession: expected true or false; got 1"],
    [{ rules: [{ path: "/*", tags: "a" }] }, "rules[0].tags: expected a list"],
    [{ sessionCookies: ["a=b"] }, "sessionCookies[0]: expected a cookie name"],
    [{ etagBytesMax: 0 }, "etagBytesMax: expected a whole number of bytes from 1"],
    [{ health: { delayMs: -1 } }, "health.delayMs: expected a whole number of milliseconds"],
    [{ health: { heapFraction: 90 } }, "health.heapFraction: expected a number above 0, to 1; got 90"],
    [{ onProblem: "x" }, "onProblem: expected a function"],
    [{ purge: {} }, "purge.control: expected at least one control listener"],
    [{ purge: { control: "127.0.0.1:8081" } }, "purge.control[0]: expected a URL"],
    [{ purge: { control: "http://u:s3cret@127.0.0.1" } }, "purge.control[0]: expected a URL"],
    [{ purge: { control: "http://127.0.0.1/v1" } }, "without a path"],
    [{ purge: { control: "http://10.0.0.1:8081", token: "s3cret" } }, "use https beyond loopback"],
    [{ purge: { ...purge, token: "s3cret\n" } }, "purge.token: expected visible ASCII"],
    [{ purge: { ...purge, site: "A B" } }, "purge.site"],
    [{ purge: { ...purge, mode: "x" } }, 'purge.mode: expected "hard" or "soft"'],
    [{ purge: { ...purge, content: { page: 1 } } }, "purge.content.page: expected a function"],
    [{ purge: { ...purge, waitingMax: 0 } }, "purge.waitingMax"],
  ])("%j is refused with its place", (options, message) => {
    const making = () => createOriginKit(options as Parameters<typeof createOriginKit>[0]);
    expect(making).toThrow(message);
    try {
      making();
    } catch (error) {
      expect(String(error)).not.toContain("s3cret");
    }
  });
});
