/** proxima-cdn/client against a control plane. Its types are checked with the rest of the program. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { ApiError, type Client, connect } from "proxima-cdn/client";
import { siteConfig, startTestControl, type TestControl } from "../../kit/control.ts";

let control: TestControl;
let client: Client;
beforeAll(async () => {
  control = await startTestControl();
  client = connect({ url: `${control.url}/`, token: control.admin });
});
afterAll(() => control.stop());

describe("the client", () => {
  test("makes sites and versions, and hears what they are", async () => {
    const { site } = await client.call("POST /v1/sites", {
      body: { id: "shop", config: { hosts: ["shop.test"], origins: { app: { url: "http://origin.test" } } } },
    });
    const { version } = await client.call("POST /v1/sites/{site}/versions", {
      params: { site: site.id },
      body: { note: "first" },
    });
    const { site: active } = await client.call("POST /v1/sites/{site}/activate", {
      params: { site: "shop" },
      body: { version: version.number },
    });
    expect([active.activeVersion, active.hosts]).toEqual([1, ["shop.test"]]);
    const purge = await client.call("POST /v1/purges", {
      body: { scope: "tag", tags: ["a"] },
      query: { wait: "applied", seconds: 1 },
      idempotencyKey: "k",
    });
    const again = await client.call("POST /v1/purges", {
      body: { scope: "tag", tags: ["a"] },
      idempotencyKey: "k",
    });
    expect(again.id).toBe(purge.id);
    expect(await client.call("DELETE /v1/sites/{site}", { params: { site: "shop" } })).toBeUndefined();
  });

  test("changes only what is still as it was seen", async () => {
    await control.ask("POST", "/v1/apply", { sites: { blog: siteConfig("blog.test") } });
    const { etag } = await client.ask("GET /v1/sites/{site}", { params: { site: "blog" } });
    const put = (ifMatch: string | null) =>
      client.call("PUT /v1/sites/{site}/draft", {
        params: { site: "blog" },
        body: { hosts: ["b.test"], origins: { app: { url: "http://o.test" } } },
        ...(ifMatch === null ? {} : { ifMatch }),
      });
    await put(etag);
    const error = await put(etag).catch((cause: unknown) => cause);
    expect(error).toBeInstanceOf(ApiError);
    expect(error).toMatchObject({ status: 412, problem: { title: "Precondition Failed" } });
  });

  test("goes through lists page by page", async () => {
    for (let i = 0; i < 5; i++) await client.call("POST /v1/sites", { body: { id: `site-${i}` } });
    const ids: string[] = [];
    for await (const site of client.each("GET /v1/sites", { query: { limit: 2 } })) ids.push(site.id);
    expect(ids).toEqual(["blog", "site-0", "site-1", "site-2", "site-3", "site-4"]);
  });

  test("tries again what may be sent twice, and nothing else", async () => {
    let sent = 0;
    const flaky = connect({
      url: control.url,
      token: control.admin,
      fetch: (url, init) => (++sent < 3 ? Promise.reject(new Error("cut")) : fetch(url, init)),
    });
    expect((await flaky.call("GET /v1/sites")).items.length).toBeGreaterThan(0);
    expect(sent).toBe(3);
    sent = 0;
    const purge = { body: { site: "blog", scope: "everything" } } as const;
    await expect(flaky.call("POST /v1/purges", purge)).rejects.toMatchObject({ status: 0 });
    expect(sent).toBe(1);
    sent = 0;
    await flaky.call("POST /v1/purges", { ...purge, idempotencyKey: "flaky" });
    expect(sent).toBe(3);
    await expect(client.call("GET /v1/sites/{site}", { params: { site: "" } })).rejects.toThrow(
      "params.site",
    );
  });
});

/** What must not compile. */
export function wrong(asked: Client): unknown[] {
  return [
    // @ts-expect-error there is no such route
    asked.call("GET /v1/nothing"),
    // @ts-expect-error the body is missing
    asked.call("POST /v1/sites"),
    // @ts-expect-error the parameter is missing
    asked.call("GET /v1/sites/{site}"),
    // @ts-expect-error no such scope
    asked.call("POST /v1/purges", { body: { scope: "all" } }),
    // @ts-expect-error no list
    asked.each("GET /v1/sites/{site}", { params: { site: "x" } }),
  ];
}
