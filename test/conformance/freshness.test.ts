/** How long a stored response is fresh (RFC 9111 section 4.2), on a clock that the test moves. */
import { describe, expect, test } from "bun:test";
import { startTestEdge } from "../kit/edge.ts";
import { startRawOrigin } from "../kit/raw-origin.ts";
import { counting, lab, START_MS, text, validating } from "./support.ts";

const l = lab();
type FieldLines = [string, string][];

/** Expects an answer with these fields to be a hit just before `seconds` have passed, and none just after. */
async function expectFresh(
  seconds: number,
  fields: FieldLines | Record<string, string>,
  of = l,
  status = 200,
): Promise<void> {
  const path = of.path(counting(fields, status));
  const first = await of.get(path);
  expect(first.body).toBe("1");
  if (seconds > 0) {
    expect(first.cache).toBe("MISS");
    of.pass(seconds - 1);
    expect((await of.get(path)).cache).toBe("HIT");
    of.pass(1);
  }
  expect(await of.get(path)).toMatchObject({ body: "2" });
}

describe("an answer is fresh for", () => {
  test("max-age", () => expectFresh(10, { "cache-control": "max-age=10" }));
  test("s-maxage, whatever max-age says", async () => {
    await expectFresh(20, { "cache-control": "max-age=10, s-maxage=20" });
    await expectFresh(10, { "cache-control": "s-maxage=10, max-age=20" });
  });
  test("the smallest of repeated lifetimes", async () => {
    await expectFresh(10, [
      ["cache-control", "max-age=20"],
      ["cache-control", "max-age=10"],
    ]);
    await expectFresh(10, [["cache-control", "s-maxage=10, max-age=5, s-maxage=30"]]);
  });
  test("Expires less Date", () => expectFresh(10, { expires: l.date(10) }));
  test("max-age ahead of Expires", async () => {
    await expectFresh(10, { "cache-control": "max-age=10", expires: l.date(100) });
    await expectFresh(10, { "cache-control": "max-age=10", expires: "0" });
  });
  test("an s-maxage of more than 2^31 seconds: a year, the behaviour's maximum", () =>
    expectFresh(31_536_000, { "cache-control": "s-maxage=99999999999" }));
});

describe("Expires", () => {
  for (const value of [
    "0",
    "-1",
    "now",
    "",
    "Thu, 01 Jan 1970 00:00:00 GMT",
    "Mon, 32 Jun 2040 00:00:00 GMT",
    "Fri, 01 Jan 2040 00:00:00 CET",
    "2040-01-01T00:00:00Z",
  ]) {
    test(`that reads ${JSON.stringify(value)} is expired`, () => expectFresh(0, { expires: value }));
  }
  test("twice is expired: which one counts is not known", () =>
    expectFresh(0, [
      ["expires", l.date(100)],
      ["expires", l.date(200)],
    ]));
  test("in the obsolete forms counts", async () => {
    await expectFresh(10, { expires: rfc850(l.clock.now() + 10_000) });
    await expectFresh(10, { expires: asctime(l.clock.now() + 10_000) });
  });
  test("in lower case counts", () => expectFresh(10, { expires: l.date(10).toLowerCase() }));
  test("is counted from the origin's Date, not from our clock", async () => {
    await expectFresh(10, { date: l.date(3600), expires: l.date(3610) });
    await expectFresh(0, { date: l.date(3600), expires: l.date(3600) });
  });
});

