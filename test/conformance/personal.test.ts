/** Personal answers are never stored nor given to another viewer (RFC 9111 sections 3.5, 5.2.2.7, 7.3; design, section 5). */
import { describe, expect, test } from "bun:test";
import { counting, gate, lab, text, until } from "./support.ts";

const l = lab();
const told = lab({
  behaviors: [
    { path: "/authorized*", storeAuthorized: true },
    { path: "/set-cookie*", storeSetCookie: true },
    { path: "/default*", ttlSeconds: { default: 100 } },
    { path: "/forwarded*", ttlSeconds: { default: 100 }, forward: { cookies: "all" } },
    { path: "/keyed*", ttlSeconds: { default: 100 }, cacheKey: { cookies: ["tenant"] } },
    { path: "/edge*", edgeTtlSeconds: 100, forward: { cookies: "all" } },
    { path: "/min*", ttlSeconds: { min: 100 } },
    { path: "/status*", statusTtlSeconds: { "5xx": 100, "200": 100 } },
    { path: "/*" },
  ],
});

/** An origin that answers each viewer with their own name, told by the field `name`. */
const greeting =
  (name: string, headers: Record<string, string> = {}, status = 200) =>
  (request: Request) =>
    text(`hello ${request.headers.get(name) ?? "stranger"}`, headers, status);

/** Asks as several viewers, one after the other and twice, and expects each to get their own answer. */
async function expectOwn(
  of: typeof l,
  path: string,
  field: string,
  values: readonly (string | null)[],
): Promise<void> {
  for (let round = 0; round < 2; round++) {
    for (const value of values) {
      const answer = await of.get(path, value === null ? {} : { [field]: value });
      expect(answer.body).toBe(`hello ${value ?? "stranger"}`);
    }
  }
}

/** The same at once, on an answer that takes its time: nobody may be given what another waited for. */
async function expectOwnTogether(
  of: typeof l,
  path: string,
  field: string,
  handler: (request: Request) => Response | Promise<Response>,
  open: () => void,
): Promise<void> {
  of.answer(path, handler as never);
  const names = ["ann", "bob", "cid", "dan", "eve"];
  const all = Promise.all(names.map((name) => of.get(path, { [field]: name })));
  await until(() => of.seen(path).length >= 1, "the first request");
  await of.arrived(names.length);
  open();
  expect((await all).map(({ body }) => body)).toEqual(names.map((name) => `hello ${name}`));
}

const fields = ["authorization", "cookie", "x-api-key", "x-auth-token", "x-user-id"];
const sayings: [string, Record<string, string>][] = [
  ["nothing", {}],
  ["no-cache", { "cache-control": "no-cache" }],
  ["private", { "cache-control": "private, max-age=100" }],
  ["no-store", { "cache-control": "no-store" }],
  ["max-age=0", { "cache-control": "max-age=0" }],
  ["Expires: 0", { expires: "0" }],
];

describe("an answer that depends on who asks", () => {
  for (const field of fields) {
    for (const [name, headers] of sayings) {
      test(`told by ${field}, with an origin that says ${name}, goes to nobody else`, async () => {
        const path = l.path(greeting(field, headers));
        await expectOwn(l, path, field, ["ann", "bob", null]);
        const door = gate();
        await expectOwnTogether(
          l,
          l.path(text("")),
          field,
          async (request) => {
            await door.opened;
            return greeting(field, headers)(request);
          },
          door.open,
        );
      });
    }
    test(`told by ${field}, with no-cache and a validator of its own for each, goes to nobody else`, async () => {
      const handler = (request: Request) => {
        const etag = `"${request.headers.get(field)}"`;
        const headers = { "cache-control": "no-cache", etag };
        return request.headers.get("if-none-match") === etag
          ? new Response(null, { status: 304, headers })
          : greeting(field, headers)(request);
      };
      const path = l.path(handler as never);
      await expectOwn(l, path, field, ["ann", "bob", null]);
      const door = gate();
      await expectOwnTogether(
        l,
        l.path(text("")),
        field,
        async (request) => {
          await door.opened;
          return handler(request);
        },
        door.open,
      );
    });
    test(`told by ${field}, as an error page, goes to nobody else who waits`, async () => {
      for (const status of [401, 403, 404, 500, 503]) {
        const door = gate();
        await expectOwnTogether(
          l,
          l.path(text("")),
          field,
          async (request) => {
            await door.opened;
            return greeting(field, {}, status)(request);
          },
          door.open,
        );
      }
    });
  }
  test("without a field that could tell who asks, an error is shared by those who wait", async () => {
    const door = gate();
    const path = l.path(async () => {
      await door.opened;
      return text("down", {}, 503);
    });
    const all = Promise.all(Array.from({ length: 20 }, () => l.get(path)));
    await until(() => l.seen(path).length >= 1, "the first request");
    await l.arrived(20);
    door.open();
    expect((await all).every(({ status, body }) => status === 503 && body === "down")).toBe(true);
    expect(l.seen(path).length).toBe(1);
  });
  test("a HEAD among those who share an error does not cut it off", async () => {
    const door = gate();
    let broken = false;
    const path = l.path(async () => {
      if (!broken) return text("fine", { "cache-control": "max-age=1", etag: '"a"' });
      await door.opened;
      return text("down", {}, 503);
    });
    await l.get(path);
    l.pass(1);
    broken = true;
    const all = Promise.all([l.get(path, {}, { method: "HEAD" }), l.get(path), l.get(path)]);
    await until(() => l.seen(path).length >= 2, "the request");
    await l.arrived(3);
    door.open();
    expect((await all).map(({ status, body }) => [status, body])).toEqual([
      [503, ""],
      [503, "down"],
      [503, "down"],
    ]);
  });
});

