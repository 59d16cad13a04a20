/** One application in four frameworks, on Bun and on Node: what viewers see of the kit is the same. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { frameworks, startApp } from "../../kit/origin-apps.mjs";

const SHARED = "public, max-age=0, s-maxage=300, stale-while-revalidate=30, stale-if-error=600";
const APPS = new URL("../../kit/origin-apps.mjs", import.meta.url).pathname;

interface App {
  readonly url: string;
  readonly stop: () => unknown;
}

/** The application on Node, as a process of its own, which ends with its standard input. */
async function startOnNode(framework: string): Promise<App> {
  const node = Bun.which("node");
  if (node === null) throw new Error("Node is not on PATH");
  const child = Bun.spawn([node, APPS, framework], { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
  const { value } = await child.stdout.getReader().read();
  return {
    url: new TextDecoder().decode(value).trim(),
    async stop() {
      await child.stdin.end();
      await child.exited;
    },
  };
}

const starts = frameworks.flatMap((framework) => [
  { framework, runtime: "Bun", start: (): Promise<App> => startApp(framework) },
  { framework, runtime: "Node", start: () => startOnNode(framework) },
]);

describe.each(starts)("$framework on $runtime", ({ start }) => {
  let app: App;
  beforeAll(async () => {
    app = await start();
  });
  afterAll(() => app.stop());
  const get = (path: string, headers: Record<string, string> = {}, method = "GET") =>
    fetch(`${app.url}${path}`, { method, headers });

  test.each([
    ["a page gets its rule's lifetimes", "/page", {}, 200, SHARED],
    ["a session makes it private", "/page", { cookie: "a=b; sid=1" }, 200, "private, no-cache"],
    ["so does a prefixed session cookie", "/page", { cookie: "__Host-sid=1" }, 200, "private, no-cache"],
    ["another cookie does not", "/page", { cookie: "theme=dark; side=left" }, 200, SHARED],
    ["Authorization makes it private", "/page", { authorization: "Bearer x" }, 200, "private, no-cache"],
    ["a hashed name is immutable", "/assets/app-4f3a9c1b.js", {}, 200, "public, max-age=31536000, immutable"],
    [
      "also for one who is logged in",
      "/assets/app-4f3a9c1b.js",
      { cookie: "sid=1" },
      200,
      "public, max-age=31536000, immutable",
    ],
    ["a name without a hash is not", "/assets/plain.js", {}, 200, "public, max-age=60"],
    ["what is gone has its own lifetime", "/assets/gone.js", {}, 404, "public, max-age=5"],
    ["a private path is private", "/account/me", {}, 200, "private, no-cache"],
    ["an answer that sets a cookie is private, whatever it said", "/login", {}, 200, "private, no-cache"],
    ["the application's own word stands", "/own", {}, 200, "max-age=7"],
    ["but not for a session", "/own", { cookie: "sid=1" }, 200, "private, no-cache"],
    ["an answer without a body has lifetimes", "/none", {}, 204, SHARED],
    ["an error has none", "/broken", {}, 500, null],
    ["what is not there has none", "/nowhere", {}, 404, null],
  ])("%s", async (_what, path, headers, status, cacheControl) => {
    const response = await get(path, headers as Record<string, string>);
    await response.arrayBuffer();
    expect(response.status).toBe(status);
    expect(response.headers.get("cache-control")).toBe(cacheControl);
  });

  test("fields that speak to shared caches go from a private answer", async () => {
    const response = await get("/login");
    expect(response.headers.get("set-cookie")).toBe("sid=1");
    expect(response.headers.get("cdn-cache-control")).toBeNull();
  });

  test("tags of the rule and of the exchange come in one field, what can not stand there encoded", async () => {
    expect((await get("/page")).headers.get("cache-tag")).toBe("page-1, two%20words%2C%20one%20comma");
    expect((await get("/assets/plain.js")).headers.get("cache-tag")).toBe("assets");
    expect((await get("/own")).headers.get("cache-tag")).toBeNull();
  });

  test("a whole body gets a validator, and a viewer who has it gets 304 without one", async () => {
    const first = await get("/assets/plain.js");
    const etag = first.headers.get("etag") ?? "";
    expect(await first.text()).toBe("plain");
    expect(etag).toMatch(/^W\/"[\w-]+"$/);
    const again = await get("/assets/plain.js", { "if-none-match": `"x", ${etag}` });
    expect([again.status, await again.text()]).toEqual([304, ""]);
    expect(again.headers.get("etag")).toBe(etag);
    expect(again.headers.get("cache-control")).toBe("public, max-age=60");
    const other = await get("/assets/plain.js", { "if-none-match": '"x"' });
    expect([other.status, await other.text()]).toEqual([200, "plain"]);
  });

  test("the application's own validator stands, and is compared", async () => {
    const again = await get("/own", { "if-none-match": '"mine"' });
    expect([again.status, again.headers.get("etag"), await again.text()]).toEqual([304, '"mine"', ""]);
  });

  test("a streamed body is whole, and has no validator", async () => {
    const response = await get("/stream");
    expect([response.headers.get("etag"), await response.text()]).toEqual([null, "a long story"]);
    expect(response.headers.get("cache-control")).toBe(SHARED);
  });

  test("an error is never answered with 304", async () => {
    const response = await get("/broken", { "if-none-match": "*" });
    expect([response.status, await response.text()]).toEqual([500, "oh"]);
  });

  test("methods that are not safe keep their answers as they are", async () => {
    const response = await get("/nowhere", {}, "POST");
    expect(response.headers.get("cache-control")).toBeNull();
  });
});

test.each(frameworks.map((framework) => [framework]))(
  "%s says that the origin suffers, until it does not",
  async (framework) => {
    const app = await startApp(framework);
    try {
      const status = async () => (await fetch(`${app.url}/page`)).headers.get("x-origin-status");
      expect(await status()).toBeNull();
      app.kit.suffer("the database is slow");
      expect(await status()).toBe("degraded");
      app.kit.suffer(null);
      expect(await status()).toBeNull();
    } finally {
      await app.stop();
    }
  },
);