describe("Date", () => {
  test("of an hour ago means an hour of age", async () => {
    const path = l.path(counting({ date: l.date(-3600), "cache-control": "max-age=3610" }));
    expect((await l.get(path)).headers.get("age")).toBe("3600");
    l.pass(9);
    expect(await l.get(path)).toMatchObject({ cache: "HIT" });
    l.pass(1);
    expect(await l.get(path)).toMatchObject({ body: "2" });
  });
  test("in the future means no age, and is passed on as it is", async () => {
    const date = l.date(3600);
    const path = l.path(counting({ date, "cache-control": "max-age=10" }));
    const first = await l.get(path);
    expect(first.headers.get("age")).toBe("0");
    expect(first.headers.get("date")).toBe(date);
    l.pass(9);
    expect((await l.get(path)).cache).toBe("HIT");
    l.pass(1);
    expect((await l.get(path)).body).toBe("2");
  });
  test("that is no date is replaced by the time of receipt", async () => {
    const received = l.date();
    for (const date of ["yesterday", "0"]) {
      const path = l.path(counting({ date, "cache-control": "max-age=10" }));
      expect((await l.get(path)).headers.get("date")).toBe(received);
    }
    l.pass(3);
  });
});

describe("an origin without a clock", () => {
  const answers = (fields: string) => async (connection: import("../kit/raw-origin.ts").RawConnection) => {
    while ((await connection.readHead()) !== null)
      await connection.write(`HTTP/1.1 200 OK\r\ncontent-length: 1\r\n${fields}\r\nx`);
  };
  test("gets a Date, and its Expires counts from the receipt (RFC 9110 section 6.6.1)", async () => {
    const origin = startRawOrigin(answers(`expires: ${l.date(10)}\r\n`));
    const edge = await startTestEdge({ origin: origin.url, clock: l.clock });
    try {
      const received = l.date();
      expect((await edge.get("/x")).cache).toBe("MISS");
      l.pass(9);
      const hit = await edge.get("/x");
      expect(hit.cache).toBe("HIT");
      expect(hit.headers.get("date")).toBe(received);
      expect(hit.headers.get("age")).toBe("9");
      l.pass(1);
      expect((await edge.get("/x")).cache).not.toBe("HIT");
    } finally {
      await edge.stop();
      origin.stop();
    }
  });
  test("that answers 304 without a Date starts a new life", async () => {
    const origin = startRawOrigin(async (connection) => {
      for (let head = await connection.readHead(); head !== null; head = await connection.readHead()) {
        if (/if-none-match/i.test(head))
          await connection.write('HTTP/1.1 304 Not Modified\r\netag: "a"\r\n\r\n');
        else
          await connection.write(
            `HTTP/1.1 200 OK\r\ndate: ${l.date()}\r\ncontent-length: 1\r\netag: "a"\r\ncache-control: max-age=10\r\n\r\nx`,
          );
      }
    });
    const edge = await startTestEdge({ origin: origin.url, clock: l.clock });
    try {
      await edge.get("/x");
      l.pass(30);
      expect((await edge.get("/x")).cache).toBe("REVALIDATED");
      l.pass(9);
      const hit = await edge.get("/x");
      expect(hit.cache).toBe("HIT");
      expect(hit.headers.get("age")).toBe("9");
    } finally {
      await edge.stop();
      origin.stop();
    }
  });
});

