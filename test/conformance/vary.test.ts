/** Vary: which stored response fits which request (RFC 9111 section 4.1). */
import { describe, expect, test } from "bun:test";
import { gzipSync } from "node:zlib";
import { cacheStatus, counting, gate, lab, text, until } from "./support.ts";

const l = lab();
const plain = lab({ behavior: { compress: false } });

/** Echoes the fields it varies by. */
const echoing =
  (vary: string, headers: Record<string, string> = {}) =>
  (request: Request) =>
    text(
      vary
        .split(",")
        .map((name) => `${name.trim()}=${request.headers.get(name.trim())}`)
        .join(";"),
      { vary, "cache-control": "max-age=100", ...headers },
    );

describe("responses that vary", () => {
  test("are kept apart, and each is a hit for its own requests", async () => {
    const path = l.path(echoing("x-shape"));
    for (const cache of ["MISS", "HIT"]) {
      for (const shape of ["round", "square", "flat"]) {
        expect(await l.get(path, { "x-shape": shape })).toMatchObject({ cache, body: `x-shape=${shape}` });
      }
      expect(await l.get(path)).toMatchObject({ cache, body: "x-shape=null" });
    }
    expect(l.seen(path).length).toBe(4);
    expect(cacheStatus(await l.get(path, { "x-shape": "new" }))).toMatchObject({ fwd: "vary-miss" });
  });
  test("by several fields need all of them to be equal", async () => {
    const path = l.path(echoing("x-a, x-b"));
    await l.get(path, { "x-a": "1", "x-b": "2" });
    expect((await l.get(path, { "x-a": "1", "x-b": "2" })).cache).toBe("HIT");
    for (const headers of [
      { "x-a": "1" },
      { "x-b": "2" },
      { "x-a": "2", "x-b": "1" },
      { "x-a": "1", "x-b": "3" },
      { "x-a": "12" },
    ]) {
      expect((await l.get(path, headers as Record<string, string>)).cache).toBe("MISS");
    }
  });
  test("by fields whose names come in another case or on several lines", async () => {
    const path = l.path(() => {
      const response = text("x", { "cache-control": "max-age=100" });
      response.headers.append("vary", "X-A");
      response.headers.append("vary", "x-B");
      return response;
    });
    await l.get(path, { "x-a": "1", "x-b": "2" });
    expect((await l.get(path, { "x-a": "1", "x-b": "2" })).cache).toBe("HIT");
    expect((await l.get(path, { "x-a": "2", "x-b": "2" })).cache).toBe("MISS");
    expect((await l.get(path, { "x-a": "1", "x-b": "1" })).cache).toBe("MISS");
  });
  test("do not care about other fields", async () => {
    const path = l.path(echoing("x-a"));
    await l.get(path, { "x-a": "1", "x-other": "1" });
    expect((await l.get(path, { "x-a": "1", "x-other": "2" })).cache).toBe("HIT");
  });
  test("treat white space around list members as nothing, and the value's case as something", async () => {
    const path = l.path(echoing("x-a"));
    await l.get(path, { "x-a": "1,2" });
    expect((await l.get(path, { "x-a": "1, 2" })).cache).toBe("HIT");
    const other = l.path(echoing("x-a"));
    await l.get(other, { "x-a": "a" });
    expect((await l.get(other, { "x-a": "A" })).cache).toBe("MISS");
  });
  test("do not confuse values that look alike when they are joined", async () => {
    const path = l.path(echoing("x-a, x-b"));
    expect((await l.get(path, { "x-a": "1;1:2", "x-b": "" })).body).toContain("1;1:2");
    expect((await l.get(path, { "x-a": "1", "x-b": "2" })).body).toBe("x-a=1;x-b=2");
    expect((await l.get(path, { "x-a": "-" })).body).toBe("x-a=-;x-b=null");
    expect((await l.get(path)).body).toBe("x-a=null;x-b=null");
  });
  test("by Accept-Language are kept apart", async () => {
    const path = l.path(echoing("Accept-Language"));
    expect((await l.get(path, { "accept-language": "de" })).body).toBe("Accept-Language=de");
    expect((await l.get(path, { "accept-language": "en, de;q=0.5" })).body).toBe(
      "Accept-Language=en, de;q=0.5",
    );
    expect((await l.get(path, { "accept-language": "DE" })).cache).toBe("HIT");
  });
  test("by Cookie are never given to another cookie, nor to none", async () => {
    const path = l.path(echoing("Cookie"));
    expect((await l.get(path, { cookie: "id=1" })).body).toBe("Cookie=id=1");
    expect((await l.get(path, { cookie: "id=2" })).body).toBe("Cookie=id=2");
    expect((await l.get(path)).body).toBe("Cookie=null");
    expect(await l.get(path, { cookie: "id=1" })).toMatchObject({ body: "Cookie=id=1", cache: "HIT" });
  });
  test("by User-Agent, Origin or Referer count commas as text", async () => {
    const path = l.path(echoing("User-Agent"));
    await l.get(path, { "user-agent": "a, b" });
    expect((await l.get(path, { "user-agent": "a,b" })).cache).toBe("MISS");
  });
  test("by * are never reused", async () => {
    const path = l.path(counting({ vary: "*", "cache-control": "max-age=100", etag: '"a"' }));
    await l.get(path);
    expect(await l.get(path)).toMatchObject({ body: "2", cache: "BYPASS" });
  });
  test("are purged from the newest on: an unsafe request takes all of them", async () => {
    const path = l.path(echoing("x-a"));
    for (const value of ["1", "2", "3"]) await l.get(path, { "x-a": value });
    l.answer(path, echoing("x-a"));
    await l.get(path, {}, { method: "POST" });
    for (const value of ["1", "2", "3"]) expect((await l.get(path, { "x-a": value })).cache).toBe("MISS");
  });
  test("are revalidated each with its own validator", async () => {
    const path = l.path((request) => {
      const value = request.headers.get("x-a");
      const headers = { vary: "x-a", etag: `"${value}"`, "cache-control": "max-age=10" };
      return request.headers.get("if-none-match") === `"${value}"`
        ? new Response(null, { status: 304, headers })
        : text(`body ${value}`, headers);
    });
    for (const value of ["1", "2"]) await l.get(path, { "x-a": value });
    l.pass(10);
    for (const value of ["1", "2"]) {
      expect(await l.get(path, { "x-a": value })).toMatchObject({
        cache: "REVALIDATED",
        body: `body ${value}`,
      });
    }
  });
});

