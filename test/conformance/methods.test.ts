/** HEAD, OPTIONS, and what unsafe methods do to what is stored (RFC 9110 section 9, RFC 9111 section 4.4). */
import { describe, expect, test } from "bun:test";
import { gzipSync } from "node:zlib";
import { sendRaw } from "../kit/raw-send.ts";
import { counting, gate, lab, text, until, validating } from "./support.ts";

const l = lab({ https: true });
const options = lab({ behavior: { cachedMethods: ["GET", "HEAD", "OPTIONS"] } });
const HEAD = { method: "HEAD" };
const page = "a page that is long enough to be worth compressing, said again and again. ".repeat(30);

describe("HEAD", () => {
  test("of a stored GET is answered from it: the same fields, the length, no body, no request", async () => {
    const path = l.path(counting({ "cache-control": "max-age=10", etag: '"a"', "x-y": "z" }));
    await l.get(path);
    l.pass(3);
    const got = await l.get(path);
    const head = await l.get(path, {}, HEAD);
    expect(head).toMatchObject({ status: 200, cache: "HIT", body: "" });
    for (const [name, value] of got.headers)
      if (name !== "connection" && name !== "keep-alive")
        expect([name, head.headers.get(name)]).toEqual([name, value]);
    expect(head.headers.get("content-length")).toBe("1");
    expect(l.seen(path).length).toBe(1);
  });
  test("of a cold object asks the origin with HEAD and stores nothing", async () => {
    const path = l.path(() => text("body", { "cache-control": "max-age=10" }));
    const head = await l.get(path, {}, HEAD);
    expect(head).toMatchObject({ status: 200, body: "" });
    expect(head.headers.get("content-length")).toBe("4");
    expect(l.seen(path).map(({ method }) => method)).toEqual(["HEAD"]);
    expect(await l.get(path)).toMatchObject({ cache: "MISS", body: "body" });
    expect(await l.get(path)).toMatchObject({ cache: "HIT", body: "body" });
  });
  test("never poisons a GET, whatever the origin says to it", async () => {
    const path = l.path((request) =>
      request.method === "HEAD"
        ? new Response(null, {
            status: 404,
            headers: { "cache-control": "max-age=1000", "content-length": "9999" },
          })
        : text("body", { "cache-control": "max-age=10" }),
    );
    expect((await l.get(path, {}, HEAD)).status).toBe(404);
    expect(await l.get(path)).toMatchObject({ status: 200, body: "body", cache: "MISS" });
    expect((await l.get(path, {}, HEAD)).status).toBe(200);
  });
  test("and GET at the same time on a cold object do not disturb each other", async () => {
    const door = gate();
    const path = l.path(async () => {
      await door.opened;
      return text("body", { "cache-control": "max-age=10" });
    });
    const all = Promise.all([l.get(path, {}, HEAD), l.get(path), l.get(path, {}, HEAD), l.get(path)]);
    await until(() => l.seen(path).length >= 2, "a HEAD and a GET");
    door.open();
    expect((await all).map(({ body }) => body)).toEqual(["", "body", "", "body"]);
  });
  test("of a stored error or redirect keeps its status", async () => {
    const path = l.path(
      () => new Response(null, { status: 301, headers: { location: "/x", "cache-control": "max-age=10" } }),
    );
    await l.get(path);
    const head = await l.get(path, {}, HEAD);
    expect(head).toMatchObject({ status: 301, cache: "HIT" });
    expect(head.headers.get("location")).toBe("/x");
  });
  test("of a cold object is answered on its condition", async () => {
    const path = l.path(counting({ "cache-control": "max-age=10", etag: '"a"' }));
    expect((await l.get(path, { "if-none-match": '"a"' }, HEAD)).status).toBe(304);
    expect((await l.get(path, { "if-none-match": '"b"' }, HEAD)).status).toBe(200);
    expect(l.seen(path).every(({ headers }) => !headers.has("if-none-match"))).toBe(true);
  });
  test("ignores Range", async () => {
    const path = l.path(() => text("0123456789", { "cache-control": "max-age=10" }));
    await l.get(path);
    const head = await l.get(path, { range: "bytes=0-3" }, HEAD);
    expect(head.status).toBe(200);
    expect(head.headers.get("content-length")).toBe("10");
    expect(head.headers.has("content-range")).toBe(false);
  });
  test("tells of the same coding as GET, cold and stored", async () => {
    const path = l.path(
      () =>
        new Response(gzipSync(page), {
          headers: {
            "content-type": "text/html",
            "content-encoding": "gzip",
            etag: '"a"',
            "cache-control": "max-age=10",
          },
        }),
    );
    for (const coding of ["identity", "gzip", "br"]) {
      const cold = await l.get(`${path}?${coding}`, { "accept-encoding": coding }, HEAD);
      const got = await l.get(`${path}?${coding}`, { "accept-encoding": coding });
      const stored = await l.get(`${path}?${coding}`, { "accept-encoding": coding }, HEAD);
      expect(got.headers.get("content-encoding")).toBe(coding === "identity" ? null : coding);
      expect(stored.headers.get("content-encoding")).toBe(got.headers.get("content-encoding"));
      expect(stored.headers.get("content-length")).toBe(String(got.bytes.byteLength));
      const coldCoding = cold.headers.get("content-encoding");
      expect(coldCoding === null || coldCoding === coding).toBe(true);
      if (coldCoding === null)
        expect(cold.headers.get("content-length")).not.toBe(String(gzipSync(page).byteLength));
      expect(cold.headers.get("vary")).toContain("Accept-Encoding");
    }
  });
});

