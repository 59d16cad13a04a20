import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { StorageRequest } from "../../../src/cache/freshness.ts";
import { bornAt, decideStorage } from "../../../src/cache/freshness.ts";
import type { TtlPolicy } from "../../../src/config/plan.ts";
import { formatHttpDate } from "../../../src/http/date.ts";
import { Fields } from "../../../src/http/fields.ts";

const NOW = Date.UTC(2026, 0, 1, 12);
const policy: TtlPolicy = {
  minMs: 0,
  defaultMs: null,
  maxMs: 31_536_000_000,
  jitterFraction: 0,
  edgeMs: null,
  staleWhileRevalidateMs: null,
  staleIfErrorMs: null,
  strictSMaxage: false,
  heuristicFraction: 0.1,
  heuristicMaxMs: 3_600_000,
  storeAuthorized: false,
  storeSetCookie: false,
  statusMs: () => null,
};
const anonymous: StorageRequest = { path: "/x", authorized: false, cookieForwardedUnkeyed: false, spread: 0 };

function decide(
  fields: Record<string, string>,
  options: {
    status?: number;
    policy?: Partial<TtlPolicy>;
    request?: Partial<StorageRequest>;
    completable?: boolean;
  } = {},
) {
  return decideStorage(
    { ...anonymous, ...options.request },
    {
      status: options.status ?? 200,
      fields: Fields.from(Object.entries({ date: formatHttpDate(NOW), ...fields })),
      completable: options.completable ?? true,
      requestTimeMs: NOW,
      responseTimeMs: NOW,
    },
    { ...policy, ...options.policy },
  );
}

/** Seconds of freshness, or the reason why it is not stored. */
function outcome(...args: Parameters<typeof decide>): number | string {
  const decision = decide(...args);
  return decision.store ? (decision.freshness.freshUntilMs - NOW) / 1000 : decision.reason;
}

describe("the lifetime comes from the first source that says one", () => {
  const everything = {
    "cdn-cache-control": "max-age=1",
    "surrogate-control": "max-age=2",
    "cache-control": "s-maxage=3, max-age=4",
    expires: formatHttpDate(NOW + 5_000),
    "last-modified": formatHttpDate(NOW - 80_000),
  };
  const without = (...names: string[]) =>
    Object.fromEntries(Object.entries(everything).filter(([name]) => !names.includes(name)));

  test("the behaviour's edge TTL stands above all", () =>
    expect(outcome(everything, { policy: { edgeMs: 9_000 } })).toBe(9));
  test("then CDN-Cache-Control", () => expect(outcome(everything)).toBe(1));
  test("then Surrogate-Control", () => expect(outcome(without("cdn-cache-control"))).toBe(2));
  test("then s-maxage", () => expect(outcome(without("cdn-cache-control", "surrogate-control"))).toBe(3));
  test("then max-age", () =>
    expect(
      outcome({ ...without("cdn-cache-control", "surrogate-control"), "cache-control": "max-age=4" }),
    ).toBe(4));
  test("then Expires", () =>
    expect(outcome(without("cdn-cache-control", "surrogate-control", "cache-control"))).toBe(5));
  test("then the status's TTL, the default TTL, the heuristic", () => {
    const bare = { "last-modified": formatHttpDate(NOW - 80_000) };
    expect(outcome(bare, { policy: { statusMs: () => 6_000, defaultMs: 7_000 } })).toBe(6);
    expect(outcome(bare, { policy: { defaultMs: 7_000 } })).toBe(7);
    expect(outcome(bare)).toBe(8);
  });
  test("CDN-Cache-Control replaces Cache-Control whole: no-store there is not for us", () => {
    expect(outcome({ "cdn-cache-control": "max-age=60", "cache-control": "no-store" })).toBe(60);
    expect(outcome({ "cdn-cache-control": "no-store", "cache-control": "max-age=60" })).toBe(
      "response-no-store",
    );
  });
  test("an invalid CDN-Cache-Control is passed over", () =>
    expect(outcome({ "cdn-cache-control": "max-age=", "cache-control": "max-age=4" })).toBe(4));
  test("Expires: 0 means expired", () => expect(outcome({ expires: "0", etag: '"a"' })).toBe(0));
  test("edge and default TTL do not reach errors; a TTL by status does", () => {
    expect(outcome({}, { status: 500, policy: { edgeMs: 9_000, defaultMs: 9_000 } })).toBe(
      "response-no-freshness",
    );
    expect(
      outcome({}, { status: 404, policy: { statusMs: (status) => (status === 404 ? 10_000 : null) } }),
    ).toBe(10);
  });
});

