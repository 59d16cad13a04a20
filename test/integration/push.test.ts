/** A folder pushed to a fleet: what viewers get at every edge, before, after, and while the push is killed. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { S3Client } from "bun";
import { type FleetEdge, TestFleet, until } from "../kit/fleet.ts";
import { ReleaseFolder, wholeRelease } from "../kit/release-folder.ts";

/** Files and kills of the test that kills; test/long has more of both. */
const FILES = 300;
const KILLS = 3;

let fleet: TestFleet;
let a: FleetEdge;
let b: FleetEdge;
beforeAll(async () => {
  fleet = new TestFleet(["--storage", "127.0.0.1:0"]);
  await fleet.ready();
  await fleet.run(
    "zones",
    "create",
    "web",
    "--control",
    fleet.url,
    "--error-document",
    "404.html",
    "--keep",
    "3",
  );
  [a, b] = await Promise.all([fleet.edge("edge-a"), fleet.edge("edge-b", { workers: 2 })]);
  await fleet.apply({ shop: { hosts: ["*"], origins: { web: { zone: "web" } } } }, [a, b]);
}, 60_000);
afterAll(() => fleet.stop());

function write(folder: string, files: Readonly<Record<string, string | Uint8Array>>): string {
  const path = fleet.path(folder);
  rmSync(path, { recursive: true, force: true });
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(path, name)), { recursive: true });
    writeFileSync(join(path, name), content);
  }
  return path;
}

const viewer = (edge: FleetEdge) => async (path: string) => {
  const response = await fetch(edge.http + path);
  return { status: response.status, body: await response.text() };
};

const push = (path: string, ...more: string[]) =>
  fleet.run("push", path, "--zone", "web", "--control", fleet.url, "--concurrency", "32", ...more);

