import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type DemoOrigin, startDemoOrigin } from "../../../src/cli/demo/origin.ts";

let demo: DemoOrigin;

beforeAll(async () => {
  demo = await startDemoOrigin();
});

afterAll(() => demo.stop());

function ask(path: string, init: RequestInit = {}): Promise<Response> {
  return fetch(demo.url + path, { redirect: "manual", ...init });
}

/** Addresses that the page refers to, of its own site. */
async function linked(): Promise<string[]> {
  const page = await (await ask("/")).text();
  return [...page.matchAll(/(?:src|href|data-url)="(\/[^"]*)"/g)].map((match) => match[1] ?? "");
}

describe("the demo origin", () => {
  test("listens on loopback and has every resource that its page names", async () => {
    expect(new URL(demo.url).hostname).toBe("127.0.0.1");
    const paths = await linked();
    expect(paths.length).toBeGreaterThan(8);
    for (const path of new Set(paths)) {
      if (path === "/slow") continue;
      expect([path, (await ask(path)).status]).toEqual([path, path === "/missing" ? 404 : 200]);
    }
  });

  test.each([
    ["/", "text/html; charset=utf-8", "public, max-age=0, s-maxage=60"],
    ["/images/sunrise.svg", "image/svg+xml", "public, max-age=3600"],
    ["/images/sunrise.png", "image/png", "public, max-age=3600"],
    ["/images/sunrise.webp", "image/webp", "public, max-age=3600"],
    ["/api/time", "application/json", "s-maxage=5, stale-while-revalidate=30"],
    ["/api/products?page=2", "application/json", "public, max-age=30"],
    ["/account", "text/html; charset=utf-8", "private, no-store"],
    ["/missing", "text/html; charset=utf-8", "public, max-age=5"],
    ["/robots.txt", "text/plain; charset=utf-8", "public, max-age=86400"],
  ])("gives %s its type and its freshness, to HEAD as to GET", async (path, type, cacheControl) => {
    const get = await ask(path);
    const body = await get.bytes();
    expect(get.headers.get("content-type")).toBe(type);
    expect(get.headers.get("cache-control")).toBe(cacheControl);
    expect(get.headers.get("content-length")).toBe(String(body.byteLength));
    const head = await ask(path, { method: "HEAD" });
    expect(head.status).toBe(get.status);
    expect(await head.text()).toBe("");
    for (const name of ["content-type", "content-length", "cache-control", "etag"]) {
      expect([name, head.headers.get(name)]).toEqual([name, get.headers.get(name)]);
    }
  });

  test("names its assets by their content and makes them immutable", async () => {
    const assets = (await linked()).filter((path) => path.startsWith("/assets/"));
    expect(new Set(assets.map((path) => path.replace(/^.*\./, "")))).toEqual(new Set(["css", "js"]));
    for (const path of assets) {
      const response = await ask(path);
      expect(response.headers.get("cache-control")).toBe("public, max-age=31536000, immutable");
      const hash = new Bun.CryptoHasher("sha256").update(await response.bytes()).digest("hex");
      expect(path).toContain(`.${hash.slice(0, 16)}.`);
    }
  });

  test("has pictures that decode", async () => {
    for (const path of ["/images/sunrise.png", "/images/sunrise.webp"]) {
      const { width, height } = await new Bun.Image(await (await ask(path)).bytes()).metadata();
      expect([width, height]).toEqual([480, 270]);
    }
  });

  test("answers 304 to its own tag", async () => {
    const etag = (await ask("/images/sunrise.png")).headers.get("etag") ?? "";
    const again = await ask("/images/sunrise.png", { headers: { "if-none-match": etag } });
    expect([again.status, await again.text(), again.headers.get("etag")]).toEqual([304, "", etag]);
  });

  test("greets by the cookie, escapes it, and sets one", async () => {
    const page = await ask("/account", {
      headers: { cookie: `x=1; name=${encodeURIComponent('<b>Ada"</b>')}` },
    });
    expect(page.headers.get("set-cookie")).toStartWith("session=demo;");
    const text = await page.text();
    expect(text).toContain("Hello, <span>&#60;b&#62;Ada&#34;&#60;/b&#62;</span>");
    expect(await (await ask("/account")).text()).toContain("stranger");
  });

  test("sends a policy that its page keeps: no inline code, no foreign address", async () => {
    const response = await ask("/");
    expect(response.headers.get("content-security-policy")).toContain("default-src 'none'");
    const page = await response.text();
    expect(page).not.toMatch(/\son[a-z]+=|\sstyle=|<style|<script(?![^>]*\ssrc=)|javascript:/i);
    expect(page).not.toMatch(/(?:src|href)="(?!\/(?!\/))/);
  });

  test("pages its products and tags them, and refuses a page that is none", async () => {
    const first = await ask("/api/products");
    expect(first.headers.get("surrogate-key")).toBe("products product-1 product-2 product-3 product-4");
    expect(await first.text()).toBe(await (await ask("/api/products?page=1")).text());
    for (const page of ["0", "6", "x", "-1", "1e1"]) {
      expect((await ask(`/api/products?page=${page}`)).status).toBe(400);
    }
  });

  test("refuses other methods", async () => {
    const response = await ask("/", { method: "POST", body: "x" });
    expect([response.status, response.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
  });

  test("streams events, and ends while one is open", async () => {
    const own = await startDemoOrigin();
    const response = await fetch(`${own.url}/events`);
    expect(response.headers.get("content-type")).toBe("text/event-stream");
    const reader = response.body?.getReader();
    const first = await reader?.read();
    expect(new TextDecoder().decode(first?.value)).toBe("event: tick\ndata: 1\n\n");
    await own.stop();
    const rest = await reader?.read().catch(() => ({ done: true }));
    expect(rest?.done).toBe(true);
    const gone = await fetch(own.url).then(
      () => "answered",
      () => "refused",
    );
    expect(gone).toBe("refused");
  });

  test("offers three things to try, of paths that it has", async () => {
    expect(demo.trials).toHaveLength(3);
    for (const { path } of demo.trials) expect((await ask(path)).status).toBe(200);
  });
});
