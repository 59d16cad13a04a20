/** Validators both ways: the edge asks the origin on a condition, and answers viewers' conditions (RFC 9110 section 13, RFC 9111 section 4.3). */
import { describe, expect, test } from "bun:test";
import { cacheStatus, counting, gate, lab, text, until, validating } from "./support.ts";

const l = lab();

describe("a stale response is revalidated", () => {
  const validators: [string, Record<string, string>][] = [
    ["a strong ETag", { etag: '"abc"' }],
    ["a weak ETag", { etag: 'W/"abc"' }],
    ["an ETag without quotes", { etag: "abc" }],
    ["an ETag with a comma in it", { etag: '"a,b"' }],
    ["Last-Modified", { "last-modified": "Tue, 01 Jun 2021 10:00:00 GMT" }],
  ];
  for (const [name, fields] of validators) {
    test(`by ${name}: sent as received, one request, the body from the cache`, async () => {
      const path = l.path(validating("body", { ...fields, "cache-control": "max-age=10" }));
      await l.get(path);
      l.pass(10);
      const answer = await l.get(path);
      expect(answer).toMatchObject({ status: 200, body: "body", cache: "REVALIDATED" });
      expect(cacheStatus(answer)).toMatchObject({ fwd: "stale", "fwd-status": 304 });
      const asked = l.seen(path)[1];
      expect(asked?.headers.get("if-none-match")).toBe(fields.etag ?? null);
      expect(asked?.headers.get("if-modified-since")).toBe(fields["last-modified"] ?? null);
      expect((await l.get(path)).cache).toBe("HIT");
      expect(l.seen(path).length).toBe(2);
    });
  }
  test("with both validators when it has both", async () => {
    const path = l.path(
      validating("body", { etag: '"a"', "last-modified": l.date(-100), "cache-control": "max-age=10" }),
    );
    const modified = l.date(-100);
    await l.get(path);
    l.pass(10);
    await l.get(path, { "if-none-match": '"other"', "if-modified-since": l.date() });
    expect(l.seen(path)[1]?.headers.get("if-none-match")).toBe('"a"');
    expect(l.seen(path)[1]?.headers.get("if-modified-since")).toBe(modified);
  });
  test("without a validator it is fetched anew", async () => {
    const path = l.path(counting({ "cache-control": "max-age=10" }));
    await l.get(path);
    l.pass(10);
    expect(await l.get(path)).toMatchObject({ body: "2", cache: "EXPIRED" });
    expect(l.seen(path)[1]?.headers.has("if-none-match")).toBe(false);
  });
  test("and replaced when the origin sends another", async () => {
    let version = 1;
    const path = l.path(() => text(`v${version}`, { etag: `"${version}"`, "cache-control": "max-age=10" }));
    await l.get(path);
    l.pass(10);
    version = 2;
    expect(await l.get(path)).toMatchObject({ body: "v2", cache: "EXPIRED" });
    const hit = await l.get(path);
    expect(hit).toMatchObject({ body: "v2", cache: "HIT" });
    expect(hit.headers.get("etag")).toBe('"2"');
  });
  test("and a 304 brings in no field that its Cache-Control keeps to one viewer", async () => {
    const cacheControl = 'max-age=10, private="x-who"';
    const path = l.path((request) =>
      request.headers.has("if-none-match")
        ? new Response(null, {
            status: 304,
            headers: { etag: '"a"', "cache-control": cacheControl, "x-who": "second", "x-new": "1" },
          })
        : text("body", { etag: '"a"', "cache-control": cacheControl, "x-who": "first" }),
    );
    await l.get(path);
    l.pass(10);
    await l.get(path);
    const hit = await l.get(path);
    expect(hit.cache).toBe("HIT");
    expect(hit.headers.get("x-new")).toBe("1");
    expect(hit.headers.get("x-who")).toBeNull();
  });
  test("each time with no-cache, and may be reused then", async () => {
    const path = l.path(validating("body", { etag: '"a"', "cache-control": "no-cache" }));
    await l.get(path);
    for (let i = 0; i < 3; i++) expect((await l.get(path)).cache).toBe("REVALIDATED");
    expect(
      l
        .seen(path)
        .slice(1)
        .every(({ headers }) => headers.get("if-none-match") === '"a"'),
    ).toBe(true);
  });
  test("with GET also for a HEAD, so that the body may come with the answer", async () => {
    let etag = '"a"';
    const path = l.path((request) =>
      validating(`body of ${etag}`, { etag, "cache-control": "max-age=10" })(request, undefined as never),
    );
    await l.get(path);
    l.pass(10);
    etag = '"b"';
    const head = await l.get(path, {}, { method: "HEAD" });
    expect(head).toMatchObject({ status: 200, body: "" });
    expect(head.headers.get("etag")).toBe('"b"');
    expect(await l.get(path)).toMatchObject({ cache: "HIT", body: 'body of "b"' });
  });
});