describe("OPTIONS", () => {
  const preflight = (request: Request) =>
    new Response(null, {
      status: 204,
      headers: {
        "access-control-allow-origin": request.headers.get("origin") ?? "none",
        "access-control-allow-methods": request.headers.get("access-control-request-method") ?? "none",
        "cache-control": "max-age=10",
      },
    });
  const ask = (path: string, origin: string, method = "PUT", fields = "") =>
    options.get(
      path,
      { origin, "access-control-request-method": method, "access-control-request-headers": fields },
      { method: "OPTIONS" },
    );

  test("is passed through where the behaviour does not cache it", async () => {
    const path = l.path(preflight);
    for (let i = 0; i < 2; i++)
      expect((await l.get(path, { origin: "https://a.example" }, { method: "OPTIONS" })).cache).toBe(
        "BYPASS",
      );
  });
  test("is stored where the behaviour caches it, apart for each preflight and apart from GET", async () => {
    const path = options.path((request) =>
      request.method === "OPTIONS" ? preflight(request) : text("got", { "cache-control": "max-age=10" }),
    );
    for (const cache of ["MISS", "HIT"]) {
      for (const origin of ["https://a.example", "https://b.example"]) {
        const answer = await ask(path, origin);
        expect(answer).toMatchObject({ status: 204, cache });
        expect(answer.headers.get("access-control-allow-origin")).toBe(origin);
      }
      const other = await ask(path, "https://a.example", "DELETE");
      expect(other.cache).toBe(cache);
      expect(other.headers.get("access-control-allow-methods")).toBe("DELETE");
      expect((await ask(path, "https://a.example", "PUT", "x-a")).cache).toBe(cache);
      expect(await options.get(path)).toMatchObject({ body: "got", cache });
    }
    expect(options.seen(path).filter(({ method }) => method === "OPTIONS").length).toBe(4);
    options.pass(10);
    expect((await ask(path, "https://a.example")).cache).toBe("EXPIRED");
  });
  test("that is stored goes with the URL when an unsafe request succeeds", async () => {
    const path = options.path((request) =>
      request.method === "OPTIONS" ? preflight(request) : text("done"),
    );
    await ask(path, "https://a.example");
    await options.get(path, {}, { method: "PUT" });
    expect((await ask(path, "https://a.example")).cache).toBe("MISS");
  });
});

/** A path with a stored body, whose answer to other methods is `status` with `headers`. */
async function stored(status = 200, headers: Record<string, string> = {}): Promise<string> {
  let count = 0;
  const path = l.path((request) =>
    request.method === "GET"
      ? text(String(++count), { "cache-control": "max-age=1000", vary: "x-a" })
      : new Response(status === 204 ? null : "done", { status, headers }),
  );
  for (const value of ["1", "2"]) await l.get(path, { "x-a": value });
  expect((await l.get(path, { "x-a": "1" })).cache).toBe("HIT");
  return path;
}

const isStored = async (path: string, value = "1") => (await l.get(path, { "x-a": value })).cache === "HIT";

