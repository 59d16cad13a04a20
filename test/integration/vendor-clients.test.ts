/** The clients of other CDNs, unmodified, against a control plane with an edge: what they purge is gone there. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { takeoverHosts } from "../../src/control/takeover.ts";
import { siteIds } from "../../src/control/vendors/site-ids.ts";
import { type FleetEdge, TestFleet } from "../kit/fleet.ts";
import { VendorClients } from "../kit/vendor-clients.ts";

let fleet: TestFleet;
let edge: FleetEdge;
let clients: VendorClients;
/** The same, as they come: they ask the hosts that they know. */
let unaware: VendorClients;
let takeoverPort: number;
let caFile: string;
let key: { accessKeyId: string; secretAccessKey: string };
beforeAll(async () => {
  clients = new VendorClients();
  fleet = new TestFleet(["--takeover", "127.0.0.1:0"]);
  await fleet.ready();
  takeoverPort = Number((await fleet.control.until(/takeover +https:\/\/127\.0\.0\.1:(\d+)/))[1]);
  [, caFile = ""] = await fleet.control.until(/NODE_EXTRA_CA_CERTS=(\S+)/);
  unaware = VendorClients.takenOver(takeoverPort, [...takeoverHosts, AKAMAI], caFile);
  edge = await fleet.edge("edge-a");
  await fleet.apply({ shop: fleet.site({ vendorIds: ["EDFDVBD6EXAMPLE", "12345"] }) }, [edge]);
  const made = await fleet.ask("POST", "/v1/tokens", { name: "ci", scopes: ["purge"], accessKey: true });
  key = { accessKeyId: made.value.token.accessKeyId, secretAccessKey: made.value.secretAccessKey };
}, 60_000);
afterAll(async () => {
  await Promise.all([clients.stop(), unaware.stop()]);
  await fleet.stop();
});

/** The host of an .edgerc. */
const AKAMAI = "akab-0123456789.luna.akamaiapis.net";
const host = () => new URL(edge.http).host;

/** Stores some paths anew and does something; which of them are not hits any more. */
async function gone(paths: readonly string[], act: () => Promise<unknown>): Promise<string[]> {
  await fleet.ask("POST", "/v1/purges?wait=applied", { scope: "everything", site: "shop" });
  for (const path of paths) await edge.get(path);
  for (const path of paths) expect((await edge.get(path)).cache).toBe("HIT");
  await act();
  const found: string[] = [];
  for (const path of paths) if ((await edge.get(path)).cache !== "HIT") found.push(path);
  return found;
}

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
    const site = fleet.site({ vendorIds: ["EDFDVBD6EXAMPLE", "12345"] });
    const run = async (reference: string) => {
      const made = await create(reference, ["#PAGE-B"]);
      expect(await completed(made.Invalidation.Id)).toBe("Completed");
    };
    expect(await gone(["/b", "/c"], () => run("case 1"))).toEqual([]);
    await fleet.apply({ shop: { ...site, tagCase: "insensitive" } }, [edge]);
    expect(await gone(["/b", "/c"], () => run("case 2"))).toEqual(["/b"]);
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

describe("akamai-edgegrid 4.0.4", () => {
  const ask = (path: string, body: unknown, clientSecret = key.secretAccessKey) =>
    unaware.ask("akamai", {
      client: { clientToken: key.accessKeyId, clientSecret, accessToken: key.accessKeyId, host: AKAMAI },
      path: `/ccu/v3/${path}`,
      body: JSON.stringify(body),
    });

  test("invalidates and deletes by URL, tag and CP code", async () => {
    const act = (path: string, objects: unknown[], hostname?: string) => async () => {
      const { value } = await ask(path, { objects, hostname });
      expect(value).toMatchObject({ status: 201, data: { httpStatus: 201, purgeId: expect.any(String) } });
      await fleet.ask("GET", `/v1/purges/${value.data.purgeId}?wait=applied`);
    };
    const paths = ["/a", "/b"];
    expect(await gone(paths, act("invalidate/url/production", [`${edge.http}/a`]))).toEqual(["/a"]);
    expect(await gone(paths, act("delete/url", ["/b"], host()))).toEqual(["/b"]);
    expect(await gone(paths, act("delete/tag/staging", ["page-a"]))).toEqual(["/a"]);
    expect(await gone(paths, act("delete/cpcode/production", [12345]))).toEqual(paths);
  });

  test("is refused with another secret", async () => {
    expect((await ask("delete/tag", { objects: ["a"] }, "wrong")).error).toMatchObject({
      status: 401,
      body: { httpStatus: 401, detail: expect.stringContaining("signature") },
    });
  });
});