describe("a pushed folder", () => {
  test("is what viewers get at every edge, as a static host would give it", async () => {
    const path = write("site", {
      "index.html": "<h1>one</h1>",
      "docs/index.html": "docs",
      "app.4f3c9a1b.js": "let a = 1;",
      "data/ä b+c.json": "{}",
      "404.html": "nothing here",
      "empty.txt": "",
      ".env": "SECRET=1",
      ".well-known/security.txt": "Contact: mailto:a@b.test",
      "draft.tmp": "no",
      ".proximaignore": "# drafts\n*.tmp\n",
    });
    const pushed = await push(path, "--note", "first");
    expect([pushed.err, pushed.out]).toEqual([
      expect.stringMatching(/^7 files, 7 to upload \(\d+ B\), 3 left out\n$/),
      expect.stringMatching(/^release 1 of web is current: 7 changed, 0 removed; on 2 nodes after \d+ ms\n$/),
    ]);
    expect(pushed.status).toBe(0);
    for (const edge of [a, b]) {
      expect(await edge.get("/")).toMatchObject({ status: 200, body: "<h1>one</h1>", cache: "MISS" });
      expect(await edge.get("/")).toMatchObject({ body: "<h1>one</h1>", cache: "HIT" });
      expect(await edge.get("/docs/")).toMatchObject({ status: 200, body: "docs" });
      expect(await edge.get("/docs?x=1")).toMatchObject({ status: 301 });
      expect(await edge.get("/data/%C3%A4%20b+c.json")).toMatchObject({ status: 200, body: "{}" });
      expect(await edge.get("/data/%c3%a4%20b%2Bc.json")).toMatchObject({ status: 200, body: "{}" });
      expect(await edge.get("/empty.txt")).toMatchObject({ status: 200, body: "" });
      expect(await edge.get("/.well-known/security.txt")).toMatchObject({ status: 200 });
      for (const absent of ["/.env", "/draft.tmp", "/docs/nothing", "/a%2fb", "/%00", "/x/%2e%2e/.env"])
        expect([absent, (await edge.get(absent)).status >= 400]).toEqual([absent, true]);
      expect(await edge.get("/nothing")).toMatchObject({ status: 404, body: "nothing here" });
    }
    const response = await fetch(`${a.http}/app.4f3c9a1b.js`);
    expect(response.headers.get("content-type")).toBe("text/javascript; charset=utf-8");
    expect(response.headers.get("cache-control")).toBe("public, max-age=31536000, immutable");
    for (const name of ["surrogate-key", "cdn-cache-control", "proxima-as-of"])
      expect(response.headers.get(name)).toBeNull();
    expect((await fetch(`${a.http}/`)).headers.get("cache-control")).toBe(
      "public, max-age=0, must-revalidate",
    );
    const part = await fetch(`${a.http}/app.4f3c9a1b.js`, { headers: { range: "bytes=4-4" } });
    expect([part.status, await part.text()]).toEqual([206, "a"]);
  });

  test("changes only what has changed, and goes back", async () => {
    const path = write("site2", {
      "index.html": "<h1>two</h1>",
      "docs/index.html": "docs",
      "new.txt": "new",
    });
    expect(await a.get("/new.txt")).toMatchObject({ status: 404 });
    const pushed = await push(path, "--json");
    expect(JSON.parse(pushed.out)).toMatchObject({
      release: { number: 2, current: true },
      changed: ["index.html", "new.txt"],
      removedCount: 5,
      uploaded: 2,
      late: [],
      nodes: 2,
    });
    for (const edge of [a, b]) {
      expect(await edge.get("/")).toMatchObject({ body: "<h1>two</h1>", cache: "MISS" });
      expect(await edge.get("/docs/")).toMatchObject({ body: "docs", cache: "HIT" });
      expect(await edge.get("/new.txt")).toMatchObject({ body: "new" });
      expect(await edge.get("/empty.txt")).toMatchObject({ status: 404 });
    }
    const again = await push(path);
    expect(again.out).toBe("release 2 of web is current already\n");
    const back = await fleet.run("releases", "rollback", "web", "--control", fleet.url);
    expect([back.status, back.out]).toEqual([
      0,
      expect.stringMatching(/^release 1 of web is current: 6 changed, 1 removed; on 2 nodes/),
    ]);
    for (const edge of [a, b]) {
      expect(await edge.get("/")).toMatchObject({ body: "<h1>one</h1>" });
      expect(await edge.get("/new.txt")).toMatchObject({ status: 404, body: "nothing here" });
    }
    const list = await fleet.run("releases", "list", "web", "--control", fleet.url);
    expect(list.out).toMatch(/^release {2}current.*\n2 {17}3 .*\n1 {8}yes {6}7 .* first\n$/);
  });

  test("is served by the edges that have it while the control plane is gone, and after their own restart", async () => {
    expect((await a.get("/docs/")).status).toBe(200);
    fleet.control.kill("SIGKILL");
    await fleet.control.end();
    expect(await a.get("/docs/")).toMatchObject({ status: 200, body: "docs", cache: "HIT" });
    expect((await a.get("/never-asked-for")).status).toBe(502);
    await fleet.restartControl();
    await until("the edge follows again", async () => (await a.view()).synced);
    expect((await a.get("/never-asked-for")).status).toBe(404);
  });

  test("is at every edge before any viewer asks, where a site names its host", async () => {
    const control = ["--control", fleet.url];
    await fleet.run("zones", "create", "named", ...control);
    const origins = { web: { zone: "named" } };
    await fleet.apply(
      {
        named: { hosts: ["www.named.test"], origins },
        shop: { hosts: ["*"], origins: { web: { zone: "web" } } },
      },
      [a, b],
    );
    const path = write("named", {
      "index.html": "home",
      "a b/ä.txt": "umlaut",
      "big.bin": new Uint8Array(700_000),
    });
    expect((await fleet.run("push", path, "--zone", "named", ...control)).status).toBe(0);
    for (const edge of [a, b]) {
      await edge.program.until(/new content is in place: 3 files\n/);
      for (const target of ["/", "/a%20b/%C3%A4.txt", "/big.bin"])
        expect(await edge.get(target, { host: "www.named.test" })).toMatchObject({
          status: 200,
          cache: "HIT",
        });
    }
    fleet.control.kill("SIGKILL");
    await fleet.control.end();
    expect(await b.get("/", { host: "www.named.test" })).toMatchObject({
      status: 200,
      body: "home",
      cache: "HIT",
    });
    await fleet.restartControl();
    await until("the edges follow again", async () => (await a.view()).synced && (await b.view()).synced);
  });

  test("is changed by one upload, which is seen at once, with what was said of it", async () => {
    const [, storage = ""] = await fleet.control.until(/storage +(http:\/\/\S+) /);
    const put = (content: string) =>
      fetch(`${storage}/web/index.html`, {
        method: "PUT",
        headers: { accesskey: fleet.token },
        body: content,
      });
    expect((await a.get("/")).status).toBe(200);
    for (const content of ["<h1>three</h1>", "<h1>four</h1>"]) {
      expect((await put(content)).status).toBe(201);
      await until(
        "both edges show it",
        async () => (await a.get("/")).body === content && (await b.get("/")).body === content,
      );
    }
    const made = await fleet.ask("POST", "/v1/tokens", { name: "s3", scopes: ["deploy"], accessKey: true });
    const s3 = new S3Client({
      endpoint: storage,
      bucket: "web",
      accessKeyId: made.value.token.accessKeyId,
      secretAccessKey: made.value.secretAccessKey,
    });
    await s3.write("note.css", "a{}", { type: "text/css" });
    await until("the edge shows it", async () => (await a.get("/note.css")).body === "a{}");
    await s3.delete("note.css");
    await until("the edge shows it no more", async () => (await a.get("/note.css")).status === 404);
  });

  test("is refused where it is no folder of plain files, with the reason", async () => {
    const path = write("bad", { "a.txt": "a" });
    symlinkSync("/etc/passwd", join(path, "link"));
    const linked = await push(path);
    expect([linked.status, linked.err]).toEqual([
      2,
      expect.stringContaining("link is a symbolic link; push files alone"),
    ]);
    expect((await push(path, "--ignore", "link", "--no-activate")).status).toBe(0);
    const empty = await push(write("empty", { ".hidden": "a" }));
    expect([empty.status, empty.err]).toEqual([
      2,
      expect.stringContaining("holds no file to push (1 left out): nothing was changed"),
    ]);
    const missing = await push(fleet.path("nowhere"));
    expect([missing.status, missing.err]).toEqual([2, expect.stringContaining("can not be read")]);
    const zone = await fleet.run("push", path, "--zone", "other", "--ignore", "link", "--control", fleet.url);
    expect([zone.status, zone.err]).toEqual([1, expect.stringContaining('there is no zone "other"')]);
    expect(await a.get("/a.txt")).toMatchObject({ status: 404 });
  });
});