describe("the upstream Age", () => {
  test("counts against the lifetime", async () => {
    await expectFresh(4, { "cache-control": "max-age=10", age: "6" });
    await expectFresh(0, { "cache-control": "max-age=10", age: "10" });
    await expectFresh(0, { "cache-control": "max-age=10", age: "11" });
    await expectFresh(5, { "cache-control": "s-maxage=10", age: "5" });
  });
  test("counts against Expires", () => expectFresh(4, { expires: l.date(10), age: "6" }));
  test("beyond any number means stale", async () => {
    for (const age of ["2147483648", "99999999999", "99999999999999999999999"])
      await expectFresh(0, { "cache-control": "max-age=10", age });
  });
  test("that is not a number of seconds is ignored", async () => {
    for (const age of ["-5", "abc", "7.2", ""]) await expectFresh(10, { "cache-control": "max-age=10", age });
  });
  test("twice counts by its first (RFC 9111 section 5.1)", () =>
    expectFresh(4, [
      ["cache-control", "max-age=10"],
      ["age", "6"],
      ["age", "0"],
    ]));
  test("and Date: the larger counts", async () => {
    await expectFresh(3, { "cache-control": "max-age=10", age: "3", date: l.date(-7) });
    await expectFresh(3, { "cache-control": "max-age=10", age: "7", date: l.date(-3) });
  });
  test("of a 304 counts as well", async () => {
    let age = "0";
    const path = l.path((request) => {
      const headers = { etag: '"a"', "cache-control": "max-age=10", age };
      return request.headers.has("if-none-match")
        ? new Response(null, { status: 304, headers })
        : text("x", headers);
    });
    await l.get(path);
    l.pass(10);
    age = "6";
    const renewed = await l.get(path);
    expect(renewed.cache).toBe("REVALIDATED");
    expect(renewed.headers.get("age")).toBe("6");
    l.pass(3);
    expect((await l.get(path)).headers.get("age")).toBe("9");
    l.pass(1);
    expect((await l.get(path)).cache).toBe("REVALIDATED");
  });
  test("of the stored response does not count for the 304 that follows", async () => {
    const path = l.path((request) =>
      request.headers.has("if-none-match")
        ? new Response(null, { status: 304, headers: { etag: '"a"' } })
        : text("x", { etag: '"a"', "cache-control": "max-age=10", age: "6" }),
    );
    await l.get(path);
    l.pass(4);
    const renewed = await l.get(path);
    expect(renewed.cache).toBe("REVALIDATED");
    expect(renewed.headers.get("age")).toBe("0");
    l.pass(9);
    expect((await l.get(path)).cache).toBe("HIT");
  });
  test("does not hold back the behaviour's own lifetime", async () => {
    const path = own.path(counting({ age: "1000" }), "/default");
    await own.get(path);
    own.pass(29);
    expect((await own.get(path)).cache).toBe("HIT");
    own.pass(1);
    expect((await own.get(path)).cache).not.toBe("HIT");
  });
  test("the time that the answer took counts", async () => {
    const path = l.path(() => {
      l.pass(4);
      return text("x", { "cache-control": "max-age=10", age: "2" });
    });
    expect((await l.get(path)).headers.get("age")).toBe("6");
    l.pass(3);
    expect((await l.get(path)).cache).toBe("HIT");
    l.pass(1);
    expect((await l.get(path)).cache).not.toBe("HIT");
  });
});

describe("the heuristic", () => {
  test("is a tenth of the time since Last-Modified", () =>
    expectFresh(100, { "last-modified": l.date(-1000) }));
  test("is an hour at most", () => expectFresh(3600, { "last-modified": l.date(-86_400 * 365) }));
  test("needs Last-Modified", () => expectFresh(0, { etag: '"a"' }));
  test("does not come from a Last-Modified in the future", () =>
    expectFresh(0, { "last-modified": l.date(1000) }));
  test("does not come from an invalid Last-Modified", () => expectFresh(0, { "last-modified": "last week" }));
  test("does not replace an explicit lifetime", async () => {
    await expectFresh(0, { "last-modified": l.date(-1000), "cache-control": "max-age=0" });
    await expectFresh(0, { "last-modified": l.date(-1000), expires: "0" });
    await expectFresh(5, { "last-modified": l.date(-1000), "cache-control": "max-age=5" });
  });
  test("does not come with no-cache", () =>
    expectFresh(0, { "last-modified": l.date(-1000), "cache-control": "no-cache" }));
  test("applies beside public, must-revalidate or an unknown directive", async () => {
    for (const value of ["public", "must-revalidate", "foo=bar"]) {
      await expectFresh(100, { "last-modified": l.date(-1000), "cache-control": value });
    }
  });
  test("can be changed and turned off", async () => {
    await expectFresh(500, { "last-modified": own.date(-1000) }, own);
    const path = own.path(counting({ "last-modified": own.date(-1000) }), "/no-heuristic");
    await own.get(path);
    expect((await own.get(path)).cache).not.toBe("HIT");
  });
});

