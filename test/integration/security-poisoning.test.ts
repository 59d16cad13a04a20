/**
 * Cache poisoning: a viewer must not be able to choose what other viewers get. The origin of these tests
 * is as careless as an origin can be: it answers with everything that it was told.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { ManualClock } from "../../src/base/clock.ts";
import type { BehaviorInput } from "../../src/config/types.ts";
import { startTestEdge, type TestEdge } from "../kit/edge.ts";
import { startOrigin, type TestOrigin, text } from "../kit/origin.ts";
import { ask } from "../kit/raw-send.ts";

const clock = new ManualClock(Date.now());
let origin: TestOrigin;
let edge: TestEdge;

/** Fields that the edge itself makes, or that are the same for every viewer of these tests. */
const MADE_BY_EDGE = [
  "via",
  "cdn-loop",
  "forwarded",
  "x-forwarded-for",
  "x-forwarded-proto",
  "x-forwarded-host",
];

/** Echoes method, target and all fields; fresh for ten minutes. */
function careless(request: Request, seen: { readonly target: string }): Response {
  const fields = [...request.headers].filter(([name]) => !["via", "cdn-loop"].includes(name));
  const body = JSON.stringify({ method: request.method, target: seen.target, fields });
  return text(body, { "cache-control": "max-age=600" });
}

beforeAll(async () => {
  origin = startOrigin(careless, clock);
  edge = await startTestEdge({ origin: origin.url, clock });
});
afterAll(async () => {
  await edge.stop();
  await origin.stop();
});

let number = 0;
/** A path that nothing is stored for yet. */
const fresh = (): string => `/poison-${++number}`;

async function withBehavior(behavior: Partial<BehaviorInput>, run: () => Promise<void>): Promise<void> {
  await edge.apply({ behavior });
  try {
    await run();
  } finally {
    await edge.apply({ behavior: {} });
  }
}

describe("fields by which viewers speak for a proxy", () => {
  const poison = [
    "X-Forwarded-Host",
    "X-Forwarded-Scheme",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-For",
    "X-Forwarded-Server",
    "X-Forwarded-Path",
    "X-Forwarded-Ssl",
    "X-Forwarded",
    "Forwarded-For",
    "Forwarded",
    "X-Original-URL",
    "X-Original-URI",
    "X-Original-Host",
    "X-Rewrite-URL",
    "X-HTTP-Method-Override",
    "X-HTTP-Method",
    "X-Method-Override",
    "X-Host",
    "X-HTTP-Host-Override",
    "X-Real-IP",
    "X-Client-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "Fastly-Client-IP",
    "X-Cluster-Client-IP",
    "X-Remote-Addr",
    "X-Originating-IP",
    "X-Url-Scheme",
    "X-Scheme",
    "Front-End-Https",
    "Client-Cert",
    "X-Middleware-Subrequest",
    "X-Backend-Host",
    "X-Server-Name",
    "X-Proxima-Key",
    "X-Proxima-Tier",
    "Proxy",
  ];
  for (const name of poison) {
    test(`${name} does not reach the origin, nor the next viewer`, async () => {
      const path = fresh();
      const poisoned = await edge.get(path, { [name]: "evil.example" });
      expect(poisoned.body).not.toContain("evil.example");
      expect(await edge.get(path)).toMatchObject({ cache: "HIT", body: poisoned.body });
    });
  }

  test("written with underscores they are the same fields to CGI programs, and do not pass either", async () => {
    const path = fresh();
    const disguised = [
      "X_Forwarded_Host",
      "X_Original_URL",
      "X_HTTP_Method_Override",
      "X-Forwarded_Prefix",
      "X_Rewrite_Url",
    ];
    const poisoned = await edge.get(
      path,
      Object.fromEntries(disguised.map((name) => [name, "evil.example"])),
    );
    expect(poisoned.body).not.toContain("evil.example");
  });

  test("they do not reach the origin past the cache either", async () => {
    await withBehavior({ cache: false }, async () => {
      const fields = Object.fromEntries(poison.map((name) => [name, "evil.example"]));
      expect((await edge.get(fresh(), fields)).body).not.toContain("evil.example");
      expect((await edge.get(fresh(), fields, { method: "POST", body: "x" })).body).not.toContain(
        "evil.example",
      );
    });
  });

  test("the origin is told the truth instead", async () => {
    await edge.get("/truth", {
      "X-Forwarded-For": "1.2.3.4",
      "X-Forwarded-Host": "evil.example",
      Host: "shop.example",
    });
    const { headers } = origin.seen.at(-1) as { headers: Headers };
    expect(MADE_BY_EDGE.filter((name) => !headers.has(name))).toEqual([]);
    expect(headers.get("x-forwarded-for")).toBe("127.0.0.1");
    expect(headers.get("x-forwarded-host")).toBe("shop.example");
    expect(headers.get("x-forwarded-proto")).toBe("http");
    expect(headers.get("forwarded")).toBe("for=127.0.0.1;proto=http;host=shop.example");
  });
});