describe("Authorization", () => {
  for (const value of [
    "max-age=100",
    "public, max-age=100",
    "s-maxage=100",
    "must-revalidate, max-age=100",
  ]) {
    test(`with ${value} is not stored unless the behaviour says so`, async () => {
      const path = l.path(counting({ "cache-control": value }));
      expect((await l.get(path, { authorization: "Basic x" })).cache).toBe("BYPASS");
      expect(await l.get(path, { authorization: "Basic x" })).toMatchObject({ cache: "BYPASS", body: "2" });
      expect(await l.get(path)).toMatchObject({ cache: "MISS", body: "3" });
    });
    test(`does not get what is stored for others (${value})`, async () => {
      const path = l.path(greeting("authorization", { "cache-control": value }));
      await l.get(path);
      expect(await l.get(path, { authorization: "ann" })).toMatchObject({ body: "hello ann" });
    });
  }
  test("is stored where the behaviour and the origin say so", async () => {
    for (const value of ["public, max-age=100", "s-maxage=100", "must-revalidate, max-age=100"]) {
      const path = told.path(counting({ "cache-control": value }), "/authorized");
      await told.get(path, { authorization: "Basic x" });
      expect((await told.get(path, { authorization: "Basic y" })).cache).toBe("HIT");
    }
  });
  test("is not stored where only the behaviour says so", async () => {
    const path = told.path(greeting("authorization", { "cache-control": "max-age=100" }), "/authorized");
    await expectOwn(told, path, "authorization", ["ann", "bob"]);
  });
});

describe("Set-Cookie", () => {
  test("keeps an answer out of the cache, with every lifetime of the behaviour", async () => {
    for (const prefix of ["/default", "/edge", "/min", "/status", "/p"]) {
      const path = told.path(
        counting({ "set-cookie": "id=1", "cache-control": "public, s-maxage=100" }),
        prefix,
      );
      for (const body of ["1", "2"]) {
        const answer = await told.get(path);
        expect(answer).toMatchObject({ cache: "BYPASS", body });
        expect(answer.headers.getSetCookie()).toEqual(["id=1"]);
      }
    }
  });
  test("of several cookies reaches the viewer line by line", async () => {
    const path = l.path(
      counting([
        ["set-cookie", "a=1; Path=/"],
        ["set-cookie", "b=2; Expires=Wed, 01 Jan 2031 00:00:00 GMT"],
      ]),
    );
    expect((await l.get(path)).headers.getSetCookie()).toEqual([
      "a=1; Path=/",
      "b=2; Expires=Wed, 01 Jan 2031 00:00:00 GMT",
    ]);
  });
  test("is given to nobody who waited for the answer", async () => {
    for (const control of [
      "public, max-age=100",
      'max-age=100, no-cache="set-cookie"',
      'max-age=100, private="set-cookie"',
    ]) {
      const door = gate();
      let count = 0;
      const path = l.path(async () => {
        await door.opened;
        return text("x", { "cache-control": control, "set-cookie": `session=${++count}` });
      });
      const all = Promise.all(Array.from({ length: 5 }, () => l.get(path)));
      await until(() => l.seen(path).length >= 1, "the first request");
      await l.arrived(5);
      door.open();
      const cookies = (await all).flatMap(({ headers }) => headers.getSetCookie());
      expect(new Set(cookies).size).toBe(cookies.length);
      expect(cookies.length).toBe(l.seen(path).length);
    }
  });
  test("of a large answer on its way is not given to those who join it", async () => {
    const door = gate();
    const head = "x".repeat(400_000);
    const path = l.path(
      () =>
        new Response(
          (async function* () {
            yield new TextEncoder().encode(head);
            await door.opened;
            yield new TextEncoder().encode("end");
          })() as unknown as ReadableStream,
          {
            headers: {
              "content-type": "image/x",
              "cache-control": 'max-age=100, private="set-cookie, x-mine"',
              "set-cookie": "session=first",
              "x-mine": "first",
            },
          },
        ),
    );
    const ask = () => fetch(l.edge.url + path, { headers: { "accept-encoding": "identity" } });
    const firstAsked = ask();
    await until(() => l.seen(path).length === 1, "the first request");
    const secondAsked = ask();
    const ticking = setInterval(() => l.pass(0.01), 2);
    const first = await firstAsked;
    const second = await secondAsked;
    clearInterval(ticking);
    expect(l.seen(path).length).toBe(1);
    expect(first.headers.getSetCookie()).toEqual(["session=first"]);
    expect(first.headers.get("x-mine")).toBe("first");
    expect(second.headers.getSetCookie()).toEqual([]);
    expect(second.headers.has("x-mine")).toBe(false);
    door.open();
    expect((await first.text()).length).toBe(head.length + 3);
    expect((await second.text()).length).toBe(head.length + 3);
    const hit = await l.get(path);
    expect(hit.cache).toBe("HIT");
    expect(hit.headers.getSetCookie()).toEqual([]);
  });
  test("is stored away where the behaviour and the origin say so: later viewers get none", async () => {
    const path = told.path(
      counting({ "set-cookie": "id=1", "cache-control": "public, max-age=100" }),
      "/set-cookie",
    );
    await told.get(path);
    const hit = await told.get(path);
    expect(hit.cache).toBe("HIT");
    expect(hit.headers.getSetCookie()).toEqual([]);
  });
  test("with max-age alone is not stored even there", async () => {
    const path = told.path(counting({ "set-cookie": "id=1", "cache-control": "max-age=100" }), "/set-cookie");
    await told.get(path);
    expect((await told.get(path)).body).toBe("2");
  });
});