describe("what is personal or forbidden is not stored", () => {
  const cases: [string, Record<string, string>, string][] = [
    ["no-store", { "cache-control": "no-store, max-age=60" }, "response-no-store"],
    ["private", { "cache-control": "private, max-age=60" }, "response-private"],
    ["Set-Cookie", { "cache-control": "public, max-age=60", "set-cookie": "a=b" }, "response-set-cookie"],
    ["Vary: *", { "cache-control": "max-age=60", vary: "*" }, "response-vary-star"],
    ["no freshness and no validator", {}, "response-no-freshness"],
    ["no-cache without a validator", { "cache-control": "no-cache" }, "response-no-store"],
    ["Pragma: no-cache alone", { pragma: "no-cache" }, "response-no-store"],
  ];
  for (const [name, fields, reason] of cases) test(name, () => expect(outcome(fields)).toBe(reason));

  test("edge TTL, default TTL and minimum override none of them", () => {
    const eager = { edgeMs: 60_000, defaultMs: 60_000, minMs: 60_000, statusMs: () => 60_000 };
    for (const [name, fields, reason] of cases) {
      if (name !== "no freshness and no validator") expect(outcome(fields, { policy: eager })).toBe(reason);
    }
  });
  test("an answer to Authorization needs the origin's and the behaviour's word", () => {
    const request = { authorized: true };
    const shared = { "cache-control": "public, max-age=60" };
    expect(outcome(shared, { request })).toBe("request-authorization");
    expect(outcome({ "cache-control": "max-age=60" }, { request, policy: { storeAuthorized: true } })).toBe(
      "request-authorization",
    );
    expect(outcome(shared, { request, policy: { storeAuthorized: true } })).toBe(60);
    expect(outcome({ "cache-control": "s-maxage=60" }, { request, policy: { storeAuthorized: true } })).toBe(
      60,
    );
  });
  test("a stored answer keeps no Set-Cookie, even when the behaviour stores it", () => {
    const decision = decide(
      { "cache-control": "public, max-age=60", "set-cookie": "a=b" },
      { policy: { storeSetCookie: true } },
    );
    expect(decision).toMatchObject({ store: true, removeFields: ["set-cookie"] });
  });
  test('no-cache="set-cookie" stores the rest', () =>
    expect(
      decide({ "cache-control": 'max-age=60, no-cache="set-cookie"', "set-cookie": "a=b" }),
    ).toMatchObject({
      store: true,
      removeFields: ["set-cookie"],
    }));
  test("with cookies sent and not keyed only the origin's explicit freshness stores", () => {
    const request = { cookieForwardedUnkeyed: true };
    expect(outcome({}, { request, policy: { defaultMs: 60_000 } })).toBe("request-cookie");
    expect(outcome({ "last-modified": formatHttpDate(NOW - 80_000) }, { request })).toBe("request-cookie");
    expect(outcome({ "cache-control": "max-age=60" }, { request })).toBe(60);
  });
  test("a page behind a static file's name is not stored by the operator's own TTL (cache deception)", () => {
    const page = { "content-type": "text/html" };
    const eager = { policy: { defaultMs: 60_000 } };
    expect(outcome(page, { ...eager, request: { path: "/account/x.css" } })).toBe("response-type-mismatch");
    expect(outcome(page, { ...eager, request: { path: "/account/x.PNG" } })).toBe("response-type-mismatch");
    expect(outcome({ "content-type": "text/css" }, { ...eager, request: { path: "/x.css" } })).toBe(60);
    expect(outcome(page, { ...eager, request: { path: "/page" } })).toBe(60);
  });
  test("a body whose end can not be known is not stored", () =>
    expect(outcome({ "cache-control": "max-age=60" }, { completable: false })).toBe("response-incomplete"));
  test("206 and 304 are not stored", () => {
    expect(outcome({ "cache-control": "max-age=60" }, { status: 206 })).toBe("response-partial");
    expect(outcome({ "cache-control": "max-age=60" }, { status: 304 })).toBe("response-not-cacheable");
  });
  test("must-understand overrides no-store for a known status", () =>
    expect(outcome({ "cache-control": "no-store, must-understand, max-age=60" })).toBe(60));
});