describe("hop-by-hop tricks", () => {
  test("a nominated field that is in the key does not make its value's answer out of another request", async () => {
    origin.answer((request) =>
      text(request.headers.get("x-country") ?? "default", { "cache-control": "max-age=600" }),
    );
    await withBehavior({ cacheKey: { headers: ["x-country"] } }, async () => {
      const path = fresh();
      const trick = await ask({ port: edge.port }, `GET ${path}`, [
        ["Host", "a.example"],
        ["X-Country", "de"],
        ["Connection", "x-country"],
      ]);
      expect(trick.text).toBe("default");
      expect((await edge.get(path, { Host: "a.example", "X-Country": "de" })).body).toBe("de");
    });
    origin.answer(careless);
  });

  test("a nominated field that the origin varies by does not make one either", async () => {
    origin.answer((request) =>
      text(request.headers.get("x-country") ?? "default", {
        "cache-control": "max-age=600",
        vary: "X-Country",
      }),
    );
    const path = fresh();
    await ask({ port: edge.port }, `GET ${path}`, [
      ["Host", "a.example"],
      ["X-Country", "de"],
      ["Connection", "close, X-Country"],
    ]);
    expect((await edge.get(path, { Host: "a.example", "X-Country": "de" })).body).toBe("de");
    origin.answer(careless);
  });

  test("nominating what the edge or the origin rests on takes nothing away", async () => {
    const path = fresh();
    const nominated =
      "Cookie, Authorization, X-Forwarded-For, X-Forwarded-Host, Via, CDN-Loop, Host, Cache-Control";
    await ask({ port: edge.port }, `GET ${path}`, [
      ["Host", "a.example"],
      ["Cookie", "a=1"],
      ["Authorization", "Basic eA=="],
      ["Connection", nominated],
    ]);
    const { headers } = origin.seen.at(-1) as { headers: Headers };
    for (const name of [
      "cookie",
      "authorization",
      "x-forwarded-for",
      "x-forwarded-host",
      "via",
      "cdn-loop",
      "host",
    ]) {
      expect([name, headers.has(name)]).toEqual([name, true]);
    }
  });

  test("an ordinary Connection field does not keep a request from the cache", async () => {
    const path = fresh();
    await edge.get(path, { Host: "a.example" });
    const again = await ask({ port: edge.port }, `GET ${path}`, [
      ["Host", "a.example"],
      ["TE", "trailers"],
      ["Connection", "close, TE, X-Not-There"],
    ]);
    expect(again.header("x-cache")).toBe("HIT");
  });
});