const own = lab({
  behaviors: [
    { path: "/default*", ttlSeconds: { default: 30 } },
    { path: "/min*", ttlSeconds: { min: 60 } },
    { path: "/max*", ttlSeconds: { max: 60 } },
    { path: "/edge*", edgeTtlSeconds: 100 },
    { path: "/both*", edgeTtlSeconds: 100, browserTtlSeconds: 7 },
    { path: "/zero*", browserTtlSeconds: 0 },
    { path: "/status*", statusTtlSeconds: { "404": 10, "5xx": 5, "403": 0 } },
    { path: "/no-heuristic*", heuristic: { fraction: 0 } },
    { path: "/*", heuristic: { fraction: 0.5 } },
  ],
});

/** Seconds after which an answer is no hit any more, tried at the given seconds; 0 when it never was. */
async function lifetime(path: string): Promise<number> {
  const from = own.clock.now();
  await own.get(path);
  const count = own.seen(path).length;
  let last = 0;
  for (const seconds of [1, 4, 5, 6, 9, 10, 29, 30, 31, 59, 60, 61, 99, 100, 101, 500]) {
    own.pass(seconds - (own.clock.now() - from) / 1000);
    await own.get(path);
    if (own.seen(path).length > count) return seconds;
    last = seconds;
  }
  return last;
}

describe("the behaviour's lifetimes", () => {
  const life = (prefix: string, headers: Record<string, string>, status = 200) =>
    lifetime(own.path(counting(headers, status), prefix));
  test("the default counts where the origin says nothing", async () => {
    expect(await life("/default", {})).toBe(30);
    expect(await life("/default", { "last-modified": own.date(-10_000) })).toBe(30);
    expect(await life("/default", { "cache-control": "public" })).toBe(30);
    expect(await life("/default", { "cache-control": "max-age=5" })).toBe(5);
    expect(await life("/default", { expires: own.date(5) })).toBe(5);
  });
  test("the default reaches no error", async () => {
    for (const status of [404, 500, 503]) expect(await life("/default", {}, status)).toBe(1);
  });
  test("the minimum lengthens, the maximum shortens", async () => {
    expect(await life("/min", { "cache-control": "max-age=5" })).toBe(60);
    expect(await life("/min", { "cache-control": "max-age=100" })).toBe(100);
    expect(await life("/min", {})).toBe(60);
    expect(await life("/max", { "cache-control": "max-age=500" })).toBe(60);
    expect(await life("/max", { "cache-control": "max-age=5" })).toBe(5);
    expect(await life("/max", { "cdn-cache-control": "max-age=500" })).toBe(60);
  });
  test("the edge TTL stands for whatever the origin says of a lifetime", async () => {
    expect(await life("/edge", { "cache-control": "max-age=5" })).toBe(100);
    expect(await life("/edge", { "cache-control": "max-age=500" })).toBe(100);
    expect(await life("/edge", { expires: "0" })).toBe(100);
    expect(await life("/edge", {})).toBe(100);
  });
  test("none of them overrides no-store, private, no-cache or Set-Cookie", async () => {
    for (const prefix of ["/default", "/min", "/edge", "/both"]) {
      expect(await life(prefix, { "cache-control": "no-store" })).toBe(1);
      expect(await life(prefix, { "cache-control": "private" })).toBe(1);
      expect(await life(prefix, { "cache-control": "no-cache", etag: '"a"' })).toBe(1);
      expect(await life(prefix, { "set-cookie": "a=b" })).toBe(1);
    }
  });
  test("the minimum does not lengthen what must be revalidated", async () => {
    expect(await life("/min", { "cache-control": "max-age=5, must-revalidate" })).toBe(5);
    expect(await life("/min", { "cache-control": "max-age=5, proxy-revalidate" })).toBe(5);
  });
  test("a TTL by status counts where the origin says nothing", async () => {
    expect(await life("/status", {}, 404)).toBe(10);
    expect(await life("/status", {}, 503)).toBe(5);
    expect(await life("/status", { "cache-control": "max-age=30" }, 404)).toBe(30);
    expect(await life("/status", { "cache-control": "no-store" }, 404)).toBe(1);
    expect(await life("/status", { "last-modified": own.date(-10_000) }, 403)).toBe(1);
  });
});