describe("cookies of a request", () => {
  test("reach the origin and do not hinder what the origin says is for all", async () => {
    const path = l.path(counting({ "cache-control": "max-age=100" }));
    await l.get(path, { cookie: "id=ann" });
    expect(l.seen(path)[0]?.headers.get("cookie")).toBe("id=ann");
    expect((await l.get(path, { cookie: "id=bob" })).cache).toBe("HIT");
  });
  test("that reach the origin keep out of the cache what only a heuristic, a default or a status TTL would store", async () => {
    const heuristic = { "last-modified": l.date(-10_000) };
    for (const [of, path] of [
      [l, l.path(greeting("cookie", heuristic))],
      [told, told.path(greeting("cookie"), "/forwarded")],
      [told, told.path(greeting("cookie"), "/edge")],
      [told, told.path(greeting("cookie"), "/min")],
      [told, told.path(greeting("cookie"), "/status")],
    ] as const) {
      await expectOwn(of, path, "cookie", ["ann=1", "bob=1"]);
      expect((await of.get(path)).body).toBe("hello stranger");
      expect((await of.get(path)).cache).toBe("HIT");
      await expectOwn(of, path, "cookie", ["ann=1", "bob=1"]);
    }
  });
  test("and those who wait with one who has none do not get that one's answer", async () => {
    const door = gate();
    const path = l.path(async (request) => {
      await door.opened;
      return greeting("cookie", { "last-modified": l.date(-10_000) })(request);
    });
    const all = Promise.all([l.get(path), ...["ann=1", "bob=1"].map((cookie) => l.get(path, { cookie }))]);
    await until(() => l.seen(path).length >= 1, "the first request");
    await l.arrived(3);
    door.open();
    expect((await all).map(({ body }) => body)).toEqual(["hello stranger", "hello ann=1", "hello bob=1"]);
  });
  test("stay at the edge where the behaviour has a default of its own", async () => {
    const path = told.path(greeting("cookie"), "/default");
    expect((await told.get(path, { cookie: "ann=1" })).body).toBe("hello stranger");
    expect(await told.get(path, { cookie: "bob=1" })).toMatchObject({ cache: "HIT", body: "hello stranger" });
  });
  test("in the key are all that reaches the origin there", async () => {
    const path = told.path(greeting("cookie"), "/keyed");
    expect((await told.get(path, { cookie: "tenant=1; session=ann" })).body).toBe("hello tenant=1");
    expect(await told.get(path, { cookie: "session=bob; tenant=1" })).toMatchObject({ cache: "HIT" });
    expect((await told.get(path, { cookie: "tenant=2" })).body).toBe("hello tenant=2");
  });
});

describe("an uncacheable answer", () => {
  test("does not make the others wait one by one", async () => {
    const path = l.path(counting({ "cache-control": "private" }));
    await l.get(path);
    const door = gate();
    l.answer(path, async () => {
      await door.opened;
      return text("mine", { "cache-control": "private" });
    });
    const all = Promise.all(Array.from({ length: 10 }, () => l.get(path)));
    await until(() => l.seen(path).length === 11, "all of them at the origin at once");
    door.open();
    expect((await all).every(({ body }) => body === "mine")).toBe(true);
  });
  test("is tried again when it becomes cacheable", async () => {
    const path = l.path(counting({ "cache-control": "no-store" }));
    await l.get(path);
    l.answer(path, counting({ "cache-control": "max-age=100" }));
    await l.get(path);
    expect((await l.get(path)).cache).toBe("HIT");
  });
});