describe("a body on GET", () => {
  test("is passed on and its answer is not stored", async () => {
    origin.answer(async (request) =>
      text(`body: ${await request.text()}`, { "cache-control": "max-age=600" }),
    );
    const path = fresh();
    const fat = await ask({ port: edge.port }, `GET ${path}`, [
      ["Host", "a.example"],
      ["Content-Length", "0"],
      ["X-A", "1"],
    ]);
    expect(fat.header("x-cache")).toBe("MISS");
    const other = fresh();
    const sent = await ask({ port: edge.port }, `GET ${other}`, [
      ["Host", "a.example"],
      ["Transfer-Encoding", "chunked"],
    ]);
    expect(sent.status === 0 || sent.header("x-cache") === "BYPASS").toBe(true);
    expect(await edge.get(other, { Host: "a.example" })).toMatchObject({ cache: "MISS", body: "body: " });
    origin.answer(careless);
  });

  test("whose length says nothing of it can not choose what others get", async () => {
    origin.answer(async (request) =>
      text(`body: ${await request.text()}`, { "cache-control": "max-age=600" }),
    );
    const path = fresh();
    const { sendRaw } = await import("../kit/raw-send.ts");
    await sendRaw(
      { port: edge.port },
      `GET ${path} HTTP/1.1\r\nHost: a.example\r\nContent-Length: 9\r\n\r\ncb=evil()`,
    );
    await sendRaw(
      { port: edge.port },
      `GET ${path} HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ncb=evil()\r\n0\r\n\r\n`,
    );
    expect((await edge.get(path, { Host: "a.example" })).body).toBe("body: ");
    origin.answer(careless);
  });
});

describe("the query", () => {
  const targetOf = async (path: string) =>
    (JSON.parse((await edge.get(path)).body) as { target: string }).target;

  test("parameters outside the key do not reach the origin", async () => {
    await withBehavior({ cacheKey: { query: { include: ["page"] } } }, async () => {
      const path = fresh();
      expect(await targetOf(`${path}?page=1&callback=evil`)).toBe(`${path}?page=1`);
      expect((await edge.get(`${path}?utm=x&page=1`)).cache).toBe("HIT");
    });
    await withBehavior({ cacheKey: { query: "none" } }, async () => {
      const path = fresh();
      expect(await targetOf(`${path}?callback=evil`)).toBe(path);
      expect((await edge.get(path)).cache).toBe("HIT");
    });
    await withBehavior({ cacheKey: { query: { exclude: ["session"] } } }, async () => {
      const path = fresh();
      expect(await targetOf(`${path}?session=evil&a=1`)).toBe(`${path}?a=1`);
    });
  });

  test("a parameter can not be hidden in another's value, name or separator", async () => {
    await withBehavior({ cacheKey: { query: { include: ["page"] } } }, async () => {
      const path = fresh();
      // Whatever an origin makes of `;`, what it sees is what the key holds.
      for (const query of [
        "page=1;callback=evil",
        "page=1%26callback=evil",
        "page=1&page=2",
        "page=1&%70age=2",
        "page[]=1&page=3",
      ]) {
        const sent = await targetOf(`${path}?${query}`);
        const stored = await edge.get(sent);
        expect([query, stored.cache]).toEqual([query, "HIT"]);
      }
      expect((await edge.get(`${path}?page=1`)).cache).toBe("MISS");
      expect(await targetOf(`${path}?Page=1`)).toBe(path);
    });
  });

  test("what stripTracking takes out does not reach the origin, however it is written", async () => {
    await withBehavior({ cacheKey: { stripTracking: true } }, async () => {
      const path = fresh();
      expect(await targetOf(`${path}?utm_content=1;cb=evil&a=1&gclid=x&%75tm_source=x&utm%5Fmedium=x`)).toBe(
        `${path}?a=1`,
      );
    });
  });

  test("forward.query all is what it says: the origin sees more than the key holds", async () => {
    await withBehavior({ cacheKey: { query: "none" }, forward: { query: "all" } }, async () => {
      const path = fresh();
      expect(await targetOf(`${path}?lang=en`)).toBe(`${path}?lang=en`);
      expect((await edge.get(path)).cache).toBe("HIT");
    });
  });

  test("a redirect that only leads back because the key leaves the query out is not stored", async () => {
    origin.answer((_request, seen) =>
      seen.target.includes("?")
        ? text("", { location: seen.target.split("?")[0] as string, "cache-control": "max-age=600" }, 302)
        : text("the page", { "cache-control": "max-age=600" }),
    );
    await withBehavior({ cacheKey: { query: "none" }, forward: { query: "all" } }, async () => {
      const path = fresh();
      expect((await edge.get(`${path}?lang=en`)).status).toBe(302);
      expect(await edge.get(path)).toMatchObject({ status: 200, body: "the page" });
    });
    origin.answer(careless);
  });

  test("a redirect from a rewritten path to the path that the origin sees is not stored under it", async () => {
    origin.answer((request, seen) =>
      request.headers.get("x-first") === null
        ? text("the page", { "cache-control": "max-age=600" })
        : text("", { location: seen.target, "cache-control": "max-age=600" }, 301),
    );
    const path = fresh();
    await withBehavior({ rewrite: [{ match: "/old*", to: path }] }, async () => {
      expect((await edge.get("/old", { "x-first": "1" })).status).toBe(301);
      expect(await edge.get(path)).toMatchObject({ status: 200, body: "the page" });
    });
    origin.answer(careless);
  });
});