describe("a 304 of the origin", () => {
  /** A path whose answer is stored with `before`, then revalidated with `after`. */
  async function freshened(before: Record<string, string>, after: Record<string, string>) {
    const path = l.path((request) =>
      request.headers.has("if-none-match") || request.headers.has("if-modified-since")
        ? new Response(null, { status: 304, headers: after })
        : text("body", before),
    );
    await l.get(path);
    l.pass(10);
    const answer = await l.get(path);
    return { path, answer };
  }

  test("gives the stored response its fields", async () => {
    const { path, answer } = await freshened(
      {
        etag: '"a"',
        "cache-control": "max-age=10",
        "x-old": "old",
        "x-both": "old",
        "content-language": "en",
      },
      {
        etag: '"a"',
        "cache-control": "max-age=20",
        "x-both": "new",
        "x-new": "new",
        "content-language": "de",
        expires: l.date(100),
      },
    );
    for (const one of [answer, await l.get(path)]) {
      expect(one.body).toBe("body");
      expect(one.headers.get("x-old")).toBe("old");
      expect(one.headers.get("x-both")).toBe("new");
      expect(one.headers.get("x-new")).toBe("new");
      expect(one.headers.get("content-language")).toBe("de");
      expect(one.headers.get("cache-control")).toBe("max-age=20");
    }
    l.pass(19);
    expect((await l.get(path)).cache).toBe("HIT");
    l.pass(1);
    expect((await l.get(path)).cache).toBe("REVALIDATED");
  });
  test("changes nothing about how the body is framed and coded", async () => {
    const { answer } = await freshened(
      { etag: '"a"', "cache-control": "max-age=10", "content-type": "text/plain" },
      {
        etag: '"a"',
        "cache-control": "max-age=10",
        "content-type": "text/html",
        "content-encoding": "gzip",
        "content-range": "bytes 0-1/2",
      },
    );
    expect(answer.body).toBe("body");
    expect(answer.headers.get("content-type")).toBe("text/plain");
    expect(answer.headers.get("content-length")).toBe("4");
    expect(answer.headers.has("content-encoding")).toBe(false);
    expect(answer.headers.has("content-range")).toBe(false);
  });
  test("gives it the new Last-Modified, also for viewers' conditions", async () => {
    const old = l.date(-1000);
    const next = l.date(-500);
    const { path, answer } = await freshened(
      { etag: '"a"', "cache-control": "max-age=10", "last-modified": old },
      { etag: '"a"', "cache-control": "max-age=10", "last-modified": next },
    );
    expect(answer.headers.get("last-modified")).toBe(next);
    expect((await l.get(path, { "if-modified-since": old })).status).toBe(200);
    expect((await l.get(path, { "if-modified-since": next })).status).toBe(304);
  });
  test("adds an ETag to a response that had none", async () => {
    const modified = l.date(-1000);
    const { path } = await freshened(
      { "last-modified": modified, "cache-control": "max-age=10" },
      { "last-modified": modified, etag: '"late"', "cache-control": "max-age=10" },
    );
    expect((await l.get(path, { "if-none-match": '"late"' })).status).toBe(304);
  });
  test("with the weak form of the same ETag fits", async () => {
    const { answer } = await freshened(
      { etag: '"a"', "cache-control": "max-age=10" },
      { etag: 'W/"a"', "cache-control": "max-age=10" },
    );
    expect(answer).toMatchObject({ cache: "REVALIDATED", body: "body" });
  });
  test("without an ETag fits", async () => {
    const { answer } = await freshened(
      { etag: '"a"', "cache-control": "max-age=10" },
      { "cache-control": "max-age=10" },
    );
    expect(answer).toMatchObject({ cache: "REVALIDATED", body: "body" });
  });
  test("with another ETag is not about what is stored: the origin is asked for the whole", async () => {
    let asked = 0;
    const path = l.path((request) => {
      asked++;
      return request.headers.has("if-none-match")
        ? new Response(null, { status: 304, headers: { etag: '"z"', "cache-control": "max-age=10" } })
        : text(`body ${asked}`, { etag: '"a"', "cache-control": "max-age=10" });
    });
    await l.get(path);
    l.pass(10);
    expect(await l.get(path)).toMatchObject({ status: 200, body: "body 3" });
    expect(asked).toBe(3);
  });
  test("with another Last-Modified and no ETag is not about what is stored", async () => {
    let asked = 0;
    const first = l.date(-1000);
    const second = l.date(-500);
    const path = l.path((request) => {
      asked++;
      return request.headers.has("if-modified-since")
        ? new Response(null, {
            status: 304,
            headers: { "last-modified": second, "cache-control": "max-age=10" },
          })
        : text(`body ${asked}`, { "last-modified": first, "cache-control": "max-age=10" });
    });
    await l.get(path);
    l.pass(10);
    expect(await l.get(path)).toMatchObject({ status: 200, body: "body 3" });
  });
  test("that says no-store serves who asked, and the response goes", async () => {
    for (const value of ["no-store", "private"]) {
      const { path, answer } = await freshened(
        { etag: '"a"', "cache-control": "max-age=10" },
        { etag: '"a"', "cache-control": value },
      );
      expect(answer).toMatchObject({ status: 200, body: "body" });
      expect(answer.headers.get("cache-control")).toBe(value);
      await l.get(path);
      expect(l.seen(path)[2]?.headers.has("if-none-match")).toBe(false);
    }
  });
  test("does not put a Set-Cookie into the cache", async () => {
    const { path, answer } = await freshened(
      { etag: '"a"', "cache-control": "max-age=10" },
      { etag: '"a"', "cache-control": "max-age=10", "set-cookie": "session=mine" },
    );
    expect(answer.cache).toBe("REVALIDATED");
    const hit = await l.get(path);
    expect(hit.cache).toBe("HIT");
    expect(hit.headers.getSetCookie()).toEqual([]);
  });
  test("that says no-cache is not given to those who waited for it: each is validated", async () => {
    const door = gate();
    let revalidations = 0;
    const path = l.path(async (request) => {
      if (!request.headers.has("if-none-match"))
        return text("body", { etag: '"a"', "cache-control": "max-age=10" });
      revalidations++;
      await door.opened;
      return new Response(null, { status: 304, headers: { etag: '"a"', "cache-control": "no-cache" } });
    });
    await l.get(path);
    l.pass(10);
    const viewers = [1, 2, 3].map((n) => l.get(path, { "x-api-key": String(n) }));
    await until(() => revalidations === 1, "the first revalidation");
    await l.arrived(3);
    door.open();
    for (const answer of await Promise.all(viewers))
      expect(answer).toMatchObject({ status: 200, body: "body" });
    expect(revalidations).toBe(3);
    expect(new Set(l.seen(path).map(({ headers }) => headers.get("x-api-key"))).size).toBe(4);
  });
  test("from an origin that lost what it knew: a 412 or 400 is passed on and is not stored for the body", async () => {
    let broken = false;
    const path = l.path(() =>
      broken ? text("bad", {}, 400) : text("body", { etag: '"a"', "cache-control": "max-age=10" }),
    );
    await l.get(path);
    l.pass(10);
    broken = true;
    expect((await l.get(path)).status).toBe(400);
    broken = false;
    expect(await l.get(path)).toMatchObject({ status: 200, body: "body" });
  });
});

