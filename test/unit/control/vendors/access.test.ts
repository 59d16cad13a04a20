/** The vendors' APIs on a control plane: who gets in, who does not, what is left of it in the audit log; and which sites a call is about. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash, createHmac } from "node:crypto";
import fc from "fast-check";
import { siteIds } from "../../../../src/control/vendors/site-ids.ts";
import { amzDate, authorization, signingKey } from "../../../../src/http/sigv4/sign.ts";
import { type Ask, siteConfig, startTestControl, type TestControl } from "../../../kit/control.ts";

let control: TestControl;
let key: { id: string; secret: string };
beforeAll(async () => {
  control = await startTestControl();
  await control.ask("POST", "/v1/apply", {
    sites: {
      shop: siteConfig("shop.test", {
        hosts: ["shop.test", "www.shop.test"],
        vendorIds: ["12345", "SHARED"],
      }),
      blog: siteConfig("*.blog.test", { vendorIds: ["SHARED"] }),
      rest: siteConfig("*"),
    },
  });
  const made = await control.ask("POST", "/v1/tokens", { name: "key", scopes: ["purge"], accessKey: true });
  key = { id: made.value.token.accessKeyId, secret: made.value.secretAccessKey };
});
afterAll(() => control.stop());

/** A call without what our own API wants. */
const ask = (method: string, path: string, headers: Readonly<Record<string, string>>, raw?: string) =>
  control.ask(method, path, undefined, {
    token: null,
    headers: { "content-type": "text/plain", ...headers },
    ...(raw === undefined ? {} : { raw }),
  } satisfies Ask);
const fastly = (path: string, token = control.admin, headers: Readonly<Record<string, string>> = {}) =>
  ask("POST", path, { "fastly-key": token, ...headers });

async function lastRefusal() {
  const [last] = await control.refusals();
  control.clock.advance(120_000);
  return last;
}

/** What was put into the log by the newest calls, the newest first. */
async function purges(count: number) {
  const { value } = await control.ask("GET", `/v1/purges?limit=${count}`);
  return value.items.map(({ site, scope, mode, targets }: Record<string, unknown>) => ({
    site,
    scope,
    mode,
    targets,
  }));
}

describe("a call is refused in the vendor's shape, and audited", () => {
  test("without a key, or with one that is not good", async () => {
    const none = await fastly("/service/shop/purge/a", "");
    expect([none.status, none.value]).toEqual([
      401,
      { msg: "Unauthorized", detail: expect.stringContaining("not known") },
    ]);
    const cloudflare = await ask("POST", "/client/v4/zones/shop/purge_cache", {});
    expect(cloudflare.status).toBe(403);
    expect(cloudflare.value).toMatchObject({ success: false, errors: [{ code: 10_000 }], result: null });
    expect(await lastRefusal()).toMatchObject({
      actor: "nobody",
      address: "127.0.0.1",
      action: "cloudflare POST",
      detail: "401: send an API token in Authorization: Bearer, or X-Auth-Email and X-Auth-Key (no token)",
    });
    const bunny = await ask("POST", "/pullzone/shop/purgeCache", { accesskey: "x" });
    expect([bunny.status, bunny.value.ErrorKey]).toEqual([401, "unauthorized"]);
  });

  test("with a token that may not purge, or not this site, whether it is there or not", async () => {
    const reader = await control.token(["read"]);
    expect((await fastly("/service/shop/purge/a", reader)).value.detail).toContain(
      "needs a token with the scope purge",
    );
    const blogger = await control.token(["purge"], ["blog"]);
    for (const site of ["shop", "nothing", siteIds("shop").fastly]) {
      const answer = await fastly(`/service/${site}/purge/a`, blogger);
      expect([answer.status, answer.value.detail]).toEqual([
        403,
        `the token is not for "${site}"; it is for blog`,
      ]);
    }
    for (const host of ["shop.test", "unknown.test"])
      expect((await fastly(`/purge/${host}/`, blogger)).value.detail).toContain(`not for host "${host}"`);
    expect((await lastRefusal())?.action).toBe("fastly POST");
  });

  test("by a node", async () => {
    const invited = await control.ask("POST", "/v1/join-tokens", {});
    const joined = await control.ask(
      "POST",
      "/v1/join",
      { name: "n1", version: "1" },
      { token: invited.value.secret },
    );
    expect((await fastly("/service/shop/purge/a", joined.value.credential)).status).toBe(403);
    await control.ask("DELETE", "/v1/nodes/n1");
  });

  test("too often, with the time to wait", async () => {
    const token = await control.token(["purge"]);
    let answer = await fastly("/service/shop/purge/x", token);
    for (let i = 0; i < 260 && answer.status !== 429; i++)
      answer = await fastly("/service/shop/purge/x", token);
    expect(answer.status).toBe(429);
    expect(answer.headers.get("retry-after")).toBe("1");
    // One rate for all languages.
    const other = await ask("POST", "/client/v4/zones/shop/purge_cache", {
      authorization: `Bearer ${token}`,
    });
    expect([other.status, other.headers.get("retry-after")]).toEqual([429, "1"]);
    expect((await lastRefusal())?.detail).toContain("too many requests");
  });

  test("from a page of another origin, whatever its key is", async () => {
    for (const headers of [{ origin: "https://evil.test" }, { "sec-fetch-site": "cross-site" }])
      expect((await fastly("/service/shop/purge/a", control.admin, headers)).status).toBe(403);
    expect((await fastly("/service/shop/purge/a", control.admin, { host: "api.fastly.com" })).status).toBe(
      421,
    );
  });

  test("with a body that is too large, no JSON, or nothing that is known", async () => {
    const auth = { "fastly-key": control.admin };
    const large = await ask("POST", "/service/shop/purge", auth, "x".repeat(600 * 1024));
    expect([large.status, large.value.msg]).toEqual([413, "Content Too Large"]);
    expect((await ask("POST", "/service/shop/purge", auth, "{")).value.detail).toContain("not JSON: line 1");
    expect((await ask("POST", "/service/shop/purge", auth, '{"a":1,"a":2}')).status).toBe(400);
    expect((await fastly("/service/shop/stats")).status).toBe(404);
    const xml = await ask("POST", "/2020-05-31/distribution/E1/invalidation", {}, "<a>".repeat(1_000_000));
    expect([xml.status, xml.headers.get("content-type")]).toEqual([413, "text/xml"]);
  });
});