describe("a Vary that changes", () => {
  test("to more fields holds from then on", async () => {
    let vary = "x-a";
    const path = l.path((request) => echoing(vary)(request));
    await l.get(path, { "x-a": "1", "x-b": "1" });
    vary = "x-a, x-b";
    expect((await l.get(path, { "x-a": "2", "x-b": "1" })).body).toBe("x-a=2;x-b=1");
    expect((await l.get(path, { "x-a": "2", "x-b": "2" })).body).toBe("x-a=2;x-b=2");
    expect(await l.get(path, { "x-a": "2", "x-b": "1" })).toMatchObject({
      body: "x-a=2;x-b=1",
      cache: "HIT",
    });
  });
  test("from none to one: what was stored before still fits its requests only as long as it is fresh", async () => {
    let vary: string | null = null;
    const path = l.path((request) =>
      text(`${request.headers.get("x-a")}`, {
        "cache-control": "max-age=10",
        ...(vary === null ? {} : { vary }),
      }),
    );
    expect((await l.get(path, { "x-a": "1" })).body).toBe("1");
    expect((await l.get(path, { "x-a": "2" })).cache).toBe("HIT");
    vary = "x-a";
    l.pass(10);
    for (const value of ["1", "2", "3"])
      expect(await l.get(path, { "x-a": value })).toMatchObject({ body: value });
    for (const value of ["1", "2", "3"])
      expect(await l.get(path, { "x-a": value })).toMatchObject({ body: value, cache: "HIT" });
  });
  test("in a 304 holds for the stored response", async () => {
    let vary: string | null = null;
    const path = l.path((request) => {
      const language = request.headers.get("accept-language") ?? "none";
      const headers = {
        "cache-control": "max-age=10",
        etag: `"${language}"`,
        ...(vary === null ? {} : { vary }),
      };
      return request.headers.get("if-none-match") === `"${language}"`
        ? new Response(null, { status: 304, headers })
        : text(language, headers);
    });
    expect((await l.get(path, { "accept-language": "de" })).body).toBe("de");
    l.pass(10);
    vary = "accept-language";
    expect(await l.get(path, { "accept-language": "de" })).toMatchObject({
      cache: "REVALIDATED",
      body: "de",
    });
    expect(await l.get(path, { "accept-language": "de" })).toMatchObject({ cache: "HIT", body: "de" });
    expect(await l.get(path, { "accept-language": "fr" })).toMatchObject({ body: "fr" });
    expect(await l.get(path, { "accept-language": "de" })).toMatchObject({ cache: "HIT", body: "de" });
  });
  test("in a 304 to * ends the stored response", async () => {
    const path = l.path((request) =>
      request.headers.has("if-none-match")
        ? new Response(null, {
            status: 304,
            headers: { etag: '"a"', vary: "*", "cache-control": "max-age=10" },
          })
        : text("body", { etag: '"a"', "cache-control": "max-age=10" }),
    );
    await l.get(path);
    l.pass(10);
    expect((await l.get(path)).body).toBe("body");
    expect((await l.get(path)).cache).not.toBe("HIT");
  });
});