describe("an answer that replaces a stale one but may not be stored", () => {
  test("ends the stale one's life: it is not served again when the origin fails later", async () => {
    let mode = 0;
    const path = l.path(() =>
      mode === 0
        ? text("old", { etag: '"a"', "cache-control": "max-age=10, stale-if-error=1000" })
        : mode === 1
          ? text("gone", { "cache-control": "no-store" }, 404)
          : text("broken", {}, 500),
    );
    await l.get(path);
    l.pass(10);
    mode = 1;
    expect(await l.get(path)).toMatchObject({ status: 404, body: "gone" });
    mode = 2;
    expect(await l.get(path)).toMatchObject({ status: 500, body: "broken" });
  });
  test("but one viewer's own answer does not", async () => {
    let mode = 0;
    const path = l.path(() =>
      mode === 0
        ? text("old", { etag: '"a"', "cache-control": "max-age=10, stale-if-error=1000" })
        : mode === 1
          ? text("yours", { "cache-control": "private", "set-cookie": "a=b" })
          : text("broken", {}, 500),
    );
    await l.get(path);
    l.pass(10);
    mode = 1;
    expect(await l.get(path)).toMatchObject({ body: "yours" });
    mode = 2;
    l.pass(20);
    expect(await l.get(path)).toMatchObject({ status: 200, body: "old", cache: "STALE" });
  });
});