describe("minimum and maximum", () => {
  test("clamp the origin's lifetime", () => {
    expect(outcome({ "cache-control": "max-age=1" }, { policy: { minMs: 10_000 } })).toBe(10);
    expect(outcome({ "cache-control": "max-age=100" }, { policy: { maxMs: 10_000 } })).toBe(10);
  });
  test("the minimum does not stretch must-revalidate or no-cache", () => {
    const min = { policy: { minMs: 10_000 } };
    expect(outcome({ "cache-control": "max-age=1, must-revalidate" }, min)).toBe(1);
    expect(outcome({ "cache-control": "no-cache", etag: '"a"' }, min)).toBe(0);
  });
});

test("jitter shortens by key, never lengthens, and leaves what is stale alone", () => {
  const spread = (value: number) => ({ policy: { jitterFraction: 0.2 }, request: { spread: value } });
  expect(outcome({ "cache-control": "max-age=100" }, spread(0))).toBe(100);
  expect(outcome({ "cache-control": "max-age=100" }, spread(0.5))).toBe(90);
  expect(outcome({ "cache-control": "max-age=100" }, spread(1))).toBe(80);
  expect(outcome({ "cache-control": "max-age=0", etag: '"a"' }, spread(1))).toBe(0);
});

describe("stale windows (RFC 5861)", () => {
  const windows = (fields: Record<string, string>, overrides: Partial<TtlPolicy> = {}) => {
    const decision = decide(fields, { policy: overrides });
    if (!decision.store) return decision.reason;
    const { freshUntilMs, whileRevalidateUntilMs, ifErrorUntilMs } = decision.freshness;
    return [(whileRevalidateUntilMs - freshUntilMs) / 1000, (ifErrorUntilMs - freshUntilMs) / 1000];
  };
  test("come from the origin, then from the behaviour", () => {
    const own = { staleWhileRevalidateMs: 7_000, staleIfErrorMs: 8_000 };
    expect(
      windows({ "cache-control": "max-age=1, stale-while-revalidate=2, stale-if-error=3" }, own),
    ).toEqual([2, 3]);
    expect(windows({ "cache-control": "max-age=1" }, own)).toEqual([7, 8]);
    expect(windows({ "cache-control": "max-age=1" })).toEqual([0, 0]);
  });
  test("are closed by must-revalidate, proxy-revalidate and no-cache, whatever the behaviour says", () => {
    const own = { staleWhileRevalidateMs: 7_000, staleIfErrorMs: 8_000 };
    for (const directive of ["must-revalidate", "proxy-revalidate", "no-cache"]) {
      const fields = { "cache-control": `max-age=1, ${directive}, stale-while-revalidate=9`, etag: '"a"' };
      expect(windows(fields, own)).toEqual([0, 0]);
    }
  });
  test("beside s-maxage are honoured when explicit, unless the behaviour is strict", () => {
    const fields = { "cache-control": "s-maxage=1, stale-while-revalidate=2" };
    expect(windows(fields)).toEqual([2, 0]);
    expect(windows(fields, { strictSMaxage: true })).toEqual([0, 0]);
    expect(windows({ "cache-control": "s-maxage=1" }, { staleWhileRevalidateMs: 5_000 })).toEqual([0, 0]);
  });
});