describe("cookies", () => {
  const cookieGreeting = (request: Request): Response => {
    const cookies = request.headers.get("cookie") ?? "";
    return text(/(?:^|; )lang=([^;]*)/.exec(cookies)?.[1] ?? "none", { "cache-control": "max-age=600" });
  };

  test("outside the key do not reach an origin whose answers get a lifetime of the operator's own", async () => {
    origin.answer((request) => text(request.headers.get("cookie") ?? "no cookie"));
    await withBehavior({ ttlSeconds: { default: 60 } }, async () => {
      const path = fresh();
      expect((await edge.get(path, { Cookie: "session=evil" })).body).toBe("no cookie");
      expect(await edge.get(path)).toMatchObject({ cache: "HIT", body: "no cookie" });
    });
    origin.answer(careless);
  });

  test("that do reach it keep its answer from being stored, unless the origin says how long", async () => {
    origin.answer((request) => text(request.headers.get("cookie") ?? "no cookie"));
    await withBehavior({ ttlSeconds: { default: 60 }, forward: { cookies: "all" } }, async () => {
      const path = fresh();
      expect(await edge.get(path, { Cookie: "session=a" })).toMatchObject({ body: "session=a" });
      expect((await edge.get(path, { Cookie: "session=b" })).body).toBe("session=b");
      expect((await edge.get(path)).body).toBe("no cookie");
      // What is stored of a viewer without a cookie is not for those who have one.
      expect((await edge.get(path)).cache).toBe("HIT");
      expect((await edge.get(path, { Cookie: "session=c" })).body).toBe("session=c");
    });
    origin.answer(careless);
  });

  test("sent twice can not be one thing to the key and another to the origin", async () => {
    origin.answer(cookieGreeting);
    await withBehavior({ cacheKey: { cookies: ["lang"] }, forward: { cookies: ["lang"] } }, async () => {
      const path = fresh();
      expect((await edge.get(path, { Cookie: "lang=evil; lang=de" })).body).toBe("evil");
      expect((await edge.get(path, { Cookie: "lang=de" })).body).toBe("de");
    });
    origin.answer(careless);
  });

  test("that the key holds and the origin is not sent tell nobody anything", async () => {
    origin.answer((request) =>
      text(request.headers.get("cookie") ?? "no cookie", { "cache-control": "max-age=600" }),
    );
    await withBehavior({ cacheKey: { cookies: ["lang"] }, forward: { cookies: "none" } }, async () => {
      expect((await edge.get(fresh(), { Cookie: "lang=de; session=x" })).body).toBe("no cookie");
    });
    origin.answer(careless);
  });

  test("make a page that is not to be kept at all nobody else's, whatever lifetimes the operator adds", async () => {
    origin.answer((request) =>
      text(request.headers.get("cookie") ?? "no cookie", { "cache-control": "max-age=0" }),
    );
    for (const behavior of [
      { ttlSeconds: { min: 60 } },
      { staleWhileRevalidateSeconds: 60 },
      { edgeTtlSeconds: 60, forward: { cookies: "all" } },
    ] satisfies Partial<BehaviorInput>[]) {
      await withBehavior(behavior, async () => {
        const path = fresh();
        await edge.get(path, { Cookie: "session=a" });
        expect([behavior, (await edge.get(path, { Cookie: "session=b" })).body]).toEqual([
          behavior,
          "session=b",
        ]);
        expect([behavior, (await edge.get(path)).body]).toEqual([behavior, "no cookie"]);
      });
    }
    origin.answer(careless);
  });
});