describe("a viewer's If-None-Match", () => {
  const path = () =>
    l.path(
      validating("body", {
        etag: '"abc"',
        "last-modified": l.date(-1000),
        "cache-control": "max-age=1000",
        "x-kept": "yes",
      }),
    );
  const match: [string, string, 200 | 304][] = [
    ["the tag itself", '"abc"', 304],
    ["its weak form", 'W/"abc"', 304],
    ["a list with it", '"x", "abc" , W/"y"', 304],
    ["a list without it", '"x", "y"', 200],
    ["a star", "*", 304],
    ["the tag without quotes", "abc", 200],
    ["a longer tag", '"abcd"', 200],
    ["the tag in another case", '"ABC"', 200],
    ["nothing", '""', 200],
  ];
  for (const [name, value, status] of match) {
    test(`with ${name} is answered ${status}, from the store and cold`, async () => {
      const cold = path();
      expect((await l.get(cold, { "if-none-match": value })).status).toBe(status);
      expect(l.seen(cold)[0]?.headers.has("if-none-match")).toBe(false);
      const hit = await l.get(cold, { "if-none-match": value });
      expect(hit).toMatchObject({ status, cache: "HIT" });
      expect(await l.get(cold)).toMatchObject({ status: 200, body: "body", cache: "HIT" });
    });
  }
  test("stands ahead of If-Modified-Since", async () => {
    const p = path();
    await l.get(p);
    expect((await l.get(p, { "if-none-match": '"x"', "if-modified-since": l.date() })).status).toBe(200);
    expect((await l.get(p, { "if-none-match": '"abc"', "if-modified-since": l.date(-5000) })).status).toBe(
      304,
    );
  });
  test("is answered with what a cache needs and without a body", async () => {
    const p = path();
    await l.get(p);
    l.pass(7);
    const answer = await l.get(p, { "if-none-match": '"abc"' });
    expect(answer.status).toBe(304);
    expect(answer.bytes.byteLength).toBe(0);
    expect(answer.headers.get("etag")).toBe('"abc"');
    expect(answer.headers.get("cache-control")).toBe("max-age=1000");
    expect(answer.headers.get("age")).toBe("7");
    expect(answer.headers.get("x-kept")).toBe("yes");
    expect(answer.headers.has("date")).toBe(true);
    expect(answer.headers.has("content-type")).toBe(false);
    expect(answer.headers.get("content-length") ?? "0").toBe("0");
  });
  test("works on HEAD", async () => {
    const p = path();
    await l.get(p);
    expect((await l.get(p, { "if-none-match": '"abc"' }, { method: "HEAD" })).status).toBe(304);
  });
  test("on a weak stored ETag compares weakly", async () => {
    const p = l.path(counting({ etag: 'W/"w"', "cache-control": "max-age=10" }));
    await l.get(p);
    expect((await l.get(p, { "if-none-match": '"w"' })).status).toBe(304);
    expect((await l.get(p, { "if-none-match": 'W/"w"' })).status).toBe(304);
  });
  test("is answered while the stale response is revalidated", async () => {
    const p = path();
    await l.get(p);
    l.pass(1000);
    expect(await l.get(p, { "if-none-match": '"abc"' })).toMatchObject({ status: 304, cache: "REVALIDATED" });
    l.pass(1000);
    expect(await l.get(p, { "if-none-match": '"other"' })).toMatchObject({
      status: 200,
      body: "body",
      cache: "REVALIDATED",
    });
  });
  test("is answered for what is not stored, too", async () => {
    const p = l.path(counting({ etag: '"u"', "cache-control": "no-store" }));
    for (let i = 0; i < 3; i++) {
      expect((await l.get(p, { "if-none-match": '"u"' })).status).toBe(304);
      expect((await l.get(p, { "if-none-match": '"v"' })).status).toBe(200);
    }
  });
  test("does not turn an error into a 304", async () => {
    const p = l.path(() => text("not here", { etag: '"abc"', "cache-control": "max-age=10" }, 404));
    for (let i = 0; i < 2; i++) expect((await l.get(p, { "if-none-match": '"abc"' })).status).toBe(404);
  });
});