describe("the browser's lifetime", () => {
  test("is apart from the edge's", async () => {
    const path = own.path(
      counting({ "cache-control": "max-age=5", expires: own.date(5), pragma: "x" }),
      "/both",
    );
    const first = await own.get(path);
    expect(first.headers.get("cache-control")).toBe("max-age=7");
    expect(first.headers.has("expires")).toBe(false);
    own.pass(99);
    expect((await own.get(path)).cache).toBe("HIT");
  });
  test("counts from the answer, although Age and Date tell of the time at the edge", async () => {
    const path = own.path(counting({}), "/both");
    await own.get(path);
    own.pass(50);
    const hit = await own.get(path);
    const age = Number(hit.headers.get("age"));
    expect(age).toBe(50);
    const maxAge = Number(/max-age=(\d+)/.exec(hit.headers.get("cache-control") ?? "")?.[1]);
    expect(maxAge - age).toBe(7);
  });
  test("of 0 makes browsers ask each time", async () => {
    const path = own.path(counting({ "cache-control": "max-age=100" }), "/zero");
    await own.get(path);
    own.pass(50);
    const hit = await own.get(path);
    expect(hit).toMatchObject({ cache: "HIT" });
    expect(hit.headers.get("cache-control")).toBe("max-age=0");
  });
  test("does not touch what is not stored", async () => {
    const path = own.path(counting({ "cache-control": "private, max-age=100" }), "/both");
    expect((await own.get(path)).headers.get("cache-control")).toBe("private, max-age=100");
  });
});

describe("targeted cache control", () => {
  const cases: [string, number, Record<string, string>][] = [
    [
      "CDN-Cache-Control stands ahead of Cache-Control",
      20,
      { "cdn-cache-control": "max-age=20", "cache-control": "max-age=5" },
    ],
    [
      "CDN-Cache-Control stands ahead of s-maxage",
      20,
      { "cdn-cache-control": "max-age=20", "cache-control": "s-maxage=5" },
    ],
    [
      "CDN-Cache-Control stands ahead of no-store",
      20,
      { "cdn-cache-control": "max-age=20", "cache-control": "no-store" },
    ],
    [
      "CDN-Cache-Control stands ahead of private",
      20,
      { "cdn-cache-control": "max-age=20", "cache-control": "private" },
    ],
    [
      "CDN-Cache-Control stands ahead of Pragma and Expires",
      20,
      { "cdn-cache-control": "max-age=20", pragma: "no-cache", expires: "0" },
    ],
    ["CDN-Cache-Control can shorten", 5, { "cdn-cache-control": "max-age=5", "cache-control": "max-age=20" }],
    [
      "CDN-Cache-Control: no-store forbids",
      0,
      { "cdn-cache-control": "no-store", "cache-control": "max-age=20" },
    ],
    [
      "CDN-Cache-Control: private forbids",
      0,
      { "cdn-cache-control": "private, max-age=20", "cache-control": "max-age=20" },
    ],
    [
      "CDN-Cache-Control: no-cache forbids reuse",
      0,
      { "cdn-cache-control": "no-cache", "cache-control": "max-age=20", etag: '"a"' },
    ],
    [
      "CDN-Cache-Control stands ahead of Surrogate-Control",
      20,
      { "cdn-cache-control": "max-age=20", "surrogate-control": "max-age=5" },
    ],
    [
      "CDN-Cache-Control's parameters are ignored",
      20,
      { "cdn-cache-control": "max-age=20;foo=bar", "cache-control": "max-age=5" },
    ],
    [
      "CDN-Cache-Control's unknown directives are ignored",
      20,
      { "cdn-cache-control": 'max-age=20, foo, bar="x"', "cache-control": "max-age=5" },
    ],
    [
      "an empty CDN-Cache-Control is passed over",
      5,
      { "cdn-cache-control": "", "cache-control": "max-age=5" },
    ],
    [
      "a malformed CDN-Cache-Control is passed over",
      5,
      { "cdn-cache-control": "max-age=20, &&&", "cache-control": "max-age=5" },
    ],
    [
      "a quoted lifetime in CDN-Cache-Control is no lifetime",
      0,
      { "cdn-cache-control": 'max-age="20"', "cache-control": "max-age=5" },
    ],
    [
      "Surrogate-Control stands ahead of Cache-Control",
      20,
      { "surrogate-control": "max-age=20", "cache-control": "max-age=5" },
    ],
    [
      "Surrogate-Control stands ahead of no-store",
      20,
      { "surrogate-control": "max-age=20", "cache-control": "no-store" },
    ],
    [
      "Surrogate-Control: no-store forbids",
      0,
      { "surrogate-control": "no-store", "cache-control": "max-age=20" },
    ],
    [
      "Surrogate-Control for another surrogate is passed over",
      5,
      { "surrogate-control": "max-age=20;other", "cache-control": "max-age=5" },
    ],
    [
      "Surrogate-Control without a word on storing is passed over",
      5,
      { "surrogate-control": 'content="ESI/1.0"', "cache-control": "max-age=5" },
    ],
  ];
  for (const [name, seconds, fields] of cases) test(name, () => expectFresh(seconds, fields));

  test("counts the upstream Age", () => expectFresh(14, { "cdn-cache-control": "max-age=20", age: "6" }));
  test("survives a 304 that does not repeat it", async () => {
    const path = l.path((request) =>
      request.headers.has("if-none-match")
        ? new Response(null, { status: 304, headers: { etag: '"a"' } })
        : text("x", { etag: '"a"', "cdn-cache-control": "max-age=20", "cache-control": "no-store" }),
    );
    await l.get(path);
    l.pass(20);
    expect((await l.get(path)).cache).toBe("REVALIDATED");
    l.pass(19);
    expect((await l.get(path)).cache).toBe("HIT");
  });
});

