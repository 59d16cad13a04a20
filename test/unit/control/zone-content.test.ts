/** The door for content: what a node is given as of a place of the log, and who is refused. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ManualClock } from "../../../src/base/clock.ts";
import { ControlDatabase } from "../../../src/control/database.ts";
import { Blobs } from "../../../src/control/zones/blobs.ts";
import { type BodyReader, bodyOf } from "../../../src/http/body.ts";
import type { BlobStore } from "../../../src/storage/blob-store.ts";
import { siteConfig, startTestControl, type TestControl } from "../../kit/control.ts";

const hashOf = (text: string) => createHash("sha256").update(text).digest("hex");

describe("content", () => {
  let control: TestControl;
  let credential = "";
  const places: number[] = [];
  const upload = (text: string, token = control.admin, hash = hashOf(text), zone = "web") =>
    fetch(`${control.url}/v1/zones/${zone}/content/${hash}`, {
      method: "PUT",
      headers: { authorization: `Bearer ${token}` },
      body: text,
    });
  const get = async (path: string, headers: Record<string, string> = {}, bearer = credential) => {
    const response = await fetch(`${control.url}/v1/content/web${path}`, {
      headers: { authorization: `Bearer ${bearer}`, "proxima-site": "shop", ...headers },
    });
    return { status: response.status, headers: response.headers, body: await response.text() };
  };
  const release = async (files: Record<string, string>) => {
    for (const text of Object.values(files)) expect((await upload(text)).status).toBe(204);
    const made = await control.ask("POST", "/v1/zones/web/releases", {
      files: Object.entries(files).map(([path, text]) => ({ path, hash: hashOf(text), bytes: text.length })),
    });
    expect(made.status).toBe(201);
    places.push((await control.ask("GET", "/v1/changes/head")).value.head);
  };

  beforeAll(async () => {
    control = await startTestControl();
    const config = siteConfig("shop.test", { origins: { web: { zone: "web" } } });
    await control.ask("POST", "/v1/apply", { sites: { shop: config } });
    await control.ask("POST", "/v1/zones", { name: "web", errorDocument: "404.html" });
    const { secret } = (await control.ask("POST", "/v1/join-tokens", {})).value;
    const joined = await control.ask("POST", "/v1/join", { name: "edge", version: "1" }, { token: secret });
    credential = joined.value.credential;
    await release({ "index.html": "one", "a.txt": "a1", "404.html": "none 1" });
    await release({ "index.html": "two", "b.txt": "b2", "404.html": "none 2" });
  });
  afterAll(() => control.stop());

  test("is that of the place in the log that the node has applied, whatever is newer", async () => {
    const [first = 0, second = 0] = places;
    const seen = async (asOf: number | null) => {
      const at: Record<string, string> = asOf === null ? {} : { "proxima-as-of": String(asOf) };
      return Promise.all(["/", "/a.txt", "/b.txt"].map(async (path) => (await get(path, at)).body));
    };
    expect(await seen(first)).toEqual(["one", "a1", "none 1"]);
    expect(await seen(second)).toEqual(["two", "none 2", "b2"]);
    expect(await seen(null)).toEqual(["two", "none 2", "b2"]);
    expect(await seen(second + 1_000)).toEqual(["two", "none 2", "b2"]);
  });

  test("carries a tag for each path that was looked up, also of what is not there", async () => {
    const tags = async (path: string) => (await get(path)).headers.get("surrogate-key")?.split(" ").length;
    expect([await tags("/"), await tags("/a.txt")]).toEqual([2, 4]);
    expect((await get("/")).headers.get("cdn-cache-control")).toBe("max-age=31536000");
    const purge = (await control.ask("GET", "/v1/purges")).value.items[0];
    const all = new Set(purge.targets);
    const absent = (await get("/a.txt")).headers.get("surrogate-key")?.split(" ") ?? [];
    // a.txt went with the second release: who kept it, or that it was there, is told.
    expect(absent.some((tag) => all.has(tag))).toBe(true);
  });

  test("is refused to who is no node, may not write, or sends something else than he says", async () => {
    expect((await get("/", {}, control.admin)).status).toBe(401);
    expect((await upload("x", await control.token(["read"]))).status).toBe(403);
    expect((await upload("x", await control.token(["deploy"], ["shop"]))).status).toBe(403);
    expect((await upload("x", credential)).status).toBe(401);
    const wrong = await upload("x", control.admin, hashOf("y"));
    expect([wrong.status, await wrong.text()]).toEqual([
      400,
      expect.stringContaining("the body's SHA-256 is"),
    ]);
    expect((await upload("x", control.admin, hashOf("x"), "other")).status).toBe(404);
    const page = await fetch(`${control.url}/v1/zones/web/content/${hashOf("x")}`, {
      method: "PUT",
      headers: { authorization: `Bearer ${control.admin}`, origin: "https://evil.test" },
      body: "x",
    });
    expect(page.status).toBe(403);
  });

  test("of a zone that belongs to another site is as if it were not there", async () => {
    await control.ask("POST", "/v1/zones", { name: "other", site: "blog" });
    const ask = (site: string) =>
      fetch(`${control.url}/v1/content/other/`, {
        headers: { authorization: `Bearer ${credential}`, "proxima-site": site },
      });
    const [mine, theirs] = [await ask("shop"), await ask("blog")];
    expect([mine.status, mine.headers.get("proxima-no-zone")]).toEqual([404, "1"]);
    expect([theirs.status, theirs.headers.has("surrogate-key")]).toEqual([404, true]);
  });
});

test("content that is taken while the same is being dropped is there afterwards", async () => {
  const folder = mkdtempSync(join(tmpdir(), "proxima-turns-"));
  const there = new Set<string>();
  const store: BlobStore = {
    async publish(_, hash) {
      there.add(hash);
    },
    async delete(hash) {
      // Slower than a body that comes meanwhile.
      await Bun.sleep(60);
      there.delete(hash);
    },
    has: async (hash) => there.has(hash),
    read: () => Promise.resolve<BodyReader>(bodyOf(new Uint8Array(0))),
  };
  const clock = new ManualClock();
  const database = new ControlDatabase(join(folder, "control.db"));
  const blobs = new Blobs(database, store, join(folder, "incoming"), clock);
  const take = () => blobs.take(bodyOf(new Uint8Array(3)), { bytesMax: 10, bytes: 3, checksums: [] });
  const { hash } = await take();
  clock.advance(25 * 3_600_000);
  await Promise.all([blobs.collect(), take()]);
  expect([blobs.missing([hash]), there.has(hash)]).toEqual([[], true]);
  database.close();
  rmSync(folder, { recursive: true, force: true });
});
