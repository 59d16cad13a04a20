/** Sites, versions, snapshots and config as code, over the API. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { siteConfig, startTestControl, type TestControl } from "../../kit/control.ts";

let control: TestControl;
beforeEach(async () => {
  control = await startTestControl();
});
afterEach(() => control.stop());

const ask: TestControl["ask"] = (...args) => control.ask(...args);

describe("a site", () => {
  test("goes from a draft to a version to being active, and back", async () => {
    expect((await ask("POST", "/v1/sites", { id: "shop" })).status).toBe(201);
    const draft = await ask("PUT", "/v1/sites/shop/draft", { hosts: ["shop.test"] });
    expect([draft.status, draft.value.problems[0]]).toMatchObject([
      200,
      { path: "origins", severity: "error" },
    ]);
    const invalid = await ask("POST", "/v1/sites/shop/versions", {});
    expect(invalid.status).toBe(422);
    expect(invalid.value).toMatchObject({
      detail: expect.stringContaining("origins"),
      problems: [{ path: "origins" }],
    });

    await ask("PUT", "/v1/sites/shop/draft", siteConfig("shop.test"));
    const first = await ask("POST", "/v1/sites/shop/versions", { note: "first" });
    expect([first.status, first.value.version]).toMatchObject([
      201,
      { number: 1, note: "first", active: false },
    ]);
    expect((await ask("GET", "/v1/sites/shop")).value).toMatchObject({
      draft: null,
      activeVersion: null,
      newestVersion: 1,
    });
    // The same content, in another order: the same version.
    const same = await ask("POST", "/v1/sites/shop/versions", {
      config: { origins: { app: { url: "http://origin.test" } }, hosts: ["shop.test"] },
    });
    expect([same.status, same.value.version.number]).toEqual([200, 1]);

    const active = await ask("POST", "/v1/sites/shop/activate", { version: 1 });
    expect(active.value).toMatchObject({
      site: { activeVersion: 1, hosts: ["shop.test"] },
      snapshot: { number: 1, active: { shop: 1 } },
    });
    expect((await ask("POST", "/v1/sites/shop/activate", { version: 1 })).value.snapshot).toBeNull();

    for (const host of ["two.test", "three.test"]) {
      const { version } = (await ask("POST", "/v1/sites/shop/versions", { config: siteConfig(host) })).value;
      await ask("POST", "/v1/sites/shop/activate", { version: version.number });
    }
    const diff = await ask("GET", "/v1/sites/shop/diff?from=1&to=active");
    expect(diff.value.differences).toEqual([
      { path: "hosts[0]", kind: "changed", before: "shop.test", after: "three.test" },
    ]);
    // Twice in a row goes back twice, not back and forth.
    expect((await ask("POST", "/v1/sites/shop/rollback", {})).value.site).toMatchObject({
      activeVersion: 2,
      hosts: ["two.test"],
    });
    expect((await ask("POST", "/v1/sites/shop/rollback", {})).value.site.activeVersion).toBe(1);
    expect((await ask("POST", "/v1/sites/shop/rollback", {})).status).toBe(409);
    const snapshot = await ask("GET", "/v1/snapshots/5");
    expect(snapshot.value).toMatchObject({ number: 5, sites: { shop: siteConfig("shop.test") } });
    // What is in force again has the hash of then.
    expect(snapshot.value.hash).toBe((await ask("GET", "/v1/snapshots/1")).value.hash);
  });

  test("is never made twice, not even after its end, and its host is free then", async () => {
    await ask("POST", "/v1/apply", { sites: { shop: siteConfig("shop.test") } });
    expect((await ask("POST", "/v1/sites", { id: "shop" })).status).toBe(409);
    expect((await ask("DELETE", "/v1/sites/shop")).status).toBe(204);
    const again = await ask("POST", "/v1/sites", { id: "shop" });
    expect([again.status, again.value.detail]).toEqual([409, expect.stringContaining("never used again")]);
    expect((await ask("POST", "/v1/apply", { sites: { shop: siteConfig("x.test") } })).status).toBe(409);
    expect((await ask("POST", "/v1/apply", { sites: { other: siteConfig("shop.test") } })).status).toBe(200);
    expect((await ask("GET", "/v1/sites/shop")).status).toBe(404);
  });

  test("can not have another site's host; a host can move in one application", async () => {
    await ask("POST", "/v1/apply", { sites: { a: siteConfig("a.test"), b: siteConfig("b.test") } });
    const taken = await ask("POST", "/v1/apply", { sites: { b: siteConfig("a.test") } });
    expect([taken.status, taken.value.detail]).toEqual([
      409,
      'host "a.test" of site "b" already belongs to site "a"',
    ]);
    // Nothing of it was done.
    expect((await ask("GET", "/v1/sites/b")).value).toMatchObject({ activeVersion: 1, newestVersion: 1 });
    const moved = await ask("POST", "/v1/apply", {
      sites: { a: siteConfig("b.test"), b: siteConfig("a.test") },
    });
    expect([moved.status, moved.value.snapshot.active]).toEqual([200, { a: 2, b: 2 }]);
  });

  test("is changed with If-Match only as its author saw it", async () => {
    const made = await ask("POST", "/v1/sites", { id: "shop" });
    const etag = made.headers.get("etag") ?? "";
    const put = (value: string) =>
      ask("PUT", "/v1/sites/shop/draft", siteConfig("shop.test"), { headers: { "if-match": value } });
    expect((await put(etag)).status).toBe(200);
    const late = await put(etag);
    expect([late.status, late.value.detail]).toEqual([412, expect.stringContaining("meanwhile")]);
    expect((await put("*")).status).toBe(200);
    const now = (await ask("GET", "/v1/sites/shop")).headers.get("etag") ?? "";
    await ask("POST", "/v1/sites/shop/versions", {}, { headers: { "if-match": now } });
    const activate = (value: string) =>
      ask("POST", "/v1/sites/shop/activate", { version: 1 }, { headers: { "if-match": value } });
    expect((await activate(now)).status).toBe(412);
    expect((await ask("DELETE", "/v1/sites/shop", undefined, { headers: { "if-match": now } })).status).toBe(
      412,
    );
  });

  test.each([
    [{ directory: "./public" }, "origins.app.directory"],
    [{ url: "https://o.test", tls: { caFile: "ca.pem" } }, "origins.app.tls.caFile"],
    [
      {
        s3: {
          bucket: "b-b",
          region: "r",
          credentials: { accessKeyId: { file: "key" }, secretAccessKey: { env: "S" } },
        },
      },
      "origins.app.credentials.accessKeyId",
    ],
  ])("names no relative paths: %p", async (origin, path) => {
    const answer = await ask("POST", "/v1/apply", {
      sites: { shop: { hosts: ["a.test"], origins: { app: origin } } },
    });
    expect(answer.status).toBe(422);
    expect(answer.value.problems[0]).toMatchObject({
      path: `sites.shop.${path}`,
      message: expect.stringContaining("absolute"),
    });
  });
});

describe("config as code", () => {
  test("plans and applies all of a file in one snapshot, or nothing of it", async () => {
    const sites = { a: siteConfig("a.test"), b: siteConfig("b.test") };
    const plan = await ask("POST", "/v1/plan", { sites });
    expect(
      plan.value.changes.map(({ site, action }: { site: string; action: string }) => [site, action]),
    ).toEqual([
      ["a", "create"],
      ["b", "create"],
    ]);
    expect((await ask("GET", "/v1/sites")).value.items).toEqual([]);
    const bad = await ask("POST", "/v1/apply", { sites: { ...sites, c: { hosts: [] }, d: 1 } });
    expect(bad.status).toBe(422);
    expect(bad.value.problems.map(({ path }: { path: string }) => path)).toEqual(
      expect.arrayContaining(["sites.c.hosts", "sites.c.origins", "sites.d"]),
    );
    expect((await ask("GET", "/v1/sites")).value.items).toEqual([]);
    expect((await ask("POST", "/v1/apply", { sites })).value.snapshot).toMatchObject({
      number: 1,
      active: { a: 1, b: 1 },
    });
    const again = await ask("POST", "/v1/apply", { sites });
    expect([again.status, again.value.snapshot]).toEqual([200, null]);
    const change = { a: siteConfig("a.test", { http3: false }) };
    expect((await ask("POST", "/v1/plan", { sites: change, prune: true })).value.changes).toMatchObject([
      { site: "a", action: "update", from: 1, differences: [{ path: "http3", kind: "added", after: false }] },
      { site: "b", action: "delete", from: 1 },
    ]);
    expect((await ask("POST", "/v1/apply", { sites: change, prune: true })).value.snapshot.active).toEqual({
      a: 2,
    });
    expect((await ask("GET", "/v1/sites/b")).status).toBe(404);
  });

  test("does nothing when another snapshot is in force than the author saw", async () => {
    await ask("POST", "/v1/apply", { sites: { a: siteConfig("a.test") } });
    const late = await ask("POST", "/v1/apply", { sites: { a: siteConfig("x.test") }, expectedSnapshot: 0 });
    expect([late.status, late.value.detail]).toEqual([
      409,
      expect.stringContaining("snapshot 1 is in force, not 0"),
    ]);
    expect(
      (await ask("POST", "/v1/apply", { sites: { a: siteConfig("x.test") }, expectedSnapshot: 1 })).status,
    ).toBe(200);
  });
});

describe("every change", () => {
  test("is in the audit log: who, what, when, from where", async () => {
    const token = await control.token(["deploy"], ["shop"], ["shop.test"]);
    control.clock.advance(5_000);
    await ask("POST", "/v1/apply", { sites: { shop: siteConfig("shop.test") } }, { token });
    const { items } = (await ask("GET", "/v1/audit")).value;
    expect(items[0]).toMatchObject({
      actor: `token:${token.split("_")[1]}`,
      actorName: "deploy",
      address: "127.0.0.1",
      action: "apply",
      target: "shop",
      outcome: "done",
      detail: "snapshot 1: create shop",
      at: "2026-01-01T00:00:05.000Z",
    });
    expect(items.map(({ action }: { action: string }) => action)).toEqual([
      "apply",
      "token.create",
      "token.create",
    ]);
    expect(items[2]).toMatchObject({ actor: "system", detail: "first: admin for all sites" });
  });

  test("with an idempotency key is made once, whatever happens to the answer", async () => {
    const headers = { "idempotency-key": "k1" };
    const body = { sites: { a: siteConfig("a.test") } };
    const first = await ask("POST", "/v1/apply", body, { headers });
    await ask("POST", "/v1/apply", { sites: { a: siteConfig("b.test") } });
    const second = await ask("POST", "/v1/apply", body, { headers });
    expect([second.status, second.text]).toEqual([200, first.text]);
    expect((await ask("GET", "/v1/sites/a")).value.activeVersion).toBe(2);
    const other = await ask("POST", "/v1/apply", { sites: {} }, { headers });
    expect([other.status, other.value.detail]).toEqual([409, expect.stringContaining("another request")]);
    // Another caller's key is another key, and a day later it is free.
    const token = await control.token(["deploy"]);
    expect((await ask("POST", "/v1/apply", { sites: {} }, { headers, token })).status).toBe(200);
    control.clock.advance(25 * 3_600_000);
    expect((await ask("POST", "/v1/apply", { sites: {} }, { headers })).status).toBe(200);
    expect((await ask("POST", "/v1/tokens", { name: "x", scopes: ["read"] }, { headers })).status).toBe(400);
  });

  test("outlives the end of the process", async () => {
    await ask("POST", "/v1/apply", { sites: { a: siteConfig("a.test") } });
    const purge = (await ask("POST", "/v1/purges", { scope: "tag", tags: ["x"] })).value;
    await control.restart();
    expect((await ask("GET", "/v1/sites/a")).value).toMatchObject({ activeVersion: 1 });
    expect((await ask("GET", `/v1/purges/${purge.id}`)).value).toMatchObject({
      sequence: purge.sequence,
      targets: ["x"],
    });
  });
});

test("lists come in pages, each with the path of the next", async () => {
  const sites = Object.fromEntries(Array.from({ length: 5 }, (_, i) => [`s${i}`, siteConfig(`s${i}.test`)]));
  await ask("POST", "/v1/apply", { sites });
  const seen: string[] = [];
  let next: string | null = "/v1/sites?limit=2";
  while (next !== null) {
    const page: { items: { id: string }[]; next: string | null } = (await ask("GET", next)).value;
    seen.push(...page.items.map(({ id }) => id));
    next = page.next;
  }
  expect(seen).toEqual(["s0", "s1", "s2", "s3", "s4"]);
  expect((await ask("GET", "/v1/sites?limit=0")).status).toBe(400);
  expect((await ask("GET", "/v1/sites?limit=501")).value.detail).toContain("1 to 500");
  expect((await ask("GET", "/v1/sites?page=2")).status).toBe(400);
});

test("tokens are rotated without a gap, and the last admin can not be revoked", async () => {
  const old = await control.token(["read"]);
  const id = old.split("_")[1] ?? "";
  const rotated = await ask("POST", `/v1/tokens/${id}/rotate`, { overlapSeconds: 60 });
  const both = [old, rotated.value.secret];
  const statuses = () =>
    Promise.all(both.map(async (token) => (await ask("GET", "/v1/sites", undefined, { token })).status));
  expect(await statuses()).toEqual([200, 200]);
  control.clock.advance(60_000);
  expect(await statuses()).toEqual([401, 200]);
  const last = await ask("DELETE", `/v1/tokens/${control.admin.split("_")[1]}`);
  expect([last.status, last.value.detail]).toEqual([409, expect.stringContaining("last one")]);
  expect((await ask("GET", "/v1/sites")).status).toBe(200);
});

test("the OpenAPI document names every route, and every reference in it leads somewhere; the docs page needs nothing from elsewhere", async () => {
  const { value: document } = await ask("GET", "/openapi.json", undefined, { token: null });
  expect(document.openapi).toBe("3.1.0");
  const refs = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)].map((match) => match[1] ?? "");
  expect(refs.length).toBeGreaterThan(10);
  for (const ref of refs) {
    const found = ref
      .replace(/^#\//, "")
      .split("/")
      .reduce((value, step) => value?.[step], document);
    expect([ref, typeof found]).toEqual([ref, "object"]);
  }
  const ids = Object.values(document.paths).flatMap((path) =>
    Object.values(path as object).map(({ operationId }) => operationId),
  );
  expect(new Set(ids).size).toBe(ids.length);
  expect(
    document.paths["/v1/purges"].post.requestBody.content["application/json"].schema.properties.tags.maxItems,
  ).toBe(10_000);
  expect(document.components.schemas.SiteConfig.properties.hosts.type).toBe("array");
  const { text: page, headers } = await ask("GET", "/docs", undefined, { token: null });
  for (const path of Object.keys(document.paths)) expect(page).toContain(`<code>${path}</code>`);
  expect(page).not.toMatch(/<script|https?:\/\/(?!json-schema)[^"]*"[^>]*>|src=/);
  expect(headers.get("content-security-policy")).toContain("default-src 'none'");
});
