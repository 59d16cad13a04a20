/** The clients of other CDNs that can be pointed somewhere, against a control plane with an edge: what they purge is gone there. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { siteIds } from "../../src/control/vendors/site-ids.ts";
import type { FleetEdge, TestFleet } from "../kit/fleet.ts";
import type { VendorClients } from "../kit/vendor-clients.ts";
import { VendorFleet } from "../kit/vendor-fleet.ts";

let vendors: VendorFleet;
let fleet: TestFleet;
let edge: FleetEdge;
let clients: VendorClients;
let key: VendorFleet["key"];
beforeAll(async () => {
  vendors = await VendorFleet.start();
  ({ fleet, edge, clients, key } = vendors);
}, 60_000);
afterAll(() => vendors.stop());

const gone = (paths: readonly string[], act: () => Promise<unknown>) => vendors.gone(paths, act);

describe("cloudflare 7.3.0", () => {
  const zone = siteIds("shop").cloudflare;
  const ask = (method: string, args: unknown[], apiToken = fleet.token) =>
    clients.value("cloudflare", { options: { apiToken, baseURL: `${fleet.url}/client/v4` }, method, args });
  const purge = (body: Readonly<Record<string, unknown>>) => ask("cache.purge", [{ zone_id: zone, ...body }]);

  test("purges files, tags, prefixes, hosts and everything", async () => {
    const paths = ["/a", "/b/1", "/b/2"];
    expect(await gone(paths, () => purge({ files: [`${edge.http}/a`] }))).toEqual(["/a"]);
    expect(
      await gone(paths, () =>
        purge({ files: [{ url: `${edge.http}/b/2`, headers: { "CF-Device-Type": "mobile" } }] }),
      ),
    ).toEqual(["/b/2"]);
    expect(await gone(paths, () => purge({ tags: ["page-b-1", "page-a"] }))).toEqual(["/a", "/b/1"]);
    expect(await gone(paths, () => purge({ prefixes: ["127.0.0.1/b"] }))).toEqual(["/b/1", "/b/2"]);
    expect(await gone(paths, () => purge({ hosts: ["elsewhere.example"] }))).toEqual([]);
    expect(await gone(paths, () => purge({ hosts: ["127.0.0.1"] }))).toEqual(paths);
    expect(await gone(paths, () => purge({ purge_everything: true }))).toEqual(paths);
    expect(
      await gone(paths, () =>
        ask("cache.purgeEnvironment", ["production", { zone_id: zone, tags: ["page-a"] }]),
      ),
    ).toEqual(["/a"]);
  });

  test("invalidates: what was stored is asked for again and kept where it is the same", async () => {
    await edge.get("/soft");
    const before = fleet.requests;
    await ask("cache.invalidate", [{ zone_id: zone, tags: ["page-soft"] }]);
    expect((await edge.get("/soft")).cache).not.toBe("HIT");
    expect(fleet.requests).toBe(before + 1);
    const { id } = await ask("cache.invalidateEnvironment", [
      "e1",
      { zone_id: zone, purge_everything: true },
    ]);
    expect((await fleet.ask("GET", `/v1/purges/${id}`)).value).toMatchObject({
      mode: "soft",
      scope: "everything",
    });
  });

  test("gets an id that our own API knows", async () => {
    await edge.get("/id");
    const { id } = await purge({ tags: ["page-id"] });
    expect(id).toMatch(/^[0-9a-f]{32}$/);
    const shown = await fleet.ask("GET", `/v1/purges/${id}?wait=counted`);
    expect(shown.value).toMatchObject({ id, site: "shop", scope: "tag", targets: ["page-id"], objects: 1 });
  });

  test("finds zones and checks its token", async () => {
    expect((await ask("zones.list", [{ name: "shop" }])).result).toMatchObject([
      { id: zone, name: "shop", status: "active" },
    ]);
    expect((await ask("zones.list", [{ name: "other.example" }])).result).toEqual([]);
    expect(await ask("zones.get", [{ zone_id: zone }])).toMatchObject({ id: zone });
    expect(await ask("user.tokens.verify", [])).toMatchObject({ status: "active" });
  });

  test("takes an email and a key, too", async () => {
    const options = {
      apiEmail: "a@example.com",
      apiKey: fleet.token,
      apiToken: null,
      baseURL: `${fleet.url}/client/v4`,
    };
    const value = await clients.value("cloudflare", {
      options,
      method: "cache.purge",
      args: [{ zone_id: zone, tags: ["x"] }],
    });
    expect(value.id).toMatch(/^[0-9a-f]{32}$/);
  });

  test("throws its own errors", async () => {
    const ask = (apiToken: string, body: Readonly<Record<string, unknown>>, zone_id = zone) =>
      clients.ask("cloudflare", {
        options: { apiToken, baseURL: `${fleet.url}/client/v4` },
        method: "cache.purge",
        args: [{ zone_id, ...body }],
      });
    expect((await ask(fleet.token, { tags: ["a"], hosts: ["b"] })).error).toMatchObject({
      status: 400,
      errors: [{ code: 1012, message: expect.stringContaining("exactly one of") }],
    });
    expect((await ask("hello", { tags: ["a"] })).error).toMatchObject({
      status: 403,
      errors: [{ code: 10_000 }],
    });
    expect((await ask(fleet.token, { tags: ["a"] }, "0".repeat(32))).error).toMatchObject({
      status: 404,
      errors: [{ code: 7003 }],
    });
  });
});

describe("@aws-sdk/client-cloudfront 3.1162.0", () => {
  const distribution = siteIds("shop").cloudfront;
  const options = () => ({ endpoint: fleet.url, credentials: key });
  const send = (command: string, input: Readonly<Record<string, unknown>>) =>
    clients.value("cloudfront", { options: options(), command, input });
  const create = (reference: string, items: string[], DistributionId = distribution) =>
    send("CreateInvalidationCommand", {
      DistributionId,
      InvalidationBatch: { CallerReference: reference, Paths: { Quantity: items.length, Items: items } },
    });
  const completed = async (id: string) => {
    await fleet.ask("GET", `/v1/purges/${id}?wait=applied`);
    return (await send("GetInvalidationCommand", { DistributionId: distribution, Id: id })).Invalidation
      .Status;
  };

  test("invalidates paths, wildcards, tags and everything", async () => {
    const paths = ["/img/a.png", "/img/b.png?w=1", "/x"];
    const run = (reference: string, items: string[]) => async () => {
      const made = await create(reference, items);
      expect(made.$metadata.httpStatusCode).toBe(201);
      expect(made.Invalidation).toMatchObject({
        Status: "InProgress",
        InvalidationBatch: { CallerReference: reference, Paths: { Quantity: items.length, Items: items } },
      });
      expect(await completed(made.Invalidation.Id)).toBe("Completed");
    };
    expect(await gone(paths, run("r1", ["/x"]))).toEqual(["/x"]);
    expect(await gone(paths, run("r2", ["/img/a*"]))).toEqual(["/img/a.png"]);
    expect(await gone(paths, run("r3", ["/img/b.png?w=1", "#page-x"]))).toEqual(["/img/b.png?w=1", "/x"]);
    expect(await gone(paths, run("r4", ["/*"]))).toEqual(paths);
  });

  test("capitals do not count in tags where the site says so", async () => {
    const site = vendors.site();
    const run = async (reference: string) => {
      const made = await create(reference, ["#PAGE-b"]);
      expect(await completed(made.Invalidation.Id)).toBe("Completed");
    };
    expect(await gone(["/B", "/c"], () => run("case 1"))).toEqual([]);
    await fleet.apply({ shop: { ...site, tagCase: "insensitive" } }, [edge]);
    expect(await gone(["/B", "/c"], () => run("case 2"))).toEqual(["/B"]);
    await fleet.apply({ shop: site }, [edge]);
  });

  test("does the same reference once, and refuses it for other paths", async () => {
    const first = await create("same", ["/1", "/2"], "EDFDVBD6EXAMPLE");
    const again = await create("same", ["/2", "/1"]);
    expect(again.Invalidation.Id).toBe(first.Invalidation.Id);
    const { error } = await clients.ask("cloudfront", {
      options: options(),
      command: "CreateInvalidationCommand",
      input: {
        DistributionId: distribution,
        InvalidationBatch: { CallerReference: "same", Paths: { Quantity: 1, Items: ["/3"] } },
      },
    });
    expect(error).toMatchObject({ name: "InvalidationBatchAlreadyExists", status: 400 });
  });

  test("lists invalidations page by page, the newest first", async () => {
    const made: string[] = [];
    for (const name of ["l1", "l2", "l3"]) made.unshift((await create(name, ["/l"])).Invalidation.Id);
    const first = (await send("ListInvalidationsCommand", { DistributionId: distribution, MaxItems: 2 }))
      .InvalidationList;
    expect(first.Items.map(({ Id }: { Id: string }) => Id)).toEqual(made.slice(0, 2));
    expect(first).toMatchObject({ IsTruncated: true, NextMarker: made[1], MaxItems: 2, Quantity: 2 });
    const next = (
      await send("ListInvalidationsCommand", {
        DistributionId: distribution,
        Marker: first.NextMarker,
        MaxItems: 1,
      })
    ).InvalidationList;
    expect(next.Items[0].Id).toBe(made[2]);
  });

  test("the waiter ends with its first look", async () => {
    const { Invalidation } = await create("waiter", ["/w"]);
    await fleet.ask("GET", `/v1/purges/${Invalidation.Id}?wait=applied`);
    const beforeMs = performance.now();
    const done = await clients.value("cloudfront", {
      options: options(),
      waiter: "waitUntilInvalidationCompleted",
      input: { DistributionId: distribution, Id: Invalidation.Id },
    });
    expect(done.state).toBe("SUCCESS");
    expect(performance.now() - beforeMs).toBeLessThan(10_000);
  });

  test("finds distributions", async () => {
    const { DistributionList } = await send("ListDistributionsCommand", {});
    expect(DistributionList.Items).toMatchObject([{ Id: distribution, Aliases: { Items: ["*"] } }]);
    expect((await send("GetDistributionCommand", { Id: distribution })).Distribution).toMatchObject({
      Id: distribution,
      Status: "Deployed",
    });
  });

  test("throws its own errors", async () => {
    const ask = (credentials: typeof key, DistributionId: string, command = "GetInvalidationCommand") =>
      clients.ask("cloudfront", {
        options: { endpoint: fleet.url, credentials },
        command,
        input: { DistributionId, Id: "I0" },
      });
    expect((await ask(key, distribution)).error).toMatchObject({ name: "NoSuchInvalidation", status: 404 });
    expect((await ask(key, "E0")).error).toMatchObject({ name: "NoSuchDistribution", status: 404 });
    expect((await ask({ ...key, secretAccessKey: "wrong" }, distribution)).error).toMatchObject({
      name: "SignatureDoesNotMatch",
      status: 403,
    });
  });
});

describe("aws-sdk 2.1693.0", () => {
  test("invalidates, and throws its own errors", async () => {
    const options = { endpoint: fleet.url, ...key };
    const call = (input: Readonly<Record<string, unknown>>) =>
      clients.ask("aws2", { options, method: "createInvalidation", input });
    const batch = (reference: string, items: string[]) => ({
      CallerReference: reference,
      Paths: { Quantity: items.length, Items: items },
    });
    const DistributionId = "EDFDVBD6EXAMPLE";
    let id = "";
    expect(
      await gone(["/blog/1", "/blog/1/x", "/blog/2"], async () => {
        const { value } = await call({
          DistributionId,
          InvalidationBatch: batch("v2", ["/blog/1", "/blog/1/*"]),
        });
        id = value.Invalidation.Id;
        await fleet.ask("GET", `/v1/purges/${id}?wait=applied`);
      }),
    ).toEqual(["/blog/1", "/blog/1/x"]);
    const shown = await clients.value("aws2", {
      options,
      method: "getInvalidation",
      input: { DistributionId, Id: id },
    });
    expect(shown.Invalidation).toMatchObject({
      Status: "Completed",
      InvalidationBatch: batch("v2", ["/blog/1", "/blog/1/*"]),
    });
    expect(
      (await call({ DistributionId: "E0", InvalidationBatch: batch("v3", ["/a"]) })).error,
    ).toMatchObject({
      code: "NoSuchDistribution",
      status: 404,
    });
  });
});
test("answers say in another CDN's fields what became of them, where the site wants that", async () => {
  const site = vendors.site();
  const said = async () => {
    const { headers } = await fetch(`${edge.http}/status`, { keepalive: false } as RequestInit);
    return ["x-cache", "cf-cache-status", "cdn-cache"].map((name) => headers.get(name));
  };
  await fleet.apply({ shop: { ...site, cacheStatusFields: ["cf-cache-status", "cdn-cache"] } }, [edge]);
  expect(await said()).toEqual(["MISS", "MISS", "MISS"]);
  expect(await said()).toEqual(["HIT", "HIT", "HIT"]);
  await fleet.apply({ shop: site }, [edge]);
  expect(await said()).toEqual(["HIT", null, null]);
});

describe("curl", () => {
  const curl = async (...argv: string[]) => {
    const child = Bun.spawn(["curl", "-sS", "-i", ...argv], { stdout: "pipe", stderr: "inherit" });
    const text = await new Response(child.stdout).text();
    await child.exited;
    const [head = "", body = ""] = text.split("\r\n\r\n");
    return { status: Number(head.split(" ")[1]), head, body };
  };

  test("with Bunny's purge script", async () => {
    const purge = (path: string, body?: string) => () =>
      curl(
        "-X",
        "POST",
        `${fleet.url}${path}`,
        "-H",
        `AccessKey: ${fleet.token}`,
        ...(body === undefined ? [] : ["-H", "Content-Type: application/json", "-d", body]),
      ).then(({ status }) => expect([200, 204]).toContain(status));
    const paths = ["/dir/a", "/dir/b", "/x"];
    const url = (path: string) => encodeURIComponent(`${edge.http}${path}`);
    expect(await gone(paths, purge("/pullzone/shop/purgeCache", '{"CacheTag":"page-x"}'))).toEqual(["/x"]);
    expect(await gone(paths, purge("/pullzone/12345/purgeCache"))).toEqual(paths);
    expect(await gone(paths, purge(`/purge?url=${url("/dir/a")}&async=false`))).toEqual(["/dir/a"]);
    expect(await gone(paths, purge(`/purge?url=${url("/dir/")}`))).toEqual(["/dir/a", "/dir/b"]);
    expect(await gone(paths, purge(`/purge?url=${url("/*b")}`))).toEqual(["/dir/b"]);
    const async = await curl(
      "-X",
      "POST",
      `${fleet.url}/pullzone/shop/purgeCache`,
      "-H",
      `AccessKey: ${fleet.token}`,
      "-d",
      '{"async": true}',
    );
    expect(async.status).toBe(204);
  });

  test("with Fastly's documented calls", async () => {
    const fastly = (path: string, ...more: string[]) =>
      curl("-X", "POST", `${fleet.url}${path}`, "-H", `Fastly-Key: ${fleet.token}`, ...more);
    expect(
      await gone(["/a", "/b"], async () => {
        const { status, body, head } = await fastly("/purge", "-H", "Surrogate-Key: page-a nothing");
        expect([status, JSON.parse(body).status]).toEqual([200, "ok"]);
        expect(head.toLowerCase()).toContain("proxima-purged-objects: 1");
      }),
    ).toEqual(["/a"]);
    const missed = await fastly("/service/shop/purge/b/c");
    expect(missed.head).toContain(
      "no stored object has a key of these: b/c; a path is purged by POST /purge/HOST/PATH",
    );
    expect((await curl("-X", "POST", `${fleet.url}/purge`, "-H", "Surrogate-Key: a")).status).toBe(401);
  });
});