describe("those who wait for one fetch", () => {
  test("get only what fits them when the answer turns out to vary", async () => {
    const door = gate();
    const path = l.path(async (request) => {
      await door.opened;
      return echoing("x-a")(request);
    });
    const answers = Promise.all([1, 2, 3, 1, 2, 3, 1].map((n) => l.get(path, { "x-a": String(n) })));
    await until(() => l.seen(path).length >= 1, "the first request");
    await l.arrived(7);
    door.open();
    expect((await answers).map(({ body }) => body)).toEqual([1, 2, 3, 1, 2, 3, 1].map((n) => `x-a=${n}`));
    expect(l.seen(path).length).toBeLessThanOrEqual(7);
  });
  test("are not given another variant's error", async () => {
    const door = gate();
    const path = l.path(async (request) => {
      await door.opened;
      return text(`failed in ${request.headers.get("accept-language")}`, { vary: "accept-language" }, 500);
    });
    const languages = ["de", "fr", "de", "it"];
    const answers = Promise.all(languages.map((value) => l.get(path, { "accept-language": value })));
    await until(() => l.seen(path).length >= 1, "the first request");
    await l.arrived(4);
    door.open();
    expect((await answers).map(({ body }) => body)).toEqual(languages.map((value) => `failed in ${value}`));
  });
});

describe("Vary: Accept-Encoding", () => {
  const body = "a text that is long enough to be worth compressing. ".repeat(40);
  const encoding = (request: Request) =>
    request.headers.get("accept-encoding")?.includes("gzip") === true
      ? new Response(gzipSync(body), {
          headers: {
            "content-type": "text/plain",
            "content-encoding": "gzip",
            vary: "Accept-Encoding",
            "cache-control": "max-age=100",
          },
        })
      : text(body, { vary: "Accept-Encoding", "cache-control": "max-age=100" });

  test("with compress on makes one stored object for every viewer", async () => {
    const path = l.path(encoding);
    for (const coding of ["identity", "gzip", "br", "zstd", "gzip, br", "*"])
      await l.get(path, { "accept-encoding": coding });
    expect(l.seen(path).length).toBe(1);
  });
  test("with compress off keeps one object for each set of codings, and none gets what it can not read", async () => {
    const path = plain.path(encoding);
    expect((await plain.get(path, { "accept-encoding": "gzip" })).headers.get("content-encoding")).toBe(
      "gzip",
    );
    const identity = await plain.get(path, { "accept-encoding": "identity" });
    expect(identity.headers.get("content-encoding")).toBe(null);
    expect(identity.body).toBe(body);
    expect((await plain.get(path, { "accept-encoding": "gzip;q=1.0" })).cache).toBe("HIT");
    expect((await plain.get(path, { "accept-encoding": "deflate" })).body).toBe(body);
    expect(plain.seen(path).length).toBe(2);
  });
  test("with compress off and an origin that encodes without a word in Vary: none gets what it can not read", async () => {
    const path = plain.path((request) => {
      const response = encoding(request);
      response.headers.delete("vary");
      return response;
    });
    await plain.get(path, { "accept-encoding": "gzip" });
    const identity = await plain.get(path, { "accept-encoding": "identity" });
    expect(identity.body).toBe(body);
  });
});

describe("the limit of variants", () => {
  const few = lab({ behavior: { maxVariants: 4 } });
  test("holds, and the oldest go first", async () => {
    const path = few.path(echoing("x-a"));
    for (let i = 0; i < 10; i++) {
      await few.get(path, { "x-a": String(i) });
      few.pass(1);
    }
    expect(few.edge.edge.stats().store.objects).toBe(4);
    for (const i of [9, 8, 7, 6]) expect((await few.get(path, { "x-a": String(i) })).cache).toBe("HIT");
    expect((await few.get(path, { "x-a": "0" })).cache).toBe("MISS");
    expect(few.edge.edge.stats().store.objects).toBe(4);
  });
});