describe("errors made to be stored (CPDoS)", () => {
  const broken = async (headers: Record<string, string>, method = "GET"): Promise<void> => {
    const path = fresh();
    await edge.get(path, headers, { method });
    expect((await edge.get(path)).status).toBe(200);
  };

  test("an oversized header that the origin refuses is not an error for the next viewer", async () => {
    for (const status of [400, 408, 413, 431]) {
      origin.answer((request) =>
        request.headers.has("x-oversized")
          ? text("too large", {}, status)
          : text("ok", { "cache-control": "max-age=9" }),
      );
      await withBehavior({ statusTtlSeconds: { "4xx": 60 } }, () =>
        broken({ "X-Oversized": "a".repeat(9_000) }),
      );
    }
    origin.answer(careless);
  });

  test("statuses that RFC 6585 forbids to store are not stored, not even when the origin says so", async () => {
    for (const status of [428, 429, 431, 511]) {
      origin.answer((request) =>
        request.headers.has("x-many")
          ? text("no", { "cache-control": "max-age=600" }, status)
          : text("ok", { "cache-control": "max-age=9" }),
      );
      await broken({ "X-Many": "1" });
    }
    origin.answer(careless);
  });

  test("an unusual Accept or Range, an override of the method, or HEAD, do not poison the page", async () => {
    origin.answer((request) => {
      if (request.headers.get("accept") === "x/y") return text("not acceptable", {}, 406);
      if (request.headers.has("range")) return text("no such range", { "cache-control": "max-age=60" }, 416);
      if (request.headers.has("x-http-method-override"))
        return text("not allowed", { "cache-control": "max-age=60" }, 405);
      if (request.headers.get("if-match") !== null)
        return text("precondition failed", { "cache-control": "max-age=60" }, 412);
      if (request.method === "HEAD") return text("", { "cache-control": "max-age=60" }, 405);
      return text("ok", { "cache-control": "max-age=60" });
    });
    await withBehavior({ statusTtlSeconds: { "4xx": 60 } }, async () => {
      await broken({ Accept: "x/y" });
      await broken({ Range: "bytes=cat-dog" });
      await broken({ Range: "bytes=100-" });
      await broken({ "X-HTTP-Method-Override": "DELETE" });
      await broken({ "If-Match": '"x"' });
      await broken({}, "HEAD");
    });
    origin.answer(careless);
  });

  test("a part is never stored as the whole", async () => {
    origin.answer((request) =>
      request.headers.has("range")
        ? text("bc", { "content-range": "bytes 1-2/6", "cache-control": "max-age=60" }, 206)
        : text("abcdef", { "cache-control": "max-age=60" }),
    );
    const path = fresh();
    expect(await edge.get(path, { Range: "bytes=1-2" })).toMatchObject({ status: 206, body: "bc" });
    expect(await edge.get(path)).toMatchObject({ status: 200, body: "abcdef" });
    origin.answer(careless);
  });

  test("junk in Accept-Encoding makes no second object and does not reach the origin", async () => {
    const path = fresh();
    for (const value of ["cat", "gzip;q=evil", "*;q=0, evil", "br;q=0.1;x=y, , ;", "x".repeat(4_000)]) {
      expect((await edge.get(path, { "Accept-Encoding": value })).body).not.toContain("evil");
    }
    expect(origin.count(path)).toBe(1);
  });

  test("a coding that the origin chose by Accept-Encoding without saying so reaches only those who take it", async () => {
    const zipped = Bun.gzipSync("compressed text");
    origin.answer((request) =>
      request.headers.get("accept-encoding")?.includes("gzip") === true
        ? new Response(zipped, {
            headers: {
              "content-encoding": "gzip",
              "content-type": "text/plain",
              "cache-control": "max-age=60",
            },
          })
        : text("compressed text", { "cache-control": "max-age=60" }),
    );
    for (const compress of [true, false]) {
      await withBehavior({ compress }, async () => {
        const path = fresh();
        await edge.get(path, { "Accept-Encoding": "gzip" });
        const plain = await edge.get(path, { "Accept-Encoding": "identity" });
        expect([compress, plain.headers.get("content-encoding"), plain.body]).toEqual([
          compress,
          null,
          "compressed text",
        ]);
      });
    }
    origin.answer(careless);
  });
});