describe("age (RFC 9111 section 4.2.3)", () => {
  const age = (fields: Record<string, string>, requestTimeMs: number, responseTimeMs: number): number =>
    (responseTimeMs -
      bornAt({ fields: Fields.from(Object.entries(fields)), requestTimeMs, responseTimeMs })) /
    1000;

  test("counts the upstream Age and the time the answer took", () =>
    expect(age({ date: formatHttpDate(NOW), age: "30" }, NOW - 2_000, NOW)).toBe(32));
  test("takes an old Date for an old answer", () =>
    expect(age({ date: formatHttpDate(NOW - 40_000) }, NOW, NOW)).toBe(40));
  test("an upstream Age shortens what is left", () =>
    expect(outcome({ "cache-control": "max-age=60", age: "45" })).toBe(15));
  test("an Age past the lifetime leaves nothing to store without a validator", () =>
    expect(outcome({ "cache-control": "max-age=60", age: "61" })).toBe("response-no-freshness"));
  test("nonsense in Age counts as nothing", () => {
    for (const value of ["", "-1", "1.5", "abc"]) expect(age({ age: value }, NOW, NOW)).toBe(0);
  });
  test("is never negative and never less than the upstream's", () => {
    fc.assert(
      fc.property(
        fc.nat(1e6),
        fc.nat(1e6),
        fc.integer({ min: -1e6, max: 1e6 }),
        (ageSeconds, tookMs, skewMs) => {
          const found = age(
            { date: formatHttpDate(NOW + skewMs), age: String(ageSeconds) },
            NOW - tookMs,
            NOW,
          );
          return found >= ageSeconds;
        },
      ),
    );
  });
});

test("whatever an origin sends, the decision holds together", () => {
  const directive = fc.constantFrom(
    "no-store",
    "no-cache",
    "private",
    "public",
    "must-revalidate",
    "proxy-revalidate",
    "max-age=0",
    "max-age=60",
    "max-age=x",
    "s-maxage=30",
    "stale-while-revalidate=9",
    "stale-if-error=9",
    "immutable",
    'private="x"',
    'no-cache="set-cookie"',
    'a="',
    ",",
  );
  const lists = fc.array(directive, { maxLength: 6 }).map((items) => items.join(", "));
  const fields = fc.record(
    {
      "cache-control": lists,
      "cdn-cache-control": lists,
      "surrogate-control": lists,
      age: fc.nat(100).map(String),
      "set-cookie": fc.constant("a=b"),
      vary: fc.constantFrom("*", "accept", "cookie, accept"),
      etag: fc.constant('"a"'),
      expires: fc.constantFrom("0", formatHttpDate(NOW + 9_000)),
      "last-modified": fc.constant(formatHttpDate(NOW - 1e6)),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(
      fields,
      fc.constantFrom(200, 204, 206, 301, 302, 304, 404, 500, 503),
      fc.boolean(),
      (given, status, authorized) => {
        const decision = decide(given as Record<string, string>, { status, request: { authorized } });
        if (!decision.store) return true;
        const { freshUntilMs, whileRevalidateUntilMs, ifErrorUntilMs, mustRevalidate, bornMs } =
          decision.freshness;
        return (
          !authorized &&
          bornMs <= NOW &&
          whileRevalidateUntilMs >= freshUntilMs &&
          ifErrorUntilMs >= freshUntilMs &&
          (!mustRevalidate || (whileRevalidateUntilMs === freshUntilMs && ifErrorUntilMs === freshUntilMs)) &&
          (given["set-cookie"] === undefined || decision.removeFields.includes("set-cookie"))
        );
      },
    ),
    { numRuns: 2_000 },
  );
});