describe("a request's directives", () => {
  test("only-if-cached is answered from the cache, or 504", async () => {
    const path = l.path(counting({ "cache-control": "max-age=10" }));
    const refused = await l.get(path, { "cache-control": "only-if-cached" });
    expect(refused.status).toBe(504);
    expect(l.seen(path)).toEqual([]);
    await l.get(path);
    expect(await l.get(path, { "cache-control": "only-if-cached" })).toMatchObject({
      status: 200,
      cache: "HIT",
    });
    l.pass(10);
    expect((await l.get(path, { "cache-control": "only-if-cached" })).status).toBe(504);
    expect(l.seen(path).length).toBe(1);
  });
  test("no-cache, no-store, max-age=0, min-fresh and Pragma do not make the edge ask the origin", async () => {
    const path = l.path(validating("x", { etag: '"a"', "cache-control": "max-age=10" }));
    await l.get(path);
    for (const value of ["no-cache", "no-store", "max-age=0", "min-fresh=1000"]) {
      expect((await l.get(path, { "cache-control": value, pragma: "no-cache" })).cache).toBe("HIT");
    }
    expect(l.seen(path).length).toBe(1);
  });
  test("max-stale does not make a stale answer usable", async () => {
    const path = l.path(counting({ "cache-control": "max-age=10" }));
    await l.get(path);
    l.pass(10);
    expect((await l.get(path, { "cache-control": "max-stale=1000" })).body).toBe("2");
  });
});

test("the clock of these tests starts at a whole second", () => expect(START_MS % 1000).toBe(0));

function rfc850(ms: number): string {
  const d = new Date(ms);
  const day = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"][d.getUTCDay()];
  const [, date, month, year, time] = d.toUTCString().split(" ") as [string, string, string, string, string];
  return `${day}, ${date}-${month}-${year.slice(2)} ${time} GMT`;
}

function asctime(ms: number): string {
  const [day, date, month, year, time] = new Date(ms).toUTCString().split(" ") as [
    string,
    string,
    string,
    string,
    string,
  ];
  return `${day.slice(0, 3)} ${month} ${date.replace(/^0/, " ")} ${time} ${year}`;
}