describe("an unsafe method that succeeds invalidates its URL", () => {
  for (const method of ["POST", "PUT", "DELETE", "PATCH", "MKCOL", "LOCK", "PURGE"]) {
    test(`${method}: every variant`, async () => {
      const path = await stored();
      expect((await l.get(path, {}, { method })).body).toBe("done");
      expect(l.seen(path).at(-1)?.method).toBe(method);
      expect(await isStored(path)).toBe(false);
      expect(await isStored(path, "2")).toBe(false);
    });
  }
  test("a method that nobody knows", async () => {
    const path = await stored();
    const answer = await sendRaw(
      { port: l.edge.port },
      `FROBNICATE ${path} HTTP/1.1\r\nhost: 127.0.0.1:${l.edge.port}\r\nconnection: close\r\n\r\n`,
    );
    // The runtime's test origin may not know the method: whatever it says, a refusal must not invalidate, a success must.
    const succeeded = / (2|3)\d\d /.test(answer.slice(0, 16));
    expect(await isStored(path)).toBe(!succeeded);
  });
  for (const status of [200, 201, 202, 204, 301, 302, 303, 307, 308]) {
    test(`status ${status}`, async () => {
      const path = await stored(status, status >= 300 ? { location: "/other" } : {});
      await l.get(path, {}, { method: "POST" });
      expect(await isStored(path)).toBe(false);
    });
  }
  for (const status of [400, 401, 403, 404, 405, 409, 412, 422, 429, 500, 502, 503]) {
    test(`but not with status ${status}`, async () => {
      const path = await stored(status);
      expect((await l.get(path, {}, { method: "POST" })).status).toBe(status);
      expect(await isStored(path)).toBe(true);
      expect(await isStored(path, "2")).toBe(true);
    });
  }
  for (const method of ["HEAD", "OPTIONS", "PROPFIND", "SEARCH", "REPORT"]) {
    test(`but not the safe ${method}`, async () => {
      const path = await stored();
      await l.get(path, {}, { method });
      expect(await isStored(path)).toBe(true);
    });
  }
  test("only its own query", async () => {
    const path = await stored();
    for (const query of ["?a", "?b"]) await l.get(path + query, { "x-a": "1" });
    await l.get(`${path}?a`, {}, { method: "POST" });
    expect(await isStored(`${path}?a`)).toBe(false);
    expect(await isStored(`${path}?b`)).toBe(true);
    expect(await isStored(path)).toBe(true);
  });
  test("with a request body", async () => {
    const path = await stored();
    await l.get(path, { "content-type": "text/plain" }, { method: "POST", body: "some words" });
    expect(await isStored(path)).toBe(false);
  });
  test("in the other scheme, too", async () => {
    const host = { host: "both.example", "x-a": "1" };
    const path = await stored();
    const https = (init: RequestInit = {}) =>
      fetch(l.edge.httpsUrl + path, {
        ...init,
        headers: host,
        tls: { rejectUnauthorized: false },
      } as RequestInit);
    await l.get(path, host);
    await https();
    expect((await https()).headers.get("x-cache")).toBe("HIT");
    expect((await l.get(path, host)).cache).toBe("HIT");
    await l.get(path, host, { method: "DELETE" });
    expect((await https()).headers.get("x-cache")).toBe("MISS");
    await l.get(path, host);
    await https({ method: "POST" });
    expect((await l.get(path, host)).cache).toBe("MISS");
  });
  test("and not the same path of another host", async () => {
    const path = await stored();
    await l.get(path, { host: "a.example", "x-a": "1" });
    await l.get(path, { host: "b.example" }, { method: "POST" });
    expect((await l.get(path, { host: "a.example", "x-a": "1" })).cache).toBe("HIT");
  });
});

