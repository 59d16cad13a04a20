/** Clients of other CDNs that ask their vendor's host and no other, unmodified: they reach a control plane, and what they purge is gone at its edge. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { connect } from "node:tls";
import { siteIds } from "../../src/control/vendors/site-ids.ts";
import type { FleetEdge, TestFleet } from "../kit/fleet.ts";
import type { VendorClients } from "../kit/vendor-clients.ts";
import { AKAMAI_HOST, VendorFleet } from "../kit/vendor-fleet.ts";

let vendors: VendorFleet;
let fleet: TestFleet;
let edge: FleetEdge;
let unaware: VendorClients;
let takeoverPort: number;
let caFile: string;
let key: VendorFleet["key"];
beforeAll(async () => {
  vendors = await VendorFleet.start();
  ({ fleet, edge, unaware, takeoverPort, caFile, key } = vendors);
}, 60_000);
afterAll(() => vendors.stop());

const gone = (paths: readonly string[], act: () => Promise<unknown>) => vendors.gone(paths, act);

describe("akamai-edgegrid 4.0.4", () => {
  const ask = (path: string, body: unknown, clientSecret = key.secretAccessKey) =>
    unaware.ask("akamai", {
      client: { clientToken: key.accessKeyId, clientSecret, accessToken: key.accessKeyId, host: AKAMAI_HOST },
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
    expect(await gone(paths, act("delete/url", ["/b"], vendors.host))).toEqual(["/b"]);
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
    expect(await gone(paths, purge("purgeSingleUrl", { cached_url: `${vendors.host}/b?x=1` }))).toEqual([
      "/b?x=1",
    ]);
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

  test("Bunny's storage clients find their zone: uploads, listings, DESCRIBE", async () => {
    expect((await fleet.ask("POST", "/v1/zones", { name: "web" })).status).toBe(201);
    const zone = { zone: "web", key: fleet.token, text: "let a = 1;" };
    const first = await unaware.value("bunnyStorageRound", zone);
    expect(first).toMatchObject({
      shown: { objectName: "app.js", length: 10, contentType: "application/javascript" },
      read: zone.text,
      listed: ["app.js"],
      removed: true,
    });
    const second = await unaware.value("bunnycdnStorage", zone);
    expect(second).toEqual({ status: 201, data: zone.text, listed: ["b.txt"] });
    const { error } = await unaware.ask("bunnyStorageRound", { ...zone, key: "wrong" });
    expect(error?.message).toContain("Unauthorized access to storage zone: web");
  });

  test("whatever comes there is answered in its shape, or refused", async () => {
    const status = async (head: string, body: string | Uint8Array = "") =>
      Number(/^HTTP\/1\.1 (\d{3})/.exec(await overTls(takeoverPort, caFile, head, body))?.[1]);
    const post = (path: string, ...fields: string[]) =>
      `POST ${path} HTTP/1.1\r\nHost: api.fastly.com\r\nFastly-Key: ${fleet.token}\r\nConnection: close\r\n${fields.map((field) => `${field}\r\n`).join("")}\r\n`;
    expect(await status(post("/service/shop/purge/x", "Content-Length: 0"))).toBe(200);
    expect(await status(post("/service/shop/purge/x", "Content-Length: 0").replace("POST", "DESCRIBE"))).toBe(
      404,
    );
    expect(await status(post("/service/shop/purge/x", "Content-Length: 0", "X: \xe4\x80\xff"))).toBe(200);
    const body = '{"surrogate_keys":["x"]}';
    const chunked = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
    expect(await status(post("/service/shop/purge", "Transfer-Encoding: chunked"), chunked)).toBe(200);
    expect(
      await status(post("/service/shop/purge", `Content-Length: ${2 ** 20}`), Buffer.alloc(2 ** 20, "x")),
    ).toBe(413);
    const large = `80000\r\n${"x".repeat(0x80000)}\r\n`.repeat(2);
    expect(await status(post("/service/shop/purge", "Transfer-Encoding: chunked"), `${large}0\r\n\r\n`)).toBe(
      413,
    );
    expect(await status(post("/service/shop/purge", "Content-Length: 1", "Content-Length: 2"), "x")).toBe(
      400,
    );
    expect(
      await status(
        post("/service/shop/purge/x", "Content-Length: 0").replace("api.fastly.com", "a.api.fastly.com"),
      ),
    ).toBe(421);
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
    const lines = (await run("--hosts", "--address", "10.0.0.5")).out.split("\n");
    expect(lines.slice(0, 5)).toEqual([
      "10.0.0.5 api.cloudflare.com",
      "10.0.0.5 api.fastly.com",
      "10.0.0.5 cloudfront.amazonaws.com",
      "10.0.0.5 api.bunny.net",
      "10.0.0.5 storage.bunnycdn.com",
    ]);
    expect(lines.join()).not.toContain("*");
    expect((await run("--env")).out).toBe(`NODE_EXTRA_CA_CERTS=${caFile}\nAWS_CA_BUNDLE=${caFile}\n`);
    expect((await run("--address", "here")).status).toBe(2);
    // Three starts of the program, on a machine that may be busy.
  }, 20_000);

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

/** Sends bytes over TLS as they are; resolves with all that came back. */
function overTls(port: number, ca: string, head: string, body: string | Uint8Array): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    const socket = connect(
      { host: "127.0.0.1", port, servername: "api.fastly.com", ca: readFileSync(ca) },
      () => {
        socket.write(Buffer.from(head, "latin1"));
        if (body.length > 0) socket.write(body);
      },
    );
    socket.setEncoding("latin1");
    socket.on("data", (piece) => {
      text += piece;
    });
    socket.on("close", () => resolve(text));
    // What is refused early is cut while the rest of it is still being sent.
    socket.on("error", (error) => (text === "" ? reject(error) : resolve(text)));
  });
}