describe("a site is found", () => {
  test.each([["shop"], [siteIds("shop").fastly], [siteIds("shop").number], ["12345"]])(
    "by %s",
    async (id) => {
      expect((await fastly(`/service/${id}/purge/tag-${id}`)).status).toBe(200);
      expect(await purges(1)).toEqual([{ site: "shop", scope: "tag", mode: "hard", targets: [`tag-${id}`] }]);
    },
  );

  test("by no id that two have, unless one of them is not the caller's", async () => {
    const both = await fastly("/service/SHARED/purge/a");
    expect([both.status, both.value.detail]).toEqual([
      409,
      '"SHARED" is an id of the sites blog, shop: take the site\'s own id',
    ]);
    expect((await fastly("/service/SHARED/purge/a", await control.token(["purge"], ["blog"]))).status).toBe(
      200,
    );
    expect(await purges(1)).toMatchObject([{ site: "blog" }]);
  });

  test("by its host: exactly, by pattern, or as the one for any", async () => {
    for (const [host, site] of [
      ["www.shop.test", "shop"],
      ["a.b.blog.test", "blog"],
      ["blog.test", "rest"],
    ]) {
      expect((await fastly(`/purge/${host}/x`)).status).toBe(200);
      expect(await purges(1)).toEqual([{ site, scope: "url", mode: "hard", targets: [`http://${host}/x`] }]);
    }
  });

  test("by a change of the config, at once", async () => {
    expect((await fastly("/service/LATER/purge/a")).status).toBe(404);
    await control.ask("POST", "/v1/apply", { sites: { rest: siteConfig("*", { vendorIds: ["LATER"] }) } });
    expect((await fastly("/service/LATER/purge/a")).status).toBe(200);
  });

  test("for each of the URLs, in one call", async () => {
    const body = JSON.stringify({ files: ["http://shop.test/a", "http://elsewhere.test/"] });
    const answer = await ask(
      "POST",
      "/client/v4/zones/shop/purge_cache",
      { authorization: `Bearer ${control.admin}` },
      body,
    );
    expect([answer.status, answer.value.errors[0].message]).toEqual([
      400,
      'target 2: "http://elsewhere.test/" is not a URL of site shop, which answers for shop.test, www.shop.test',
    ]);
  });

  test("and where none is named, every one that the token is for", async () => {
    const token = await control.token(["purge"], ["blog", "shop"]);
    const { value } = await fastly("/purge", token, { "surrogate-key": "k" });
    expect(await purges(2)).toEqual(
      ["shop", "blog"].map((site) => ({ site, scope: "tag", mode: "hard", targets: ["k"] })),
    );
    const shown = await control.ask("GET", `/v1/purges/${value.id}`);
    expect(shown.value).toMatchObject({ id: value.id, site: "several", scope: "tag", targetCount: 2 });
    const blogger = await control.token(["purge"], ["blog"]);
    expect((await control.ask("GET", `/v1/purges/${value.id}`, undefined, { token: blogger })).status).toBe(
      403,
    );
    const { value: audit } = await control.ask("GET", "/v1/audit?outcome=done&limit=10");
    const entry = audit.items.find(({ target }: { target: string }) => target === "blog shop");
    expect(entry).toMatchObject({
      action: "purge",
      detail: expect.stringContaining(`fastly ${value.id}: hard tag, 1 targets`),
    });
  });
});