describe("the host", () => {
  const hostSeen = (): string | null => origin.seen.at(-1)?.headers.get("x-forwarded-host") ?? null;

  test("written in other ways is one host: one object, and the origin sees one name", async () => {
    const path = fresh();
    for (const host of [
      "shop.example",
      "SHOP.Example",
      "shop.example.",
      "shop.example:80",
      "shop.example:",
      "Shop.Example.:080",
    ]) {
      await ask({ port: edge.port }, `GET ${path}`, [["Host", host]]);
      expect([host, hostSeen(), origin.count(path)]).toEqual([host, "shop.example", 1]);
    }
  });

  test("with another port is another object, so that a URL made of it reaches nobody else", async () => {
    const path = fresh();
    await ask({ port: edge.port }, `GET ${path}`, [["Host", "shop.example:1337"]]);
    const answer = await ask({ port: edge.port }, `GET ${path}`, [["Host", "shop.example"]]);
    expect(answer.header("x-cache")).toBe("MISS");
    expect(answer.text).not.toContain("1337");
  });

  test("that is none, or more than one, or not plain, is refused and the origin is not asked", async () => {
    const before = origin.count();
    const bad = [
      "",
      "a b",
      "shop.example/evil",
      "shop.example?x",
      "shop.example#x",
      "user@shop.example",
      "shop.example:80:90",
      "shop.example:99999",
      "shop.example:0",
      "shop.example:-1",
      "shop..example",
      ".",
      "b\xfccher.example",
      "shop.example\\evil",
      "shop.example, evil.example",
      "[::1",
      "[::1]x",
      "[evil]",
      "shop.example%2f",
      "-a.example",
      "a".repeat(300),
      "shop.example:8o",
      "'><script>",
    ];
    for (const host of bad) {
      const answer = await ask({ port: edge.port }, "GET /bad-host", [["Host", host]]);
      expect([host, answer.status]).toEqual([host, 400]);
      expect(answer.text).not.toContain("<script>");
    }
    const twice = await ask({ port: edge.port }, "GET /bad-host", [
      ["Host", "a.example"],
      ["Host", "b.example"],
    ]);
    expect(twice.status).toBe(400);
    expect(origin.count()).toBe(before);
  });

  test("is the Host field's: a target that names another is refused in clear text", async () => {
    const path = fresh();
    const before = origin.count();
    const other = await ask({ port: edge.port }, `GET http://evil.example${path}`, [
      ["Host", "shop.example"],
    ]);
    expect([other.status, origin.count()]).toEqual([400, before]);
    await ask({ port: edge.port }, `GET http://shop.example${path}`, [["Host", "shop.example"]]);
    expect(hostSeen()).toBe("shop.example");
    const next = await ask({ port: edge.port }, `GET ${path}`, [["Host", "shop.example"]]);
    expect(next.header("x-cache")).toBe("HIT");
    expect(next.text).not.toContain("evil.example");
  });
});