describe("a viewer's If-Modified-Since", () => {
  const modified = () => l.date(-1000);
  test("is answered 304 at or after Last-Modified, 200 before it or when it is no date", async () => {
    const p = l.path(counting({ "last-modified": modified(), "cache-control": "max-age=10" }));
    await l.get(p);
    const cases: [string, number][] = [
      [l.date(-1000), 304],
      [l.date(-999), 304],
      [l.date(), 304],
      [l.date(-1001), 200],
      ["not a date", 200],
      ["0", 200],
    ];
    for (const [value, status] of cases)
      expect([value, (await l.get(p, { "if-modified-since": value })).status]).toEqual([value, status]);
  });
  test("without Last-Modified compares with Date (RFC 9111 section 4.3.2)", async () => {
    const p = l.path(counting({ "cache-control": "max-age=10" }));
    await l.get(p);
    expect((await l.get(p, { "if-modified-since": l.date() })).status).toBe(304);
    expect((await l.get(p, { "if-modified-since": l.date(-1) })).status).toBe(200);
  });
  test("on a cold object does not reach the origin", async () => {
    const p = l.path(
      validating("body", { "last-modified": "Tue, 01 Jun 2021 10:00:00 GMT", "cache-control": "max-age=10" }),
    );
    expect((await l.get(p, { "if-modified-since": "Tue, 01 Jun 2021 10:00:00 GMT" })).status).toBe(304);
    expect(await l.get(p)).toMatchObject({ status: 200, body: "body", cache: "HIT" });
    expect(l.seen(p).length).toBe(1);
  });
});

describe("If-Match and If-Unmodified-Since", () => {
  test("are for the origin: the request is passed on as it is (RFC 9111 section 4.3.2)", async () => {
    const p = l.path((request) =>
      request.headers.get("if-match") === '"a"'
        ? text("ok", { "cache-control": "max-age=10" })
        : text("no", {}, 412),
    );
    await l.get(p, { "if-match": '"a"' });
    expect(await l.get(p, { "if-match": '"b"' })).toMatchObject({ status: 412, cache: "BYPASS" });
    expect(await l.get(p, { "if-unmodified-since": l.date() })).toMatchObject({
      status: 412,
      cache: "BYPASS",
    });
    expect(l.seen(p).length).toBe(3);
  });
});