describe("fastly 13.0.0, which only asks api.fastly.com", () => {
  const ask = (method: string, args: Readonly<Record<string, unknown>>, token = fleet.token) =>
    unaware.ask("fastly", { token, method, args });
  const purge = (method: string, args: Readonly<Record<string, unknown>>) => async () => {
    const { value, error } = await ask(method, args);
    expect(error).toBeUndefined();
    expect(value).toMatchObject({ status: 200, headers: { "content-type": "application/json" } });
    return value;
  };

  test("purges keys, URLs and everything", async () => {
    const service_id = siteIds("shop").fastly;
    const paths = ["/a", "/b?x=1", "/c"];
    expect(
      await gone(paths, purge("purgeTag", { service_id, surrogate_key: "page-a", fastly_soft_purge: 0 })),
    ).toEqual(["/a"]);
    expect(
      await gone(
        paths,
        purge("bulkPurgeTag", { service_id, purge_response: { surrogate_keys: ["page-a", "page-c"] } }),
      ),
    ).toEqual(["/a", "/c"]);
    expect(
      await gone(paths, purge("bulkPurgeTag", { service_id, surrogate_key: "page-c page-none" })),
    ).toEqual(["/c"]);
    expect(await gone(paths, purge("purgeSingleUrl", { cached_url: `${host()}/b?x=1` }))).toEqual(["/b?x=1"]);
    expect(await gone(paths, purge("purgeAll", { service_id }))).toEqual(paths);
  });

  test("gets the shapes that Fastly gives, and how many objects there were", async () => {
    await edge.get("/one");
    const one = await purge("purgeTag", { service_id: "shop", surrogate_key: "page-one" })();
    expect(one.data).toEqual({ status: "ok", id: expect.stringMatching(/^\d{3}-\d+-\d+$/) });
    expect(one.headers).toMatchObject({ "proxima-purged-objects": "1", "proxima-purge": one.data.id });
    expect((await fleet.ask("GET", `/v1/purges/${one.data.id}`)).value).toMatchObject({
      mode: "hard",
      objects: 1,
    });
    const two = await purge("bulkPurgeTag", {
      service_id: "shop",
      surrogate_key: "k1 k2",
      fastly_soft_purge: 1,
    })();
    expect(two.data).toEqual({ k1: expect.any(String), k2: expect.any(String) });
    expect(two.headers.warning).toContain("no stored object has a key of these: k1 k2");
    expect((await fleet.ask("GET", `/v1/purges/${two.data.k1}`)).value.mode).toBe("soft");
  });

  test("throws its own errors", async () => {
    const input = { service_id: "shop", surrogate_key: "a" };
    expect((await ask("purgeTag", input, "hello")).error).toMatchObject({
      status: 401,
      body: { msg: "Unauthorized", detail: expect.stringContaining("not known") },
    });
    expect((await ask("purgeTag", { ...input, service_id: "nothing" })).error).toMatchObject({ status: 404 });
  });
});

describe("takeover", () => {
  const ask = (hostField: string, path: string, fields: readonly string[] = []) => {
    const child = Bun.spawn(
      [
        "curl",
        "-sS",
        "-o",
        fleet.path("answer"),
        "-w",
        "%{http_code}",
        "--cacert",
        caFile,
        "--connect-to",
        `::127.0.0.1:${takeoverPort}`,
        ...fields.flatMap((field) => ["-H", field]),
        "-X",
        "POST",
        `https://${hostField}${path}`,
      ],
      { stdout: "pipe", stderr: "inherit" },
    );
    return new Response(child.stdout).text();
  };

  test("gives every name the API that is its own, and no other", async () => {
    const fastly = [`Fastly-Key: ${fleet.token}`];
    expect(await ask("api.fastly.com", "/service/shop/purge/x", fastly)).toBe("200");
    expect(await ask("api.bunny.net", "/service/shop/purge/x", fastly)).toBe("401");
    expect(await ask("api.bunny.net", "/pullzone/shop/purgeCache", [`AccessKey: ${fleet.token}`])).toBe(
      "204",
    );
    expect(
      await ask("api.fastly.com", "/v1/purges", [
        `Fastly-Key: ${fleet.token}`,
        `Authorization: Bearer ${fleet.token}`,
      ]),
    ).toBe("404");
    expect(await ask("localhost", "/v1/purges", [`Authorization: Bearer ${fleet.token}`])).toBe("421");
    expect(
      await ask("api.fastly.com", "/service/shop/purge/x", [...fastly, "Origin: https://evil.example"]),
    ).toBe("403");
    expect(
      await ask("api.fastly.com", "/service/shop/purge/x", [...fastly, "Sec-Fetch-Site: cross-site"]),
    ).toBe("403");
  });

  test("its names are not good at the control plane's own listener", async () => {
    const answer = await fetch(`${fleet.url}/service/shop/purge/x`, {
      method: "POST",
      headers: { host: "api.fastly.com", "fastly-key": fleet.token },
    });
    expect(answer.status).toBe(421);
  });

  test("prints what a machine needs", async () => {
    const run = (...argv: string[]) => fleet.run("takeover", "--data-dir", "control", ...argv);
    expect((await run("--hosts", "--address", "10.0.0.5")).out).toBe(
      `${["api.cloudflare.com", "api.fastly.com", "cloudfront.amazonaws.com", "api.bunny.net"].map((name) => `10.0.0.5 ${name}\n`).join("")}`,
    );
    expect((await run("--env")).out).toBe(`NODE_EXTRA_CA_CERTS=${caFile}\nAWS_CA_BUNDLE=${caFile}\n`);
    expect((await run("--address", "here")).status).toBe(2);
  });

  test("clients whose hosts could be set find theirs, too", async () => {
    await edge.get("/cf");
    await unaware.value("cloudflare", {
      options: { apiToken: fleet.token },
      method: "cache.purge",
      args: [{ zone_id: "shop", tags: ["page-cf"] }],
    });
    expect((await edge.get("/cf")).cache).toBe("MISS");
    const listed = await unaware.value("cloudfront", {
      options: { credentials: key },
      command: "ListDistributionsCommand",
      input: {},
    });
    expect(listed.DistributionList.Quantity).toBe(1);
  });
});

test("answers say in another CDN's fields what became of them, where the site wants that", async () => {
  const site = fleet.site({ vendorIds: ["EDFDVBD6EXAMPLE", "12345"] });
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