describe("Location and Content-Location of a success", () => {
  for (const name of ["location", "content-location"]) {
    test(`${name} is invalidated when it is of the same host, in any form`, async () => {
      const forms: ((path: string) => string)[] = [
        (p) => p,
        (p) => l.edge.url + p,
        (p) => `//127.0.0.1:${l.edge.port}${p}`,
        (p) => p.slice(1),
        (p) => `/x/..${p}`,
        (p) => `${p}#part`,
      ];
      for (const form of forms) {
        const target = await stored();
        const path = await stored(201, { [name]: form(target) });
        await l.get(path, {}, { method: "POST" });
        expect([form(target), await isStored(target), await isStored(target, "2")]).toEqual([
          form(target),
          false,
          false,
        ]);
      }
    });
    test(`${name} of another host, port or scheme's default port is not`, async () => {
      for (const base of [
        "http://other.example",
        "http://127.0.0.1",
        `http://127.0.0.1:${1}`,
        "https://127.0.0.1",
        "not a url:",
        "javascript:",
      ]) {
        const target = await stored();
        const path = await stored(201, { [name]: base + target });
        await l.get(path, {}, { method: "POST" });
        expect([base, await isStored(target)]).toEqual([base, true]);
      }
    });
    test(`${name} of another host of the same site is not, there either`, async () => {
      const target = await stored();
      const there = { host: "other.example", "x-a": "1" };
      await l.get(target, there);
      const path = await stored(201, { [name]: `http://other.example${target}` });
      await l.get(path, {}, { method: "POST" });
      expect((await l.get(target, there)).cache).toBe("HIT");
      expect(await isStored(target)).toBe(true);
    });
    test(`${name} of a failure is not`, async () => {
      const target = await stored();
      const path = await stored(500, { [name]: target });
      await l.get(path, {}, { method: "POST" });
      expect(await isStored(target)).toBe(true);
    });
  }
  test("are invalidated with their query", async () => {
    const target = await stored();
    await l.get(`${target}?q=1`, { "x-a": "1" });
    const path = await stored(303, { location: `${target}?q=1` });
    await l.get(path, {}, { method: "POST" });
    expect(await isStored(`${target}?q=1`)).toBe(false);
    expect(await isStored(target)).toBe(true);
  });
});

describe("an answer on its way when its URL is invalidated", () => {
  const alone = lab({ behavior: { collapse: false } });

  for (const [name, of] of [
    ["with collapsing", l],
    ["without collapsing", alone],
  ] as const) {
    test(`is not stored (${name}): its head came after`, async () => {
      const door = gate();
      let version = "old";
      const path = of.path(async (request) => {
        if (request.method === "POST") {
          version = "new";
          return text("done");
        }
        const body = version;
        await door.opened;
        return text(body, { "cache-control": "max-age=1000" });
      });
      const first = of.get(path);
      await until(() => of.seen(path).length === 1, "the GET at the origin");
      await of.get(path, {}, { method: "POST" });
      const second = of.get(path);
      await until(() => of.seen(path).length === 3, "the second GET at the origin");
      door.open();
      expect((await first).body).toBe("old");
      expect((await second).body).toBe("new");
      expect((await of.get(path)).body).toBe("new");
    });
    test(`is not stored (${name}): half of its body came before`, async () => {
      const door = gate();
      let version = "old";
      const path = of.path((request) => {
        if (request.method === "POST") {
          version = "new";
          return text("done");
        }
        const body = version;
        return new Response(
          (async function* () {
            yield new TextEncoder().encode(`${body} `);
            await door.opened;
            yield new TextEncoder().encode(body);
          })() as unknown as ReadableStream,
          { headers: { "content-type": "text/plain", "cache-control": "max-age=1000" } },
        );
      });
      const first = of.get(path);
      await until(() => of.seen(path).length === 1, "the GET at the origin");
      await Bun.sleep(20);
      await of.get(path, {}, { method: "POST" });
      door.open();
      expect((await first).body).toBe("old old");
      expect(await of.get(path)).toMatchObject({ body: "new new" });
    });
  }
  test("is not stored when it is the revalidation of what was stored", async () => {
    const door = gate();
    let hold = false;
    const path = l.path(async (request) => {
      if (request.method === "POST") return text("done");
      const answer = validating("body", { etag: '"a"', "cache-control": "max-age=10" })(
        request,
        undefined as never,
      );
      if (hold) await door.opened;
      return answer;
    });
    await l.get(path);
    l.pass(10);
    hold = true;
    const first = l.get(path);
    await until(() => l.seen(path).length === 2, "the revalidation");
    await l.get(path, {}, { method: "POST" });
    hold = false;
    door.open();
    expect((await first).body).toBe("body");
    expect((await l.get(path)).cache).toBe("MISS");
  });
});