test("who has seen a file of a release sees no file of the one before it any more, at that node", async () => {
  const folder = new ReleaseFolder(fleet.path("switched"), 24);
  folder.write(1);
  expect((await push(folder.path)).status).toBe(0);
  const before = await wholeRelease(folder, viewer(a));
  let done = false;
  const seen: number[] = [];
  const watching = (async () => {
    for (let at = 0; !done; at = (at + 7) % folder.names.length) {
      const { body } = await viewer(a)(`/${folder.names[at]}`);
      seen.push(Number(/^release (\d+) of/.exec(body)?.[1]));
    }
  })();
  for (let release = 2; release <= 5; release++) {
    folder.write(release);
    expect((await push(folder.path)).status).toBe(0);
  }
  done = true;
  await watching;
  expect(before).toBe(1);
  expect(seen).toEqual(seen.toSorted((one, other) => one - other));
  expect(new Set(seen).size).toBeGreaterThanOrEqual(4);
});

test(`${FILES} files, pushed and killed at ${KILLS} points, leave viewers a whole release each time`, async () => {
  const folder = new ReleaseFolder(fleet.path("many"), FILES);
  let current = folder.write(1);
  expect((await push(folder.path)).status).toBe(0);
  for (let kill = 1; kill <= KILLS; kill++) {
    const next = folder.write(kill + 1);
    const program = fleet.programs.start(["push", folder.path, "--zone", "web", "--control", fleet.url], {
      env: { PROXIMA_CONTROL_TOKEN: fleet.token },
    });
    if (kill === 1) await program.until(/to upload/);
    else await Bun.sleep(150 * kill + Math.random() * 300);
    program.kill("SIGKILL");
    await program.end();
    for (const edge of [a, b]) {
      const shown = await wholeRelease(folder, viewer(edge));
      expect([current, next]).toContain(shown);
    }
    const resumed = await push(folder.path);
    expect(resumed.status).toBe(0);
    current = next;
    for (const edge of [a, b]) expect(await wholeRelease(folder, viewer(edge))).toBe(current);
  }
}, 60_000);