/** A request for CloudFront, signed; `change` is done to it afterwards. */
async function signed(
  path: string,
  body: string,
  change: { body?: string; ageMs?: number; secret?: string; payload?: string; service?: string } = {},
) {
  const date = amzDate(control.clock.now() - (change.ageMs ?? 0));
  const scope = { region: "eu-west-7", service: change.service ?? "cloudfront" };
  const payloadHash = change.payload ?? createHash("sha256").update(body).digest("hex");
  const fields: [string, string][] = [
    ["host", new URL(control.url).host],
    ["x-amz-content-sha256", payloadHash],
    ["x-amz-date", date],
  ];
  const request = { method: "POST", path, query: "", fields, payloadHash };
  const value = authorization(
    request,
    key.id,
    signingKey(change.secret ?? key.secret, date, scope),
    date,
    scope,
  );
  return await ask(
    "POST",
    path,
    { ...Object.fromEntries(fields.slice(1)), authorization: value },
    change.body ?? body,
  );
}

const batch = (reference: string, ...items: string[]) =>
  `<InvalidationBatch><CallerReference>${reference}</CallerReference><Paths><Quantity>${items.length}</Quantity><Items>${items.map((item) => `<Path>${item}</Path>`).join("")}</Items></Paths></InvalidationBatch>`;

describe("a signature", () => {
  const path = "/2020-05-31/distribution/shop/invalidation";
  test("of AWS is good for the very request alone", async () => {
    const body = batch("s1", "/a");
    expect((await signed(path, body)).status).toBe(201);
    for (const [change, code] of [
      [{ body: batch("s1", "/*") }, "SignatureDoesNotMatch"],
      [{ ageMs: 16 * 60_000 }, "RequestExpired"],
      [{ ageMs: -16 * 60_000 }, "RequestExpired"],
      [{ secret: "other" }, "SignatureDoesNotMatch"],
      [{ payload: "UNSIGNED-PAYLOAD" }, "SignatureDoesNotMatch"],
      [{ service: "s3" }, "SignatureDoesNotMatch"],
    ] as const) {
      const answer = await signed(path, body, change);
      expect([answer.status, answer.text]).toEqual([403, expect.stringContaining(`<Code>${code}</Code>`)]);
      control.clock.advance(120_000);
    }
    const bearer = await ask("POST", path, { authorization: `Bearer ${control.admin}` }, body);
    expect(bearer.status).toBe(403);
  });

  test("of Akamai is good for the very request alone", async () => {
    const send = async (change: { body?: string; ageMs?: number; host?: string; secret?: string } = {}) => {
      const body = '{"objects":["t"]}';
      const iso = new Date(control.clock.now() - (change.ageMs ?? 0)).toISOString();
      const time = `${iso.slice(0, 19).replaceAll("-", "")}+0000`;
      const head = `EG1-HMAC-SHA256 client_token=${key.id};access_token=${key.id};timestamp=${time};nonce=n-1;`;
      const hash = createHash("sha256").update(body).digest("base64");
      const host = change.host ?? new URL(control.url).host;
      const text = ["POST", "http", host, "/ccu/v3/delete/tag?a=1", "", hash, head].join("\t");
      const signing = createHmac("sha256", change.secret ?? key.secret)
        .update(time)
        .digest("base64");
      const signature = createHmac("sha256", signing).update(text).digest("base64");
      const answer = await ask(
        "POST",
        "/ccu/v3/delete/tag?a=1",
        { authorization: `${head}signature=${signature}` },
        change.body ?? body,
      );
      control.clock.advance(120_000);
      return answer.status;
    };
    expect(await send()).toBe(201);
    expect(await send({ body: '{"objects":["u"]}' })).toBe(401);
    expect(await send({ ageMs: 6 * 60_000 })).toBe(401);
    expect(await send({ ageMs: -6 * 60_000 })).toBe(401);
    expect(await send({ host: "other.example" })).toBe(401);
    expect(await send({ secret: "other" })).toBe(401);
  });

  test("whatever is sent in its place is refused and breaks nothing", async () => {
    const field = fc.oneof(
      fc.string(),
      fc
        .array(
          fc.constantFrom(
            "EG1-HMAC-SHA256 ",
            "AWS4-HMAC-SHA256 ",
            "client_token=a;",
            "Credential=a/b/c/cloudfront/aws4_request,",
            "signature=",
            ";",
            "=",
            key.id,
          ),
          { maxLength: 8 },
        )
        .map((parts) => parts.join("")),
    );
    await fc.assert(
      fc.asyncProperty(field, fc.constantFrom("/ccu/v3/delete/tag", path), async (value, to) => {
        const plain = value.replace(/[^\x20-\x7e]/g, "").trim();
        const { status } = await ask("POST", to, { authorization: plain }, "{}");
        control.clock.advance(120_000);
        expect([401, 403]).toContain(status);
      }),
      { numRuns: 60 },
    );
    expect(control.messages).toEqual([]);
  });
});

describe("paths of CloudFront", () => {
  const invalidate = async (site: string, ...items: string[]) => {
    const reference = `p-${site}-${items.length}-${items[0] ?? ""}`.slice(0, 100);
    const answer = await signed(`/2020-05-31/distribution/${site}/invalidation`, batch(reference, ...items));
    expect(answer.status).toBe(201);
  };

  test("are URLs of every host, where all are known", async () => {
    await invalidate("shop", "/a?b=1", "/img/x*", "#t");
    expect(await purges(3)).toEqual([
      { site: "shop", scope: "tag", mode: "hard", targets: ["t"] },
      {
        site: "shop",
        scope: "url",
        mode: "hard",
        targets: ["http://shop.test/a?b=1", "http://www.shop.test/a?b=1"],
      },
      { site: "shop", scope: "prefix", mode: "hard", targets: ["/img/x"] },
    ]);
  });

  test("are paths with any query, where a host is a pattern; too many are everything", async () => {
    await invalidate("blog", "/a?b=1", "/a?b=2", "/c?d=*");
    expect(await purges(2)).toEqual([
      { site: "blog", scope: "wildcard", mode: "hard", targets: ["/a"] },
      { site: "blog", scope: "prefix", mode: "hard", targets: ["/c"] },
    ]);
    await invalidate("blog", ...Array.from({ length: 257 }, (_, i) => `/${i}`));
    expect(await purges(1)).toMatchObject([{ site: "blog", scope: "everything" }]);
  });

  test("a star alone is everything", async () => {
    await invalidate("shop", "/x", "/*");
    expect(await purges(1)).toMatchObject([{ site: "shop", scope: "everything" }]);
  });

  test("a reference outlives a restart", async () => {
    const path = "/2020-05-31/distribution/shop/invalidation";
    const idOf = (text: string) => /<Id>(I\w+)<\/Id>/.exec(text)?.[1];
    const first = idOf((await signed(path, batch("kept", "/k"))).text);
    await control.restart();
    const again = await signed(path, batch("kept", "/k"));
    expect([again.status, idOf(again.text)]).toEqual([201, first]);
    expect((await signed(path, batch("kept", "/other"))).text).toContain("InvalidationBatchAlreadyExists");
  });
});

test("no body makes the control plane fail, and what is taken is in the log", async () => {
  const text = fc.oneof(
    fc.string({ unit: "binary", maxLength: 30 }),
    fc.webUrl(),
    fc.constantFrom(
      "",
      "*",
      "/",
      "http://shop.test/a",
      "shop.test/x/",
      "a\u0000",
      "\ud800",
      "x".repeat(2_000),
    ),
  );
  const texts = fc.array(text, { minLength: 1, maxLength: 4 });
  const calls = fc.oneof(
    fc.record({ files: texts }),
    fc.record({ tags: texts }),
    fc.record({ hosts: texts }),
    fc.record({ prefixes: texts }),
    fc.record({ surrogate_keys: texts }),
    fc.record({ CacheTag: text }),
    fc.jsonValue(),
  );
  const paths = [
    "/client/v4/zones/shop/purge_cache",
    "/client/v4/zones/rest/invalidate_cache",
    "/service/shop/purge",
    "/pullzone/blog/purgeCache",
  ];
  const newest = async () => (await control.ask("GET", "/v1/purges?limit=1")).value.items[0].sequence;
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...paths), calls, async (path, body) => {
      const before = await newest();
      const keys = { "fastly-key": control.admin, accesskey: control.admin };
      const { status } = await ask(
        "POST",
        path,
        { ...keys, authorization: `Bearer ${control.admin}` },
        JSON.stringify(body),
      );
      control.clock.advance(1_000);
      expect([200, 204, 400]).toContain(status);
      expect((await newest()) > before).toBe(status !== 400);
    }),
    { numRuns: 150 },
  );
  expect(control.messages.filter((message) => !message.startsWith("info"))).toEqual([]);
});
